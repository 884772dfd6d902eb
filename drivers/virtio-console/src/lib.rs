//! A virtio console (virtio 1.2, 5.3) as a byte stream that never blocks: the guest's management channel.
//!
//! - `direction`: buffers that the device fills (`Inbox`) or empties (`Outbox`);
//! - `control`: the messages by which a device with several ports says which there are and whether somebody is
//!   connected behind them;
//! - `console`: one port of either kind of device.
//!
//! Two kinds of device serve. A plain one (`virtio-serial` with `max_ports=1` and a `virtconsole`) has one port and
//! says nothing about who listens: QEMU throws away what nobody reads. One with ports (`max_ports=2` and a
//! `virtserialport`) says when the host connects and leaves, and holds the guest back while the host does not read, so
//! nothing is lost. The first of its first two ports that appears is used.
//!
//! Writing takes only what fits; the caller keeps the rest and decides what it may lose.

#![no_std]

extern crate alloc;

mod console;
mod control;
mod direction;

pub use console::{Console, start};
