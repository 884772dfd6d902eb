//! Profit settled in windows, exact to the picodollar.
//!
//! A [`Ledger`] is fed cumulative readings of what was served and used. Each settlement window is closed at the first
//! reading at or after its end, or when a price or the contract's terms change, so that every window has one price:
//! the one that was in force when a byte left. A closed window is *sealed*: it is numbered and carries the SHA-256 of
//! its predecessor, so that a lost, doubled, reordered or altered one is noticed. (The hash is plain, not keyed: it
//! shows accidents and careless hands. Authenticity is the management channel's business.)
//!
//! Each line (revenue, bandwidth, core, memory) is computed exactly in 10^-27 dollars and rounded once, half to even,
//! on its running sum: the window's amount is what the rounded running sum grew by, and the rest is carried over. So
//! the sum of any number of windows is the rounded settlement of the whole history, line by line, however it was
//! split; a single amount is within one picodollar of its own exact value.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod csv;
mod ledger;
mod line;
mod recover;
mod sha256;
#[cfg(test)]
mod tests;
mod text;
mod verify;
mod window;

pub use csv::CSV_HEADER;
pub use ledger::{Ledger, Reading, Trouble};
pub use line::Line;
pub use recover::{Damage, Recovered, closing, recover};
pub use sha256::{Hash, sha256};
pub use text::{LINE_MAX, WindowError};
pub use verify::{Fault, Totals, verify};
pub use window::Window;
