//! Refining the active point by what is seen while it is active.

use crate::{LATE_MAX, Late, Point};
use alloc::vec::Vec;

/// What was seen during one window under one setting and one load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// How long the window was.
    pub window_ns: u64,
    /// Accepted operations in it.
    pub operations: u64,
    /// Useful bytes in it.
    pub useful_bytes: u64,
    /// Outbound bytes on the wire.
    pub wire_bytes: u64,
    /// Core time used.
    pub core_ns: u64,
    /// Memory held.
    pub memory_bytes: u64,
    /// Operations whose latency is known.
    pub measured: u64,
    /// Of these, above the contract's limit.
    pub late: u64,
    /// Mean latency of them.
    pub mean_ns: f64,
    /// Their standard deviation.
    pub jitter_ns: f64,
}

impl Measured {
    /// Operations a second.
    pub fn operations_per_s(&self) -> f64 {
        self.per_s(self.operations)
    }

    /// Any count of the window, a second.
    pub fn per_s(&self, count: u64) -> f64 {
        if self.window_ns == 0 { 0.0 } else { count as f64 * 1e9 / self.window_ns as f64 }
    }
}

impl Point {
    /// Moves the point towards what was seen: a mean over the window and the `windows` before it. Throughput is a
    /// capacity and is not touched, since what arrives does not say how much could be served; a point of which nothing
    /// was measured is taken to serve `capacity_per_s`. `limit_ns` is the threshold of `seen.late`.
    pub fn refine(&mut self, seen: &Measured, limit_ns: Option<u64>, windows: f64, capacity_per_s: f64) {
        if seen.operations == 0 || seen.measured == 0 {
            return;
        }
        let first = self.is_unmeasured();
        let weight = if first { 1.0 } else { 1.0 / (windows.max(0.0) + 1.0) };
        let toward = |old: &mut f64, new: f64| *old += (new - *old) * weight;
        let each = |count: u64| count as f64 / seen.operations as f64;
        if first {
            self.throughput_per_s = capacity_per_s.max(seen.operations_per_s());
        }
        toward(&mut self.useful_bytes, each(seen.useful_bytes));
        toward(&mut self.wire_bytes, each(seen.wire_bytes));
        toward(&mut self.memory_bytes, seen.memory_bytes as f64);
        // The idle share belongs to the wait; what is used beyond it belongs to the operations.
        let seconds = seen.window_ns as f64 / 1e9;
        let cores = seen.core_ns as f64 / seen.window_ns.max(1) as f64;
        if self.idle_cores < 0.99 {
            let busy = ((cores - self.idle_cores) / (1.0 - self.idle_cores)).max(0.0);
            toward(&mut self.core_ns, busy * seconds * 1e9 / seen.operations as f64);
        }
        toward(&mut self.mean_ns, seen.mean_ns);
        toward(&mut self.jitter_ns, seen.jitter_ns);
        // So many operations as the mean remembers.
        let total = ((1.0 / weight) * seen.measured as f64) as u64;
        let share = |late: u64, of: u64| if of == 0 { 0.0 } else { late as f64 / of as f64 };
        let count = |part: f64| ((part * total as f64 + 0.5) as u64).min(total);
        let moved = |old: f64| count(old + (share(seen.late, seen.measured) - old) * weight);
        // A threshold that was not watched in this window keeps its fraction; the watched one moves.
        let before = self.samples;
        let mut late: Vec<Late> = self
            .late
            .iter()
            .map(|late| {
                let part = share(late.above, before);
                let watched = Some(late.threshold_ns) == limit_ns;
                Late { above: if watched { moved(part) } else { count(part) }, ..*late }
            })
            .collect();
        if let Some(threshold_ns) = limit_ns
            && !late.iter().any(|late| late.threshold_ns == threshold_ns)
            && late.len() < LATE_MAX
        {
            // What was measured before had no count for this limit: keep its upper bound.
            let (above, of) = self.late_above(threshold_ns);
            late.push(Late { threshold_ns, above: moved(share(above, of)) });
            late.sort_by_key(|late| late.threshold_ns);
        }
        self.late = late;
        self.samples = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batching, Setting, Wait};
    use alloc::vec;

    #[test]
    fn a_point_follows_what_is_seen_and_forgets() {
        let mut point = Point {
            setting: Setting::serve(Wait::Halt, Batching::RunToCompletion),
            throughput_per_s: 40e3,
            useful_bytes: 100.0,
            wire_bytes: 166.0,
            core_ns: 20_000.0,
            idle_cores: 0.0,
            memory_bytes: 0.0,
            mean_ns: 63_000.0,
            jitter_ns: 13_000.0,
            p99_ns: 0.0,
            samples: 1_000_000,
            late: vec![Late { threshold_ns: 750_000, above: 0 }],
        };
        let seen = Measured {
            window_ns: 1_000_000_000,
            operations: 10_000,
            useful_bytes: 1_000_000,
            wire_bytes: 2_000_000,
            core_ns: 100_000_000,
            memory_bytes: 1 << 20,
            measured: 10_000,
            late: 100,
            mean_ns: 100_000.0,
            jitter_ns: 20_000.0,
        };
        for _ in 0..40 {
            point.refine(&seen, Some(750_000), 1.0, 50e3);
        }
        assert!((point.mean_ns - 100_000.0).abs() < 1.0, "{}", point.mean_ns);
        assert!((point.wire_bytes - 200.0).abs() < 0.1);
        assert!((point.core_ns - 10_000.0).abs() < 1.0);
        let (above, of) = point.late_above(750_000);
        assert!((above as f64 / of as f64 - 0.01).abs() < 0.001, "{above}/{of}");
        assert_eq!(point.throughput_per_s, 40e3);
        let before = point.clone();
        point.refine(&Measured::default(), Some(750_000), 1.0, 50e3);
        assert_eq!(point, before);
        let mut fresh = Point::unmeasured(point.setting);
        fresh.refine(&seen, Some(750_000), 0.0, 50e3);
        assert_eq!((fresh.mean_ns, fresh.throughput_per_s), (100_000.0, 50e3));
        assert_eq!(fresh.late_above(750_000), (100, 10_000));
    }
}
