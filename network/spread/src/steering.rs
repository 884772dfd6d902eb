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

/// What a frame is about, as far as it matters whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// A client's connection to the served port, by the client's address and port.
    Client(Ipv4Addr, u16),
    /// A router says that the way to such a client is narrow.
    Narrow(Ipv4Addr, u16),
    /// A neighbour answers; nobody knows whom.
    Neighbour,
    /// All else.
    Else,
}

/// What this frame is about, where clients come to this port.
#[inline]
pub(crate) fn about(frame: &[u8], served: u16) -> About {
    let Some((header, content)) = Ethernet::parse(frame) else { return About::Else };
    if header.ethertype == TYPE_ARP {
        // One answers questions; answers are for whoever asked.
        let is_answer = Arp::parse(content).is_some_and(|arp| arp.operation == Operation::Reply);
        return if is_answer { About::Neighbour } else { About::Else };
    }
    if header.ethertype != TYPE_IPV4 {
        return About::Else;
    }
    let Ok((packet, content)) = Ipv4::parse(content) else { return About::Else };
    match packet.protocol {
        PROTOCOL_TCP if !packet.fragment => match *content {
            [s, t, d, e, ..] if u16::from_be_bytes([d, e]) == served => {
                About::Client(packet.source, u16::from_be_bytes([s, t]))
            }
            _ => About::Else,
        },
        PROTOCOL_ICMP => match TooBig::parse(content) {
            Some(TooBig { ports: (ours, theirs), destination, .. }) if ours == served => {
                About::Narrow(destination, theirs)
            }
            _ => About::Else,
        },
        _ => About::Else,
    }
}

/// Who gets this frame, where connections to `served` are spread by us.
#[inline]
pub(crate) fn way(frame: &[u8], served: u16, cores: usize) -> Way {
    match about(frame, served) {
        About::Client(client, port) | About::Narrow(client, port) => Way::Core(core_of(client, port, cores)),
        About::Neighbour => Way::All,
        About::Else => FIRST,
    }
}
