//! A ring that is shared with the kernel: one side produces, the other consumes, each publishing how far it is.

use crate::umem::Mapping;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// A ring of `T`; which end is ours is known by its user.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    /// What the pointers below point into.
    _map: Mapping,
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    flags: *const AtomicU32,
    content: *mut T,
    cells: u32,
    /// How far this side is, published or not.
    ours: u32,
}

impl<T: Copy> Ring<T> {
    pub(crate) fn map(
        fd: RawFd,
        offsets: libc::xdp_ring_offset,
        cells: u32,
        page: libc::off_t,
    ) -> std::io::Result<Self> {
        let len = offsets.desc as usize + cells as usize * size_of::<T>();
        let map = Mapping::of(fd, len, page)?;
        let number = |offset: u64| map.at::<AtomicU32>(offset as usize, 1).cast_const();
        Ok(Self {
            producer: number(offsets.producer),
            consumer: number(offsets.consumer),
            flags: number(offsets.flags),
            content: map.at(offsets.desc as usize, cells as usize),
            cells,
            ours: 0,
            _map: map,
        })
    }

    fn number(&self, number: *const AtomicU32) -> &AtomicU32 {
        // SAFETY: the three numbers lie in the mapping, which lives as long as `self`; the kernel, too, uses them as
        // atomic numbers.
        unsafe { &*number }
    }

    /// The kernel sleeps and has to be told.
    pub(crate) fn wants_waking(&self) -> bool {
        self.number(self.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn cell(&self, index: u32) -> *mut T {
        // SAFETY: the number of cells is a power of two, so the index is below it, and that many cells are mapped.
        unsafe { self.content.add((index & (self.cells - 1)) as usize) }
    }

    /// As the producer: cells that can be written.
    pub(crate) fn room(&self) -> u32 {
        // The kernel is not believed to be within bounds; a number that is not answers that nothing is free.
        let taken = self.ours.wrapping_sub(self.number(self.consumer).load(Ordering::Acquire));
        self.cells.saturating_sub(taken)
    }

    /// As the producer: cells that the kernel has not consumed.
    pub(crate) fn unconsumed(&self) -> u32 {
        self.cells - self.room()
    }

    /// As the producer: writes one cell. The caller has seen room.
    pub(crate) fn push(&mut self, value: T) {
        // SAFETY: the cell lies in the mapping, and is ours to write until it is published.
        unsafe { self.cell(self.ours).write(value) };
        self.ours = self.ours.wrapping_add(1);
    }

    /// As the producer: shows what was written.
    pub(crate) fn publish(&self) {
        self.number(self.producer).store(self.ours, Ordering::Release);
    }

    /// As the consumer: cells that can be read.
    pub(crate) fn waiting(&self) -> u32 {
        self.number(self.producer).load(Ordering::Acquire).wrapping_sub(self.ours).min(self.cells)
    }

    /// As the consumer: reads one cell. The caller has seen that one waits.
    pub(crate) fn pop(&mut self) -> T {
        let value = self.peek(0);
        self.ours = self.ours.wrapping_add(1);
        value
    }

    /// As the consumer: what the cell so many places ahead has. The caller has seen that it waits.
    pub(crate) fn peek(&self, ahead: u32) -> T {
        // SAFETY: the cell lies in the mapping, and was published by the producer; any bytes are a valid `T` (numbers).
        unsafe { self.cell(self.ours.wrapping_add(ahead)).read() }
    }

    /// As the consumer: gives what was read back.
    pub(crate) fn release(&self) {
        self.number(self.consumer).store(self.ours, Ordering::Release);
    }
}
