//! What each knob of the stack trades for what: every knob turned alone, under a closed loop and under arrivals that do
//! not wait, at 30, 70 and 95 % of what is served when nothing is turned.
//!
//! In three homes: in virtual time, where every deed has a stated cost ([`simulated::COST`]) and a kick costs as much as
//! leaving a virtual machine; natively, two threads with memory between them, where a kick is a wake-up of the other thread
//! or nothing; and in a guest under the emulator. Values take turns in every round, so that a machine that drifts drifts
//! for all of them.
//!
//! A knob has a frontier under a load when two of its values are each better at something than the other, beyond noise
//! ([`frontier`]). Where it has none, price can move nothing: the best value is set once.

pub mod asker;
pub mod frontier;
pub mod guest;
pub mod native;
pub mod seen;
pub mod simulated;
pub mod sweep;

use crate::figures::Figure;
use crate::tap_home::in_own_network_telling;
use crate::{Settings, quiet};
use frontier::{ONCE, Verdict, judge};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_simnet::Cost;
use seen::{METRICS, Seen};
use std::fmt::Write;
use std::time::{Duration, Instant};
use sweep::{Home, LOADS, Load, Sweep, Value, sweeps, unturned};

/// What is claimed.
pub const CLAIM: &str =
    "which knobs have a frontier: in virtual time the batching delay has one where a kick costs";

const MS: u64 = 1_000_000;
const QUIET: f64 = 0.1;
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 10;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rounds: usize,
    simulated_ns: u64,
    native_ns: u64,
    guest: Duration,
}

impl Extent {
    fn of(settings: &Settings) -> Self {
        let mut extent = if settings.quick {
            Self { rounds: 3, simulated_ns: 30 * MS, native_ns: 80 * MS, guest: Duration::from_millis(200) }
        } else {
            Self { rounds: 5, simulated_ns: 200 * MS, native_ns: 300 * MS, guest: Duration::from_secs(1) }
        };
        extent.rounds = settings.runs.unwrap_or(extent.rounds);
        extent
    }
}

/// One knob's runs: by value, by load, by round.
struct Swept {
    sweep: Sweep,
    runs: Vec<[Vec<Seen>; LOADS.len()]>,
}

/// All knobs of a home.
struct Measured {
    home: &'static str,
    emulated: bool,
    capacity_per_s: f64,
    swept: Vec<Swept>,
}

/// Gives what a value does under all loads.
type Blocks<'a> = &'a mut dyn FnMut(&Value, u64) -> Outcome<Vec<(Load, Seen)>>;

fn turns(
    which: Vec<Sweep>,
    rounds: usize,
    blocks: Blocks,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Swept>> {
    let mut swept: Vec<Swept> = which
        .into_iter()
        .map(|sweep| Swept { runs: vec![Default::default(); sweep.values.len()], sweep })
        .collect();
    let all = rounds * swept.iter().map(|knob| knob.sweep.values.len()).sum::<usize>();
    let (start, mut done) = (Instant::now(), 0);
    for round in 0..rounds {
        for knob in &mut swept {
            let left = match done {
                0 => String::new(),
                _ => format!(", {} to go", minutes(start.elapsed() / done as u32 * (all - done) as u32)),
            };
            progress(&format!("round {} of {rounds}: {}{left}", round + 1, knob.sweep.knob));
            for (value, runs) in knob.sweep.values.iter().zip(&mut knob.runs) {
                let name = || format!("{} = {}", knob.sweep.knob, value.name);
                for (load, seen) in blocks(value, round as u64 + 1).context(name)? {
                    let place = LOADS.iter().position(|known| *known == load);
                    runs[place.unwrap_or(0)].push(seen);
                }
                done += 1;
            }
        }
    }
    Ok(swept)
}

fn minutes(time: Duration) -> String {
    format!("{:.1} minutes", time.as_secs_f64() / 60.0)
}

/// What is served when nothing is turned: the middle of as many runs as each value gets. All loads are parts of it.
fn capacity(rounds: usize, mut closed: impl FnMut(u64) -> Outcome<Seen>) -> Outcome<f64> {
    let seen = (0..rounds).map(|round| closed(round as u64 + 1)).collect::<Outcome<Vec<Seen>>>()?;
    Ok(middle(&seen, |seen| seen.per_s))
}

fn under_all_loads(
    capacity_per_s: f64,
    mut block: impl FnMut(Option<f64>) -> Outcome<Seen>,
) -> Outcome<Vec<(Load, Seen)>> {
    LOADS.iter().map(|load| Ok((*load, block(load.per_s(capacity_per_s))?))).collect()
}

fn in_virtual_time(
    home: &'static str,
    which: Vec<Sweep>,
    cost: Cost,
    extent: Extent,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Measured> {
    let span_ns = extent.simulated_ns;
    let closed = |seed| simulated::block(&unturned(), None, cost, span_ns, seed);
    let capacity_per_s = capacity(extent.rounds, closed)?;
    let mut blocks = |value: &Value, seed| {
        under_all_loads(capacity_per_s, |per_s| simulated::block(value, per_s, cost, span_ns, seed))
    };
    let swept = turns(which, extent.rounds, &mut blocks, progress)?;
    Ok(Measured { home, emulated: false, capacity_per_s, swept })
}

fn natively(extent: Extent, progress: &mut dyn FnMut(&str)) -> Outcome<Measured> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    disturbed(progress);
    let span_ns = extent.native_ns;
    let capacity_per_s = capacity(extent.rounds, |seed| native::block(&unturned(), None, span_ns, seed))?;
    let mut blocks = |value: &Value, seed| {
        under_all_loads(capacity_per_s, |per_s| native::block(value, per_s, span_ns, seed))
    };
    let swept = turns(sweeps(Home::Native), extent.rounds, &mut blocks, progress)?;
    Ok(Measured { home: "native", emulated: false, capacity_per_s, swept })
}

fn in_guests(extent: Extent, progress: &mut dyn FnMut(&str)) -> Outcome<Measured> {
    let programs = guest::Programs::build(progress)?;
    disturbed(progress);
    in_own_network_telling(progress, |say| {
        let closed = |seed| {
            let known = guest::blocks(&programs, &unturned(), None, extent.guest, seed, say)?;
            Ok(known.first().map_or_else(Seen::default, |(_, seen)| *seen))
        };
        let capacity_per_s = capacity(extent.rounds, closed)?;
        // Both tell how far they are.
        let say = std::cell::RefCell::new(say);
        let mut blocks = |value: &Value, seed| {
            let tell = &mut |line: &str| (say.borrow_mut())(line);
            guest::blocks(&programs, value, Some(capacity_per_s), extent.guest, seed, tell)
        };
        let mut tell = |line: &str| (say.borrow_mut())(line);
        let swept = turns(sweeps(Home::Guest), extent.rounds, &mut blocks, &mut tell)?;
        Ok(Measured { home: "guest", emulated: true, capacity_per_s, swept })
    })
}

fn disturbed(progress: &mut dyn FnMut(&str)) {
    let load = quiet::wait_for_quiet(QUIET, LOOK, LOOKS);
    if load >= QUIET {
        progress(&format!(
            "{:.0}% of the machine is busy with other work: times are disturbed",
            load * 100.0
        ));
    }
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let extent = Extent::of(settings);
    let on = settings.on.as_deref();
    if !matches!(on, None | Some("simnet" | "linux" | "vm")) {
        return Err(Trouble::new("--on: simnet, linux or vm is expected; all three without it"));
    }
    let wanted = |home| on.is_none_or(|only| only == home);
    let mut all = Vec::new();
    if wanted("simnet") {
        progress(&format!("virtual time: {:?}", simulated::COST));
        all.push(in_virtual_time("simnet", sweeps(Home::Simnet), simulated::COST, extent, progress)?);
        // The same without what gathering saves: what is left of the frontier is not the kick's.
        let which = sweeps(Home::Simnet).into_iter().filter(|sweep| sweep.knob == "paper").collect();
        let free = Cost { kick_ns: 0, ..simulated::COST };
        all.push(in_virtual_time("simnet_free_kick", which, free, extent, progress)?);
    }
    if wanted("linux") {
        all.push(natively(extent, progress)?);
    }
    if wanted("vm") {
        all.push(in_guests(extent, progress)?);
    }
    all.iter().for_each(|measured| tell(measured, progress));
    all.iter().for_each(|measured| conclude(measured, progress));
    Ok(all.iter().flat_map(figures_of).collect())
}

fn middle(runs: &[Seen], of: fn(&Seen) -> f64) -> f64 {
    Figure::of("", "", None, &runs.iter().map(of).collect::<Vec<_>>()).map_or(f64::NAN, |figure| figure.value)
}

fn verdict(swept: &Swept, load: usize) -> Verdict {
    judge(&swept.runs.iter().map(|by_load| by_load[load].clone()).collect::<Vec<_>>())
}

/// The table for people: medians of the runs, and what follows.
fn tell(measured: &Measured, progress: &mut dyn FnMut(&str)) {
    let emulated = if measured.emulated { " [emulated]" } else { "" };
    progress(&format!(
        "{}{emulated}: {:.0} answers a second with nothing turned, in a closed loop",
        measured.home, measured.capacity_per_s
    ));
    for swept in &measured.swept {
        let sweep = &swept.sweep;
        progress(&format!("  {}: {}", sweep.knob, sweep.meaning));
        for (place, load) in LOADS.iter().enumerate() {
            let mut head = format!("    {:<11}", load.name());
            METRICS.iter().for_each(|metric| {
                let _ = write!(head, "{:>11}", metric.name);
            });
            progress(&head);
            for (value, runs) in sweep.values.iter().zip(&swept.runs) {
                let mut row = format!("    {:>11}", value.name);
                for metric in &METRICS {
                    let _ = write!(row, "{:>11.2}", middle(&runs[place], metric.of));
                }
                progress(&row);
            }
            let names: Vec<&str> = sweep.values.iter().map(|value| value.name.as_str()).collect();
            progress(&format!("      {}", verdict(swept, place).say(&names)));
        }
    }
}

/// Which knobs have a frontier and which have none, as a table of `docs/knobs.md`.
fn conclude(measured: &Measured, progress: &mut dyn FnMut(&str)) {
    let loads: Vec<String> = LOADS.iter().map(|load| load.name()).collect();
    progress(&format!("{}: what is beyond noise", measured.home));
    progress(&format!("| Knob | {} |", loads.join(" | ")));
    progress(&format!("|---|{}", "---|".repeat(LOADS.len())));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut once = false;
    for swept in &measured.swept {
        let names: Vec<&str> = swept.sweep.values.iter().map(|value| value.name.as_str()).collect();
        let verdicts: Vec<Verdict> = (0..LOADS.len()).map(|load| verdict(swept, load)).collect();
        let cells: Vec<String> = verdicts.iter().map(|verdict| verdict.cell(&names)).collect();
        progress(&format!("| `{}` ({}) | {} |", swept.sweep.knob, names.join(", "), cells.join(" | ")));
        once |= verdicts.iter().any(|verdict| verdict.once);
        let found = verdicts.iter().any(|verdict| verdict.trade.is_some());
        if found { &mut with } else { &mut without }.push(swept.sweep.knob);
    }
    if once {
        progress(&format!("{}: {ONCE}, so nothing is said of frontiers (--runs 2 or more)", measured.home));
        return;
    }
    let list = |knobs: &[&str]| if knobs.is_empty() { "none".into() } else { knobs.join(", ") };
    progress(&format!("{}: a frontier under some load: {}", measured.home, list(&with)));
    progress(&format!("{}: none under any: {}", measured.home, list(&without)));
}

fn figures_of(measured: &Measured) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: String, unit, goal, runs: &[f64]| {
        let name = format!("knobs.{}_{name}", measured.home);
        figures.extend(Figure::of(&name, unit, goal, runs).map(|figure| figure.emulated(measured.emulated)));
    };
    add("capacity_per_s".into(), "1/s", None, &[measured.capacity_per_s]);
    for swept in &measured.swept {
        let knob = swept.sweep.knob;
        let verdicts: Vec<Verdict> = (0..LOADS.len()).map(|load| verdict(swept, load)).collect();
        // Under how many of the loads there is something to choose, where that is known.
        let known = verdicts.iter().all(|verdict| !verdict.once);
        let frontiers = verdicts.iter().filter(|verdict| verdict.trade.is_some()).count();
        let goal = (measured.home == "simnet" && knob == "paper").then_some(">=1");
        if known {
            add(format!("{knob}_frontiers"), "", goal, &[frontiers as f64]);
        }
        for (place, load) in LOADS.iter().enumerate() {
            let load = load.name();
            let frontier = f64::from(u8::from(verdicts[place].trade.is_some()));
            if known {
                add(format!("{knob}_{load}_frontier"), "", None, &[frontier]);
            }
            for (value, runs) in swept.sweep.values.iter().zip(&swept.runs) {
                for metric in &METRICS {
                    let runs: Vec<f64> = runs[place].iter().map(metric.of).collect();
                    add(format!("{knob}_{}_{load}_{}", value.name, metric.name), metric.unit, None, &runs);
                }
            }
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_sweep_has_every_figure() {
        let extent = Extent { rounds: 2, simulated_ns: 4 * MS, native_ns: 0, guest: Duration::ZERO };
        let which: Vec<Sweep> =
            sweeps(Home::Simnet).into_iter().filter(|sweep| sweep.knob == "bound").collect();
        let measured = in_virtual_time("simnet", which, simulated::COST, extent, &mut |_| {}).unwrap();
        let figures = figures_of(&measured);
        assert_eq!(figures.len(), 2 + LOADS.len() * (1 + 3 * METRICS.len()));
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap();
        assert_eq!(of("knobs.simnet_bound_8_open70_p99_us").runs, 2);
        assert!(of("knobs.simnet_bound_1_closed_kicks").value > 0.9);
        let mut lines = Vec::new();
        tell(&measured, &mut |line| lines.push(line.to_string()));
        assert_eq!(lines.iter().filter(|line| line.contains("frontier")).count(), LOADS.len());
        lines.clear();
        conclude(&measured, &mut |line| lines.push(line.to_string()));
        let row = lines.iter().find(|line| line.starts_with("| `bound` (1, 8, 64) | ")).unwrap();
        assert_eq!(row.matches('|').count(), 2 + LOADS.len(), "{row}");
        // Under one of them or under none, but said.
        let said = lines.iter().filter(|line| line.contains("under") && line.contains("bound")).count();
        assert_eq!((said, lines.len()), (1, 6));
    }
}
