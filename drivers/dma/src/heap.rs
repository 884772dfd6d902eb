//! Blocks from an ordinary heap that is registered as a whole: how a guest has it.

use crate::{Block, DmaMemory, Regions};
use alloc::alloc::{Layout, alloc_zeroed};
use core::ptr::NonNull;

/// The global allocator's memory, as far as it lies in registered regions.
///
/// In a guest the application's whole heap is one region, so payload is sent from where it lies.
#[derive(Debug, Clone, Copy)]
pub struct HeapMemory {
    regions: Regions,
}

impl HeapMemory {
    /// A heap that lies in these regions.
    pub const fn new(regions: Regions) -> Self {
        Self { regions }
    }
}

impl DmaMemory for HeapMemory {
    fn regions(&self) -> Regions {
        self.regions
    }

    fn allocate(&self, len: usize, align: usize) -> Option<Block> {
        let layout = Layout::from_size_align(len, align).ok()?;
        if len == 0 {
            return None;
        }
        // SAFETY: the layout has a length.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // SAFETY: the allocation is that long, zeroed, and only read here.
        let device = self.regions.translate(unsafe { core::slice::from_raw_parts(base.as_ptr(), len) });
        if let Some(device) = device.filter(|device| device.is_multiple_of(align as u64)) {
            // SAFETY: fresh from the allocator and never given back; the region vouches for the device's address.
            return Some(unsafe { Block::new(base, len, device) });
        }
        // SAFETY: allocated just above with this layout, and no device knows of it.
        unsafe { alloc::alloc::dealloc(base.as_ptr(), layout) };
        None
    }
}
