//! A board's file in memory.

use nom_abi::board::WORDS;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// Bytes of a board.
pub(crate) const LEN: usize = WORDS * 8;

/// A shared mapping of a whole board.
#[derive(Debug)]
pub(crate) struct Mapping {
    words: NonNull<AtomicU64>,
}

// SAFETY: the mapping is memory of atomic words that lives until it is dropped; any thread may read it.
unsafe impl Send for Mapping {}
// SAFETY: as above; all access goes through atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the file, which must be at least [`LEN`] bytes long.
    pub(crate) fn new(file: &File, writable: bool) -> io::Result<Self> {
        if file.metadata()?.len() < LEN as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shorter than a board"));
        }
        let mut access = ProtFlags::READ;
        access.set(ProtFlags::WRITE, writable);
        // SAFETY: the kernel chooses a free place, so no memory of ours is replaced.
        let place = unsafe { mmap(ptr::null_mut(), LEN, access, MapFlags::SHARED, file, 0) }?;
        let words = NonNull::new(place.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { words })
    }

    /// The words. Stores into a read-only mapping end the process; readers only load.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: LEN bytes are mapped, page-aligned, until drop; other processes change them, which atomics allow.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), WORDS) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly this range was mapped by `new`, and no borrow of it can outlive self.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), LEN) };
    }
}
