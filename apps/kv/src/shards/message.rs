//! What cores say to each other: a header of 16 bytes, then bytes of a request or of an answer.
//!
//! ```text
//! kind (1)  marks (1)  exchange (2)  first number (4)  second number (4)  0 (4)
//! ```
//! Both ends are the same program, of the same start; what does not fit is a fault of ours and is dropped.

use nom_port::FRAME_MAX;
use nom_stack::port::{Egress, Frame};

/// Bytes of a header.
const HEADER_LEN: usize = 16;
/// Most bytes behind it.
pub(super) const PAYLOAD_MAX: usize = FRAME_MAX - HEADER_LEN;

/// A line begins, with what is here of its data.
pub(super) const LINE: u8 = 1;
/// A key of a line that gets keys. Numbers: the second from which the item is past its time.
pub(super) const KEY: u8 = 2;
/// The report of this core is wanted.
pub(super) const REPORT: u8 = 3;
/// More data.
pub(super) const DATA: u8 = 4;
/// As much as was granted first may be said again.
pub(super) const ROOM: u8 = 5;
/// Nobody waits for the answer any more.
pub(super) const LEFT: u8 = 6;
/// A part of an answer.
pub(super) const PIECE: u8 = 7;
/// The last part. Numbers: operations that were accepted, and refused.
pub(super) const DONE: u8 = 8;

/// Marks of a key.
pub(super) const UNIQUE: u8 = 1;
pub(super) const TOUCHES: u8 = 2;

/// A header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) marks: u8,
    pub(super) exchange: u16,
    pub(super) numbers: (u32, u32),
}

impl Message {
    pub(super) fn new(kind: u8, exchange: u16) -> Self {
        Self { kind, exchange, ..Self::default() }
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[0] = self.kind;
        header[1] = self.marks;
        header[2..4].copy_from_slice(&self.exchange.to_le_bytes());
        header[4..8].copy_from_slice(&self.numbers.0.to_le_bytes());
        header[8..12].copy_from_slice(&self.numbers.1.to_le_bytes());
        header
    }

    /// Reads a header and what stands behind it.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, payload) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let [kind, marks, low, high, a, b, c, d, e, f, g, h, ..] = *header;
        let message = Self {
            kind,
            marks,
            exchange: u16::from_le_bytes([low, high]),
            numbers: (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
        };
        Some((message, payload))
    }

    /// Puts it in a ring; false when that is full. Nobody sees it before the ring is kicked.
    pub(super) fn send(&self, ring: &mut impl Egress, payload: &[&[u8]]) -> bool {
        let frame = Frame { headers: &self.header(), payload, checksum: None, segment_len: None };
        ring.queue(frame).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message { kind: DONE, marks: 3, exchange: 0x1234, numbers: (7, u32::MAX) };
        let mut bytes = message.header().to_vec();
        bytes.extend(b"END\r\n");
        assert_eq!(Message::parse(&bytes), Some((message, &b"END\r\n"[..])));
        assert_eq!(Message::parse(&bytes[..15]), None);
    }
}
