//! What one setting gives under one load.

use crate::Setting;

/// Most latency thresholds that a point has counts for.
pub const LATE_MAX: usize = 8;

/// How many of the point's measured operations were above a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// The threshold.
    pub threshold_ns: u64,
    /// Operations above it.
    pub above: u64,
}

/// A setting and what was measured with it, as the client perceived it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The knobs.
    pub setting: Setting,
    /// Operations a second that this setting can serve under this load; in a closed loop, that it did serve.
    pub throughput_per_s: f64,
    /// Useful bytes of one operation.
    pub useful_bytes: f64,
    /// Outbound bytes on the wire of one operation, everything included.
    pub wire_bytes: f64,
    /// Core time of one operation.
    pub core_ns: f64,
    /// Share of a core that is used while nothing is there to do: 1 when polling, about 0 when halting.
    pub idle_cores: f64,
    /// Memory held.
    pub memory_bytes: f64,
    /// Mean latency.
    pub mean_ns: f64,
    /// Mean latency as the server itself saw it meanwhile, which is what it sees again while it serves; 0 when nobody noted
    /// it.
    pub server_ns: f64,
    /// Standard deviation of latency.
    pub jitter_ns: f64,
    /// 99th percentile of latency; 0 when it was not measured.
    pub p99_ns: f64,
    /// Operations that were measured.
    pub samples: u64,
    /// Counts above thresholds, by rising threshold; at most [`LATE_MAX`].
    pub late: alloc::vec::Vec<Late>,
}

impl Point {
    /// A setting of which nothing was measured yet.
    pub const fn unmeasured(setting: Setting) -> Self {
        Self {
            setting,
            throughput_per_s: 0.0,
            useful_bytes: 0.0,
            wire_bytes: 0.0,
            core_ns: 0.0,
            idle_cores: 0.0,
            memory_bytes: 0.0,
            mean_ns: 0.0,
            server_ns: 0.0,
            jitter_ns: 0.0,
            p99_ns: 0.0,
            samples: 0,
            late: alloc::vec::Vec::new(),
        }
    }

    /// Whether nothing was measured of it: nothing is served in no time at all.
    pub fn is_unmeasured(&self) -> bool {
        self.throughput_per_s == 0.0 && self.mean_ns == 0.0
    }

    /// How many of how many operations were above the limit. With no count for exactly this limit the nearest lower
    /// threshold is used, which can only overstate; without any, all of them count as late.
    pub fn late_above(&self, limit_ns: u64) -> (u64, u64) {
        let known = self.late.iter().rev().find(|late| late.threshold_ns <= limit_ns);
        (known.map_or(self.samples, |late| late.above.min(self.samples)), self.samples)
    }

    /// Operations a second when so many arrive (`None`: as many as it can serve).
    pub fn served_per_s(&self, arrival_per_s: Option<f64>) -> f64 {
        arrival_per_s.map_or(self.throughput_per_s, |arrival| arrival.min(self.throughput_per_s))
    }

    /// Cores in use at that many operations a second: what the operations need, and the idle share of the rest of
    /// one core.
    pub fn cores(&self, served_per_s: f64) -> f64 {
        let busy = served_per_s * self.core_ns / 1e9;
        busy + self.idle_cores * (1.0 - busy).max(0.0)
    }
}
