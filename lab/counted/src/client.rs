//! The other side, played from a script: it opens connections and sends requests that acknowledge the answers before
//! them. Its work lies outside of what is counted.

use nom_stack::Seq;
use nom_stack::wire::arp::{self, Arp, Operation};
use nom_stack::wire::ethernet::{self, BROADCAST, Ethernet, TYPE_ARP, TYPE_IPV4};
use nom_stack::wire::ipv4::{self, Ipv4, PROTOCOL_TCP};
use nom_stack::wire::tcp::{self, ACK, Header, Options, PSH, SYN, Segment};
use std::net::Ipv4Addr;

/// Who the counted side is.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Its address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Its port.
pub const PORT: u16 = 11_211;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Connections that one address of ours opens.
const PORTS: usize = 30_000;
const TCP_AT: usize = ethernet::HEADER + ipv4::HEADER;
/// Headers of a segment without options.
pub const HEADERS: usize = TCP_AT + tcp::HEADER;
const WINDOW: u16 = 65_535;

struct Connection {
    address: Ipv4Addr,
    port: u16,
    sequence: Seq,
    acknowledgement: Seq,
}

impl Connection {
    fn frame(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let options = Options { segment_max: (flags & SYN != 0).then_some(1460), ..Options::default() };
        let mut frame = vec![0; HEADERS + tcp::OPTIONS_MAX];
        let header = Header {
            source_port: self.port,
            destination_port: PORT,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            flags,
            window: WINDOW,
        };
        let header_len = header.emit(&mut frame[TCP_AT..], &options);
        frame.truncate(TCP_AT + header_len);
        frame.extend_from_slice(payload);
        Ethernet { destination: SERVER_MAC, source: MAC, ethertype: TYPE_IPV4 }.emit(&mut frame);
        Ipv4 {
            source: self.address,
            destination: SERVER,
            protocol: PROTOCOL_TCP,
            fragment: false,
            congestion: 0,
        }
        .emit(&mut frame[ethernet::HEADER..], header_len + payload.len());
        let mut sum = nom_stack::wire::checksum::Sum::new();
        let transport = header_len + payload.len();
        sum.add_pseudo_header(self.address.octets(), SERVER.octets(), PROTOCOL_TCP, transport);
        sum.add(&frame[TCP_AT..]);
        let field = TCP_AT + tcp::CHECKSUM_OFFSET;
        frame[field..field + 2].copy_from_slice(&sum.finish());
        frame
    }
}

/// The clients of all connections.
#[derive(Default)]
pub struct Client {
    connections: Vec<Connection>,
}

impl Client {
    /// The question for the server's Ethernet address, by which the server learns ours.
    pub fn question(address: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER + arp::LEN];
        Ethernet { destination: BROADCAST, source: MAC, ethertype: TYPE_ARP }.emit(&mut frame);
        let question = Arp {
            operation: Operation::Request,
            sender_mac: MAC,
            sender: address,
            target_mac: [0; 6],
            target: SERVER,
        };
        question.emit(&mut frame[ethernet::HEADER..]);
        frame
    }

    /// The address from which connection `which` comes.
    pub fn address(which: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0100 + (which / PORTS) as u32)
    }

    /// Begins to open the next connection.
    pub fn open(&mut self) -> Vec<u8> {
        let which = self.connections.len();
        let port = 1_000 + (which % PORTS) as u16;
        let (sequence, acknowledgement) = (Seq(7_000), Seq(0));
        let connection = Connection { address: Self::address(which), port, sequence, acknowledgement };
        let frame = connection.frame(SYN, &[]);
        self.connections.push(connection);
        frame
    }

    /// Completes the opening that was begun last, given the server's answer to it.
    pub fn complete(&mut self, answer: &[u8]) -> Vec<u8> {
        let segment = Segment::parse(&answer[TCP_AT..]).expect("an answer to an opening");
        assert!(segment.has(SYN | ACK), "the opening was refused");
        let connection = self.connections.last_mut().expect("an opening was begun");
        connection.sequence = connection.sequence.plus(1);
        connection.acknowledgement = segment.sequence.plus(1);
        connection.frame(ACK, &[])
    }

    /// A request on a connection; its answer will have this many bytes, which the next request acknowledges.
    pub fn request(&mut self, which: usize, request: &[u8], answer_len: usize) -> Vec<u8> {
        let connection = &mut self.connections[which];
        let frame = connection.frame(ACK | PSH, request);
        connection.sequence = connection.sequence.plus(request.len() as u32);
        connection.acknowledgement = connection.acknowledgement.plus(answer_len as u32);
        frame
    }
}
