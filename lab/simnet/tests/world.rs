//! The simulator itself, with nodes that need no stack.

use nom_simnet::switch::Switch;
use nom_simnet::{Capture, End, Link, Node, Rest, Simulation};
use std::collections::VecDeque;

/// Sends `count` numbered frames, one a microsecond, and keeps what arrives.
struct Talker {
    address: u8,
    peer: u8,
    count: u8,
    sent: u8,
    due_ns: u64,
    out: VecDeque<Vec<u8>>,
    heard: Vec<(u64, u8)>,
}

impl Talker {
    fn new(address: u8, peer: u8, count: u8) -> Self {
        Self { address, peer, count, sent: 0, due_ns: 0, out: VecDeque::new(), heard: Vec::new() }
    }
}

impl Node for Talker {
    fn deliver(&mut self, now_ns: u64, _port: usize, frame: &[u8], damaged: bool) {
        if !damaged && frame[5] == self.address {
            self.heard.push((now_ns, frame[14]));
        }
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        if self.sent < self.count && now_ns >= self.due_ns {
            let mut frame = vec![2, 0, 0, 0, 0, self.peer, 2, 0, 0, 0, 0, self.address, 8, 0, self.sent];
            frame.resize(60, 0);
            self.out.push_back(frame);
            self.sent += 1;
            self.due_ns += 1_000;
        }
        let deadline_ns = (self.sent < self.count).then_some(self.due_ns);
        Rest { worked: false, deadline_ns, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        Some((0, self.out.pop_front()?))
    }
}

fn end(node: nom_simnet::NodeId, port: usize) -> End {
    End { node, port }
}

fn bad_link() -> Link {
    Link {
        loss: 0.1,
        duplication: 0.1,
        reordering: 0.3,
        reordering_ns: 5_000,
        corruption: 0.05,
        ..Link::gigabit()
    }
}

fn run(seed: u64) -> (u64, Vec<(u64, u8)>) {
    let mut simulation = Simulation::new(seed);
    let (left, _) = simulation.add(Talker::new(1, 2, 200));
    let (right, heard) = simulation.add(Talker::new(2, 1, 0));
    simulation.connect(end(left, 0), end(right, 0), bad_link());
    simulation.run_until(1_000_000_000);
    let heard = heard.borrow().heard.clone();
    (simulation.trace_hash(), heard)
}

#[test]
fn the_same_seed_is_the_same_world_and_another_is_another() {
    let (hash, heard) = run(1);
    assert_eq!(run(1), (hash, heard.clone()));
    assert_ne!(run(2).0, hash);
    assert!((150..230).contains(&heard.len()));
    assert!(heard.windows(2).any(|pair| pair[0].1 > pair[1].1), "frames overtake each other");
}

#[test]
fn a_clean_link_keeps_order_and_time() {
    let mut simulation = Simulation::new(1);
    let (left, _) = simulation.add(Talker::new(1, 2, 100));
    let (right, heard) = simulation.add(Talker::new(2, 1, 0));
    simulation.connect(end(left, 0), end(right, 0), Link { delay_ns: 30_000, ..Link::default() });
    simulation.capture(Capture::new());
    simulation.run_until(u64::MAX);
    let expected: Vec<(u64, u8)> = (0..100).map(|i| (u64::from(i) * 1_000 + 30_000, i)).collect();
    assert_eq!(heard.borrow().heard, expected);
    assert_eq!(simulation.now_ns(), 99_000 + 30_000, "time ends with the last event");
    let mut file = Vec::new();
    simulation.take_capture().unwrap().write(&mut file).unwrap();
    assert!(file.len() > 100 * (60 + 32));
}

#[test]
fn a_switch_floods_once_and_then_knows() {
    let mut simulation = Simulation::new(1);
    let (switch, _) = simulation.add(Switch::new(3));
    let (one, heard_one) = simulation.add(Talker::new(1, 2, 5));
    let (two, heard_two) = simulation.add(Talker::new(2, 1, 5));
    let (three, _) = simulation.add(Talker::new(3, 1, 0));
    for (port, node) in [one, two, three].into_iter().enumerate() {
        simulation.connect(end(node, 0), end(switch, port), Link { delay_ns: 10, ..Link::default() });
    }
    simulation.run_until(u64::MAX);
    assert_eq!(heard_one.borrow().heard.len(), 5);
    assert_eq!(heard_two.borrow().heard.len(), 5);
    assert_eq!(simulation.link_counters(end(switch, 2)).frames, 1, "only the first frame was flooded");
}

/// Says for ever that it worked.
struct Restless;

impl Node for Restless {
    fn deliver(&mut self, _now_ns: u64, _port: usize, _frame: &[u8], _damaged: bool) {}

    fn step(&mut self, now_ns: u64) -> Rest {
        Rest { worked: true, deadline_ns: None, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        None
    }
}

#[test]
#[should_panic(expected = "does not come to rest")]
fn a_node_that_never_rests_is_named() {
    let mut simulation = Simulation::new(1);
    simulation.add(Restless);
    simulation.run_until(1);
}
