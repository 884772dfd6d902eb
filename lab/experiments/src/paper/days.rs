//! Beyond the paper: an open load, price days in the forms of three providers, price and load apart and together.

use super::chart::bars;
use super::claims::{Found, rows};
use crate::Settings;
use crate::profit::{self, Row};
use nom_machine::trouble::Outcome;

/// Runs of a quick report.
const QUICK_RUNS: usize = 2;
/// Figures that are bounds of an interval over the runs.
const BOUNDS: [&str; 2] = ["profit.static_lower_bound", "profit.price_only_gain"];

pub fn days(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(settings.quick.then_some(QUICK_RUNS));
    let mut lines = Vec::new();
    let (cells, mut figures) = profit::cells(&Settings { runs, ..settings.clone() }, &mut |line| {
        lines.push(line.to_string());
        progress(line);
    })?;
    if runs == Some(QUICK_RUNS) && settings.quick {
        // Bounds and goals belong to many runs: of two, a bound says nothing.
        figures.retain(|figure| !BOUNDS.contains(&figure.name.as_str()));
        figures.iter_mut().for_each(|figure| figure.goal = None);
    }
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
            "both" => "Price and load move".to_string(),
            "price" => "Price alone moves".to_string(),
            _ => "Load alone moves".to_string(),
        };
        let series = [
            column("best fixed", |cell| cell.stat),
            column("profile left alone", |cell| cell.frozen),
            column("profile refined", |cell| cell.offline),
            column("from nothing", |cell| cell.online),
        ];
        bars(&title, &names, &series, "profit, % of the oracle's")
    });
    let mut ours = format!(
        "Over {} cells, with profiled points that it refines the tuner makes at least {:.3} of the oracle, with none {:.3}; the best fixed \
         setting {:.3}.",
        cells.len(),
        value("profit.oracle_ratio_offline_min"),
        value("profit.oracle_ratio_online_min"),
        cells.iter().map(|cell| cell.stat).fold(f64::INFINITY, f64::min),
    );
    match value("profit.static_lower_bound") {
        bound if bound.is_finite() => {
            ours +=
                &format!(" Over the best fixed setting it is at least {bound:+.3} of revenue (lower bound).");
        }
        _ => ours += " Two runs of each, which is too few for bounds and goals: those are the full run's.",
    }
    let head = [
        "of the oracle's profit",
        "what moves",
        "best fixed",
        "profile left alone",
        "profile refined",
        "from nothing",
    ];
    let percent = |part: f64| format!("{:.1}%", 100.0 * part);
    let mut table = vec![head.map(String::from).to_vec()];
    table.extend(cells.iter().map(|cell| {
        let parts = [cell.stat, cell.frozen, cell.offline, cell.online].map(percent);
        [cell.course.to_string(), cell.moves.to_string()].into_iter().chain(parts).collect()
    }));
    let tables = vec![("All figures".to_string(), rows(&figures))];
    Ok(Found { configuration: lines.join("\n"), rows: table, tables, charts: charts.into(), figures, ours })
}
