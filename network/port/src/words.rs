//! Shared memory as words: what both ends may read and write at any time.

use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// The memory of a port.
pub trait Words {
    /// How many words there are. Never changes.
    fn count(&self) -> usize;

    /// Reads a word.
    fn load(&self, at: usize, order: Ordering) -> u64;

    /// Writes a word.
    fn store(&self, at: usize, value: u64, order: Ordering);

    /// Everything before it is seen before everything behind it.
    fn fence(&self);
}

/// Memory of an application's own cores, counted or for good.
impl<M: Deref<Target = [AtomicU64]>> Words for M {
    fn count(&self) -> usize {
        self.len()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self[at].load(order)
    }

    #[inline]
    fn store(&self, at: usize, value: u64, order: Ordering) {
        self[at].store(value, order);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}
