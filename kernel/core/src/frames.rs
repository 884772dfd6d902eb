//! Who owns which frame of physical memory: one byte a frame.
//!
//! A frame that changes its owner is zeroed in between; that is the duty of whoever allocates it, since only they
//! can touch memory. Here it can neither have two owners nor get lost.

use nom_abi::call::LARGE_PAGES;

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

/// Which free frames will do for a piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Frames of the piece, which lie together.
    pub count: u64,
    /// The first one's number, divided by this,
    pub divisor: u64,
    /// leaves this.
    pub rest: u64,
}

impl Shape {
    /// Any single frame.
    pub const ANY: Shape = Shape { count: 1, divisor: 1, rest: 0 };
    /// What a page of 2 MiB lies on.
    pub const LARGE: Shape = Shape { count: LARGE_PAGES, divisor: LARGE_PAGES, rest: 0 };

    /// Frames that lie together anywhere.
    pub fn together(count: u64) -> Shape {
        Shape { count, ..Shape::ANY }
    }

    /// The first number from here on that will do.
    fn number_from(&self, from: u64) -> u64 {
        let divisor = self.divisor.max(1);
        from.saturating_add((self.rest % divisor + divisor - from % divisor) % divisor)
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
    /// Nothing at or above is free.
    top: usize,
}

impl<'a> Frames<'a> {
    /// A table over this many bytes, one a frame, in which everything is reserved.
    pub fn new(owners: &'a mut [u8]) -> Frames<'a> {
        owners.fill(Owner::RESERVED.0);
        let mut counts = [0; 256];
        counts[usize::from(Owner::RESERVED.0)] = owners.len() as u64;
        let top = owners.len();
        Frames { owners, counts, next: 0, top }
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
                if to == Owner::FREE {
                    self.top = self.top.max(place as usize + 1);
                }
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

    /// The last free frame: what stays long goes to the end, so that it does not lie among what comes and goes.
    pub fn allocate_last(&mut self, owner: Owner) -> Option<Frame> {
        let place = self.owners[..self.top].iter().rposition(|&found| found == Owner::FREE.0)?;
        self.owners[place] = owner.0;
        self.counts[usize::from(Owner::FREE.0)] -= 1;
        self.counts[usize::from(owner.0)] += 1;
        self.top = place;
        Some(Frame(place as u64))
    }

    /// The first free piece of that shape that begins at `from` or above.
    pub fn find(&self, shape: Shape, from: Frame) -> Option<Frame> {
        if shape.count == 0 || shape.count > self.free() {
            return None;
        }
        let len = self.owners.len() as u64;
        let mut first = shape.number_from(from.0);
        'search: while first.saturating_add(shape.count) <= len {
            // From the end: the last frame that is taken says how far to go on.
            for place in (first..first + shape.count).rev() {
                if self.owners[place as usize] != 0 {
                    first = shape.number_from(place + 1);
                    continue 'search;
                }
            }
            return Some(Frame(first));
        }
        None
    }

    /// Whether there are that many such pieces, none on another.
    pub fn has(&self, shape: Shape, pieces: u64) -> bool {
        let mut from = Frame(0);
        (0..pieces).all(|_| {
            let found = self.find(shape, from);
            from = Frame(found.map_or(0, |first| first.0 + shape.count));
            found.is_some()
        })
    }

    /// Allocates what [`Frames::find`] finds. Whoever wants several goes on behind the last one.
    pub fn take(&mut self, shape: Shape, from: Frame, owner: Owner) -> Option<Frame> {
        let first = self.find(shape, from)?;
        self.assign(first, shape.count, owner);
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
                self.top = self.top.max(place + 1);
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
                match dice.below(6) {
                    5 => {
                        let last =
                            (10..260).rfind(|frame| !(50..55).contains(frame) && !held.contains_key(frame));
                        assert_eq!(frames.allocate_last(owner), last.map(Frame));
                        if let Some(frame) = last {
                            held.insert(frame, application.0);
                        }
                    }
                    0 | 1 => match frames.allocate(owner) {
                        Some(frame) => assert_eq!(held.insert(frame.0, application.0), None),
                        None => assert_eq!(held.len() as u64, total),
                    },
                    2 => {
                        // Single ones of a colour, large ones (16 frames here), and runs, mixed.
                        let divisor = 1 << dice.below(5);
                        let shape = match dice.below(3) {
                            0 => Shape { count: 1, divisor, rest: dice.below(divisor) },
                            1 => Shape { count: 16, divisor: 16, rest: 0 },
                            _ => Shape { count: 1 + dice.below(40), divisor, rest: 0 },
                        };
                        let from = Frame(dice.below(3) * dice.below(300));
                        let is_free = |frame| {
                            (10..260).contains(&frame)
                                && !(50..55).contains(&frame)
                                && !held.contains_key(&frame)
                        };
                        let fits = (from.0..300)
                            .filter(|first| first % shape.divisor == shape.rest)
                            .find(|&first| (first..first + shape.count).all(is_free));
                        assert_eq!(frames.take(shape, from, owner), fits.map(Frame), "{shape:?}");
                        for frame in fits.map_or(0..0, |first| first..first + shape.count) {
                            assert_eq!(held.insert(frame, application.0), None);
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

    /// What `has` promises, taking delivers, and no piece lies on another.
    #[test]
    fn pieces_are_counted_as_they_are_taken() {
        for seed in 1..200 {
            let mut dice = Dice::new(seed);
            let mut table = vec![0; 200];
            let mut frames = Frames::new(&mut table);
            frames.offer(Frame(0), 200);
            for _ in 0..dice.below(40) {
                frames.assign(Frame(dice.below(200)), 1, Owner::KERNEL);
            }
            let divisor = 1 << dice.below(4);
            let shape = Shape { count: 1 + dice.below(2 * divisor), divisor, rest: dice.below(divisor) };
            let most = (0..).find(|&pieces| !frames.has(shape, pieces + 1)).unwrap_or(0);
            let (mut from, mut taken) = (Frame(0), 0);
            while let Some(first) = frames.take(shape, from, Owner::application(Application(0))) {
                assert_eq!(first.0 % divisor, shape.rest);
                from = Frame(first.0 + shape.count);
                taken += 1;
            }
            assert_eq!(taken, most, "{shape:?}");
            assert_eq!(frames.count(Owner::application(Application(0))), taken * shape.count);
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
        assert_eq!(frames.find(Shape::together(0), Frame(0)), None);
        assert_eq!(frames.find(Shape::ANY, Frame(u64::MAX)), None);
        assert_eq!(frames.find(Shape { divisor: 0, ..Shape::ANY }, Frame(0)), Some(Frame(1)));
        assert_eq!(frames.owner(Frame(9)), Owner::RESERVED);
    }
}
