//! Cumulative figures for the ledger, and quantiles of an interval.

use crate::home::Home;
use alloc::vec::Vec;
use nom_ledger::Reading;
use nom_stack::Engine;
use nom_stack::application::Application;
use nom_stack::meter::{Meter, OCTAVE_BUCKETS};
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
        latency_square_sum: meter.latency_square_sum(),
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
        reading.latency_square_sum += others.meter.latency_square_sum();
    }
    reading
}

/// Latency quantiles since the last look.
#[derive(Debug)]
pub(super) struct Interval {
    before: Vec<u64>,
    measured: u64,
    pub(super) started_ns: u64,
}

impl Interval {
    pub(super) fn new(meter: &Meter, now_ns: u64) -> Self {
        Self { before: meter.histogram().to_vec(), measured: meter.measured(), started_ns: now_ns }
    }

    /// Median and 99th percentile since the last call; 0 when nothing was measured.
    pub(super) fn take(&mut self, meter: &Meter, now_ns: u64) -> (u64, u64) {
        let count = meter.measured() - self.measured;
        let wanted = |part: u64| (count * part).div_ceil(100);
        let (mut median_ns, mut p99_ns, mut seen) = (0, 0, 0);
        let octaves = meter.histogram().chunks(OCTAVE_BUCKETS).zip(self.before.chunks_mut(OCTAVE_BUCKETS));
        for (octave, (now, before)) in octaves.enumerate() {
            // Most are as they were: this is done while clients wait.
            if now.iter().zip(&*before).fold(0, |differs, (now, before)| differs | (now ^ before)) == 0 {
                continue;
            }
            for (place, (now, before)) in now.iter().zip(&*before).enumerate() {
                let reached = seen + (now - before);
                let reaches = |part: u64| seen < wanted(part) && reached >= wanted(part);
                let end_ns = || Meter::bucket_end_ns(octave * OCTAVE_BUCKETS + place);
                if reaches(50) {
                    median_ns = end_ns();
                }
                if reaches(99) {
                    p99_ns = end_ns();
                }
                seen = reached;
            }
            before.copy_from_slice(now);
        }
        (self.measured, self.started_ns) = (meter.measured(), now_ns);
        (median_ns, p99_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_came_since() {
        let mut meter = Meter::new();
        meter.measure(70_000_000);
        let mut interval = Interval::new(&meter, 0);
        assert_eq!(interval.take(&meter, 1), (0, 0));
        for round in 1..=5u64 {
            let before = meter.clone();
            // Over several octaves, and in one bucket more than once.
            (0..1000).for_each(|step| meter.measure((step * step % 997) * 37 * round));
            let since = meter.since(&before);
            let expected = [0.5, 0.99].map(|part| since.quantile_ns(part).unwrap());
            let (median_ns, p99_ns) = interval.take(&meter, round);
            assert_eq!([median_ns, p99_ns], expected, "round {round}");
        }
        assert_eq!((interval.take(&meter, 9), interval.started_ns), ((0, 0), 9));
    }
}
