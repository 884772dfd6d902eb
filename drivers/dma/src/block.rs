//! A piece of registered memory that belongs to one driver for good.

use core::ptr::NonNull;

/// Memory shared between one driver and its device. Not freed when dropped: the device may still know its address.
#[derive(Debug)]
pub struct Block {
    base: NonNull<u8>,
    len: usize,
    device: u64,
}

// SAFETY: a block is the only owner of its memory, so it may move to another thread with it.
unsafe impl Send for Block {}

impl Block {
    /// A block over `len` bytes at `base` that the device knows as `device`.
    ///
    /// # Safety
    /// The memory is valid for reads and writes for as long as the application runs, nobody else uses it, and both
    /// addresses mean the same bytes.
    pub unsafe fn new(base: NonNull<u8>, len: usize, device: u64) -> Self {
        Self { base, len, device }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A block without a byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device's address of the byte at `offset`.
    #[inline]
    pub fn device_address(&self, offset: usize) -> u64 {
        assert!(offset <= self.len);
        self.device + offset as u64
    }

    /// Where the byte at `offset` is, for `len` bytes. What is read there may be changed by the device at any time.
    #[inline]
    pub fn pointer(&self, offset: usize, len: usize) -> NonNull<u8> {
        self.check(offset, len);
        // SAFETY: the offset was checked to lie within the block.
        unsafe { self.base.add(offset) }
    }

    /// The bytes of a part.
    ///
    /// # Safety
    /// The device does not write to this part while the slice lives: it was never told of it, or it gave it back.
    #[inline]
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        // SAFETY: within the block, which is valid for good; the caller vouches for the device.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr().add(offset), len) }
    }

    /// Copies bytes into a part. The caller decides whether the device may be reading there; if it is, it reads a
    /// mixture, which harms nobody but the frame.
    #[inline]
    pub fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: within the block; `bytes` cannot overlap because the block is the memory's only owner and `self` is
        // borrowed mutably.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(offset), bytes.len());
        }
    }

    /// Copies the bytes of a part out. If the device is writing there, the copy is a mixture.
    #[inline]
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        self.check(offset, into.len());
        // SAFETY: within the block; `into` cannot overlap because the block is the memory's only owner.
        unsafe {
            core::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), into.as_mut_ptr(), into.len())
        };
    }

    #[inline]
    fn check(&self, offset: usize, len: usize) {
        assert!(offset <= self.len && len <= self.len - offset, "outside of the block");
    }
}
