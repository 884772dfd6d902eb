//! Ethernet II headers.

use super::{be16, put16};

/// Bytes of the header.
pub const HEADER: usize = 14;
/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// The address of everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    /// Who shall have the frame.
    pub destination: [u8; 6],
    /// Who sent it.
    pub source: [u8; 6],
    /// What is inside.
    pub ethertype: u16,
}

impl Ethernet {
    /// Splits a frame into header and content.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (header, content) = frame.split_first_chunk::<HEADER>()?;
        let mut destination = [0; 6];
        let mut source = [0; 6];
        destination.copy_from_slice(&header[..6]);
        source.copy_from_slice(&header[6..12]);
        Some((Self { destination, source, ethertype: be16(header, 12) }, content))
    }

    /// Writes the header to the front of a buffer.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        let Some(buffer) = buffer.first_chunk_mut::<HEADER>() else { unreachable!("the buffer has room") };
        buffer[..6].copy_from_slice(&self.destination);
        buffer[6..12].copy_from_slice(&self.source);
        put16(buffer, 12, self.ethertype);
    }
}

/// An address of one station: neither of a group nor all zero.
#[inline(always)]
pub fn is_station(address: [u8; 6]) -> bool {
    let [a, b, c, d, e, f] = address;
    let number = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    number & 1 == 0 && number != 0
}
