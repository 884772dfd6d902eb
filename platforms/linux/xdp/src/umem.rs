//! The memory that the kernel and we see: chunks of equal size, each holding one frame.

use std::io;
use std::ptr::NonNull;

#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// A mapping of this process; unmapped when it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Memory of our own, present from the start.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// Memory of a socket.
    pub(crate) fn of(fd: libc::c_int, len: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED, fd, offset)
    }

    fn map(len: usize, flags: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice disturbs nothing that is there.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, flags | libc::MAP_POPULATE, fd, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, len })
    }

    /// A pointer to something in it.
    ///
    /// # Panics
    /// When it would not lie in it whole, or not at a place where a `T` may lie.
    pub(crate) fn at<T>(&self, offset: usize, count: usize) -> *mut T {
        let end = count.checked_mul(size_of::<T>()).and_then(|len| len.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.len), "{offset} in a mapping of {}", self.len);
        assert!(offset.is_multiple_of(align_of::<T>()));
        // SAFETY: the assertion: it lies in the mapping.
        unsafe { self.start.as_ptr().add(offset) }.cast()
    }

    /// Asks for bytes to be brought near. Changes nothing, whatever is there; what lies beyond the mapping is not asked for.
    pub(crate) fn fetch(&self, offset: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in (offset..offset.saturating_add(len).min(self.len)).step_by(CACHE_LINE) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the place lies in the mapping; a hint reads nothing that the program could see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.as_ptr().add(line).cast::<i8>()) };
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` and is unmapped once; whoever has pointers into it owns it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
