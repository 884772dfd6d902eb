//! Hostile input for a whole stack: any bytes at all are read as a play of frames, segments that nearly fit, changes
//! of knobs, calls of the application, and time. Whatever the play, the stack must not panic, must keep its bounds,
//! must come to rest, and must hold nothing once every connection was given up.
//!
//! [`play`] is called by the fuzzer and by an ordinary test with seeded bytes.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::application::{Application, ConnectionId, Ended, Io, Pin};
use crate::config::Agreement;
use crate::counters::Counters;
use crate::knobs::{Batching, Early, Knobs};
use crate::meter::Answer;
use crate::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use crate::tcp::sequence::Seq;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, Ethernet, TYPE_IPV4};
use crate::wire::ipv4::{self, Ipv4, PROTOCOL_ICMP, PROTOCOL_TCP};
use crate::wire::tcp::{ACK, CWR, ECE, Header, Options, SYN, Segment};
use crate::{Config, Engine, KeepAlive, Terms};

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 80;
const PINNED: [u8; 3000] = [7; 3000];
/// Most that a play may do.
const MOVES: usize = 2_000;
const STEPS_PER_MOVE: usize = 10_000;

#[derive(Default)]
struct Input {
    waiting: VecDeque<(Vec<u8>, u64)>,
    taken: BTreeMap<u32, Vec<u8>>,
    next: u32,
}

impl Ingress for Input {
    fn look(&mut self, _now_ns: u64) -> usize {
        self.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|frame| frame.1)
    }

    fn capacity(&self) -> usize {
        32
    }

    fn take(&mut self) -> Option<Arrival> {
        let (bytes, arrived_ns) = self.waiting.pop_front()?;
        self.next += 1;
        let arrival =
            Arrival { buffer: self.next, len: bytes.len() as u32, arrived_ns, checksum_good: false };
        self.taken.insert(self.next, bytes);
        Some(arrival)
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        &self.taken[&arrival.buffer]
    }

    fn give_back(&mut self, arrival: Arrival) {
        assert!(self.taken.remove(&arrival.buffer).is_some(), "a buffer is given back once");
    }

    fn arm(&mut self) -> bool {
        self.waiting.is_empty()
    }
}

#[derive(Default)]
struct Output {
    queued: Vec<Vec<u8>>,
    shown: Vec<Vec<u8>>,
    sent: u64,
}

impl Egress for Output {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn room(&self) -> usize {
        16 - self.queued.len()
    }

    fn capacity(&self) -> usize {
        16
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            return Err(Full);
        }
        let mut bytes = frame.headers.to_vec();
        frame.payload.iter().for_each(|part| bytes.extend_from_slice(part));
        assert!(bytes.len() <= 1514, "a frame fits the link");
        self.queued.push(bytes);
        self.sent += 1;
        Ok(self.sent)
    }

    fn kick(&mut self) -> bool {
        self.shown.append(&mut self.queued);
        true
    }

    fn completed(&mut self) -> u64 {
        self.sent - self.queued.len() as u64
    }
}

/// Answers bytes by bytes and pins.
#[derive(Default)]
struct Echo {
    open: BTreeSet<ConnectionId>,
    pins: BTreeSet<u64>,
    next_pin: u64,
}

impl Echo {
    fn answer(&mut self, io: &mut impl Io, bytes: &[u8]) {
        let _ = io.write(bytes);
        let len = (bytes.len() * 7 % PINNED.len()) as u32;
        self.next_pin += 1;
        if io.write_pinned(Pin { token: self.next_pin, len }).is_ok() {
            self.pins.insert(self.next_pin);
        }
        io.answered(Answer::Accepted);
    }
}

impl Application for Echo {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        assert!(self.open.insert(io.connection()), "opened once");
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        assert!(self.open.contains(&io.connection()), "only while it is open");
        assert!(!bytes.is_empty());
        match bytes[0] % 8 {
            0 => 0,
            1 => bytes.len() / 2,
            2 => {
                io.close();
                bytes.len()
            }
            3 if bytes[0] == 3 => {
                io.abort();
                0
            }
            _ => {
                self.answer(io, bytes);
                bytes.len()
            }
        }
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.answer(io, b"more");
    }

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, connection: ConnectionId, _reason: Ended) {
        self.open.remove(&connection);
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        assert!(self.pins.contains(&pin.token), "a released pin is not read");
        &PINNED[..pin.len as usize]
    }

    fn released(&mut self, pin: Pin) {
        assert!(self.pins.remove(&pin.token), "a pin is released once");
    }
}

/// What the other side knows of a connection.
#[derive(Clone, Copy, Default)]
struct Peer {
    local_port: u16,
    next: Seq,
    seen: Seq,
}

struct Play<'a> {
    input: &'a [u8],
    engine: Engine<Input, Output, Echo>,
    now_ns: u64,
    peers: [Peer; 8],
}

/// Plays any bytes against a stack. Panics when the stack does, or when it breaks a promise. Returns what was counted,
/// so that one can see how deep a play went.
pub fn play(input: &[u8]) -> Counters {
    let mut play = start(input);
    for _ in 0..MOVES {
        if play.input.is_empty() {
            break;
        }
        play.act();
        play.settle();
    }
    play.end()
}

/// Good values of connections, to start from.
pub fn exported() -> Vec<Vec<u8>> {
    let value = |late: u16, written: bool| {
        let mut play = start(&[]);
        play.segment(0, SYN, 0, 0, 0, 60_000);
        play.settle();
        play.segment(0, ACK, 0, 0, 0, 60_000);
        play.settle();
        // The application leaves what begins with 0.
        play.segment(0, ACK, 0, 0, 100, 60_000);
        play.settle();
        play.segment(0, ACK, 700, 0, late, 60_000);
        play.settle();
        let id = play.engine.application().open.first().copied()?;
        let now_ns = play.now_ns;
        if written {
            play.engine.with_connection(id, now_ns, |_, io| io.write(&PINNED[..2_000]));
            play.settle();
        }
        play.engine.export(id, now_ns)
    };
    [value(200, true), value(0, true), value(300, false)].into_iter().flatten().collect()
}

/// A hostile value instead of a connection's: it is refused, or what it makes keeps every promise that a connection
/// has to keep. Returns whether it was taken.
pub fn import(value: &[u8]) -> bool {
    let mut play = start(&[]);
    let now_ns = play.now_ns;
    let Ok(id) = play.engine.import(value, now_ns) else {
        assert!(play.engine.is_unused(), "a refused value leaves nothing behind");
        return false;
    };
    play.engine.application_mut().open.insert(id);
    play.engine.with_connection(id, now_ns, |_, _| ());
    for shift in [0, 20, 28, 30, 36] {
        play.settle();
        for which in 0..play.peers.len() {
            play.segment(which, ACK, 0, 0, 100, 60_000);
            play.settle();
        }
        play.now_ns += 1 << shift;
    }
    play.end();
    true
}

fn start(input: &[u8]) -> Play<'_> {
    let mut config = Config::new(OUR_MAC, OURS, 24);
    config.connections = 64;
    config.half_open = 4;
    config.time_wait = 8;
    config.send_memory_bytes = 64 << 10;
    config.receive_memory_bytes = 64 << 10;
    config.receive_window_bytes = 20_000;
    config.time_stamps = Agreement::WhenAsked;
    config.congestion_marks = Agreement::Always;
    let mut engine = Engine::new(config, Input::default(), Output::default(), Echo::default(), [5; 32], 0);
    let keep = KeepAlive { idle_ns: 500_000_000, interval_ns: 100_000_000, probes: 3 };
    let terms = Terms { keep_alive: Some(keep), user_timeout_ns: None };
    assert_eq!(engine.listen_on(PORT, terms), Ok(()));
    let peers = core::array::from_fn(|_| Peer { local_port: PORT, next: Seq(1_000), seen: Seq(0) });
    Play { input, engine, now_ns: 1_000_000_000, peers }
}

impl Play<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.input.split_first() else { return 0 };
        self.input = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from(self.byte()) << 8 | u16::from(self.byte())
    }

    fn act(&mut self) {
        match self.byte() % 16 {
            0 => {
                let len = usize::from(self.byte()).min(self.input.len());
                let (frame, rest) = self.input.split_at(len);
                self.input = rest;
                self.give(frame.to_vec());
            }
            1 => {
                let shift = self.byte() % 36;
                self.now_ns += 1 << shift;
            }
            2 => {
                let delay_ns = u64::from(self.byte()) * 1_000;
                let batching = match self.byte() % 3 {
                    0 => Batching::RunToCompletion,
                    1 => Batching::TakeQueued,
                    _ => Batching::Hold { delay_ns },
                };
                let early = if self.byte().is_multiple_of(2) {
                    Early::NoConnection
                } else {
                    Early::EveryConnectionHeard
                };
                let batch_bound = u32::from(self.byte() % 40);
                let connections_max = u32::from(self.byte());
                let knobs = Knobs { batching, early, batch_bound, connections_max, ..Knobs::default() };
                self.engine.set_knobs(knobs, self.now_ns);
            }
            3 => {
                let port = u16::from(self.byte() % 4);
                if let Ok(id) = self.engine.connect(THEIRS, port, self.now_ns) {
                    assert!(!self.engine.application().open.contains(&id));
                }
            }
            4 => {
                let how = self.byte();
                let chosen = self.engine.application().open.iter().nth(usize::from(how) % 8).copied();
                if let Some(id) = chosen {
                    let now_ns = self.now_ns;
                    self.engine.with_connection(id, now_ns, |application, io| match how % 5 {
                        0 => io.close(),
                        1 => io.abort(),
                        _ => application.answer(io, &PINNED[..usize::from(how) * 9]),
                    });
                }
            }
            5 => {
                // An answer to our questions for an Ethernet address.
                let mut frame = vec![0; ethernet::HEADER + crate::wire::arp::LEN];
                Ethernet { destination: OUR_MAC, source: THEIR_MAC, ethertype: ethernet::TYPE_ARP }
                    .emit(&mut frame);
                crate::wire::arp::Arp {
                    operation: crate::wire::arp::Operation::Reply,
                    sender_mac: THEIR_MAC,
                    sender: THEIRS,
                    target_mac: OUR_MAC,
                    target: OURS,
                }
                .emit(&mut frame[ethernet::HEADER..]);
                self.give(frame);
            }
            6 | 7 => {
                let which = self.byte();
                let marks = if which & 64 != 0 { ECE | CWR } else { 0 };
                self.segment(usize::from(which % 8), SYN | marks, 0, 0, 0, 60_000);
            }
            8 => {
                // The same acknowledgement again and again, as after a loss.
                let which = usize::from(self.byte() % 8);
                let back = -i16::from(self.byte());
                for _ in 0..4 {
                    self.segment(which, ACK, 0, back * 32, 0, 60_000);
                }
            }
            9 => {
                let which = usize::from(self.byte() % 8);
                let window = [0, 1, 20, 300][usize::from(self.byte() % 4)];
                self.segment(which, ACK, 0, 0, 0, window);
            }
            10 => {
                let which = usize::from(self.byte() % 8);
                let (mtu, back) = (self.word(), self.word());
                self.too_big(which, mtu, back);
            }
            11 => {
                let which = self.byte();
                let len = self.word() % 1461;
                self.segment(usize::from(which % 8), ACK, 0, 0, len, 60_000);
            }
            _ => {
                let which = self.byte();
                let flags = self.byte();
                let sequence = self.word() as i16;
                let acknowledgement = self.word() as i16;
                let len = self.word() % 1461;
                let window = self.word();
                self.segment(usize::from(which % 8), flags, sequence, acknowledgement, len, window);
            }
        }
    }

    /// A segment of a peer, off by so much from what it should say.
    fn segment(
        &mut self,
        which: usize,
        flags: u8,
        sequence: i16,
        acknowledgement: i16,
        len: u16,
        window: u16,
    ) {
        let peer = self.peers[which];
        let header = Header {
            source_port: which as u16,
            destination_port: peer.local_port,
            sequence: Seq(peer.next.0.wrapping_add_signed(i32::from(sequence))),
            acknowledgement: Seq(peer.seen.0.wrapping_add_signed(i32::from(acknowledgement))),
            flags,
            window,
        };
        let options = Options {
            segment_max: (flags & SYN != 0).then_some(window),
            window_shift: (flags & SYN != 0).then_some(3),
            sack_permitted: flags & SYN != 0,
            sack: [(header.acknowledgement.plus(10), header.acknowledgement.plus(u32::from(len))); 4],
            sack_count: u8::from(len % 3 == 1 && flags & SYN == 0),
            // Every other peer has a clock, which goes back now and then.
            stamp: (which % 2 == 1)
                .then_some(((self.now_ns >> 20) as u32 - u32::from(len % 5 == 4), len.into())),
        };
        let at = ethernet::HEADER + ipv4::HEADER;
        let mut frame = vec![0; at + 60];
        Ethernet { destination: OUR_MAC, source: THEIR_MAC, ethertype: TYPE_IPV4 }.emit(&mut frame);
        let header_len = header.emit(&mut frame[at..], &options);
        frame.truncate(at + header_len);
        let first = self.byte();
        frame.extend((0..len).map(|place| first.wrapping_add(place as u8)));
        let transport_len = header_len + usize::from(len);
        let packet = Ipv4 {
            source: THEIRS,
            destination: OURS,
            protocol: PROTOCOL_TCP,
            fragment: false,
            congestion: (len % 4) as u8,
        };
        packet.emit(&mut frame[ethernet::HEADER..], transport_len);
        let mut sum = Sum::new();
        sum.add_pseudo_header(THEIRS.octets(), OURS.octets(), PROTOCOL_TCP, transport_len);
        sum.add(&frame[at..]);
        frame[at + 16..at + 18].copy_from_slice(&sum.finish());
        self.give(frame);
    }

    /// A router's word about a segment of ours, near to what is outstanding.
    fn too_big(&mut self, which: usize, mtu: u16, back: u16) {
        let peer = self.peers[which];
        let mut content = vec![3, 4, 0, 0, 0, 0, 0, 0];
        content[6..8].copy_from_slice(&mtu.to_be_bytes());
        let mut quoted = [0; ipv4::HEADER + 8];
        Ipv4 { source: OURS, destination: THEIRS, protocol: PROTOCOL_TCP, fragment: false, congestion: 0 }
            .emit(&mut quoted, 1480);
        quoted[20..22].copy_from_slice(&peer.local_port.to_be_bytes());
        quoted[22..24].copy_from_slice(&(which as u16).to_be_bytes());
        quoted[24..28].copy_from_slice(&peer.seen.minus(u32::from(back)).0.to_be_bytes());
        content.extend_from_slice(&quoted);
        let mut sum = Sum::new();
        sum.add(&content);
        content[2..4].copy_from_slice(&sum.finish());
        let mut frame = vec![0; ethernet::HEADER + ipv4::HEADER];
        Ethernet { destination: OUR_MAC, source: THEIR_MAC, ethertype: TYPE_IPV4 }.emit(&mut frame);
        Ipv4 { source: THEIRS, destination: OURS, protocol: PROTOCOL_ICMP, fragment: false, congestion: 0 }
            .emit(&mut frame[ethernet::HEADER..], content.len());
        frame.extend_from_slice(&content);
        self.give(frame);
    }

    fn give(&mut self, frame: Vec<u8>) {
        let now_ns = self.now_ns;
        self.engine.ingress_mut().waiting.push_back((frame, now_ns));
    }

    /// Steps until nothing is due, and hears what the stack says.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.engine.step(self.now_ns).worked {
            steps += 1;
            assert!(steps < STEPS_PER_MOVE, "it comes to rest");
        }
        for frame in core::mem::take(&mut self.engine.egress_mut().shown) {
            let Some((_, content)) = Ethernet::parse(&frame) else { panic!("we send frames") };
            let Ok((packet, content)) = Ipv4::parse(content) else { continue };
            if packet.protocol != PROTOCOL_TCP {
                continue;
            }
            let Some(segment) = Segment::parse(content) else { panic!("we send segments") };
            assert!(crate::wire::tcp::checksum_good(packet.source, packet.destination, content));
            let Some(peer) = self.peers.get_mut(usize::from(segment.destination_port)) else { continue };
            peer.local_port = segment.source_port;
            peer.seen = segment.sequence.plus(segment.span());
            if segment.has(ACK) {
                peer.next = segment.acknowledgement;
            }
        }
        assert!(self.engine.open_connections() <= self.engine.config().connections);
        assert_eq!(self.engine.open_connections() as usize, self.engine.application().open.len());
    }

    /// Everybody leaves; nothing stays.
    fn end(mut self) -> Counters {
        self.engine.set_knobs(Knobs::default(), self.now_ns);
        self.settle();
        let open: Vec<ConnectionId> = self.engine.application().open.iter().copied().collect();
        for id in open {
            self.engine.with_connection(id, self.now_ns, |_, io| io.abort());
        }
        for _ in 0..400 {
            self.now_ns += 1_000_000_000;
            self.settle();
        }
        assert!(self.engine.application().open.is_empty(), "every end is told");
        assert!(self.engine.application().pins.is_empty(), "every pin is released");
        assert!(self.engine.is_unused(), "nothing is held for nobody");
        assert!(self.engine.ingress_mut().taken.is_empty(), "every buffer went back");
        assert_eq!(self.engine.step(self.now_ns).deadline_ns, None, "nothing is left to do");
        *self.engine.counters()
    }
}
