//! Writing one flat object of texts and whole numbers, in one line.

use alloc::string::String;
use core::fmt::Write;

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
        Self { text: String::from("{"), first: true }
    }

    fn key(&mut self, key: &str) {
        if !self.first {
            self.text.push(',');
        }
        self.first = false;
        quote(&mut self.text, key);
        self.text.push(':');
    }

    /// Adds a number.
    pub fn number(&mut self, key: &str, value: i128) {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// Adds a text.
    pub fn text(&mut self, key: &str, value: &str) {
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
