//! IPv6 headers (RFC 8200).

use core::net::Ipv6Addr;

use super::{be16, put16};

/// Bytes of a header, which is all that is sent in front of the transport's.
pub const HEADER: usize = 40;
/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMP: u8 = 58;
/// The hop limit of what must not have been forwarded (RFC 4861).
pub const HOP_LIMIT_MAX: u8 = 255;
/// The hop limit of everything else.
pub const HOP_LIMIT: u8 = 64;
/// Extension headers that are skipped in one packet; one with more is refused.
pub const EXTENSIONS_MAX: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6 {
    /// Who sent the packet.
    pub source: Ipv6Addr,
    /// Who shall have it.
    pub destination: Ipv6Addr,
    /// What is inside, behind all extension headers.
    pub protocol: u8,
    /// How often it may still be forwarded.
    pub hop_limit: u8,
}

/// Why a packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Lengths or version do not fit.
    Malformed,
    /// It is a piece of a larger packet.
    Fragment,
    /// An extension header asks for what is not done here, or there are too many of them.
    Extension,
}

impl Ipv6 {
    /// Splits a packet into header and content. Extension headers that ask for nothing are skipped; padding behind the packet
    /// is cut off. A fragment header that makes no fragment (RFC 6946) is skipped as well.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Refusal> {
        let (fixed, rest) = packet.split_first_chunk::<HEADER>().ok_or(Refusal::Malformed)?;
        if fixed[0] >> 4 != 6 {
            return Err(Refusal::Malformed);
        }
        let mut content = rest.get(..usize::from(be16(fixed, 4))).ok_or(Refusal::Malformed)?;
        let mut protocol = fixed[6];
        let mut skipped = 0;
        while matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            // Only the first header may speak to every hop (RFC 8200, 4.1).
            if skipped == EXTENSIONS_MAX || (protocol == HOP_BY_HOP && skipped > 0) {
                return Err(Refusal::Extension);
            }
            let [next, len, third, fourth, ..] = *content else { return Err(Refusal::Malformed) };
            let len = if protocol == FRAGMENT { 8 } else { 8 + 8 * usize::from(len) };
            let (header, behind) = content.split_at_checked(len).ok_or(Refusal::Malformed)?;
            match protocol {
                FRAGMENT if u16::from_be_bytes([third, fourth]) & 0xfff9 != 0 => {
                    return Err(Refusal::Fragment);
                }
                // Whoever is not at the end of a route forwards, which is not done here.
                ROUTING if fourth != 0 => return Err(Refusal::Extension),
                HOP_BY_HOP | DESTINATION => ignorable(&header[2..])?,
                _ => {}
            }
            (protocol, content) = (next, behind);
            skipped += 1;
        }
        let header = Self {
            source: address(fixed, 8),
            destination: address(fixed, 24),
            protocol,
            hop_limit: fixed[7],
        };
        Ok((header, content))
    }

    /// Writes a header to the front of a buffer.
    pub fn emit(&self, buffer: &mut [u8], content_len: usize) {
        buffer[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        put16(buffer, 4, content_len as u16);
        buffer[6] = self.protocol;
        buffer[7] = self.hop_limit;
        buffer[8..24].copy_from_slice(&self.source.octets());
        buffer[24..40].copy_from_slice(&self.destination.octets());
    }
}

/// All options say that whoever does not know them passes them over (RFC 8200, 4.2); we know none but padding.
fn ignorable(mut options: &[u8]) -> Result<(), Refusal> {
    while let [kind, rest @ ..] = options {
        if *kind == 0 {
            options = rest;
            continue;
        }
        if kind >> 6 != 0 {
            return Err(Refusal::Extension);
        }
        let len = usize::from(*rest.first().ok_or(Refusal::Malformed)?);
        options = rest.get(1 + len..).ok_or(Refusal::Malformed)?;
    }
    Ok(())
}

/// The address at a place.
pub(crate) fn address(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// An address that a single host can have.
pub fn is_host(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || address.to_ipv4_mapped().is_some())
}

/// An address that is good on its link only.
pub fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// Where those that have an address listen who ask for its Ethernet address (RFC 4291, 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(octets[13]),
        u16::from(octets[14]) << 8 | u16::from(octets[15]),
    )
}

/// The Ethernet address of a group (RFC 2464, 7).
pub fn group_mac(group: Ipv6Addr) -> [u8; 6] {
    let octets = group.octets();
    [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
}

/// The address of an interface under a prefix of 64 bits (RFC 4291, appendix A).
pub fn of_interface(prefix: Ipv6Addr, mac: [u8; 6]) -> Ipv6Addr {
    let mut octets = prefix.octets();
    octets[8..].copy_from_slice(&[mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]]);
    Ipv6Addr::from(octets)
}

/// Whether two addresses share so many leading bits.
pub fn same_prefix(one: Ipv6Addr, other: Ipv6Addr, len: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    (one.to_bits() ^ other.to_bits()) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn packet(protocol: u8, content: &[u8]) -> Vec<u8> {
        let header =
            Ipv6 { source: Ipv6Addr::LOCALHOST, destination: Ipv6Addr::LOCALHOST, protocol, hop_limit: 9 };
        let mut packet = vec![0; HEADER];
        header.emit(&mut packet, content.len());
        packet.extend_from_slice(content);
        packet
    }

    #[test]
    fn extension_headers_that_ask_for_nothing_are_skipped() {
        let padding = [6, 0, 1, 4, 0, 0, 0, 0];
        for (protocol, header) in
            [(HOP_BY_HOP, padding), (DESTINATION, padding), (ROUTING, [6, 0, 0, 0, 0, 0, 0, 0])]
        {
            let packet = packet(protocol, &[&header[..], b"content"].concat());
            let (header, content) = Ipv6::parse(&packet).expect("it is right");
            assert_eq!((header.protocol, header.hop_limit, content), (6, 9, &b"content"[..]));
        }
        let atomic = packet(FRAGMENT, &[&[6, 0, 0, 0, 1, 2, 3, 4][..], b"content"].concat());
        assert_eq!(Ipv6::parse(&atomic).map(|(_, content)| content), Ok(&b"content"[..]));
        let padded = [packet(6, b"content"), vec![0; 9]].concat();
        assert_eq!(Ipv6::parse(&padded).map(|(_, content)| content), Ok(&b"content"[..]));
    }

    #[test]
    fn what_asks_for_something_or_is_a_piece_is_refused() {
        for (protocol, header, refusal) in [
            (FRAGMENT, [6, 0, 0, 1, 0, 0, 0, 0], Refusal::Fragment),
            (FRAGMENT, [6, 0, 0, 8, 0, 0, 0, 0], Refusal::Fragment),
            (ROUTING, [6, 0, 0, 1, 0, 0, 0, 0], Refusal::Extension),
            (DESTINATION, [6, 0, 0x80, 4, 0, 0, 0, 0], Refusal::Extension),
            (HOP_BY_HOP, [6, 0, 1, 5, 0, 0, 0, 0], Refusal::Malformed),
            (HOP_BY_HOP, [6, 1, 1, 4, 0, 0, 0, 0], Refusal::Malformed),
        ] {
            assert_eq!(Ipv6::parse(&packet(protocol, &header)), Err(refusal), "{header:?}");
        }
        let many: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(EXTENSIONS_MAX + 1);
        assert_eq!(Ipv6::parse(&packet(DESTINATION, &many)), Err(Refusal::Extension));
        let late = [&[HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0][..], &[6, 0, 1, 4, 0, 0, 0, 0]].concat();
        assert_eq!(Ipv6::parse(&packet(DESTINATION, &late)), Err(Refusal::Extension));
        let whole = packet(6, b"content");
        for len in 0..whole.len() {
            assert_eq!(Ipv6::parse(&whole[..len]), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn addresses_are_made_as_the_standards_say() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
        assert_eq!(
            of_interface(link_local, mac),
            "fe80::5054:ff:fe12:3456".parse::<Ipv6Addr>().expect("one")
        );
        let group = solicited_node(of_interface(link_local, mac));
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().expect("one"));
        assert_eq!(group_mac(group), [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert!(same_prefix(group, group, 128) && same_prefix(group, link_local, 0));
        assert!(!same_prefix(group, link_local, 16) && is_link_local(link_local) && !is_link_local(group));
    }
}
