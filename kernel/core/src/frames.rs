//! Who owns which frame of physical memory: one byte a frame.
//!
//! A frame that changes its owner is zeroed in between; that is the duty of whoever allocates it, since only they
//! can touch memory. Here it can neither have two owners nor get lost.

use crate::Application;

/// What one frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(u8);

impl Owner {
    /// Anybody may have it.
    pub const FREE: Owner = Owner(0);
    /// The kernel's own.
    pub const KERNEL: Owner = Owner(1);
    /// Not memory, or the loader's: never handed out.
    pub const RESERVED: Owner = Owner(255);

    /// A channel's: it belongs to both ends.
    pub fn channel(channel: crate::channels::Channel) -> Owner {
        Owner(2 + crate::APPLICATIONS_MAX + channel.0 % nom_abi::channel::CHANNELS_MAX as u8)
    }

    /// An application's.
    pub fn application(application: Application) -> Owner {
        Owner(2 + application.0.min(crate::APPLICATIONS_MAX - 1))
    }
}

/// A frame by number: its physical address divided by 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame(pub u64);

impl Frame {
    /// Its first physical address.
    pub fn address(self) -> u64 {
        self.0 << 12
    }

    /// The frame that holds this physical address.
    pub fn of(address: u64) -> Frame {
        Frame(address >> 12)
    }
}

/// The frame is not that owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOwner;

/// All frames.
#[derive(Debug)]
pub struct Frames<'a> {
    owners: &'a mut [u8],
    /// How many frames each owner has.
    counts: [u64; 256],
    /// Where the next search begins, so that a run of allocations does not look at the same frames again.
    next: usize,
}

impl<'a> Frames<'a> {
    /// A table over this many bytes, one a frame, in which everything is reserved.
    pub fn new(owners: &'a mut [u8]) -> Frames<'a> {
        owners.fill(Owner::RESERVED.0);
        let mut counts = [0; 256];
        counts[usize::from(Owner::RESERVED.0)] = owners.len() as u64;
        Frames { owners, counts, next: 0 }
    }

    /// Makes reserved frames free; those beyond the table are left out.
    pub fn offer(&mut self, first: Frame, count: u64) {
        self.turn(first, count, Owner::RESERVED, Owner::FREE);
    }

    /// Makes free frames reserved.
    pub fn reserve(&mut self, first: Frame, count: u64) {
        self.turn(first, count, Owner::FREE, Owner::RESERVED);
    }

    /// Gives free frames at a known place to an owner (the kernel's own image).
    pub fn assign(&mut self, first: Frame, count: u64, owner: Owner) {
        self.turn(first, count, Owner::FREE, owner);
    }

    fn turn(&mut self, first: Frame, count: u64, from: Owner, to: Owner) {
        let len = self.owners.len() as u64;
        let end = first.0.saturating_add(count).min(len);
        for place in first.0.min(len)..end {
            let owner = &mut self.owners[place as usize];
            if *owner == from.0 {
                *owner = to.0;
                self.counts[usize::from(from.0)] -= 1;
                self.counts[usize::from(to.0)] += 1;
            }
        }
    }

    /// A free frame for this owner.
    pub fn allocate(&mut self, owner: Owner) -> Option<Frame> {
        if self.free() == 0 {
            return None;
        }
        let len = self.owners.len();
        let place = (self.next..len).chain(0..self.next.min(len)).find(|&place| self.owners[place] == 0)?;
        self.owners[place] = owner.0;
        self.counts[usize::from(Owner::FREE.0)] -= 1;
        self.counts[usize::from(owner.0)] += 1;
        self.next = place + 1;
        Some(Frame(place as u64))
    }

    /// The first of `count` free frames that lie together and for whose first address `alignment` frames divide its
    /// number.
    pub fn find_together(&self, count: u64, alignment: u64) -> Option<Frame> {
        if count == 0 || count > self.free() {
            return None;
        }
        let alignment = alignment.max(1);
        let len = self.owners.len() as u64;
        let mut first = 0;
        'search: while first + count <= len {
            // From the end: the last frame that is taken says how far to go on.
            for place in (first..first + count).rev() {
                if self.owners[place as usize] != 0 {
                    first = (place + 1).next_multiple_of(alignment);
                    continue 'search;
                }
            }
            return Some(Frame(first));
        }
        None
    }

    /// Allocates what [`Frames::find_together`] finds.
    pub fn allocate_together(&mut self, count: u64, alignment: u64, owner: Owner) -> Option<Frame> {
        let first = self.find_together(count, alignment)?;
        self.assign(first, count, owner);
        Some(first)
    }

    /// The owner gives a frame back.
    pub fn release(&mut self, frame: Frame, owner: Owner) -> Result<(), NotOwner> {
        let place = usize::try_from(frame.0).map_err(|_| NotOwner)?;
        match self.owners.get_mut(place) {
            Some(found) if *found == owner.0 && owner != Owner::FREE && owner != Owner::RESERVED => {
                *found = Owner::FREE.0;
                self.counts[usize::from(owner.0)] -= 1;
                self.counts[usize::from(Owner::FREE.0)] += 1;
                self.next = self.next.min(place);
                Ok(())
            }
            _ => Err(NotOwner),
        }
    }

    /// Who owns it.
    pub fn owner(&self, frame: Frame) -> Owner {
        usize::try_from(frame.0)
            .ok()
            .and_then(|place| self.owners.get(place))
            .map_or(Owner::RESERVED, |&owner| Owner(owner))
    }

    /// How many frames this owner has, by the books.
    pub fn held(&self, owner: Owner) -> u64 {
        self.counts[usize::from(owner.0)]
    }

    /// How many frames this owner has, counted one by one: slow, and independent of the books.
    pub fn count(&self, owner: Owner) -> u64 {
        self.owners.iter().filter(|&&found| found == owner.0).count() as u64
    }

    /// How many are free.
    pub fn free(&self) -> u64 {
        self.held(Owner::FREE)
    }

    /// Frames in the table.
    pub fn len(&self) -> u64 {
        self.owners.len() as u64
    }

    /// Whether the table has no frame at all.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Dice;
    extern crate std;
    use std::collections::BTreeMap;
    use std::vec;

    #[test]
    fn long_histories_keep_one_owner_a_frame_and_lose_none() {
        for seed in 1..40 {
            let mut dice = Dice::new(seed);
            let mut table = vec![0; 300];
            let mut frames = Frames::new(&mut table);
            frames.offer(Frame(10), 250);
            frames.reserve(Frame(50), 5);
            let total = frames.free();
            assert_eq!(total, 245);
            let mut held: BTreeMap<u64, u8> = BTreeMap::new();
            for _ in 0..3000 {
                let application = Application(dice.below(3) as u8);
                let owner = Owner::application(application);
                match dice.below(5) {
                    0 | 1 => match frames.allocate(owner) {
                        Some(frame) => assert_eq!(held.insert(frame.0, application.0), None),
                        None => assert_eq!(held.len() as u64, total),
                    },
                    2 => {
                        let count = 1 + dice.below(40);
                        let alignment = 1 << dice.below(5);
                        if let Some(first) = frames.allocate_together(count, alignment, owner) {
                            assert_eq!(first.0 % alignment, 0);
                            for frame in first.0..first.0 + count {
                                assert_eq!(held.insert(frame, application.0), None);
                            }
                        } else {
                            let fits = (0..300 / alignment).map(|step| step * alignment).any(|first| {
                                (first..first + count).all(|frame| {
                                    (10..260).contains(&frame)
                                        && !(50..55).contains(&frame)
                                        && !held.contains_key(&frame)
                                })
                            });
                            assert!(!fits, "there was room for {count} by {alignment}");
                        }
                    }
                    _ => {
                        let frame = dice.below(320);
                        let released = frames.release(Frame(frame), owner).is_ok();
                        assert_eq!(released, held.get(&frame) == Some(&application.0));
                        if released {
                            held.remove(&frame);
                        }
                    }
                }
                assert_eq!(frames.free() + held.len() as u64, total);
            }
            for number in 0..3 {
                let owned = held.values().filter(|&&owner| owner == number).count() as u64;
                assert_eq!(frames.count(Owner::application(Application(number))), owned);
            }
        }
    }

    #[test]
    fn nothing_releases_what_is_free_or_reserved() {
        let mut table = vec![0; 4];
        let mut frames = Frames::new(&mut table);
        frames.offer(Frame(1), u64::MAX);
        assert_eq!(frames.free(), 3);
        assert_eq!(frames.release(Frame(0), Owner::RESERVED), Err(NotOwner));
        assert_eq!(frames.release(Frame(1), Owner::FREE), Err(NotOwner));
        assert_eq!(frames.release(Frame(u64::MAX), Owner::KERNEL), Err(NotOwner));
        assert_eq!(frames.find_together(0, 1), None);
        assert_eq!(frames.owner(Frame(9)), Owner::RESERVED);
    }
}
