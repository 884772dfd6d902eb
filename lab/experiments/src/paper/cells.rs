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

/// Ours in a scenario beside another guest: the way of waiting whose least advantage is the larger one, of throughput,
/// latency and jitter. Whoever wants to be ahead in all three sets it so; serving most may cost steadiness.
pub fn ours_beside(
    measured: &Measured,
    application: &str,
    scenario: &str,
    other: &Cell,
) -> Option<(&'static str, Cell)> {
    let least = |cell: &Cell| {
        let steadier = other.deviation_us.zip(cell.deviation_us).map_or(f64::INFINITY, |(a, b)| a / b);
        (cell.per_s / other.per_s).min(other.mean_us / cell.mean_us).min(steadier)
    };
    let of = |side: &'static str| Some((side, cell(measured, application, side, scenario)?));
    WAYS.into_iter().filter_map(of).max_by(|a, b| least(&a.1).total_cmp(&least(&b.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figure;

    #[test]
    fn beside_another_guest_the_least_advantage_decides() {
        let measured = |polling_deviation_us: f64| {
            let values = [
                ("halting_single_per_s", 3_000.0),
                ("halting_single_us", 300.0),
                ("halting_single_deviation_us", 80.0),
                ("polling_single_per_s", 6_000.0),
                ("polling_single_us", 150.0),
                ("polling_single_deviation_us", polling_deviation_us),
            ];
            let figure =
                |(name, value)| Figure::of(&format!("paper.kv.vm_{name}"), "", None, &[value]).unwrap();
            Measured::of(&values.map(figure))
        };
        let (mean_us, deviation_us) = (600.0, Some(100.0));
        let linux = Cell { per_s: 1_500.0, mean_us, deviation_us, wire_deviation_us: None, late: None };
        let way = |measured: &Measured| ours_beside(measured, "kv", "single", &linux).unwrap().0;
        assert_eq!(way(&measured(50.0)), "polling");
        assert_eq!(way(&measured(90.0)), "halting", "1.25 times steadier, not 1.11");
        assert_eq!(ours(&measured(90.0), "kv", "single").unwrap().0, "polling", "it serves more");
        assert!(ours_beside(&measured(50.0), "httpd", "single", &linux).is_none());
    }
}
