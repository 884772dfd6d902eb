//! The stack against a hostile peer: a string of bytes is played as frames, as segments with right checksums that
//! almost fit, and as time that passes. The stack may not panic, and its bounds must hold.

use nom_kv::{Config as KvConfig, Kv};
use nom_stack::config::{Address6, Config6};
use nom_stack::knobs::{Batching, Knobs};
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ipv6::{self, Ipv6};
use nom_stack::{Config, Engine};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const US: [u8; 4] = [10, 0, 0, 1];
const THEM: [u8; 4] = [10, 0, 0, 2];
const PORT: u16 = 11211;
/// Connections that the stack may have here: few, so that its table fills up.
const CONNECTIONS: u32 = 8;

/// A card whose frames are ours.
#[derive(Default)]
struct Wire {
    waiting: VecDeque<(u32, Vec<u8>, u64)>,
    taken: BTreeMap<u32, Vec<u8>>,
    next: u32,
}

impl Ingress for Wire {
    fn look(&mut self, _now_ns: u64) -> usize {
        self.waiting.len()
    }
    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|(.., at)| *at)
    }
    fn capacity(&self) -> usize {
        64
    }
    fn take(&mut self) -> Option<Arrival> {
        let (buffer, frame, arrived_ns) = self.waiting.pop_front()?;
        let len = frame.len() as u32;
        self.taken.insert(buffer, frame);
        // The card vouches for the checksum, so that content reaches what is behind it.
        Some(Arrival { buffer, len, arrived_ns, checksum_good: true })
    }
    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        &self.taken[&arrival.buffer]
    }
    fn give_back(&mut self, arrival: Arrival) {
        assert!(self.taken.remove(&arrival.buffer).is_some(), "a buffer was given back twice");
    }
    fn arm(&mut self) -> bool {
        self.waiting.is_empty()
    }
}

/// What the stack last said to each of the peer's ports: the peer's segments begin there.
#[derive(Default)]
struct Heard {
    queued: u64,
    said: BTreeMap<u16, (u32, u32)>,
}

impl Egress for Heard {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: true, segmentation: false }
    }
    fn mtu(&self) -> usize {
        1500
    }
    fn room(&self) -> usize {
        64
    }
    fn capacity(&self) -> usize {
        64
    }
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        assert!(frame.len() <= 1514, "a frame of {} bytes", frame.len());
        let headers = frame.headers;
        if headers.len() >= 54 && headers[12..14] == [8, 0] && headers[23] == 6 {
            let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|place| headers[at + place]));
            let payload: usize = frame.payload.iter().map(|part| part.len()).sum();
            let flags = headers[47];
            let next = number(38)
                .wrapping_add(payload as u32 + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0));
            self.said.insert(u16::from_be_bytes([headers[36], headers[37]]), (next, number(42)));
        }
        self.queued += 1;
        Ok(self.queued)
    }
    fn kick(&mut self) -> bool {
        true
    }
    fn completed(&mut self) -> u64 {
        self.queued
    }
}

/// Plays the bytes.
pub fn play(bytes: &[u8]) {
    let six = Address6::Automatic;
    let config = Config {
        ipv6: bytes
            .get(1)
            .is_some_and(|byte| byte & 1 == 1)
            .then_some(Config6 { address: six, gateway: None }),
        connections: CONNECTIONS,
        half_open: 4,
        time_wait: 4,
        send_memory_bytes: 64 << 10,
        receive_memory_bytes: 64 << 10,
        ..Config::new(OURS, Ipv4Addr::from(US), 24)
    };
    let kv = Kv::new(KvConfig { item_bytes_max: 4096, ..KvConfig::new(64 << 10, [7; 16], 0) });
    let mut engine = Engine::new(config, Wire::default(), Heard::default(), kv, [9; 32], 0);
    engine.listen(PORT);
    if bytes.first().is_some_and(|byte| byte & 1 == 1) {
        engine.set_knobs(Knobs { batching: Batching::Hold { delay_ns: 20_000 }, ..Knobs::default() }, 0);
    }
    let mut now_ns = 1;
    let mut rest = bytes.get(1..).unwrap_or_default();
    while let Some((&what, after)) = rest.split_first() {
        rest = after;
        let mut take = |count: usize| {
            let (part, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            part
        };
        let frame = match what % 8 {
            0 => {
                now_ns += 1_u64 << (what >> 3).min(40);
                None
            }
            1 => Some(take(usize::from(what >> 3) * 8).to_vec()),
            2 if what & 0x40 != 0 => Some(packet6(what, take(usize::from(what >> 3) * 4))),
            2 => Some(ethernet([8, 6], take(28))),
            3 => Some(internet(take(1).first().copied().unwrap_or(1), take(usize::from(what >> 3)))),
            _ => Some(segment(what, take(6), take(usize::from(what >> 3) * 3), engine.egress_mut())),
        };
        if let Some(frame) = frame {
            let wire = engine.ingress_mut();
            wire.next += 1;
            let buffer = wire.next;
            wire.waiting.push_back((buffer, frame, now_ns));
        }
        // Bounded: a step that always found more to do would be a finding of its own.
        let mut steps = 0;
        while engine.step(now_ns).worked {
            steps += 1;
            assert!(steps < 1_000, "the stack never comes to rest");
        }
        assert!(engine.open_connections() <= CONNECTIONS);
    }
    // Much later everything is over or lingers quietly; nothing may blow up on the way.
    for _ in 0..200 {
        match engine.step(now_ns).deadline_ns {
            Some(deadline) => now_ns = now_ns.max(deadline),
            None => break,
        }
    }
}

fn ethernet(kind: [u8; 2], content: &[u8]) -> Vec<u8> {
    [&OURS[..], &THEIRS, &kind, content].concat()
}

/// A packet of IPv6 from a neighbour, to us or to all: a message with a right checksum, or whatever the bytes say.
fn packet6(what: u8, content: &[u8]) -> Vec<u8> {
    let link = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (source, ours) = (ipv6::of_interface(link, THEIRS), ipv6::of_interface(link, OURS));
    let destination = if what & 8 == 0 { ours } else { all };
    let (&first, rest) = content.split_first().unwrap_or((&0, &[]));
    let protocol = if what & 16 == 0 { 58 } else { first };
    let mut content = if protocol == 58 { content.to_vec() } else { rest.to_vec() };
    if protocol == 58 && content.len() >= 4 {
        // Messages that somebody acts on are the more interesting ones.
        content[0] = [1, 2, 128, 129, 133, 134, 135, 136][usize::from(first & 7)];
        content[1..4].fill(0);
        let mut sum = Sum::new();
        sum.add_pseudo_header6(source, destination, protocol, content.len());
        sum.add(&content);
        content[2..4].copy_from_slice(&sum.finish());
    }
    let mut packet = vec![0; ipv6::HEADER];
    Ipv6 { source, destination, protocol, hop_limit: 255 }.emit(&mut packet, content.len());
    packet.extend(content);
    ethernet([0x86, 0xdd], &packet)
}

fn internet(protocol: u8, content: &[u8]) -> Vec<u8> {
    let len = (20 + content.len() as u16).to_be_bytes();
    let mut header = vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(THEM);
    header.extend(US);
    let sum: u32 = header.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&folded.to_be_bytes());
    ethernet([8, 0], &[&header[..], content].concat())
}

/// A segment near what the stack expects. `shape`: flags, port, offsets of sequence and acknowledgement, window,
/// options.
fn segment(what: u8, shape: &[u8], payload: &[u8], heard: &Heard) -> Vec<u8> {
    let byte = |at: usize| shape.get(at).copied().unwrap_or(0);
    let port = 1000 + u16::from(byte(1) % 4);
    let (acknowledge, sequence) = heard.said.get(&port).copied().unwrap_or((0, 1));
    let near = |value: u32, byte: u8| match byte {
        0..128 => value,
        _ => value.wrapping_add((i32::from(byte as i8) * 97) as u32),
    };
    let flags = match what % 8 {
        4 => 0x02,
        5 => 0x10,
        6 => 0x18,
        _ => byte(0),
    };
    let options: &[u8] = match byte(5) % 4 {
        0 => &[2, 4, 5, 0xb4, 1, 3, 3, 7],
        1 => &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9],
        2 => &[2, 200, 0, 0],
        _ => &[],
    };
    let mut header = Vec::new();
    header.extend(port.to_be_bytes());
    header.extend(PORT.to_be_bytes());
    header.extend(near(sequence, byte(2)).to_be_bytes());
    header.extend(near(acknowledge, byte(3)).to_be_bytes());
    header.push(((20 + options.len()) as u8 / 4) << 4);
    header.push(flags);
    header.extend((u16::from(byte(4)) << 6).to_be_bytes());
    header.extend([0; 4]);
    internet(6, &[&header, options, payload].concat())
}

/// A client that opens, asks, and closes, as a string of bytes.
pub fn sample() -> Vec<u8> {
    let request = b"get a\r\nset a 0 0 2\r\nok\r\nget a\r\n";
    let payload_code = (request.len().div_ceil(3) as u8) << 3;
    let mut bytes = vec![0];
    // SYN, ACK, data, FIN, ACK; each with its shape of six bytes.
    bytes.extend([4, 0, 0, 0, 0, 255, 0]);
    bytes.extend([5, 0, 0, 0, 0, 255, 3]);
    bytes.extend([payload_code | 6, 0, 0, 0, 0, 255, 3]);
    bytes.extend(request);
    bytes.extend(vec![b'\n'; request.len().next_multiple_of(3) - request.len()]);
    bytes.extend([0xf8, 7, 0x11, 0, 0, 0, 255, 3]);
    bytes.extend([5, 0, 0, 0, 0, 255, 3]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample really opens a connection and is answered: otherwise the fuzzer would only knock at the door.
    #[test]
    fn the_sample_gets_through() {
        let mut heard = Heard::default();
        let config = Config::new(OURS, Ipv4Addr::from(US), 24);
        let kv = Kv::new(KvConfig::new(64 << 10, [7; 16], 0));
        let mut engine = Engine::new(config, Wire::default(), Heard::default(), kv, [9; 32], 0);
        engine.listen(PORT);
        for (what, payload) in [(4, &b""[..]), (5, b""), (6, b"get a\r\n")] {
            let frame = segment(what, &[0, 0, 0, 0, 255, 3], payload, engine.egress_mut());
            engine.ingress_mut().waiting.push_back((u32::from(what), frame, 1));
            while engine.step(1).worked {}
        }
        std::mem::swap(&mut heard, engine.egress_mut());
        assert_eq!(engine.open_connections(), 1);
        assert_eq!(engine.meter().accepted(), 1, "one request is answered");
        play(&sample());
    }
}
