//! What must hold on the smallest machine and on the largest: every core works, and memory can be used wherever it lies.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_runtime::abi::call::{CONTIGUOUS, PAGE_LEN, WRITE};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::call::{map, release_core};
use nom_runtime::{configuration, context, core_count, cores};
use nom_trial::{Attempts, read, unmap, write};

use crate::many::{counter, text, until};
use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 3] = [
    ("extreme_every_core_works", every_core),
    ("extreme_memory_is_all_there", all_there),
    ("extreme_memory_above_4_gib", above),
];

const PLACE: u64 = 0x4000_0000_0000;
/// What the kernel, its tables and this application may take away from the machine's memory.
const TAKEN: u64 = 16;

/// The machine's size as the host has made it: `# NAME = NUMBER` in the configuration.
fn wanted(name: &str) -> u64 {
    let line = |line: &'static str| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(" = ");
    configuration().lines().find_map(line).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn every_core() -> Outcome {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    fn work(_: u64) {
        SEEN.fetch_or(1 << context(), Ordering::AcqRel);
        loop {
            core::hint::spin_loop();
        }
    }
    let count = core_count();
    ensure!(u64::from(count) == wanted("processors"), "there are {count} cores");
    for core in 1..count {
        cores::start(core, work, 0).map_err(text)?;
    }
    // All at the same time.
    let all = (1 << count) - 2;
    until("every core", || SEEN.load(Ordering::Acquire) == all)?;
    for core in 1..count {
        release_core(core).map_err(text)?;
    }
    Ok(())
}

fn all_there() -> Outcome {
    let (frames, machine) = (counter(Counter::Frames), wanted("mib") << 8);
    // The first MiB is left out; a sixteenth pays for what the kernel needs itself.
    ensure!(frames <= machine && frames >= machine - machine / TAKEN - 256, "{frames} frames of {machine}");
    Ok(())
}

fn above() -> Outcome {
    let low = wanted("mib_below_4_gib") << 8;
    if low == 0 {
        return Err(NotOk::Skipped("all of this machine's memory lies below"));
    }
    let _attempts = Attempts::begin();
    // There is no room for as much in one piece below.
    let (before, pages) = (counter(Counter::FreeFrames), low + 1);
    let physical = map(PLACE, pages, WRITE | CONTIGUOUS).map_err(text)?;
    ensure!(physical >= 4 << 30, "{pages} pages lie at {physical:#x}");
    for page in (0..pages).step_by(61) {
        let at = PLACE + page * PAGE_LEN;
        ensure!(read(at) == Ok(0) && write(at, page).is_ok(), "page {page} cannot be used");
    }
    for page in (0..pages).step_by(61) {
        let found = read(PLACE + page * PAGE_LEN);
        ensure!(found == Ok(page), "page {page} holds {found:x?}");
    }
    unmap(PLACE, pages).map_err(text)?;
    // Tables stay until the application ends.
    let after = counter(Counter::FreeFrames);
    ensure!(after + pages / 256 + 8 >= before, "{before} free frames became {after}");
    Ok(())
}
