//! The C face: an application in C on a private stack, with prices, knobs, ledger and drain like every other one.
//!
//! `include/nom.h` says what there is, `docs/c.md` how it is used. Nothing calls back into C: the program waits for events
//! and then acts, so no call of the stack is open while C runs, and no panic can cross.
//!
//! - `face`: the functions of the header. They check what C says and catch what goes wrong;
//! - `instance`: a service that was started, and the wait for events;
//! - `bridge`: the application that the stack sees. It keeps no bytes: what C has not read is with the stack;
//! - `timers`, `event`, `trouble`: what their names say.
//!
//! A service belongs to the thread that started it, and its name is a number in that thread: no pointer is trusted that
//! C could have kept for too long.

mod bridge;
mod event;
mod face;
mod instance;
mod timers;
mod trouble;

pub use event::{Event, Price};
