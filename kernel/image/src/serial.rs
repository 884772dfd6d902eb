//! The serial console: COM1, one byte after the other.

use core::fmt::{self, Write};

use crate::cpu::{in8, out8};

const DATA: u16 = 0x3f8;
const LINE_CONTROL: u16 = DATA + 3;
const LINE_STATUS: u16 = DATA + 5;
const SENDER_EMPTY: u8 = 0x20;
/// How often the sender is asked before a byte is given up: a machine without a serial port must still boot.
const ATTEMPTS: usize = 10_000;

/// 115200 baud, eight bits, with the chip's queue, no interrupts.
pub fn initialise() {
    for (port, value) in
        [(DATA + 1, 0), (LINE_CONTROL, 0x80), (DATA, 1), (DATA + 1, 0), (LINE_CONTROL, 3), (DATA + 2, 0xc7)]
    {
        out8(port, value);
    }
}

/// Sends a byte.
pub fn byte(value: u8) {
    for _ in 0..ATTEMPTS {
        if in8(LINE_STATUS) & SENDER_EMPTY != 0 {
            break;
        }
    }
    out8(DATA, value);
}

/// Where formatted text goes.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(byte);
        Ok(())
    }
}

/// A line of an application: whatever could steer a terminal is shown as a question mark.
pub fn application_line(text: &str) {
    for character in text.trim_end_matches('\n').chars() {
        let character = if character.is_control() && character != '\t' { '?' } else { character };
        let _ = Serial.write_char(character);
    }
    byte(b'\n');
}

/// A line of the kernel.
macro_rules! say {
    ($($argument:tt)*) => {{
        let _ = core::fmt::Write::write_fmt(
            &mut $crate::serial::Serial,
            format_args!("kernel: {}\n", format_args!($($argument)*)),
        );
    }};
}
pub(crate) use say;
