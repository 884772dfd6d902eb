//! What holds of the memory whatever is written, acknowledged and moved.

use super::*;
use crate::application::{Application, ConnectionId, Ended, Io};
use crate::random::Random;

const LIMIT: u32 = 1 << 20;

/// Has one piece of memory that all pins are of, and counts them.
struct Pins {
    bytes: Vec<u8>,
    held: usize,
}

impl Application for Pins {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}
    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn writable(&mut self, _io: &mut impl Io) {}
    fn finished(&mut self, _io: &mut impl Io) {}
    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
    fn pinned(&self, pin: Pin) -> &[u8] {
        &self.bytes[pin.token as usize..][..pin.len as usize]
    }
    fn released(&mut self, _pin: Pin) {
        self.held -= 1;
    }
}

fn pins() -> Pins {
    Pins { bytes: (0..20_000u32).map(|number| (number * 7 / 3) as u8).collect(), held: 0 }
}

/// All that a queue has, by frames of at most `len` bytes, and how many pieces that took.
fn read(memory: &SendMemory, pins: &Pins, queue: &SendQueue, len: u32) -> (Vec<u8>, usize) {
    let (mut all, mut from, mut pieces) = (Vec::new(), FRONT, 0);
    loop {
        let gathered = memory.gather(pins, queue, from, len);
        if gathered.len == 0 {
            return (all, pieces);
        }
        gathered.parts[..gathered.count].iter().for_each(|part| all.extend_from_slice(part));
        pieces += gathered.count;
        from = gathered.end;
    }
}

/// Writes something at random, by pin or not, as the application has it at a place of its own.
fn write(memory: &mut SendMemory, pins: &mut Pins, queue: &mut SendQueue, random: &mut Random) -> Vec<u8> {
    let (from, len) = (random.below(9_000) as usize, 1 + random.below(9_000) as usize);
    let bytes = pins.bytes[from..from + len].to_vec();
    let written = if random.below(2) == 0 {
        let pinned = memory.write_pinned(queue, Pin { token: from as u64, len: len as u32 }, LIMIT);
        pins.held += usize::from(pinned);
        pinned
    } else {
        memory.write(queue, &bytes, LIMIT)
    };
    if written { bytes } else { Vec::new() }
}

#[test]
fn what_was_queued_in_one_memory_always_fits_another_of_its_size() {
    for seed in 0..40 {
        let (mut random, mut pins) = (Random::new(seed), pins());
        let (mut old, mut new) = (SendMemory::new(64 << 10), SendMemory::new(64 << 10));
        let mut queues = [SendQueue::default(); 12];
        let mut model: [Vec<u8>; 12] = Default::default();
        // Until nothing of ours is left, with what is acknowledged in between.
        for _ in 0..600 {
            let which = random.below(12) as usize;
            if random.below(8) == 0 {
                let count = random.below(model[which].len() as u64 + 1) as usize;
                old.acknowledge(&mut queues[which], count as u32, &mut pins);
                model[which].drain(..count);
            } else {
                model[which].extend(write(&mut old, &mut pins, &mut queues[which], &mut random));
            }
        }
        let all: usize = model.iter().map(Vec::len).sum();
        assert!(all > 2 * (64 << 10), "seed {seed}: pins hold more than there is memory: {all}");
        let mut moved = [SendQueue::default(); 12];
        for (which, queue) in queues.iter_mut().enumerate() {
            let (bytes, _) = read(&old, &pins, queue, 1460);
            assert!(bytes == model[which], "seed {seed}");
            new.adopt(&mut moved[which], &bytes);
            old.clear(queue, &mut pins);
        }
        assert!(old.is_unused() && pins.held == 0, "seed {seed}");
        for (which, queue) in moved.iter_mut().enumerate() {
            // It goes on being written, and is acknowledged in parts.
            model[which].extend(write(&mut new, &mut pins, queue, &mut random));
            assert!(read(&new, &pins, queue, 1000).0 == model[which], "seed {seed}");
            while !model[which].is_empty() {
                let count = 1 + random.below(model[which].len() as u64) as usize;
                new.acknowledge(queue, count as u32, &mut pins);
                model[which].drain(..count);
                assert!(read(&new, &pins, queue, 60_000).0 == model[which], "seed {seed}");
            }
        }
        assert!(new.is_unused() && pins.held == 0, "seed {seed}");
    }
}

#[test]
fn a_large_write_is_few_pieces_however_the_memory_was_used_before() {
    let (mut random, mut pins) = (Random::new(5), pins());
    let mut memory = SendMemory::new(8 << 20);
    let (mut bulk, mut small) = (SendQueue::default(), [SendQueue::default(); 30]);
    let bytes: Vec<u8> = (0..64_000u32).map(|number| (number / 5) as u8).collect();
    let (mut frames, mut whole, mut pieces) = (0, 0, 0);
    for _ in 0..2_000 {
        // Small answers that are acknowledged at other times than the bulk.
        for _ in 0..4 {
            let queue = &mut small[random.below(30) as usize];
            if queue.bytes() == 0 {
                assert!(memory.write(queue, &bytes[..500], LIMIT));
            } else {
                memory.acknowledge(queue, 500, &mut pins);
            }
        }
        let len = 30_000 + random.below(34_000) as usize;
        if memory.write(&mut bulk, &bytes[..len], LIMIT) {
            let at = memory.seek(&bulk, bulk.bytes() - len as u32);
            let gathered = memory.gather(&pins, &bulk, at, len as u32);
            whole += usize::from(gathered.len as usize == len);
            frames += 1;
            pieces += gathered.count;
        } else {
            let count = 1 + random.below(u64::from(bulk.bytes())) as u32;
            memory.acknowledge(&mut bulk, count, &mut pins);
        }
    }
    // One by one, as blocks are given back, a frame would be some twenty pieces.
    assert!(frames > 500 && pieces < 5 * frames, "{pieces} pieces in {frames} frames");
    assert!(whole * 20 > frames * 19, "{whole} of {frames} frames took all of it");
}

#[test]
fn a_queue_takes_one_block_beyond_its_limit_and_no_more() {
    const LIMIT: u32 = 10_000;
    for len in [1, 100, 1_500, BLOCK] {
        let mut pins = pins();
        let (mut memory, mut queue) = (SendMemory::new(1 << 20), SendQueue::default());
        let bytes = &pins.bytes[..len].to_vec();
        while memory.write(&mut queue, bytes, LIMIT) {
            assert!(queue.bytes() <= LIMIT + BLOCK as u32, "{len}");
        }
        assert!(queue.bytes() + len as u32 > LIMIT + BLOCK as u32, "{len}: all that it may have");
        assert_eq!(memory.room(&queue, LIMIT), 0);
        // As much as is acknowledged may be written again.
        memory.acknowledge(&mut queue, len as u32, &mut pins);
        assert!(memory.write(&mut queue, bytes, LIMIT));
        assert!(!memory.write(&mut queue, bytes, LIMIT));
    }
}

#[test]
fn a_queue_takes_one_pin_beyond_its_limit_and_the_tail_behind_it() {
    const LIMIT: u32 = 10_000;
    let mut pins = pins();
    let (mut memory, mut queue) = (SendMemory::new(1 << 20), SendQueue::default());
    let bytes = pins.bytes.clone();
    let pin = Pin { token: 0, len: 20_000 };
    assert!(memory.write(&mut queue, &bytes[..9_999], LIMIT));
    assert!(memory.write_pinned(&mut queue, pin, LIMIT), "a byte is free");
    pins.held += 1;
    assert!(!memory.write_pinned(&mut queue, pin, LIMIT), "a second one");
    assert!(!memory.write(&mut queue, &bytes[..=BLOCK], LIMIT), "a tail of more than a block");
    assert!(memory.write(&mut queue, &bytes[..BLOCK], LIMIT));
    assert!(!memory.write(&mut queue, &bytes[..1], LIMIT), "behind the tail");
    assert_eq!(queue.bytes(), 9_999 + 20_000 + BLOCK as u32);
    // At the limit itself one more is taken, and beyond it none.
    memory.acknowledge(&mut queue, 9_999 + 20_000, &mut pins);
    assert!(memory.write(&mut queue, &bytes[..LIMIT as usize - BLOCK], LIMIT));
    assert!(memory.write(&mut queue, &bytes[..1], LIMIT));
    assert!(!memory.write_pinned(&mut queue, pin, LIMIT), "a byte too many");
    memory.clear(&mut queue, &mut pins);
    assert!(memory.is_unused() && pins.held == 0);
}
