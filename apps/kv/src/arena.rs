//! One piece of memory, cut into blocks that lie side by side; a block is an item, or free.
//!
//! ```text
//!  0 value length (of a free block: its units)   4 state   5 key length   6 tag   8 unique   16 next in chain
//! 20 flags   24 expires   28 accessed   32 pins   36 key, value, "\r\n"
//! ```
//!
//! A block never moves, so a pinned value stays where the device reads it. Places and sizes are counted in units of
//! [`UNIT`] bytes, which lets 32 bits reach 32 GiB. The size of an item follows from its lengths, and only a tag of
//! its hash is kept: with the line end, half a unit of rounding and its share of the index an item costs 46 bytes
//! beside its key and value on average.

use alloc::vec::Vec;

/// Grain of places and sizes.
pub(crate) const UNIT: usize = 8;
/// Bytes of a block before its key.
pub(crate) const HEADER: usize = 36;
/// Bytes behind a value, so that a value and its line end go out as one piece.
pub(crate) const TAIL: &[u8; 2] = b"\r\n";
/// No block.
pub(crate) const NONE: u32 = u32::MAX;
/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody's.
    Free = 0,
    /// Its value is still arriving: no key finds it, nothing evicts it.
    Filling = 1,
    /// Its key finds it.
    Linked = 2,
    /// No key finds it any more; somebody still sends it.
    Doomed = 3,
}

/// The bits of the state byte that tell what a block is; the others are marks.
const STATE: u8 = 0x03;

/// What is marked at an item.
pub(crate) mod mark {
    /// It was found since the hand last passed.
    pub(crate) const VISITED: u8 = 0x80;
    /// It was found since it was stored.
    pub(crate) const FETCHED: u8 = 0x40;
    /// A client was told to fetch it anew.
    pub(crate) const WON: u8 = 0x20;
    /// It is out of date by a client's word.
    pub(crate) const STALE: u8 = 0x10;
    /// Clients spell its key in base 64.
    pub(crate) const BINARY: u8 = 0x08;
}

#[derive(Debug)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
}

macro_rules! field {
    ($get:ident, $set:ident, $offset:expr) => {
        #[inline]
        pub(crate) fn $get(&self, block: u32) -> u32 {
            self.word(block, $offset)
        }
        #[inline]
        pub(crate) fn $set(&mut self, block: u32, value: u32) {
            let at = block as usize * UNIT + $offset;
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    };
}

impl Arena {
    pub(crate) fn new(len: usize) -> Self {
        let units = (len / UNIT).clamp(1, NONE as usize - 1);
        let mut arena = Self { bytes: alloc::vec![0; units * UNIT] };
        arena.make_free(0, units as u32);
        arena
    }

    /// Size of the whole in units.
    pub(crate) fn units(&self) -> u32 {
        (self.bytes.len() / UNIT) as u32
    }

    #[inline]
    fn word(&self, block: u32, offset: usize) -> u32 {
        let at = block as usize * UNIT + offset;
        match self.bytes[at..].first_chunk::<4>() {
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => unreachable!("a block ends within the arena"),
        }
    }

    /// The fixed part of an item, for reading several fields under one check. A free block may be shorter.
    #[inline]
    pub(crate) fn header(&self, block: u32) -> Header<'_> {
        let at = block as usize * UNIT;
        match self.bytes[at..].first_chunk() {
            Some(bytes) => Header(bytes),
            None => unreachable!("an item ends within the arena"),
        }
    }

    field!(value_len, set_value_len, 0);
    field!(next, set_next, 16);
    field!(flags, set_flags, 20);
    field!(expires, set_expires, 24);
    field!(accessed, set_accessed, 28);
    field!(pins, set_pins, 32);

    /// Units of a block.
    #[inline]
    pub(crate) fn size(&self, block: u32) -> u32 {
        match self.state(block) {
            State::Free => self.word(block, 0),
            _ => units(self.byte(block, 5) as usize, self.value_len(block) as usize) as u32,
        }
    }

    #[inline]
    fn byte(&self, block: u32, offset: usize) -> u8 {
        self.bytes[block as usize * UNIT + offset]
    }

    #[inline]
    fn set_byte(&mut self, block: u32, offset: usize, value: u8) {
        self.bytes[block as usize * UNIT + offset] = value;
    }

    #[inline]
    pub(crate) fn state(&self, block: u32) -> State {
        match self.byte(block, 4) & STATE {
            0 => State::Free,
            1 => State::Filling,
            2 => State::Linked,
            _ => State::Doomed,
        }
    }

    /// Sets the state and takes away all marks.
    #[inline]
    pub(crate) fn set_state(&mut self, block: u32, state: State) {
        self.set_byte(block, 4, state as u8);
    }

    #[inline]
    pub(crate) fn marks(&self, block: u32) -> u8 {
        self.byte(block, 4) & !STATE
    }

    /// Puts on marks.
    #[inline]
    pub(crate) fn mark(&mut self, block: u32, marks: u8) {
        self.set_byte(block, 4, self.byte(block, 4) | marks);
    }

    /// Puts on marks and notes when.
    #[inline]
    pub(crate) fn mark_at(&mut self, block: u32, marks: u8, now_s: u32) {
        let at = block as usize * UNIT;
        let Some(header) = self.bytes[at..].first_chunk_mut::<HEADER>() else {
            unreachable!("an item ends within the arena")
        };
        header[4] |= marks;
        header[28..32].copy_from_slice(&now_s.to_le_bytes());
    }

    /// Takes marks away.
    #[inline]
    pub(crate) fn unmark(&mut self, block: u32, marks: u8) {
        self.set_byte(block, 4, self.byte(block, 4) & !marks);
    }

    #[inline]
    pub(crate) fn set_tag(&mut self, block: u32, tag: u16) {
        let at = block as usize * UNIT + 6;
        self.bytes[at..at + 2].copy_from_slice(&tag.to_le_bytes());
    }

    pub(crate) fn unique(&self, block: u32) -> u64 {
        u64::from(self.word(block, 8)) | u64::from(self.word(block, 12)) << 32
    }

    pub(crate) fn set_unique(&mut self, block: u32, unique: u64) {
        let at = block as usize * UNIT + 8;
        self.bytes[at..at + 8].copy_from_slice(&unique.to_le_bytes());
    }

    #[inline]
    pub(crate) fn key(&self, block: u32) -> &[u8] {
        let at = block as usize * UNIT + HEADER;
        &self.bytes[at..at + self.byte(block, 5) as usize]
    }

    /// Writes a key of at most 250 bytes.
    pub(crate) fn set_key(&mut self, block: u32, key: &[u8]) {
        self.set_byte(block, 5, key.len() as u8);
        let at = block as usize * UNIT + HEADER;
        self.bytes[at..at + key.len()].copy_from_slice(key);
    }

    #[inline]
    fn data_at(&self, block: u32) -> usize {
        block as usize * UNIT + HEADER + self.byte(block, 5) as usize
    }

    /// The value and its line end.
    #[inline]
    pub(crate) fn data(&self, block: u32) -> &[u8] {
        let at = self.data_at(block);
        &self.bytes[at..at + self.value_len(block) as usize + TAIL.len()]
    }

    /// Writes a part of the value and its line end.
    #[inline]
    pub(crate) fn fill(&mut self, block: u32, offset: usize, part: &[u8]) {
        let at = self.data_at(block) + offset;
        self.bytes[at..at + part.len()].copy_from_slice(part);
    }

    /// Writes the beginning of one item's value, and its line end, into another item.
    pub(crate) fn copy(&mut self, from: u32, len: usize, to: u32, offset: usize) {
        let from = self.data_at(from);
        let to = self.data_at(to) + offset;
        self.bytes.copy_within(from..from + len, to);
    }

    pub(crate) fn make_free(&mut self, block: u32, units: u32) {
        self.set_value_len(block, units);
        self.set_state(block, State::Free);
    }
}

/// The fixed part of an item.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a>(&'a [u8; HEADER]);

impl Header<'_> {
    #[inline]
    fn word<const OFFSET: usize>(self) -> u32 {
        let bytes = self.0;
        u32::from_le_bytes([bytes[OFFSET], bytes[OFFSET + 1], bytes[OFFSET + 2], bytes[OFFSET + 3]])
    }

    #[inline]
    pub(crate) fn tag(self) -> u16 {
        u16::from_le_bytes([self.0[6], self.0[7]])
    }

    #[inline]
    pub(crate) fn unique(self) -> u64 {
        u64::from(self.word::<8>()) | u64::from(self.word::<12>()) << 32
    }

    #[inline]
    pub(crate) fn next(self) -> u32 {
        self.word::<16>()
    }

    #[inline]
    pub(crate) fn expires(self) -> u32 {
        self.word::<24>()
    }
}

/// Units of an item with a key and a value of these lengths.
#[inline]
pub(crate) fn units(key_len: usize, value_len: usize) -> usize {
    (HEADER + key_len + value_len + TAIL.len()).div_ceil(UNIT)
}
