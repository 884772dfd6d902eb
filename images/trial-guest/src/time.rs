//! Clock, timer and sleeping.

use core::sync::atomic::Ordering;

use nom_runtime::abi::call::FOREVER;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::TIMER;
use nom_runtime::call::set_timer;
use nom_runtime::{entropy, now_ns, scale, statistics, unix_ns, wait};

use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 7] = [
    ("clock_never_goes_back", never_goes_back),
    ("clock_of_the_wall", wall),
    ("wait_until_a_time", until_a_time),
    ("wait_in_the_past_returns", in_the_past),
    ("wait_ends_with_the_timer", ends_with_the_timer),
    ("wait_makes_one_call", one_call),
    ("entropy_differs", entropy_differs),
];

fn counter(counter: Counter) -> u64 {
    statistics()[counter as usize].load(Ordering::Relaxed)
}

fn never_goes_back() -> Outcome {
    let mut last = now_ns();
    for _ in 0..200_000 {
        let now = now_ns();
        ensure!(now >= last, "{last} then {now}");
        last = now;
    }
    let ticks_per_s = scale().ticks_per_s;
    nom_runtime::log!("the clock has {ticks_per_s} ticks a second");
    ensure!((100_000_000..10_000_000_000).contains(&ticks_per_s), "{ticks_per_s} ticks a second");
    Ok(())
}

fn wall() -> Outcome {
    const YEAR_2020: u64 = 1_577_836_800_000_000_000;
    // A machine without a wall clock may say so; one that has it must be in this age.
    if let Some(now) = unix_ns() {
        ensure!((YEAR_2020..YEAR_2020 * 4).contains(&now), "{now}");
    }
    Ok(())
}

fn until_a_time() -> Outcome {
    let halts = counter(Counter::Halts);
    for step in 1..=20 {
        let until = now_ns() + step * 100_000;
        let events = wait(Some(until), 0);
        let now = now_ns();
        ensure!(events == 0, "events {events:#x} came from nowhere");
        ensure!(now >= until, "woke {} ns too early", until - now);
    }
    let halted = counter(Counter::Halts) - halts;
    // Fewer when the host held us up until a time was past; more would be waking for nothing.
    ensure!((1..=60).contains(&halted), "20 sleeps halted the core {halted} times");
    Ok(())
}

fn in_the_past() -> Outcome {
    let halts = counter(Counter::Halts);
    for until in [0, 1, now_ns()] {
        let events = wait(Some(until), 0);
        ensure!(events == 0, "events {events:#x} came from nowhere");
    }
    ensure!(counter(Counter::Halts) == halts, "the core was halted for a time that is past");
    Ok(())
}

fn ends_with_the_timer() -> Outcome {
    let at = now_ns() + 300_000;
    set_timer(at).map_err(|error| alloc::format!("{error:?}"))?;
    let events = wait(None, 0);
    ensure!(events == TIMER, "woken by {events:#x}");
    ensure!(now_ns() >= at, "the timer came too early");
    // Taken back in time, it does not come. The host may have held us up until it was due: then again.
    for _ in 0..100 {
        let at = now_ns() + 1_000_000;
        let _ = set_timer(at);
        let _ = set_timer(FOREVER);
        let in_time = now_ns() < at;
        let events = wait(Some(at + 1_000_000), 0);
        if in_time {
            ensure!(events == 0, "a timer that was taken back came: {events:#x}");
            return Ok(());
        }
    }
    Err(NotOk::Skipped("the host holds this machine up too often"))
}

fn one_call() -> Outcome {
    let (calls, upcalls) = (counter(Counter::Calls), counter(Counter::EventUpcalls));
    for _ in 0..10 {
        wait(Some(now_ns() + 50_000), 0);
    }
    let calls = counter(Counter::Calls) - calls;
    ensure!(calls == 10, "10 sleeps took {calls} calls");
    let upcalls = counter(Counter::EventUpcalls) - upcalls;
    ensure!(upcalls == 0, "10 sleeps took {upcalls} upcalls");
    Ok(())
}

fn entropy_differs() -> Outcome {
    let mut first = [0; 32];
    let mut second = [0; 32];
    // A processor without a generator must say so, and the stack refuses to start; here that is a failure of the
    // machine that was chosen for the trial.
    entropy(&mut first).map_err(|_| alloc::string::String::from("no generator; start with -cpu max"))?;
    entropy(&mut second).map_err(|_| alloc::string::String::from("the generator failed"))?;
    ensure!(first != second && first != [0; 32], "{first:x?} {second:x?}");
    Ok(())
}
