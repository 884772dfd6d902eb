//! Beyond the paper, measured: billed bytes, and what adapting made of recorded arrivals.

use super::chart::bars;
use super::claims::{Found, bench, rows};
use super::kept::Measured;
use crate::Settings;
use crate::figures::Figure;
use nom_machine::machine::dying_with_us;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Seconds that are recorded before they are replayed.
const RECORDED_S: u32 = 60;

/// It takes longer than anything else, so a quick run begins it sooner than the last of the others.
const SOONER: Duration = Duration::from_secs(170);

/// Billed bytes: compression that follows prices.
pub fn bytes(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(settings.quick.then_some(1));
    let settings = Settings { runs, on: None, question: "bytes", ..settings.clone() };
    let figures = bench("httpd", &settings, progress)?;
    let measured = Measured::of(&figures);
    let value = |name: &str| measured.value(name).unwrap_or(f64::NAN);
    let groups = ["traffic at 0.09 $/GB", "traffic free"].map(String::from);
    let column = |name: &str, dear: &str, cheap: &str| {
        (name.to_string(), vec![value(&format!("httpd.{dear}")), value(&format!("httpd.{cheap}"))])
    };
    let made = [
        column("never", "profit_dear_plain", "profit_cheap_plain"),
        column("always", "profit_dear_start", "profit_cheap_start"),
        column("by price", "profit_dear", "profit_cheap"),
    ];
    let sent = [
        column("never", "bytes_per_request_dear_plain", "bytes_per_request_cheap_plain"),
        column("always", "bytes_per_request_dear_start", "bytes_per_request_cheap_start"),
        column("by price", "bytes_per_request", "bytes_per_request_cheap"),
    ];
    let ours = format!(
        "At 0.09 $/GB an answer is {:.0} bytes instead of {:.0}, and a million answers make {:.3} $ instead of {:.3} $; where traffic \
         is free the decision makes {:.3} $, never compressing {:.3} $.",
        value("httpd.bytes_per_request"),
        value("httpd.bytes_per_request_dear_plain"),
        value("httpd.profit_dear"),
        value("httpd.profit_dear_plain"),
        value("httpd.profit_cheap"),
        value("httpd.profit_cheap_plain"),
    );
    Ok(Found {
        configuration: "`nom bench httpd --bytes`: this project's documents, asked for by Zipf's law over one connection.".into(),
        rows: rows(&figures),
        tables: Vec::new(),
        charts: vec![
            bars("Profit of a million answers, by when files are compressed", &groups, &made, "dollars"),
            bars("Bytes of an answer, by when files are compressed", &groups, &sent, "bytes"),
        ],
        figures,
        ours,
    })
}

/// What adapting made of recorded arrivals beside each fixed setting, played again.
pub fn replay(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let file = settings.out_folder().join("run.json");
    let command = format!("nom run --seconds {RECORDED_S} --json {}", file.display());
    // A quick run takes what is there already, and has time for it when the rest was as quick as it is meant to be.
    let late = settings.until.is_some_and(|until| Instant::now() > until - SOONER);
    if settings.quick && late && !file.is_file() {
        return Err(Trouble::new(format!(
            "it takes five minutes, which this quick run has not any more. `{command}` leaves figures that a quick run reads"
        )));
    }
    if !settings.quick || !file.is_file() {
        progress(&command);
        let program = std::env::current_exe().context(|| "this program's own file".into())?;
        let output = dying_with_us(&program)
            .args(["run", "--seconds", &RECORDED_S.to_string(), "--json"])
            .arg(&file)
            .args(settings.kvm.then_some("--kvm"))
            .stdin(Stdio::null())
            .output()
            .context(|| format!("cannot start {command}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Trouble::new(said.lines().last().unwrap_or("nom run failed").to_string()));
        }
    }
    let measured = Measured::read(&file)?;
    let value = |name: &str| {
        measured
            .value(name)
            .ok_or_else(|| Trouble::new(format!("{} has no {name}: {command}", file.display())))
    };
    let (ratio, low, high) = (
        value("run.best_fixed_ratio")?,
        value("run.best_fixed_ratio_low")?,
        value("run.best_fixed_ratio_high")?,
    );
    let headroom = measured.value("run.headroom_estimate").unwrap_or(f64::NAN);
    let names = ["low", "mean", "high"].map(String::from);
    let figure = Figure::of("paper.replay_best_fixed_ratio", "x", Some(">=0.99"), &[ratio]);
    let figure = figure.map(|figure| Figure { min: low, max: high, ..figure });
    Ok(Found {
        configuration: format!("`{command}`: a guest under the emulator, rounds in shuffled order."),
        rows: vec![
            ["", "least", "mean", "most", "headroom by the points"].map(String::from).into(),
            [
                "tuner over best fixed setting".into(),
                format!("{low:.4}"),
                format!("{ratio:.4}"),
                format!("{high:.4}"),
                format!("{headroom:.3}"),
            ]
            .into(),
        ],
        tables: Vec::new(),
        charts: vec![bars(
            "Measured replay: profit over that of the best fixed setting",
            &names,
            &[("tuner over best fixed".into(), vec![low, ratio, high])],
            "times, with its 95% interval",
        )],
        ours: format!(
            "The tuner makes {ratio:.4} ({low:.4} to {high:.4}) of the best fixed setting of the same rounds; by the points, \
             changing without error would make {headroom:.3}."
        ),
        figures: figure.into_iter().collect(),
    })
}
