//! What every application has in common that runs in a guest: a network card or a port of the switch that has it, a
//! console, entropy, and the service around the application. A `main` names its application ([`deployed::Deployed`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod deployed;
mod home;
mod network;
mod place;
mod team;

pub use home::Guest;
pub use team::{Bell, Team};
