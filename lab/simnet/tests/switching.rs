//! Switches with queues: the most urgent first, nothing lost or doubled that a counter does not tell, marks and cuts as
//! the discipline says, the same seed the same run.

use nom_load::random::Random;
use nom_simnet::discipline::{ByClass, Discipline, Marking, Moment, PRIORITIES, Trimming, Verdict};
use nom_simnet::port::Device;
use nom_simnet::stream::{Plan, Stream};
use nom_simnet::{Capture, Cost, End, Host, Link, Node, NodeId, Outlet, Rest, Simulation, Switch};
use nom_stack::Config;
use nom_stack::config::Agreement;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

const PORT: u16 = 7;
const SECOND_NS: u64 = 1_000_000_000;

fn end(node: NodeId, port: usize) -> End {
    End { node, port }
}

fn mac(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

/// A frame of a class, with a number that names it.
fn frame(to: u16, from: u16, class: u8, number: u64, len: usize) -> Vec<u8> {
    let mut frame = [mac(to), mac(from)].concat();
    frame.extend_from_slice(&[8, 0, 0x45, class << 5]);
    frame.extend_from_slice(&number.to_be_bytes());
    frame.resize(len.max(64), 0);
    frame
}

fn number_of(frame: &[u8]) -> u64 {
    u64::from_be_bytes(frame[16..24].try_into().unwrap())
}

/// Sends frames at given times, and keeps what arrives.
#[derive(Default)]
struct Chatter {
    plan: VecDeque<(u64, Vec<u8>)>,
    out: VecDeque<Vec<u8>>,
    sent: u64,
    heard: Vec<(u64, Vec<u8>)>,
}

impl Node for Chatter {
    fn deliver(&mut self, now_ns: u64, _port: usize, frame: &[u8], _damaged: bool) {
        self.heard.push((now_ns, frame.to_vec()));
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        while let Some((_, frame)) = self.plan.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) {
            self.out.push_back(frame);
        }
        let deadline_ns = self.plan.front().map(|(at_ns, _)| *at_ns);
        Rest { worked: false, deadline_ns, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        let frame = self.out.pop_front()?;
        self.sent += 1;
        Some((0, frame))
    }
}

/// Many to one over a slow port: when a frame of known arrival began to leave, who else waited?
#[test]
fn the_most_urgent_frame_always_leaves_first() {
    const RATE: u64 = 100_000_000;
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut simulation = Simulation::new(seed);
        let outlet = Outlet { rate_bits_per_s: RATE, queue_bytes: 1 << 30 };
        let (switch, state) = simulation.add(Switch::with(5, outlet, u64::MAX, ByClass));
        state.borrow_mut().learn(mac(0), 0);
        let (sink, heard) = simulation.add(Chatter::default());
        simulation.connect(end(switch, 0), end(sink, 0), Link { delay_ns: 700, ..Link::default() });
        // By number: when it came to the switch, its priority, how long it takes.
        let mut known: HashMap<u64, (u64, usize, u64)> = HashMap::new();
        for from in 1..5 {
            let (mut at_ns, mut plan) = (0, VecDeque::new());
            for _ in 0..100 {
                at_ns += random.below(60_000);
                let (class, len) = (random.below(8) as u8, 64 + random.below(1_400) as usize);
                let number = known.len() as u64;
                let sending_ns = (len as u64 + 24) * 8 * SECOND_NS / RATE;
                known.insert(number, (at_ns, PRIORITIES - 1 - usize::from(class), sending_ns));
                plan.push_back((at_ns, frame(0, from, class, number, len)));
            }
            let (id, _) = simulation.add(Chatter { plan, ..Chatter::default() });
            simulation.connect(end(id, 0), end(switch, usize::from(from)), Link::default());
        }
        simulation.run_until(u64::MAX);
        let heard = &heard.borrow().heard;
        assert_eq!(heard.len(), 400, "nothing was dropped");
        let began: Vec<(u64, u64)> = heard
            .iter()
            .map(|(at_ns, frame)| (number_of(frame), at_ns - 700 - known[&number_of(frame)].2))
            .collect();
        let mut overtaken = 0;
        for (place, (number, began_ns)) in began.iter().enumerate() {
            let (came_ns, priority, _) = known[number];
            assert!(came_ns <= *began_ns);
            for (later, _) in &began[place + 1..] {
                let (later_ns, later_priority, _) = known[later];
                let more_urgent = later_priority < priority;
                assert!(later_ns >= *began_ns || !more_urgent, "seed {seed}: {later} waited for {number}");
                let same = later_priority == priority;
                assert!(!same || later_ns >= came_ns, "seed {seed}: order within a priority");
                overtaken += u32::from(later_priority > priority && later_ns < came_ns);
            }
        }
        assert!(overtaken > 100, "there was something to overtake: {overtaken}");
        assert_eq!(state.borrow().outlet_counters(0).sent_by_priority.iter().sum::<u64>(), 400);
    }
}

/// Refuses, marks and cuts by chance, to see whether the counters tell.
struct Moody(Random);

impl Discipline for Moody {
    fn admit(&mut self, moment: &Moment<'_>, frame: &mut Vec<u8>) -> Verdict {
        assert!(moment.waiting_bytes.iter().all(|bytes| *bytes <= moment.queue_bytes));
        let priority = self.0.below(PRIORITIES as u64) as usize;
        match self.0.below(10) {
            0 => Verdict::Drop,
            1 => Verdict::Marked(priority),
            2 => {
                frame.truncate(64);
                Verdict::Trimmed(priority)
            }
            _ => Verdict::Join(priority),
        }
    }
}

/// Three switches under a fourth, four nodes at each, bad links and small queues.
struct Tree {
    simulation: Simulation,
    switches: Vec<(NodeId, Rc<RefCell<Switch>>, usize)>,
    nodes: Vec<(NodeId, Rc<RefCell<Chatter>>)>,
    ends: Vec<End>,
}

impl Tree {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut simulation = Simulation::new(seed);
        let mut part = |most: f64| if random.chance(0.5) { random.unit() * most } else { 0.0 };
        let link = Link {
            delay_ns: 5_000,
            loss: part(0.05),
            duplication: part(0.1),
            reordering: part(0.3),
            reordering_ns: 30_000,
            corruption: part(0.1),
            ..Link::default()
        };
        let slow = Link { rate_bits_per_s: 50_000_000, queue_bytes: 4_000, ..link };
        let outlet = Outlet { rate_bits_per_s: 80_000_000, queue_bytes: 3_000 + random.below(9_000) };
        let mut switch = |ports: usize| {
            let discipline = Moody(Random::new(random.next()));
            let (id, state) = simulation.add(Switch::with(ports, outlet, 20_000, discipline));
            (id, state, ports)
        };
        // The root has a port at which no link begins: what is flooded there is lost, and told.
        let mut switches = vec![switch(4)];
        switches.extend((0..3).map(|_| switch(5)));
        let (mut nodes, mut ends) = (Vec::new(), Vec::new());
        for leaf in 1..4 {
            let (up, down) = (end(switches[leaf].0, 4), end(switches[0].0, leaf - 1));
            simulation.connect(up, down, link);
            ends.extend([up, down]);
            for place in 0..4 {
                let name = nodes.len() as u16;
                let mut plan: Vec<(u64, Vec<u8>)> = (0..100)
                    .map(|number| {
                        let (to, len) = (random.below(13) as u16, 64 + random.below(1_400) as usize);
                        (random.below(10_000_000), frame(to, name, 0, number, len))
                    })
                    .collect();
                plan.sort();
                let (id, node) = simulation.add(Chatter { plan: plan.into(), ..Chatter::default() });
                let (here, there) = (end(id, 0), end(switches[leaf].0, place));
                simulation.connect(here, there, if place == 0 { slow } else { link });
                ends.extend([here, there]);
                nodes.push((id, node));
            }
        }
        Self { simulation, switches, nodes, ends }
    }

    /// Adds everything up, at any moment.
    fn check(&self, what: &str) -> [u64; 5] {
        let mut told = [0; 5];
        let mut sent_by: HashMap<End, u64> = HashMap::new();
        let mut handled = 0;
        for (id, node) in &self.nodes {
            sent_by.insert(end(*id, 0), node.borrow().sent);
            handled += node.borrow().heard.len() as u64;
        }
        let mut nowhere = 0;
        for (id, switch, ports) in &self.switches {
            let switch = switch.borrow();
            let counters = switch.counters();
            handled += counters.frames;
            let mut offered = 0;
            for port in 0..*ports {
                let outlet = switch.outlet_counters(port);
                let gone = outlet.sent + outlet.full + outlet.refused;
                assert_eq!(outlet.offered, gone + switch.here(port), "{what}: a port of {id:?} {outlet:?}");
                assert_eq!(outlet.sent, outlet.sent_by_priority.iter().sum(), "{what}");
                assert!(outlet.waiting_bytes_max <= 20_000, "{what}: the shared memory is a bound");
                offered += outlet.offered;
                told[0] += outlet.full;
                told[1] += outlet.trimmed;
                told[2] += outlet.marked;
                if self.ends.contains(&end(*id, port)) {
                    sent_by.insert(end(*id, port), outlet.sent);
                } else {
                    nowhere += outlet.sent;
                }
            }
            let forwarded = counters.frames - counters.damaged - counters.local - counters.flooded;
            assert_eq!(offered, forwarded + counters.copies, "{what}: {counters:?}");
            told[3] += counters.damaged;
            told[4] += counters.flooded;
        }
        assert_eq!(self.simulation.unconnected(), nowhere, "{what}");
        let mut arrivals = 0;
        for from in &self.ends {
            let link = self.simulation.link_counters(*from);
            assert!(link.balance(), "{what}: {link:?}");
            assert_eq!(link.frames, sent_by[from], "{what}: what left at {from:?} is what the link got");
            arrivals += link.arrivals;
        }
        assert_eq!(arrivals, handled + self.simulation.flying(), "{what}: arrivals");
        told
    }
}

#[test]
fn nothing_is_lost_or_doubled_that_a_counter_does_not_tell() {
    let mut told = [0; 5];
    for seed in 0..40 {
        let mut tree = Tree::new(seed);
        for moment in 1..12 {
            tree.simulation.run_until(moment * 1_000_000);
            tree.check(&format!("seed {seed} after {moment} ms"));
        }
        tree.simulation.run_until(u64::MAX);
        assert_eq!(tree.simulation.flying(), 0);
        let end = tree.check(&format!("seed {seed} at the end"));
        told.iter_mut().zip(end).for_each(|(sum, more)| *sum += more);
    }
    assert!(told.iter().all(|count| *count > 100), "every way of being told was taken: {told:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut tree = Tree::new(seed);
        tree.simulation.run_until(u64::MAX);
        (tree.simulation.trace_hash(), tree.simulation.events())
    };
    assert_eq!((run(5), run(6)), (run(5), run(6)));
    assert_ne!(run(5).0, run(6).0);
}

#[test]
fn a_link_is_captured_alone_and_whole() {
    let mut tree = Tree::new(3);
    let chosen = [tree.ends[2], tree.ends[3]];
    tree.simulation.capture_links(&chosen, Capture::new());
    tree.simulation.run_until(u64::MAX);
    let mut file = Vec::new();
    tree.simulation.take_capture().unwrap().write(&mut file).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut by_interface) = (0, HashMap::<u32, u64>::new());
    while at < file.len() {
        if word(at) == 6 {
            *by_interface.entry(word(at + 8)).or_default() += 1;
        }
        at += word(at + 4) as usize;
    }
    let mut counted: Vec<u64> = by_interface.into_values().collect();
    let mut frames = chosen.map(|from| tree.simulation.link_counters(from).frames);
    counted.sort_unstable();
    frames.sort_unstable();
    assert_eq!(counted, frames, "two directions of one link, and nothing else");
    let name = format!("{}.0 to {}.0", chosen[0].node.0, chosen[1].node.0);
    assert!(file.windows(name.len()).any(|window| window == name.as_bytes()), "named {name}");
}

/// Sixteen to one at once: what does not fit is cut, and every header arrives before the payload that waits.
#[test]
fn what_is_trimmed_is_heard_of() {
    let mut simulation = Simulation::new(1);
    let outlet = Outlet { rate_bits_per_s: 1_000_000_000, queue_bytes: 12_000 };
    let discipline = Trimming { header_len: 64 };
    let (switch, state) = simulation.add(Switch::with(17, outlet, u64::MAX, discipline));
    state.borrow_mut().learn(mac(0), 0);
    let (sink, heard) = simulation.add(Chatter::default());
    simulation.connect(end(switch, 0), end(sink, 0), Link::default());
    for from in 1..=16 {
        let plan = (0..4).map(|number| (0, frame(0, from, 0, number, 1_500))).collect();
        let (id, _) = simulation.add(Chatter { plan, ..Chatter::default() });
        simulation.connect(end(id, 0), end(switch, usize::from(from)), Link::default());
    }
    simulation.run_until(u64::MAX);
    let heard = &heard.borrow().heard;
    assert_eq!(heard.len(), 64, "of every frame at least the header arrived");
    let cut: Vec<usize> = (0..64).filter(|place| heard[*place].1.len() == 64).collect();
    let counters = state.borrow().outlet_counters(0);
    // One on its way, eight waiting.
    assert_eq!((cut.len(), counters.trimmed, counters.full), (55, 55, 0));
    assert_eq!(cut, (1..56).collect::<Vec<_>>(), "behind the one that was on its way, before all that wait");
}

fn island(number: u8, marks: Agreement) -> Config {
    let config = Config::new(mac(u16::from(number)), Ipv4Addr::new(10, 9, 0, number), 24);
    Config {
        connections: 64,
        half_open: 16,
        time_wait: 16,
        send_memory_bytes: 256 << 10,
        receive_memory_bytes: 256 << 10,
        congestion_marks: marks,
        ..config
    }
}

/// Eight of the stack's senders to one receiver through a port of 100 Mbit/s: segments sent again, and the most bytes
/// that waited.
fn incast(marks: Agreement) -> (u64, u64) {
    let plan = |send, expect| Plan { send, expect, seed: 1, expect_seed: 1, record: 1, pins: false };
    let mut simulation = Simulation::new(4);
    let outlet = Outlet { rate_bits_per_s: 100_000_000, queue_bytes: 400_000 };
    let discipline = Marking { threshold_bytes: 60_000 };
    let (switch, state) = simulation.add(Switch::with(9, outlet, u64::MAX, discipline));
    let link = Link { delay_ns: 50_000, ..Link::default() };
    let host = |number, plan| {
        let stream = Stream::new(plan);
        Host::new(island(number, marks), Device::default(), Cost::default(), stream, u64::from(number))
    };
    let (id, receiver) = simulation.add(host(1, plan(0, 400_000)));
    receiver.borrow_mut().engine_mut().listen(PORT);
    simulation.connect(end(switch, 0), end(id, 0), link);
    let mut senders = Vec::new();
    for number in 2..10 {
        let (id, sender) = simulation.add(host(number, plan(400_000, 0)));
        simulation.connect(end(id, 0), end(switch, usize::from(number) - 1), link);
        sender.borrow_mut().engine_mut().connect(Ipv4Addr::new(10, 9, 0, 1), PORT, 0).unwrap();
        senders.push(sender);
    }
    simulation.run_until(200 * SECOND_NS);
    assert!(receiver.borrow().engine().application().complete(8));
    let again = senders.iter().map(|sender| sender.borrow().engine().counters().retransmitted_segments);
    (again.sum(), state.borrow().outlet_counters(0).waiting_bytes_max)
}

#[test]
fn marks_keep_the_queue_short_for_stacks_that_heed_them() {
    let (heedless, longest) = incast(Agreement::Never);
    let (heedful, shorter) = incast(Agreement::Always);
    assert!(heedless > 0 && longest > 390_000, "without marks the queue fills: {heedless} {longest}");
    assert!(heedful == 0 && shorter < longest, "with marks it does not: {heedful} {shorter} of {longest}");
}

#[test]
fn thousands_of_stacks_in_one_world() {
    const ISLANDS: usize = 50;
    const CLIENTS: u8 = 40;
    let plan = |send, expect| Plan { send, expect, seed: 1, expect_seed: 1, record: 1, pins: false };
    let mut simulation = Simulation::new(2);
    let outlet = Outlet { rate_bits_per_s: 1_000_000_000, queue_bytes: 1 << 20 };
    let mut stacks = Vec::new();
    for name in 0..ISLANDS {
        let (switch, _) = simulation.add(Switch::with(usize::from(CLIENTS) + 1, outlet, 4 << 20, ByClass));
        for number in 1..=CLIENTS + 1 {
            let mine = if number == 1 { plan(3_000, 500) } else { plan(500, 3_000) };
            let seed = name as u64 * 1_000 + u64::from(number);
            let config = Config {
                send_memory_bytes: 128 << 10,
                receive_memory_bytes: 16 << 10,
                ..island(number, Agreement::Never)
            };
            let device = Device { ring: 64, ..Device::default() };
            let mut host = Host::new(config, device, Cost::default(), Stream::new(mine), seed);
            if number == 1 {
                host.engine_mut().listen(PORT);
            } else {
                host.engine_mut().connect(Ipv4Addr::new(10, 9, 0, 1), PORT, 0).unwrap();
            }
            let (id, host) = simulation.add(host);
            let link = Link { delay_ns: 1_000, ..Link::default() };
            simulation.connect(end(id, 0), end(switch, usize::from(number) - 1), link);
            stacks.push((number, host));
        }
    }
    assert_eq!(stacks.len(), 2_050);
    simulation.run_until(300 * SECOND_NS);
    for (number, host) in &stacks {
        let connections = if *number == 1 { usize::from(CLIENTS) } else { 1 };
        assert!(host.borrow().engine().application().complete(connections), "stack {number}");
        assert!(host.borrow().engine().is_unused(), "stack {number} holds nothing");
    }
}
