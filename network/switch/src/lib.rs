//! A switch: one network card, and a port for each of several applications.
//!
//! It knows no platform: the card and the ports are the stack's own `port` traits. Where a frame goes is decided by
//! [`Steering`], from bytes that nobody else can write any more; a frame that a port may not send is dropped and
//! counted. Whose frames wait is taken in turns of a bounded number, so a port that floods takes its own turn and no
//! other's. A port whose ring is full loses what comes to it; when the card is full, frames wait in the ports' rings.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod forward;
mod steering;

pub use forward::{Counters, Switch};
pub use steering::{Dropped, Port, Steering, Way, station_of};

/// Most ports.
pub const PORTS_MAX: usize = 16;
