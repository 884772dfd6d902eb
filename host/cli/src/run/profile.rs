//! `nom profile`: measures working points, as the clients perceive them. `nom_experiments::profile` says how.

use super::options::{Options, Place};
use super::serve;
use super::teller::Teller;
use crate::arguments::Typed;
use crate::interrupted::interrupts;
use crate::service::{application, configuration, progress};
use nom_experiments::profile::{Block, Load, Plan, Profile, Subject, measure};
use nom_machine::file;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_money::print_duration;
use nom_points::{Batching, Setting, Wait};
use nom_service::configuration::Configuration;
use nom_service::management::{Message, Stats};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is measured unless somebody names other settings.
const SETTINGS: &str = "wait=halt batch=0, wait=halt batch=2ms, wait=spin:50us batch=0, wait=poll batch=0";
/// Requests a second of the open loop, unless somebody names others.
const RATE: u32 = 6_000;
/// Seconds of a block, and rounds, unless somebody asks otherwise.
const SECONDS: u64 = 4;
const ROUNDS: usize = 5;
/// Seconds of the flood in a round, and requests a second: more than one core can serve anywhere.
const FLOOD: (u64, u32) = (2, 100_000);
/// Blocks that are begun in place of one that shows no steady load.
const TRIES: u32 = 3;
/// How long one look at other work on the machine lasts.
const LOOK: Duration = Duration::from_millis(250);

/// The command.
pub fn profile(typed: &Typed) -> Outcome<ExitCode> {
    if application(typed)? == "echo" {
        return Err(Trouble::new("nom profile: echo has no load of ours to measure it with"));
    }
    if let Some(out) = typed.text("out") {
        file::try_writing(Path::new(out)).context(|| "--out".into())?;
    }
    let interrupted = interrupts()?;
    let rate = typed.number("rate", 1, 1_000_000)?.unwrap_or(RATE).to_string();
    let bare = typed.with("set", "tuner=off").with("port", "0").with("points", "none").with("rate", &rate);
    let options = Options::read(&bare)?;
    let contract =
        Configuration::parse(&configuration(&bare, &[])?).context(|| "the configuration".into())?.contract;
    let plan = Plan {
        application: options.application.into(),
        settings: settings(typed.text("settings").unwrap_or(SETTINGS))?,
        rounds: typed.number("rounds", 1, 1_000)?.unwrap_or(ROUNDS),
        block: Duration::from_secs(typed.number("seconds", 2, 10_000)?.unwrap_or(SECONDS)),
        capacity_block: Duration::from_secs(FLOOD.0),
        look: LOOK,
        rate: f64::from(options.rate),
        limit_ns: contract.and_then(|contract| contract.limit_ns()),
        seed: typed.number("seed", 0, u64::MAX)?.unwrap_or(1),
    };
    let mut homes = Homes { typed: &bare, interrupted: &interrupted };
    let profile = measure(&plan, &mut homes, &mut progress)?;
    let text = text(&profile, &plan, &options, typed.text("note"));
    match typed.text("out") {
        Some(file) => {
            std::fs::write(file, &text).context(|| format!("cannot write {file}"))?;
            profile.remarks().iter().for_each(|line| progress(line));
        }
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of a list with commas.
fn settings(text: &str) -> Outcome<Vec<Setting>> {
    let mut all: Vec<Setting> = Vec::new();
    for word in text.split(',') {
        match word.parse() {
            Ok(Setting::Nothing) => {
                return Err(Trouble::new("--settings: there is nothing to measure of nothing"));
            }
            Ok(setting) if all.contains(&setting) => {
                return Err(Trouble::new(format!("--settings: {setting} stands twice")));
            }
            Ok(setting) => all.push(setting),
            Err(error) => {
                return Err(Trouble::new(format!("--settings: {error}; a comma stands between two")));
            }
        }
    }
    Ok(all)
}

/// The points as a file, with what a person should know about them.
fn text(profile: &Profile, plan: &Plan, options: &Options, note: Option<&str>) -> String {
    let home = match options.place {
        Place::Guest => "a guest",
        Place::Linux => "a Linux process",
    };
    let mut text = format!(
        "# Measured by `nom profile` in {home}: {} rounds of {} s at {:.0} op/s and {} s under a flood, shuffled,\n\
         # a new service for each block.\n",
        plan.rounds,
        plan.block.as_secs(),
        plan.rate,
        plan.capacity_block.as_secs(),
    );
    for line in note.iter().flat_map(|note| note.lines()).map(String::from).chain(profile.remarks()) {
        let _ = writeln!(text, "# {line}");
    }
    let _ = write!(text, "{}", profile.points);
    text
}

/// What was typed, with the knobs at a setting.
pub(super) fn holding(typed: &Typed, setting: Setting) -> Outcome<Typed> {
    let Setting::Serve { wait, batching, ack_delay_ns } = setting else {
        return Err(Trouble::new("serving nothing is not measured"));
    };
    let wait = match wait {
        Wait::Halt => "halt".into(),
        Wait::Spin { budget_ns } => format!("spin:{}", print_duration(budget_ns)),
        Wait::Poll => "poll".into(),
    };
    let batching = match batching {
        Batching::RunToCompletion => "0".into(),
        Batching::TakeQueued => "queued".into(),
        Batching::Hold { delay_ns } => print_duration(delay_ns),
    };
    let typed = typed.with("set", &format!("wait={wait}")).with("set", &format!("batch={batching}"));
    Ok(match ack_delay_ns {
        Some(delay_ns) => typed.with("set", &format!("ack.delay={}", print_duration(delay_ns))),
        None => typed,
    })
}

/// Starts a service for each block.
struct Homes<'a> {
    typed: &'a Typed,
    interrupted: &'a AtomicBool,
}

impl Subject for Homes<'_> {
    fn block(&mut self, setting: Setting, load: Load, duration: Duration) -> Outcome<Block> {
        let typed = holding(self.typed, setting)?;
        let mut options = Options::read(&typed)?;
        // The service ends with its load.
        (options.time, options.load_time) = (None, Some(duration));
        if load == Load::Flood {
            options.rate = FLOOD.1;
        }
        // Of a flood only the answers count, and its block is a short one.
        let wants_steady = load != Load::Flood;
        for _ in 0..TRIES {
            let lines = Lines::default();
            let mut teller = Teller::listening(Box::new(lines.clone()));
            let settled = serve(&typed, &options, &mut teller, self.interrupted)?;
            if self.interrupted.load(Ordering::SeqCst) {
                return Err(Trouble::new("interrupted: a half profile would mislead"));
            }
            let report = settled.report.ok_or_else(|| Trouble::new("a load of 0 measures nothing"))?;
            let steady = lines.steady(report.preloaded);
            if steady.is_none() && wants_steady {
                let (answered, lost) = (report.tally.answered, report.tally.lost);
                progress(&format!("{setting}: no steady load ({answered} answered, {lost} lost); once more"));
                continue;
            }
            let (from, to) = steady.unwrap_or_default();
            return Ok(Block {
                per_s: report.per_s(),
                tally: report.tally,
                span_ns: to.at_ns - from.at_ns,
                operations: to.accepted - from.accepted,
                wire_bytes: to.wire_out_bytes - from.wire_out_bytes,
                core_ns: to.core_ns - from.core_ns,
                latency_sum_ns: to.latency_sum_ns - from.latency_sum_ns,
                memory_bytes: to.memory_bytes,
            });
        }
        Err(Trouble::new(format!("{setting}: no block showed a steady load: give more --seconds")))
    }
}

/// The JSON lines of one block.
#[derive(Clone, Default)]
struct Lines(Rc<RefCell<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Statistics at the begin and at the end of the stretch in which the load ran: after its preparations, and
    /// before the line in which it ended.
    fn steady(&self, preloaded: u64) -> Option<(Stats, Stats)> {
        let bytes = self.0.borrow();
        let text = String::from_utf8_lossy(&bytes);
        let stats: Vec<Stats> = text
            .lines()
            .filter_map(|line| match Message::parse(line) {
                Ok(Message::Stats(stats)) => Some(stats),
                _ => None,
            })
            .collect();
        let first = stats.iter().position(|stats| stats.accepted > preloaded)?;
        let last = (1..stats.len()).rfind(|place| stats[*place].accepted > stats[place - 1].accepted)?;
        (last >= first + 3).then(|| (stats[first].clone(), stats[last - 1].clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_a_list_with_commas() {
        assert_eq!(settings(SETTINGS).unwrap().len(), 4);
        for (text, word) in [
            ("nothing", "nothing to measure"),
            ("wait=halt batch=0, wait=halt batch=0", "twice"),
            ("halt", "batch"),
            ("", "expected"),
        ] {
            assert!(settings(text).unwrap_err().to_string().contains(word), "{text}");
        }
    }

    #[test]
    fn the_steady_stretch_leaves_out_preparations_and_the_end() {
        let mut lines = Lines::default();
        for (place, accepted) in [0, 500, 1_200, 1_600, 2_000, 2_400, 2_500, 2_500].into_iter().enumerate() {
            let stats = Stats { at_ns: place as u64 * 200, accepted, ..Stats::default() };
            write!(lines, "{}", Message::Stats(stats).line()).unwrap();
        }
        let (from, to) = lines.steady(1_000).unwrap();
        assert_eq!((from.accepted, to.accepted), (1_200, 2_400));
        assert!(lines.steady(2_000).is_none(), "too short");
    }
}
