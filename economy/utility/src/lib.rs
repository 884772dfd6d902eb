//! What an application earns from throughput, latency and jitter.
//!
//! A [`Contract`] says what users pay. It is used in two ways: [`Contract::evaluate`] gives the profit *rate* of a
//! [`Flow`] in floating point, to weigh alternatives; [`Contract::revenue`] gives what a settlement window earned,
//! in integers only, for the ledger. The provider's bill is part of the first (prices times billed quantities) and
//! the ledger's own in the second.
//!
//! Axiom (paper, section 4): at fixed billed quantities profit never falls with more throughput and never rises with
//! more latency, jitter, lateness or price. Terms that would break it (negative worth or factors) are refused. The
//! normal tail is exempt where the mean is above the limit: there more jitter moves mass below the limit.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod contract;
pub mod expression;
mod flow;
mod promise;
mod settle;
pub mod tail;
mod terms;
#[cfg(test)]
mod tests;

pub use contract::{Basis, Contract, Kind, LimitKind, TailRule};
pub use flow::{Evaluator, Flow, Profit};
pub use promise::{Promise, PromiseError};
pub use settle::Served;
pub use terms::{Terms, TermsError};
