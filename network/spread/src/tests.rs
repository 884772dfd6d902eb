//! A device of frames in memory, two stacks' halves, and who gets what.

use super::*;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::{Cell, RefCell};
use core::net::Ipv4Addr;
use nom_stack::port::{Arrival, Frame, Full, Offloads, REMIND_NS};
use nom_stack::wire::arp::{Arp, Operation};
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ethernet::{Ethernet, TYPE_ARP, TYPE_IPV4};
use nom_stack::wire::ipv4::{self, PROTOCOL_TCP};
use steering::{Way, core_of, way};

pub(crate) const PORT: u16 = 11211;
pub(crate) const CORES: usize = 3;
/// Frames that the device takes before it says that it has read some.
const ROOM: usize = 4;
pub(crate) const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

#[derive(Clone, Default)]
pub(crate) struct Rung(pub(crate) Rc<Cell<u32>>);

impl Bell for Rung {
    fn ring(&self) -> Result<(), Gone> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct In {
    pub(crate) waiting: Rc<RefCell<VecDeque<Vec<u8>>>>,
    pub(crate) taken: Vec<Option<Vec<u8>>>,
}

impl Ingress for In {
    fn look(&mut self, _now_ns: u64) -> usize {
        self.waiting.borrow().len()
    }
    fn oldest_ns(&self) -> Option<u64> {
        None
    }
    fn capacity(&self) -> usize {
        64
    }
    fn take(&mut self) -> Option<Arrival> {
        let frame = self.waiting.borrow_mut().pop_front()?;
        let (buffer, len) = (self.taken.len() as u32, frame.len() as u32);
        self.taken.push(Some(frame));
        Some(Arrival { buffer, len, arrived_ns: 7, checksum_good: len % 2 == 1 })
    }
    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        self.taken[arrival.buffer as usize].as_deref().expect("it was not given back")
    }
    fn give_back(&mut self, arrival: Arrival) {
        assert!(self.taken[arrival.buffer as usize].take().is_some(), "given back twice");
    }
    fn arm(&mut self) -> bool {
        self.waiting.borrow().is_empty()
    }
}

#[derive(Default)]
struct Sent {
    frames: Vec<Vec<u8>>,
    read: usize,
    kicks: u32,
    reminders: u64,
}

#[derive(Default, Clone)]
struct Outgoing(Rc<RefCell<Sent>>);

impl Egress for Outgoing {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
    fn mtu(&self) -> usize {
        1400
    }
    fn room(&self) -> usize {
        let sent = self.0.borrow();
        ROOM - (sent.frames.len() - sent.read)
    }
    fn capacity(&self) -> usize {
        ROOM
    }
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            return Err(Full);
        }
        let mut sent = self.0.borrow_mut();
        let mut whole = frame.headers.to_vec();
        frame.payload.iter().for_each(|part| whole.extend_from_slice(part));
        sent.frames.push(whole);
        Ok(sent.frames.len() as u64)
    }
    fn kick(&mut self) -> bool {
        self.0.borrow_mut().kicks += 1;
        true
    }
    fn completed(&mut self) -> u64 {
        self.0.borrow().read as u64
    }
    fn remind(&mut self) {
        let mut sent = self.0.borrow_mut();
        sent.reminders += 1;
        sent.read = sent.frames.len();
    }
}

/// A packet in a frame.
pub(crate) fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + ipv4::HEADER];
    frame[12..14].copy_from_slice(&TYPE_IPV4.to_be_bytes());
    let header = &mut frame[14..];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((ipv4::HEADER + content.len()) as u16).to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum = Sum::of(header).finish();
    header[10..12].copy_from_slice(&sum);
    frame.extend_from_slice(content);
    frame
}

/// A segment from a client's port, with so many bytes behind its ports.
pub(crate) fn segment(client: Ipv4Addr, port: u16, to: u16, len: usize) -> Vec<u8> {
    let mut content = vec![0; 4 + len];
    content[..2].copy_from_slice(&port.to_be_bytes());
    content[2..4].copy_from_slice(&to.to_be_bytes());
    packet(client, US, PROTOCOL_TCP, &content)
}

pub(crate) fn arp(operation: Operation) -> Vec<u8> {
    let mut frame = vec![0; 14 + nom_stack::wire::arp::LEN];
    frame[12..14].copy_from_slice(&TYPE_ARP.to_be_bytes());
    let (sender, target) = (Ipv4Addr::new(10, 0, 0, 1), US);
    Arp { operation, sender_mac: [2; 6], sender, target_mac: [4; 6], target }.emit(&mut frame[14..]);
    frame
}

struct Bench {
    waiting: Rc<RefCell<VecDeque<Vec<u8>>>>,
    sent: Rc<RefCell<Sent>>,
    bells: Vec<Rung>,
    front: (FrontReceiver<In, Outgoing, Rung>, FrontSender<Outgoing>),
    backs: Vec<(BackReceiver<Rung>, BackSender<Rung>)>,
}

fn bench() -> Bench {
    let (ingress, egress) = (In::default(), Outgoing::default());
    let (waiting, sent) = (Rc::clone(&ingress.waiting), Rc::clone(&egress.0));
    let bells: Vec<Rung> = (0..CORES).map(|_| Rung::default()).collect();
    let (front, backs) = spread(ingress, egress, &bells, PORT);
    Bench { waiting, sent, bells, front, backs }
}

pub(crate) fn take(ingress: &mut impl Ingress) -> Option<(Vec<u8>, bool)> {
    let arrival = ingress.take()?;
    let frame = ingress.bytes(&arrival).to_vec();
    assert_eq!(frame.len(), arrival.len as usize);
    ingress.give_back(arrival);
    Some((frame, arrival.checksum_good))
}

fn frame(headers: &[u8]) -> Frame<'_> {
    Frame { headers, payload: &[], checksum: None, segment_len: None }
}

#[test]
fn every_connection_has_one_core_and_every_core_has_connections() {
    let client = Ipv4Addr::new(10, 0, 0, 9);
    let mut had = [0; CORES];
    for port in 30_000..33_000 {
        let core = core_of(client, port, CORES);
        assert_eq!(way(&segment(client, port, PORT, 3), PORT, CORES), Way::Core(core));
        had[core] += 1;
    }
    assert!(had.iter().all(|had| (800..1_200).contains(had)), "{had:?}");
    let other_port = segment(client, 30_000, 80, 3);
    assert!((30_000..30_100).all(|port| { way(&segment(client, port, 80, 3), PORT, CORES) == Way::Core(0) }));
    assert_eq!(way(&other_port[..20], PORT, CORES), Way::Core(0), "what is cut off is the first one's");
    assert_eq!(way(&arp(Operation::Request), PORT, CORES), Way::Core(0));
    assert_eq!(way(&arp(Operation::Reply), PORT, CORES), Way::All);
}

#[test]
fn a_piece_of_a_packet_has_no_ports() {
    for port in 30_000..30_100 {
        let mut piece = segment(Ipv4Addr::new(10, 0, 0, 9), port, PORT, 3);
        piece[14 + 6] = 0x20;
        // The sum changes by what was added.
        let sum = u16::from_be_bytes([piece[24], piece[25]]);
        let (less, borrows) = sum.overflowing_sub(0x2000);
        piece[24..26].copy_from_slice(&(less - u16::from(borrows)).to_be_bytes());
        let (packet, _) = ipv4::Ipv4::parse(&piece[14..]).expect("it is right");
        assert!(packet.fragment);
        assert_eq!(way(&piece, PORT, CORES), Way::Core(0));
    }
}

#[test]
fn frames_reach_their_core_with_what_the_device_said_of_them() {
    let mut bench = bench();
    let client = Ipv4Addr::new(10, 1, 2, 3);
    let mut expected: Vec<Vec<(Vec<u8>, bool)>> = vec![Vec::new(); CORES];
    for number in 0..40_u16 {
        let frame = segment(client, 40_000 + number, PORT, usize::from(number));
        let good = frame.len() % 2 == 1;
        expected[core_of(client, 40_000 + number, CORES)].push((frame.clone(), good));
        bench.waiting.borrow_mut().push_back(frame);
    }
    let answer = arp(Operation::Reply);
    for expected in &mut expected {
        expected.push((answer.clone(), answer.len() % 2 == 1));
    }
    bench.waiting.borrow_mut().push_back(answer);
    let quiet = bench.backs.iter_mut().all(|(receiver, _)| {
        receiver.look(1);
        receiver.arm()
    });
    assert!(quiet);
    let before: Vec<u32> = bench.bells.iter().map(|bell| bell.0.get()).collect();
    assert_eq!(bench.front.0.look(10), expected[0].len());
    for (core, before) in before.iter().enumerate().skip(1) {
        assert_eq!(bench.bells[core].0.get(), before + 1, "a core that sleeps is woken once");
    }
    let mut came: Vec<Vec<(Vec<u8>, bool)>> = Vec::new();
    came.push(core::iter::from_fn(|| take(&mut bench.front.0)).collect());
    for (receiver, _) in &mut bench.backs {
        receiver.look(11);
        came.push(core::iter::from_fn(|| take(receiver)).collect());
    }
    assert_eq!(came, expected);
    let handed = expected[1..].iter().map(|frames| frames.len() as u64).sum();
    assert_eq!(bench.front.0.counters(), Counters { handed, ..Counters::default() });
    assert!(bench.front.0.device().taken.iter().all(Option::is_none), "the device has all its buffers");
}

#[test]
fn a_core_that_does_not_keep_up_loses_its_own_frames_only() {
    let mut bench = bench();
    let client = Ipv4Addr::new(10, 1, 2, 3);
    let port_of = |core| (40_000..).find(|port| core_of(client, *port, CORES) == core).expect("there is one");
    for _ in 0..SLOTS + 10 {
        bench.waiting.borrow_mut().push_back(segment(client, port_of(1), PORT, 0));
        bench.waiting.borrow_mut().push_back(segment(client, port_of(2), PORT, 0));
        bench.front.0.look(1);
        bench.backs[1].0.look(1);
        assert!(take(&mut bench.backs[1].0).is_some(), "who keeps up has all");
    }
    let counters = bench.front.0.counters();
    assert_eq!((counters.lost, counters.handed), (10, (2 * SLOTS + 10) as u64));
    assert_eq!((bench.front.0.lost(), bench.backs[0].0.lost()), (10, 0), "who hands over counts");
}

#[test]
fn what_others_send_leaves_in_turns_and_its_own_frames_keep_their_names() {
    let mut bench = bench();
    assert_eq!(bench.backs[0].1.mtu(), 1400);
    let word = |text: &str| [&[0; 14][..], text.as_bytes()].concat();
    assert!(bench.front.0.look(0) == 0 && bench.front.0.arm(), "nothing is there");
    let rung = bench.bells[0].0.get();
    for number in 0..3 {
        for (core, (_, sender)) in bench.backs.iter_mut().enumerate() {
            sender.queue(frame(&word(&alloc::format!("{core} {number}")))).expect("there is room");
            sender.kick();
        }
    }
    assert_eq!(bench.bells[0].0.get(), rung + 2, "who sleeps is woken by each, once");
    assert!(!bench.front.0.arm(), "something is to be sent");
    assert_eq!(bench.front.1.queue(frame(&word("mine"))), Ok(1));
    bench.front.0.look(1);
    assert_eq!(bench.sent.borrow().frames.len(), ROOM, "as many as there is room for");
    assert!(!bench.front.0.arm(), "the rest waits for room");
    assert_eq!(bench.front.1.completed(), 0);
    bench.sent.borrow_mut().read = ROOM;
    bench.front.0.look(2);
    assert_eq!(bench.front.1.completed(), 1, "it was the first one");
    bench.sent.borrow_mut().read = 7;
    assert_eq!(bench.front.1.queue(frame(&word("mine too"))), Ok(2), "theirs are not counted among ours");
    assert_eq!(bench.front.1.completed(), 1);
    bench.sent.borrow_mut().read = 8;
    assert_eq!(bench.front.1.completed(), 2);
    let mut sent: Vec<Vec<u8>> = bench.sent.borrow().frames.clone();
    assert_eq!(sent.len(), 8);
    sent.retain(|frame| !frame.ends_with(b"mine") && !frame.ends_with(b"mine too"));
    for core in 0..2 {
        let of_core = |frame: &&Vec<u8>| frame[14..].starts_with(alloc::format!("{core}").as_bytes());
        let texts: Vec<&[u8]> = sent.iter().filter(of_core).map(|frame| &frame[16..]).collect();
        assert_eq!(texts, [b"0", b"1", b"2"], "in their order");
    }
    assert!(bench.front.0.arm(), "all is sent");
    assert!(bench.sent.borrow().kicks >= 2);
}

#[test]
fn a_device_that_forgot_is_reminded_of_the_frames_of_any_core() {
    let mut bench = bench();
    let mut now_ns = 10 * REMIND_NS;
    bench.front.0.look(now_ns);
    let whole = frame(&[0; 14]);
    for round in 1..=3 {
        match round {
            1 => _ = bench.front.1.queue(whole).expect("there is room"),
            core => {
                let sender = &mut bench.backs[core - 2].1;
                sender.queue(whole).expect("there is room");
                sender.kick();
            }
        }
        bench.front.0.look(now_ns);
        bench.front.1.kick();
        now_ns += REMIND_NS - 1;
        bench.front.0.look(now_ns);
        assert_eq!(bench.sent.borrow().reminders, round as u64 - 1, "it may take its time");
        now_ns += 1;
        bench.front.0.look(now_ns);
        let sent = bench.sent.borrow();
        assert_eq!((sent.reminders, sent.frames.len(), sent.read), (round as u64, round, round));
        drop(sent);
        now_ns += 5 * REMIND_NS;
        bench.front.0.look(now_ns);
        assert_eq!(bench.sent.borrow().reminders, round as u64, "all is read");
    }
    assert_eq!(bench.front.0.counters().reminders, 3);
}

#[test]
fn an_ethernet_header_is_all_that_a_frame_needs() {
    let (header, _) = Ethernet::parse(&[0; 14]).expect("it is long enough");
    assert_eq!(header.ethertype, 0);
    assert_eq!(way(&[0; 14], PORT, CORES), Way::Core(0));
    assert_eq!(way(&[0; 3], PORT, CORES), Way::Core(0));
}
