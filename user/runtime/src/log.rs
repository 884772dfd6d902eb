//! Lines on the serial console.

use core::fmt::{self, Write};

use nom_abi::call::LOG_LEN_MAX;

struct Line {
    bytes: [u8; LOG_LEN_MAX as usize],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        // What is too long is cut between two characters.
        let take = text.floor_char_boundary(room.min(text.len()));
        self.bytes[self.len..self.len + take].copy_from_slice(&text.as_bytes()[..take]);
        self.len += take;
        if take < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes one line; [`crate::log!`] is the way to call it. What is beyond 1024 bytes is cut.
pub fn log_line(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LOG_LEN_MAX as usize], len: 0 };
    let _ = line.write_fmt(arguments);
    if let Ok(text) = core::str::from_utf8(&line.bytes[..line.len])
        && !text.is_empty()
    {
        // There is nobody to tell when the console refuses a line.
        let _ = crate::call::log(text);
    }
}
