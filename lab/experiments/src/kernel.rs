//! What single deeds of kernel and runtime cost, beside the deeds of Linux that serve the same end.
//!
//! Both are guests of two processors on the same machine type, started in turns; in each, a program does every deed
//! many times over and says the least time of a few batches. What is compared:
//!
//! | row | ours | Linux |
//! |---|---|---|
//! | `null_call` | the call that does nothing | `getppid` |
//! | `fault` | a write to a protected page: upcall, the handler allows it by a call, resume; and protecting it again | SIGSEGV handler with `mprotect`, return; and `mprotect` |
//! | `interrupt` | another core's interrupt of a running program, until its handler runs | – |
//! | `notify_one_way`, `notify_round_trip` | channel between two applications on two cores that wait | futex between two pinned threads |
//! | `map_unmap` | a frame mapped, touched, unmapped | `mmap`, touch, `munmap` |
//! | `thread_switch` | two threads of the runtime, mutex and condition | the same with pthreads, both on one processor |
//! | `core_handover` | a core is acquired, runs something, is given back | the thread moves there and back by `sched_setaffinity` |

use crate::figures::Figure;
use crate::linux_guest::{self, Program};
use crate::{Settings, quiet};
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Accelerator, Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, image, kvm};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is claimed.
pub const CLAIM: &str =
    "every deed of the kernel costs less than Linux's; faults, notifications and thread switches a third";

/// Runs of each side unless somebody asks otherwise.
const RUNS: usize = 5;
/// How long a side may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// A machine busier than this disturbs the figures.
const QUIET_SHARE: f64 = 0.1;

/// The rows, the names of their figures, and how much better than Linux they are to be.
const ROWS: [(&str, &str, &str, Option<&str>); 8] = [
    ("null_call", "kernel.null_call_ns", "kernel.null_call_linux_ratio", Some(">=1")),
    ("fault", "kernel.fault_ns", "kernel.fault_linux_ratio", Some(">=3")),
    ("interrupt", "kernel.interrupt_ns", "", None),
    ("notify_one_way", "kernel.notify_one_way_ns", "kernel.notify_one_way_linux_ratio", Some(">=3")),
    ("notify_round_trip", "kernel.notify_round_trip_ns", "kernel.notify_round_trip_linux_ratio", Some(">=3")),
    ("map_unmap", "kernel.map_unmap_ns", "kernel.map_unmap_linux_ratio", Some(">=1")),
    ("thread_switch", "kernel.thread_switch_ns", "kernel.thread_switch_linux_ratio", Some(">=3")),
    ("core_handover", "kernel.core_handover_ns", "kernel.core_handover_linux_ratio", Some(">=1")),
];

const PEER: Program =
    Program { name: "kernel-peer", source: include_str!("kernel_peer.c"), flags: &["-pthread"] };

const CONFIGURATION: &str = "image.trusted = yes
# measure = kernel
kernel.application = trial
kernel.heap = 256 KiB
kernel.channel.turns = trial, answers, 4 KiB
";

type Rows = BTreeMap<String, f64>;

/// Measures both sides, alternating.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let programs = artefacts::guest(&["nom-kernel", "nom-trial-guest"], progress)?;
    let applications = ["trial", "answers"].map(|name| (name, programs[1].as_path()));
    let ours = Nameless::new(&image::assemble(&programs[0], CONFIGURATION, &applications)?)?;
    if settings.kvm {
        kvm::require(&ours, &settings.cache)?;
    }
    let peer = linux_guest::prepare_with(&PEER, &settings.cache, progress)?;
    let (kernel, initial) = (Nameless::new(&peer.kernel)?, Nameless::new(&peer.initial)?);
    let accelerator = if settings.kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    let plan = Plan { accelerator, memory_mib: 128, processors: 2, ..Plan::new(Kind::Microvm) };
    let linux = Plan { foreign: true, command_line: Some(linux_guest::command_line()), ..plan.clone() };
    let load = quiet::wait_for_quiet(QUIET_SHARE, Duration::from_secs(1), 10);
    if load >= QUIET_SHARE {
        progress(&format!("disturbed: {:.0}% of this machine is busy with other work", load * 100.0));
    }
    let mut runs = Vec::new();
    for run in 1..=settings.runs.unwrap_or(RUNS) {
        let (our_rows, their_rows) = (rows(&plan, &ours, None)?, rows(&linux, &kernel, Some(&initial))?);
        let line = |rows: &Rows| {
            let words: Vec<String> = rows.iter().map(|(name, ns)| format!("{name} {ns:.0}")).collect();
            words.join(", ")
        };
        progress(&format!("run {run}: nom {}; Linux {}", line(&our_rows), line(&their_rows)));
        runs.push((our_rows, their_rows));
    }
    let mut figures = Vec::new();
    for (row, ns_name, ratio_name, goal) in ROWS {
        let ours: Vec<f64> = runs.iter().filter_map(|(ours, _)| ours.get(row).copied()).collect();
        let ratios: Vec<f64> =
            runs.iter().filter_map(|(ours, theirs)| Some(theirs.get(row)? / ours.get(row)?)).collect();
        figures.extend(Figure::of(ns_name, "ns", None, &ours));
        figures.extend(Figure::of(ratio_name, "x", goal, &ratios).map(|figure| figure.against(&peer.name)));
    }
    Ok(figures.into_iter().map(|figure| figure.emulated(!settings.kvm)).collect())
}

/// Starts a guest and collects its rows.
fn rows(plan: &Plan, kernel: &Nameless, initial: Option<&Nameless>) -> Outcome<Rows> {
    let mut machine = Machine::start(plan, kernel, initial)?;
    let end = machine.serial.wait_for(DEADLINE, |line| line.contains("rows "));
    let lines: Vec<String> = machine.serial.lines().into_iter().map(|line| line.text).collect();
    machine.kill();
    match end {
        Some(line) if line.text.contains("rows done") => {
            Ok(lines.iter().filter_map(|line| row(line)).collect())
        }
        _ => Err(Trouble::new(format!("its rows did not come: {}", machine.autopsy()))),
    }
}

/// Reads `row NAME NANOSECONDS`, wherever on a line it begins.
fn row(line: &str) -> Option<(String, f64)> {
    let mut words = line.split_once("row ")?.1.split_whitespace();
    let (name, ns) = (words.next()?, words.next()?.parse().ok()?);
    (ns > 0.0).then(|| (name.to_string(), ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_named() {
        assert_eq!(row("trial: row fault 1234.5"), Some(("fault".into(), 1234.5)));
        assert_eq!(row("rows done"), None);
        assert_eq!(row("row fault 0.0"), None);
        for (row, ns_name, ratio_name, goal) in ROWS {
            assert_eq!(ns_name, format!("kernel.{row}_ns"));
            assert!(goal.is_none() || ratio_name == format!("kernel.{row}_linux_ratio"));
            assert!(goal.is_none() || PEER.source.contains(&format!("row(\"{row}\"")));
        }
    }
}
