//! Beside the paper: the same applications as Linux processes, without a guest.

use super::cells::APPLICATIONS;
use super::chart::bars;
use super::claims::{Found, bench, rows};
use super::kept::Measured;
use super::systems::{RUNS, in_time, lost};
use crate::Settings;
use nom_machine::trouble::{Outcome, Trouble};

/// The same comparisons as Linux processes, without a guest.
pub fn native(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(Some(if settings.quick { 1 } else { RUNS }));
    let (mut figures, mut absent) = (Vec::new(), Vec::new());
    for name in APPLICATIONS {
        let settings = Settings { runs, on: Some("linux".into()), question: "", ..settings.clone() };
        match in_time(&settings).and_then(|()| bench(name, &settings, progress)) {
            Ok(found) => figures.extend(found),
            Err(trouble) => lost(name, &trouble, &mut absent, progress),
        }
    }
    if figures.is_empty() {
        return Err(Trouble::new(absent.join(" ")));
    }
    let measured = Measured::of(&figures);
    let cells = [
        ("kv many", "kv.linux_many_ratio"),
        ("kv single", "kv.linux_single_ratio"),
        ("kv jitter", "kv.linux_jitter_ratio"),
        ("httpd many", "httpd.linux_175_many_ratio"),
        ("httpd single", "httpd.linux_175_single_ratio"),
        ("httpd jitter", "httpd.linux_175_jitter_ratio"),
        ("netpipe one way", "netpipe.linux_latency_ratio"),
        ("64 KiB", "netpipe.linux_throughput_ratio"),
    ];
    let seen: Vec<(&str, f64)> =
        cells.iter().filter_map(|(name, figure)| Some((*name, measured.value(figure)?))).collect();
    let names: Vec<String> = seen.iter().map(|(name, _)| (*name).to_string()).collect();
    let here: Vec<f64> = seen.iter().map(|(_, value)| *value).collect();
    let ahead = here.iter().filter(|value| **value > 1.0).count();
    let ours = format!("Ours is ahead in {ahead} of {} cells. {}", here.len(), absent.join(" "));
    Ok(Found {
        configuration: "`nom bench kv --on linux`, `nom bench httpd --on linux`, `nom bench netpipe`: 64 connections and one, values of \
                        1 KiB, a file of 175 bytes, messages of 1,024 bytes and 64 KiB."
            .into(),
        rows: Vec::new(),
        tables: vec![("All figures".into(), rows(&figures))],
        charts: vec![bars("Linux processes, beside Linux' own sockets", &names, &[("here, natively".into(), here)], "times better")],
        figures,
        ours,
    })
}
