//! Virtual time, links and faults around the very stack that ships.
//!
//! A [`Simulation`] owns nodes (hosts with an `Engine`, players of recordings, a switch) and the links between
//! them. Time passes only from event to event; randomness comes from one seed. The same seed and the same nodes
//! give the same sequence of events, which [`Simulation::trace_hash`] proves in one number.
//!
//! - [`simulation`]: the loop;
//! - [`link`]: rate, delay, queue, loss, duplication, reordering, corruption;
//! - [`port`]: a host's network device;
//! - [`deployed`]: an application with its whole service, on a home of virtual time;
//! - [`host`]: an engine with an application, and what its work costs;
//! - [`switch`]: frames by address; [`outlet`]: the queues of its ports; [`discipline`]: the hook at these;
//! - [`player`]: recorded arrivals in virtual time; [`stream`]: a transfer that is checked byte for byte;
//!   [`goodput`]: how much gets through, as a table that is kept;
//! - [`witness`]: whether windows are kept, seen from the link;
//! - [`capture`]: what went over the links, as pcapng.

#![forbid(unsafe_code)]

pub mod capture;
pub mod deployed;
pub mod discipline;
pub mod goodput;
pub mod host;
pub mod link;
pub mod outlet;
pub mod player;
pub mod port;
pub mod simulation;
pub mod stream;
pub mod switch;
pub mod witness;

pub use capture::Capture;
pub use deployed::Deployed;
pub use discipline::Discipline;
pub use host::{Cost, Host, Usage};
pub use link::{Direction, Fate, Link};
pub use outlet::Outlet;
pub use player::Player;
pub use simulation::{End, Node, NodeId, Rest, Simulation};
pub use switch::Switch;
pub use witness::Witness;
