//! Datagrams seen from the wire, and an address that comes and goes.

mod common;

use common::{Host, Ring, Talker, address, config};
use nom_stack::counters::Drop;
use nom_stack::datagrams::{BindError, DATAGRAM_BYTES, PAYLOAD_MAX, PORTS_MAX, QUEUE_BYTES, SendError};
use nom_stack::wire::arp::{Arp, Operation};
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ethernet::{BROADCAST, Ethernet, TYPE_ARP, TYPE_IPV4};
use nom_stack::wire::ipv4::{Ipv4, PROTOCOL_ICMP};
use nom_stack::wire::udp::{self, PROTOCOL_UDP, Udp};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;
const US: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn host() -> Host<Talker> {
    Host::new(config(2), |ring: Rc<RefCell<Ring>>| Talker::new(1, 0, ring))
}

fn datagram(mac: [u8; 6], destination: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 34 + udp::HEADER];
    Ethernet { destination: mac, source: MAC, ethertype: TYPE_IPV4 }.emit(&mut frame);
    let packet =
        Ipv4 { source: address(9), destination, protocol: PROTOCOL_UDP, fragment: false, congestion: 0 };
    packet.emit(&mut frame[14..], udp::HEADER + payload.len());
    let datagram = Udp { source_port: ports.0, destination_port: ports.1, payload };
    datagram.emit(address(9), destination, &mut frame[34..]);
    frame.extend_from_slice(payload);
    frame
}

fn arp(operation: Operation, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; 42];
    Ethernet { destination: US, source: MAC, ethertype: TYPE_ARP }.emit(&mut frame);
    let arp = Arp { operation, sender_mac: MAC, sender: address(9), target_mac: US, target };
    arp.emit(&mut frame[14..]);
    frame
}

#[test]
fn what_arrives_for_a_port_waits_there_up_to_its_bound() {
    let mut host = host();
    host.engine.bind(7).expect("it is free");
    assert_eq!(host.engine.bind(7), Err(BindError::Taken));
    for port in 100..100 + PORTS_MAX as u16 - 1 {
        host.engine.bind(port).expect("there is room");
    }
    assert_eq!(host.engine.bind(99), Err(BindError::TooMany));
    let fits = QUEUE_BYTES / (DATAGRAM_BYTES + 1000);
    for number in 0..fits + 3 {
        host.give(datagram(US, address(2), (5, 7), &[number as u8; 1000]), 1);
    }
    host.step(1);
    assert_eq!(host.engine.counters().dropped(Drop::NoMemory), 3, "the newest make no room");
    for number in 0..fits {
        let datagram = host.engine.take_datagram(7).expect("it waits");
        assert_eq!((datagram.source, datagram.source_port), (address(9), 5));
        assert_eq!(datagram.payload, [number as u8; 1000]);
    }
    assert_eq!(host.engine.take_datagram(7), None);
    assert!(host.take_shown().is_empty(), "nobody is answered");
    host.engine.unbind(7);
    assert_eq!(host.engine.take_datagram(7), None);
}

#[test]
fn a_port_that_nobody_bound_is_unreachable_but_not_for_everybody() {
    let mut host = host();
    let mut frame = datagram(US, address(2), (5, 7), b"anybody?");
    host.give(frame.clone(), 1);
    host.give(datagram(BROADCAST, Ipv4Addr::BROADCAST, (5, 7), b"anybody?"), 1);
    frame[49] ^= 1;
    host.give(frame.clone(), 1);
    host.step(1);
    let said = host.take_shown();
    assert_eq!(said.len(), 1);
    assert_eq!(host.engine.counters().dropped(Drop::NoPort), 2);
    assert_eq!(host.engine.counters().dropped(Drop::Checksum), 1);
    let (ethernet, content) = Ethernet::parse(&said[0]).expect("a frame");
    let (packet, content) = Ipv4::parse(content).expect("a packet");
    assert_eq!((ethernet.destination, packet.destination, packet.protocol), (MAC, address(9), PROTOCOL_ICMP));
    assert!(Sum::of(content).is_good());
    assert_eq!((content[0], content[1], &content[28..36]), (3, 3, &frame[34..42]));
    // At most so many a second.
    for _ in 0..500 {
        host.give(datagram(US, address(2), (5, 7), b""), 2);
        host.step(2);
    }
    assert_eq!(host.take_shown().len(), 99);
}

#[test]
fn a_datagram_waits_for_its_neighbour_and_leaves_whole() {
    let mut host = host();
    host.engine.bind(7).expect("it is free");
    host.engine.send_datagram(7, (address(9), 53), b"who?", 1).expect("a route");
    let said = host.take_shown();
    assert_eq!(said.len(), 1, "only the question for its address");
    assert_eq!(Arp::parse(&said[0][14..]).map(|arp| arp.target), Some(address(9)));
    host.give(arp(Operation::Reply, address(2)), 2);
    host.step(2);
    let said = host.take_shown();
    let (packet, content) = Ipv4::parse(&said[0][14..]).expect("a packet");
    let sent = Udp::parse(packet.source, packet.destination, content, false).expect("a datagram");
    assert_eq!((sent.source_port, sent.destination_port, sent.payload), (7, 53, &b"who?"[..]));
    // The address is known now; one that nobody answers for is lost.
    host.engine.send_datagram(7, (address(9), 53), &[1; PAYLOAD_MAX], 3).expect("a route");
    assert_eq!(host.take_shown()[0].len(), 1514);
    host.engine.send_datagram(7, (address(8), 53), b"lost", 3).expect("a route");
    host.take_shown();
    host.engine.send_datagram(7, (address(7), 53), b"late", 3).expect("a route");
    let mut late = arp(Operation::Reply, address(2));
    late[28..32].copy_from_slice(&address(7).octets());
    host.take_shown();
    host.give(late, 60 * SECOND);
    host.step(60 * SECOND);
    assert!(host.take_shown().is_empty());
    assert_eq!(host.engine.counters().dropped(Drop::Unresolved), 2);
    let far = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(host.engine.send_datagram(7, (far, 53), b"", 3), Err(SendError::NoRoute));
    let long = [1; PAYLOAD_MAX + 1];
    assert_eq!(host.engine.send_datagram(7, (address(9), 53), &long, 3), Err(SendError::TooLong));
    host.engine.send_datagram(7, (Ipv4Addr::BROADCAST, 67), b"all", 3).expect("everybody is there");
    let said = host.take_shown();
    assert_eq!(Ethernet::parse(&said[0]).expect("a frame").0.destination, BROADCAST);
}

#[test]
fn without_an_address_nothing_is_answered_and_a_lost_one_ends_its_connections() {
    let mut pair = common::Pair::talkers(1, 10_000_000);
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    pair.run_until(now_ns + 2_000_000);
    assert_eq!(pair.hosts[1].engine.open_connections(), 1);
    let sent = pair.wires[1].log.len();
    let now_ns = pair.now_ns;
    pair.hosts[1].engine.set_address(None, None, now_ns);
    assert_eq!(pair.hosts[1].engine.open_connections(), 0);
    assert_eq!(pair.hosts[1].engine.application().ended.len(), 1);
    let mut question = arp(Operation::Request, Ipv4Addr::UNSPECIFIED);
    question[28..32].copy_from_slice(&address(9).octets());
    pair.hosts[1].give(question, now_ns);
    pair.run_until(now_ns + SECOND);
    let after = &pair.wires[1].log[sent..];
    assert!(after.is_empty(), "{} frames without an address", after.len());
    assert!(pair.hosts[1].engine.is_unused());
    // Datagrams to everybody still come, which is how an address is found again.
    let host = &mut pair.hosts[1];
    host.engine.bind(68).expect("it is free");
    let now_ns = now_ns + SECOND;
    host.give(datagram(BROADCAST, Ipv4Addr::BROADCAST, (67, 68), b"here"), now_ns);
    host.give(datagram(US, Ipv4Addr::UNSPECIFIED, (67, 99), b"nobody"), now_ns);
    host.step(now_ns);
    assert_eq!(host.engine.take_datagram(68).map(|datagram| datagram.payload), Some(b"here".to_vec()));
    assert!(host.take_shown().is_empty());
    host.engine.set_address(Some((address(3), 24)), None, now_ns);
    host.give(arp(Operation::Request, address(3)), now_ns);
    host.step(now_ns);
    assert_eq!(host.take_shown().len(), 1, "it answers for its new address");
}
