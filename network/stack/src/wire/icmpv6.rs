//! ICMPv6 (RFC 4443): echo, too big, and the messages of neighbour discovery (RFC 4861).

use core::net::Ipv6Addr;

use super::checksum::Sum;
use super::ipv6::{PROTOCOL_ICMP, address};
use super::{be32, put32};

/// Bytes of an echo header.
pub const ECHO_HEADER: usize = 8;
/// Bytes of a neighbour's question or answer with one Ethernet address.
pub const NEIGHBOUR_LEN: usize = 32;
/// Bytes of a question for routers with our Ethernet address.
pub const ROUTERS_LEN: usize = 16;
/// Prefixes that are read from one advertisement; the ones behind them are not.
pub const PREFIXES_MAX: usize = 4;

const TOO_BIG: u8 = 2;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// A prefix that a router tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixInformation {
    /// The leading bits.
    pub prefix: Ipv6Addr,
    /// How many of them count.
    pub len: u8,
    /// Addresses with it are neighbours.
    pub on_link: bool,
    /// Addresses may be made from it.
    pub autonomous: bool,
    /// For how long, in seconds; all ones for ever.
    pub valid_s: u32,
    /// How long new connections should use them, in seconds.
    pub preferred_s: u32,
}

/// What a router tells of itself and its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advertisement {
    /// How long it forwards for others, in seconds; 0 when it does not.
    pub lifetime_s: u16,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// The longest packet of this link.
    pub mtu: Option<u32>,
    /// Prefixes.
    pub prefixes: [Option<PrefixInformation>; PREFIXES_MAX],
}

/// A checked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Somebody wants to hear this again.
    EchoRequest {
        /// Identifier and sequence number.
        name: [u8; 4],
        /// What comes back with them.
        data: &'a [u8],
    },
    /// A packet of ours did not fit a link on its way.
    TooBig {
        /// The longest packet there.
        mtu: u32,
        /// The beginning of ours.
        packet: &'a [u8],
    },
    /// Who has this address?
    Solicitation {
        /// The address.
        target: Ipv6Addr,
        /// Who asks; nothing when it only looks whether the address is taken.
        mac: Option<[u8; 6]>,
    },
    /// Who has this address.
    Answer {
        /// The address.
        target: Ipv6Addr,
        /// Where it is.
        mac: Option<[u8; 6]>,
        /// Somebody had asked.
        solicited: bool,
    },
    /// What a router tells.
    Advertisement(Advertisement),
    /// Something else.
    Other,
}

/// Checks a message with its checksum; `hop_limit` is its packet's.
pub fn parse(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Message<'_>> {
    let mut sum = Sum::new();
    sum.add_pseudo_header6(source, destination, PROTOCOL_ICMP, message.len());
    sum.add(message);
    if !sum.is_good() {
        return None;
    }
    let (fixed, rest) = message.split_first_chunk::<8>()?;
    let code = fixed[1];
    if (ROUTER_SOLICITATION..=NEIGHBOUR_ADVERTISEMENT).contains(&fixed[0]) && (hop_limit != 255 || code != 0)
    {
        // It was forwarded, so it is not from our link (RFC 4861, 11.2).
        return None;
    }
    Some(match fixed[0] {
        ECHO_REQUEST if code == 0 => {
            Message::EchoRequest { name: [fixed[4], fixed[5], fixed[6], fixed[7]], data: rest }
        }
        TOO_BIG => Message::TooBig { mtu: be32(fixed, 4), packet: rest },
        NEIGHBOUR_SOLICITATION => {
            let (target, options) = target(rest)?;
            Message::Solicitation { target, mac: Options::read(options)?.source }
        }
        NEIGHBOUR_ADVERTISEMENT => {
            let (target, options) = target(rest)?;
            let solicited = fixed[4] & 0x40 != 0;
            Message::Answer { target, mac: Options::read(options)?.target, solicited }
        }
        ROUTER_ADVERTISEMENT => {
            let options = Options::read(rest.get(8..)?)?;
            Message::Advertisement(Advertisement {
                lifetime_s: u16::from_be_bytes([fixed[6], fixed[7]]),
                mac: options.source,
                mtu: options.mtu,
                prefixes: options.prefixes,
            })
        }
        _ => Message::Other,
    })
}

fn target(bytes: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (octets, options) = bytes.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*octets);
    (!target.is_multicast()).then_some((target, options))
}

#[derive(Default)]
struct Options {
    source: Option<[u8; 6]>,
    target: Option<[u8; 6]>,
    mtu: Option<u32>,
    prefixes: [Option<PrefixInformation>; PREFIXES_MAX],
}

impl Options {
    /// Nothing when one of them has a wrong length; unknown ones are passed over.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let (mut options, mut prefixes) = (Self::default(), 0);
        while !bytes.is_empty() {
            let len = 8 * usize::from(*bytes.get(1)?);
            if len == 0 {
                return None;
            }
            let (option, rest) = bytes.split_at_checked(len)?;
            match (option[0], len) {
                (1, 8) => options.source = option[2..8].try_into().ok(),
                (2, 8) => options.target = option[2..8].try_into().ok(),
                (5, 8) => options.mtu = Some(be32(option, 4)),
                (3, 32) if prefixes < PREFIXES_MAX && option[2] <= 128 => {
                    options.prefixes[prefixes] = Some(PrefixInformation {
                        prefix: address(option, 16),
                        len: option[2],
                        on_link: option[3] & 0x80 != 0,
                        autonomous: option[3] & 0x40 != 0,
                        valid_s: be32(option, 4),
                        preferred_s: be32(option, 8),
                    });
                    prefixes += 1;
                }
                _ => {}
            }
            bytes = rest;
        }
        Some(options)
    }
}

/// Writes the checksum of a message whose field for it is 0.
fn seal(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8], data: &[u8]) {
    let mut sum = Sum::new();
    sum.add_pseudo_header6(source, destination, PROTOCOL_ICMP, message.len() + data.len());
    sum.add(message);
    sum.add(data);
    let checksum = sum.finish();
    message[2..4].copy_from_slice(&checksum);
}

/// The header of an echo reply; the data follows it.
pub fn echo_reply(source: Ipv6Addr, destination: Ipv6Addr, name: [u8; 4], data: &[u8]) -> [u8; ECHO_HEADER] {
    let mut message = [0; ECHO_HEADER];
    message[0] = ECHO_REPLY;
    message[4..].copy_from_slice(&name);
    seal(source, destination, &mut message, data);
    message
}

/// A question who has an address. From the unspecified address it only looks whether somebody has it, and says no Ethernet
/// address (RFC 4861, 4.3).
pub fn solicitation(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    mac: [u8; 6],
) -> ([u8; NEIGHBOUR_LEN], usize) {
    let mut message = [0; NEIGHBOUR_LEN];
    message[0] = NEIGHBOUR_SOLICITATION;
    message[8..24].copy_from_slice(&target.octets());
    let len = if source.is_unspecified() { 24 } else { NEIGHBOUR_LEN };
    if len == NEIGHBOUR_LEN {
        message[24..26].copy_from_slice(&[1, 1]);
        message[26..].copy_from_slice(&mac);
    }
    seal(source, destination, &mut message[..len], &[]);
    (message, len)
}

/// That we have an address.
pub fn answer(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    mac: [u8; 6],
    solicited: bool,
) -> [u8; NEIGHBOUR_LEN] {
    let mut message = [0; NEIGHBOUR_LEN];
    message[0] = NEIGHBOUR_ADVERTISEMENT;
    // Solicited or not, and instead of what was known before.
    put32(&mut message, 4, (u32::from(solicited) << 30) | 1 << 29);
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..].copy_from_slice(&mac);
    seal(source, destination, &mut message, &[]);
    message
}

/// A question which routers there are.
pub fn routers(source: Ipv6Addr, destination: Ipv6Addr, mac: [u8; 6]) -> [u8; ROUTERS_LEN] {
    let mut message = [0; ROUTERS_LEN];
    message[0] = ROUTER_SOLICITATION;
    message[8..10].copy_from_slice(&[1, 1]);
    message[10..].copy_from_slice(&mac);
    seal(source, destination, &mut message, &[]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn us() -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)
    }

    fn them() -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (message, len) = solicitation(us(), them(), them(), MAC);
        let read = parse(us(), them(), 255, &message[..len]);
        assert_eq!(read, Some(Message::Solicitation { target: them(), mac: Some(MAC) }));
        let (message, len) = solicitation(Ipv6Addr::UNSPECIFIED, them(), them(), MAC);
        let read = parse(Ipv6Addr::UNSPECIFIED, them(), 255, &message[..len]);
        assert_eq!(read, Some(Message::Solicitation { target: them(), mac: None }));
        let message = answer(us(), them(), us(), MAC, true);
        let read = parse(us(), them(), 255, &message);
        assert_eq!(read, Some(Message::Answer { target: us(), mac: Some(MAC), solicited: true }));
        assert_eq!(parse(us(), them(), 64, &message), None, "it was forwarded");
        assert_eq!(parse(us(), us(), 255, &message), None, "the checksum has the addresses in it");
        let header = echo_reply(us(), them(), [1, 2, 3, 4], b"data");
        assert_eq!(parse(us(), them(), 9, &[&header[..], b"data"].concat()), Some(Message::Other));
        assert_eq!(parse(us(), them(), 255, &routers(us(), them(), MAC)), Some(Message::Other));
    }

    /// A message with a good checksum.
    fn sealed(mut message: Vec<u8>) -> Vec<u8> {
        seal(them(), us(), &mut message, &[]);
        message
    }

    #[test]
    fn a_router_tells_prefixes_and_bad_options_make_it_worth_nothing() {
        let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 7]);
        message.extend_from_slice(&[5, 1, 0, 0, 0, 0, 5, 0]);
        let mut prefix = vec![3, 4, 64, 0xc0, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 0];
        prefix.extend_from_slice(&us().octets());
        (0..PREFIXES_MAX + 2).for_each(|_| message.extend_from_slice(&prefix));
        let Some(Message::Advertisement(told)) = parse(them(), us(), 255, &sealed(message.clone())) else {
            panic!("it is right")
        };
        assert_eq!((told.lifetime_s, told.mac, told.mtu), (0x708, Some(MAC), Some(1280)));
        let expected = PrefixInformation {
            prefix: us(),
            len: 64,
            on_link: true,
            autonomous: true,
            valid_s: 9,
            preferred_s: 8,
        };
        assert_eq!(told.prefixes, [Some(expected); PREFIXES_MAX]);
        for wrong in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 0, 0, 0, 0, 0, 0], &[1]] {
            let message = [&message[..], wrong].concat();
            assert_eq!(parse(them(), us(), 255, &sealed(message)), None, "{wrong:?}");
        }
    }
}
