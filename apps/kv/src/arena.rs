//! Segments of memory, each cut into blocks that lie side by side; a block is an item, or free.
//!
//! ```text
//!  0 value length (of a free block: its units)   4 state   5 key length   6 tag   8 unique   16 next in chain
//! 20 flags   24 expires   28 accessed   32 pins   36 key, value, "\r\n"
//! ```
//!
//! A segment never moves, so a pinned value stays where the device reads it; segments come and go, which is how the
//! whole grows and shrinks. All but the last made at the start have the same size, a power of two, so that a place tells
//! its segment. Places and sizes are counted in units of [`UNIT`] bytes, which lets 32 bits reach 32 GiB. The size of
//! an item follows from its lengths, and only a tag of its hash is kept: with the line end, half a unit of rounding
//! and its share of the index an item costs less than 48 bytes beside its key and value on average.

use alloc::boxed::Box;
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
    /// It was found again after that.
    pub(crate) const AGAIN: u8 = 0x04;
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
    /// A segment that is gone is an empty one.
    segments: Vec<Box<[u8]>>,
    /// Places below this bit lie within a segment.
    shift: u32,
}

macro_rules! field {
    ($get:ident, $set:ident, $offset:expr) => {
        #[inline]
        pub(crate) fn $get(&self, block: u32) -> u32 {
            self.word(block, $offset)
        }
        #[inline]
        pub(crate) fn $set(&mut self, block: u32, value: u32) {
            self.bytes_mut(block, $offset, 4).copy_from_slice(&value.to_le_bytes());
        }
    };
}

impl Arena {
    /// An arena whose segments have `1 << shift` units, and no segment yet.
    pub(crate) fn new(shift: u32) -> Self {
        Self { segments: Vec::new(), shift }
    }

    /// Makes a segment of at most so many bytes, one free block, and says which; `None` when there is no memory for it.
    pub(crate) fn add(&mut self, len: usize) -> Option<usize> {
        let units = (len / UNIT).min(1 << self.shift);
        let place = self.segments.iter().position(|segment| segment.is_empty());
        let place = place.unwrap_or(self.segments.len());
        if units == 0 || (place + 1) << self.shift > NONE as usize {
            return None;
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(units * UNIT).ok()?;
        bytes.resize(units * UNIT, 0);
        let bytes = bytes.into_boxed_slice();
        if place == self.segments.len() {
            self.segments.push(bytes);
        } else {
            self.segments[place] = bytes;
        }
        self.make_free(self.start(place), units as u32);
        Some(place)
    }

    /// Gives a segment's memory back.
    pub(crate) fn remove(&mut self, segment: usize) {
        self.segments[segment] = Box::default();
    }

    /// Segments, those that are gone too.
    #[cfg(test)]
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// How many places a segment has, as a power of two.
    pub(crate) fn shift(&self) -> u32 {
        self.shift
    }

    /// Where a segment begins.
    pub(crate) fn start(&self, segment: usize) -> u32 {
        (segment as u32) << self.shift
    }

    /// Units of a segment.
    pub(crate) fn units(&self, segment: usize) -> u32 {
        (self.segments[segment].len() / UNIT) as u32
    }

    /// Behind the last block of a segment.
    pub(crate) fn end(&self, segment: usize) -> u32 {
        self.start(segment) + self.units(segment)
    }

    /// The segment of a block.
    #[inline]
    pub(crate) fn segment(&self, block: u32) -> usize {
        (block >> self.shift) as usize
    }

    /// From a place of a block to the end of its segment.
    #[inline]
    fn bytes(&self, block: u32, offset: usize) -> &[u8] {
        let at = (block & ((1 << self.shift) - 1)) as usize * UNIT + offset;
        &self.segments[self.segment(block)][at..]
    }

    #[inline]
    fn bytes_mut(&mut self, block: u32, offset: usize, len: usize) -> &mut [u8] {
        let at = (block & ((1 << self.shift) - 1)) as usize * UNIT + offset;
        let segment = self.segment(block);
        &mut self.segments[segment][at..at + len]
    }

    #[inline]
    fn word(&self, block: u32, offset: usize) -> u32 {
        match self.bytes(block, offset).first_chunk::<4>() {
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => unreachable!("a block ends within its segment"),
        }
    }

    /// The fixed part of an item, for reading several fields under one check. A free block may be shorter.
    #[inline]
    pub(crate) fn header(&self, block: u32) -> Header<'_> {
        match self.bytes(block, 0).first_chunk() {
            Some(bytes) => Header(bytes),
            None => unreachable!("an item ends within its segment"),
        }
    }

    /// The fixed part of an item, and what stands behind it: its key first.
    #[inline]
    pub(crate) fn item(&self, block: u32) -> (Header<'_>, &[u8]) {
        match self.bytes(block, 0).split_first_chunk() {
            Some((bytes, behind)) => (Header(bytes), behind),
            None => unreachable!("an item ends within its segment"),
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
        self.bytes(block, offset)[0]
    }

    #[inline]
    fn set_byte(&mut self, block: u32, offset: usize, value: u8) {
        self.bytes_mut(block, offset, 1)[0] = value;
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

    /// Notes that it was found, and when.
    #[inline]
    pub(crate) fn visit(&mut self, block: u32, now_s: u32) {
        self.fetch(block, now_s);
    }

    /// The same; what is found are the flags, and the value with its line end.
    #[inline]
    pub(crate) fn fetch(&mut self, block: u32, now_s: u32) -> (u32, &[u8]) {
        let at = (block & ((1 << self.shift) - 1)) as usize * UNIT;
        let segment = self.segment(block);
        let Some((header, behind)) = self.segments[segment][at..].split_first_chunk_mut::<HEADER>() else {
            unreachable!("an item ends within its segment")
        };
        let again = (header[4] & mark::VISITED) >> (mark::VISITED / mark::AGAIN).trailing_zeros();
        header[4] |= mark::VISITED | mark::FETCHED | again;
        header[28..32].copy_from_slice(&now_s.to_le_bytes());
        let header = Header(header);
        let (key_len, value_len) = (header.key_len(), header.value_len());
        (header.flags(), &behind[key_len..key_len + value_len + TAIL.len()])
    }

    /// Takes marks away.
    #[inline]
    pub(crate) fn unmark(&mut self, block: u32, marks: u8) {
        self.set_byte(block, 4, self.byte(block, 4) & !marks);
    }

    #[inline]
    pub(crate) fn set_tag(&mut self, block: u32, tag: u16) {
        self.bytes_mut(block, 6, 2).copy_from_slice(&tag.to_le_bytes());
    }

    pub(crate) fn unique(&self, block: u32) -> u64 {
        u64::from(self.word(block, 8)) | u64::from(self.word(block, 12)) << 32
    }

    pub(crate) fn set_unique(&mut self, block: u32, unique: u64) {
        self.bytes_mut(block, 8, 8).copy_from_slice(&unique.to_le_bytes());
    }

    #[inline]
    pub(crate) fn key(&self, block: u32) -> &[u8] {
        let bytes = self.bytes(block, 0);
        &bytes[HEADER..HEADER + usize::from(bytes[5])]
    }

    /// Writes a key of at most 250 bytes.
    pub(crate) fn set_key(&mut self, block: u32, key: &[u8]) {
        self.set_byte(block, 5, key.len() as u8);
        self.bytes_mut(block, HEADER, key.len()).copy_from_slice(key);
    }

    /// Where the value begins, in bytes from the block.
    #[inline]
    fn value_at(&self, block: u32) -> usize {
        HEADER + usize::from(self.byte(block, 5))
    }

    /// The value and its line end.
    #[inline]
    pub(crate) fn data(&self, block: u32) -> &[u8] {
        let header = self.header(block);
        let at = HEADER + header.key_len();
        &self.bytes(block, at)[..header.value_len() + TAIL.len()]
    }

    /// Writes a part of the value and its line end.
    #[inline]
    pub(crate) fn fill(&mut self, block: u32, offset: usize, part: &[u8]) {
        let at = self.value_at(block) + offset;
        self.bytes_mut(block, at, part.len()).copy_from_slice(part);
    }

    /// Writes the beginning of one item's value, and its line end, into another item.
    pub(crate) fn copy(&mut self, from: u32, len: usize, to: u32, offset: usize) {
        let (from_at, to_at) = (self.value_at(from), self.value_at(to) + offset);
        self.copy_bytes(from, from_at, len, to, to_at);
    }

    /// Makes a block the same as another one of its size.
    pub(crate) fn move_to(&mut self, from: u32, to: u32) {
        let len = self.size(from) as usize * UNIT;
        self.copy_bytes(from, 0, len, to, 0);
    }

    fn copy_bytes(&mut self, from: u32, from_at: usize, len: usize, to: u32, to_at: usize) {
        let (a, b) = (self.segment(from), self.segment(to));
        let within = (1 << self.shift) - 1;
        let from_at = (from & within) as usize * UNIT + from_at;
        let to_at = (to & within) as usize * UNIT + to_at;
        match self.segments.get_disjoint_mut([a, b]) {
            Ok([from, to]) => to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]),
            Err(_) => self.segments[a].copy_within(from_at..from_at + len, to_at),
        }
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
    pub(crate) fn value_len(self) -> usize {
        self.word::<0>() as usize
    }

    #[inline]
    pub(crate) fn key_len(self) -> usize {
        usize::from(self.0[5])
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
    pub(crate) fn flags(self) -> u32 {
        self.word::<20>()
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
