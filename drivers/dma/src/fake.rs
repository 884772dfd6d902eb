//! The same memory on the host: an arena whose device addresses are not its virtual ones, so that a driver that mixes
//! them up is found out, and through which a software device reaches only what was registered.

use crate::{Block, DmaMemory, Region, Regions};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::Cell;
use core::ptr::NonNull;

/// Where the device sees the arena: above 4 GiB, so that truncated addresses are found out too.
pub const DEVICE_BASE: u64 = 0x7_0000_0000;

/// An arena that a driver and a software device share. Clones are the same arena. Like the memory it stands for it is
/// never freed, unless somebody knows better: see [`FakeMemory::free`].
#[derive(Debug, Clone)]
pub struct FakeMemory {
    base: NonNull<u8>,
    len: usize,
    /// All that was allocated, `base` within it.
    whole: NonNull<[u64]>,
    used: Rc<Cell<usize>>,
}

/// The device aimed outside of what was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

impl FakeMemory {
    /// An arena of `len` zeroed bytes.
    pub fn new(len: usize) -> Self {
        // Words, so that it starts aligned; leaked, because blocks live for good.
        let words = Box::leak(vec![0u64; len.div_ceil(8).next_multiple_of(512) + 512].into_boxed_slice());
        let whole = NonNull::from_mut(words);
        let start = whole.as_ptr().cast::<u8>();
        let base = NonNull::new(start.wrapping_add(start.align_offset(4096))).expect("an arena");
        Self { base, len, whole, used: Rc::new(Cell::new(0)) }
    }

    /// Gives the arena back: for who makes one after the other, as fuzzers do.
    ///
    /// # Safety
    /// Nothing that was taken from it, no block and no piece, is used again, and no clone of it.
    pub unsafe fn free(self) {
        // SAFETY: it was leaked from such a box, and the caller is the last who has it.
        drop(unsafe { Box::from_raw(self.whole.as_ptr()) });
    }

    /// The device reads.
    pub fn read(&self, device: u64, into: &mut [u8]) -> Result<(), Unreachable> {
        let offset = self.offset(device, into.len())?;
        // SAFETY: inside the arena; drivers reach it through pointers and atomics, never hold slices of what the
        // device may touch.
        unsafe { core::ptr::copy(self.base.as_ptr().add(offset), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// The device writes.
    pub fn write(&self, device: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        let offset = self.offset(device, bytes.len())?;
        // SAFETY: as in `read`.
        unsafe { core::ptr::copy(bytes.as_ptr(), self.base.as_ptr().add(offset), bytes.len()) };
        Ok(())
    }

    /// A fresh piece of the arena as an application has it: registered, and sent without copying.
    pub fn registered(&self, bytes: &[u8]) -> &'static [u8] {
        let mut block = self.allocate(bytes.len(), 1).expect("room in the arena");
        block.copy_in(0, bytes);
        // SAFETY: the block is never freed, nobody else has it, and no device is told to write there.
        unsafe { core::slice::from_raw_parts(block.pointer(0, bytes.len()).as_ptr(), bytes.len()) }
    }

    fn offset(&self, device: u64, len: usize) -> Result<usize, Unreachable> {
        let offset = device.checked_sub(DEVICE_BASE).ok_or(Unreachable)?;
        let offset = usize::try_from(offset).map_err(|_| Unreachable)?;
        if offset <= self.len && len <= self.len - offset { Ok(offset) } else { Err(Unreachable) }
    }
}

impl DmaMemory for FakeMemory {
    fn regions(&self) -> Regions {
        // SAFETY: the arena is never freed, and the fake device translates with the same base.
        Regions::one(unsafe { Region::new(self.base.as_ptr() as usize, self.len, DEVICE_BASE) })
    }

    fn allocate(&self, len: usize, align: usize) -> Option<Block> {
        let start = self.used.get().next_multiple_of(align);
        let end = start.checked_add(len)?;
        if end > self.len || align > 4096 {
            return None;
        }
        self.used.set(end);
        // SAFETY: inside the arena by the check above, handed out once.
        Some(unsafe { Block::new(self.base.add(start), len, DEVICE_BASE + start as u64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_and_device_see_the_same_bytes() {
        let memory = FakeMemory::new(8192);
        let mut block = memory.allocate(100, 64).unwrap();
        let device = block.device_address(0);
        assert_eq!(device % 64, 0);
        block.copy_in(10, b"hello");
        let mut seen = [0; 5];
        memory.read(device + 10, &mut seen).unwrap();
        assert_eq!(&seen, b"hello");
        memory.write(device + 10, b"HELLO").unwrap();
        // SAFETY: the fake device writes only when it is called.
        assert_eq!(unsafe { block.bytes(10, 5) }, b"HELLO");
    }

    #[test]
    fn the_device_reaches_nothing_else() {
        let memory = FakeMemory::new(4096);
        assert_eq!(memory.write(DEVICE_BASE + 4090, &[0; 7]), Err(Unreachable));
        assert_eq!(memory.write(DEVICE_BASE - 1, &[0; 1]), Err(Unreachable));
        assert_eq!(memory.write(u64::MAX, &[0; 2]), Err(Unreachable));
        assert!(memory.allocate(4097, 1).is_none());
    }
}
