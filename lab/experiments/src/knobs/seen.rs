//! What a value of a knob gave under a load.

use nom_load::tally::Tally;

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// Answers in a second.
    pub per_s: f64,
    /// Latency from the moment at which a question was due, as the client saw it.
    pub mean_us: f64,
    /// Half of them took less.
    pub p50_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
    /// All but one in a thousand.
    pub p999_us: f64,
    /// Bytes that the server sent on the wire for an answer.
    pub bytes: f64,
    /// Processor time of the server for an answer.
    pub cpu_us: f64,
    /// Notifications of the device for an answer.
    pub kicks: f64,
    /// Part of the questions that was not asked, since there was no connection or no room.
    pub shed: f64,
}

/// What the server used for so many answers in so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Used {
    /// The time.
    pub span_ns: u64,
    /// Answers in it.
    pub answers: u64,
    /// Bytes sent on the wire.
    pub bytes: u64,
    /// Processor time.
    pub cpu_ns: u64,
    /// Notifications of the device.
    pub kicks: u64,
}

impl Seen {
    /// From what client and server counted.
    pub fn new(tally: &Tally, used: Used) -> Self {
        let each = |sum: u64| sum as f64 / used.answers.max(1) as f64;
        let quantile = |part| tally.quantile_ns(part) as f64 / 1e3;
        Self {
            per_s: used.answers as f64 * 1e9 / used.span_ns.max(1) as f64,
            mean_us: tally.latency_ns.mean() / 1e3,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            bytes: each(used.bytes),
            cpu_us: each(used.cpu_ns) / 1e3,
            kicks: each(used.kicks),
            shed: tally.shed as f64 / tally.sent.max(1) as f64,
        }
    }
}

/// A figure of a block: its name, its unit, whether more of it is better; nothing where it only explains.
pub struct Metric {
    /// Last part of the figure's name, with the unit.
    pub name: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// `Some(true)`: more is better.
    pub better: Option<bool>,
    /// The figure.
    pub of: fn(&Seen) -> f64,
}

/// All of them.
pub const METRICS: [Metric; 9] = [
    Metric { name: "per_s", unit: "1/s", better: Some(true), of: |seen| seen.per_s },
    Metric { name: "mean_us", unit: "us", better: Some(false), of: |seen| seen.mean_us },
    Metric { name: "p50_us", unit: "us", better: None, of: |seen| seen.p50_us },
    Metric { name: "p99_us", unit: "us", better: Some(false), of: |seen| seen.p99_us },
    Metric { name: "p999_us", unit: "us", better: None, of: |seen| seen.p999_us },
    Metric { name: "wire_bytes", unit: "B", better: Some(false), of: |seen| seen.bytes },
    Metric { name: "cpu_us", unit: "us", better: Some(false), of: |seen| seen.cpu_us },
    Metric { name: "kicks", unit: "", better: None, of: |seen| seen.kicks },
    Metric { name: "shed", unit: "", better: None, of: |seen| seen.shed },
];
