//! The access log: a line for each answer in the Common Log Format, until somebody fetches it.

use crate::date;
use crate::status::Status;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// Bytes that wait to be fetched; lines beyond that are lost and counted.
pub const WAITING_MAX: usize = 64 << 10;
/// Bytes of a request's line that are kept.
const LINE_MAX: usize = 256;

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    on: bool,
    bytes: Vec<u8>,
    /// Bytes at the beginning that were handed over. They go when all are, or when their room is wanted.
    taken: usize,
    /// Lines that found no room since the start.
    pub lost: u64,
    /// Of those, how many were told.
    told_lost: u64,
}

impl Log {
    /// A log that is written, or one that is not.
    pub fn new(on: bool) -> Self {
        let bytes = if on { Vec::with_capacity(WAITING_MAX) } else { Vec::new() };
        Self { on, bytes, taken: 0, lost: 0, told_lost: 0 }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Bytes that wait to be fetched.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Hands over whole lines.
    pub fn take(&mut self, to: impl FnOnce(&[u8])) {
        if self.waiting() > 0 {
            to(&self.bytes[self.taken..]);
            self.forget_taken(self.bytes.len());
        }
    }

    /// All up to here was handed over.
    fn forget_taken(&mut self, end: usize) {
        self.taken = end;
        if end == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }

    /// Hands over the next line; before it, how many were lost since that was told last.
    pub(crate) fn take_line(&mut self) -> Option<String> {
        let lost = self.lost - core::mem::replace(&mut self.told_lost, self.lost);
        if lost > 0 {
            return Some(format!("{lost} lines of the access log were lost"));
        }
        let waiting = &self.bytes[self.taken..];
        let len = waiting.iter().position(|byte| *byte == b'\n')?;
        let line = waiting[..len].iter().copied().map(char::from).collect();
        self.forget_taken(self.taken + len + 1);
        Some(line)
    }

    /// Adds a line. What a request says is hostile: what is not plain text is escaped.
    pub(crate) fn add(&mut self, now_s: u64, peer: Option<Ipv4Addr>, line: &[u8], status: Status, len: u64) {
        // Each byte may take four.
        let len_max = 4 * line.len().min(LINE_MAX) + 128;
        if self.bytes.len() + len_max > WAITING_MAX {
            self.bytes.drain(..core::mem::take(&mut self.taken));
        }
        if self.bytes.len() + len_max > WAITING_MAX {
            self.lost += 1;
            return;
        }
        let out = &mut self.bytes;
        match peer {
            Some(peer) => {
                for (place, part) in peer.octets().into_iter().enumerate() {
                    if place > 0 {
                        out.push(b'.');
                    }
                    number(out, u64::from(part));
                }
            }
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(&date::logged(now_s));
        out.extend_from_slice(b"] \"");
        for byte in &line[..line.len().min(LINE_MAX)] {
            match byte {
                b'"' | b'\\' | ..0x20 | 0x7f.. => {
                    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                    out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
                }
                byte => out.push(*byte),
            }
        }
        out.extend_from_slice(b"\" ");
        number(out, status as u64);
        out.push(b' ');
        number(out, len);
        out.push(b'\n');
    }
}

/// Appends a decimal number.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_common_format_and_harmless() {
        let mut log = Log::new(true);
        let peer = Some(Ipv4Addr::new(10, 0, 2, 2));
        log.add(784_111_777, peer, b"GET /\"\x1b[31m HTTP/1.1", Status::NotFound, 17);
        let mut text = String::new();
        log.take(|bytes| text = String::from_utf8(bytes.into()).unwrap());
        let expected = "10.0.2.2 - - [06/Nov/1994:08:49:37 +0000] \"GET /\\x22\\x1b[31m HTTP/1.1\" 404 17\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn lines_are_told_one_by_one_and_losses_once() {
        let mut log = Log::new(true);
        for number in 0..3 {
            log.add(784_111_777, None, b"GET / HTTP/1.1", Status::Ok, number);
        }
        let line =
            |number: u64| format!("- - - [06/Nov/1994:08:49:37 +0000] \"GET / HTTP/1.1\" 200 {number}");
        let told: Vec<String> = core::iter::from_fn(|| log.take_line()).collect();
        assert_eq!(told, [line(0), line(1), line(2)]);
        while log.lost < 3 {
            log.add(0, None, &[b'x'; 256], Status::Ok, 0);
        }
        assert_eq!(log.take_line().unwrap(), "3 lines of the access log were lost");
        assert!(log.take_line().unwrap().ends_with("x\" 200 0"));
        // What was told leaves its room to others, and nothing else goes.
        let (waiting, lost) = (log.waiting(), log.lost);
        log.add(0, None, b"GET /last HTTP/1.1", Status::Ok, 0);
        assert_eq!(log.lost, lost);
        assert!(log.bytes.len() <= WAITING_MAX && log.waiting() > waiting);
        let told: Vec<String> = core::iter::from_fn(|| log.take_line()).collect();
        assert!(told.iter().rev().skip(1).all(|line| line.ends_with("x\" 200 0")), "{told:?}");
        assert!(told.last().unwrap().contains("/last") && log.waiting() == 0);
    }

    #[test]
    fn a_full_log_loses_lines_and_says_so() {
        let mut log = Log::new(true);
        for _ in 0..10_000 {
            log.add(0, None, &[0; 1000], Status::Ok, 0);
        }
        assert!(log.lost > 9_000 && log.bytes.len() <= WAITING_MAX);
        log.take(|bytes| assert!(bytes.ends_with(b"\n")));
    }
}
