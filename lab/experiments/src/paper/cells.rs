//! What was measured of a guest in a scenario, by the names that benches give their figures.

use super::kept::Measured;

pub const APPLICATIONS: [&str; 3] = ["kv", "httpd", "netpipe"];
pub const SCENARIOS: [&str; 2] = ["many", "single"];
/// Ways to wait of a guest of ours.
pub const WAYS: [&str; 2] = ["halting", "polling"];

/// What was measured of one side of a scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    pub per_s: f64,
    pub mean_us: f64,
    /// Standard deviation of latency, as the client sees it.
    pub deviation_us: Option<f64>,
    /// The same on the TAP device, without the client; with one connection.
    pub wire_deviation_us: Option<f64>,
    /// The part of the answers that took longer than the paper's limit.
    pub late: Option<f64>,
}

/// The cell of a side: `linux`, or one of [`WAYS`].
pub fn cell(measured: &Measured, application: &str, side: &str, scenario: &str) -> Option<Cell> {
    let value = |what: &str| measured.value(&format!("paper.{application}.vm_{what}"));
    let of = |what: &str| value(&format!("{side}_{scenario}_{what}"));
    Some(Cell {
        per_s: of("per_s")?,
        mean_us: of("us")?,
        deviation_us: of("deviation_us"),
        wire_deviation_us: value(&format!("wire_{side}_deviation_us")).filter(|_| scenario == "single"),
        late: of("late_part"),
    })
}

/// Ours in a scenario: the way of waiting that serves more, which is what an application would set.
pub fn ours(measured: &Measured, application: &str, scenario: &str) -> Option<(&'static str, Cell)> {
    let of = |side: &'static str| Some((side, cell(measured, application, side, scenario)?));
    WAYS.into_iter().filter_map(of).max_by(|a, b| a.1.per_s.total_cmp(&b.1.per_s))
}
