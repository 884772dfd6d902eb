//! Writing one flat object of texts and whole numbers, in one line.

use alloc::string::String;
use core::fmt::Write;

/// Room for most lines, so that one is not moved while it grows.
const USUAL_LEN: usize = 1024;

/// Writes one flat object.
#[derive(Debug)]
pub struct Writer {
    text: String,
    first: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// Opens the object.
    pub fn new() -> Self {
        let mut text = String::with_capacity(USUAL_LEN);
        text.push('{');
        Self { text, first: true }
    }

    /// Keys are our own words: nothing in them has to be looked for.
    fn key(&mut self, key: &'static str) {
        debug_assert!(key.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()), "{key}");
        self.text.push_str(if self.first { "\"" } else { ",\"" });
        self.first = false;
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    /// Adds a number.
    pub fn number(&mut self, key: &'static str, value: i128) {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// Adds a text.
    pub fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        quote(&mut self.text, value);
    }

    /// Closes the object.
    pub fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// Appends a text in quotes.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if (control as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
