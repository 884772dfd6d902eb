//! Datagrams (UDP over IPv4): ports that were bound, what arrived for them, and what waits for a neighbour's address.
//!
//! Bounded everywhere: [`PORTS_MAX`] ports, [`QUEUE_BYTES`] of datagrams waiting to be read at each (beyond that new ones
//! are dropped and counted), [`UNSENT_MAX`] datagrams waiting for an Ethernet address (the oldest makes room). Nobody
//! allocates anything before the first port is bound. A datagram for no port is answered by an ICMP message that the port
//! is unreachable, at most [`UNREACHABLE_PER_SECOND`] times a second, and never when it was sent to everybody.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::batch::Outbox;
use crate::counters::Drop;
use crate::neighbours::Neighbours;
use crate::port::Egress;
use crate::rate::Bucket;
use crate::wire::ethernet::{self, BROADCAST, Ethernet, TYPE_IPV4};
use crate::wire::icmp;
use crate::wire::ipv4::{self, Ipv4, PROTOCOL_ICMP};
use crate::wire::udp::{self, PROTOCOL_UDP, Udp};

/// Ports that may be bound at the same time.
pub const PORTS_MAX: usize = 8;
/// Bytes of datagrams that wait at a port, with [`DATAGRAM_BYTES`] for each.
pub const QUEUE_BYTES: usize = 64 << 10;
/// What a datagram counts beside its payload.
pub const DATAGRAM_BYTES: usize = 32;
/// Longest payload that is sent: what fits an Ethernet frame. Fragments are neither sent nor taken.
pub const PAYLOAD_MAX: usize = 1500 - ipv4::HEADER - udp::HEADER;
/// Datagrams that wait for a neighbour's Ethernet address.
const UNSENT_MAX: usize = 8;
/// How long they wait.
const UNSENT_NS: u64 = 3_000_000_000;
/// Messages about unreachable ports in a second.
const UNREACHABLE_PER_SECOND: u32 = 100;

/// A datagram that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// From which port.
    pub source_port: u16,
    /// To whom: our address, or everybody.
    pub destination: Ipv4Addr,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// Why a port cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindError {
    /// It is bound already.
    Taken,
    /// [`PORTS_MAX`] are.
    TooMany,
}

/// Why a datagram cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The address is not on our link and there is no gateway, or nobody can have it.
    NoRoute,
    /// More than [`PAYLOAD_MAX`] bytes.
    TooLong,
    /// The device takes no more frames now.
    Full,
}

struct Port {
    number: u16,
    waiting: VecDeque<Datagram>,
    bytes: usize,
}

struct Unsent {
    hop: Ipv4Addr,
    until_ns: u64,
    /// From the IPv4 header on.
    packet: Vec<u8>,
}

/// Who we are, for headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) mac: [u8; 6],
    pub(crate) address: Ipv4Addr,
}

/// All ports.
pub(crate) struct Datagrams {
    ports: Vec<Port>,
    unsent: VecDeque<Unsent>,
    unreachable: Bucket,
}

impl Datagrams {
    pub(crate) fn new() -> Self {
        Self { ports: Vec::new(), unsent: VecDeque::new(), unreachable: Bucket::new(UNREACHABLE_PER_SECOND) }
    }

    pub(crate) fn bind(&mut self, number: u16) -> Result<(), BindError> {
        if self.ports.iter().any(|port| port.number == number) {
            return Err(BindError::Taken);
        }
        if self.ports.len() == PORTS_MAX {
            return Err(BindError::TooMany);
        }
        self.ports.push(Port { number, waiting: VecDeque::new(), bytes: 0 });
        Ok(())
    }

    pub(crate) fn unbind(&mut self, number: u16) {
        self.ports.retain(|port| port.number != number);
    }

    /// The oldest datagram that waits at a port.
    pub(crate) fn take(&mut self, number: u16) -> Option<Datagram> {
        let port = self.ports.iter_mut().find(|port| port.number == number)?;
        let datagram = port.waiting.pop_front()?;
        port.bytes -= DATAGRAM_BYTES + datagram.payload.len();
        Some(datagram)
    }

    /// Acts on a packet; `mac` is its sender's.
    #[cold]
    #[inline(never)]
    pub(crate) fn receive<E: Egress>(
        &mut self,
        us: Sender,
        (mac, packet): ([u8; 6], &Ipv4),
        content: &[u8],
        known_good: bool,
        out: &mut Outbox<E>,
        now_ns: u64,
    ) {
        let datagram = match Udp::parse(packet.source, packet.destination, content, known_good) {
            Ok(datagram) => datagram,
            Err(refusal) => {
                out.counters.drop(match refusal {
                    udp::Refusal::Malformed => Drop::Malformed,
                    udp::Refusal::Checksum => Drop::Checksum,
                });
                return;
            }
        };
        let Some(port) = self.ports.iter_mut().find(|port| port.number == datagram.destination_port) else {
            out.counters.drop(Drop::NoPort);
            if packet.destination == us.address && !us.address.is_unspecified() {
                self.refuse(us, mac, packet, content, out, now_ns);
            }
            return;
        };
        let bytes = DATAGRAM_BYTES + datagram.payload.len();
        if port.bytes + bytes > QUEUE_BYTES {
            out.counters.drop(Drop::NoMemory);
            return;
        }
        port.bytes += bytes;
        port.waiting.push_back(Datagram {
            source: packet.source,
            source_port: datagram.source_port,
            destination: packet.destination,
            payload: datagram.payload.to_vec(),
        });
        out.counters.datagrams_in += 1;
    }

    /// Says that nobody listens (RFC 1122, 4.1.3.1), with the beginning of what came.
    fn refuse<E: Egress>(
        &mut self,
        us: Sender,
        mac: [u8; 6],
        packet: &Ipv4,
        content: &[u8],
        out: &mut Outbox<E>,
        now_ns: u64,
    ) {
        if !self.unreachable.take(now_ns) {
            out.counters.drop(Drop::RateLimited);
            return;
        }
        const ICMP_AT: usize = ethernet::HEADER + ipv4::HEADER;
        let mut frame = [0; ICMP_AT + icmp::UNREACHABLE_LEN];
        Ethernet { destination: mac, source: us.mac, ethertype: TYPE_IPV4 }.emit(&mut frame);
        let answer = Ipv4 {
            source: us.address,
            destination: packet.source,
            protocol: PROTOCOL_ICMP,
            fragment: false,
            congestion: 0,
        };
        answer.emit(&mut frame[ethernet::HEADER..], icmp::UNREACHABLE_LEN);
        let mut quoted = [0; ipv4::HEADER + 8];
        packet.emit(&mut quoted, content.len());
        let len = content.len().min(8);
        quoted[ipv4::HEADER..][..len].copy_from_slice(&content[..len]);
        icmp::emit_unreachable(&mut frame[ICMP_AT..], &quoted);
        out.send(&frame, (&[], None), None, now_ns);
    }

    /// Sends a datagram, to everybody on the link when `hop` is the limited broadcast address.
    pub(crate) fn send<E: Egress>(
        &mut self,
        us: Sender,
        hop: Ipv4Addr,
        (port, to, to_port): (u16, Ipv4Addr, u16),
        payload: &[u8],
        (neighbours, out): (&mut Neighbours, &mut Outbox<E>),
        now_ns: u64,
    ) -> Result<(), SendError> {
        if payload.len() > PAYLOAD_MAX {
            return Err(SendError::TooLong);
        }
        const UDP_AT: usize = ipv4::HEADER;
        let mut packet = Vec::with_capacity(UDP_AT + udp::HEADER + payload.len());
        packet.resize(UDP_AT + udp::HEADER, 0);
        let header = Ipv4 {
            source: us.address,
            destination: to,
            protocol: PROTOCOL_UDP,
            fragment: false,
            congestion: 0,
        };
        header.emit(&mut packet, udp::HEADER + payload.len());
        let datagram = Udp { source_port: port, destination_port: to_port, payload };
        datagram.emit(us.address, to, &mut packet[UDP_AT..]);
        packet.extend_from_slice(payload);
        out.counters.datagrams_out += 1;
        let known = if hop.is_broadcast() { Some(BROADCAST) } else { neighbours.find(hop) };
        match known {
            Some(mac) => transmit(us, mac, &packet, out, now_ns).ok_or(SendError::Full),
            None => {
                if self.unsent.len() == UNSENT_MAX {
                    self.unsent.pop_front();
                    out.counters.drop(Drop::Unresolved);
                }
                let until_ns = now_ns.saturating_add(UNSENT_NS);
                self.unsent.push_back(Unsent { hop, until_ns, packet });
                neighbours.ask(hop, out, now_ns);
                Ok(())
            }
        }
    }

    /// A neighbour's Ethernet address became known: what waits for it goes.
    pub(crate) fn neighbour_found<E: Egress>(
        &mut self,
        us: Sender,
        (address, mac): (Ipv4Addr, [u8; 6]),
        out: &mut Outbox<E>,
        now_ns: u64,
    ) {
        if self.unsent.is_empty() {
            return;
        }
        for unsent in core::mem::take(&mut self.unsent) {
            if unsent.until_ns <= now_ns {
                out.counters.drop(Drop::Unresolved);
            } else if unsent.hop == address {
                let _ = transmit(us, mac, &unsent.packet, out, now_ns);
            } else {
                self.unsent.push_back(unsent);
            }
        }
    }
}

/// Everything of it is copied by the driver: nothing has to outlive this.
fn transmit<E: Egress>(
    us: Sender,
    mac: [u8; 6],
    packet: &[u8],
    out: &mut Outbox<E>,
    now_ns: u64,
) -> Option<()> {
    let mut frame = Vec::with_capacity(ethernet::HEADER + packet.len());
    frame.resize(ethernet::HEADER, 0);
    Ethernet { destination: mac, source: us.mac, ethertype: TYPE_IPV4 }.emit(&mut frame);
    frame.extend_from_slice(packet);
    out.send(&frame, (&[], None), None, now_ns).map(drop)
}
