//! The split virtqueue (virtio 1.2, 2.7) and the registers around it: publish, take, suppress notifications both
//! ways, and never trust the device.
//!
//! - [`ring`]: where everything lies in shared memory, reached only through atomics behind the trait [`ring::Cells`];
//! - [`queue`]: the driver's side of one queue. The order of its loads, stores and fences is what the model test
//!   explores, with the very same code over modelled memory;
//! - [`transport`]: finding, starting and notifying a device over virtio-mmio or modern virtio-pci;
//! - [`fake`]: the device's side in software, for tests and for moving frames between drivers on the host.
//!
//! The device is hostile until proved otherwise: what the driver needs to remember (free list, lengths, which chains
//! are out) it keeps in private memory, and a used entry that does not fit breaks the queue for good: it then takes
//! and gives nothing, and [`queue::Queue::fault`] says why. Limits: no indirect descriptors, no packed ring.

#![no_std]

extern crate alloc;

pub mod fake;
pub mod queue;
pub mod ring;
pub mod transport;

pub use queue::{Completion, Fault, Full, Queue, Segment};
pub use ring::{MappedRing, Places};
