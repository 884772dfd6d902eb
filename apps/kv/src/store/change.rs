//! What changes items: values that take the place of others or lengthen them, numbers, times, marks, flushing.

use super::{Item, NoSpace, Reserved, Store};
use crate::arena::{TAIL, UNIT, mark};
use crate::text::{decimal, unsigned};

/// What a value that has arrived does with the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Takes its place.
    Set,
    /// Stays away when there is one.
    Add,
    /// Takes its place only when there is one.
    Replace,
    /// Goes behind it.
    Append,
    /// Goes before it.
    Prepend,
    /// Takes its place when that has the expected number.
    Cas,
}

/// What became of a value that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The key finds it.
    Stored,
    /// What the verb asks of the key does not hold, or there was no memory for both values together.
    NotStored,
    /// The item there has another number than expected.
    Exists,
    /// There is no item to compare the number with.
    NotFound,
    /// The two bytes behind the value are no line end.
    BadChunk,
}

/// What adding to a number came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The item holds this number now.
    Number(Item, u64),
    /// There is no such item.
    NotFound,
    /// It has another number than expected.
    Mismatch,
    /// Its value is no number.
    NotNumeric,
    /// There is no memory for the longer number.
    NoMemory,
}

impl Store {
    /// Says which number ([`Store::unique`]) the value expects the item to have whose place it takes; 0 for any.
    pub fn expect(&mut self, reserved: &Reserved, unique: u64) {
        self.arena.set_unique(reserved.0, unique);
    }

    /// The item that a value will be, as far as it is known: its key and marks.
    pub(crate) fn reserved_item(&self, reserved: &Reserved) -> Item {
        Item(reserved.0)
    }

    /// The number that was given last.
    pub fn last_unique(&self) -> u64 {
        self.unique
    }

    /// Gives numbers behind this one, so that none which a predecessor gave fits an item of ours. One from which no cache
    /// could have counted is not believed.
    pub fn number_from(&mut self, unique: u64) {
        if unique < u64::MAX / 2 {
            self.unique = self.unique.max(unique);
        }
    }

    /// Marks that clients spell the key in base 64.
    pub fn spell_binary(&mut self, reserved: &Reserved) {
        self.arena.mark(reserved.0, mark::BINARY);
    }

    /// The value has arrived. With `stale_allowed`, one that expects an older number is stored as out of date.
    pub fn commit(&mut self, reserved: Reserved, verb: Verb, stale_allowed: bool) -> Outcome {
        let block = reserved.0;
        self.keep_promise(block);
        if !self.arena.data(block).ends_with(TAIL) {
            self.free(block);
            return Outcome::BadChunk;
        }
        let binary = self.arena.marks(block) & mark::BINARY;
        let hash = self.secret.hash(self.arena.key(block));
        let mut old = self.search(self.arena.key(block), hash);
        if let Some(past) = old.filter(|old| self.is_past(*old)) {
            self.reclaim(past, hash);
            old = None;
        }
        if verb == Verb::Set {
            self.link(block, hash, old);
            self.arena.mark(block, binary);
            return Outcome::Stored;
        }
        let Some(there) = old else {
            return match verb {
                Verb::Add => {
                    self.link(block, hash, None);
                    self.arena.mark(block, binary);
                    Outcome::Stored
                }
                Verb::Cas => self.give_up(block, Outcome::NotFound),
                _ => self.give_up(block, Outcome::NotStored),
            };
        };
        let (expected, unique) = (self.arena.unique(block), self.arena.unique(there));
        match verb {
            Verb::Set | Verb::Replace => {}
            Verb::Add => {
                // It stays longer, but nobody has read it.
                self.arena.mark(there, mark::VISITED);
                return self.give_up(block, Outcome::NotStored);
            }
            Verb::Cas if expected == unique => {}
            Verb::Cas if stale_allowed && expected != 0 && expected < unique => {
                let marks = mark::STALE | binary | (self.arena.marks(there) & mark::WON);
                self.arena.set_expires(block, self.arena.expires(there));
                self.link(block, hash, old);
                self.arena.mark(block, marks);
                return Outcome::Stored;
            }
            Verb::Cas => return self.give_up(block, Outcome::Exists),
            Verb::Append | Verb::Prepend if expected != 0 && expected != unique => {
                return self.give_up(block, Outcome::Exists);
            }
            Verb::Append => return self.concatenate(there, block, there, block, hash),
            Verb::Prepend => return self.concatenate(there, block, block, there, hash),
        }
        self.link(block, hash, old);
        self.arena.mark(block, binary);
        Outcome::Stored
    }

    fn give_up(&mut self, block: u32, outcome: Outcome) -> Outcome {
        self.free(block);
        outcome
    }

    /// Stores both values, one behind the other, in the place of `old`; `addition` is free then.
    fn concatenate(&mut self, old: u32, addition: u32, first: u32, second: u32, hash: u64) -> Outcome {
        let (first_len, second_len) = (self.arena.value_len(first), self.arena.value_len(second));
        let Some(len) = first_len.checked_add(second_len) else {
            return self.give_up(addition, Outcome::NotStored);
        };
        let Ok(whole) = self.reserve_like(old, len) else {
            return self.give_up(addition, Outcome::NotStored);
        };
        self.arena.copy(first, first_len as usize, whole, 0);
        self.arena.copy(second, second_len as usize + TAIL.len(), whole, first_len as usize);
        let binary = self.arena.marks(old) & mark::BINARY;
        self.free(addition);
        self.link(whole, hash, Some(old));
        self.arena.mark(whole, binary);
        Outcome::Stored
    }

    /// Memory for another value with the key, flags and time of an item, which stays where it is meanwhile.
    fn reserve_like(&mut self, old: u32, len: u32) -> Result<u32, NoSpace> {
        let pinned = self.pin(Item(old));
        assert!(pinned, "fewer pins than the stack has room for");
        let mut key = [0; u8::MAX as usize];
        let key_len = self.arena.key(old).len();
        key[..key_len].copy_from_slice(self.arena.key(old));
        let (flags, expires) = (self.arena.flags(old), self.arena.expires(old));
        let reserved = self.reserve(&key[..key_len], flags, expires, len, true);
        self.release(Item(old));
        reserved.map(|reserved| reserved.0)
    }

    /// Adds to the number that an item holds (wrapping) or takes from it (down to 0), in place when it fits; a
    /// shorter number is followed by spaces. `unique` is the number the item must have; 0 for any.
    pub fn add(&mut self, key: &[u8], delta: u64, up: bool, unique: u64) -> Changed {
        let Some(item) = self.peek(key) else { return Changed::NotFound };
        let block = item.0;
        let old_len = self.arena.value_len(block) as usize;
        if old_len == 0 {
            return Changed::NotNumeric;
        }
        if unique != 0 && unique != self.arena.unique(block) {
            return Changed::Mismatch;
        }
        let Some(value) = unsigned(self.arena.data(block)) else { return Changed::NotNumeric };
        let value = if up { value.wrapping_add(delta) } else { value.saturating_sub(delta) };
        let mut digits = [0; 20];
        let digits_len = decimal(value, &mut digits);
        let text = &digits[..digits_len];
        if text.len() <= old_len && self.arena.pins(block) == 0 {
            self.unique += 1;
            self.arena.set_unique(block, self.unique);
            self.write_number(block, text, old_len);
            return Changed::Number(item, value);
        }
        // Somebody sends the old number, or it is too short: another block takes its place.
        let len = text.len().max(old_len);
        let Ok(block) = self.reserve_like(block, len as u32) else { return Changed::NoMemory };
        self.write_number(block, text, len);
        self.arena.fill(block, len, TAIL);
        let hash = self.secret.hash(key);
        self.link(block, hash, Some(item.0));
        Changed::Number(Item(block), value)
    }

    fn write_number(&mut self, block: u32, text: &[u8], len: usize) {
        self.arena.fill(block, 0, text);
        for place in text.len()..len {
            self.arena.fill(block, place, b" ");
        }
    }

    /// Stores a small value at once: for items that a request makes by itself.
    pub fn put(&mut self, key: &[u8], value: &[u8], expires_s: u32, binary: bool) -> Result<Item, NoSpace> {
        let reserved = self.reserve(key, 0, expires_s, value.len() as u32, true)?;
        self.fill(&reserved, 0, value);
        self.fill(&reserved, value.len(), TAIL);
        let block = reserved.0;
        if binary {
            self.spell_binary(&reserved);
        }
        self.commit(reserved, Verb::Set, false);
        Ok(Item(block))
    }

    /// The second from which an item is past its time; 0 for never.
    pub fn expires(&self, item: Item) -> u32 {
        self.arena.expires(item.0)
    }

    /// Changes the client's flags.
    pub fn set_flags(&mut self, item: Item, flags: u32) {
        self.arena.set_flags(item.0, flags);
    }

    /// Changes the second from which an item is past its time.
    pub fn set_expires(&mut self, item: Item, expires_s: u32) {
        self.arena.set_expires(item.0, expires_s);
    }

    /// Seconds since it was stored or asked for.
    pub fn idle_s(&self, item: Item) -> u32 {
        self.now_s.saturating_sub(self.arena.accessed(item.0))
    }

    /// It was asked for since it was stored.
    pub fn is_fetched(&self, item: Item) -> bool {
        self.arena.marks(item.0) & mark::FETCHED != 0
    }

    /// A client was told to fetch it anew.
    pub fn is_won(&self, item: Item) -> bool {
        self.arena.marks(item.0) & mark::WON != 0
    }

    /// Tells that a client was told to fetch it anew.
    pub fn set_won(&mut self, item: Item) {
        self.arena.mark(item.0, mark::WON);
    }

    /// It is out of date by a client's word.
    pub fn is_stale(&self, item: Item) -> bool {
        self.arena.marks(item.0) & mark::STALE != 0
    }

    /// Makes an item out of date: it gets a new number, and the next client may fetch it anew.
    pub fn set_stale(&mut self, item: Item) {
        self.unique += 1;
        self.arena.set_unique(item.0, self.unique);
        self.arena.mark(item.0, mark::STALE);
        self.arena.unmark(item.0, mark::WON);
    }

    /// Clients spell its key in base 64.
    pub fn is_binary(&self, item: Item) -> bool {
        self.arena.marks(item.0) & mark::BINARY != 0
    }

    /// The key of an item.
    pub fn key(&self, item: Item) -> &[u8] {
        self.arena.key(item.0)
    }

    /// Bytes that an item takes, all told.
    pub fn item_bytes(&self, item: Item) -> usize {
        self.arena.size(item.0) as usize * UNIT
    }

    /// No item stored before this second is found any more, from that second on. Replaces an earlier order.
    pub fn flush(&mut self, at_s: u32) {
        self.flush_at_s = u32::MAX;
        if at_s <= self.now_s + 1 {
            self.unique += 1;
            self.flushed_below = self.unique;
        } else {
            self.flush_at_s = at_s;
        }
    }

    /// Starts the counts of events anew; what is there now stays counted.
    pub fn reset_counts(&mut self) {
        let now = self.counts;
        self.counts = super::Counts { items: now.items, pins: now.pins, ..Default::default() };
        for class in &mut self.classes {
            *class = super::ClassCounts {
                stored: class.stored,
                items: class.items,
                bytes: class.bytes,
                ..Default::default()
            };
        }
    }
}
