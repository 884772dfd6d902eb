//! Figures 2 to 7, tables 1 and 2: a guest of ours beside one of Linux, and natively.

use super::chart::{bars, short};
use super::claims::{Found, bench, rows};
use super::kept::Measured;
use super::money::{LIMIT_US, PHASE_S, PRICES, paper_contracts};
use crate::figures::Figure;
use crate::guests::PAPER_MANY;
use crate::{Settings, httpd_vm, kv_vm, netpipe_vm};
use nom_machine::trouble::{Outcome, Trouble};
use nom_money::Prices;
use nom_utility::Flow;
use std::time::Instant;

/// Rounds of a full run.
const RUNS: usize = 5;
const APPLICATIONS: [&str; 3] = ["kv", "httpd", "netpipe"];
const SCENARIOS: [&str; 2] = ["many", "single"];
/// Outbound bytes of an answer; they scale both systems alike.
const ANSWER_LEN: [f64; 3] = [160.0, 300.0, 1_024.0];

/// How much better than Linux the paper's nom is: what its text and tables say of a cell.
struct Said {
    application: &'static str,
    scenario: &'static str,
    metric: &'static str,
    times: f64,
    words: &'static str,
}

const fn said(
    application: &'static str,
    scenario: &'static str,
    metric: &'static str,
    times: f64,
    words: &'static str,
) -> Said {
    Said { application, scenario, metric, times, words }
}

const NHTTPD: &str = "1.2 to 3.9, over Linux and OSv, both scenarios";
const NHTTPD_LATENCY: &str = "up to 9.1, over Linux and OSv, both scenarios";
const NETPIPE: &str = "up to 1.42, over Linux and OSv, both scenarios";

/// Section 6.2 and table 1. The bars of figures 2 to 4 carry no numbers; where the text gives a range, its end stands here.
const SAID: [Said; 14] = [
    said("kv", "many", "throughput", 1.01, "1.01"),
    said("kv", "many", "latency", 402.0 / 399.0, "1.01 (402 us to 399 us)"),
    said("kv", "many", "jitter", 499.0 / 121.0, "4.1 (499 us to 121 us)"),
    said("kv", "single", "throughput", 1.28, "1.28"),
    said("kv", "single", "latency", 82.0 / 63.0, "1.3 (82 us to 63 us)"),
    said("kv", "single", "jitter", 14.0 / 13.0, "1.1 (14 us to 13 us)"),
    said("httpd", "many", "throughput", 3.9, NHTTPD),
    said("httpd", "many", "latency", 9.1, NHTTPD_LATENCY),
    said("httpd", "single", "throughput", 3.9, NHTTPD),
    said("httpd", "single", "latency", 9.1, NHTTPD_LATENCY),
    said("netpipe", "many", "throughput", 1.42, NETPIPE),
    said("netpipe", "many", "latency", 1.42, NETPIPE),
    said("netpipe", "single", "throughput", 1.42, NETPIPE),
    said("netpipe", "single", "latency", 1.42, NETPIPE),
];

/// Table 2: exits and injections a second of the paper's memcached, of Linux and of nom.
const TABLE_2: [(&str, &str, f64, f64); 4] = [
    ("many", "accesses", 43_146.0, 10_834.0),
    ("single", "accesses", 90_166.0, 18_280.0),
    ("many", "injections", 20_245.0, 999.0),
    ("single", "injections", 12_194.0, 999.0),
];

/// What was measured of one side of a scenario; latency and deviation where the client says them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    per_s: f64,
    mean_us: f64,
    deviation_us: Option<f64>,
}

/// What of a cell is compared.
type Metric = fn(&Cell) -> Option<f64>;

fn cell(measured: &Measured, application: &str, side: &str, scenario: &str) -> Option<Cell> {
    let value = |what: &str| measured.value(&format!("paper.{application}.vm_{side}_{scenario}_{what}"));
    Some(Cell { per_s: value("per_s")?, mean_us: value("us")?, deviation_us: value("deviation_us") })
}

/// Ours in a scenario: the way of waiting that serves more, which is what an application would set.
fn ours(measured: &Measured, application: &str, scenario: &str) -> Option<(&'static str, Cell)> {
    let of = |side: &'static str| Some((side, cell(measured, application, side, scenario)?));
    [of("halting"), of("polling")].into_iter().flatten().max_by(|a, b| a.1.per_s.total_cmp(&b.1.per_s))
}

pub fn systems(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(Some(if settings.quick { 1 } else { RUNS }));
    let settings = Settings { runs, ..settings.clone() };
    let mut absent = Vec::new();
    let mut figures = Vec::new();
    let kv =
        &mut |progress: &mut dyn FnMut(&str)| kv_vm::measure_as_the_paper(PAPER_MANY, &settings, progress);
    let httpd =
        &mut |progress: &mut dyn FnMut(&str)| httpd_vm::measure_as_the_paper(PAPER_MANY, &settings, progress);
    let netpipe = &mut |progress: &mut dyn FnMut(&str)| netpipe_vm::scenarios(&settings, progress);
    type Part<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&str)) -> Outcome<Vec<Figure>>;
    let parts: [(&str, Part<'_>); 3] = [("kv", kv), ("httpd", httpd), ("netpipe", netpipe)];
    for (name, part) in parts {
        progress(&format!("{name}: a guest of ours beside one of Linux"));
        // What cannot be measured here is said and left out; the rest of the report stands.
        match in_time(&settings).and_then(|()| part(progress)) {
            Ok(found) => figures.extend(found),
            Err(trouble) => lost(name, &trouble, &mut absent, progress),
        }
    }
    if figures.is_empty() {
        return Err(Trouble::new(absent.join(" ")));
    }
    shown(figures, &absent)
}

/// Says at once and in the report that a part could not be measured.
fn lost(name: &str, trouble: &Trouble, absent: &mut Vec<String>, progress: &mut dyn FnMut(&str)) {
    let line = format!("{name} was not measured: {trouble}.");
    progress(&line);
    absent.push(line);
}

/// Whether there is time for another part; the first one of a report always has it.
fn in_time(settings: &Settings) -> Outcome<()> {
    match settings.until {
        Some(until) if Instant::now() > until => Err(Trouble::new(
            "the time of a quick run is over; `nom bench paper --claim NAME` takes what it needs",
        )),
        _ => Ok(()),
    }
}

fn shown(mut figures: Vec<Figure>, absent: &[String]) -> Outcome<Found> {
    let measured = Measured::of(&figures);
    let mut found = Found {
        configuration: format!(
            "Each guest on one processor of the host with all its emulator's threads, the client on the other: the same machine \
             type, card and network; ours has 16 MiB, Linux 96 MiB. kv: memcaslap, nine GETs to a SET, values of 100 bytes, \
             beside memcached. httpd: wrk, a file of 175 bytes, beside nginx with one worker. netpipe: messages of 1,024 bytes, \
             beside NPtcp. Many: {PAPER_MANY} connections (which is what the paper's 402 us at 39,800 answers a second come to); \
             NetPIPE streams (NPtcp -s; its both-ways mode is not in ours), where latency is the time a message takes and no \
             single one is seen, so there is no jitter. Single: one. Of ours that way of waiting counts in each scenario that \
             serves more: halting, or polling with the guest's processor at nice 19. Systems take turns; who is first changes \
             with each round. A round before which others used a tenth of the machine or more counts as disturbed. Accesses: \
             lines of the emulator's trace for registers of devices, in place of exits; injections: for interrupts that reach \
             the processor's controller. Halts are not among them."
        ),
        rows: vec![
            ["", "", "", "Linux", "nom, halting", "nom, polling", "nom / Linux", "the paper's"]
                .map(String::from)
                .into(),
        ],
        ..Found::default()
    };
    let (mut cells, mut ahead, mut behind) = (0, 0, Vec::new());
    for application in APPLICATIONS {
        let (mut names, mut here, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for scenario in SCENARIOS {
            let Some(linux) = cell(&measured, application, "linux", scenario) else { continue };
            let Some((way, best)) = ours(&measured, application, scenario) else { continue };
            let metrics: [(&str, Metric, bool); 3] = [
                ("throughput", |cell| Some(cell.per_s), true),
                ("latency", |cell| Some(cell.mean_us), false),
                ("jitter", |cell| cell.deviation_us, false),
            ];
            for (metric, of, more_is_better) in metrics {
                let (Some(linux), Some(best)) = (of(&linux), of(&best)) else { continue };
                let times = if more_is_better { best / linux } else { linux / best };
                let said = SAID.iter().find(|said| {
                    (said.application, said.scenario, said.metric) == (application, scenario, metric)
                });
                let unit = if more_is_better { "/s" } else { " us" };
                let text =
                    |value: Option<f64>| value.map_or("-".into(), |value| format!("{}{unit}", short(value)));
                let side =
                    |side: &str| text(cell(&measured, application, side, scenario).as_ref().and_then(of));
                cells += 1;
                match times > 1.0 {
                    true => ahead += 1,
                    false => behind.push(format!("{application} {scenario}, {metric} ({})", short(times))),
                }
                found.rows.push(vec![
                    application.into(),
                    scenario.into(),
                    metric.into(),
                    text(Some(linux)),
                    side("halting"),
                    side("polling"),
                    format!("{} ({way})", short(times)),
                    said.map_or("not said", |said| said.words).into(),
                ]);
                names.push(format!("{scenario}, {metric}"));
                here.push(times);
                theirs.push(said.map_or(f64::NAN, |said| said.times));
                let name = format!("paper.{application}_{scenario}_{metric}_ratio");
                found.figures.extend(
                    Figure::of(&name, "x", Some(">=1"), &[times])
                        .map(|figure| figure.emulated(true).against("Linux in a guest")),
                );
            }
        }
        if !names.is_empty() {
            let title = format!("{application}: times better than Linux");
            let series = [
                ("here (emulated)".to_string(), here),
                ("the paper (KVM; ends of ranges)".to_string(), theirs),
            ];
            found.charts.push(bars(&title, &names, &series, &title));
        }
    }
    for application in ["kv", "httpd"] {
        found.rows.extend(table_2(&measured, application));
    }
    found.rows.extend(rows(&figures));
    let disturbed: f64 = APPLICATIONS
        .iter()
        .filter_map(|application| measured.value(&format!("paper.{application}.vm_disturbed_rounds")))
        .sum();
    found.ours = format!(
        "Ours is ahead in {ahead} of {cells} measured figures (emulated{}). Disturbed rounds: {disturbed:.0}. {}",
        match behind.as_slice() {
            [] => String::new(),
            behind => format!("; behind in {}", behind.join(", ")),
        },
        absent.join(" ")
    );
    found.figures.append(&mut figures);
    Ok(found)
}

/// Table 2: what guests make the machine do, a second and an operation.
fn table_2(measured: &Measured, application: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (scenario, what, linux, nom) in TABLE_2 {
        let of = |side: &str| {
            let each =
                measured.value(&format!("paper.{application}.vm_{side}_{scenario}_{what}_per_operation"))?;
            Some((each, each * cell(measured, application, side, scenario)?.per_s))
        };
        let Some(((there, _), (here, _))) = of("linux").zip(of("halting")) else { continue };
        let text = |side| {
            of(side).map_or("-".into(), |(each, per_s)| {
                format!("{}/s, {} an operation", short(per_s), short(each))
            })
        };
        rows.push(vec![
            application.into(),
            scenario.into(),
            what.into(),
            text("linux"),
            text("halting"),
            text("polling"),
            format!("{} an operation (halting)", short(there / here)),
            if application == "kv" {
                format!("{} ({} to {} a second)", short(linux / nom), short(linux), short(nom))
            } else {
                "not said".into()
            },
        ]);
    }
    rows
}

/// Figures 5 to 7: what the measured throughput, latency and jitter earn on the paper's schedule.
pub fn earnings(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let measured = Measured::read(&settings.out_folder().join("systems.json")).map_err(|_| {
        Trouble::new("the figures of the claim systems are needed; run that one first, with the same --out")
    })?;
    earned(&measured)
}

fn earned(measured: &Measured) -> Outcome<Found> {
    let mut found = Found {
        configuration: format!(
            "The medians of the claim systems: a minute of the many at 1 $/Gbit, then a minute of the single one at 10 $/Gbit; \
             contracts and constants as the paper's (penalty 100 at {LIMIT_US} us with a normal tail of mean and deviation, refund, \
             bonus), {ANSWER_LEN:?} bytes an answer of {APPLICATIONS:?}. halting, polling: that way of waiting in both minutes. \
             adaptive: in each minute the one that makes more; nothing, where both would lose. Where jitter is not seen (NetPIPE's \
             stream) it counts as none, for both systems. Linux in a guest and ours, both emulated."
        ),
        rows: vec![
            [
                "",
                "",
                "Linux",
                "nom, halting",
                "nom, polling",
                "nom, adaptive",
                "first minute",
                "second minute",
                "adaptive / Linux",
            ]
            .map(String::from)
            .into(),
        ],
        ..Found::default()
    };
    let (mut cases, mut more, mut never_worse) = (0, 0, true);
    for (application, answer_len) in APPLICATIONS.iter().zip(ANSWER_LEN) {
        let mut columns: [Vec<f64>; 4] = Default::default();
        let mut names = Vec::new();
        for (name, contract) in paper_contracts() {
            let phase = |side: &str, phase: usize| {
                let Cell { per_s, mean_us, deviation_us } =
                    cell(measured, application, side, SCENARIOS[phase])?;
                let jitter_us = deviation_us.unwrap_or(0.0);
                let flow = Flow {
                    operations_per_s: per_s,
                    ..Flow::paper(per_s * answer_len, mean_us * 1e3, jitter_us * 1e3)
                };
                let prices = Prices { bandwidth: Some(PRICES[phase]), ..Prices::NONE };
                Some(contract.evaluate(&flow, &prices).total() * PHASE_S as f64)
            };
            let side = |side: &str| Some([phase(side, 0)?, phase(side, 1)?]);
            let (Some(linux), Some(halting), Some(polling)) =
                (side("linux"), side("halting"), side("polling"))
            else {
                continue;
            };
            let adaptive = [0, 1].map(|phase: usize| halting[phase].max(polling[phase]).max(0.0));
            let total = |made: [f64; 2]| made[0] + made[1];
            let all = [linux, halting, polling, adaptive].map(total);
            cases += 1;
            more += usize::from(all[3] > all[0]);
            never_worse &= all[3] >= all[1].max(all[2]);
            let ratio = if all[0] > 0.0 { short(all[3] / all[0]) } else { "Linux makes no profit".into() };
            found.rows.push(
                [application.to_string(), name.to_string()]
                    .into_iter()
                    .chain(all.iter().map(|made| format!("{} $", short(*made))))
                    .chain(adaptive.iter().map(|made| format!("{} $", short(*made))))
                    .chain([ratio])
                    .collect(),
            );
            for (column, made) in columns.iter_mut().zip(all) {
                column.push(made);
            }
            names.push(name.to_string());
            let key = format!("paper.{application}_{name}_linux_profit_ratio");
            if all[0] > 0.0 {
                found.figures.extend(
                    Figure::of(&key, "x", Some(">=1"), &[all[3] / all[0]])
                        .map(|figure| figure.emulated(true).against("Linux in a guest")),
                );
            }
        }
        if !names.is_empty() {
            let titles = ["Linux", "nom, halting", "nom, polling", "nom, adaptive"];
            let series: Vec<(String, Vec<f64>)> = titles.map(String::from).into_iter().zip(columns).collect();
            let title = format!("{application}: dollars in the two minutes");
            found.charts.push(bars(&title, &names, &series, &title));
        }
    }
    if cases == 0 {
        return Err(Trouble::new("the claim systems has measured no application whole"));
    }
    found.figures.extend(Figure::of("paper.earnings_cases", "", None, &[cases as f64]));
    found.ours = format!(
        "Ours makes more than Linux in {more} of {cases} cases; choosing the way of waiting each minute is {} worse than either \
         way throughout.",
        if never_worse { "never" } else { "somewhere" }
    );
    Ok(found)
}

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
        rows: rows(&figures),
        charts: vec![bars("natively", &names, &[("here, natively".into(), here)], "times better than Linux' sockets")],
        figures,
        ours,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |name: String, value| figures.extend(Figure::of(&name, "", None, &[value]));
        for application in APPLICATIONS {
            for (side, times) in [("linux", 1.0), ("halting", 2.0), ("polling", 4.0)] {
                for scenario in SCENARIOS {
                    let name = format!("paper.{application}.vm_{side}_{scenario}");
                    // Many are served better by halting.
                    let times = if scenario == "many" && side == "polling" { 0.5 } else { times };
                    add(format!("{name}_per_s"), 1_000.0 * times);
                    add(format!("{name}_us"), 200.0 / times);
                    if application != "netpipe" || scenario == "single" {
                        add(format!("{name}_deviation_us"), 40.0);
                    }
                    add(format!("{name}_accesses_per_operation"), 8.0 / times);
                }
            }
        }
        figures
    }

    #[test]
    fn six_cases_stand_beside_the_paper() {
        let found = shown(figures(), &[]).unwrap();
        let value = |name: &str| found.figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(
            (value("paper.kv_many_throughput_ratio"), value("paper.kv_single_latency_ratio")),
            (2.0, 4.0)
        );
        assert_eq!(value("paper.httpd_many_jitter_ratio"), 1.0);
        assert!(found.ours.starts_with("Ours is ahead in 12 of 17"), "{}", found.ours);
        assert_eq!(found.charts.len(), 3);
        let text = found.rows.iter().map(|row| row.join(" ")).collect::<Vec<_>>().join("\n");
        assert!(
            text.contains("4.1 (499 us to 121 us)") && text.contains("43.1k to 10.8k a second"),
            "{text}"
        );
        assert!(found.charts.iter().all(|chart| !chart.contains("NaN")));
    }

    #[test]
    fn more_and_sooner_earns_more_and_adapting_takes_the_better_way() {
        let found = earned(&Measured::of(&figures())).unwrap();
        assert_eq!(found.rows.len(), 1 + 9);
        let value = |name: &str| found.figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert!(value("paper.kv_refund_linux_profit_ratio") > 2.0);
        assert!(found.ours.contains("9 of 9") && found.ours.contains("never worse"), "{}", found.ours);
        assert!(earned(&Measured::of(&[])).is_err());
    }
}
