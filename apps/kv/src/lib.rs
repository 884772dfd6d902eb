//! A key-value cache that speaks memcached's text protocol, classic and meta, over its own stack.
//!
//! The library is called with the bytes of a request where the driver put them, and answers with memory of its
//! own: a stored value goes to the wire without being copied. It has no clock, no sockets and no threads; time
//! comes with each call.
//!
//! A request's way through the files: [`server`] (connections and backpressure), `command` (what a line means),
//! [`store`] (finding, storing, evicting; on an `arena` of blocks), `answer` (bytes of replies). Where a cache has several
//! cores, [`shards`] takes a request to the one that has the key.
//!
//! **What counts as an operation**: each line that fetches (`get`, `gets`, `gat`, `gats`, `mg`; once, however many
//! keys), stores (`set`, `add`, `replace`, `append`, `prepend`, `cas`, `ms`; when its data has come), or changes one
//! item (`delete`, `incr`, `decr`, `touch`, `md`, `ma`) is answered exactly once, as accepted, whatever the answer says
//! and also when none is sent (`noreply`, `q`). Each error line (`ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`) is one
//! refused operation. `version`, `stats`, `verbosity`, `flush_all`, `mn`, `me` and `quit` are no operations.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
mod arena;
mod class;
mod command;
mod hash;
pub mod script;
pub mod server;
pub mod shards;
pub mod store;
mod text;

#[cfg(test)]
mod tests;

pub use server::{Config, Kv};
