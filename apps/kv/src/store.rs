//! Items under keys, in bounded memory that is allocated once.
//!
//! **Eviction** is CLOCK over the arena itself: one hand goes round; where it looks for room it frees what nobody
//! asked for since it last passed and joins neighbouring free blocks, so memory cannot die of fragmentation. While
//! at least 1/[`SPARE_SHARE`] of the memory is free, items are left alone and only holes are used. An allocation
//! gives at most [`SECOND_CHANCES_MAX`] second chances, which bounds its work; after them it evicts whatever is not
//! being sent or filled.
//!
//! **Time** is told once a call ([`Store::tick`]). What is past its time, or flushed, is found out when somebody asks
//! for it or when the hand comes by, so no scan ever stalls a request.
//!
//! **Unfinished values**: memory for values that are still arriving is bounded by 1/[`PROMISED_SHARE`] of the whole
//! (or one largest item): clients that announce much and send little cannot take the cache away from the others.
//!
//! **Pins**: a value that is being sent has a count. Overwriting, deleting or evicting its key only unlinks it; its
//! block is free when the last pin is released.

use crate::arena::{Arena, HEADER, NONE, State, TAIL, UNIT, mark, units};
use crate::hash::Secret;
use alloc::vec::Vec;

mod change;

pub use change::{Changed, Outcome, Verb};

/// Items that one allocation passes over, at most, because they were asked for lately or there is free memory.
pub const SECOND_CHANCES_MAX: u32 = 64;
/// While at least one part in so many is free, nothing is evicted for a mere lack of a large enough hole nearby.
pub const SPARE_SHARE: u32 = 16;
/// At most one part in so many may be promised to values that are still arriving.
pub const PROMISED_SHARE: u32 = 4;
/// Arena bytes for which there is one bucket: about the size of a small item, so chains stay short.
const BYTES_A_BUCKET: usize = 128;

/// A stored item: valid until the next call that stores, deletes or releases, unless it is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item(u32);

impl Item {
    /// A name that survives as long as the item is pinned.
    pub fn token(self) -> u64 {
        u64::from(self.0)
    }

    /// The item of a token that [`Item::token`] gave.
    pub fn from_token(token: u64) -> Self {
        Item(token as u32)
    }
}

/// Memory for a value that is still arriving.
#[derive(Debug, PartialEq, Eq)]
pub struct Reserved(u32);

/// Why an item cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSpace {
    /// It is larger than any item may be.
    TooLarge,
    /// All memory that it could have is being sent or filled.
    Full,
}

/// What the store counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that a key finds now.
    pub items: u64,
    /// Bytes of blocks that are not free.
    pub used_bytes: u64,
    /// Items ever stored.
    pub stored: u64,
    /// Items that made room for others.
    pub evicted: u64,
    /// Items that were found past their time.
    pub expired: u64,
    /// Items that were found flushed.
    pub flushed: u64,
    /// Values that were refused because too much was promised to others that were still arriving.
    pub unpromised: u64,
    /// Pins now.
    pub pins: u64,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    arena: Arena,
    buckets: Vec<u32>,
    secret: Secret,
    item_bytes_max: usize,
    hand: u32,
    free_units: u32,
    unique: u64,
    now_s: u32,
    /// Items with a smaller number are flushed.
    flushed_below: u64,
    /// When everything is flushed next.
    flush_at_s: u32,
    promised_units: u32,
    counts: Counts,
}

impl Store {
    /// A store in `memory_bytes`, index included. `item_bytes_max` bounds an item with its key and header.
    pub fn new(memory_bytes: usize, item_bytes_max: usize, seed: [u8; 16]) -> Self {
        // The index takes 4 bytes for every 128 of the arena, rounded down to a power of two.
        let buckets = (memory_bytes / (BYTES_A_BUCKET + 4)).max(1);
        let buckets = 1usize << buckets.ilog2();
        let arena = Arena::new(memory_bytes.saturating_sub(buckets * 4));
        Self {
            buckets: alloc::vec![NONE; buckets],
            secret: Secret::new(seed),
            item_bytes_max: item_bytes_max.min(arena.units() as usize * UNIT),
            hand: 0,
            free_units: arena.units(),
            unique: 0,
            now_s: 0,
            flushed_below: 0,
            flush_at_s: u32::MAX,
            promised_units: 0,
            counts: Counts::default(),
            arena,
        }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let used = self.arena.units() - self.free_units;
        Counts { used_bytes: u64::from(used) * UNIT as u64, ..self.counts }
    }

    /// Bytes that items can have in all.
    pub fn capacity_bytes(&self) -> usize {
        self.arena.units() as usize * UNIT
    }

    /// The time of what is called next, in seconds from a start of the caller's choice.
    #[inline]
    pub fn tick(&mut self, now_s: u32) {
        self.now_s = now_s;
        if now_s >= self.flush_at_s {
            self.flushed_below = self.unique + 1;
            self.flush_at_s = u32::MAX;
        }
    }

    /// The item of a key, which is noted as asked for. One that is past its time is removed.
    pub fn find(&mut self, key: &[u8]) -> Option<Item> {
        let item = self.peek(key)?;
        self.asked_for(item);
        Some(item)
    }

    /// Finds without noting it.
    #[inline(always)]
    pub fn peek(&mut self, key: &[u8]) -> Option<Item> {
        let hash = self.secret.hash(key);
        let block = self.search(key, hash)?;
        if self.is_past(block) {
            self.remove_past(block, hash);
            return None;
        }
        Some(Item(block))
    }

    /// Notes that somebody asked for an item.
    #[inline]
    pub fn asked_for(&mut self, item: Item) {
        self.arena.mark_at(item.0, mark::VISITED | mark::FETCHED, self.now_s);
    }

    /// The client's flags of an item.
    pub fn flags(&self, item: Item) -> u32 {
        self.arena.flags(item.0)
    }

    /// A number that changes with every store under a key.
    pub fn unique(&self, item: Item) -> u64 {
        self.arena.unique(item.0)
    }

    /// The value with a line end behind it.
    pub fn data(&self, item: Item) -> &[u8] {
        self.arena.data(item.0)
    }

    /// Keeps the item's bytes in their place until [`Store::release`]. False when it has too many pins.
    pub fn pin(&mut self, item: Item) -> bool {
        let pins = self.arena.pins(item.0);
        if pins == u32::MAX {
            return false;
        }
        self.arena.set_pins(item.0, pins + 1);
        self.counts.pins += 1;
        true
    }

    /// Gives back one pin.
    pub fn release(&mut self, item: Item) {
        let pins = self.arena.pins(item.0);
        assert!(pins > 0, "a pin is released once");
        self.arena.set_pins(item.0, pins - 1);
        self.counts.pins -= 1;
        if pins == 1 && self.arena.state(item.0) == State::Doomed {
            self.free(item.0);
        }
    }

    /// Memory for a value of `len` bytes under a key. `expires_s` is the second from which it is past its time, 0
    /// for never. A value that is not `here` in full yet counts as promised until it is committed or discarded.
    pub fn reserve(
        &mut self,
        key: &[u8],
        flags: u32,
        expires_s: u32,
        len: u32,
        here: bool,
    ) -> Result<Reserved, NoSpace> {
        if HEADER + key.len() + len as usize + TAIL.len() > self.item_bytes_max {
            return Err(NoSpace::TooLarge);
        }
        let units = units(key.len(), len as usize) as u32;
        if !here && self.promised_units + units > self.promised_units_max() {
            self.counts.unpromised += 1;
            return Err(NoSpace::Full);
        }
        let block = self.allocate(units).ok_or(NoSpace::Full)?;
        if !here {
            self.promised_units += units;
        }
        self.arena.set_state(block, State::Filling);
        self.arena.set_pins(block, u32::from(!here));
        self.arena.set_flags(block, flags);
        self.arena.set_expires(block, expires_s);
        self.arena.set_value_len(block, len);
        self.arena.set_unique(block, 0);
        self.arena.set_key(block, key);
        Ok(Reserved(block))
    }

    fn promised_units_max(&self) -> u32 {
        (self.arena.units() / PROMISED_SHARE).max(self.item_bytes_max.div_ceil(UNIT) as u32)
    }

    /// The value is no longer awaited. (While it is, its place for pins tells that it was promised.)
    fn keep_promise(&mut self, block: u32) {
        if self.arena.pins(block) != 0 {
            self.promised_units -= self.arena.size(block);
            self.arena.set_pins(block, 0);
        }
    }

    /// Writes a part of the value and the two bytes behind it.
    pub fn fill(&mut self, reserved: &Reserved, offset: usize, part: &[u8]) {
        self.arena.fill(reserved.0, offset, part);
    }

    /// Makes a finished block the item of its key, in the place of `old`.
    fn link(&mut self, block: u32, hash: u64, old: Option<u32>) {
        if let Some(old) = old {
            self.unlink(old, hash);
        }
        let bucket = self.bucket(hash as u32);
        self.unique += 1;
        self.arena.set_unique(block, self.unique);
        self.arena.set_tag(block, tag(hash));
        self.arena.set_next(block, self.buckets[bucket]);
        self.arena.set_state(block, State::Linked);
        self.arena.set_accessed(block, self.now_s);
        self.buckets[bucket] = block;
        self.counts.items += 1;
        self.counts.stored += 1;
    }

    /// Gives the memory back.
    pub fn discard(&mut self, reserved: Reserved) {
        self.keep_promise(reserved.0);
        self.free(reserved.0);
    }

    /// Removes a key. False when there was none.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let Some(item) = self.peek(key) else { return false };
        self.remove(item);
        true
    }

    /// Removes an item.
    pub fn remove(&mut self, item: Item) {
        let hash = self.secret.hash(self.arena.key(item.0));
        self.unlink(item.0, hash);
    }

    #[inline]
    fn is_past(&self, block: u32) -> bool {
        let header = self.arena.header(block);
        let expires = header.expires();
        (expires != 0 && expires <= self.now_s) || header.unique() < self.flushed_below
    }

    fn remove_past(&mut self, block: u32, hash: u64) {
        if self.arena.unique(block) < self.flushed_below {
            self.counts.flushed += 1;
        } else {
            self.counts.expired += 1;
        }
        self.unlink(block, hash);
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn search(&self, key: &[u8], hash: u64) -> Option<u32> {
        let mut block = self.buckets[self.bucket(hash as u32)];
        while block != NONE {
            let header = self.arena.header(block);
            if header.tag() == tag(hash) && self.arena.key(block) == key {
                return Some(block);
            }
            block = header.next();
        }
        None
    }

    /// Takes a linked block out of the index; its memory is free now, or when its last pin is released.
    fn unlink(&mut self, block: u32, hash: u64) {
        let bucket = self.bucket(hash as u32);
        let next = self.arena.next(block);
        let mut before = self.buckets[bucket];
        if before == block {
            self.buckets[bucket] = next;
        } else {
            while self.arena.next(before) != block {
                before = self.arena.next(before);
            }
            self.arena.set_next(before, next);
        }
        self.counts.items -= 1;
        if self.arena.pins(block) == 0 {
            self.free(block);
        } else {
            self.arena.set_state(block, State::Doomed);
        }
    }

    fn free(&mut self, block: u32) {
        let units = self.arena.size(block);
        self.arena.make_free(block, units);
        self.free_units += units;
    }

    /// Moves the hand until it has passed enough neighbouring free memory, and takes that.
    fn allocate(&mut self, units: u32) -> Option<u32> {
        let end = self.arena.units();
        let mut chances = SECOND_CHANCES_MAX;
        let mut passed = 0u64;
        // Free memory from `start` to the hand.
        let mut start = self.hand;
        // The first round respects what is worth keeping; the second does not; the third sees in one piece what the
        // second began in the middle of.
        while passed <= 3 * u64::from(end) {
            if passed > u64::from(end) {
                chances = 0;
            }
            if self.hand == end {
                self.join(start, end);
                self.hand = 0;
                start = 0;
            }
            let block = self.hand;
            let size = self.arena.size(block);
            passed += u64::from(size);
            self.hand += size;
            let gone = match self.arena.state(block) {
                State::Free => true,
                State::Linked if self.arena.pins(block) == 0 => self.leaves(block, &mut chances),
                _ => false,
            };
            if !gone {
                self.join(start, block);
                start = self.hand;
            } else if self.hand - start >= units {
                return Some(self.cut(start, units));
            }
        }
        self.join(start, self.hand);
        None
    }

    /// Whether the hand evicts a linked block that nobody pins.
    fn leaves(&mut self, block: u32, chances: &mut u32) -> bool {
        let past = self.is_past(block);
        if !past {
            let spare = self.free_units >= self.arena.units() / SPARE_SHARE;
            if *chances > 0 && (spare || self.arena.marks(block) & mark::VISITED != 0) {
                *chances -= 1;
                self.arena.unmark(block, mark::VISITED);
                return false;
            }
        }
        let hash = self.secret.hash(self.arena.key(block));
        if past {
            self.remove_past(block, hash);
        } else {
            self.counts.evicted += 1;
            self.unlink(block, hash);
        }
        true
    }

    /// Makes one free block of the free memory from `start` to `end`.
    fn join(&mut self, start: u32, end: u32) {
        if end > start {
            self.arena.make_free(start, end - start);
        }
    }

    /// Takes `units` from the free memory between `start` and the hand, and moves the hand behind them.
    fn cut(&mut self, start: u32, units: u32) -> u32 {
        let rest = self.hand - start - units;
        if rest > 0 {
            self.arena.make_free(start + units, rest);
        }
        self.hand = start + units;
        self.free_units -= units;
        start
    }
}

/// The part of a hash that is kept with the item: other bits than those that choose the bucket.
#[inline]
fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16
}

#[cfg(test)]
mod tests;
