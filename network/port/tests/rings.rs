//! Two ends over one memory: in order, at their bounds, over deaths and new lives, and against an end that lies.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use nom_port::{Bell, FRAME_MAX, Gone, Receiver, SLOT_WORDS, Sender, Side, open, slots};
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SLOTS: usize = 8;
const CONTROL: usize = 64;

type Memory = &'static [AtomicU64];

fn memory() -> Memory {
    let words = (0..CONTROL + 2 * SLOTS * SLOT_WORDS).map(|_| AtomicU64::new(0));
    Box::leak(words.collect::<Vec<_>>().into_boxed_slice())
}

/// Counts rings; the other end may be gone.
#[derive(Clone, Default)]
struct Counted {
    rings: Rc<Cell<u32>>,
    gone: Rc<Cell<bool>>,
    deaths: Rc<Cell<u32>>,
}

impl Bell for Counted {
    fn ring(&self) -> Result<(), Gone> {
        self.rings.set(self.rings.get() + 1);
        if self.gone.get() { Err(Gone) } else { Ok(()) }
    }

    fn deaths(&self) -> u32 {
        self.deaths.get()
    }
}

struct End {
    receiver: Receiver<Memory, Counted>,
    sender: Sender<Memory, Counted>,
    bell: Counted,
}

impl End {
    fn new(memory: Memory, side: Side) -> End {
        let bell = Counted::default();
        let mac = (side == Side::Switch).then_some(MAC);
        let (receiver, sender) = open(memory, side, mac, bell.clone(), 0).unwrap();
        bell.rings.set(0);
        End { receiver, sender, bell }
    }

    fn send(&mut self, parts: &[&[u8]]) -> Result<u64, Full> {
        let (headers, payload) = parts.split_first().unwrap();
        self.sender.queue(Frame { headers, payload, checksum: None, segment_len: None })
    }

    fn received(&mut self) -> Vec<Vec<u8>> {
        self.receiver.look(1);
        let mut frames = Vec::new();
        while let Some(arrival) = self.receiver.take() {
            frames.push(self.receiver.bytes(&arrival).to_vec());
            self.receiver.give_back(arrival);
        }
        frames
    }
}

fn both() -> (Memory, End, End) {
    let memory = memory();
    let (switch, mut port) = (End::new(memory, Side::Switch), End::new(memory, Side::Port));
    assert_eq!(port.received().len(), 0);
    (memory, switch, port)
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn frames_come_whole_in_order_and_the_ring_is_bounded() {
    let (_, mut switch, mut port) = both();
    assert_eq!(port.sender.station(), None, "the switch has not looked yet");
    switch.received();
    assert_eq!(port.sender.station(), Some(MAC));
    let mut dice = Dice(7);
    let mut sent: VecDeque<Vec<u8>> = VecDeque::new();
    let mut full = 0;
    for _ in 0..5_000 {
        if dice.below(3) > 0 {
            let len = 14 + dice.below((FRAME_MAX - 13) as u64) as usize;
            let bytes: Vec<u8> = (0..len).map(|_| dice.below(256) as u8).collect();
            let (one, two) = (dice.below(len as u64) as usize, dice.below(len as u64) as usize);
            let (one, two) = (one.min(two), one.max(two));
            match switch.send(&[&bytes[..one], &bytes[one..two], &[], &bytes[two..]]) {
                Ok(_) => sent.push_back(bytes),
                Err(Full) => {
                    full += 1;
                    assert_eq!(sent.len(), SLOTS, "refused although there is room");
                }
            }
        }
        if dice.below(4) == 0 {
            switch.sender.kick();
            for frame in port.received() {
                assert_eq!(Some(frame), sent.pop_front());
            }
            port.receiver.look(2);
            assert!(sent.is_empty());
        }
    }
    assert!(full > 50, "the bound was hardly met: {full}");
    assert_eq!(port.receiver.counters().faults + switch.sender.counters().faults, 0);
}

#[test]
fn who_polls_or_has_not_asked_is_not_rung() {
    let (_, mut switch, mut port) = both();
    for _ in 0..50 {
        switch.send(&[&[1; 60]]).unwrap();
        assert!(!switch.sender.kick());
        assert_eq!(port.received().len(), 1);
    }
    assert_eq!(switch.bell.rings.get(), 0);
    for round in 1..=50 {
        assert!(port.receiver.arm());
        // Two frames behind one kick, and a second kick while it wakes up: one ring.
        for _ in 0..2 {
            switch.send(&[&[2; 60]]).unwrap();
        }
        assert!(switch.sender.kick());
        switch.send(&[&[3; 60]]).unwrap();
        assert!(!switch.sender.kick());
        assert_eq!(switch.bell.rings.get(), round);
        assert!(!port.receiver.arm(), "what is there keeps it awake");
        assert_eq!(port.received().len(), 3);
    }
}

#[test]
fn a_frame_held_long_does_not_hold_the_ring() {
    let (_, mut switch, mut port) = both();
    let mut held: Vec<Arrival> = Vec::new();
    for round in 0..SLOTS as u8 {
        switch.send(&[&[round; 60]]).unwrap();
        switch.sender.kick();
        port.receiver.look(1);
        held.push(port.receiver.take().unwrap());
    }
    port.receiver.look(1);
    // All copies are held: further frames wait in the ring, then are refused.
    for _ in 0..SLOTS {
        switch.send(&[&[9; 60]]).unwrap();
    }
    assert_eq!(switch.send(&[&[9; 60]]), Err(Full));
    switch.sender.kick();
    assert_eq!(port.receiver.look(1), SLOTS);
    assert_eq!(port.receiver.take(), None);
    for (round, arrival) in held.into_iter().enumerate() {
        assert_eq!(port.receiver.bytes(&arrival), [round as u8; 60]);
        port.receiver.give_back(arrival);
        port.receiver.give_back(arrival);
        assert_eq!(port.receiver.bytes(&arrival), []);
    }
    assert_eq!(port.received().len(), SLOTS);
}

#[test]
fn either_end_may_die_and_come_again() {
    let (memory, mut switch, mut port) = both();
    for round in 0..200_u8 {
        for end in [&mut switch, &mut port] {
            end.send(&[&[round; 60]]).unwrap();
            end.sender.kick();
        }
        match round % 4 {
            0 => port = End::new(memory, Side::Port),
            1 => switch = End::new(memory, Side::Switch),
            2 => (switch, port) = (End::new(memory, Side::Switch), End::new(memory, Side::Port)),
            _ => {}
        }
        // What was under way to a dead end is lost, and nothing of it comes to the next life.
        let survived = usize::from(round % 4 == 3);
        assert_eq!((switch.received().len(), port.received().len()), (survived, survived), "round {round}");
        for turn in 0..3 * SLOTS as u8 {
            switch.send(&[&[turn; 60]]).unwrap();
            port.send(&[&[turn + 1; 60]]).unwrap();
            switch.sender.kick();
            port.sender.kick();
            assert_eq!(port.received(), [[turn; 60]]);
            assert_eq!(switch.received(), [[turn + 1; 60]]);
        }
    }
}

#[test]
fn frames_to_nobody_are_lost_and_counted() {
    let memory = memory();
    let mut port = End::new(memory, Side::Port);
    assert_eq!(port.sender.station(), None);
    for _ in 0..3 * SLOTS {
        port.send(&[&[0; 60]]).unwrap();
    }
    assert_eq!((port.sender.counters().lost, port.sender.room()), (3 * SLOTS as u64, SLOTS));
    let mut switch = End::new(memory, Side::Switch);
    port.send(&[&[1; 60]]).unwrap();
    port.sender.kick();
    assert_eq!(switch.received().len(), 1);
    // It is told of the death by a ring that finds nobody, or by whoever watches.
    assert!(switch.receiver.arm());
    port.bell.gone.set(true);
    port.send(&[&[1; 60]]).unwrap();
    port.sender.kick();
    port.send(&[&[1; 60]]).unwrap();
    assert_eq!(port.sender.counters().lost, 3 * SLOTS as u64 + 1);
    assert_eq!(port.receiver.look(1), 0);
    assert!(port.receiver.is_up());
    port.bell.deaths.set(1);
    port.receiver.look(1);
    assert!(!port.receiver.is_up() && port.receiver.arm());
    port.bell.gone.set(false);
    let mut switch = End::new(memory, Side::Switch);
    switch.send(&[&[5; 60]]).unwrap();
    switch.sender.kick();
    assert_eq!(port.received(), [[5; 60]]);
    assert_eq!(port.receiver.counters().lives, 2);
}

#[test]
fn a_death_heard_of_late_does_not_cost_the_next_life() {
    let (memory, mut switch, mut port) = both();
    // It was dead when somebody looked, and lives again when the halves hear of it.
    port.bell.deaths.set(1);
    drop(switch);
    switch = End::new(memory, Side::Switch);
    switch.send(&[&[5; 60]]).unwrap();
    switch.sender.kick();
    assert_eq!(port.received(), [[5; 60]]);
    port.send(&[&[6; 60]]).unwrap();
    port.sender.kick();
    assert_eq!(switch.received(), [[6; 60]]);
}

#[test]
fn unfit_frames_are_not_sent() {
    let (_, mut switch, mut port) = both();
    for bytes in [&[0; 13][..], &[0; FRAME_MAX + 1], &[]] {
        switch.send(&[bytes]).unwrap();
    }
    assert_eq!(switch.sender.counters().unfit, 3);
    assert!(!switch.sender.kick());
    assert!(port.received().is_empty());
    assert!(slots(CONTROL + 2 * 4 * SLOT_WORDS - 1).is_err());
    assert_eq!(slots(CONTROL + 2 * 4 * SLOT_WORDS), Ok(4));
    assert_eq!(slots(65_536), Ok(128));
    assert_eq!(slots(usize::MAX), Ok(1024));
}

#[test]
fn a_life_that_was_caught_lying_is_told_that_it_does_not_count() {
    let (memory, mut switch, mut port) = both();
    switch.received();
    assert_eq!(port.sender.station(), Some(MAC));
    // What it says to have sent is the word that changes when it sends.
    let said = || memory[..CONTROL].iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let before = said();
    port.send(&[&[7; 100]]).unwrap();
    port.sender.kick();
    let produced = before.iter().zip(said()).position(|(before, now)| *before != now).unwrap();
    memory[produced].fetch_add(SLOTS as u64 + 1, Ordering::Relaxed);
    assert!(switch.received().is_empty());
    assert_eq!(switch.receiver.counters().faults, 1);
    assert_eq!(port.sender.station(), None);
}

/// The other end owns the memory as much as we do: it may write anything anywhere, at any time.
#[test]
fn an_end_that_lies_harms_nobody_but_itself() {
    let (mut faults, mut frames, mut lives) = (0, 0, 0);
    for seed in 1..=60 {
        let mut dice = Dice(seed);
        let memory = memory();
        let mut switch = End::new(memory, Side::Switch);
        let mut port = End::new(memory, Side::Port);
        let mut held: Vec<Arrival> = Vec::new();
        for _ in 0..3_000 {
            match dice.below(12) {
                0 => {
                    let at = dice.below(memory.len() as u64) as usize;
                    memory[at].store(dice.below(u64::MAX), Ordering::Relaxed);
                }
                1 => {
                    // An index that is nearly right: the tag stays, the number is another.
                    let at = [16, 24, 32, 40, 48, 56][dice.below(6) as usize];
                    let word = memory[at].load(Ordering::Relaxed);
                    let off = dice.below(40) as u32;
                    let index = (word as u32).wrapping_add(off).wrapping_sub(20);
                    memory[at].store(word & !0xffff_ffff | u64::from(index), Ordering::Relaxed);
                }
                2 => {
                    // A length, wherever a slot is.
                    let slot = dice.below(2 * SLOTS as u64) as usize;
                    let len = [0, 13, 14, 1528, 1529, u64::MAX][dice.below(6) as usize];
                    memory[CONTROL + slot * SLOT_WORDS].store(len, Ordering::Relaxed);
                }
                3 if dice.below(20) == 0 => port = End::new(memory, Side::Port),
                4 | 5 => {
                    let _ = port.send(&[&[7; 100]]);
                    port.sender.kick();
                }
                6 => {
                    port.received();
                }
                7 | 8 => {
                    let _ = switch.send(&[&[8; 100]]);
                    switch.sender.kick();
                    let rings = switch.bell.rings.get();
                    assert!(rings as u64 <= switch.sender.counters().frames, "more rings than frames");
                }
                _ => {
                    let waiting = switch.receiver.look(1);
                    assert!(waiting <= SLOTS);
                    while let Some(arrival) = switch.receiver.take() {
                        let before = switch.receiver.bytes(&arrival).to_vec();
                        assert!((14..=FRAME_MAX).contains(&before.len()));
                        // Rewritten behind our back: what was checked is what is read.
                        for word in memory.iter().skip(CONTROL) {
                            word.store(dice.0, Ordering::Relaxed);
                        }
                        assert_eq!(switch.receiver.bytes(&arrival), before);
                        held.push(arrival);
                    }
                    held.drain(..).for_each(|arrival| switch.receiver.give_back(arrival));
                    switch.receiver.arm();
                    switch.sender.completed();
                    assert!(switch.sender.room() <= SLOTS);
                }
            }
        }
        // An honest life after all that is served as if nothing had been.
        port = End::new(memory, Side::Port);
        port.received();
        switch.received();
        assert_eq!(port.sender.station(), Some(MAC));
        for turn in 0..2 * SLOTS as u8 {
            port.send(&[&[turn; 99]]).unwrap();
            switch.send(&[&[turn; 98]]).unwrap();
            port.sender.kick();
            switch.sender.kick();
            assert_eq!((switch.received(), port.received()), (vec![vec![turn; 99]], vec![vec![turn; 98]]));
        }
        faults += switch.receiver.counters().faults + switch.sender.counters().faults;
        frames += switch.receiver.counters().frames;
        lives += switch.receiver.counters().lives;
    }
    // Else nothing was tried.
    assert!(faults > 100 && frames > 1_000 && lives > 100, "{faults} faults, {frames} frames, {lives} lives");
}
