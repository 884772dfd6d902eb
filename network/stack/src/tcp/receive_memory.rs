//! Bytes that arrived and are not consumed: one contiguous piece per connection that needs one, from a buddy arena.
//!
//! ```text
//!  start          ready                     ranges
//!    |  in order,   |        |  out of order  |
//!    v  unconsumed  v  gap   v                v
//!  ..[=============][........][==============]........   capacity
//! ```
//!
//! A piece starts as small as it can be and doubles when it must, up to the window's size.

use alloc::boxed::Box;
use alloc::vec;

const NONE: u32 = u32::MAX;
/// Smallest piece.
const SMALLEST: usize = 2048;
/// Sizes that there are: 2 KiB to 4 MiB.
const ORDERS: usize = 12;
const USED: u8 = 0x80;
const INSIDE: u8 = 0xff;

/// One connection's part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    block: u32,
    order: u8,
    start: u32,
    /// Bytes in order that the application did not consume.
    ready: u32,
}

impl Default for Held {
    fn default() -> Self {
        Self { block: NONE, order: 0, start: 0, ready: 0 }
    }
}

impl Held {
    pub(crate) fn ready(&self) -> u32 {
        self.ready
    }

    fn base(&self) -> usize {
        self.block as usize * SMALLEST + self.start as usize
    }

    fn capacity(&self) -> usize {
        if self.block == NONE { 0 } else { SMALLEST << self.order }
    }
}

/// The memory of all connections.
pub(crate) struct ReceiveMemory {
    bytes: Box<[u8]>,
    heads: [u32; ORDERS],
    /// Order of the piece that begins here, with `USED` when it is taken; `INSIDE` elsewhere.
    orders: Box<[u8]>,
    next: Box<[u32]>,
    previous: Box<[u32]>,
}

impl ReceiveMemory {
    pub(crate) fn new(size_bytes: usize) -> Self {
        let count = (size_bytes / SMALLEST).clamp(1, 1 << 20);
        let mut memory = Self {
            bytes: vec![0; count * SMALLEST].into_boxed_slice(),
            heads: [NONE; ORDERS],
            orders: vec![INSIDE; count].into_boxed_slice(),
            next: vec![NONE; count].into_boxed_slice(),
            previous: vec![NONE; count].into_boxed_slice(),
        };
        let mut at = 0;
        while at < count {
            let mut order = ORDERS - 1;
            while !at.is_multiple_of(1 << order) || at + (1 << order) > count {
                order -= 1;
            }
            memory.push(at as u32, order);
            at += 1 << order;
        }
        memory
    }

    /// The largest piece that memory of this size has.
    pub(crate) fn piece_max(size_bytes: usize) -> usize {
        let count = (size_bytes / SMALLEST).max(1);
        (SMALLEST << count.ilog2()).min(SMALLEST << (ORDERS - 1))
    }

    fn push(&mut self, block: u32, order: usize) {
        let head = self.heads[order];
        if head != NONE {
            self.previous[head as usize] = block;
        }
        self.next[block as usize] = head;
        self.previous[block as usize] = NONE;
        self.orders[block as usize] = order as u8;
        self.heads[order] = block;
    }

    fn unlink(&mut self, block: u32, order: usize) {
        let (next, previous) = (self.next[block as usize], self.previous[block as usize]);
        if next != NONE {
            self.previous[next as usize] = previous;
        }
        if previous != NONE {
            self.next[previous as usize] = next;
        } else {
            self.heads[order] = next;
        }
        self.orders[block as usize] = INSIDE;
    }

    fn allocate(&mut self, wanted: usize) -> Option<u32> {
        let mut order = (wanted..ORDERS).find(|&order| self.heads[order] != NONE)?;
        let block = self.heads[order];
        self.unlink(block, order);
        while order > wanted {
            order -= 1;
            self.push(block + (1 << order), order);
        }
        self.orders[block as usize] = wanted as u8 | USED;
        Some(block)
    }

    fn free(&mut self, mut block: u32, mut order: usize) {
        self.orders[block as usize] = INSIDE;
        while order + 1 < ORDERS {
            let buddy = block ^ (1 << order);
            if self.orders.get(buddy as usize) != Some(&(order as u8)) {
                break;
            }
            self.unlink(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.push(block, order);
    }

    /// Bytes in order that wait for the application.
    pub(crate) fn ready(&self, held: &Held) -> &[u8] {
        if held.ready == 0 { &[] } else { &self.bytes[held.base()..held.base() + held.ready as usize] }
    }

    /// Bytes at a place counted from the first unconsumed byte; the caller knows that they were put there.
    pub(crate) fn held(&self, held: &Held, place: usize, len: usize) -> &[u8] {
        let at = held.base() + place;
        &self.bytes[at..at + len]
    }

    /// Puts bytes at a place counted from the first unconsumed byte. `extent` is how far bytes reach that are there
    /// already. False when there is no memory for it; nothing has changed then.
    pub(crate) fn put(&mut self, held: &mut Held, place: usize, bytes: &[u8], extent: usize) -> bool {
        let end = place + bytes.len();
        if held.start as usize + end > held.capacity() && !self.make_room(held, end.max(extent), extent) {
            return false;
        }
        let at = held.base() + place;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        true
    }

    /// One piece at once for all that is going to be put, up to `end`. It is no larger than what the same bytes were in
    /// elsewhere, and nothing is given back in between, so what fitted a memory of this size fits another one whole. False
    /// when there is no memory for it.
    pub(crate) fn reserve(&mut self, held: &mut Held, end: usize) -> bool {
        end == 0 || self.make_room(held, end, 0)
    }

    fn make_room(&mut self, held: &mut Held, end: usize, extent: usize) -> bool {
        if end <= held.capacity() {
            let base = held.base();
            self.bytes.copy_within(base..base + extent, held.block as usize * SMALLEST);
            held.start = 0;
            return true;
        }
        let order = end.div_ceil(SMALLEST).next_power_of_two().trailing_zeros() as usize;
        if order >= ORDERS {
            return false;
        }
        let Some(block) = self.allocate(order) else { return false };
        if held.block != NONE {
            let base = held.base();
            self.bytes.copy_within(base..base + extent, block as usize * SMALLEST);
            self.free(held.block, usize::from(held.order));
        }
        *held = Held { block, order: order as u8, start: 0, ready: held.ready };
        true
    }

    /// Bytes that were put behind the ready ones are in order now.
    pub(crate) fn advance(&mut self, held: &mut Held, count: u32) {
        held.ready += count;
    }

    /// The application consumed bytes. `more` says that bytes out of order stay behind them.
    pub(crate) fn consume(&mut self, held: &mut Held, count: u32, more: bool) {
        held.ready -= count;
        held.start += count;
        if held.ready == 0 && !more {
            self.clear(held);
        }
    }

    /// Gives everything back.
    pub(crate) fn clear(&mut self, held: &mut Held) {
        if held.block != NONE {
            self.free(held.block, usize::from(held.order));
        }
        *held = Held::default();
    }

    /// Nothing is in use.
    pub(crate) fn is_unused(&self) -> bool {
        self.orders.iter().all(|&order| order == INSIDE || order & USED == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec::Vec;

    #[test]
    fn what_lay_in_one_memory_always_fits_another_of_its_size() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let size = (40 + random.below(400) as usize) << 10;
            let mut old = ReceiveMemory::new(size);
            let mut held = [Held::default(); 30];
            let mut lens = [0; 30];
            for _ in 0..2_000 {
                let which = random.below(30) as usize;
                let (held, len) = (&mut held[which], &mut lens[which]);
                if random.below(3) > 0 {
                    let bytes = vec![which as u8; 1 + random.below(4_000) as usize];
                    if old.put(held, *len, &bytes, *len) {
                        old.advance(held, bytes.len() as u32);
                        *len += bytes.len();
                    }
                } else if *len > 0 {
                    let count = 1 + random.below(*len as u64) as usize;
                    old.consume(held, count as u32, false);
                    *len -= count;
                }
            }
            assert!(lens.iter().sum::<usize>() > size / 5, "seed {seed}: it was put to use");
            let mut new = ReceiveMemory::new(size);
            for (which, &len) in lens.iter().enumerate().filter(|(_, len)| **len > 0) {
                let mut moved = Held::default();
                assert!(new.reserve(&mut moved, len), "seed {seed}: {len} of {lens:?}");
                assert!(new.put(&mut moved, 0, old.ready(&held[which]), 0), "seed {seed}");
                new.advance(&mut moved, len as u32);
                assert!(new.ready(&moved) == old.ready(&held[which]), "seed {seed}");
            }
        }
    }

    #[test]
    fn pieces_keep_their_bytes_and_all_memory_comes_back() {
        let mut random = Random::new(3);
        let mut memory = ReceiveMemory::new(300 << 10);
        let mut held = [Held::default(); 20];
        let mut model: [Vec<u8>; 20] = Default::default();
        for _ in 0..20_000 {
            let which = random.below(20) as usize;
            let (held, model) = (&mut held[which], &mut model[which]);
            if random.below(2) == 0 && model.len() < 60_000 {
                let len = 1 + random.below(3_000) as usize;
                let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
                if memory.put(held, model.len(), &bytes, model.len()) {
                    memory.advance(held, bytes.len() as u32);
                    model.extend(&bytes);
                }
            } else if !model.is_empty() {
                let count = (1 + random.below(4_000) as usize).min(model.len());
                memory.consume(held, count as u32, false);
                model.drain(..count);
            }
            assert!(memory.ready(held) == model.as_slice());
        }
        for held in &mut held {
            memory.clear(held);
        }
        assert!(memory.is_unused());
        assert!(memory.allocate(7).is_some(), "pieces were joined again");
    }
}
