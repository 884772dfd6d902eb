//! Memory and registers that are shared with a device.
//!
//! Three things, and who vouches for each:
//! - a [`Region`] is memory of the application that its device reaches, with the address the device knows it by. Whoever
//!   makes one (the guest's runtime, after the kernel registered the memory) vouches that both addresses mean the same bytes;
//! - a [`Block`] is a piece of a region that belongs to one driver for good: rings and buffers. Blocks are taken at
//!   start-up and never returned, because nobody can say when a device that was not reset has stopped using them;
//! - a [`Window`] is a stretch of device registers, mapped uncached; accesses are volatile and checked against its end.
//!
//! [`fake`] has the same memory on the host, for drivers that are tested against software devices.

#![no_std]

extern crate alloc;

mod block;
pub mod fake;
mod heap;
mod region;
mod window;

pub use block::Block;
pub use heap::HeapMemory;
pub use region::{REGIONS_MAX, Region, Regions, TooManyRegions};
pub use window::Window;

/// Where a driver gets its rings and buffers, once, at start-up.
pub trait DmaMemory {
    /// Everything that the device reaches.
    fn regions(&self) -> Regions;

    /// A zeroed block for good, its start a multiple of `align` (a power of two) for the driver and for the device.
    /// `None` when there is no room.
    fn allocate(&self, len: usize, align: usize) -> Option<Block>;
}
