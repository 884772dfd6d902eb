//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use super::{be16, put16};

/// Bytes of a packet.
pub const LEN: usize = 28;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// A checked packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: Operation,
    /// Ethernet address of the sender.
    pub sender_mac: [u8; 6],
    /// IPv4 address of the sender.
    pub sender: Ipv4Addr,
    /// Ethernet address of the target; without meaning in a request.
    pub target_mac: [u8; 6],
    /// IPv4 address of the target.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Checks a packet; padding behind it is ignored.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let packet = packet.first_chunk::<LEN>()?;
        if packet[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let operation = match be16(packet, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let mut sender_mac = [0; 6];
        let mut target_mac = [0; 6];
        sender_mac.copy_from_slice(&packet[8..14]);
        target_mac.copy_from_slice(&packet[18..24]);
        Some(Self {
            operation,
            sender_mac,
            sender: Ipv4Addr::new(packet[14], packet[15], packet[16], packet[17]),
            target_mac,
            target: Ipv4Addr::new(packet[24], packet[25], packet[26], packet[27]),
        })
    }

    /// Writes the packet to the front of a buffer.
    pub fn emit(&self, buffer: &mut [u8]) {
        buffer[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        put16(buffer, 6, if self.operation == Operation::Request { 1 } else { 2 });
        buffer[8..14].copy_from_slice(&self.sender_mac);
        buffer[14..18].copy_from_slice(&self.sender.octets());
        buffer[18..24].copy_from_slice(&self.target_mac);
        buffer[24..28].copy_from_slice(&self.target.octets());
    }
}
