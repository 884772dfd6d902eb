//! What every deployed application shares: configuration, management channel, prices to knobs, ledger.
//!
//! A thin `main` of an image gives [`worker::Worker`] a [`home::Home`], the two halves of a network device and an
//! application, and calls `turn` until it says that the work is over. Everything else is here, the same in a guest,
//! on Linux and in virtual time.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod configuration;
#[cfg(test)]
mod fake;
pub mod follower;
pub mod home;
pub mod management;
pub mod metrics;
pub mod setting;
pub mod share;
pub mod team;
pub mod together;
pub mod tuning;
pub mod worker;

/// What a home keeps when it was sealed.
pub use nom_ledger::Window;
