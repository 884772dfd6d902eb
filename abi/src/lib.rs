//! The contract between the kernel and its applications; depends on nothing.
//!
//! Everything here is plain data: numbers of calls, layouts of the pages that the kernel shares, bits of events. The
//! kernel treats what an application passes as a claim; an application may trust what the kernel writes.

#![no_std]
#![forbid(unsafe_code)]

pub mod application;
pub mod board;
pub mod call;
pub mod channel;
pub mod clock;
pub mod device;
pub mod exit;
pub mod start;
pub mod statistics;
pub mod upcall;
