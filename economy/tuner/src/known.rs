//! What is known of a point beside its figures: how often it was seen, and how long ago.

use crate::choose::lateness;
use nom_points::{Noise, Point};
use nom_utility::tail;

/// A profile is worth that many windows.
const PROFILE_WINDOWS: f64 = 10.0;
/// A point is known once so many windows of it were seen.
pub(crate) const KNOWN_WINDOWS: f64 = 3.0;

/// Of one point of one class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its fraction of late operations. It changes only when the point does.
    pub late: tail::Fraction,
    /// Windows that it was seen in, older ones counting for less.
    windows: f64,
    /// It was profiled, or seen long enough to be compared with others.
    known: bool,
    /// When it was seen last.
    seen_ns: u64,
    /// How much longer its clients wait than the server sees. Taken at the first sight and kept: whoever sees less and
    /// less latency is not believed to have become quicker than its profile.
    pub hidden_ns: Option<f64>,
    /// The reciprocal of the windows.
    uncertain: f64,
}

impl Known {
    pub fn new(point: &Point, limit_ns: Option<u64>) -> Self {
        let profiled = !point.is_unmeasured();
        let windows = if profiled { PROFILE_WINDOWS } else { 0.0 };
        Self {
            late: lateness(limit_ns, point),
            windows,
            known: profiled,
            seen_ns: 0,
            hidden_ns: None,
            uncertain: 1.0 / windows.max(0.01),
        }
    }

    /// Whether its figures may be compared with those of others.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Windows that it was seen in, in so far as they still count.
    pub fn windows(&self, now_ns: u64, forget_ns: u64) -> f64 {
        let age = now_ns.saturating_sub(self.seen_ns) as f64 / forget_ns.max(1) as f64;
        self.windows / (1.0 + age)
    }

    /// One more window was seen, and the point was refined by it.
    pub fn saw(&mut self, now_ns: u64, forget_ns: u64, most: f64, point: &Point, limit_ns: Option<u64>) {
        self.windows = (self.windows(now_ns, forget_ns) + 1.0).min(most);
        self.known |= self.windows >= KNOWN_WINDOWS - 0.1;
        self.seen_ns = now_ns;
        self.late = lateness(limit_ns, point);
        self.uncertain = 1.0 / self.windows;
    }

    /// Time goes on, and what was seen counts for less.
    pub fn age(&mut self, now_ns: u64, forget_ns: u64) {
        self.uncertain = 1.0 / self.windows(now_ns, forget_ns).max(0.01);
    }

    /// Deviations of a window that its figures may be off by.
    pub fn alone(&self) -> f64 {
        2.0 * root(self.uncertain)
    }

    /// Deviations of a window that the difference of two points may be off by.
    pub fn uncertainty(&self, other: &Self) -> f64 {
        2.0 * root(self.uncertain + other.uncertain)
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
/// From the mean of absolute deviations to the standard deviation of a normal distribution.
const DEVIATION: f64 = 1.253;

impl Spread {
    /// Takes how far a window was off.
    pub fn saw(&mut self, expected: &Point, mean_ns: f64, core_ns: f64, wire_bytes: f64) {
        let off = |seen: f64, expected: f64| {
            if expected > 0.0 { ((seen - expected).abs() / expected).min(1.0) * DEVIATION } else { 0.0 }
        };
        let toward = |old: &mut f64, new: f64| *old += (new - *old) / SPREAD_WINDOWS;
        toward(&mut self.0.latency, off(mean_ns, expected.mean_ns));
        toward(&mut self.0.cores, off(core_ns, expected.core_ns));
        toward(&mut self.0.bytes, off(wire_bytes, expected.wire_bytes));
        // These two are not seen from outside.
        self.0.memory = 0.0;
        self.0.throughput = 0.0;
    }
}

/// Square root by Newton's steps: `core` has none.
pub(crate) fn root(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let mut guess = f64::from_bits((value.to_bits() >> 1) + (1023 << 51));
    for _ in 0..4 {
        guess = 0.5 * (guess + value / guess);
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        for value in [1e-9, 0.5, 2.0, 144.0, 3.7e20] {
            assert!((root(value) * root(value) / value - 1.0).abs() < 1e-9, "{value}");
        }
        assert_eq!(root(0.0), 0.0);
    }
}
