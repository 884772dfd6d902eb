//! Which user thread runs on which core: decisions only. The runtime keeps one [`Scheduler`] behind a lock, does the
//! switching, and carries out what is decided here; on the host the same code is tried by tests and a model check.
//!
//! Threads are cooperative: one runs until it blocks, yields, ends, or its core is asked back. Ready ones run in the
//! order in which they became ready, on any core. A core without work halts and is woken when there is some, by
//! whoever made it. Each step is O(1), those that set or cancel a deadline O(log n).

#![no_std]
#![forbid(unsafe_code)]

mod queue;
mod scheduler;
mod timers;

pub use queue::Queue;
pub use scheduler::{CORES_MAX, Scheduler, Thread};

/// No deadline.
pub const NEVER: u64 = u64::MAX;
/// No thread: ends of lists.
const NONE: u16 = u16::MAX;
