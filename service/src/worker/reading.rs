//! Cumulative figures for the ledger, and quantiles of an interval.

use crate::home::Home;
use alloc::vec::Vec;
use nom_ledger::Reading;
use nom_stack::Engine;
use nom_stack::application::Application;
use nom_stack::meter::Meter;
use nom_stack::port::{Egress, Ingress};

/// Everything that is billed or earned, since the start.
pub(super) fn reading<I: Ingress, E: Egress, A: Application>(
    engine: &Engine<I, E, A>,
    home: &impl Home,
) -> Reading {
    let (meter, counters) = (engine.meter(), engine.counters());
    let mut reading = Reading {
        accepted: meter.accepted(),
        refused: meter.refused(),
        useful_bytes: counters.payload_out,
        wire_bytes: counters.bytes_out,
        core_ns: home.core_time_ns(),
        measured: meter.measured(),
        late: meter.above(),
        latency_sum_ns: meter.latency_sum_ns(),
        memory_bytes: home.memory_bytes(),
    };
    if let Some(others) = home.others() {
        reading.accepted += others.meter.accepted();
        reading.refused += others.meter.refused();
        reading.useful_bytes += others.payload_out;
        reading.wire_bytes += others.bytes_out;
        reading.core_ns += others.core_ns;
        reading.measured += others.meter.measured();
        reading.late += others.meter.above();
        reading.latency_sum_ns += others.meter.latency_sum_ns();
    }
    reading
}

/// Latency quantiles since the last look.
#[derive(Debug)]
pub(super) struct Interval {
    before: Vec<u64>,
    pub(super) started_ns: u64,
}

impl Interval {
    pub(super) fn new(meter: &Meter, now_ns: u64) -> Self {
        Self { before: meter.histogram().to_vec(), started_ns: now_ns }
    }

    /// Median and 99th percentile since the last call; 0 when nothing was measured.
    pub(super) fn take(&mut self, meter: &Meter, now_ns: u64) -> (u64, u64) {
        let now = meter.histogram();
        let count: u64 = now.iter().zip(&self.before).map(|(now, before)| now - before).sum();
        let (mut median_ns, mut p99_ns, mut seen) = (0, 0, 0);
        for (bucket, (now, before)) in now.iter().zip(&mut self.before).enumerate() {
            let here = now - *before;
            *before = *now;
            if here == 0 {
                continue;
            }
            let wanted = |part: u64| (count * part).div_ceil(100);
            let reaches = |part: u64| seen < wanted(part) && seen + here >= wanted(part);
            if reaches(50) {
                median_ns = Meter::bucket_end_ns(bucket);
            }
            if reaches(99) {
                p99_ns = Meter::bucket_end_ns(bucket);
            }
            seen += here;
        }
        self.started_ns = now_ns;
        (median_ns, p99_ns)
    }
}
