//! Self-paging without a machine: an application keeps a working set within a bound of frames and stores the rest.
//!
//! [`Pager`] decides by second chance which page goes: a clock hand passes over the resident pages, takes every access
//! from those it meets, and evicts the first that was not touched since it came by last. Only pages that were written
//! are packed ([`pack`]) and put into a [`Store`], which is memory of a fixed size. Whoever has the machine is a
//! [`Memory`] and reports faults. Nothing is allocated after the pager was made.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod pack;
mod pager;
mod store;

pub use pager::{Access, BOUND_MIN, Counts, Memory, NoFrame, Pager, Refused};
pub use store::{Full, GRANULE_LEN, Store, granules_max};

/// Bytes of a page.
pub const PAGE_LEN: usize = 4096;
/// The content of a page.
pub type Content = [u8; PAGE_LEN];
