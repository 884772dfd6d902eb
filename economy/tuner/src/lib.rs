//! Chooses the working point that earns the most, and says why.
//!
//! [`best`] evaluates every point of the load's class at today's prices: choosing is brute force, because there are
//! few points and nothing is simpler to trust. [`Tuner`] puts the habits around it that make it safe to switch on:
//! it changes only when the gain beyond noise, for as long as a setting is expected to stay, beats what a change
//! costs; it obeys hard limits at once; it goes back when a change earned less than before; it says everything in
//! one line.
//!
//! What it does about prices: with none (never published) it keeps the setting. One that has run out still counts for
//! [`Rules::grace_ns`], since a provider that does not answer has seldom changed it; after that, what prices were on
//! average in the last hour counts until there is one again. So a feed that goes silent costs at most what deciding by the
//! average costs, and load is followed all the while. A resource whose price is unknown counts as free, and the line says
//! so.
//!
//! A price that is announced is waited for: nothing is tried when it would come in the midst of that, a change counts only
//! for as long as the present price lasts, and the announced one is followed at once and named in the line.
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
mod sight;
mod size;
#[cfg(test)]
mod tests;
mod trial;
mod tuner;
mod usual;

pub use choose::{Estimate, best, estimate};
pub use explain::Why;
pub use press::{Effort, Press, Pressing, Wished};
pub use rules::{Mode, Rules};
pub use size::{Resized, Sizing};
pub use tuner::{Announced, Decision, Moment, Quoted, Tuner};
