//! A card, three ports over real rings, and neighbours of every kind.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

use nom_port::{Bell, Gone, Receiver, SLOT_WORDS, Sender, Side, open};
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use nom_stack::wire::ethernet::{BROADCAST, Ethernet, TYPE_IPV4};
use nom_switch::{Dropped, Port, Steering, Switch, station_of};

const CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OUTSIDE: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
const SLOTS: usize = 16;
const CARD_RING: usize = 8;

type Memory = &'static [AtomicU64];

#[derive(Clone)]
struct Deaf;

impl Bell for Deaf {
    fn ring(&self) -> Result<(), Gone> {
        Ok(())
    }
}

#[derive(Default)]
struct CardIn(VecDeque<Vec<u8>>, Vec<u8>);

impl Ingress for CardIn {
    fn look(&mut self, _now_ns: u64) -> usize {
        self.0.len()
    }
    fn oldest_ns(&self) -> Option<u64> {
        None
    }
    fn capacity(&self) -> usize {
        64
    }
    fn take(&mut self) -> Option<Arrival> {
        self.1 = self.0.pop_front()?;
        Some(Arrival { buffer: 0, len: self.1.len() as u32, arrived_ns: 0, checksum_good: false })
    }
    fn bytes(&self, _arrival: &Arrival) -> &[u8] {
        &self.1
    }
    fn give_back(&mut self, _arrival: Arrival) {}
    fn arm(&mut self) -> bool {
        self.0.is_empty()
    }
}

/// A card that is done with nothing until it is told.
#[derive(Default)]
struct CardOut {
    sent: std::rc::Rc<std::cell::RefCell<Vec<Vec<u8>>>>,
    queued: u64,
}

impl Egress for CardOut {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
    fn mtu(&self) -> usize {
        1500
    }
    fn room(&self) -> usize {
        CARD_RING - self.sent.borrow().len()
    }
    fn capacity(&self) -> usize {
        CARD_RING
    }
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            return Err(Full);
        }
        self.sent.borrow_mut().push(frame.headers.to_vec());
        self.queued += 1;
        Ok(self.queued)
    }
    fn kick(&mut self) -> bool {
        false
    }
    fn completed(&mut self) -> u64 {
        self.queued
    }
}

struct Application {
    mac: [u8; 6],
    receiver: Receiver<Memory, Deaf>,
    sender: Sender<Memory, Deaf>,
}

impl Application {
    fn send(&mut self, destination: [u8; 6], what: u8) -> bool {
        let bytes = frame(destination, self.mac, what);
        self.sender.queue(Frame { headers: &bytes, payload: &[], checksum: None, segment_len: None }).is_ok()
    }

    fn received(&mut self) -> Vec<u8> {
        self.receiver.look(0);
        let mut all = Vec::new();
        while let Some(arrival) = self.receiver.take() {
            all.push(*self.receiver.bytes(&arrival).last().unwrap());
            self.receiver.give_back(arrival);
        }
        all
    }
}

fn frame(destination: [u8; 6], source: [u8; 6], what: u8) -> Vec<u8> {
    let mut bytes = vec![what; 60];
    Ethernet { destination, source, ethertype: TYPE_IPV4 }.emit(&mut bytes);
    bytes
}

struct World {
    switch: Switch<CardIn, CardOut, Receiver<Memory, Deaf>, Sender<Memory, Deaf>>,
    applications: Vec<Application>,
    sent: std::rc::Rc<std::cell::RefCell<Vec<Vec<u8>>>>,
}

fn world() -> World {
    let (mut ports, mut applications) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let words = (0..64 + 2 * SLOTS * SLOT_WORDS).map(|_| AtomicU64::new(0));
        let memory: Memory = Box::leak(words.collect::<Vec<_>>().into_boxed_slice());
        let mac = station_of(CARD, number);
        ports.push(open(memory, Side::Switch, Some(mac), Deaf, 0).unwrap());
        let (receiver, sender) = open(memory, Side::Port, None, Deaf, 0).unwrap();
        applications.push(Application { mac, receiver, sender });
    }
    let known = |number| Port { mac: station_of(CARD, number), address: None, learns: false };
    let card = CardOut::default();
    let sent = card.sent.clone();
    let steering = Steering::new((0..3).map(known).collect());
    let mut world =
        World { switch: Switch::new((CardIn::default(), card), ports, steering), applications, sent };
    world.switch.turn(0);
    world.applications.iter_mut().for_each(|one| assert!(one.received().is_empty()));
    world
}

impl World {
    fn turn(&mut self) {
        self.applications.iter_mut().for_each(|one| {
            one.sender.kick();
        });
        self.switch.turn(1);
    }
}

#[test]
fn frames_find_their_way_between_all() {
    let mut world = world();
    let macs: Vec<[u8; 6]> = world.applications.iter().map(|one| one.mac).collect();
    world.applications[0].send(OUTSIDE, 1);
    world.applications[0].send(macs[2], 2);
    world.applications[1].send(BROADCAST, 3);
    world.turn();
    // Whose turn comes first changes.
    world.sent.borrow_mut().sort();
    assert_eq!(*world.sent.borrow(), [frame(OUTSIDE, macs[0], 1), frame(BROADCAST, macs[1], 3)]);
    assert_eq!(world.applications[0].received(), [3]);
    assert_eq!(world.applications[1].received(), []);
    let mut received = world.applications[2].received();
    received.sort();
    assert_eq!(received, [2, 3]);
    let counters = *world.switch.counters();
    assert_eq!((counters.from_ports, counters.to_card, counters.to_ports), (3, 2, 3));
    assert!(world.switch.arm());
}

#[test]
fn who_floods_takes_its_own_turn_and_who_does_not_read_loses_its_own() {
    let mut world = world();
    let victim = world.applications[2].mac;
    let mut passed = 0;
    for round in 0..200 {
        // One floods everybody and the world with all it can; the others want one frame each way.
        while world.applications[0].send(if round % 2 == 0 { BROADCAST } else { OUTSIDE }, 9) {}
        assert!(world.applications[1].send(OUTSIDE, 1));
        world.sent.borrow_mut().clear();
        world.turn();
        passed += world.sent.borrow().iter().filter(|frame| frame[59] == 1).count();
        assert!(world.applications[1].received().len() <= SLOTS);
    }
    assert!(passed >= 100, "only {passed} frames of the one that is modest left in 200 turns");
    assert!(world.switch.counters().port_full > 0, "the third one reads nothing");
    assert_eq!(world.applications[2].received().len(), SLOTS);
    // It reads again, and gets what comes then.
    world.sent.borrow_mut().clear();
    world.turn();
    world.applications[2].received();
    world.applications[1].send(victim, 4);
    world.sent.borrow_mut().clear();
    world.turn();
    assert!(world.applications[2].received().contains(&4));
}

#[test]
fn frames_wait_where_they_are_while_the_card_is_full() {
    let mut world = world();
    let mut wanted = 0;
    while world.applications[0].send(OUTSIDE, 1) {
        wanted += 1;
    }
    assert_eq!(wanted, SLOTS);
    world.turn();
    world.turn();
    assert_eq!(world.sent.borrow().len(), CARD_RING);
    assert!(world.switch.counters().card_full > 0);
    world.sent.borrow_mut().clear();
    world.turn();
    assert_eq!(world.sent.borrow().len(), wanted - CARD_RING, "none was lost");
}

#[test]
fn what_a_port_may_not_send_is_dropped_and_counted() {
    let mut world = world();
    let mac = world.applications[1].mac;
    world.applications[0].mac = mac;
    world.applications[0].send(OUTSIDE, 1);
    world.turn();
    assert!(world.sent.borrow().is_empty());
    assert_eq!(world.switch.counters().dropped[Dropped::Station as usize], 1);
}
