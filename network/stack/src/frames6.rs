//! The first steps of a received IPv6 packet, beside those of IPv4 in `frames`.

use core::net::Ipv6Addr;

use crate::application::Application;
use crate::counters::Drop;
use crate::frames::Door;
use crate::port::Egress;
use crate::tcp::{From, Tcp, World};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, Ethernet, TYPE_IPV6};
use crate::wire::icmpv6::{self, Message};
use crate::wire::ipv4::PROTOCOL_TCP;
use crate::wire::ipv6::{self, HOP_LIMIT, Ipv6, PROTOCOL_ICMP, Refusal};
use crate::wire::tcp::Segment;

/// A frame to a group of IPv6 (RFC 2464, 7), from a single station.
pub(crate) fn is_group(header: &Ethernet) -> bool {
    header.destination[..2] == [0x33, 0x33] && ethernet::is_station(header.source)
}

impl Door {
    /// Acts on one packet.
    #[cold]
    #[inline(never)]
    pub(crate) fn receive6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        frame: Ethernet,
        content: &[u8],
        arrived_ns: u64,
        checksum_known_good: bool,
    ) {
        let Some(six) = &world.neighbours.six else {
            world.out.counters.drop(Drop::Protocol);
            return;
        };
        let congestion = content.get(1).map_or(0, |byte| (byte >> 4) & 3);
        let (packet, content) = match Ipv6::parse(content) {
            Ok(parsed) => parsed,
            Err(refusal) => {
                world.out.counters.drop(match refusal {
                    Refusal::Malformed => Drop::Malformed,
                    Refusal::Fragment => Drop::Fragment,
                    Refusal::Extension => Drop::Extension,
                });
                return;
            }
        };
        let single = six.owns(packet.destination) && frame.destination == self.mac;
        let asks = packet.source.is_unspecified() && packet.protocol == PROTOCOL_ICMP;
        let from_host = (ipv6::is_host(packet.source) || asks) && !six.owns(packet.source);
        if !from_host || !(single || packet.protocol == PROTOCOL_ICMP && six.listens(packet.destination)) {
            world.out.counters.drop(Drop::NotForUs);
            return;
        }
        match packet.protocol {
            PROTOCOL_TCP => {
                let Some(segment) = Segment::parse(content) else {
                    world.out.counters.drop(Drop::Malformed);
                    return;
                };
                if !checksum_known_good && !checksum_good(&packet, content) {
                    world.out.counters.drop(Drop::Checksum);
                    return;
                }
                let Some(address) = tcp.meet(packet.destination, packet.source) else {
                    world.out.counters.drop(Drop::NoRecord);
                    return;
                };
                tcp.receive(world, &From { address, mac: frame.source, arrived_ns, congestion }, &segment);
            }
            PROTOCOL_ICMP => self.message6(world, tcp, frame.source, &packet, content, single),
            _ => world.out.counters.drop(Drop::Protocol),
        }
    }

    fn message6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        mac: [u8; 6],
        packet: &Ipv6,
        content: &[u8],
        single: bool,
    ) {
        let parsed = icmpv6::parse(packet.source, packet.destination, packet.hop_limit, content);
        let Some(message) = parsed else {
            world.out.counters.drop(Drop::Malformed);
            return;
        };
        match message {
            Message::EchoRequest { name, data } if single => self.echo6(world, tcp, mac, packet, name, data),
            Message::TooBig { mtu, packet } if single => tcp.too_big6(world, mtu, packet),
            Message::Solicitation { .. } | Message::Answer { .. } | Message::Advertisement(_) => {
                if let Some(six) = &mut world.neighbours.six
                    && six.receive(packet, &message, world.out, world.now_ns)
                {
                    tcp.neighbour_found6();
                }
                world.neighbours.note_tidy();
            }
            _ => world.out.counters.drop(Drop::Protocol),
        }
    }

    fn echo6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        mac: [u8; 6],
        asked: &Ipv6,
        name: [u8; 4],
        data: &[u8],
    ) {
        if !self.echoes.take(world.now_ns) {
            world.out.counters.drop(Drop::RateLimited);
            return;
        }
        // The data outlives the received frame: the device reads it later.
        let Some(loan) = tcp.send.lend(data) else {
            world.out.counters.drop(Drop::NoMemory);
            return;
        };
        const ICMP_AT: usize = ethernet::HEADER + ipv6::HEADER;
        let mut headers = [0; ICMP_AT + icmpv6::ECHO_HEADER];
        Ethernet { destination: mac, source: self.mac, ethertype: TYPE_IPV6 }.emit(&mut headers);
        let (source, destination) = (asked.destination, asked.source);
        let packet = Ipv6 { source, destination, protocol: PROTOCOL_ICMP, hop_limit: HOP_LIMIT };
        packet.emit(&mut headers[ethernet::HEADER..], icmpv6::ECHO_HEADER + data.len());
        headers[ICMP_AT..].copy_from_slice(&icmpv6::echo_reply(source, destination, name, data));
        let frame = world.out.send(&headers, (&[tcp.send.lent(&loan)], None), None, world.now_ns);
        tcp.send.settle(loan, frame);
    }
}

fn checksum_good(packet: &Ipv6, content: &[u8]) -> bool {
    let mut sum = Sum::new();
    sum.add_pseudo_header6(packet.source, packet.destination, PROTOCOL_TCP, content.len());
    sum.add(content);
    sum.is_good()
}

/// The connection to which a packet seems to belong, before anything of it is checked: only to count who was heard.
#[cold]
pub(crate) fn peek(tcp: &Tcp, ethertype: u16, content: &[u8]) -> Option<u32> {
    let fixed = content.first_chunk::<{ ipv6::HEADER }>()?;
    if ethertype != TYPE_IPV6 || fixed[6] != PROTOCOL_TCP {
        return None;
    }
    let (theirs, ours): (Ipv6Addr, Ipv6Addr) = (ipv6::address(fixed, 8), ipv6::address(fixed, 24));
    let segment = Segment::parse(&content[ipv6::HEADER..])?;
    tcp.find(tcp.name_of(ours, theirs)?, segment.source_port, segment.destination_port)
}
