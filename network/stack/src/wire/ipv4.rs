//! IPv4 headers (RFC 791).

use core::net::Ipv4Addr;

use super::checksum::Sum;
use super::{be16, put16};

/// Bytes of a header without options, which is what is sent.
pub const HEADER: usize = 20;
/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// The sender does not listen to marks of congestion.
pub const NOT_CAPABLE: u8 = 0;
/// It does; 1 means the same.
pub const CAPABLE: u8 = 2;
/// Somebody on the way had too many packets.
pub const CONGESTED: u8 = 3;
const TIME_TO_LIVE: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// Who sent the packet.
    pub source: Ipv4Addr,
    /// Who shall have it.
    pub destination: Ipv4Addr,
    /// What is inside.
    pub protocol: u8,
    /// It is a piece of a larger packet.
    pub fragment: bool,
    /// Congestion notification (RFC 3168): [`NOT_CAPABLE`], [`CAPABLE`] or [`CONGESTED`].
    pub congestion: u8,
}

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Lengths or version do not fit.
    Malformed,
    /// The checksum is wrong.
    Checksum,
}

impl Ipv4 {
    /// Splits a packet into header and content. Options are skipped, padding behind the packet is cut off.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Refusal> {
        let fixed = packet.first_chunk::<HEADER>().ok_or(Refusal::Malformed)?;
        let header_len = usize::from(fixed[0] & 15) * 4;
        let total_len = usize::from(be16(fixed, 2));
        if fixed[0] >> 4 != 4 || header_len < HEADER || total_len < header_len || packet.len() < total_len {
            return Err(Refusal::Malformed);
        }
        let sum = if header_len == HEADER { Sum::of_received(fixed) } else { Sum::of(&packet[..header_len]) };
        if !sum.is_good() {
            return Err(Refusal::Checksum);
        }
        let header = Self {
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            protocol: fixed[9],
            fragment: be16(fixed, 6) & 0x3fff != 0,
            congestion: fixed[1] & 3,
        };
        Ok((header, &packet[header_len..total_len]))
    }

    /// Writes a header to the front of a buffer. Nothing that is sent may be cut into pieces, so the
    /// identification carries no meaning (RFC 6864) and stays 0.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], content_len: usize) {
        let Some(buffer) = buffer.first_chunk_mut::<HEADER>() else { unreachable!("the buffer has room") };
        buffer[0] = 0x45;
        buffer[1] = self.congestion;
        put16(buffer, 2, (HEADER + content_len) as u16);
        put16(buffer, 4, 0);
        put16(buffer, 6, DONT_FRAGMENT);
        buffer[8] = TIME_TO_LIVE;
        buffer[9] = self.protocol;
        put16(buffer, 10, 0);
        buffer[12..16].copy_from_slice(&self.source.octets());
        buffer[16..20].copy_from_slice(&self.destination.octets());
        let checksum = Sum::of_words(buffer).finish();
        buffer[10..12].copy_from_slice(&checksum);
    }
}

/// An address that a single host can have.
#[inline]
pub fn is_host(address: Ipv4Addr) -> bool {
    /// The sixteenths of all addresses that hold some which no host has, beside the unspecified one.
    const SUSPECT: u32 = 1 << (127 >> 4) | 1 << (224 >> 4) | 1 << (255 >> 4);
    let bits = address.to_bits();
    bits != 0
        && (SUSPECT >> (bits >> 28) & 1 == 0
            || !(address.is_multicast() || address.is_broadcast() || address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_by_every_first_byte() {
        for first in 0..=255 {
            for rest in [[0, 0, 0], [0, 0, 1], [255, 255, 254], [255, 255, 255]] {
                let address = Ipv4Addr::new(first, rest[0], rest[1], rest[2]);
                let is_none = address.is_unspecified()
                    || address.is_multicast()
                    || address.is_broadcast()
                    || address.is_loopback();
                assert_eq!(is_host(address), !is_none, "{address}");
            }
        }
    }
}
