//! What is known of a running service at one moment. Every way of showing it begins here.

use std::time::Duration;

/// Most figures of a course, and most decisions, that are kept to be shown.
pub const COURSE_MAX: usize = 240;
/// Most decisions that are kept to be shown.
pub const DECISIONS_MAX: usize = 8;

/// A service at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Who serves: `kv 0.1.0 (guest)`.
    pub service: String,
    /// Where clients reach it.
    pub place: String,
    /// Since it was ready.
    pub elapsed: Duration,
    /// When it ends, if that was said.
    pub ends: Option<Duration>,
    /// Prices in force.
    pub prices: Vec<Price>,
    /// Money of the last few windows; `None` before the first one is settled.
    pub rates: Option<Money>,
    /// Money of all windows, in dollars.
    pub total: Money,
    /// Profit of each window, in dollars an hour, the newest last.
    pub profits: Vec<f64>,
    /// Accepted operations a second.
    pub operations_per_s: f64,
    /// The same a moment ago and before, the newest last.
    pub operations: Vec<f64>,
    /// Refused operations a second.
    pub refused_per_s: f64,
    /// Operations a second that were measured to be possible.
    pub capacity_per_s: Option<f64>,
    /// Open connections.
    pub connections: u64,
    /// How long answers take, as the service sees it; `None` when nothing was answered.
    pub latency: Option<Latency>,
    /// What an operation takes; `None` when there was none.
    pub request: Option<Request>,
    /// The knobs, as the points file writes them.
    pub setting: String,
    /// What fixed settings would make.
    pub fixed: Vec<Fixed>,
    /// What was decided last, the newest last.
    pub decisions: Vec<Decision>,
}

/// A price and its course.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Price {
    /// Of what.
    pub name: &'static str,
    /// As a person writes it.
    pub text: String,
    /// In dollars for any unit, the newest last.
    pub course: Vec<f64>,
}

/// Dollars, or dollars an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Money {
    /// What users pay.
    pub revenue: f64,
    /// Cost of bytes on the wire.
    pub bandwidth: f64,
    /// Cost of cores.
    pub core: f64,
    /// Cost of memory.
    pub memory: f64,
}

impl Money {
    /// What it costs.
    pub fn cost(&self) -> f64 {
        self.bandwidth + self.core + self.memory
    }

    /// What remains.
    pub fn profit(&self) -> f64 {
        self.revenue - self.cost()
    }
}

/// Latency of the last second or so, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile, from buckets that double: about.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile, from buckets that double: about.
    pub p999_ns: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Standard deviation, from buckets that double: about.
    pub jitter_ns: u64,
}

/// What one operation takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Request {
    /// Bytes received on the wire.
    pub in_bytes: f64,
    /// Bytes sent on the wire.
    pub out_bytes: f64,
    /// Core time.
    pub core_ns: f64,
    /// Notifications of the device.
    pub kicks: f64,
    /// Sleeps.
    pub sleeps: f64,
    /// What it costs at the prices in force, in dollars.
    pub cost: f64,
}

/// What a fixed setting would make, by what was measured of it before: an estimate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fixed {
    /// The setting.
    pub setting: String,
    /// Whether it is in force.
    pub current: bool,
    /// Whether no other setting is better in everything.
    pub frontier: bool,
    /// Mean latency that clients were measured to see.
    pub latency_ns: f64,
    /// What an operation would cost at the prices in force, in dollars.
    pub cost: f64,
    /// Profit under the present load, in dollars an hour.
    pub profit_per_h: f64,
    /// What it would have made since the start, in dollars.
    pub total: f64,
}

/// Something that the tuner decided.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Since the service was ready.
    pub at: Duration,
    /// The setting before.
    pub before: String,
    /// The setting since.
    pub after: String,
    /// Why, in the tuner's words.
    pub why: String,
    /// From the price on the board to the knob.
    pub took_ns: u64,
}

/// Adds the newest figure of a course, which forgets its oldest one when it is full.
pub fn push(course: &mut Vec<f64>, figure: f64) {
    if course.len() == COURSE_MAX {
        course.remove(0);
    }
    course.push(figure);
}
