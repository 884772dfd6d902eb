//! Figures 2 to 4, tables 1 and 2: a guest of ours beside one of Linux.

use super::cells::{APPLICATIONS, Cell, SCENARIOS, cell, ours_beside};
use super::chart::{bars, short};
use super::claims::{Found, rows};
use super::kept::Measured;
use crate::figures::Figure;
use crate::guests::PAPER_MANY;
use crate::{Settings, httpd_vm, kv_vm, netpipe_vm};
use nom_machine::machine::Nameless;
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, image, kvm};
use std::time::Instant;

/// Rounds of a full run.
pub const RUNS: usize = 5;

/// How much better than Linux the paper's nom is: what its text and tables say of a cell.
struct Said {
    application: &'static str,
    scenario: &'static str,
    metric: &'static str,
    times: f64,
    words: &'static str,
}

impl Said {
    /// In a word or two.
    fn short(&self) -> String {
        match self.words.split_once(',') {
            Some((range, _)) => range.into(),
            None => short(self.times),
        }
    }
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

/// What of a cell is compared: its name, and whether more of it is better.
type Metric = (&'static str, fn(&Cell) -> Option<f64>, bool);

const METRICS: [Metric; 4] = [
    ("throughput", |cell| Some(cell.per_s), true),
    ("latency", |cell| Some(cell.mean_us), false),
    ("jitter", |cell| cell.deviation_us, false),
    // The paper has none of that: it is the same jitter without the client's own.
    ("wire_jitter", |cell| cell.wire_deviation_us, false),
];
/// So many of [`METRICS`] make a case.
const CASE: usize = 3;

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
    shown(figures, &absent, !settings.kvm)
}

/// Refuses before anything is measured unless a guest of ours runs with hardware virtualisation.
pub fn require_kvm(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<()> {
    let programs = artefacts::guest(&["nom-kernel", "nom-kv-guest"], progress)?;
    let image = image::assemble(&programs[0], &kv_vm::configuration("halt"), &[("kv", &programs[1])])?;
    kvm::require(&Nameless::new(&image)?, &settings.cache)
}

/// Says at once and in the report that a part could not be measured.
pub fn lost(name: &str, trouble: &Trouble, absent: &mut Vec<String>, progress: &mut dyn FnMut(&str)) {
    let line = format!("{name} was not measured: {trouble}.");
    progress(&line);
    absent.push(line);
}

/// Whether there is time for another part; the first one of a report always has it.
pub fn in_time(settings: &Settings) -> Outcome<()> {
    match settings.until {
        Some(until) if Instant::now() > until => Err(Trouble::new(
            "the time of a quick run is over; `nom bench paper --claim NAME` takes what it needs",
        )),
        _ => Ok(()),
    }
}

fn shown(mut figures: Vec<Figure>, absent: &[String], emulated: bool) -> Outcome<Found> {
    let measured = Measured::of(&figures);
    let texts = |words: &[&str]| words.iter().map(|word| String::from(*word)).collect::<Vec<_>>();
    let mut found = Found {
        configuration: format!(
            "Each guest on one processor of the host with all its emulator's threads, the client on the other: the same machine \
             type, card and network; ours has 16 MiB, Linux 96 MiB. kv: memcaslap, nine GETs to a SET, values of 100 bytes, \
             beside memcached. httpd: wrk, a file of 175 bytes, beside nginx with one worker. netpipe: messages of 1,024 bytes that \
             are sent back, beside NPtcp, by a transmitter that notes how long each took. Many: {PAPER_MANY} connections (which is \
             what the paper's 402 us at 39,800 answers a second come to); NetPIPE has {PAPER_MANY} messages on their way on one \
             connection, so that both directions are busy. Single: one. Of ours one way of waiting counts in each scenario, the one \
             whose least advantage of the three is the larger: halting, or polling with the guest's processor at nice 19. Jitter is the standard deviation of latency as \
             the client sees it; on the wire, that between the frames of request and answer on the TAP device; without a machine, \
             what the same client sees of a server of this host's own (kv: memcached; httpd: a thread that has its answer ready). \
             wrk adds to its answers those that it would have had while one was late, so that a stall of the host's weighs the same \
             whoever serves; of one connection it looks at three seconds apart, and the middle one counts. Systems take turns; \
             who is first changes with each round. A round before which others used a tenth of the machine or more counts as \
             disturbed. Accesses: lines of the emulator's trace for registers of devices, in place of exits; injections: for \
             interrupts that reach the processor's controller. Halts are not among them."
        ),
        rows: vec![texts(&[
            "times better than Linux",
            "",
            "throughput",
            "latency",
            "jitter",
            "jitter on the wire",
            "ours waits",
        ])],
        ..Found::default()
    };
    let mut whole =
        vec![texts(&["", "", "", "Linux", "nom, halting", "nom, polling", "nom / Linux", "the paper's"])];
    let how = if emulated { " (emulated)" } else { " (KVM)" };
    let (mut cases, mut ahead, mut ahead_on_the_wire, mut behind) = (0, 0, 0, Vec::new());
    for (number, application) in APPLICATIONS.into_iter().enumerate() {
        let (mut names, mut here, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for scenario in SCENARIOS {
            let Some(linux) = cell(&measured, application, "linux", scenario) else { continue };
            let Some((way, best)) = ours_beside(&measured, application, scenario, &linux) else { continue };
            cases += 1;
            let mut line = vec![application.to_string(), scenario.to_string()];
            let mut better = [false; METRICS.len()];
            for (place, (metric, of, more_is_better)) in METRICS.into_iter().enumerate() {
                let (Some(linux), Some(best)) = (of(&linux), of(&best)) else {
                    line.push("-".into());
                    continue;
                };
                let times = if more_is_better { best / linux } else { linux / best };
                let said = SAID.iter().find(|said| {
                    (said.application, said.scenario, said.metric) == (application, scenario, metric)
                });
                let unit = if more_is_better { "/s" } else { " us" };
                let text =
                    |value: Option<f64>| value.map_or("-".into(), |value| format!("{}{unit}", short(value)));
                let side =
                    |side: &str| text(cell(&measured, application, side, scenario).as_ref().and_then(of));
                better[place] = times > 1.0;
                if place < CASE {
                    if times <= 1.0 {
                        behind.push(format!("{application} {scenario}, {metric} ({})", short(times)));
                    }
                    names.push(format!("{scenario}, {metric}"));
                    here.push(times);
                    theirs.push(said.map_or(f64::NAN, |said| said.times));
                }
                line.push(match said {
                    Some(said) => format!("{} (paper: {})", short(times), said.short()),
                    None => short(times),
                });
                whole.push(vec![
                    application.into(),
                    scenario.into(),
                    metric.replace('_', " "),
                    text(Some(linux)),
                    side("halting"),
                    side("polling"),
                    format!("{} ({way})", short(times)),
                    said.map_or("not said", |said| said.words).into(),
                ]);
                let name = format!("paper.{application}_{scenario}_{metric}_ratio");
                let goal = (place < CASE).then_some(">=1");
                found.figures.extend(
                    Figure::of(&name, "x", goal, &[times])
                        .map(|figure| figure.emulated(emulated).against("Linux in a guest")),
                );
            }
            let [throughput, latency, jitter, on_the_wire] = better;
            let listened = linux.wire_deviation_us.is_some() && best.wire_deviation_us.is_some();
            let steadier = if listened { on_the_wire } else { jitter };
            ahead += usize::from(throughput && latency && jitter);
            ahead_on_the_wire += usize::from(throughput && latency && steadier);
            let floor = measured.value(&format!("paper.{application}.vm_floor_deviation_us"));
            if let Some(floor) = floor.filter(|_| scenario == "single") {
                let mut row =
                    texts(&[application, scenario, "jitter without a machine", "", "", "", "", "not said"]);
                row[3] = format!("{} us", short(floor));
                whole.push(row);
            }
            line.push(way.into());
            found.rows.push(line);
        }
        if !names.is_empty() {
            let series =
                [(format!("here{how}"), here), ("the paper (KVM; ends of ranges)".to_string(), theirs)];
            let title = format!("Figure {}: {application} beside Linux", 2 + number);
            found.charts.push(bars(&title, &names, &series, "times better than Linux"));
        }
    }
    found.figures.extend(Figure::of("paper.cases", "", None, &[cases as f64]));
    found.figures.extend(
        Figure::of("paper.cases_ahead", "", Some(">=6"), &[ahead as f64])
            .map(|figure| figure.emulated(emulated).against("Linux in a guest")),
    );
    found.figures.extend(
        Figure::of("paper.cases_ahead_on_the_wire", "", None, &[ahead_on_the_wire as f64])
            .map(|figure| figure.emulated(emulated).against("Linux in a guest")),
    );
    found.tables.push(("Figures 2 to 4 and table 1: what was measured".into(), whole));
    let mut accesses =
        vec![texts(&["", "", "", "Linux", "nom, halting", "nom, polling", "fewer", "the paper's"])];
    accesses.extend(["kv", "httpd"].iter().flat_map(|application| table_2(&measured, application)));
    found.tables.push(("Table 2: what the guests make the machine do".into(), accesses));
    found.tables.push(("All figures".into(), rows(&figures)));
    let disturbed: f64 = APPLICATIONS
        .iter()
        .filter_map(|application| measured.value(&format!("paper.{application}.vm_disturbed_rounds")))
        .sum();
    let rounds = figures.iter().find(|figure| figure.name.ends_with("vm_linux_many_per_s"));
    let rounds = rounds.map_or(0, |figure| figure.runs);
    let on_the_wire = on_the_wire(&found.figures, &measured);
    found.ours = format!(
        "Ours is ahead in throughput, latency and jitter in {ahead} of {cases} cases{how}{}; in {ahead_on_the_wire} where one \
         client's jitter is counted on the wire. Rounds of each application: {rounds}; \
         {disturbed:.0} of all began while others used the machine. {on_the_wire}{}",
        match behind.as_slice() {
            [] => String::new(),
            behind => format!(", and behind in {}", behind.join(", ")),
        },
        absent.join(" ")
    );
    found.figures.append(&mut figures);
    Ok(found)
}

/// What one client's jitter is without the client.
fn on_the_wire(figures: &[Figure], measured: &Measured) -> String {
    let times = |application: &str| {
        let name = format!("paper.{application}_single_wire_jitter_ratio");
        let figure = figures.iter().find(|figure| figure.name == name)?;
        let floor = measured.value(&format!("paper.{application}.vm_floor_deviation_us"));
        let own = floor.map_or(String::new(), |us| format!(" (its client's own: {} us)", short(us)));
        Some(format!("{application}'s is {} times less than Linux'{own}", short(figure.value)))
    };
    let said: Vec<String> = APPLICATIONS.into_iter().filter_map(times).collect();
    match said.as_slice() {
        [] => String::new(),
        said => format!(
            "One client's jitter has the client's and the host's own in it; on the wire, without these, {}. ",
            said.join(", and ")
        ),
    }
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

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Cells of all sides: ours twice as good halting, and with one client four times polling.
    pub fn figures() -> Vec<Figure> {
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
                    add(format!("{name}_late_part"), 0.001 / times);
                    add(
                        format!("{name}_deviation_us"),
                        if application == "kv" { 40.0 } else { 40.0 / times },
                    );
                    add(format!("{name}_accesses_per_operation"), 8.0 / times);
                }
                add(format!("paper.{application}.vm_wire_{side}_deviation_us"), 30.0 / times);
            }
            if application == "kv" {
                add(format!("paper.{application}.vm_floor_deviation_us"), 39.0);
            }
        }
        figures
    }

    #[test]
    fn six_cases_stand_beside_the_paper() {
        let found = shown(figures(), &[], true).unwrap();
        let value = |name: &str| found.figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(
            (value("paper.kv_many_throughput_ratio"), value("paper.kv_single_latency_ratio")),
            (2.0, 4.0)
        );
        assert_eq!(
            (value("paper.kv_many_jitter_ratio"), value("paper.netpipe_many_jitter_ratio")),
            (1.0, 2.0)
        );
        assert_eq!(value("paper.kv_single_wire_jitter_ratio"), 4.0);
        // The cache is no steadier than Linux', which is no better.
        assert_eq!((value("paper.cases"), value("paper.cases_ahead")), (6.0, 4.0));
        // With many nobody listens to the wire, and the client decides.
        assert_eq!(value("paper.cases_ahead_on_the_wire"), 5.0);
        assert!(
            found.ours.contains("in 4 of 6 cases") && found.ours.contains("kv many, jitter (1)"),
            "{}",
            found.ours
        );
        assert!(
            found
                .ours
                .contains("kv's is 4 times less than Linux' (its client's own: 39 us), and httpd's is 4"),
            "{}",
            found.ours
        );
        assert_eq!((found.charts.len(), found.rows.len(), found.tables.len()), (3, 1 + 6, 3));
        assert_eq!(found.rows[1][2..6], ["2 (paper: 1.01)", "2 (paper: 1.01)", "1 (paper: 4.12)", "-"]);
        assert_eq!(found.rows[3][2], "2 (paper: 1.2 to 3.9)");
        let width = |rows: &[Vec<String>]| rows.iter().all(|row| row.len() == rows[0].len());
        assert!(width(&found.rows) && found.tables.iter().all(|(_, rows)| width(rows)));
        let text = found.tables.iter().flat_map(|(_, rows)| rows).map(|row| row.join(" "));
        let text = text.collect::<Vec<_>>().join("\n");
        assert!(
            text.contains("4.1 (499 us to 121 us)") && text.contains("43.1k to 10.8k a second"),
            "{text}"
        );
        assert!(found.charts.iter().all(|chart| !chart.svg.contains("NaN")));
    }
}
