//! A peer made by hand: its segments, and what the stack under test says to it.

use super::{Host, Ring, Talker, address, config};
use nom_stack::Seq;
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ethernet::{Ethernet, TYPE_IPV4};
use nom_stack::wire::ipv4::{Ipv4, PROTOCOL_TCP};
use nom_stack::wire::tcp::{Header, Options, SYN, Segment, checksum_good};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

pub fn packet(source: Ipv4Addr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 34];
    Ethernet { destination: [2, 0, 0, 0, 0, 2], source: MAC, ethertype: TYPE_IPV4 }.emit(&mut frame);
    Ipv4 { source, destination: address(2), protocol, fragment: false, congestion: 0 }
        .emit(&mut frame[14..], content.len());
    frame.extend_from_slice(content);
    frame
}

pub fn segment(source: Ipv4Addr, header: Header, options: &Options, payload: &[u8]) -> Vec<u8> {
    let mut content = vec![0; 60];
    let len = header.emit(&mut content, options);
    content.truncate(len);
    content.extend_from_slice(payload);
    let mut sum = Sum::new();
    sum.add_pseudo_header(source.octets(), address(2).octets(), PROTOCOL_TCP, content.len());
    sum.add(&content);
    content[16..18].copy_from_slice(&sum.finish());
    packet(source, PROTOCOL_TCP, &content)
}

pub struct Heard {
    pub header: Header,
    pub options: Options,
    pub payload: Vec<u8>,
    /// What the packet says of congestion.
    pub congestion: u8,
}

pub fn hear(frame: &[u8]) -> Heard {
    let (_, content) = Ethernet::parse(frame).expect("a frame");
    let (packet, content) = Ipv4::parse(content).expect("a packet");
    assert!(checksum_good(packet.source, packet.destination, content));
    let segment = Segment::parse(content).expect("a segment");
    Heard {
        header: Header {
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            flags: segment.flags,
            window: segment.window,
        },
        options: Options::parse(segment.options),
        payload: segment.payload.to_vec(),
        congestion: packet.congestion,
    }
}

pub fn server(half_open: u32) -> Host<Talker> {
    let mut config = config(2);
    config.half_open = half_open;
    let mut host = Host::new(config, |ring: Rc<RefCell<Ring>>| {
        let mut talker = Talker::new(1, 0, ring);
        talker.close_first = false;
        talker
    });
    host.engine.listen(80);
    host
}

pub fn syn(port: u16, sequence: u32) -> Header {
    Header {
        source_port: port,
        destination_port: 80,
        sequence: Seq(sequence),
        acknowledgement: Seq(0),
        flags: SYN,
        window: 60_000,
    }
}
