//! An Ethernet switch: learns which address is behind which port, floods what it does not know, and queues by priority
//! where more comes than a port can send.
//!
//! A frame is forwarded when its last bit has come. At the port it waits in one of [`crate::discipline::PRIORITIES`] queues, the most
//! urgent first, but what is being sent is never interrupted. Which queue that is, and whether the frame is marked,
//! trimmed or dropped, a [`Discipline`] decides.

use crate::discipline::{Discipline, Plain};
use crate::outlet::{Outlet, OutletCounters, Port};
use crate::simulation::{Node, Rest};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// Addresses that are remembered. What comes beyond is flooded.
const ADDRESSES_MAX: usize = 65_536;

/// Frames that a switch forwarded nowhere, and what it made of others. What came in is what was dropped here and what was
/// to leave somewhere; a flood is to leave at several ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Frames that came.
    pub frames: u64,
    /// Dropped because the frame's check sequence was wrong, or because it had no addresses.
    pub damaged: u64,
    /// Dropped because its receiver is where it came from.
    pub local: u64,
    /// Frames that went to all other ports, and how many times they left for that.
    pub flooded: u64,
    /// See `flooded`.
    pub copies: u64,
}

/// A switch.
pub struct Switch {
    ports: Vec<Port>,
    discipline: Box<dyn Discipline>,
    addresses: HashMap<[u8; 6], usize>,
    /// When ports have sent what they are sending, by time and then in the order in which they began.
    busy: BinaryHeap<Reverse<(u64, u64, usize)>>,
    began: u64,
    out: VecDeque<(usize, Vec<u8>)>,
    shared_bytes: u64,
    counters: SwitchCounters,
}

impl Switch {
    /// A switch with this many ports that takes no time.
    pub fn new(ports: usize) -> Self {
        Self::with(ports, Outlet::default(), u64::MAX, Plain)
    }

    /// A switch with this many ports of this kind, which have memory of this size together.
    pub fn with(
        ports: usize,
        outlet: Outlet,
        memory_bytes: u64,
        discipline: impl Discipline + 'static,
    ) -> Self {
        Self {
            ports: (0..ports).map(|_| Port::new(outlet)).collect(),
            discipline: Box::new(discipline),
            addresses: HashMap::new(),
            busy: BinaryHeap::new(),
            began: 0,
            out: VecDeque::new(),
            shared_bytes: memory_bytes,
            counters: SwitchCounters::default(),
        }
    }

    /// Changes a port from now on; what is being sent stays as it was.
    pub fn set_outlet(&mut self, port: usize, outlet: Outlet) {
        self.ports[port].outlet = outlet;
    }

    /// Says which port an address is behind, before anything came from there.
    pub fn learn(&mut self, address: [u8; 6], port: usize) {
        if self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&address) {
            self.addresses.insert(address, port);
        }
    }

    /// What it did so far.
    pub fn counters(&self) -> SwitchCounters {
        self.counters
    }

    /// What a port did so far.
    pub fn outlet_counters(&self, port: usize) -> OutletCounters {
        self.ports[port].counters
    }

    /// Frames that wait at a port or are being sent there.
    pub fn here(&self, port: usize) -> u64 {
        self.ports[port].here()
    }

    fn offer(&mut self, now_ns: u64, from: usize, to: usize, frame: &[u8]) {
        let room = self.shared_bytes;
        let taken = self.ports[to].offer(&mut *self.discipline, (from, to), frame.to_vec(), room, now_ns);
        self.shared_bytes -= taken;
        self.begin(now_ns, to);
    }

    fn begin(&mut self, now_ns: u64, port: usize) {
        if let Some((done_ns, bytes)) = self.ports[port].begin(&mut *self.discipline, now_ns) {
            self.shared_bytes += bytes;
            self.began += 1;
            self.busy.push(Reverse((done_ns, self.began, port)));
        }
    }
}

impl Node for Switch {
    fn deliver(&mut self, now_ns: u64, port: usize, frame: &[u8], damaged: bool) {
        self.counters.frames += 1;
        // A real switch checks the frame's check sequence.
        let (false, Some(head)) = (damaged, frame.first_chunk::<12>()) else {
            self.counters.damaged += 1;
            return;
        };
        let [to, from] = [0, 6].map(|at| head[at..at + 6].try_into().unwrap_or([0; 6]));
        self.learn(from, port);
        match self.addresses.get(&to) {
            Some(&known) if known == port => self.counters.local += 1,
            Some(&known) => self.offer(now_ns, port, known, frame),
            None => {
                self.counters.flooded += 1;
                for other in (0..self.ports.len()).filter(|&other| other != port) {
                    self.counters.copies += 1;
                    self.offer(now_ns, port, other, frame);
                }
            }
        }
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        while let Some(&Reverse((done_ns, _, port))) = self.busy.peek()
            && done_ns <= now_ns
        {
            self.busy.pop();
            if let Some(frame) = self.ports[port].end() {
                self.out.push_back((port, frame));
            }
            self.begin(done_ns, port);
        }
        let deadline_ns = self.busy.peek().map(|Reverse((done_ns, ..))| *done_ns);
        Rest { worked: false, deadline_ns, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.out.pop_front()
    }
}
