//! Price adapters, one file a provider, and priced as a library.
//!
//! A provider's text goes in, checked quotes come out. Nothing here connects, waits or knows the time: whoever runs
//! [`Priced`] gives it a connection, a clock and entropy, in a guest on the application's own stack or on Linux in a
//! process of its own.
//!
//! A price that is bad (unreadable, of an unknown unit), stale, absurd or impossible never reaches the board, and it
//! is reported. Prices of one answer belong together: one bad quote refuses the answer. What applications see
//! meanwhile: the last good prices, until their validity ends; after that the board still shows them, with an end in
//! the past, and the tuner does what it states for outdated prices.
//!
//! JSON and XML are read by some 200 lines of our own each. `serde_json` would bring floating point for numbers that we
//! want as they are written; the XML crates that need no `std` (`roxmltree`, `xmlparser`) would bring document types,
//! entities and name spaces, of which price documents need none: what is not there cannot be attacked, and every guest
//! would carry it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod board;
pub mod cloud_sigma;
pub mod day_ahead;
pub mod feed;
pub mod fuzzing;
pub mod http;
pub mod json;
pub mod metadata;
pub mod offer;
pub mod priced;
pub mod quote;
pub mod schedule;
pub mod spot;
pub mod time;
pub mod trace;
pub mod xml;

pub use feed::Feed;
pub use priced::{Action, Priced};
pub use quote::{Limits, Quote, Refused};
pub use schedule::Schedule;
