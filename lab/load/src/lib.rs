//! The load generator: real sockets against one address, closed loop or open loop, every answer checked byte for
//! byte, latency from the *intended* time.
//!
//! Bounded by construction: connections, threads, operations, outstanding requests, duration and recorded bytes all
//! have a named bound ([`bounds`]), and a run ends by its deadline whatever the other side does. Addresses are the
//! caller's; nothing else is ever contacted.
//!
//! - [`plan`]: what to do, checked before it starts.
//! - [`mix`]: which requests, and what their answers must be.
//! - [`Web`]: the same for a web server.
//! - [`generator`]: threads, sockets, progress, the report.
//! - [`recording`]: arrivals as a readable file; [`replay`]: the same file over sockets. The simulator plays the
//!   same file in virtual time.
//! - [`abuse()`]: clients that misbehave beside it.

#![forbid(unsafe_code)]

mod abuse;
pub mod bounds;
mod connection;
pub mod generator;
pub mod mix;
mod opener;
pub mod pace;
pub mod plan;
pub mod random;
pub mod recording;
pub mod replay;
pub mod tally;
mod waiter;
mod web;

pub use abuse::{Abused, abuse};
pub use generator::{Progress, Report, Stop, run};
pub use mix::{Keys, Mix};
pub use pace::Pace;
pub use plan::{LoadError, Plan};
pub use recording::{Answers, Arrival, Recording};
pub use replay::{replay, replay_from};
pub use web::Web;
