//! What is known of a point beside its figures: whether it was seen, and how late its operations are.

use crate::choose::lateness;
use nom_points::{Noise, Point};
use nom_utility::tail;

/// A point is known once so many windows of it were seen.
pub(crate) const KNOWN_WINDOWS: u32 = 3;

/// No server becomes so many times quicker than its profile.
const QUICKER_MOST: f64 = 2.0;

/// Of one point of one class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its fraction of late operations. It changes only when the point does.
    pub late: tail::Fraction,
    /// Windows that it was seen in.
    windows: u32,
    /// It was profiled: mean latency as clients saw it.
    profiled_ns: Option<f64>,
    /// How much longer its clients wait than the server sees.
    hidden_ns: Option<f64>,
    /// When it was tried last.
    pub tried_ns: Option<u64>,
}

impl Known {
    pub fn new(point: &Point, limit_ns: Option<u64>) -> Self {
        let profiled_ns = (!point.is_unmeasured()).then_some(point.mean_ns);
        let both = profiled_ns.filter(|_| point.server_ns > 0.0);
        let hidden_ns = both.map(|mean_ns| (mean_ns - point.server_ns).max(0.0));
        Self { late: lateness(limit_ns, point), windows: 0, profiled_ns, hidden_ns, tried_ns: None }
    }

    /// Whether its figures were measured, for long enough to be compared with others.
    pub fn is_known(&self) -> bool {
        self.profiled_ns.is_some() || self.windows >= KNOWN_WINDOWS
    }

    /// Whether clients said what they waited for.
    pub fn was_profiled(&self) -> bool {
        self.profiled_ns.is_some()
    }

    /// Whether it was measured at all.
    pub fn was_seen(&self) -> bool {
        self.profiled_ns.is_some() || self.windows > 0
    }

    /// How much longer clients wait than a server that sees `seen_ns`. The profile says so where both were noted. Where they
    /// were not, what is missing at the first sight is taken and kept: whoever sees less and less latency is not believed
    /// to have become quicker. A core that drowns says nothing about it, and neither does what was never profiled.
    pub fn hidden_ns(&mut self, expected_ns: f64, seen_ns: f64, drowned: bool) -> f64 {
        let Some(profiled_ns) = self.profiled_ns else { return 0.0 };
        if drowned {
            return self.hidden_ns.unwrap_or(0.0);
        }
        *self.hidden_ns.get_or_insert((expected_ns.min(profiled_ns) - seen_ns).max(0.0))
    }

    /// Whether what a server says of its latency can be true. No server becomes so many times quicker than its own profile: it
    /// has lost sight of its clients, and what was profiled stands.
    pub fn is_credible(&self, expected_ns: f64, seen_ns: f64) -> bool {
        match (self.profiled_ns, self.hidden_ns) {
            (Some(_), Some(hidden_ns)) => seen_ns * QUICKER_MOST >= expected_ns - hidden_ns,
            _ => true,
        }
    }

    /// One more window was seen.
    pub fn saw(&mut self) {
        self.windows = self.windows.saturating_add(1);
    }
}

/// How much a window of a second differs from the point that it is expected to show, as parts of the figures: of all
/// points together, since none alone is seen often enough. A shorter window differs more.
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

/// The root of a window's length in seconds: chance averages out by it.
fn length(window_ns: u64) -> f64 {
    libm::sqrt(window_ns.max(1) as f64 / nom_money::NANO as f64)
}

impl Spread {
    /// How much a window of such a length differs.
    pub fn of(&self, window_ns: u64) -> Noise {
        let more = 1.0 / length(window_ns);
        let Noise { latency, cores, bytes, .. } = self.0;
        Noise { latency: latency * more, cores: cores * more, bytes: bytes * more, ..self.0 }
    }

    /// Takes how far a window was off.
    pub fn saw(&mut self, window_ns: u64, expected: &Point, mean_ns: f64, core_ns: f64, wire_bytes: f64) {
        let scale = DEVIATION * length(window_ns);
        let off = |seen: f64, expected: f64| {
            if expected > 0.0 { (seen - expected).abs() / expected * scale } else { 0.0 }
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
