//! Where a split ring lies in memory, and how it is reached.
//!
//! ```text
//! descriptors   16 bytes each: address u64, length u32, flags u16, next u16
//! available     flags u16, index u16, heads u16 x size, used event u16        (the driver writes)
//! used          flags u16, index u16, {id u32, length u32} x size, available event u16   (the device writes)
//! ```

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use nom_dma::{Block, DmaMemory};

/// The largest ring that virtio knows.
pub const SIZE_MAX: u16 = 32768;
/// Descriptor flag: another descriptor follows.
pub const NEXT: u16 = 1;
/// Descriptor flag: the device writes here.
pub const WRITE: u16 = 2;

/// One field that driver and device share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Driver: no interrupts, please (only without event index).
    AvailableFlags,
    /// Driver: how many heads were ever made available.
    AvailableIndex,
    /// Driver: a head.
    Available(u16),
    /// Driver: interrupt when the used index passes this.
    UsedEvent,
    /// Device: no notifications, please (only without event index).
    UsedFlags,
    /// Device: how many entries were ever used.
    UsedIndex,
    /// Device: which head was used.
    UsedId(u16),
    /// Device: how many bytes it wrote.
    UsedLen(u16),
    /// Device: notify when the available index passes this.
    AvailableEvent,
}

/// One descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The device's address of the bytes.
    pub address: u64,
    /// How many.
    pub len: u32,
    /// [`NEXT`], [`WRITE`].
    pub flags: u16,
    /// The descriptor that follows.
    pub next: u16,
}

/// The shared memory of one ring. A trait so that the model checker can stand in for memory; the order of every
/// access is chosen by the queue, not here.
pub trait Cells {
    /// Reads a field.
    fn load(&self, place: Place, order: Ordering) -> u32;
    /// Writes a field.
    fn store(&self, place: Place, value: u32, order: Ordering);
    /// Writes a descriptor; it is seen by the device no later than an index stored with release order afterwards.
    fn describe(&self, at: u16, descriptor: Descriptor);
    /// A full fence: nothing after it is read before everything before it is written.
    fn fence(&self);
}

/// The device's addresses of the three parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring (driver area).
    pub available: u64,
    /// Used ring (device area).
    pub used: u64,
}

/// A ring in memory that the device reaches.
#[derive(Debug)]
pub struct MappedRing {
    block: Block,
    available: usize,
    used: usize,
    size: u16,
}

/// The kind of memory cannot hold the ring, or the size is not a power of two up to [`SIZE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRing;

/// Offsets of the available and the used part, and the length of all three.
fn layout(size: u16) -> (usize, usize, usize) {
    let size = usize::from(size);
    let available = 16 * size;
    // The used part on a cache line of its own: the device writes it while the driver writes the available one.
    let used = (available + 6 + 2 * size).next_multiple_of(64);
    (available, used, used + 6 + 8 * size)
}

impl MappedRing {
    /// A zeroed ring of `size` entries.
    pub fn new(memory: &impl DmaMemory, size: u16) -> Result<Self, NoRing> {
        if !size.is_power_of_two() || size > SIZE_MAX {
            return Err(NoRing);
        }
        let (available, used, len) = layout(size);
        let block = memory.allocate(len.next_multiple_of(64), 64).ok_or(NoRing)?;
        Ok(Self { block, available, used, size })
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// What the device is told.
    pub fn places(&self) -> Places {
        Places {
            descriptors: self.block.device_address(0),
            available: self.block.device_address(self.available),
            used: self.block.device_address(self.used),
        }
    }

    /// Zeroes the ring, for a device that was reset.
    pub fn clear(&mut self) {
        const ZEROES: [u8; 64] = [0; 64];
        // The block is a multiple of a cache line long.
        for line in (0..self.block.len()).step_by(ZEROES.len()) {
            self.block.copy_in(line, &ZEROES);
        }
    }

    /// Where the part at an offset of the layout is. A slot is taken modulo the ring's size, so nothing lies outside.
    #[inline]
    fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the block was allocated for the layout of this size, and all callers stay in it.
        unsafe { self.block.pointer(0, 0).add(offset) }
    }

    #[inline]
    fn slot(&self, slot: u16) -> usize {
        usize::from(slot & (self.size - 1))
    }

    #[inline]
    fn narrow(&self, place: Place) -> Option<NonNull<u8>> {
        let size = usize::from(self.size);
        let offset = match place {
            Place::AvailableFlags => self.available,
            Place::AvailableIndex => self.available + 2,
            Place::Available(slot) => self.available + 4 + 2 * self.slot(slot),
            Place::UsedEvent => self.available + 4 + 2 * size,
            Place::UsedFlags => self.used,
            Place::UsedIndex => self.used + 2,
            Place::AvailableEvent => self.used + 4 + 8 * size,
            Place::UsedId(_) | Place::UsedLen(_) => return None,
        };
        Some(self.at(offset))
    }

    #[inline]
    fn wide(&self, place: Place) -> NonNull<u8> {
        let offset = match place {
            Place::UsedId(slot) => self.used + 4 + 8 * self.slot(slot),
            Place::UsedLen(slot) => self.used + 8 + 8 * self.slot(slot),
            _ => unreachable!("all other fields are narrow"),
        };
        self.at(offset)
    }
}

impl Cells for MappedRing {
    #[inline]
    fn load(&self, place: Place, order: Ordering) -> u32 {
        match self.narrow(place) {
            // SAFETY: inside the block (see `at`), aligned by the layout, valid for good, and reached by
            // this side through atomics only.
            Some(at) => u32::from(unsafe { AtomicU16::from_ptr(at.as_ptr().cast()) }.load(order)),
            // SAFETY: as above.
            None => unsafe { AtomicU32::from_ptr(self.wide(place).as_ptr().cast()) }.load(order),
        }
    }

    #[inline]
    fn store(&self, place: Place, value: u32, order: Ordering) {
        match self.narrow(place) {
            // SAFETY: as in `load`.
            Some(at) => unsafe { AtomicU16::from_ptr(at.as_ptr().cast()) }.store(value as u16, order),
            // SAFETY: as in `load`.
            None => unsafe { AtomicU32::from_ptr(self.wide(place).as_ptr().cast()) }.store(value, order),
        }
    }

    #[inline]
    fn describe(&self, at: u16, descriptor: Descriptor) {
        let place = self.at(16 * self.slot(at)).as_ptr().cast::<u64>();
        let rest =
            u64::from(descriptor.len) | u64::from(descriptor.flags) << 32 | u64::from(descriptor.next) << 48;
        // SAFETY: inside the block, 16-byte aligned, reached through atomics only.
        let (low, high) = unsafe { (AtomicU64::from_ptr(place), AtomicU64::from_ptr(place.add(1))) };
        low.store(descriptor.address, Ordering::Relaxed);
        high.store(rest, Ordering::Relaxed);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}
