//! A web server for static content that speaks HTTP/1.1 (RFC 9110 to 9112) over its own stack.
//!
//! The library is called with the bytes of a request where the driver put them. Content goes to the wire from
//! its place, without being copied, unless it is so small that it stands in one piece with its head. It has no clock, no
//! sockets, no files and no threads; time comes with each call, content is put into the [`site`].
//!
//! A request's way through the files: [`server`] (connections, backpressure, limits of time), `head` (what
//! a request says), `target` (its path), `condition`, `range` and `coding` (what is meant exactly), [`site`] (what lies
//! there), `answer` (bytes of answers). What a request brings with it is read and thrown away by `content`.
//!
//! **What counts as an operation**: each request is answered once. An answer below 400 is an accepted operation, every
//! other one is refused. A connection that ends without a request, and `100 Continue`, are none.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
pub mod archive;
mod coding;
mod condition;
mod content;
pub mod date;
mod head;
pub mod log;
pub mod media;
mod memo;
mod plan;
mod press;
mod range;
pub mod script;
pub mod server;
pub mod site;
mod status;
mod target;
mod text;

#[cfg(test)]
mod tests;

pub use coding::Coding;
pub use head::{FIELDS_MAX, HEAD_MAX, TARGET_MAX};
pub use server::{Config, Httpd};
pub use site::{File, Site};
pub use status::Status;
