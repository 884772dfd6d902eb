//! A virtio block device (virtio 1.2, 5.2): reads, writes and flushes, several at a time, none of which blocks.
//!
//! - [`Disk::read`], [`Disk::write`] and [`Disk::flush`] put a request in the ring and answer its [`Ticket`];
//!   [`Disk::kick`] tells the device of all that were put there;
//! - [`Disk::poll`] answers what is done, in whatever order the device did it. What was read is seen in place until
//!   [`Disk::release`];
//! - *a flush covers every write that was asked for before it*, done or not: the driver keeps it back until they are done,
//!   since a device owes only what it has already confirmed (5.2.6.2). Writes that are asked for later may go before it.
//!   Requests without a flush between them may be done in any order, so whoever wants one write behind another waits
//!   for the first one's end.
//!
//! The device is not trusted: an answer that cannot be ends it, and [`Disk::fault`] says why. Requests that the disk has
//! no place for are refused before anything changes. Limits: one queue, data is copied into the driver's own buffers
//! when written, no discarding, no barriers but the flush.

#![no_std]

extern crate alloc;

mod disk;
pub mod fake;
pub mod fuzzing;

pub use disk::{Config, Disk, DiskCounters, DiskError, Done, Refused, Ticket, start};
