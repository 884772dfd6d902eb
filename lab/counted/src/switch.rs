//! Frames through the switch: from the card into a port, read there, and others back from the port to the card.
//!
//! Both ends of the ring are counted and the card is not: it copies a frame as a driver does, and no more.

use crate::STEP_NS;
use crate::device::{RING, Received};
use nom_port::{Bell, Gone, Halves, Receiver, SLOT_WORDS, Sender, Side, open};
use nom_stack::port::{Egress, Frame, Full, Ingress, Offloads};
use nom_stack::wire::ethernet::{Ethernet, TYPE_IPV4};
use nom_switch::{Port, Steering, Switch, station_of};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

const CARD: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Ports of the switch: of these one is busy.
const PORTS: usize = 2;
/// Words before the slots, and slots enough for what comes together.
const WORDS: usize = 64 + 2 * RING * SLOT_WORDS;

type Memory = &'static [AtomicU64];

#[derive(Clone, Default)]
struct Counted(Rc<Cell<u64>>);

impl Bell for Counted {
    fn ring(&self) -> Result<(), Gone> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

/// The sending half of a card that is always done.
struct Sent {
    slot: [u8; 2048],
    queued: u64,
}

impl Egress for Sent {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn room(&self) -> usize {
        RING
    }

    fn capacity(&self) -> usize {
        RING
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        self.slot[..frame.headers.len()].copy_from_slice(frame.headers);
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

type Counting = Switch<Received, Sent, Receiver<Memory, Counted>, Sender<Memory, Counted>>;

/// What is counted: a turn that brings frames in, their reading, their answers, and a turn that takes those out. Each side
/// falls asleep before it is given something.
#[inline(never)]
fn counted(
    switch: &mut Counting,
    application: &mut Halves<Memory, Counted>,
    answer: &[u8],
    now_ns: u64,
) -> usize {
    let (receiver, sender) = application;
    receiver.arm();
    switch.turn(now_ns);
    receiver.look(now_ns);
    let mut read = 0;
    while let Some(arrival) = receiver.take() {
        read += usize::from(!receiver.bytes(&arrival).is_empty());
        receiver.give_back(arrival);
    }
    switch.arm();
    let mut answered = 0;
    for _ in 0..read {
        let frame = Frame { headers: answer, payload: &[], checksum: None, segment_len: None };
        answered += usize::from(sender.queue(frame).is_ok());
    }
    sender.kick();
    while switch.turn(now_ns) {}
    answered
}

/// So many frames of a length each way, together; answers how many notifications there were.
pub fn play(len: usize, batch: usize, rounds: usize) -> u64 {
    let (mut ports, mut applications) = (Vec::new(), Vec::new());
    let bell = Counted::default();
    for number in 0..PORTS {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let memory: Memory = Box::leak(words.into_boxed_slice());
        let mac = Some(station_of(CARD, number));
        ports.push(open(memory, Side::Switch, mac, bell.clone(), 0).expect("the memory is large enough"));
        applications
            .push(open(memory, Side::Port, None, bell.clone(), 0).expect("the memory is large enough"));
    }
    let port = |number| Port { mac: station_of(CARD, number), address: None, learns: false };
    let card = (Received::new(true), Sent { slot: [0; 2048], queued: 0 });
    let mut switch = Switch::new(card, ports, Steering::new((0..PORTS).map(port).collect()));
    let mac = station_of(CARD, PORTS - 1);
    let mut application = applications.pop().expect("there are ports");
    let frame = |destination, source| {
        let mut bytes = vec![7; len];
        Ethernet { destination, source, ethertype: TYPE_IPV4 }.emit(&mut bytes);
        bytes
    };
    let answer = frame(OUTSIDE, mac);
    let mut now_ns = STEP_NS;
    // Both ends know each other before anything is counted.
    switch.turn(now_ns);
    application.0.look(now_ns);
    bell.0.set(0);
    for _ in 0..rounds {
        now_ns += STEP_NS;
        for _ in 0..batch {
            switch.card_in_mut().arrive(frame(mac, OUTSIDE), now_ns);
        }
        let passed = counted(&mut switch, &mut application, &answer, now_ns);
        assert_eq!(passed, batch, "{:?}", switch.counters());
    }
    let expected = (batch * rounds) as u64;
    assert_eq!((switch.counters().to_ports, switch.counters().to_card), (expected, expected));
    bell.0.get()
}
