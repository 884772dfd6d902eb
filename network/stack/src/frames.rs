//! A received frame's first steps: Ethernet, then ARP or IPv4 (IPv6 is in `frames6`), then ICMP or TCP. Whatever is not for us or not
//! understood is dropped without an answer and counted by reason.

use core::net::Ipv4Addr;

use crate::application::Application;
use crate::config::Config;
use crate::counters::Drop;
use crate::datagrams::{Datagrams, Sender};
use crate::frames6;
use crate::port::Egress;
use crate::rate::Bucket;
use crate::tcp::{From, Tcp, World};
use crate::wire::ethernet::{self, BROADCAST, Ethernet, TYPE_ARP, TYPE_IPV4, TYPE_IPV6};
use crate::wire::icmp::{self, Echo, TooBig};
use crate::wire::ipv4::{self, Ipv4, PROTOCOL_ICMP, PROTOCOL_TCP, Refusal};
use crate::wire::tcp::{Segment, checksum_good};
use crate::wire::udp::PROTOCOL_UDP;

/// Echo replies that we send in a second.
const ECHOES_PER_SECOND: u32 = 1_000;

/// What decides about a frame before it belongs to a connection.
pub(crate) struct Door {
    pub(crate) mac: [u8; 6],
    address: Ipv4Addr,
    pub(crate) echoes: Bucket,
    pub(crate) datagrams: Datagrams,
}

impl Door {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mac: config.mac,
            address: config.address,
            echoes: Bucket::new(ECHOES_PER_SECOND),
            datagrams: Datagrams::new(),
        }
    }

    /// Who we are. The unspecified address: nobody yet.
    pub(crate) fn us(&self) -> Sender {
        Sender { mac: self.mac, address: self.address }
    }

    pub(crate) fn set_address(&mut self, address: Ipv4Addr) {
        self.address = address;
    }

    /// Acts on one frame.
    #[inline(always)]
    pub(crate) fn receive<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        frame: &[u8],
        arrived_ns: u64,
        checksum_known_good: bool,
    ) {
        if !self.receive_segment(world, tcp, frame, arrived_ns, checksum_known_good) {
            self.receive_other(world, tcp, frame, arrived_ns, checksum_known_good);
        }
    }

    /// Acts on a segment to us over IPv4 that nothing is wrong with, which is what nearly every frame is. False when it is
    /// anything else, and nothing was done.
    #[inline(always)]
    fn receive_segment<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        frame: &[u8],
        arrived_ns: u64,
        checksum_known_good: bool,
    ) -> bool {
        let Some((header, content)) = Ethernet::parse(frame) else { return false };
        if header.destination != self.mac
            || header.ethertype != TYPE_IPV4
            || !ethernet::is_station(header.source)
        {
            return false;
        }
        let Ok((packet, content)) = Ipv4::parse(content) else { return false };
        if packet.destination != self.address
            || packet.source == self.address
            || !ipv4::is_host(packet.source)
            || packet.fragment
            || packet.protocol != PROTOCOL_TCP
        {
            return false;
        }
        let Some(segment) = Segment::parse(content) else { return false };
        if !checksum_known_good && !checksum_good(packet.source, packet.destination, content) {
            return false;
        }
        let congestion = packet.congestion;
        let from = From { address: packet.source, mac: header.source, arrived_ns, congestion };
        tcp.receive(world, &from, &segment);
        true
    }

    /// Acts on every other frame, or says why not.
    #[cold]
    #[inline(never)]
    fn receive_other<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        frame: &[u8],
        arrived_ns: u64,
        checksum_known_good: bool,
    ) {
        let Some((header, content)) = Ethernet::parse(frame) else {
            world.out.counters.drop(Drop::Malformed);
            return;
        };
        let ours = header.destination == self.mac;
        if (!ours && header.destination != BROADCAST) || !ethernet::is_station(header.source) {
            if header.ethertype == TYPE_IPV6 && frames6::is_group(&header) {
                self.receive6(world, tcp, header, content, arrived_ns, checksum_known_good);
            } else {
                world.out.counters.drop(Drop::NotForUs);
            }
            return;
        }
        match header.ethertype {
            TYPE_IPV4 if ours => {}
            TYPE_ARP => {
                if let Some((address, mac)) = world.neighbours.receive(content, world.out, world.now_ns) {
                    tcp.neighbour_found(address, mac);
                    let us = self.us();
                    self.datagrams.neighbour_found(us, (address, mac), world.out, world.now_ns);
                }
                return;
            }
            TYPE_IPV4 => {
                self.receive_broadcast(world, header.source, content, checksum_known_good);
                return;
            }
            TYPE_IPV6 if ours => {
                self.receive6(world, tcp, header, content, arrived_ns, checksum_known_good);
                return;
            }
            _ => {
                world.out.counters.drop(Drop::Protocol);
                return;
            }
        }
        let (packet, content) = match Ipv4::parse(content) {
            Ok(parsed) => parsed,
            Err(Refusal::Malformed) => {
                world.out.counters.drop(Drop::Malformed);
                return;
            }
            Err(Refusal::Checksum) => {
                world.out.counters.drop(Drop::Checksum);
                return;
            }
        };
        if packet.destination != self.address
            || packet.source == self.address
            || !ipv4::is_host(packet.source)
        {
            world.out.counters.drop(Drop::NotForUs);
            return;
        }
        if packet.fragment {
            world.out.counters.drop(Drop::Fragment);
            return;
        }
        match packet.protocol {
            PROTOCOL_TCP => {
                // A good one would not have come here.
                let whole = Segment::parse(content).is_some();
                world.out.counters.drop(if whole { Drop::Checksum } else { Drop::Malformed });
            }
            PROTOCOL_ICMP => {
                if let Some(message) = TooBig::parse(content) {
                    self.too_big(world, tcp, &message);
                } else {
                    self.echo(world, tcp, header.source, packet.source, content);
                }
            }
            PROTOCOL_UDP => {
                self.datagram(world, header.source, packet, content, checksum_known_good);
            }
            _ => world.out.counters.drop(Drop::Protocol),
        }
    }

    /// A packet of ours was too big for somebody on the way.
    fn too_big<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        message: &TooBig,
    ) {
        let (ours, theirs) = message.ports;
        let believed = message.source == self.address
            && tcp.find(message.destination, theirs, ours).is_some_and(|slot| {
                tcp.packet_too_big(world, slot, message.sequence, (message.mtu, message.packet_len))
            });
        if !believed {
            world.out.counters.drop(Drop::Unacceptable);
        }
    }

    /// Acts on a datagram.
    fn datagram<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        mac: [u8; 6],
        packet: Ipv4,
        content: &[u8],
        checksum_known_good: bool,
    ) {
        let us = self.us();
        let from = (mac, &packet);
        self.datagrams.receive(us, from, content, checksum_known_good, world.out, world.now_ns);
    }

    /// Acts on what was sent to everybody: only datagrams to the address of everybody are for us.
    #[cold]
    #[inline(never)]
    fn receive_broadcast<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        mac: [u8; 6],
        content: &[u8],
        checksum_known_good: bool,
    ) {
        match Ipv4::parse(content) {
            Ok((packet, content))
                if packet.destination.is_broadcast()
                    && packet.protocol == PROTOCOL_UDP
                    && !packet.fragment
                    && packet.source != self.address
                    && ipv4::is_host(packet.source) =>
            {
                self.datagram(world, mac, packet, content, checksum_known_good);
            }
            _ => world.out.counters.drop(Drop::Protocol),
        }
    }

    fn echo<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        tcp: &mut Tcp,
        mac: [u8; 6],
        address: Ipv4Addr,
        content: &[u8],
    ) {
        let Some(echo) = Echo::parse_request(content).filter(|_| !self.address.is_unspecified()) else {
            world.out.counters.drop(Drop::Protocol);
            return;
        };
        if !self.echoes.take(world.now_ns) {
            world.out.counters.drop(Drop::RateLimited);
            return;
        }
        // The data outlives the received frame: the device reads it later.
        let Some(loan) = tcp.send.lend(echo.data) else {
            world.out.counters.drop(Drop::NoMemory);
            return;
        };
        const ICMP_AT: usize = ethernet::HEADER + ipv4::HEADER;
        let mut headers = [0; ICMP_AT + icmp::HEADER];
        Ethernet { destination: mac, source: self.mac, ethertype: TYPE_IPV4 }.emit(&mut headers);
        let packet = Ipv4 {
            source: self.address,
            destination: address,
            protocol: PROTOCOL_ICMP,
            fragment: false,
            congestion: 0,
        };
        packet.emit(&mut headers[ethernet::HEADER..], icmp::HEADER + echo.data.len());
        echo.emit_reply(&mut headers[ICMP_AT..]);
        let frame = world.out.send(&headers, (&[tcp.send.lent(&loan)], None), None, world.now_ns);
        tcp.send.settle(loan, frame);
    }
}

/// The connection to which a frame seems to belong, before anything of it is checked: only to count who was heard.
#[inline(never)]
pub(crate) fn peek(tcp: &Tcp, frame: &[u8]) -> Option<u32> {
    let (header, content) = Ethernet::parse(frame)?;
    if header.ethertype != TYPE_IPV4 {
        return frames6::peek(tcp, header.ethertype, content);
    }
    let fixed = content.first_chunk::<{ ipv4::HEADER }>()?;
    if fixed[9] != PROTOCOL_TCP {
        return None;
    }
    let segment = Segment::parse(content.get(usize::from(fixed[0] & 15) * 4..)?)?;
    let source = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    tcp.find(source, segment.source_port, segment.destination_port)
}
