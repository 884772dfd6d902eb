//! Configuration and prices of the test.
//!
//! The points are **made up for the test**, so that price alone decides: they differ in bytes and core time of an
//! operation and in nothing else. What a setting costs is then proportional to the arrivals, whatever these are, and
//! a busy machine can change no decision. That polling has no part in it is deliberate: its price would weigh against
//! the arrivals of the moment.

use std::fmt::Write;

/// What every home is configured with; address, price source and token are added by the home.
pub const CONFIGURATION: &str = "\
listen = 11211
memory.items = 16 MiB
item.max = 128 KiB
kernel.heap = 24 MiB
utility = simple
value = 0.2 $/Mop
latency.limit = 10 s
window = 200 ms
stats.interval = 50 ms
tuner = on
wait = halt
batch = 0
image.trusted = yes
points = nom-points 1
points = application kv
points = noise 0.02
points = capacity_per_s 1000000
points = class any open utilisation 0.. connections 0..
points = point wait=halt batch=0 : throughput_per_s=1000000 useful_bytes=0 wire_bytes=600 core_ns=100000 idle_cores=0 memory_bytes=0 mean_ns=100000 jitter_ns=10000 p99_ns=200000 samples=10000 late=1s:0
points = point wait=spin:20us batch=queued : throughput_per_s=1000000 useful_bytes=0 wire_bytes=500 core_ns=200000 idle_cores=0 memory_bytes=0 mean_ns=100000 jitter_ns=10000 p99_ns=200000 samples=10000 late=1s:0
points = point wait=halt batch=200us : throughput_per_s=1000000 useful_bytes=0 wire_bytes=800 core_ns=20000 idle_cores=0 memory_bytes=0 mean_ns=100000 jitter_ns=10000 p99_ns=200000 samples=10000 late=1s:0
";

/// Prices of a core, and where the price of bandwidth stays: the first is the price at which the configured setting is
/// the best one, at a low one bytes decide, at a high one core time.
const CORE: [&str; 5] = ["0.5", "0.04", "10", "0.04", "0.5"];

/// What the knobs become under them, in order; the first price changes nothing.
#[cfg(test)]
pub const EXPECTED: [&str; 4] = [
    "wait=spin:20us batch=queued",
    "wait=halt batch=200us",
    "wait=spin:20us batch=queued",
    "wait=halt batch=0",
];

/// The schedule: five prices over the length of a recording.
pub fn prices(end_us: u64) -> String {
    let mut text = String::new();
    for (place, core) in CORE.iter().enumerate() {
        let at_us = end_us * place as u64 / CORE.len() as u64;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "at {at_us} us: core {core} $/core/h, bandwidth 0.09 $/GB");
    }
    text
}
