//! The private TCP/IP stack of one application on one core: sans-IO, made for batching.
//!
//! Frames and the time come in, frames and the next deadline go out; there is no clock, no socket and no thread
//! inside. That is what lets one source run in a guest, as a Linux process, in the simulator and under the fuzzer.
//!
//! A packet's way through the files:
//!
//! ```text
//!  port        where frames come from and go to: the device's two halves
//!    |
//!  engine      when frames are taken and when they leave: the knobs act here and in `batch`
//!    |
//!  frames      the first steps: for us? ARP, ICMP or TCP?          neighbours   who is on our link
//!  frames6     the same for IPv6                                   link6        the same for IPv6
//!    |
//!  wire/       what the bytes mean: one file a format
//!    |
//!  tcp/        the connections, split by what happens: handshake, accept, acknowledge, recover, congestion, deliver,
//!    |         close, output; `timeline` and `scoreboard` know what was sent when and what arrived, `send_memory` and
//!    |         `receive_memory` hold what waits, `timers` and `table` find things
//!    |
//!  application who is called with the bytes in place
//! ```
//!
//! Datagrams go from `frames` to `datagrams`; `dhcp` and `dns` are clients over them, pure as everything here.
//!
//! Limits today: datagrams over IPv4 only. Time stamps and marks of congestion are there for peers who ask, see [`Config`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admission;
pub mod application;
mod batch;
pub mod config;
pub mod counters;
pub mod datagrams;
pub mod dhcp;
pub mod dns;
mod engine;
mod frames;
mod frames6;
pub mod fuzzing;
pub mod knobs;
mod link6;
pub mod meter;
mod neighbours;
pub mod port;
mod random;
mod rate;
pub mod scripted;
pub mod tap;
mod tcp;
mod whichever;
pub mod wire;

pub use config::Config;
pub use engine::{ConnectError, Engine, Step};
pub use tcp::sequence::Seq;
pub use tcp::terms::{KeepAlive, Terms, TooManyTerms};
pub use tcp::{Handle, ImportError, View};
