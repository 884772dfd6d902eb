//! Stands in a link in front of a host and looks at what passes: the host takes back nothing that it once offered to
//! receive, and sends nothing that it was not offered (RFC 9293, 3.8.6).
//!
//! Port 0 is the host's side, port 1 the network's. The link to the host has to be clean, so that what is seen is what
//! was sent, in that order.

use crate::simulation::{Node, Rest};
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// Violations that are told; of further ones only the number is known.
const TOLD_MAX: usize = 20;

const IPV4_AT: usize = 14;
const TCP_AT: usize = 34;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What is read of a segment over IPv4.
struct Segment {
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u32,
    shift: Option<u8>,
    len: u32,
}

impl Segment {
    fn read(frame: &[u8]) -> Option<Self> {
        if frame.len() < TCP_AT + 20 || frame[12..=IPV4_AT] != [8, 0, 0x45] || frame[IPV4_AT + 9] != 6 {
            return None;
        }
        let short = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let long = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
        let total = usize::from(short(IPV4_AT + 2));
        let header = usize::from(frame[TCP_AT + 12] >> 4) * 4;
        let len = total.checked_sub(20 + header)?;
        let mut options = frame.get(TCP_AT + 20..TCP_AT + header)?;
        let mut shift = None;
        while let Some((&kind, rest)) = options.split_first() {
            match (kind, rest) {
                (0, _) => break,
                (1, _) => options = rest,
                (_, [len, ..]) if *len >= 2 => {
                    if kind == 3 {
                        shift = rest.get(1).copied();
                    }
                    options = options.get(usize::from(*len)..).unwrap_or_default();
                }
                _ => break,
            }
        }
        Some(Self {
            source: (Ipv4Addr::from_bits(long(IPV4_AT + 12)), short(TCP_AT)),
            destination: (Ipv4Addr::from_bits(long(IPV4_AT + 16)), short(TCP_AT + 2)),
            sequence: long(TCP_AT + 4),
            acknowledgement: long(TCP_AT + 8),
            flags: frame[TCP_AT + 13],
            window: u32::from(short(TCP_AT + 14)),
            shift,
            len: len as u32,
        })
    }
}

/// One side of a connection: what it offered.
#[derive(Default, Clone, Copy)]
struct Offer {
    /// The number with which it began: a repeated opening begins nothing.
    first: Option<u32>,
    shift: Option<u8>,
    /// The end of what the other one may send.
    edge: Option<u32>,
}

type Name = ((Ipv4Addr, u16), (Ipv4Addr, u16));

/// The node.
#[derive(Default)]
pub struct Witness {
    offers: HashMap<Name, Offer>,
    out: VecDeque<(usize, Vec<u8>)>,
    violations: u64,
    told: Vec<String>,
    judged: u64,
}

impl Witness {
    /// A witness that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was against the rules, and how many segments were judged.
    pub fn verdict(&self) -> (u64, &[String], u64) {
        (self.violations, &self.told, self.judged)
    }

    fn object(&mut self, what: String) {
        self.violations += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }

    /// Notes what a segment offers, and says by how much that is less than what was offered before.
    fn offer(&mut self, segment: &Segment) -> Option<u32> {
        let name = (segment.source, segment.destination);
        let first = Some(segment.sequence);
        if segment.flags & SYN != 0 && self.offers.get(&name).is_none_or(|offer| offer.first != first) {
            self.offers.insert(name, Offer { first, shift: segment.shift, edge: None });
        }
        if segment.flags & ACK == 0 || segment.flags & RST != 0 {
            return None;
        }
        let agreed = self.offers.get(&(name.1, name.0)).is_some_and(|other| other.shift.is_some());
        let offer = self.offers.entry(name).or_default();
        // The window of an opening is never shifted, and the others are when both sides asked for it.
        let shift = if segment.flags & SYN == 0 && agreed { offer.shift.unwrap_or(0) } else { 0 };
        let edge = segment.acknowledgement.wrapping_add(segment.window << shift);
        let before = offer.edge.unwrap_or(edge);
        let less = before.wrapping_sub(edge) as i32;
        if less <= 0 {
            offer.edge = Some(edge);
        }
        (less > 0).then_some(less as u32)
    }

    fn judge(&mut self, now_ns: u64, segment: &Segment) {
        self.judged += 1;
        if let Some(less) = self.offer(segment) {
            self.object(format!("{:?} took back {less} bytes at {now_ns} ns", segment.source));
        }
        let offered = self.offers.get(&(segment.destination, segment.source)).and_then(|offer| offer.edge);
        let name = (segment.source, segment.destination);
        let end = segment.sequence.wrapping_add(segment.len);
        if let Some(edge) = offered
            && segment.len > 0
        {
            let beyond = end.wrapping_sub(edge) as i32;
            // A single byte may ask a closed window whether it is open again.
            if beyond > i32::from(segment.len == 1) {
                let first = self.offers.get(&name).and_then(|offer| offer.first).unwrap_or(0);
                let (start, end) = (segment.sequence.wrapping_sub(first), end.wrapping_sub(first));
                let who = segment.source;
                self.object(format!("{who:?} sent {start} to {end} at {now_ns} ns: {beyond} bytes too many"));
            }
        }
    }
}

impl Node for Witness {
    fn deliver(&mut self, now_ns: u64, port: usize, frame: &[u8], damaged: bool) {
        // What is damaged may say anything, and the host will not believe it.
        if let (false, Some(segment)) = (damaged, Segment::read(frame)) {
            if port == 0 {
                self.judge(now_ns, &segment);
            } else {
                self.offer(&segment);
            }
        }
        self.out.push_back((1 - port, frame.to_vec()));
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        Rest { worked: false, deadline_ns: None, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.out.pop_front()
    }
}
