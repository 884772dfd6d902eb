//! The loop of virtual time.

use crate::capture::Capture;
use crate::link::{Direction, Link, LinkCounters};
use nom_load::random::Random;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

/// Steps that one node may take without time passing. A node that goes on beyond it does not come to rest: a
/// fault in what is simulated, and the simulation ends with a panic that names it.
const STEPS_AT_ONCE_MAX: u32 = 100_000;

/// What a node found when it was stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Something was done: step again as soon as the node is free.
    pub worked: bool,
    /// When something is due although nothing arrives.
    pub deadline_ns: Option<u64>,
    /// When the work of this step is done; what it sent leaves then, and nothing else happens here before.
    pub free_ns: u64,
}

/// Something with ports.
pub trait Node {
    /// A frame arrives at a port. `damaged` when the link changed a bit and a check sequence would tell.
    fn deliver(&mut self, now_ns: u64, port: usize, frame: &[u8], damaged: bool);

    /// Does what is due.
    fn step(&mut self, now_ns: u64) -> Rest;

    /// The next frame to send, and the port it goes to.
    fn depart(&mut self) -> Option<(usize, Vec<u8>)>;
}

/// Names a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A port of a node: where a link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// The node.
    pub node: NodeId,
    /// Its port, from 0.
    pub port: usize,
}

enum Event {
    Step,
    Arrive { port: usize, frame: Rc<Vec<u8>>, damaged: bool },
}

struct Entry {
    at_ns: u64,
    order: u64,
    node: usize,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.order) == (other.at_ns, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

struct Member {
    node: Rc<RefCell<dyn Node>>,
    /// The one step that counts; entries of other times are stale.
    next_step_ns: Option<u64>,
    free_ns: u64,
    steps_at_once: u32,
    last_step_ns: u64,
}

/// Nodes, links and the time.
pub struct Simulation {
    now_ns: u64,
    order: u64,
    random: Random,
    entries: BinaryHeap<Reverse<Entry>>,
    members: Vec<Member>,
    wires: Vec<(End, Direction)>,
    from: HashMap<End, usize>,
    capture: Option<Capture>,
    /// The directions that are recorded, by wire; all when there is none.
    captured: Vec<usize>,
    hash: u64,
    events: u64,
    /// Frames on their way.
    flying: u64,
    /// Frames that were sent into a port at which no link begins.
    unconnected: u64,
}

impl Simulation {
    /// An empty world at time 0.
    pub fn new(seed: u64) -> Self {
        Self {
            now_ns: 0,
            order: 0,
            random: Random::new(seed),
            entries: BinaryHeap::new(),
            members: Vec::new(),
            wires: Vec::new(),
            from: HashMap::new(),
            capture: None,
            captured: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            flying: 0,
            unconnected: 0,
        }
    }

    /// Adds a node, which is stepped at once, and keeps a share of it; the other share stays with the caller.
    pub fn add<N: Node + 'static>(&mut self, node: N) -> (NodeId, Rc<RefCell<N>>) {
        let id = NodeId(self.members.len());
        let node = Rc::new(RefCell::new(node));
        self.members.push(Member {
            node: Rc::clone(&node) as Rc<RefCell<dyn Node>>,
            next_step_ns: None,
            free_ns: self.now_ns,
            steps_at_once: 0,
            last_step_ns: 0,
        });
        self.touch(id);
        (id, node)
    }

    /// Connects two ports by a link that is the same in both directions.
    pub fn connect(&mut self, left: End, right: End, link: Link) {
        for (from, to) in [(left, right), (right, left)] {
            let random = self.random.fork(self.wires.len() as u64 + 1);
            assert!(self.from.insert(from, self.wires.len()).is_none(), "{from:?} is connected already");
            self.wires.push((to, Direction::new(link, random)));
        }
    }

    /// Changes the direction of a link that begins here, from now on.
    pub fn set_link(&mut self, from: End, link: Link) {
        self.wires[self.from[&from]].1.set(link);
    }

    /// What the direction that begins here did so far.
    pub fn link_counters(&self, from: End) -> LinkCounters {
        self.wires[self.from[&from]].1.counters
    }

    /// Records what is sent from now on, on every link.
    pub fn capture(&mut self, capture: Capture) {
        self.capture_links(&[], capture);
    }

    /// Records what is sent from now on in the directions of links that begin at these ends; everywhere when there is
    /// none.
    ///
    /// # Panics
    ///
    /// When no link begins at one of the ends.
    pub fn capture_links(&mut self, from: &[End], mut capture: Capture) {
        self.captured = from.iter().map(|end| self.from[end]).collect();
        for (end, &wire) in &self.from {
            let to = self.wires[wire].0;
            let name = format!("{}.{} to {}.{}", end.node.0, end.port, to.node.0, to.port);
            capture.name(wire as u32, name);
        }
        self.capture = Some(capture);
    }

    /// Ends the recording and returns it.
    pub fn take_capture(&mut self) -> Option<Capture> {
        self.capture.take()
    }

    /// The time.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// A number that differs as soon as any frame of two runs differs in time, place, bytes or fate.
    pub fn trace_hash(&self) -> u64 {
        self.hash
    }

    /// Frames that are on their way now: they left, and have not arrived.
    pub fn flying(&self) -> u64 {
        self.flying
    }

    /// Frames that a node sent into a port at which no link begins. They are lost, and counted nowhere else.
    pub fn unconnected(&self) -> u64 {
        self.unconnected
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Steps a node now, because the caller changed something in it.
    pub fn touch(&mut self, id: NodeId) {
        self.schedule(id.0, self.now_ns);
    }

    /// Runs until nothing is due any more or the time is reached; says which of the two by the time that comes
    /// back. Time stands at `until_ns` when something is still due.
    pub fn run_until(&mut self, until_ns: u64) -> u64 {
        while self.turn(until_ns) {}
        if !self.entries.is_empty() {
            self.now_ns = self.now_ns.max(until_ns);
        }
        self.now_ns
    }

    /// Runs until a condition holds. False when the time was reached, or nothing was due any more, before.
    pub fn run_while(&mut self, until_ns: u64, mut going: impl FnMut() -> bool) -> bool {
        while going() {
            if !self.turn(until_ns) {
                return !going();
            }
        }
        true
    }

    /// Handles the next event, if there is one up to this time.
    fn turn(&mut self, until_ns: u64) -> bool {
        if self.entries.peek().is_none_or(|Reverse(entry)| entry.at_ns > until_ns) {
            return false;
        }
        let Some(Reverse(entry)) = self.entries.pop() else { return false };
        self.now_ns = entry.at_ns;
        let place = entry.node;
        match entry.event {
            Event::Step if self.members[place].next_step_ns != Some(entry.at_ns) => {}
            Event::Step => self.step(place),
            Event::Arrive { port, frame, damaged } => {
                self.events += 1;
                self.flying -= 1;
                self.members[place].node.borrow_mut().deliver(self.now_ns, port, &frame, damaged);
                let at_ns = self.members[place].free_ns.max(self.now_ns);
                self.schedule(place, at_ns);
            }
        }
        true
    }

    fn step(&mut self, place: usize) {
        let now_ns = self.now_ns;
        let member = &mut self.members[place];
        member.next_step_ns = None;
        member.steps_at_once = if member.last_step_ns == now_ns { member.steps_at_once + 1 } else { 0 };
        member.last_step_ns = now_ns;
        assert!(
            member.steps_at_once < STEPS_AT_ONCE_MAX,
            "node {place} does not come to rest at {now_ns} ns"
        );
        let node = Rc::clone(&member.node);
        let rest = node.borrow_mut().step(now_ns);
        let free_ns = rest.free_ns.max(now_ns);
        member.free_ns = free_ns;
        if rest.worked {
            self.schedule(place, free_ns);
        } else if let Some(deadline_ns) = rest.deadline_ns {
            // A deadline that is due and yet made no work would spin: it is tried again a little later.
            self.schedule(place, deadline_ns.max(free_ns).max(now_ns + 1));
        }
        loop {
            // Ends the borrow before the frame is sent.
            let departed = node.borrow_mut().depart();
            let Some((port, frame)) = departed else { break };
            self.send(End { node: NodeId(place), port }, free_ns, frame);
        }
    }

    fn send(&mut self, from: End, at_ns: u64, mut frame: Vec<u8>) {
        self.events += 1;
        let Some(&wire) = self.from.get(&from) else {
            self.unconnected += 1;
            return;
        };
        let captured = self.capture.is_some() && (self.captured.is_empty() || self.captured.contains(&wire));
        let original = captured.then(|| frame.clone());
        let (to, direction) = &mut self.wires[wire];
        let passage = direction.pass(at_ns, &mut frame);
        let to = *to;
        let numbers = [at_ns, from.node.0 as u64, from.port as u64, passage.fate as u64];
        let arrivals = passage.arrivals_ns.map(Option::unwrap_or_default);
        for number in numbers.into_iter().chain(arrivals) {
            self.mix(&number.to_le_bytes());
        }
        self.mix(&frame);
        if let (Some(capture), Some(original)) = (&mut self.capture, original) {
            capture.frame(at_ns, wire as u32, &original, passage.fate);
        }
        let damaged = passage.damaged;
        let frame = Rc::new(frame);
        for arrival_ns in passage.arrivals_ns.into_iter().flatten() {
            self.flying += 1;
            let event = Event::Arrive { port: to.port, frame: Rc::clone(&frame), damaged };
            self.push(arrival_ns, to.node.0, event);
        }
    }

    fn schedule(&mut self, place: usize, at_ns: u64) {
        let at_ns = at_ns.max(self.now_ns);
        let member = &mut self.members[place];
        if member.next_step_ns.is_none_or(|next_ns| at_ns < next_ns) {
            member.next_step_ns = Some(at_ns);
            self.push(at_ns, place, Event::Step);
        }
    }

    fn push(&mut self, at_ns: u64, node: usize, event: Event) {
        self.order += 1;
        self.entries.push(Reverse(Entry { at_ns, order: self.order, node, event }));
    }

    /// FNV-1a.
    fn mix(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
