//! Threads that wait for the same thing, first come, first served. The links are in the scheduler's slots, so a queue
//! is two numbers and has no bound of its own.

use crate::NONE;

/// A list of waiting threads; [`crate::Scheduler`] works on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Queue {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Queue {
    /// Nobody waits.
    pub const fn new() -> Queue {
        Queue { first: NONE, last: NONE }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

impl Default for Queue {
    fn default() -> Queue {
        Queue::new()
    }
}
