//! TCP segments (RFC 9293, 3.1) and their options.

use core::net::Ipv4Addr;

use super::checksum::Sum;
use super::ipv4::PROTOCOL_TCP;
use super::{be16, be32, put16, put32};
use crate::tcp::sequence::Seq;

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Most bytes of options.
pub const OPTIONS_MAX: usize = 40;
/// Place of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = 16;
/// Ranges that one segment can report as received.
pub const SACK_MAX: usize = 4;

/// The sender has no more to send.
pub const FIN: u8 = 1;
/// Synchronise sequence numbers.
pub const SYN: u8 = 2;
/// The connection is gone.
pub const RST: u8 = 4;
/// Hand the bytes over now.
pub const PSH: u8 = 8;
/// The acknowledgement number counts.
pub const ACK: u8 = 16;
/// A packet came marked: there is congestion (RFC 3168).
pub const ECE: u8 = 64;
/// The sender has slowed down because of that.
pub const CWR: u8 = 128;
/// Bytes that a time stamp takes, padded.
pub const STAMP: u8 = 12;

/// A checked segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number of the first byte, or of SYN.
    pub sequence: Seq,
    /// Next byte that the sender expects.
    pub acknowledgement: Seq,
    /// SYN, ACK and so on.
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
    /// Option bytes, unchecked until [`Options::parse`].
    pub options: &'a [u8],
    /// The bytes carried.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Checks lengths; the checksum is [`checksum_good`]'s business.
    #[inline(always)]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<HEADER>()?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < HEADER || packet.len() < header_len {
            return None;
        }
        Some(Self {
            source_port: be16(fixed, 0),
            destination_port: be16(fixed, 2),
            sequence: Seq(be32(fixed, 4)),
            acknowledgement: Seq(be32(fixed, 8)),
            flags: fixed[13],
            window: be16(fixed, 14),
            options: &packet[HEADER..header_len],
            payload: &packet[header_len..],
        })
    }

    /// All of these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// How much of the sequence space it takes.
    pub fn span(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }
}

/// The checksum of a whole segment, header included, is right.
pub fn checksum_good(source: Ipv4Addr, destination: Ipv4Addr, packet: &[u8]) -> bool {
    let mut sum = Sum::new();
    sum.add_pseudo_header(source.octets(), destination.octets(), PROTOCOL_TCP, packet.len());
    sum.add(packet);
    sum.is_good()
}

/// What is written in front of the payload. The checksum field is left 0.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number of the first byte.
    pub sequence: Seq,
    /// Next byte that is expected.
    pub acknowledgement: Seq,
    /// SYN, ACK and so on.
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
}

impl Header {
    /// Writes header and options to the front of a buffer and returns how many bytes that took.
    pub fn emit(&self, buffer: &mut [u8], options: &Options) -> usize {
        let len = HEADER + options.emit(&mut buffer[HEADER..]);
        self.emit_plain(buffer, len);
        len
    }

    /// Writes a header whose options, if any, are there already; `len` counts both.
    #[inline]
    pub fn emit_plain(&self, buffer: &mut [u8], len: usize) {
        let Some(buffer) = buffer.first_chunk_mut::<HEADER>() else { unreachable!("the buffer has room") };
        put16(buffer, 0, self.source_port);
        put16(buffer, 2, self.destination_port);
        put32(buffer, 4, self.sequence.0);
        put32(buffer, 8, self.acknowledgement.0);
        buffer[12] = (len as u8 / 4) << 4;
        buffer[13] = self.flags;
        put16(buffer, 14, self.window);
        put32(buffer, 16, 0);
    }
}

/// The options that are understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Largest segment that the sender takes.
    pub segment_max: Option<u16>,
    /// Shift of the sender's windows.
    pub window_shift: Option<u8>,
    /// The sender understands selective acknowledgements.
    pub sack_permitted: bool,
    /// Ranges received beyond the acknowledgement number.
    pub sack: [(Seq, Seq); SACK_MAX],
    /// How many of those there are.
    pub sack_count: u8,
    /// The sender's clock, and the clock of the other side as it was seen last (RFC 7323).
    pub stamp: Option<(u32, u32)>,
}

impl Options {
    /// Reads what is understood; reading ends at the first byte that makes no sense.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = bytes {
            match kind {
                0 => break,
                1 => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(&len) = rest.first() else { break };
            let len = usize::from(len);
            if len < 2 || len > bytes.len() {
                break;
            }
            let value = &bytes[2..len];
            match (kind, value.len()) {
                (2, 2) => options.segment_max = Some(be16(value, 0)),
                (3, 1) => options.window_shift = Some(value[0].min(14)),
                (4, 0) => options.sack_permitted = true,
                (8, 8) => options.stamp = Some((be32(value, 0), be32(value, 4))),
                (5, _) => {
                    for range in value.chunks_exact(8).take(SACK_MAX) {
                        options.sack[usize::from(options.sack_count)] =
                            (Seq(be32(range, 0)), Seq(be32(range, 4)));
                        options.sack_count += 1;
                    }
                }
                _ => {}
            }
            bytes = &bytes[len..];
        }
        options
    }

    /// The reported ranges.
    pub fn ranges(&self) -> &[(Seq, Seq)] {
        &self.sack[..usize::from(self.sack_count)]
    }

    /// Bytes that [`Options::emit`] will take.
    pub fn len(&self) -> u8 {
        let four = |there: bool| if there { 4 } else { 0 };
        four(self.segment_max.is_some())
            // Both together share the padding.
            + four(self.sack_permitted && self.stamp.is_none())
            + if self.stamp.is_some() { STAMP } else { 0 }
            + four(self.window_shift.is_some())
            + if self.sack_count > 0 { 4 + 8 * self.sack_count } else { 0 }
    }

    /// No option is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the options, padded to four bytes, and returns how many bytes that took.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) -> usize {
        let mut at = 0;
        if let Some(segment_max) = self.segment_max {
            buffer[at..at + 2].copy_from_slice(&[2, 4]);
            put16(buffer, at + 2, segment_max);
            at += 4;
        }
        if let Some((value, echo)) = self.stamp {
            let padding = if self.sack_permitted { [4, 2] } else { [1, 1] };
            buffer[at..at + 2].copy_from_slice(&padding);
            buffer[at + 2..at + 4].copy_from_slice(&[8, 10]);
            put32(buffer, at + 4, value);
            put32(buffer, at + 8, echo);
            at += usize::from(STAMP);
        } else if self.sack_permitted {
            buffer[at..at + 4].copy_from_slice(&[1, 1, 4, 2]);
            at += 4;
        }
        if let Some(shift) = self.window_shift {
            buffer[at..at + 4].copy_from_slice(&[1, 3, 3, shift]);
            at += 4;
        }
        if self.sack_count > 0 {
            buffer[at..at + 4].copy_from_slice(&[1, 1, 5, 2 + 8 * self.sack_count]);
            at += 4;
            for &(start, end) in self.ranges() {
                put32(buffer, at, start.0);
                put32(buffer, at + 4, end.0);
                at += 8;
            }
        }
        at
    }
}
