//! Both sides of our own, in any pieces and with any room.

use crate::schedule::Schedule;
use crate::{Netpipe, Plan, Sample};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use nom_stack::application::{Application, ConnectionId, Ended, Io, NoRoom, Pin};
use nom_stack::meter::Answer;

/// A small generator of numbers that only have to be odd.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % (most + 1)
    }
}

/// One end of a connection: what was written and did not cross yet, in bytes that mean nothing unless they are texts.
#[derive(Default)]
struct Door {
    number: u32,
    now_ns: u64,
    room: usize,
    written: VecDeque<u8>,
    refused: bool,
    closed: bool,
    aborted: bool,
}

impl Io for Door {
    fn connection(&self) -> ConnectionId {
        ConnectionId { slot: 1, generation: self.number }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn room(&self) -> usize {
        self.room
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        assert!(!self.closed && !self.aborted);
        if bytes.len() > self.room {
            self.refused = true;
            return Err(NoRoom);
        }
        self.room -= bytes.len();
        self.written.extend(bytes);
        Ok(())
    }

    fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom> {
        assert_eq!(pin.token, 0);
        if self.room == 0 {
            self.refused = true;
            return Err(NoRoom);
        }
        self.room -= 1;
        self.written.extend(core::iter::repeat_n(b'n', pin.len as usize));
        Ok(())
    }

    fn answered(&mut self, _answer: Answer) {}

    fn close(&mut self) {
        self.closed = true;
    }

    fn abort(&mut self) {
        self.aborted = true;
    }
}

/// A side, its door, and what came and was not taken.
struct Host {
    netpipe: Netpipe,
    door: Door,
    inbox: Vec<u8>,
}

impl Host {
    fn new(plan: Plan, outgoing: bool, room: usize) -> Self {
        let mut host =
            Self { netpipe: Netpipe::new(plan), door: Door { room, ..Door::default() }, inbox: Vec::new() };
        host.netpipe.opened(&mut host.door, crate::PORT, outgoing);
        host
    }

    /// One call of the stack's. `count` bytes arrive.
    fn turn(&mut self, from: &mut VecDeque<u8>, count: usize, room: usize, now_ns: u64) {
        self.door.now_ns = now_ns;
        self.door.room = room;
        if core::mem::take(&mut self.door.refused) {
            self.netpipe.writable(&mut self.door);
        }
        let count = count.min(from.len());
        self.inbox.extend(from.drain(..count));
        if !self.inbox.is_empty() && !self.door.closed && !self.door.aborted {
            let taken = self.netpipe.received(&mut self.door, &self.inbox);
            self.inbox.drain(..taken);
        }
    }

    /// Another connection; the one before ended.
    fn reopen(&mut self, outgoing: bool) {
        let before = self.door.connection();
        self.door = Door { number: self.door.number + 1, now_ns: self.door.now_ns, ..Door::default() };
        self.inbox.clear();
        self.netpipe.opened(&mut self.door, crate::PORT, outgoing);
        self.netpipe.ended(before, Ended::Closed);
    }

    fn ended(&mut self) -> (u64, u64) {
        self.netpipe.ended(self.door.connection(), Ended::Closed);
        (self.netpipe.completed(), self.netpipe.broken())
    }
}

/// Lets the two talk until both have closed, in pieces and room by chance; each turn takes a microsecond.
fn talk(left: &mut Host, right: &mut Host, seed: u64, pieces_max: usize) -> u64 {
    let mut dice = Dice(seed);
    for turn in 1..2_000_000u64 {
        let (room, count) = (dice.up_to(12), 1 + dice.up_to(pieces_max));
        left.turn(&mut right.door.written, count, room, turn * 1_000);
        let (room, count) = (dice.up_to(12), 1 + dice.up_to(pieces_max));
        right.turn(&mut left.door.written, count, room, turn * 1_000);
        if left.door.closed && right.door.closed {
            if !left.netpipe.wants_connection() {
                return turn;
            }
            left.reopen(true);
            right.reopen(false);
        }
        assert!(!left.door.aborted && !right.door.aborted, "turn {turn}");
    }
    panic!("no end");
}

fn plan(streams: bool) -> Plan {
    let schedule = Schedule { start: 1, end: 40, perturbation: 3 };
    Plan { schedule, streams, trials: 2, repeats: Some(3), ..Plan::default() }
}

fn lens(samples: &[Sample]) -> Vec<u32> {
    samples.iter().map(|sample| sample.len).collect()
}

#[test]
fn both_sides_go_through_all_lengths_in_any_pieces() {
    for (seed, streams) in (0..24).map(|seed| (seed, seed % 2 == 1)) {
        let plan = |streams| Plan { resets: seed % 4 > 1, ..plan(streams) };
        let mut left = Host::new(plan(streams), true, 12);
        let mut right = Host::new(plan(streams), false, 12);
        talk(&mut left, &mut right, seed, if seed < 12 { 3 } else { 100 });
        let (sent, answered) = (left.netpipe.take_samples(), right.netpipe.take_samples());
        let expected: Vec<u32> = plan(streams).schedule.lengths().collect();
        assert_eq!(lens(&sent), expected, "seed {seed}");
        assert_eq!(lens(&answered), expected, "seed {seed}");
        assert!(sent.iter().all(|sample| sample.repeats == 3), "{sent:?}");
        assert!(sent.last().is_some_and(|sample| sample.one_way_ns > 0.0), "{sent:?}");
        if streams {
            // The receiver measured, and told it in hundredths of a microsecond.
            for (told, measured) in sent.iter().zip(&answered) {
                assert!((told.one_way_ns - measured.one_way_ns).abs() < 10.0, "{told:?} {measured:?}");
            }
        }
        assert_eq!((left.ended(), right.ended()), ((1, 0), (1, 0)));
    }
}

#[test]
fn a_message_that_takes_too_long_is_the_last() {
    let plan = Plan { stop_ns: 1, ..plan(false) };
    let (mut left, mut right) = (Host::new(plan, true, 12), Host::new(plan, false, 12));
    talk(&mut left, &mut right, 7, 50);
    assert_eq!(lens(&left.netpipe.take_samples()), [1]);
    assert_eq!((left.ended(), right.ended()), ((1, 0), (1, 0)));
}

#[test]
fn an_unplanned_count_of_repeats_fills_the_time() {
    let plan = Plan { repeats: None, trial_ns: 400_000, ..plan(false) };
    let (mut left, mut right) = (Host::new(plan, true, 12), Host::new(plan, false, 12));
    talk(&mut left, &mut right, 7, 1_000);
    let samples = left.netpipe.take_samples();
    assert!(samples.iter().all(|sample| (2..=800).contains(&sample.repeats)), "{samples:?}");
    assert!(samples.iter().any(|sample| sample.repeats > 200), "{samples:?}");
}

#[test]
fn whoever_says_something_else_is_cut_off() {
    let lies: [&[u8]; 4] = [b"Hello!", b"SyncMx", b"QUIT\0", b"\0"];
    for lie in lies {
        let mut host = Host::new(plan(false), false, 100);
        host.turn(&mut lie.iter().copied().collect(), lie.len(), 100, 1);
        assert!(host.door.aborted, "{lie:?}");
        assert_eq!(host.ended(), (0, 1));
    }
    // No repeats at all, and a list of lengths that is longer than ours.
    let warm = |rest: &[u8]| -> VecDeque<u8> {
        [&b"SyncMe"[..], &[1; 100], b"SyncMe", b"SyncMe", rest].concat().into()
    };
    let mut host = Host::new(plan(false), false, 10_000);
    host.turn(&mut warm(&[0; 4]), 1_000, 10_000, 1);
    for _ in 0..1_000 {
        host.turn(&mut VecDeque::new(), 0, 10_000, 1);
    }
    assert!(host.door.aborted);
    let short = Plan { schedule: Schedule { start: 1, end: 1, perturbation: 0 }, trials: 1, ..plan(false) };
    let mut host = Host::new(short, false, 10_000);
    let mut rest: Vec<u8> = [0, 0, 0, 1].to_vec();
    rest.extend_from_slice(b"SyncMe");
    rest.push(9);
    rest.extend_from_slice(b"SyncMe");
    host.turn(&mut warm(&rest), 1_000, 10_000, 1);
    assert!(host.door.aborted);
    assert_eq!(lens(&host.netpipe.take_samples()), [1]);
}

#[test]
fn whoever_comes_when_all_places_are_taken_is_turned_away() {
    let mut netpipe = Netpipe::new(plan(false));
    struct Numbered(Door, u32);
    impl Io for Numbered {
        fn connection(&self) -> ConnectionId {
            ConnectionId { slot: self.1, generation: 1 }
        }
        fn now_ns(&self) -> u64 {
            0
        }
        fn room(&self) -> usize {
            self.0.room()
        }
        fn write(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
            self.0.write(bytes)
        }
        fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom> {
            self.0.write_pinned(pin)
        }
        fn answered(&mut self, answer: Answer) {
            self.0.answered(answer);
        }
        fn close(&mut self) {
            self.0.close();
        }
        fn abort(&mut self) {
            self.0.abort();
        }
    }
    for slot in 0..=crate::SIDES_MAX as u32 {
        let mut door = Numbered(Door { room: 10, ..Door::default() }, slot);
        netpipe.opened(&mut door, crate::PORT, false);
        assert_eq!(door.0.aborted, slot == crate::SIDES_MAX as u32);
    }
}
