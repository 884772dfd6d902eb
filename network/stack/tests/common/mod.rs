//! Two stacks and a link between them, in virtual time, with faults from a seed.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

pub mod peer;
mod talker;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

use nom_stack::application::Application;
use nom_stack::knobs::{Batching, Early, Knobs};
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use nom_stack::{Config, Engine};

pub use talker::{Talker, stream_byte};

/// A small generator: the same seed, the same faults.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub reordering: u64,
    pub corruption: u64,
}

/// One direction of the link: frames with the time at which they arrive.
#[derive(Default)]
pub struct Wire {
    pub frames: BTreeMap<(u64, u64), Vec<u8>>,
    pub number: u64,
    /// Every frame that was ever sent, with the time at which the device saw it.
    pub log: Vec<(u64, Vec<u8>)>,
}

impl Wire {
    pub fn push(&mut self, at_ns: u64, frame: Vec<u8>) {
        self.number += 1;
        self.frames.insert((at_ns, self.number), frame);
    }
}

#[derive(Default)]
pub struct Inbox {
    pub frames: VecDeque<(Vec<u8>, u64, u64)>,
    pub taken: BTreeMap<u32, Vec<u8>>,
    pub next: u32,
    pub looked_ns: u64,
    /// How long the knobs in force allow a frame to be held. Nobody may hold one longer than was allowed when it came.
    pub hold_ns: u64,
    pub limits: BTreeMap<u32, u64>,
    pub held_longest_ns: u64,
}

#[derive(Clone, Default)]
pub struct TestIngress(pub Rc<RefCell<Inbox>>, BTreeMap<u32, Vec<u8>>);

impl TestIngress {
    pub fn new(inbox: Rc<RefCell<Inbox>>) -> Self {
        Self(inbox, BTreeMap::new())
    }
}

impl Ingress for TestIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let mut inbox = self.0.borrow_mut();
        inbox.looked_ns = now_ns;
        inbox.frames.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.0.borrow().frames.front().map(|frame| frame.1)
    }

    fn capacity(&self) -> usize {
        256
    }

    fn take(&mut self) -> Option<Arrival> {
        let mut inbox = self.0.borrow_mut();
        let (bytes, arrived_ns, limit_ns) = inbox.frames.pop_front()?;
        inbox.next += 1;
        let buffer = inbox.next;
        let arrival = Arrival { buffer, len: bytes.len() as u32, arrived_ns, checksum_good: false };
        inbox.limits.insert(buffer, limit_ns);
        self.1.insert(arrival.buffer, bytes);
        Some(arrival)
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        &self.1[&arrival.buffer]
    }

    fn give_back(&mut self, arrival: Arrival) {
        assert!(self.1.remove(&arrival.buffer).is_some(), "given back once");
        let mut inbox = self.0.borrow_mut();
        let limit_ns = inbox.limits.remove(&arrival.buffer).expect("taken");
        let held_ns = inbox.looked_ns - arrival.arrived_ns;
        inbox.held_longest_ns = inbox.held_longest_ns.max(held_ns);
        assert!(inbox.looked_ns <= limit_ns, "a frame was held for {held_ns} ns on its way in");
    }

    fn arm(&mut self) -> bool {
        self.0.borrow().frames.is_empty()
    }
}

/// What the sending half shares with the test and with the application's checks.
#[derive(Default)]
pub struct Ring {
    pub queued: Vec<Vec<u8>>,
    pub shown: VecDeque<Vec<u8>>,
    pub sent: u64,
    pub completed: u64,
    /// Frames that the device still reads when time goes on; it has read the others when it was shown them.
    pub lag: u64,
    pub capacity: usize,
    pub kicks: u64,
    pub now_ns: u64,
    pub hold_ns: u64,
    /// By when each queued frame must be shown.
    pub limits: Vec<u64>,
}

#[derive(Clone)]
pub struct TestEgress(pub Rc<RefCell<Ring>>);

impl Egress for TestEgress {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn room(&self) -> usize {
        let ring = self.0.borrow();
        ring.capacity - ring.queued.len()
    }

    fn capacity(&self) -> usize {
        self.0.borrow().capacity
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let mut ring = self.0.borrow_mut();
        if ring.queued.len() >= ring.capacity {
            return Err(Full);
        }
        let mut bytes = frame.headers.to_vec();
        for part in frame.payload {
            bytes.extend_from_slice(part);
        }
        assert!(bytes.len() <= 1514);
        ring.queued.push(bytes);
        let limit_ns = ring.now_ns + ring.hold_ns;
        ring.limits.push(limit_ns);
        ring.sent += 1;
        Ok(ring.sent)
    }

    fn kick(&mut self) -> bool {
        let mut ring = self.0.borrow_mut();
        let queued = std::mem::take(&mut ring.queued);
        let limits = std::mem::take(&mut ring.limits);
        assert!(
            limits.iter().all(|&limit_ns| ring.now_ns <= limit_ns),
            "a frame was held too long on its way out"
        );
        ring.shown.extend(queued);
        ring.kicks += 1;
        ring.completed = ring.completed.max(ring.sent.saturating_sub(ring.lag));
        true
    }

    fn completed(&mut self) -> u64 {
        self.0.borrow().completed
    }
}

pub type TestEngine<A> = Engine<TestIngress, TestEgress, A>;

/// One stack with the test's ends of its device.
pub struct Host<A: Application> {
    pub engine: TestEngine<A>,
    pub inbox: Rc<RefCell<Inbox>>,
    pub ring: Rc<RefCell<Ring>>,
    pub deadline_ns: Option<u64>,
    pub stepped_ns: u64,
}

pub fn address(which: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, which)
}

pub fn config(which: u8) -> Config {
    Config::new([2, 0, 0, 0, 0, which], address(which), 24)
}

impl<A: Application> Host<A> {
    pub fn new(config: Config, make: impl FnOnce(Rc<RefCell<Ring>>) -> A) -> Self {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let ring = Rc::new(RefCell::new(Ring { capacity: 128, ..Ring::default() }));
        let ingress = TestIngress::new(Rc::clone(&inbox));
        let egress = TestEgress(Rc::clone(&ring));
        let application = make(Rc::clone(&ring));
        let seed = [config.mac[5]; 32];
        let engine = Engine::new(config, ingress, egress, application, seed, 0);
        Self { engine, inbox, ring, deadline_ns: None, stepped_ns: 0 }
    }

    /// Steps until nothing is due.
    pub fn step(&mut self, now_ns: u64) {
        self.ring.borrow_mut().now_ns = now_ns;
        if now_ns > self.stepped_ns {
            // The device has read what it was shown before.
            let mut ring = self.ring.borrow_mut();
            ring.completed = ring.sent - ring.queued.len() as u64;
        }
        self.stepped_ns = now_ns;
        for _ in 0..100_000 {
            let step = self.engine.step(now_ns);
            self.deadline_ns = step.deadline_ns;
            if !step.worked {
                return;
            }
        }
        panic!("a stack that never rests");
    }

    /// Frames that the device was shown.
    pub fn take_shown(&mut self) -> Vec<Vec<u8>> {
        self.ring.borrow_mut().shown.drain(..).collect()
    }

    pub fn give(&mut self, frame: Vec<u8>, now_ns: u64) {
        let mut inbox = self.inbox.borrow_mut();
        let limit_ns = now_ns + inbox.hold_ns;
        inbox.frames.push_back((frame, now_ns, limit_ns));
    }

    /// Changes the batching delay, here and in what the device's two ends check.
    pub fn batch(&mut self, batching: Batching, early: Early, now_ns: u64) {
        self.ring.borrow_mut().now_ns = now_ns;
        let knobs = Knobs { batching, early, ..*self.engine.knobs() };
        self.engine.set_knobs(knobs, now_ns);
        self.inbox.borrow_mut().hold_ns = batching.delay_ns();
        self.ring.borrow_mut().hold_ns = batching.delay_ns();
    }
}

/// Two stacks and their link.
pub struct Pair<A: Application> {
    pub hosts: [Host<A>; 2],
    pub wires: [Wire; 2],
    pub faults: Faults,
    pub delay_ns: u64,
    pub random: Random,
    pub now_ns: u64,
    pub events: u64,
}

impl Pair<Talker> {
    pub fn talkers(seed: u64, goal: u64) -> Self {
        Self::talkers_with(seed, goal, |_| {})
    }

    pub fn talkers_with(seed: u64, goal: u64, change: impl Fn(&mut Config)) -> Self {
        let host = |which: u8| {
            let mut config = config(which);
            change(&mut config);
            Host::new(config, |ring| Talker::new(seed + u64::from(which), goal, ring))
        };
        let mut pair = Self {
            hosts: [host(1), host(2)],
            wires: [Wire::default(), Wire::default()],
            faults: Faults::default(),
            delay_ns: 50_000,
            random: Random::new(seed),
            now_ns: 1_000_000,
            events: 0,
        };
        pair.hosts[1].engine.listen(80);
        pair
    }
}

impl<A: Application> Pair<A> {
    /// Moves frames and time until nothing happens any more or the time is over.
    pub fn run_until(&mut self, end_ns: u64) {
        loop {
            for which in 0..2 {
                self.hosts[which].step(self.now_ns);
                let shown = self.hosts[which].take_shown();
                for frame in shown {
                    self.transmit(which, frame);
                }
            }
            let next = self
                .hosts
                .iter()
                .filter_map(|host| host.deadline_ns)
                .chain(self.wires.iter().filter_map(|wire| wire.frames.keys().next().map(|key| key.0)))
                .min();
            match next {
                Some(next_ns) if next_ns <= end_ns => self.now_ns = self.now_ns.max(next_ns),
                _ => {
                    self.now_ns = end_ns;
                    return;
                }
            }
            self.events += 1;
            if self.events >= 2_000_000 {
                let counters: Vec<_> = self.hosts.iter().map(|host| *host.engine.counters()).collect();
                panic!("no progress at {} ns: {counters:#?}", self.now_ns);
            }
            for which in 0..2 {
                while let Some((&key, _)) = self.wires[which].frames.first_key_value()
                    && key.0 <= self.now_ns
                {
                    let frame = self.wires[which].frames.remove(&key).expect("it was first");
                    self.hosts[1 - which].give(frame, self.now_ns);
                }
            }
        }
    }

    fn transmit(&mut self, which: usize, mut frame: Vec<u8>) {
        self.wires[which].log.push((self.now_ns, frame.clone()));
        if self.random.chance(self.faults.loss) {
            return;
        }
        if self.random.chance(self.faults.corruption) {
            // Not in the addresses: what an Ethernet frame's own check finds never comes up to us, and nothing above
            // covers those.
            let place = 12 + self.random.below(frame.len() as u64 - 12) as usize;
            frame[place] ^= 1 << self.random.below(8);
        }
        let mut at_ns = self.now_ns + self.delay_ns;
        if self.random.chance(self.faults.reordering) {
            at_ns += self.random.below(4 * self.delay_ns);
        }
        if self.random.chance(self.faults.duplication) {
            self.wires[which].push(at_ns + self.random.below(self.delay_ns), frame.clone());
        }
        self.wires[which].push(at_ns, frame);
    }
}
