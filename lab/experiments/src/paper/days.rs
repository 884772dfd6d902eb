//! Beyond the paper: an open load, price days in the forms of three providers, price and load apart and together.

use super::chart::bars;
use super::claims::{Found, rows};
use crate::Settings;
use crate::profit::{self, Row};
use nom_machine::trouble::Outcome;

/// Runs of a quick report.
const QUICK_RUNS: usize = 2;

pub fn days(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(settings.quick.then_some(QUICK_RUNS));
    let mut lines = Vec::new();
    let (cells, figures) = profit::cells(&Settings { runs, ..settings.clone() }, &mut |line| {
        lines.push(line.to_string());
        progress(line);
    })?;
    let value = |name: &str| {
        figures.iter().find(|figure| figure.name == name).map_or(f64::NAN, |figure| figure.value)
    };
    // A chart for what moves: a group of bars for each course.
    let charts = ["price", "load", "both"].map(|moves| {
        let of: Vec<&Row> = cells.iter().filter(|cell| cell.moves == moves).collect();
        let column = |name: &str, part: fn(&Row) -> f64| {
            (name.to_string(), of.iter().map(|cell| 100.0 * part(cell)).collect::<Vec<f64>>())
        };
        let names: Vec<String> = of.iter().map(|cell| cell.course.to_string()).collect();
        let title = match moves {
            "both" => "price and load move: profit, % of the oracle's".to_string(),
            one => format!("{one} alone moves: profit, % of the oracle's"),
        };
        let series = [
            column("best fixed", |cell| cell.stat),
            column("profile left alone", |cell| cell.frozen),
            column("profile refined", |cell| cell.offline),
            column("from nothing", |cell| cell.online),
        ];
        bars(&title, &names, &series, &title)
    });
    let ours = format!(
        "Over {} cells, with profiled points the tuner makes at least {:.3} of the oracle, with none {:.3}; over the best fixed \
         setting it is at least {:+.3} of revenue (lower bound).",
        cells.len(),
        value("profit.oracle_ratio_offline_min"),
        value("profit.oracle_ratio_online_min"),
        value("profit.static_lower_bound"),
    );
    let rows = rows(&figures);
    Ok(Found { configuration: lines.join("\n"), rows, charts: charts.into(), figures, ours })
}
