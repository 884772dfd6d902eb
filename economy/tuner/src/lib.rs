//! Chooses the working point that earns the most, and says why.
//!
//! [`best`] evaluates every point of the load's class at today's prices: choosing is brute force, because there are
//! few points and nothing is simpler to trust. [`Tuner`] puts the habits around it that make it safe to switch on:
//! it changes only when the gain beyond noise, for as long as a setting is expected to stay, beats what a change
//! costs; it obeys hard limits at once; it goes back when a change earned less than before; it says everything in
//! one line.
//!
//! What it does about prices: with none (never published), or with one that has run out, it keeps the setting; once
//! a price has been out of date for longer than [`Rules::grace_ns`] it falls back to the configured setting. A
//! resource whose price is unknown counts as free, and the line says so.
//!
//! *Serve nothing* is always weighed, unless the owner forbids it. While nothing is served the load cannot be seen,
//! so the last one seen is held.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod choose;
mod explain;
mod known;
mod learn;
mod press;
mod rules;
mod size;
#[cfg(test)]
mod tests;
mod trial;
mod tuner;

pub use choose::{Estimate, best, estimate};
pub use explain::Why;
pub use press::{Effort, Press, Pressing, Wished};
pub use rules::{Mode, Rules};
pub use size::{Resized, Sizing};
pub use tuner::{Decision, Moment, Quoted, Tuner};
