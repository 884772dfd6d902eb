//! ICMP echo, that a port is unreachable (RFC 792), and what routers say of packets that are too big (RFC 1191).

use core::net::Ipv4Addr;

use super::checksum::Sum;
use super::ipv4::{self, PROTOCOL_TCP};
use super::{be16, be32};
use crate::tcp::sequence::Seq;

/// Bytes of an echo header.
pub const HEADER: usize = 8;

/// Bytes of the message that a port is unreachable: its header, and what it quotes.
pub const UNREACHABLE_LEN: usize = HEADER + 28;

/// Writes the message that a port is unreachable, with the IPv4 header and eight more bytes of what came for it.
pub fn emit_unreachable(buffer: &mut [u8], quoted: &[u8; 28]) {
    buffer[..HEADER].copy_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
    buffer[HEADER..UNREACHABLE_LEN].copy_from_slice(quoted);
    let checksum = Sum::of(&buffer[..UNREACHABLE_LEN]).finish();
    buffer[2..4].copy_from_slice(&checksum);
}

/// A checked echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Identifier and sequence number: returned as they are.
    pub name: [u8; 4],
    /// What comes back with them.
    pub data: &'a [u8],
}

impl<'a> Echo<'a> {
    /// Finds an echo request; other messages and wrong checksums are nothing.
    pub fn parse_request(packet: &'a [u8]) -> Option<Self> {
        let (header, data) = packet.split_first_chunk::<HEADER>()?;
        if header[..2] != [8, 0] {
            return None;
        }
        let mut sum = Sum::new();
        sum.add(packet);
        sum.is_good().then_some(Self { name: [header[4], header[5], header[6], header[7]], data })
    }

    /// Writes the header of the reply to the front of a buffer.
    pub fn emit_reply(&self, buffer: &mut [u8]) {
        buffer[..4].copy_from_slice(&[0; 4]);
        buffer[4..8].copy_from_slice(&self.name);
        let mut sum = Sum::new();
        sum.add(&buffer[..HEADER]);
        sum.add(self.data);
        buffer[2..4].copy_from_slice(&sum.finish());
    }
}

/// A router's word that a packet was too big for it (RFC 1191), with the beginning of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBig {
    /// The largest packet that the next link takes; 0 from routers that do not say.
    pub mtu: u16,
    /// Who sent the packet that was too big, and to whom.
    pub source: Ipv4Addr,
    /// Whom it was for.
    pub destination: Ipv4Addr,
    /// How long it was.
    pub packet_len: u16,
    /// Ports of the sender and of the receiver.
    pub ports: (u16, u16),
    /// Where its bytes stand in the stream.
    pub sequence: Seq,
}

impl TooBig {
    /// Finds such a message about a TCP segment; others and wrong checksums are nothing. What is quoted is not whole, so
    /// its own checksums say nothing.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (header, quoted) = packet.split_first_chunk::<HEADER>()?;
        if header[..2] != [3, 4] {
            return None;
        }
        let mut sum = Sum::new();
        sum.add(packet);
        let fixed = quoted.first_chunk::<{ ipv4::HEADER }>()?;
        let header_len = usize::from(fixed[0] & 15) * 4;
        // A fragment that is not the first has no ports.
        let first = be16(fixed, 6) & 0x1fff == 0;
        if !sum.is_good()
            || fixed[0] >> 4 != 4
            || header_len < ipv4::HEADER
            || !first
            || fixed[9] != PROTOCOL_TCP
        {
            return None;
        }
        let begin = quoted.get(header_len..)?.first_chunk::<8>()?;
        Some(Self {
            mtu: be16(header, 6),
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            packet_len: be16(fixed, 2),
            ports: (be16(begin, 0), be16(begin, 2)),
            sequence: Seq(be32(begin, 4)),
        })
    }
}
