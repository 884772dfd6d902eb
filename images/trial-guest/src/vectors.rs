//! Vector registers survive every interruption, as wide as the processor has them.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_runtime::abi::upcall::{Cause, TIMER};
use nom_runtime::call::set_timer;
use nom_runtime::upcall::{on_events, unhandle};
use nom_runtime::{log, now_ns};
use nom_trial::vectors::{Width, disturbed, scramble};

use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 3] = [
    ("vectors_sse_survive_upcalls", || survive(Width::Sse)),
    ("vectors_avx_survive_upcalls", || survive(Width::Avx)),
    ("vectors_avx_512_survive_upcalls", || survive(Width::Avx512)),
];

/// Events in each round.
const EVENTS: u64 = 10;
static LEFT: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicU64 = AtomicU64::new(0);

/// Scrambles all registers at each event, and asks for the next one until enough have come.
fn disturb(events: u64) -> u64 {
    if events & TIMER != 0 {
        scramble();
        match LEFT.fetch_sub(1, Ordering::Relaxed) {
            1 => STOP.store(1, Ordering::Relaxed),
            // Sometimes already past: then the next event comes while this one returns.
            left => drop(set_timer(now_ns() + left % 3 * 20_000)),
        }
    }
    0
}

/// The registers of this width survive what interrupts them.
fn survive(width: Width) -> Outcome {
    if !width.usable() {
        return Err(NotOk::Skipped("this processor has no such registers"));
    }
    for round in 0..10 {
        LEFT.store(EVENTS, Ordering::Relaxed);
        STOP.store(0, Ordering::Relaxed);
        on_events(disturb);
        let _ = set_timer(now_ns() + 50_000);
        let wrong = disturbed(width, &STOP).unwrap_or(0);
        unhandle(Cause::Events);
        ensure!(wrong == 0, "round {round}: {wrong} bytes changed");
    }
    log!("{width:?}: {} bytes of vector registers were covered", width.covered());
    Ok(())
}
