//! Items under keys, in bounded memory that is allocated at the start and grows and shrinks by whole segments.
//!
//! **Making room** is told in `room`; **counting** what more or less memory would mean, in `curve`.
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
use crate::class::{CLASSES, ClassCounts};
use crate::hash::Secret;
use alloc::vec::Vec;
use ghosts::Ghosts;
use room::Rooms;

mod change;
mod crawl;
mod curve;
mod ghosts;
mod room;

pub use change::{Changed, Outcome, Verb};
pub(crate) use crawl::Gone;
pub use room::{SECOND_CHANCES_MAX, SPARE_SHARE};

/// At most one part in so many may be promised to values that are still arriving.
pub const PROMISED_SHARE: u32 = 4;
/// As many segments are wanted before segments become larger than they must be.
const SEGMENTS_GOOD: usize = 32;
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

/// What a reply tells of an item.
#[derive(Debug)]
pub struct Fetched<'a> {
    /// The item.
    pub item: Item,
    /// The client's flags.
    pub flags: u32,
    /// The value with a line end behind it.
    pub data: &'a [u8],
}

impl Fetched<'_> {
    /// Bytes of the value.
    #[inline]
    pub fn value_len(&self) -> usize {
        self.data.len() - TAIL.len()
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
    /// Of those, items that nobody ever asked for.
    pub evicted_unfetched: u64,
    /// Items past their time, or flushed, whose memory went to others.
    pub reclaimed: u64,
    /// Of those, items that the walk over all found.
    pub crawled: u64,
    /// Items that the walk looked at.
    pub crawl_looked: u64,
    /// Walks that were begun.
    pub crawls: u64,
    /// Items that were found past their time.
    pub expired: u64,
    /// Items that were found flushed.
    pub flushed: u64,
    /// Items that left probation for the main ring.
    pub promoted: u64,
    /// Items that came back soon after they had left.
    pub returned: u64,
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
    rooms: Rooms,
    /// Of all segments.
    units: u32,
    free_units: u32,
    unique: u64,
    now_s: u32,
    /// Items with a smaller number are flushed.
    flushed_below: u64,
    /// When everything is flushed next.
    flush_at_s: u32,
    promised_units: u32,
    counts: Counts,
    classes: [ClassCounts; CLASSES],
    crawler: crawl::Crawler,
    curve: curve::Curve,
    /// Whether items that are past their time are looked for.
    pub crawls: bool,
    /// What was evicted, when somebody wants to know.
    gone: Option<Vec<Gone>>,
}

impl Store {
    /// A store in `memory_bytes`, index included. `item_bytes_max` bounds an item with its key and header.
    pub fn new(memory_bytes: usize, item_bytes_max: usize, seed: [u8; 16]) -> Self {
        // The index takes 4 bytes for every 128 of the arena, rounded down to a power of two, the ghosts half of that.
        let buckets = (memory_bytes / (BYTES_A_BUCKET + 4)).max(1);
        let buckets = 1usize << buckets.ilog2();
        let arena_bytes = memory_bytes.saturating_sub(buckets * 4 + Ghosts::bytes(buckets)).max(UNIT);
        let item_bytes_max = item_bytes_max.min(arena_bytes);
        // Large items waste less of large segments; a good number of segments makes fine rings.
        let mut segment_bytes = item_bytes_max.max(UNIT).next_power_of_two();
        while segment_bytes < 4 * item_bytes_max && arena_bytes / (2 * segment_bytes) >= SEGMENTS_GOOD {
            segment_bytes *= 2;
        }
        let mut store = Self {
            arena: Arena::new((segment_bytes / UNIT).ilog2()),
            rooms: Rooms::new(buckets),
            units: 0,
            buckets: alloc::vec![NONE; buckets],
            secret: Secret::new(seed),
            item_bytes_max,
            free_units: 0,
            unique: 0,
            now_s: 0,
            flushed_below: 0,
            flush_at_s: u32::MAX,
            promised_units: 0,
            counts: Counts::default(),
            classes: [ClassCounts::default(); CLASSES],
            crawler: crawl::Crawler::default(),
            curve: curve::Curve::new(),
            crawls: true,
            gone: None,
        };
        let mut left = arena_bytes;
        while left >= UNIT {
            let len = left.min(segment_bytes);
            assert!(store.add_segment(len), "there is memory for what the configuration says");
            left -= len;
        }
        store
    }

    /// Buckets of the index, as a power of two.
    pub(crate) fn index_power(&self) -> u32 {
        self.buckets.len().ilog2()
    }

    /// Bytes of the index and the ghosts.
    pub(crate) fn index_bytes(&self) -> usize {
        self.buckets.len() * 4 + Ghosts::bytes(self.buckets.len())
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let used = self.units - self.free_units;
        Counts { used_bytes: u64::from(used) * UNIT as u64, ..self.counts }
    }

    /// Bytes that items can have in all.
    pub fn capacity_bytes(&self) -> usize {
        self.units as usize * UNIT
    }

    /// The time of what is called next, in seconds from a start of the caller's choice.
    #[inline]
    pub fn tick(&mut self, now_s: u32) {
        self.now_s = now_s;
        self.retire();
        if now_s >= self.flush_at_s {
            self.flushed_below = self.unique + 1;
            self.flush_at_s = u32::MAX;
        }
    }

    /// The item of a key, which is noted as asked for. One that is past its time is removed.
    pub fn find(&mut self, key: &[u8]) -> Option<Item> {
        let item = self.look(key)?;
        self.asked_for(item);
        Some(item)
    }

    /// The same, with what a reply tells of it.
    #[inline]
    pub fn fetch(&mut self, key: &[u8]) -> Option<Fetched<'_>> {
        let item = self.look(key)?;
        let (flags, data) = self.arena.fetch(item.0, self.now_s);
        Some(Fetched { item, flags, data })
    }

    /// Finds and counts that somebody asked, without noting it at the item.
    #[inline(always)]
    pub fn look(&mut self, key: &[u8]) -> Option<Item> {
        let hash = self.secret.hash(key);
        if self.curve.follows(hash) {
            self.curve.asked(hash);
        }
        self.peek_hashed(key, hash)
    }

    /// Which part of the requests a cache with so many bytes for items would miss, as far as a sample tells and if it
    /// were LRU; `None` before anything was learnt.
    pub fn miss_ratio(&self, capacity_bytes: usize) -> Option<f64> {
        self.curve.miss_ratio((capacity_bytes / UNIT) as u64)
    }

    /// Finds without noting it.
    #[inline(always)]
    pub fn peek(&mut self, key: &[u8]) -> Option<Item> {
        let hash = self.secret.hash(key);
        self.peek_hashed(key, hash)
    }

    #[inline(always)]
    fn peek_hashed(&mut self, key: &[u8], hash: u64) -> Option<Item> {
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
        self.arena.visit(item.0, self.now_s);
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
        let hash = self.secret.hash(key);
        let proven = match self.search(key, hash) {
            // The new value keeps what the old one has proved.
            Some(old) => self.rooms.owners[self.arena.segment(old)] == room::Owner::Main,
            None => {
                let returns = self.rooms.ghosts.returns(hash);
                self.counts.returned += u64::from(returns);
                returns
            }
        };
        let block = self.allocate(units, proven).ok_or(NoSpace::Full)?;
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

    /// Units that are promised to values that are still arriving.
    #[cfg(test)]
    pub(crate) fn unfinished(&self) -> u32 {
        self.promised_units
    }

    fn promised_units_max(&self) -> u32 {
        (self.units / PROMISED_SHARE).max(self.item_bytes_max.div_ceil(UNIT) as u32)
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
        let proved = old.map_or(0, |old| self.arena.marks(old) & (mark::VISITED | mark::AGAIN));
        if let Some(old) = old {
            self.unlink(old, hash);
        }
        if self.curve.follows(hash) {
            self.curve.stored(hash, self.arena.size(block));
        }
        let bucket = self.bucket(hash as u32);
        self.unique += 1;
        self.arena.set_unique(block, self.unique);
        self.arena.set_tag(block, tag(hash));
        self.arena.set_next(block, self.buckets[bucket]);
        self.arena.set_state(block, State::Linked);
        self.arena.mark(block, proved);
        self.arena.set_accessed(block, self.now_s);
        self.buckets[bucket] = block;
        self.counts.items += 1;
        self.counts.stored += 1;
        let (class, bytes) = self.classified(block);
        self.classes[class].stored += 1;
        self.classes[class].items += 1;
        self.classes[class].bytes += bytes;
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

    #[inline]
    fn search(&self, key: &[u8], hash: u64) -> Option<u32> {
        let mut block = self.buckets[self.bucket(hash as u32)];
        while block != NONE {
            let (header, behind) = self.arena.item(block);
            if header.tag() == tag(hash)
                && header.key_len() == key.len()
                && behind.get(..key.len()) == Some(key)
            {
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
        let (class, bytes) = self.classified(block);
        self.classes[class].items -= 1;
        self.classes[class].bytes -= bytes;
        if self.arena.pins(block) == 0 {
            self.free(block);
        } else {
            self.arena.set_state(block, State::Doomed);
        }
    }

    /// Lets the chain of a bucket find an item at another place.
    fn relink(&mut self, from: u32, to: u32, hash: u64) {
        let bucket = self.bucket(hash as u32);
        let mut before = self.buckets[bucket];
        if before == from {
            self.buckets[bucket] = to;
            return;
        }
        while self.arena.next(before) != from {
            before = self.arena.next(before);
        }
        self.arena.set_next(before, to);
    }
}

/// The part of a hash that is kept with the item: other bits than those that choose the bucket.
#[inline]
fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16
}

#[cfg(test)]
mod tests;
