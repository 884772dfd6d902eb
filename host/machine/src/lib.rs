//! Assembles images, starts virtual machines and processes, speaks their management channel, and serves them prices.
//!
//! Everything that is started here ends with us, and nothing that it used has a name that could be left behind:
//! images are files in memory, channels are pairs of sockets, private folders remove themselves.

#![forbid(unsafe_code)]

pub mod artefacts;
pub mod attach;
pub mod configuration;
pub mod content;
pub mod file;
pub mod image;
pub mod kvm;
pub mod machine;
pub mod management;
pub mod metadata;
pub mod packages;
pub mod pcapng;
pub mod qemu;
pub mod scratch;
pub mod serial;
pub mod trouble;
pub mod watch;
