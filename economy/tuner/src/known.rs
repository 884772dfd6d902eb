//! What is known of a point beside its figures: whether it was seen, and how late its operations are.

use crate::choose::lateness;
use nom_points::{Noise, Point};
use nom_utility::tail;

/// A point is known once so many windows of it were seen.
pub(crate) const KNOWN_WINDOWS: u32 = 3;

/// Of one point of one class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its fraction of late operations. It changes only when the point does.
    pub late: tail::Fraction,
    /// Windows that it was seen in.
    windows: u32,
    /// It was profiled.
    profiled: bool,
    /// How much longer its clients wait than the server sees. Taken at the first sight and kept: whoever sees less and
    /// less latency is not believed to have become quicker than its profile.
    pub hidden_ns: Option<f64>,
    /// When it was tried last.
    pub tried_ns: Option<u64>,
}

impl Known {
    pub fn new(point: &Point, limit_ns: Option<u64>) -> Self {
        let profiled = !point.is_unmeasured();
        Self { late: lateness(limit_ns, point), windows: 0, profiled, hidden_ns: None, tried_ns: None }
    }

    /// Whether its figures were measured, for long enough to be compared with others.
    pub fn is_known(&self) -> bool {
        self.profiled || self.windows >= KNOWN_WINDOWS
    }

    /// Whether it was measured at all.
    pub fn was_seen(&self) -> bool {
        self.profiled || self.windows > 0
    }

    /// One more window was seen.
    pub fn saw(&mut self) {
        self.windows = self.windows.saturating_add(1);
    }
}

/// How much a window differs from the point that it is expected to show, as parts of the figures: of all points
/// together, since none alone is seen often enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread(pub Noise);

impl Default for Spread {
    fn default() -> Self {
        Self(Noise::same(SPREAD_FIRST))
    }
}

/// What is taken for the deviation of a window before any was seen.
const SPREAD_FIRST: f64 = 0.05;
/// Windows that the deviation remembers.
const SPREAD_WINDOWS: f64 = 50.0;
/// A window that is off by more than so many deviations counts for no more.
const OUTLIER: f64 = 3.0;
/// From the mean of absolute deviations to the standard deviation of a normal distribution.
const DEVIATION: f64 = 1.253;

impl Spread {
    /// Takes how far a window was off.
    pub fn saw(&mut self, expected: &Point, mean_ns: f64, core_ns: f64, wire_bytes: f64) {
        let off = |seen: f64, expected: f64| {
            if expected > 0.0 { (seen - expected).abs() / expected * DEVIATION } else { 0.0 }
        };
        // What was expected quite wrongly says nothing about how much windows differ.
        let toward = |old: &mut f64, new: f64| *old += (new.min(*old * OUTLIER) - *old) / SPREAD_WINDOWS;
        toward(&mut self.0.latency, off(mean_ns, expected.mean_ns));
        toward(&mut self.0.cores, off(core_ns, expected.core_ns));
        toward(&mut self.0.bytes, off(wire_bytes, expected.wire_bytes));
        // These two are not seen from outside.
        self.0.memory = 0.0;
        self.0.throughput = 0.0;
    }
}
