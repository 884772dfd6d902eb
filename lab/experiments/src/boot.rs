//! How soon an application runs: from the start of the emulator's process to the application's first instruction.
//!
//! The guest's serial line is read by the host, which stamps each line when it sees it. The kernel's first
//! instructions send a byte; the application's first deed is a line. So the figure includes the way through the
//! emulator's serial device, and errs to our disadvantage. The Debian cloud kernel runs a static `init` whose first
//! deed is a line too, on the same machine type with the same memory, told to be quiet so that its own messages do
//! not slow it down.

use crate::figures::Figure;
use crate::linux_guest::{self, FIRST_WORDS};
use crate::{Settings, quiet};
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Accelerator, Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, image, kvm};
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str = "an application's first instruction comes under 80 ms after the machine's start, 20 times sooner than Linux's";

/// Runs of each side unless somebody asks otherwise.
const RUNS: usize = 7;
/// How long a side may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// A machine busier than this disturbs the figures.
const QUIET_SHARE: f64 = 0.1;
/// How the kernel's own lines begin; all others are the application's.
const KERNEL_LINE: &str = "kernel: ";

/// Moments of one start, from the start of the process.
struct Start {
    first_byte_ms: f64,
    first_words_ms: f64,
}

/// Measures both sides, alternating.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let programs = artefacts::guest(&["nom-kernel", "nom-trial-guest"], progress)?;
    let bytes = image::assemble(&programs[0], CONFIGURATION, &[("trial", &programs[1])])?;
    let ours = Nameless::new(&bytes)?;
    if settings.kvm {
        kvm::require(&ours, &settings.cache)?;
    }
    let peer = linux_guest::prepare(&settings.cache, progress)?;
    let (kernel, initial) = (Nameless::new(&peer.kernel)?, Nameless::new(&peer.initial)?);
    let accelerator = if settings.kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    let plan = Plan { accelerator, memory_mib: 128, ..Plan::new(Kind::Microvm) };
    let linux = Plan { foreign: true, command_line: Some(linux_guest::command_line()), ..plan.clone() };
    let load = quiet::wait_for_quiet(QUIET_SHARE, Duration::from_secs(1), 10);
    if load >= QUIET_SHARE {
        progress(&format!("disturbed: {:.0}% of this machine is busy with other work", load * 100.0));
    }
    let (mut first_byte, mut first_words, mut theirs, mut ratios) = (vec![], vec![], vec![], vec![]);
    for run in 1..=settings.runs.unwrap_or(RUNS) {
        let our_start =
            start(&plan, &ours, None, |line| !line.trim().is_empty() && !line.contains(KERNEL_LINE))?;
        let their_start = start(&linux, &kernel, Some(&initial), |line| line.contains(FIRST_WORDS))?;
        progress(&format!(
            "run {run}: nom {:.1} ms, Linux {:.0} ms",
            our_start.first_words_ms, their_start.first_words_ms
        ));
        first_byte.push(our_start.first_byte_ms);
        first_words.push(our_start.first_words_ms);
        theirs.push(their_start.first_words_ms);
        ratios.push(their_start.first_words_ms / our_start.first_words_ms);
    }
    let figures = [
        Figure::of("boot.first_instruction_ms", "ms", Some("<80"), &first_words),
        Figure::of("boot.first_serial_byte_ms", "ms", None, &first_byte),
        Figure::of("boot.linux_init_ms", "ms", None, &theirs).map(|figure| figure.against(&peer.name)),
        Figure::of("boot.linux_ratio", "x", Some(">=20"), &ratios).map(|figure| figure.against(&peer.name)),
    ];
    Ok(figures.into_iter().flatten().map(|figure| figure.emulated(!settings.kvm)).collect())
}

/// The least that the kernel needs.
const CONFIGURATION: &str = "image.trusted = yes\n";

fn start(
    plan: &Plan,
    kernel: &Nameless,
    initial: Option<&Nameless>,
    speaks: impl Fn(&str) -> bool,
) -> Outcome<Start> {
    let mut machine = Machine::start(plan, kernel, initial)?;
    let Some(line) = machine.serial.wait_for(DEADLINE, speaks) else {
        return Err(Trouble::new(format!("it did not come up: {}", machine.autopsy())));
    };
    let since = |moment: Instant| moment.duration_since(machine.started).as_secs_f64() * 1e3;
    let first_byte_ms = machine.serial.first_byte().map_or(f64::NAN, since);
    let start = Start { first_byte_ms, first_words_ms: since(line.seen) };
    machine.kill();
    Ok(start)
}
