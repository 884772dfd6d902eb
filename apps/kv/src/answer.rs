//! Bytes of replies, put together in a small buffer so that one reply is one write.

use crate::command::{KEY_MAX, meta::encode};
use crate::text::decimal;
use core::fmt::Write;

/// Largest value that may be copied into a reply; larger ones are always pinned.
pub(crate) const INLINE_MAX: usize = 256;
/// Longest reply that is put together here. The longest of the classic protocol is `VALUE key flags length unique`, a
/// value and `END`; of the meta protocol, one with all of its flags: some 260 bytes of key, 32 of the client's own and
/// at most 21 for each of ten numbers, and a value.
const LEN_MAX: usize = 1024;
const _: () = assert!(6 + KEY_MAX + 11 + 11 + 21 + 2 + INLINE_MAX + 2 + 5 <= LEN_MAX);
const _: () = assert!(16 + 260 + 32 + 10 * 24 + 2 + INLINE_MAX + 2 <= LEN_MAX);

pub(crate) const STORED: &[u8] = b"STORED\r\n";
pub(crate) const NOT_STORED: &[u8] = b"NOT_STORED\r\n";
pub(crate) const EXISTS: &[u8] = b"EXISTS\r\n";
pub(crate) const TOUCHED: &[u8] = b"TOUCHED\r\n";
pub(crate) const OK: &[u8] = b"OK\r\n";
pub(crate) const NOT_NUMERIC: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
pub(crate) const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory\r\n";
pub(crate) const DELETED: &[u8] = b"DELETED\r\n";
pub(crate) const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
pub(crate) const END: &[u8] = b"END\r\n";
/// The memcached whose protocol clients may rely on, and who speaks. Some clients switch on the numbers.
macro_rules! version {
    () => {
        concat!("1.6.18-nom-", env!("CARGO_PKG_VERSION"))
    };
}
pub(crate) use version;

pub(crate) const VERSION: &[u8] = concat!("VERSION ", version!(), "\r\n").as_bytes();
pub(crate) const LINE_TOO_LONG: &[u8] = b"CLIENT_ERROR line too long\r\n";

/// A reply that is being put together. Its bound is that of the longest reply.
#[derive(Debug)]
pub(crate) struct Reply {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Reply {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; LEN_MAX], len: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    #[inline]
    pub(crate) fn number(&mut self, number: u64) {
        self.len += decimal(number, &mut self.bytes[self.len..]);
    }

    /// A flag of a meta reply.
    pub(crate) fn flag(&mut self, letter: u8, number: u64) {
        self.text(&[b' ', letter]);
        self.number(number);
    }

    /// A flag of a meta reply as it stands.
    pub(crate) fn word(&mut self, word: &[u8]) {
        self.text(b" ");
        self.text(word);
    }

    /// The key as a flag of a meta reply.
    pub(crate) fn key_flag(&mut self, key: &[u8], binary: bool) {
        self.text(b" k");
        if binary {
            encode(key, |part| self.text(part));
            self.text(b" b");
        } else {
            self.text(key);
        }
    }

    /// The line before a value.
    pub(crate) fn value(&mut self, key: &[u8], flags: u32, len: u32, unique: Option<u64>) {
        self.text(b"VALUE ");
        self.text(key);
        self.text(b" ");
        self.number(u64::from(flags));
        self.text(b" ");
        self.number(u64::from(len));
        if let Some(unique) = unique {
            self.text(b" ");
            self.number(unique);
        }
        self.text(b"\r\n");
    }
}

/// Appends one line of `stats`.
pub(crate) fn stat(out: &mut alloc::string::String, name: &str, value: u64) {
    let _ = write!(out, "STAT {name} {value}\r\n");
}
