//! What happens at a fault: which page comes, which goes.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::pack::{PACKED_MAX, pack, unpack};
use crate::store::Store;
use crate::{Content, PAGE_LEN};

/// The smallest bound: one instruction can need several pages at once.
pub const BOUND_MIN: usize = 8;

/// What an application may do with a resident page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: the next touch faults, and so is seen.
    None,
    /// Read: the first write faults.
    Read,
    /// Everything.
    Write,
}

/// There was no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFrame;

/// The pages themselves.
pub trait Memory {
    /// Gives a page a frame that is all zero and can be written.
    fn give(&mut self, page: usize) -> Result<(), NoFrame>;
    /// Takes the frame away.
    fn take(&mut self, page: usize);
    /// Changes what the application may do with a resident page.
    fn allow(&mut self, page: usize, access: Access);
    /// The content of a resident page that may be read, and written if it may be written.
    fn content(&mut self, page: usize) -> &mut Content;
}

/// Why a fault could not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such page.
    NoSuchPage,
    /// The frame that was promised is not there.
    NoFrame,
    /// The store has no room for the page that has to go.
    StoreFull,
    /// What the store has is no page.
    Damaged,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Faults of every kind.
    pub faults: u64,
    /// Pages that came for the first time.
    pub fresh: u64,
    /// Pages that came back from the store.
    pub loads: u64,
    /// Pages that went.
    pub evictions: u64,
    /// Of those, pages that had to be packed.
    pub stores: u64,
    /// Pages that were touched again before the hand came back.
    pub second_chances: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    /// Resident; `written` since it was stored last; `doubted`: the hand has passed, and nobody has touched it since.
    Resident {
        written: bool,
        doubted: bool,
    },
}

/// Decides about the pages of one range.
#[derive(Debug)]
pub struct Pager {
    states: Vec<State>,
    /// The resident pages in the order in which the hand meets them.
    ring: Vec<usize>,
    hand: usize,
    bound: usize,
    store: Store,
    packed: Box<[u8; PACKED_MAX]>,
    counts: Counts,
}

impl Pager {
    /// For so many pages, of which `bound` ([`BOUND_MIN`] at least) have frames at a time; the others are stored in
    /// so many granules.
    pub fn new(pages: usize, bound: usize, granules: usize) -> Pager {
        Pager {
            states: vec![State::Absent; pages],
            ring: Vec::with_capacity(bound.max(BOUND_MIN)),
            hand: 0,
            bound: bound.max(BOUND_MIN),
            store: Store::new(pages, granules),
            packed: Box::new([0; PACKED_MAX]),
            counts: Counts::default(),
        }
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Pages that have frames.
    pub fn resident(&self) -> usize {
        self.ring.len()
    }

    /// The application touched a page in a way that it may not at the moment. Afterwards it may, or the reason why not.
    pub fn fault(&mut self, page: usize, write: bool, memory: &mut impl Memory) -> Result<(), Refused> {
        self.counts.faults += 1;
        match *self.states.get(page).ok_or(Refused::NoSuchPage)? {
            State::Resident { written, doubted } => {
                self.counts.second_chances += u64::from(doubted);
                self.touch(page, written || write, memory);
                Ok(())
            }
            State::Absent => self.bring(page, write, memory),
        }
    }

    fn touch(&mut self, page: usize, written: bool, memory: &mut impl Memory) {
        self.states[page] = State::Resident { written, doubted: false };
        memory.allow(page, if written { Access::Write } else { Access::Read });
    }

    fn bring(&mut self, page: usize, write: bool, memory: &mut impl Memory) -> Result<(), Refused> {
        if self.ring.len() == self.bound {
            self.evict(memory)?;
        }
        memory.give(page).map_err(|NoFrame| Refused::NoFrame)?;
        match self.store.get(page, &mut self.packed) {
            Some(len) => {
                if unpack(&self.packed[..len], memory.content(page)).is_err() {
                    memory.take(page);
                    return Err(Refused::Damaged);
                }
                self.counts.loads += 1;
            }
            // Never written: it is zero as it comes.
            None => self.counts.fresh += 1,
        }
        // It goes in where the last one went out: the hand has just passed there.
        self.ring.insert(self.hand, page);
        self.hand = (self.hand + 1) % self.bound;
        self.touch(page, write, memory);
        Ok(())
    }

    fn evict(&mut self, memory: &mut impl Memory) -> Result<(), Refused> {
        // After one round every page is doubted: the second finds one.
        for _ in 0..=self.ring.len() {
            self.hand %= self.ring.len();
            let page = self.ring[self.hand];
            let State::Resident { written, doubted } = self.states[page] else { break };
            if doubted {
                return self.send_away(page, written, memory);
            }
            self.states[page] = State::Resident { written, doubted: true };
            memory.allow(page, Access::None);
            self.hand += 1;
        }
        Err(Refused::NoFrame)
    }

    fn send_away(&mut self, page: usize, written: bool, memory: &mut impl Memory) -> Result<(), Refused> {
        if written {
            memory.allow(page, Access::Read);
            let len = pack(memory.content(page), &mut self.packed);
            if self.store.put(page, &self.packed[..len]).is_err() {
                memory.allow(page, Access::None);
                return Err(Refused::StoreFull);
            }
            self.counts.stores += 1;
        }
        memory.take(page);
        self.states[page] = State::Absent;
        self.ring.remove(self.hand);
        self.counts.evictions += 1;
        Ok(())
    }
}

const _: () = assert!(PAGE_LEN.is_multiple_of(8));

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::BTreeMap;

    /// Frames and rights as a machine has them: an access that is not allowed is seen.
    #[derive(Default)]
    struct Fake {
        pages: BTreeMap<usize, (Access, Box<Content>)>,
        most: usize,
    }

    impl Memory for Fake {
        fn give(&mut self, page: usize) -> Result<(), NoFrame> {
            assert!(!self.pages.contains_key(&page), "page {page} has two frames");
            self.pages.insert(page, (Access::Write, Box::new([0; PAGE_LEN])));
            self.most = self.most.max(self.pages.len());
            Ok(())
        }
        fn take(&mut self, page: usize) {
            assert!(self.pages.remove(&page).is_some(), "page {page} has no frame");
        }
        fn allow(&mut self, page: usize, access: Access) {
            self.pages.get_mut(&page).expect("resident").0 = access;
        }
        fn content(&mut self, page: usize) -> &mut Content {
            let (access, content) = self.pages.get_mut(&page).expect("resident");
            assert_ne!(*access, Access::None, "page {page} cannot be read");
            content
        }
    }

    /// What an instruction does: tries, faults, tries again.
    fn touch(fake: &mut Fake, pager: &mut Pager, page: usize, write: Option<(usize, u8)>, read: usize) -> u8 {
        for _ in 0..3 {
            match (fake.pages.get_mut(&page), write) {
                (Some((Access::Write, content)), Some((at, value))) => {
                    content[at] = value;
                    return value;
                }
                (Some((Access::Write | Access::Read, content)), None) => return content[read],
                _ => pager.fault(page, write.is_some(), fake).expect("served"),
            }
        }
        panic!("it faults for ever");
    }

    #[test]
    fn memory_is_what_was_written_whatever_came_and_went() {
        const PAGES: usize = 60;
        for (seed, bound) in [(1, 8), (2, 20), (3, 59), (4, 60), (5, 100)] {
            let mut random = 0x1234_5678_9abc_def1_u64.wrapping_mul(seed * 2 + 1);
            let mut number = |below: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random as usize % below
            };
            let mut model = vec![[0_u8; PAGE_LEN]; PAGES];
            let (mut fake, mut pager) = (Fake::default(), Pager::new(PAGES, bound, PAGES * 33));
            for _ in 0..20_000 {
                let near = 1 + number(PAGES);
                let (page, at) = (number(near), number(PAGE_LEN));
                let write = (number(3) == 0).then(|| (at, number(256) as u8));
                let seen = touch(&mut fake, &mut pager, page, write, at);
                if let Some((at, value)) = write {
                    model[page][at] = value;
                }
                assert_eq!(seen, model[page][at]);
                assert_eq!(fake.pages.len(), pager.resident());
            }
            assert_eq!(fake.most, bound.min(PAGES));
            let counts = pager.counts();
            assert_eq!(counts.fresh + counts.loads - counts.evictions, pager.resident() as u64, "{counts:?}");
            assert!(bound > 20 || counts.loads > 100 && counts.second_chances > 100, "{counts:?}");
            for (page, content) in model.iter().enumerate() {
                for at in (0..PAGE_LEN).step_by(97) {
                    assert_eq!(touch(&mut fake, &mut pager, page, None, at), content[at]);
                }
            }
        }
    }

    #[test]
    fn what_is_used_all_the_time_mostly_stays() {
        let (mut fake, mut pager) = (Fake::default(), Pager::new(1000, 16, 1000));
        for page in 4..1000 {
            for hot in 0..4 {
                touch(&mut fake, &mut pager, hot, Some((0, 1)), 0);
            }
            touch(&mut fake, &mut pager, page, None, 0);
        }
        let counts = pager.counts();
        // First in, first out would send each of them away every twelve pages: a third of all that go.
        assert!(counts.loads * 20 < counts.evictions, "hot pages went: {counts:?}");
        // Pages that were only read need no store.
        assert_eq!(counts.stores, counts.loads);
    }

    #[test]
    fn refusals_change_nothing() {
        let (mut fake, mut pager) = (Fake::default(), Pager::new(30, 1, 3));
        assert_eq!(pager.fault(30, false, &mut fake), Err(Refused::NoSuchPage));
        assert_eq!(pager.fault(usize::MAX, true, &mut fake), Err(Refused::NoSuchPage));
        let mut refused = None;
        for page in 0..30 {
            if let Err(why) = pager.fault(page, true, &mut fake) {
                refused = Some((page, why));
                break;
            }
            // What cannot be packed.
            let content = fake.content(page);
            (0..PAGE_LEN).for_each(|at| content[at] = (at * 7 + at / 256) as u8);
        }
        assert_eq!(refused, Some((BOUND_MIN, Refused::StoreFull)));
        assert_eq!(pager.resident(), BOUND_MIN);
        // What is there can still be used.
        assert_eq!(touch(&mut fake, &mut pager, 3, None, 1), 7);
    }
}
