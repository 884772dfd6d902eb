//! The driver's side of one split queue.
//!
//! Two races decide whether it works at all. *Publish, then look*: the driver stores the available index and then
//! asks whether the device wants to be notified; the device stores its wish and then looks at the index once more.
//! With a full fence between store and load on both sides at least one of them sees the other; without it both may
//! sleep for ever (virtio 1.2, 2.7.13.3 and 2.7.13.4). *Arm, then look* is the same with the roles exchanged.

use crate::ring::{Cells, Descriptor, MappedRing, NEXT, Place, WRITE};
use alloc::boxed::Box;
use alloc::vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// No descriptor: ends the free list.
const NONE: u16 = u16::MAX;
/// When interrupts are off by event index, the event is kept this far behind, and refreshed before it is passed.
const EVENT_REFRESH: u16 = 0x4000;

/// A piece of memory in a chain, by the device's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The device's address.
    pub address: u64,
    /// How many bytes.
    pub len: u32,
}

/// A chain that the device is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The name that [`Queue::add`] gave.
    pub head: u16,
    /// Bytes that the device says it wrote, never more than it could.
    pub written: u32,
}

/// There is no room; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// How the device broke the contract. The queue is dead from then on: what it gave out stays out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It used more entries than were made available.
    UsedTooMany,
    /// It named a descriptor that is not in the ring.
    NoSuchDescriptor,
    /// It named a descriptor that is not the head of a chain that is out: never given, or given back twice.
    NotOut,
    /// It says that it wrote more bytes than the chain holds.
    WroteTooMuch,
    /// What it wrote contradicts itself, as the driver above the queue found.
    Nonsense,
}

/// What the driver remembers of a descriptor, out of the device's reach.
#[derive(Debug, Clone, Copy)]
struct Private {
    /// Next in its chain or in the free list.
    next: u16,
    /// Descriptors of the chain when this is the head of one that is out, else 0.
    chain: u16,
    /// Bytes the device may write into the chain.
    writable: u32,
}

/// The driver's side of one queue.
#[derive(Debug)]
pub struct Queue<C = MappedRing> {
    cells: C,
    size: u16,
    event_index: bool,
    descriptors: Box<[Private]>,
    free_head: u16,
    free: u16,
    /// Chains that are out, published or not.
    out: u16,
    /// Heads ever put in the ring; the device knows of `published` of them.
    available: u16,
    published: u16,
    /// Entries ever taken, and ever seen.
    taken: u16,
    seen: u16,
    used_event: u16,
    armed: bool,
    fault: Option<Fault>,
}

impl<C: Cells> Queue<C> {
    /// A queue of `size` entries over a zeroed ring. `event_index` tells whether VIRTIO_F_EVENT_IDX was negotiated.
    pub fn new(cells: C, size: u16, event_index: bool) -> Self {
        Self::starting_at(cells, size, event_index, 0)
    }

    /// A queue whose indices start elsewhere than at 0, for a ring that is continued (and for tests of the wrap): both
    /// indices in the ring must stand at `start`.
    pub fn starting_at(cells: C, size: u16, event_index: bool, start: u16) -> Self {
        assert!(size.is_power_of_two());
        let mut descriptors = vec![Private { next: NONE, chain: 0, writable: 0 }; usize::from(size)];
        for (at, descriptor) in descriptors.iter_mut().enumerate().take(usize::from(size) - 1) {
            descriptor.next = at as u16 + 1;
        }
        let mut queue = Self {
            cells,
            size,
            event_index,
            descriptors: descriptors.into_boxed_slice(),
            free_head: 0,
            free: size,
            out: 0,
            available: start,
            published: start,
            taken: start,
            seen: start,
            used_event: start,
            armed: true,
            fault: None,
        };
        queue.quiet();
        queue
    }

    /// Descriptors of the ring.
    #[inline]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that are free.
    #[inline]
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Chains that the driver has not taken back.
    pub fn out(&self) -> u16 {
        self.out
    }

    /// How the device broke the contract, if it did.
    #[inline]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The driver above found that what the device wrote cannot be: the queue is dead from now on.
    pub fn condemn(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }

    /// The ring.
    pub fn cells(&self) -> &C {
        &self.cells
    }

    /// Puts a chain in the ring, first what the device reads, then what it writes. The device learns of it by
    /// [`Queue::publish`]. Returns the chain's name, which is free again once it was taken back.
    ///
    /// # Safety
    ///
    /// The device of this queue reads and writes the segments by itself. Until the chain was taken back or the device
    /// was reset, beyond any borrow of the bytes: every segment is memory that the device may reach (the device
    /// addresses of a block or of a registered region), stays allocated, and, of `writes`, is reached by Rust only as
    /// memory that changes under it; what `reads` name may be read by the device at any time.
    #[inline(never)]
    pub unsafe fn add(&mut self, reads: &[Segment], writes: &[Segment]) -> Result<u16, Full> {
        let count = reads.len() + writes.len();
        assert!(count > 0, "a chain without a descriptor");
        if count > usize::from(self.free) || self.fault.is_some() {
            return Err(Full);
        }
        let head = self.free_head;
        let mut at = head;
        let mut writable = 0u32;
        for (place, segment) in reads.iter().chain(writes).enumerate() {
            let next = self.descriptors[usize::from(at)].next;
            let last = place + 1 == count;
            let device_writes = place >= reads.len();
            if device_writes {
                writable = writable.saturating_add(segment.len);
            }
            let flags = if device_writes { WRITE } else { 0 } | if last { 0 } else { NEXT };
            let follows = if last { 0 } else { next };
            let descriptor = Descriptor { address: segment.address, len: segment.len, flags, next: follows };
            self.cells.describe(at, descriptor);
            if last {
                self.free_head = next;
            }
            at = if last { at } else { next };
        }
        self.free -= count as u16;
        self.descriptors[usize::from(head)].writable = writable;
        self.put(head, count as u16);
        Ok(head)
    }

    /// Like [`Queue::add`] for a chain of one segment that the device reads: the most frequent of all.
    ///
    /// # Safety
    ///
    /// As for [`Queue::add`].
    #[inline]
    pub unsafe fn add_read(&mut self, segment: Segment) -> Result<u16, Full> {
        if self.free == 0 || self.fault.is_some() {
            return Err(Full);
        }
        let head = self.free_head;
        let private = &mut self.descriptors[usize::from(head)];
        self.free_head = private.next;
        private.writable = 0;
        self.free -= 1;
        let descriptor = Descriptor { address: segment.address, len: segment.len, flags: 0, next: 0 };
        self.cells.describe(head, descriptor);
        self.put(head, 1);
        Ok(head)
    }

    /// Puts a chain of one descriptor, which was taken back by [`Queue::take_kept`], in the ring once more, as it is.
    ///
    /// # Safety
    ///
    /// As for [`Queue::add`], of the segment that the chain was added with. The chain was taken back by
    /// [`Queue::take_kept`], and was not put in the ring again since.
    #[inline]
    pub unsafe fn again(&mut self, head: u16) {
        if self.fault.is_none() {
            self.put(head, 1);
        }
    }

    /// The chain is out from here on.
    #[inline]
    fn put(&mut self, head: u16, chain: u16) {
        self.descriptors[usize::from(head)].chain = chain;
        self.out += 1;
        self.cells.store(Place::Available(self.available & (self.size - 1)), u32::from(head), Relaxed);
        self.available = self.available.wrapping_add(1);
    }

    /// Whether chains were added that the device does not know of.
    #[inline]
    pub fn unpublished(&self) -> u16 {
        self.available.wrapping_sub(self.published)
    }

    /// Makes all added chains visible to the device. True when the device asks to be notified of them: the caller
    /// then rings its bell.
    #[inline]
    #[must_use = "the device sleeps until its bell is rung"]
    pub fn publish(&mut self) -> bool {
        if self.available == self.published || self.fault.is_some() {
            return false;
        }
        let (old, new) = (self.published, self.available);
        self.published = new;
        self.cells.store(Place::AvailableIndex, u32::from(new), Release);
        // Store the index, then load the wish: not to be reordered (2.7.13.3).
        self.cells.fence();
        if self.event_index {
            passed(self.cells.load(Place::AvailableEvent, Relaxed) as u16, new, old)
        } else {
            self.cells.load(Place::UsedFlags, Relaxed) & 1 == 0
        }
    }

    /// Looks at the ring once: how many chains can be taken back.
    #[inline]
    pub fn look(&mut self) -> u16 {
        if self.fault.is_some() {
            return 0;
        }
        let index = self.cells.load(Place::UsedIndex, Acquire) as u16;
        let waiting = index.wrapping_sub(self.taken);
        if waiting > self.out - self.unpublished() || waiting < self.seen.wrapping_sub(self.taken) {
            self.fault = Some(Fault::UsedTooMany);
            return 0;
        }
        self.seen = index;
        if !self.armed && self.event_index && index.wrapping_sub(self.used_event) > EVENT_REFRESH {
            self.set_used_event(index.wrapping_sub(1));
        }
        waiting
    }

    /// Takes back a chain that the device is done with, in the order in which it used them. Looks at the ring only
    /// when everything seen before was taken.
    #[inline(always)]
    pub fn take(&mut self) -> Option<Completion> {
        if self.taken == self.seen && self.look() == 0 {
            return None;
        }
        self.take_seen()
    }

    /// Like [`Queue::take`], without looking at the ring.
    #[inline(always)]
    pub fn take_seen(&mut self) -> Option<Completion> {
        let (completion, chain) = self.next_used()?;
        self.recycle(completion.head, chain);
        Some(completion)
    }

    /// Like [`Queue::take_seen`] in a queue whose chains have one descriptor each: the chain stays as it is, for
    /// [`Queue::again`].
    #[inline]
    pub fn take_kept(&mut self) -> Option<Completion> {
        let (completion, chain) = self.next_used()?;
        debug_assert!(chain == 1, "a longer chain is not kept");
        Some(completion)
    }

    /// The next entry that was seen, when it is one that can be, and how many descriptors its chain has.
    #[inline(always)]
    fn next_used(&mut self) -> Option<(Completion, u16)> {
        if self.taken == self.seen || self.fault.is_some() {
            return None;
        }
        let slot = self.taken & (self.size - 1);
        let id = self.cells.load(Place::UsedId(slot), Relaxed);
        let written = self.cells.load(Place::UsedLen(slot), Relaxed);
        let Some(private) = self.descriptors.get_mut(id as usize) else {
            self.fault = Some(Fault::NoSuchDescriptor);
            return None;
        };
        if private.chain == 0 || written > private.writable {
            self.fault = Some(if private.chain == 0 { Fault::NotOut } else { Fault::WroteTooMuch });
            return None;
        }
        let chain = core::mem::take(&mut private.chain);
        self.taken = self.taken.wrapping_add(1);
        self.out -= 1;
        Some((Completion { head: id as u16, written }, chain))
    }

    /// Asks for an interrupt when the device uses one more chain than were seen, then looks once more. False when it
    /// did so meanwhile: the caller must not sleep.
    #[must_use = "if this is false, nobody will wake the caller"]
    pub fn arm(&mut self) -> bool {
        self.arm_after(1)
    }

    /// Like [`Queue::arm`], but asks only when `count` more chains were used (at least 1). Without event index the
    /// device interrupts on every one.
    #[must_use = "if this is false, nobody will wake the caller"]
    pub fn arm_after(&mut self, count: u16) -> bool {
        assert!(count > 0);
        let seen = self.seen;
        let event = seen.wrapping_add(count - 1);
        self.armed = true;
        if self.event_index {
            self.set_used_event(event);
        } else {
            self.cells.store(Place::AvailableFlags, 0, Relaxed);
        }
        // Store the wish, then load the index: not to be reordered (2.7.13.4).
        self.cells.fence();
        self.look();
        // Not so many came while it was being set. From a broken device nothing will come: sleep, the owner sees why.
        self.fault.is_some() || self.seen.wrapping_sub(seen) < count
    }

    /// Asks for no interrupts.
    #[inline]
    pub fn quiet(&mut self) {
        if !self.armed {
            return;
        }
        self.armed = false;
        if self.event_index {
            // The device ignores the flag then (2.7.10): keep the event behind, where it is not passed for long.
            self.set_used_event(self.seen.wrapping_sub(1));
        } else {
            self.cells.store(Place::AvailableFlags, 1, Relaxed);
        }
    }

    /// Whether an interrupt was asked for.
    #[inline]
    pub fn armed(&self) -> bool {
        self.armed
    }

    fn set_used_event(&mut self, event: u16) {
        self.used_event = event;
        self.cells.store(Place::UsedEvent, u32::from(event), Relaxed);
    }

    /// Puts a chain back on the free list.
    #[inline]
    fn recycle(&mut self, head: u16, chain: u16) {
        let mut last = head;
        for _ in 1..chain {
            last = self.descriptors[usize::from(last)].next;
        }
        self.descriptors[usize::from(last)].next = self.free_head;
        self.free_head = head;
        self.free += chain;
    }
}

impl Queue<MappedRing> {
    /// The queue as it was before its first use, over the same ring. The device was reset and has not been told of the
    /// ring since.
    pub fn restart(&mut self, event_index: bool) {
        self.cells.clear();
        let fresh = Private { next: NONE, chain: 0, writable: 0 };
        for (at, descriptor) in self.descriptors.iter_mut().enumerate() {
            let next = if at + 1 == usize::from(self.size) { NONE } else { at as u16 + 1 };
            *descriptor = Private { next, ..fresh };
        }
        self.event_index = event_index;
        (self.free_head, self.free, self.out) = (0, self.size, 0);
        (self.available, self.published, self.taken, self.seen, self.used_event) = (0, 0, 0, 0, 0);
        (self.armed, self.fault) = (true, None);
        self.quiet();
    }
}

/// Whether going from `old` to `new` passed the event (2.7.7.2): true when `old <= event < new`, with wrapping.
pub fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
