//! Device registers, mapped.

/// A stretch of mapped device registers. Every access is volatile and lies within it.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    base: usize,
    len: usize,
}

macro_rules! access {
    ($read:ident, $write:ident, $word:ty) => {
        /// Reads a register.
        #[inline]
        pub fn $read(&self, offset: usize) -> $word {
            let place = self.place(offset, size_of::<$word>());
            // SAFETY: mapped registers by the contract of `new`, inside and aligned by `place`.
            unsafe { (place as *const $word).read_volatile() }
        }

        /// Writes a register.
        #[inline]
        pub fn $write(&self, offset: usize, value: $word) {
            let place = self.place(offset, size_of::<$word>());
            // SAFETY: mapped registers by the contract of `new`, inside and aligned by `place`.
            unsafe { (place as *mut $word).write_volatile(value) }
        }
    };
}

impl Window {
    /// Registers at `base`.
    ///
    /// # Safety
    /// `len` bytes at `base` are mapped device registers (or memory that stands for them) for as long as the
    /// application runs, and no Rust object lies there.
    pub const unsafe fn new(base: usize, len: usize) -> Self {
        Self { base, len }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A window without a byte: what a device does not have.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    access!(read_u8, write_u8, u8);
    access!(read_u16, write_u16, u16);
    access!(read_u32, write_u32, u32);

    #[inline]
    fn place(&self, offset: usize, len: usize) -> usize {
        assert!(offset <= self.len && len <= self.len - offset, "outside of the register window");
        let place = self.base + offset;
        assert!(place.is_multiple_of(len), "a register is not aligned");
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_and_written_within_the_window() {
        let mut memory = [0u64; 2];
        // SAFETY: the array outlives the window and is only reached through it.
        let window = unsafe { Window::new(memory.as_mut_ptr() as usize, 16) };
        window.write_u32(4, 0x0102_0304);
        assert_eq!(window.read_u8(4), 4);
        assert_eq!(window.read_u16(6), 0x0102);
        assert_eq!(window.read_u32(12), 0);
    }

    #[test]
    #[should_panic(expected = "outside of the register window")]
    fn the_end_of_the_window_is_kept() {
        let mut memory = [0u64; 2];
        // SAFETY: the array outlives the window and is only reached through it.
        let window = unsafe { Window::new(memory.as_mut_ptr() as usize, 16) };
        window.read_u32(16);
    }
}
