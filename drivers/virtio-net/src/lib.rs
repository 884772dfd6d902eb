//! A virtio network device (virtio 1.2, 5.1) as the two halves that the stack knows: [`Receiver`] is its ingress,
//! [`Sender`] its egress.
//!
//! - [`start`] resets the device, agrees on features and hands out the halves;
//! - [`Receiver`] keeps the device supplied with buffers, stamps what arrives, and lets it be read in place;
//! - [`Sender`] puts headers in a buffer of its own and payload on the ring from where it lies, when the device
//!   reaches it there; otherwise it copies and counts that.
//!
//! No interrupts while anybody looks: they are asked for by `arm` before a sleep, and (sending) only while the ring
//! is so full that the stack cannot go on. The device is not trusted: when it breaks the contract the halves say
//! nothing more and `fault` tells why.
//!
//! Checksums, cutting of large frames, merging of received ones and several pairs of queues are asked for by [`Config`]
//! and used where the device offers them. Limits: no packed ring, no filters of addresses.

#![no_std]

extern crate alloc;

mod control;
mod device;
pub mod fake;
pub mod fuzzing;
pub mod header;
mod receive;
mod send;

pub use device::{Config, Device, Network, Pair, Spread, Wanted, start, start_spread};
pub use receive::{Receiver, ReceiverCounters};
pub use send::{Sender, SenderCounters};
