//! Making room: which item leaves so that another one can come.
//!
//! **Eviction** is S3-FIFO (Yang et al., SOSP 2023), made for items of different sizes that cannot move while somebody
//! reads them. A segment belongs to one of two rings. New items come to the *probation* ring, a tenth of the memory;
//! whoever was asked for again when the hand comes round is copied to the *main* ring, anybody else leaves, and a
//! [`Ghosts`] table remembers who left, so that one that returns goes to the main ring at once. There the hand takes
//! away one of up to two marks from what was asked for, and evicts what has none.
//!
//! A hand frees what leaves where it lies and joins neighbouring free blocks, so memory cannot die of fragmentation.
//! While at least 1/[`SPARE_SHARE`] of a ring is free, nobody leaves it for a mere lack of a large enough hole.
//! An allocation passes over at most [`SECOND_CHANCES_MAX`] items that are worth keeping, which bounds its work; after
//! them it evicts whatever is not being sent or filled.
//!
//! Segments change rings where they lie, with their items. A segment that is to be given back is emptied by the hand.

use super::Store;
use crate::arena::{NONE, State, UNIT, mark};
use crate::store::ghosts::Ghosts;
use alloc::vec::Vec;

/// Items that one allocation passes over or moves, at most, because they are worth keeping.
pub const SECOND_CHANCES_MAX: u32 = 64;
/// While at least one part in so many is free, nothing is evicted for a mere lack of a large enough hole nearby.
pub const SPARE_SHARE: u32 = 16;
/// One segment in so many is for items on probation.
const PROBATION_SHARE: usize = 10;
/// With fewer segments than this there is no probation.
const SEGMENTS_MIN: usize = 4;
/// An item larger than one part in so many of a segment needs no probation: it would throw out too many others.
const LARGE_SHARE: u32 = 8;
/// How much of an item's move counts as another one, in units.
const MOVE_UNITS: u32 = 512;
/// Items that are looked at in one step of giving memory back.
const RETIRE_STEP: u32 = 256;

/// Whose a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It has been given back.
    Gone,
    /// Nobody's yet: all of it is free.
    Fresh,
    Probation,
    Main,
}

/// Segments with a hand that goes round.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The segments, in the order of the hand.
    segments: Vec<u32>,
    /// The place of the hand's segment among them.
    at: usize,
    /// Always between two blocks.
    pub(super) hand: u32,
    units: u32,
    pub(super) free: u32,
}

/// Segments and who owns them.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) owners: Vec<Owner>,
    /// Free units of each segment.
    pub(super) free: Vec<u32>,
    pub(super) probation: Ring,
    pub(super) main: Ring,
    pub(super) ghosts: Ghosts,
    fresh: usize,
    /// Segments that are to be given back.
    retire: usize,
    /// Nothing is evicted: what has no room is refused.
    pub(super) keeps_all: bool,
}

impl Rooms {
    pub(super) fn new(ghosts: usize) -> Self {
        Self {
            owners: Vec::new(),
            free: Vec::new(),
            probation: Ring::default(),
            main: Ring::default(),
            ghosts: Ghosts::new(ghosts),
            fresh: 0,
            retire: 0,
            keeps_all: false,
        }
    }

    fn live(&self) -> usize {
        self.probation.segments.len() + self.main.segments.len() + self.fresh
    }

    /// How many segments probation should have.
    fn probation_wanted(&self) -> usize {
        let live = self.live();
        if live < SEGMENTS_MIN { 0 } else { (live / PROBATION_SHARE).max(1) }
    }

    fn ring(&mut self, owner: Owner) -> &mut Ring {
        if owner == Owner::Probation { &mut self.probation } else { &mut self.main }
    }
}

impl Store {
    /// Makes another segment of at most so many bytes. False when there is no memory for it.
    pub(super) fn add_segment(&mut self, len: usize) -> bool {
        let Some(segment) = self.arena.add(len) else { return false };
        let units = self.arena.units(segment);
        if segment == self.rooms.owners.len() {
            self.rooms.owners.push(Owner::Fresh);
            self.rooms.free.push(units);
        } else {
            self.rooms.owners[segment] = Owner::Fresh;
            self.rooms.free[segment] = units;
        }
        self.rooms.fresh += 1;
        self.units += units;
        self.free_units += units;
        true
    }

    /// Changes the memory for items, in whole segments: takes what is missing at once, and gives back what is too much
    /// as items leave it, some with each call that follows. False, and nothing changes, when there is no memory.
    pub fn resize(&mut self, memory_bytes: usize) -> bool {
        let segment_bytes = self.segment_units() as usize * UNIT;
        let wanted = (memory_bytes.saturating_sub(self.index_bytes()) / segment_bytes).max(1);
        let live = self.rooms.live();
        if wanted > live {
            let places = (NONE as usize >> self.arena.shift()) - 1;
            let missing = (wanted - live).saturating_mul(segment_bytes);
            // Asked for as one piece first, so that a failure half way is rare.
            if wanted > places || Vec::<u8>::new().try_reserve_exact(missing).is_err() {
                return false;
            }
        }
        self.rooms.retire = live.saturating_sub(wanted);
        for added in live..wanted {
            if !self.add_segment(segment_bytes) {
                self.rooms.retire = added - live;
                return false;
            }
        }
        true
    }

    fn segment_units(&self) -> u32 {
        self.arena.start(1)
    }

    /// Whether what has no room is refused rather than makes others leave.
    pub(crate) fn keep_all(&mut self, keeps: bool) {
        self.rooms.keeps_all = keeps;
    }

    /// Makes an item nobody's.
    pub(super) fn free(&mut self, block: u32) {
        let units = self.arena.size(block);
        self.arena.make_free(block, units);
        self.account_free(block, units);
    }

    fn account_free(&mut self, block: u32, units: u32) {
        let segment = self.arena.segment(block);
        self.free_units += units;
        self.rooms.free[segment] += units;
        let owner = self.rooms.owners[segment];
        self.rooms.ring(owner).free += units;
    }

    /// Room for an item. One that `returns`, or is known to be worth it, needs no probation.
    pub(super) fn allocate(&mut self, units: u32, proven: bool) -> Option<u32> {
        let mut chances = SECOND_CHANCES_MAX;
        let wanted = self.rooms.probation_wanted();
        // As long as there is memory that nobody had yet, nobody needs to prove anything.
        let plenty = self.rooms.fresh > wanted.saturating_sub(self.rooms.probation.segments.len());
        let main = proven
            || plenty
            || wanted == 0
            || self.rooms.keeps_all
            || units > self.segment_units() / LARGE_SHARE
            || self.main_has_room_at_hand(units);
        if !main {
            self.balance(wanted);
            let block = self.take(Owner::Probation, units, &mut chances);
            if block.is_some() {
                return block;
            }
        }
        self.take(Owner::Main, units, &mut chances)
    }

    /// The main hand stands before much memory that is free already.
    fn main_has_room_at_hand(&self, units: u32) -> bool {
        let main = &self.rooms.main;
        let Some(segment) = main.segments.get(main.at) else { return false };
        main.hand < self.arena.end(*segment as usize)
            && self.arena.state(main.hand) == State::Free
            && self.arena.size(main.hand) >= units.max(self.segment_units() / LARGE_SHARE)
    }

    /// Gives probation its share of the segments, or takes away what is more; where they lie, with what is in them.
    fn balance(&mut self, wanted: usize) {
        let have = self.rooms.probation.segments.len();
        if have < wanted && self.rooms.fresh == 0 && self.rooms.main.segments.len() > 1 {
            self.pass_on(Owner::Main, Owner::Probation);
        } else if have > wanted && have > 1 {
            self.pass_on(Owner::Probation, Owner::Main);
        }
    }

    /// Moves the segment behind the hand's from one ring to the other, where it comes last.
    fn pass_on(&mut self, from: Owner, to: Owner) {
        let ring = self.rooms.ring(from);
        let place = (ring.at + 1) % ring.segments.len();
        let segment = self.leave_ring(from, place);
        self.join_ring(to, segment);
    }

    /// Takes a segment that is not the hand's out of its ring.
    fn leave_ring(&mut self, owner: Owner, place: usize) -> usize {
        let ring = self.rooms.ring(owner);
        debug_assert_ne!(place, ring.at);
        let segment = ring.segments.remove(place) as usize;
        ring.at -= usize::from(place < ring.at);
        let (units, free) = (self.arena.units(segment), self.rooms.free[segment]);
        let ring = self.rooms.ring(owner);
        ring.units -= units;
        ring.free -= free;
        segment
    }

    /// Puts a segment into a ring so that the hand comes to it last.
    fn join_ring(&mut self, owner: Owner, segment: usize) {
        let (start, units, free) =
            (self.arena.start(segment), self.arena.units(segment), self.rooms.free[segment]);
        self.rooms.owners[segment] = owner;
        let ring = self.rooms.ring(owner);
        if ring.segments.is_empty() {
            (ring.at, ring.hand) = (0, start);
            ring.segments.push(segment as u32);
        } else {
            ring.segments.insert(ring.at, segment as u32);
            ring.at += 1;
        }
        ring.units += units;
        ring.free += free;
    }

    /// Moves the hand to the next segment: one that is fresh, if this ring may have it, else round.
    fn next_segment(&mut self, owner: Owner) -> bool {
        let wanted = self.rooms.probation_wanted();
        let may = match owner {
            Owner::Probation => self.rooms.probation.segments.len() < wanted,
            _ => true,
        };
        if may && self.rooms.fresh > 0 {
            let fresh = self.rooms.owners.iter().position(|owner| *owner == Owner::Fresh);
            if let Some(segment) = fresh {
                self.rooms.fresh -= 1;
                self.arena.make_free(self.arena.start(segment), self.arena.units(segment));
                self.join_ring(owner, segment);
                let start = self.arena.start(segment);
                let ring = self.rooms.ring(owner);
                // It was put before the hand's segment, but comes after it: the hand goes there now.
                let here = ring.segments.len().min(ring.at + 1) - 1;
                ring.segments[here.saturating_sub(1)..=here].rotate_left(1);
                ring.hand = start;
                return true;
            }
        }
        let ring = self.rooms.ring(owner);
        if ring.segments.is_empty() {
            return false;
        }
        ring.at = (ring.at + 1) % ring.segments.len();
        ring.hand = (ring.segments[ring.at]) << self.arena.shift();
        true
    }

    /// Moves a ring's hand until it has passed enough neighbouring free memory, and takes that.
    fn take(&mut self, owner: Owner, units: u32, chances: &mut u32) -> Option<u32> {
        if self.rooms.ring(owner).segments.is_empty() && !self.next_segment(owner) {
            return None;
        }
        let mut passed = 0u64;
        // Free memory from `start` to the hand.
        let mut start = self.rooms.ring(owner).hand;
        // The first round respects what is worth keeping; the second does not; the third sees in one piece what the
        // second began in the middle of.
        while passed <= 3 * u64::from(self.rooms.ring(owner).units) {
            if passed > u64::from(self.rooms.ring(owner).units) {
                *chances = 0;
            }
            let ring = self.rooms.ring(owner);
            let (block, segment) = (ring.hand, ring.segments[ring.at] as usize);
            if block == self.arena.end(segment) {
                self.join(start, block);
                self.next_segment(owner);
                start = self.rooms.ring(owner).hand;
                continue;
            }
            let size = self.arena.size(block);
            passed += u64::from(size);
            self.rooms.ring(owner).hand += size;
            let gone = match self.arena.state(block) {
                State::Free => true,
                State::Linked if self.arena.pins(block) == 0 => self.leaves(block, owner, chances),
                _ => false,
            };
            let hand = self.rooms.ring(owner).hand;
            if !gone {
                self.join(start, block);
                start = hand;
            } else if hand - start >= units {
                return Some(self.cut(owner, start, units));
            }
        }
        let hand = self.rooms.ring(owner).hand;
        self.join(start, hand);
        None
    }

    /// Whether the hand evicts a linked block that nobody pins, or moves it away.
    fn leaves(&mut self, block: u32, owner: Owner, chances: &mut u32) -> bool {
        let hash = self.secret.hash(self.arena.key(block));
        if self.is_past(block) {
            self.reclaim(block, hash);
            return true;
        }
        if self.rooms.keeps_all {
            return false;
        }
        let marks = self.arena.marks(block);
        match owner {
            Owner::Probation => {
                let spare = self.rooms.main.free >= self.rooms.main.units / SPARE_SHARE;
                let size = self.arena.size(block);
                if *chances > 0 && (spare || marks & mark::VISITED != 0) {
                    *chances = chances.saturating_sub(1 + size / MOVE_UNITS);
                    if let Some(place) = self.take(Owner::Main, size, chances) {
                        self.move_item(block, place, hash);
                        return true;
                    }
                }
                self.rooms.ghosts.remember(hash);
            }
            _ => {
                let spare = self.rooms.main.free >= self.rooms.main.units / SPARE_SHARE;
                if *chances > 0 && (spare || marks & mark::VISITED != 0) {
                    *chances -= 1;
                    let gone = if marks & mark::AGAIN != 0 { mark::AGAIN } else { mark::VISITED };
                    self.arena.unmark(block, gone);
                    return false;
                }
            }
        }
        self.evict(block, hash);
        true
    }

    fn evict(&mut self, block: u32, hash: u64) {
        self.counts.evicted += 1;
        self.counts.evicted_unfetched += u64::from(self.arena.marks(block) & mark::FETCHED == 0);
        let class = self.classified(block).0;
        let class = &mut self.classes[class];
        class.evicted += 1;
        class.evicted_unfetched += u64::from(self.arena.marks(block) & mark::FETCHED == 0);
        class.evicted_nonzero += u64::from(self.arena.expires(block) != 0);
        self.note_gone(block);
        self.unlink(block, hash);
    }

    /// Moves an item that nobody pins to another place, where it has to prove itself anew.
    fn move_item(&mut self, from: u32, to: u32, hash: u64) {
        self.counts.promoted += 1;
        self.arena.move_to(from, to);
        self.arena.unmark(to, mark::VISITED | mark::AGAIN);
        self.relink(from, to, hash);
        self.free(from);
    }

    /// Makes one free block of the free memory from `start` to `end`.
    fn join(&mut self, start: u32, end: u32) {
        if end > start {
            self.arena.make_free(start, end - start);
        }
    }

    /// Takes `units` from the free memory between `start` and the hand, and moves the hand behind them.
    fn cut(&mut self, owner: Owner, start: u32, units: u32) -> u32 {
        let segment = self.arena.segment(start);
        self.rooms.free[segment] -= units;
        self.free_units -= units;
        let ring = self.rooms.ring(owner);
        ring.free -= units;
        let rest = ring.hand - start - units;
        ring.hand = start + units;
        if rest > 0 {
            self.arena.make_free(start + units, rest);
        }
        start
    }

    /// Does a bounded part of giving memory back, when there is some to be given.
    #[inline]
    pub(super) fn retire(&mut self) {
        if self.rooms.retire != 0 {
            self.retire_some();
        }
    }

    #[cold]
    fn retire_some(&mut self) {
        if let Some(segment) = self.rooms.owners.iter().position(|owner| *owner == Owner::Fresh) {
            self.rooms.fresh -= 1;
            self.give_back(segment);
            return;
        }
        let wanted = self.rooms.probation_wanted();
        if self.rooms.main.segments.len() <= 1 || self.rooms.probation.segments.len() > wanted.max(1) {
            if self.rooms.probation.segments.len() <= 1 {
                self.rooms.retire = 0;
                return;
            }
            self.pass_on(Owner::Probation, Owner::Main);
        }
        // The emptiest segment but the hand's own is emptied, from its beginning.
        let main = &self.rooms.main;
        let emptiest = (0..main.segments.len())
            .filter(|place| *place != main.at)
            .max_by_key(|place| self.rooms.free[main.segments[*place] as usize]);
        let Some(place) = emptiest else { return };
        let segment = main.segments[place] as usize;
        let (mut block, end) = (self.arena.start(segment), self.arena.end(segment));
        let mut left = RETIRE_STEP;
        while block < end && left > 0 {
            let size = self.arena.size(block);
            if self.arena.state(block) == State::Linked && self.arena.pins(block) == 0 {
                left -= 1;
                let hash = self.secret.hash(self.arena.key(block));
                if self.is_past(block) { self.remove_past(block, hash) } else { self.evict(block, hash) }
            }
            block += size;
        }
        if self.rooms.free[segment] == self.arena.units(segment) {
            self.leave_ring(Owner::Main, place);
            self.give_back(segment);
        }
    }

    fn give_back(&mut self, segment: usize) {
        let units = self.arena.units(segment);
        self.rooms.owners[segment] = Owner::Gone;
        self.rooms.free[segment] = 0;
        self.rooms.retire -= 1;
        self.units -= units;
        self.free_units -= units;
        self.arena.remove(segment);
    }
}
