//! ICMP echo (RFC 792).

use super::checksum::Sum;

/// Bytes of an echo header.
pub const HEADER: usize = 8;

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
