//! A bounded queue of numbers from one thread to one other, without locks.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Keeps the two ends on cache lines of their own, so that the sides do not slow each other down.
#[repr(align(64))]
struct Line(AtomicUsize);

/// The queue. One thread pushes, one thread pops. Its user never has more numbers than there are cells, so it
/// cannot overflow.
pub(crate) struct IndexRing {
    cells: Box<[AtomicU32]>,
    pushed: Line,
    popped: Line,
}

impl IndexRing {
    pub(crate) fn new(cells: usize) -> Self {
        debug_assert!(cells.is_power_of_two());
        Self {
            cells: (0..cells).map(|_| AtomicU32::new(0)).collect(),
            pushed: Line(AtomicUsize::new(0)),
            popped: Line(AtomicUsize::new(0)),
        }
    }

    pub(crate) fn push(&self, index: u32) {
        let pushed = self.pushed.0.load(Ordering::Relaxed);
        debug_assert!(self.len() < self.cells.len());
        self.cells[pushed & (self.cells.len() - 1)].store(index, Ordering::Relaxed);
        self.pushed.0.store(pushed.wrapping_add(1), Ordering::Release);
    }

    pub(crate) fn pop(&self) -> Option<u32> {
        let popped = self.popped.0.load(Ordering::Relaxed);
        if popped == self.pushed.0.load(Ordering::Acquire) {
            return None;
        }
        let index = self.cells[popped & (self.cells.len() - 1)].load(Ordering::Relaxed);
        self.popped.0.store(popped.wrapping_add(1), Ordering::Release);
        Some(index)
    }

    pub(crate) fn len(&self) -> usize {
        // Popped first: the other order could see more popped than pushed.
        let popped = self.popped.0.load(Ordering::Acquire);
        self.pushed.0.load(Ordering::Acquire).wrapping_sub(popped).min(self.cells.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
