//! Whose frame it is.

use core::net::Ipv4Addr;
use nom_stack::wire::arp::{Arp, Operation};
use nom_stack::wire::ethernet::{Ethernet, TYPE_ARP, TYPE_IPV4};
use nom_stack::wire::icmp::TooBig;
use nom_stack::wire::ipv4::{Ipv4, PROTOCOL_ICMP, PROTOCOL_TCP};

/// Who gets a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The core with this number; the first one is 0.
    Core(usize),
    /// All of them.
    All,
}

const FIRST: Way = Way::Core(0);

/// The core of a client's connection.
pub(crate) fn core_of(client: Ipv4Addr, port: u16, cores: usize) -> usize {
    // Multiplying carries every bit to the upper half, which decides.
    let mixed = (u64::from(u32::from(client)) << 16 | u64::from(port)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((mixed >> 32) * cores as u64) >> 32) as usize
}

/// Who gets this frame, where connections to `served` are spread.
#[inline]
pub(crate) fn way(frame: &[u8], served: u16, cores: usize) -> Way {
    let Some((header, content)) = Ethernet::parse(frame) else { return FIRST };
    if header.ethertype == TYPE_ARP {
        // One answers questions; answers are for whoever asked.
        let is_answer = Arp::parse(content).is_some_and(|arp| arp.operation == Operation::Reply);
        return if is_answer { Way::All } else { FIRST };
    }
    if header.ethertype != TYPE_IPV4 {
        return FIRST;
    }
    let Ok((packet, content)) = Ipv4::parse(content) else { return FIRST };
    match packet.protocol {
        PROTOCOL_TCP if !packet.fragment => match *content {
            [s, t, d, e, ..] if u16::from_be_bytes([d, e]) == served => {
                Way::Core(core_of(packet.source, u16::from_be_bytes([s, t]), cores))
            }
            _ => FIRST,
        },
        PROTOCOL_ICMP => match TooBig::parse(content) {
            Some(TooBig { ports: (ours, theirs), destination, .. }) if ours == served => {
                Way::Core(core_of(destination, theirs, cores))
            }
            _ => FIRST,
        },
        _ => FIRST,
    }
}
