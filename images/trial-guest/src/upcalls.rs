//! Upcalls of events: none lost, none doubled, and nothing of the interrupted program changed.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_runtime::abi::call::FOREVER;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::{Cause, TIMER};
use nom_runtime::call::set_timer;
use nom_runtime::upcall::{disable, enable, on_events, unhandle};
use nom_runtime::{now_ns, statistics, wait};
use nom_trial::vectors::scramble;
use nom_trial::{Attempts, disturbed, read};

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 6] = [
    ("upcall_timer_while_running", timer_while_running),
    ("upcall_registers_and_red_zone", registers_and_red_zone),
    ("upcall_storm_loses_none", storm_loses_none),
    ("upcall_waits_while_disabled", waits_while_disabled),
    ("upcall_fault_within_handler", fault_within_handler),
    ("upcall_collected_for_wait", collected_for_wait),
];

static SEEN: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);

/// A bound on how long a case waits for what must come: virtual time, and generous.
const PATIENCE_NS: u64 = 40_000_000_000;

/// Counts timer events, scrambles the vector registers, and asks for the next one until enough have come.
fn count_and_scramble(events: u64) -> u64 {
    if events & TIMER != 0 {
        SEEN.fetch_add(1, Ordering::Relaxed);
        scramble();
        let left = LEFT.load(Ordering::Relaxed);
        if left == 0 {
            STOP.store(1, Ordering::Relaxed);
        } else {
            LEFT.store(left - 1, Ordering::Relaxed);
            // Sometimes already past: then the next event comes while this one returns.
            let _ = set_timer(now_ns() + left % 3 * 20_000);
        }
    }
    0
}

fn begin(events: u64) {
    SEEN.store(0, Ordering::Relaxed);
    STOP.store(0, Ordering::Relaxed);
    LEFT.store(events - 1, Ordering::Relaxed);
    on_events(count_and_scramble);
    let _ = set_timer(now_ns() + 50_000);
}

fn finish(expected: u64) -> Outcome {
    unhandle(Cause::Events);
    let seen = SEEN.load(Ordering::Relaxed);
    ensure!(seen == expected, "{seen} events of {expected}");
    Ok(())
}

fn timer_while_running() -> Outcome {
    begin(1);
    let limit = now_ns() + PATIENCE_NS;
    while STOP.load(Ordering::Relaxed) == 0 && now_ns() < limit {}
    finish(1)
}

fn registers_and_red_zone() -> Outcome {
    for round in 0..20 {
        begin(10);
        let wrong = disturbed(&STOP);
        ensure!(wrong == 0, "round {round}: {wrong} places changed");
        finish(10)?;
    }
    Ok(())
}

fn storm_loses_none() -> Outcome {
    const EVENTS: u64 = 3000;
    begin(EVENTS);
    let limit = now_ns() + PATIENCE_NS;
    let mut spins = 0_u64;
    while STOP.load(Ordering::Relaxed) == 0 && now_ns() < limit {
        // In and out of critical sections, with calls between.
        if spins.is_multiple_of(3) {
            disable();
            enable();
        } else if spins.is_multiple_of(7) {
            nom_runtime::call::nothing();
        }
        spins += 1;
    }
    finish(EVENTS)
}

fn waits_while_disabled() -> Outcome {
    disable();
    begin(1);
    let limit = now_ns() + 2_000_000;
    while now_ns() < limit {}
    let early = SEEN.load(Ordering::Relaxed);
    enable();
    let late = SEEN.load(Ordering::Relaxed);
    ensure!(early == 0, "an event came in while upcalls were disabled");
    ensure!(late == 1, "the event did not come when upcalls were enabled");
    finish(1)
}

fn fault_within_handler() -> Outcome {
    fn handler(events: u64) -> u64 {
        if events & TIMER != 0 {
            let fault = read(0);
            SEEN.store(if fault.is_err() { 1 } else { 99 }, Ordering::Relaxed);
            STOP.store(1, Ordering::Relaxed);
        }
        0
    }
    let _attempts = Attempts::begin();
    SEEN.store(0, Ordering::Relaxed);
    STOP.store(0, Ordering::Relaxed);
    on_events(handler);
    let _ = set_timer(now_ns() + 100_000);
    let wrong = disturbed(&STOP);
    ensure!(wrong == 0, "{wrong} places changed");
    finish(1)?;
    // Afterwards events still come: enabling was not lost on the way out of both levels.
    begin(1);
    let limit = now_ns() + PATIENCE_NS;
    while STOP.load(Ordering::Relaxed) == 0 && now_ns() < limit {}
    finish(1)
}

fn collected_for_wait() -> Outcome {
    let upcalls = || statistics()[Counter::EventUpcalls as usize].load(Ordering::Relaxed);
    let before = upcalls();
    let _ = set_timer(now_ns() + 100_000);
    let limit = now_ns() + PATIENCE_NS;
    // Without a handler the event is collected, and the next wait answers it.
    while upcalls() == before && now_ns() < limit {}
    let events = wait(Some(FOREVER - 1), 0);
    ensure!(events == TIMER, "wait answered {events:#x}");
    let again = wait(Some(now_ns()), 0);
    ensure!(again == 0, "the same event came twice: {again:#x}");
    Ok(())
}
