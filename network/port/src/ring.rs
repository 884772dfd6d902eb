//! One direction: where its words are, whose life it is, and which claims of the other end count.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::{SLOT_WORDS, Words};

/// A cache line: words that one end writes share none with those of the other.
const LINE: usize = 8;
/// Words of a direction before its slots.
const CONTROL: usize = 3 * LINE;
/// Where slots begin.
pub(crate) const SLOTS_AT: usize = 2 * LINE + 2 * CONTROL;
/// Bits of a life's number; a thousand restarts a second would need a minute to come round.
const LIFE_SHIFT: u32 = 48;
const MAC_MASK: u64 = (1 << LIFE_SHIFT) - 1;
/// By how much the numbers of two lives may differ.
const NOVELTIES: u64 = 1024;

/// Which end one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The owner of the card.
    Switch,
    /// An application.
    Port,
}

impl Side {
    fn word(self) -> usize {
        match self {
            Side::Switch => 0,
            Side::Port => LINE,
        }
    }

    fn other(self) -> Side {
        match self {
            Side::Switch => Side::Port,
            Side::Port => Side::Switch,
        }
    }
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToPort,
    ToSwitch,
}

/// An index that an end has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    Produced = 0,
    Consumed = LINE as isize,
    Wanted = 2 * LINE as isize,
}

/// How the other end broke the contract. Its life does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It claims more frames than there are slots, or fewer than before.
    Produced,
    /// It claims to have read what was not written.
    Consumed,
    /// A length that no frame has.
    Length,
}

/// The Ethernet address that stands in the switch's word.
pub(crate) fn station(words: &impl Words) -> [u8; 6] {
    let [_, _, mac @ ..] = words.load(Side::Switch.word(), Acquire).to_be_bytes();
    mac
}

/// Begins a life with a number behind that of the last one, which stands in the memory as long as the other end kept
/// it; `novelty` moves it a little further, because the last one may have written there what it liked. Answers the word.
pub(crate) fn begin(words: &impl Words, side: Side, mac: Option<[u8; 6]>, novelty: u64) -> u64 {
    let last = (words.load(side.word(), Relaxed) >> LIFE_SHIFT) as u16;
    let life = last.wrapping_add(1 + (novelty % NOVELTIES) as u16).max(1);
    let mac = mac.map_or(0, |[a, b, c, d, e, f]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
    let word = u64::from(life) << LIFE_SHIFT | mac & MAC_MASK;
    words.store(side.word(), word, Release);
    word
}

/// One end's view of one direction.
#[derive(Debug)]
pub(crate) struct Ring<W> {
    pub(crate) words: W,
    side: Side,
    control: usize,
    slots_at: usize,
    pub(crate) slots: u32,
    /// One's own word, life and all.
    mine: u64,
    /// The other end's life, 0 while there is none.
    theirs: u16,
    /// A life that ended or broke the contract: only another one counts.
    shunned: u16,
    /// Of which deaths of the other end this was told.
    deaths: u32,
}

impl<W: Words> Ring<W> {
    pub(crate) fn new(words: W, side: Side, way: Way, slots: u32, mine: u64) -> Self {
        let (control, slots_at) = match way {
            Way::ToPort => (2 * LINE, SLOTS_AT),
            Way::ToSwitch => (2 * LINE + CONTROL, SLOTS_AT + slots as usize * SLOT_WORDS),
        };
        Self { words, side, control, slots_at, slots, mine, theirs: 0, shunned: 0, deaths: 0 }
    }

    /// The other end lives, as far as is known.
    pub(crate) fn up(&self) -> bool {
        self.theirs != 0
    }

    /// Looks whether the other end lives another life than before: then the ring is empty.
    #[inline]
    pub(crate) fn renewed(&mut self, deaths: u32) -> bool {
        // Who was seen dead is the life that is known here: a later one is heard of below.
        if deaths != self.deaths {
            self.deaths = deaths;
            self.shun();
        }
        let life = (self.words.load(self.side.other().word(), Acquire) >> LIFE_SHIFT) as u16;
        if life == self.theirs || life == self.shunned {
            return false;
        }
        self.theirs = life;
        self.shunned = 0;
        // The life before may have written over our word, which this one must read.
        self.words.store(self.side.word(), self.mine, Release);
        true
    }

    /// The present life of the other end does not count any more.
    pub(crate) fn shun(&mut self) {
        if self.up() {
            self.shunned = self.theirs;
            self.theirs = 0;
        }
    }

    fn tag(&self) -> u64 {
        let mine = (self.mine >> LIFE_SHIFT) as u16;
        let (switch, port) = match self.side {
            Side::Switch => (mine, self.theirs),
            Side::Port => (self.theirs, mine),
        };
        u64::from(switch) << 48 | u64::from(port) << 32
    }

    /// An index of the other end, if it belongs to these two lives.
    #[inline]
    pub(crate) fn theirs(&self, which: Index) -> Option<u32> {
        let word = self.words.load(self.control + which as usize, Acquire);
        (word & !0xffff_ffff == self.tag()).then_some(word as u32)
    }

    /// Writes an index of one's own.
    #[inline]
    pub(crate) fn say(&self, which: Index, index: u32) {
        self.words.store(self.control + which as usize, self.tag() | u64::from(index), Release);
    }

    /// Takes an index of one's own back.
    pub(crate) fn unsay(&self, which: Index) {
        self.words.store(self.control + which as usize, 0, Relaxed);
    }

    /// First word of the slot of an index.
    #[inline]
    pub(crate) fn slot(&self, index: u32) -> usize {
        self.slots_at + (index & (self.slots - 1)) as usize * SLOT_WORDS
    }
}
