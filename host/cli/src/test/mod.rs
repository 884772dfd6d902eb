//! `nom test`: everything that a submission is checked by, with one clear sum at the end.
//!
//! A part is a list of cases. A case passed, failed with a reason, or was skipped because a peer is absent; what was
//! skipped is counted and never passed.

mod attached;
mod bad_input;
mod browser;
mod client;
mod devices;
mod drivers;
mod eyes;
mod guards;
mod guest;
mod hostile;
mod killed;
mod liar;
mod lives;
mod monitor;
mod netpipe;
mod operation;
mod pairs;
mod per_request;
mod plug;
mod replay;
mod services;
mod started;
mod switch;
mod tap;
mod unit;
mod watching;
mod web;

use crate::arguments::{Typed, nearest};
use crate::service::progress;
use nom_machine::trouble::{Outcome, Trouble};
use std::process::ExitCode;
use std::time::Instant;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Otherwise, and why.
    Failed(String),
    /// It could not be tried, and why.
    Skipped(String),
}

impl From<Outcome<()>> for Verdict {
    fn from(outcome: Outcome<()>) -> Self {
        match outcome {
            Ok(()) => Verdict::Passed,
            Err(trouble) => Verdict::Failed(trouble.to_string()),
        }
    }
}

/// The cases of one run.
#[derive(Debug, Default)]
pub struct Cases {
    passed: u64,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Cases {
    /// Notes a case and says what is not as it should be.
    pub fn note(&mut self, name: &str, verdict: impl Into<Verdict>) {
        match verdict.into() {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(why) => {
                println!("FAILED  {name}: {why}");
                self.failed.push(name.into());
            }
            Verdict::Skipped(why) => {
                println!("SKIPPED {name}: {why}");
                self.skipped.push(name.into());
            }
        }
    }

    /// Notes cases that another runner counted.
    pub fn passed(&mut self, count: u64) {
        self.passed += count;
    }

    /// How many there are so far.
    fn count(&self) -> u64 {
        self.passed + self.failed.len() as u64 + self.skipped.len() as u64
    }

    /// The last line: `N passed, N failed`, and `, N skipped` when there are any.
    fn sum(&self) -> String {
        let mut sum = format!("{} passed, {} failed", self.passed, self.failed.len());
        if !self.skipped.is_empty() {
            sum.push_str(&format!(", {} skipped", self.skipped.len()));
        }
        sum
    }
}

/// A part of the tests: its name, what it is, and what runs it.
type Part = (&'static str, &'static str, fn(&mut Cases) -> Outcome<()>);

const PARTS: &[Part] = &[
    ("style", "format and lints", unit::style),
    ("laws", "the laws of the house", unit::laws),
    ("unit", "every crate's own tests", unit::unit),
    ("guest", "ring 3 in a guest, on each machine type", guest::guest),
    ("devices", "what devices may reach, with an IOMMU and without", devices::short),
    ("switch", "several applications behind one network card", switch::switch),
    ("netpipe", "a guest and Debian's NPtcp, in both roles", netpipe::netpipe),
    ("end-to-end", "real clients against running services", services::services),
    ("operation", "orders, figures, ledger files and prices, as a person types them", operation::operation),
    ("shared", "two cores of a guest behind one queue, and with one each, ten times", tap::shared),
    ("deaths", "each part is killed while it serves", killed::each),
    (
        "kills",
        "whoever is killed, whenever: nothing is left, and who lives on says so or serves on",
        killed::killed,
    ),
    ("replay", "one recording, the same answers in every home", replay::replay),
    ("counts", "what may not become dearer unnoticed", guards::guards),
    ("browser", "the live page and the report, in a browser without a screen", browser::browser),
    ("bad-input", "what must be refused in one clear line", bad_input::bad_input),
];

/// Parts that run only when they are named: the laws are among the unit tests, a browser is a large package, killing takes its
/// time, and so do twenty guests that must be started under load.
const WHEN_NAMED: [&str; 4] = ["laws", "kills", "browser", "shared"];

/// The command.
pub fn test(typed: &Typed) -> Outcome<ExitCode> {
    let known = || PARTS.iter().map(|(name, ..)| *name);
    for word in &typed.words {
        if !known().any(|name| name == word) {
            let hint =
                nearest(word, known()).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
            let all = known().collect::<Vec<_>>().join(", ");
            return Err(Trouble::new(format!("nom test: no part {word:?}; {hint}there are {all}")));
        }
    }
    let mut cases = Cases::default();
    let every: &[Part] = &[("guest", "devices on every kind of machine", devices::full)];
    let parts = if typed.has("devices") { every } else { PARTS };
    for (name, what, run) in parts {
        let wanted = if typed.words.is_empty() {
            !WHEN_NAMED.contains(name)
        } else {
            typed.words.iter().any(|word| word == name)
        };
        if !wanted {
            continue;
        }
        progress(&format!("{name}: {what}"));
        let (before, started) = (cases.count(), Instant::now());
        if let Err(trouble) = run(&mut cases) {
            cases.note(name, Verdict::Failed(trouble.to_string()));
        }
        println!("{name:<12} {:>5} cases in {} s", cases.count() - before, started.elapsed().as_secs());
    }
    println!("{}", cases.sum());
    Ok(if cases.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_counts_what_was_skipped() {
        let mut cases = Cases::default();
        cases.passed(3);
        cases.note("a", Ok(()));
        assert_eq!(cases.sum(), "4 passed, 0 failed");
        cases.note("b", Err(Trouble::new("why")));
        cases.note("c", Verdict::Skipped("absent".into()));
        assert_eq!(cases.sum(), "4 passed, 1 failed, 1 skipped");
    }
}
