//! What a request costs in the stack: instructions from the device's ring to the device's ring, for a 64-byte request
//! and a reply of 1 KiB.
//!
//! Counted is everything that a step does until nothing is due, with the device's and the application's part, which
//! are a few instructions: taking frames, TCP, the application's write (it copies the reply into a transmit buffer),
//! headers, kick, completion, timers, measuring latency. Requests acknowledge the replies before them, as real ones
//! do, so there are no segments without payload. *Single*: one request at a time, run to completion. *Batched*: 32
//! arrive together.
//!
//! It is not time: cache misses and mispredicted branches cost nothing here. Copies are counted by the C library's
//! vector instructions; in a guest they are other ones. smoltcp gets the same frames, on terms that favour it: its
//! application is told which sockets have a request.

use crate::Settings;
use crate::figures::Figure;
use crate::instructions::{Counter, Play};
use nom_machine::trouble::Outcome;

/// What is claimed.
pub const CLAIM: &str = "a request and its reply of 1 KiB take at most 1,200 instructions of the stack in batches, 2,000 alone; a third of smoltcp's";

/// Requests of a batch.
const BATCH: usize = 32;
/// The other stack.
const PEER: &str = "smoltcp 0.14";

/// What an open connection costs on which nothing happens, in a stack that may have 10,000.
fn idle_connection_bytes() -> f64 {
    let config = nom_stack::Config::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 1].into(), 24);
    let config = nom_stack::Config { connections: 10_000, ..config };
    let (device, bulk) = (nom_simnet::port::Device::default(), nom_simnet::goodput::Bulk::default());
    let host = nom_simnet::Host::new(config, device, nom_simnet::Cost::default(), bulk, 1);
    host.engine().idle_connection_bytes() as f64
}

/// Counts. One run: the same program gives the same number.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counter = Counter::new(progress)?;
    let mut count = |play: Play| counter.per_request(play, progress);
    let one = count(Play::new("stack", 1, 1))?;
    let single = count(Play::new("stack", 64, 1))?;
    let batched = count(Play::new("stack", 64, BATCH))?;
    let single_many = count(Play::new("stack", 10_000, 1))?;
    let batched_many = count(Play::new("stack", 10_000, BATCH))?;
    let checksums = count(Play { checksum: true, ..Play::new("stack", 64, BATCH) })? - batched;
    let peer_one = count(Play::new("smoltcp", 1, 1))?;
    let peer_single = count(Play::new("smoltcp", 64, 1))?;
    let peer_batched = count(Play::new("smoltcp", 64, BATCH))?;
    let many = (single_many / single).max(batched_many / batched);
    let plain = |name, value, goal| Figure::of(name, "", goal, &[value]);
    let ratio = |name, value, goal| Figure::of(name, "x", goal, &[value]).map(|figure| figure.against(PEER));
    let idle = idle_connection_bytes();
    let figures = [
        plain("stack.instructions_batched", batched, Some("<=1200")),
        plain("stack.instructions_single", single, Some("<=2000")),
        plain("stack.instructions_single_1", one, None),
        plain("stack.instructions_single_10000", single_many, None),
        plain("stack.instructions_batched_10000", batched_many, None),
        Figure::of("stack.instructions_10000", "x", Some("<=1.1"), &[many]),
        plain("stack.instructions_checksums", checksums, None),
        plain("stack.instructions_smoltcp_batched", peer_batched, None),
        ratio("stack.smoltcp_ratio_1", peer_one / one, None),
        ratio("stack.smoltcp_ratio_64", peer_batched / batched, Some(">=3")),
        ratio("stack.smoltcp_ratio_64_single", peer_single / single, None),
        Figure::of("stack.idle_connection_bytes", "B", Some("<=1024"), &[idle]),
    ];
    Ok(figures.into_iter().flatten().collect())
}
