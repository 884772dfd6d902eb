//! Further cores: acquired, interrupted, asked back and taken.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::format;
use nom_runtime::abi::call::{CallError, LARGE, LARGE_PAGES, NO_ACCESS, WRITE};
use nom_runtime::abi::upcall::{CALLED, CORE_LOST, CORE_WANTED};
use nom_runtime::call::{call_core, end_application, map, release_core};
use nom_runtime::{context, core_count, cores, now_ns, wait};
use nom_trial::{Attempts, protect, read, unmap};

use crate::many::{order, text, until};
use crate::orders::{self, DONE, FOUND};
use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 8] = [
    ("core_runs_and_returns", runs_and_returns),
    ("core_is_checked", is_checked),
    ("core_call_wakes", call_wakes),
    ("core_forgets_what_is_unmapped", forgets),
    ("core_is_stopped_by_its_owner", is_stopped),
    ("core_given_back_when_asked", given_back),
    ("core_taken_after_its_deadline", taken),
    ("core_all_come_back_from_the_dead", come_back),
];

static SEEN: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
const PLACE: u64 = 0x5900_0000_0000;

fn several() -> Result<u32, NotOk> {
    match core_count() {
        1 => Err(NotOk::Skipped("there is one core")),
        count => Ok(count),
    }
}

fn count_for_ever(_: u64) {
    loop {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// A core that was given back can be acquired: after a moment, since who gives back its own does so last.
fn start(core: u32, work: fn(u64), argument: u64) -> Outcome {
    until(&format!("core {core} is free"), || match cores::start(core, work, argument) {
        Err(CallError::Taken) => false,
        answer => {
            SEEN.store(u64::from(answer.is_ok()), Ordering::Relaxed);
            true
        }
    })?;
    let _ = SEEN.load(Ordering::Relaxed);
    Ok(())
}

fn runs_and_returns() -> Outcome {
    fn work(argument: u64) {
        COUNT.store(argument * 100 + context() as u64, Ordering::Release);
    }
    for core in 1..several()? {
        for turn in 1..4 {
            COUNT.store(0, Ordering::Relaxed);
            start(core, work, turn)?;
            until("it ran", || COUNT.load(Ordering::Acquire) != 0)?;
            let found = COUNT.load(Ordering::Relaxed);
            ensure!(found == turn * 100 + u64::from(core), "core {core}: {found}");
        }
        start(core, count_for_ever, 0)?;
        release_core(core).map_err(text)?;
    }
    ensure!(context() == 0, "the first context is {}", context());
    Ok(())
}

fn is_checked() -> Outcome {
    let count = several()?;
    start(1, count_for_ever, 0)?;
    let twice = cores::start(1, count_for_ever, 0);
    ensure!(twice == Err(CallError::Taken), "acquired twice: {twice:?}");
    ensure!(release_core(0) == Err(CallError::BadArgument), "the home was given back");
    ensure!(call_core(count) == Err(CallError::NoSuch), "called what is not there");
    release_core(1).map_err(text)?;
    ensure!(release_core(1) == Err(CallError::NotOwner), "given back twice");
    ensure!(call_core(1) == Err(CallError::NotOwner), "called a core that is nobody's");
    Ok(())
}

fn call_wakes() -> Outcome {
    fn work(_: u64) {
        for _ in 0..200 {
            while wait(None, 0) & CALLED == 0 {}
            COUNT.fetch_add(1, Ordering::Release);
            let _ = call_core(0);
        }
    }
    several()?;
    COUNT.store(0, Ordering::Relaxed);
    start(1, work, 0)?;
    for turn in 1..=200 {
        let limit = now_ns() + 20_000_000_000;
        call_core(1).map_err(text)?;
        while COUNT.load(Ordering::Acquire) < turn {
            ensure!(now_ns() < limit, "call {turn} was lost");
            wait(Some(limit), 0);
        }
    }
    Ok(())
}

/// What another core can reach is gone when unmapping has returned.
fn forgets() -> Outcome {
    static TURNS: AtomicU64 = AtomicU64::new(0);
    static READABLE: AtomicU64 = AtomicU64::new(0);
    fn work(_: u64) {
        loop {
            let readable = read(PLACE).is_ok();
            READABLE.store(u64::from(readable), Ordering::Release);
            TURNS.fetch_add(1, Ordering::Release);
        }
    }
    several()?;
    let _attempts = Attempts::begin();
    start(1, work, 0)?;
    let next = || {
        let turn = TURNS.load(Ordering::Acquire);
        until("two turns", || TURNS.load(Ordering::Acquire) >= turn + 2)
    };
    let mut wrong = 0;
    // Pages of both sizes in turns, so that tables come and go too.
    for turn in 0..30 {
        let (pages, size) = if turn % 4 < 2 { (1, 0) } else { (LARGE_PAGES, LARGE) };
        map(PLACE, pages, WRITE | size).map_err(text)?;
        next()?;
        wrong += u64::from(READABLE.load(Ordering::Acquire) != 1);
        if turn % 2 == 0 {
            protect(PLACE, pages, NO_ACCESS).map_err(text)?;
            next()?;
            wrong += u64::from(READABLE.load(Ordering::Acquire) != 0);
            protect(PLACE, pages, WRITE).map_err(text)?;
        }
        unmap(PLACE, pages).map_err(text)?;
        next()?;
        wrong += u64::from(READABLE.load(Ordering::Acquire) != 0);
    }
    release_core(1).map_err(text)?;
    ensure!(wrong == 0, "{wrong} times another core saw what was not so");
    Ok(())
}

fn is_stopped() -> Outcome {
    for turn in 0..several()?.saturating_mul(5) {
        start(1, count_for_ever, 0)?;
        if turn % 2 == 0 {
            let count = COUNT.load(Ordering::Relaxed);
            until("it counts", || COUNT.load(Ordering::Relaxed) != count)?;
        }
        release_core(1).map_err(text)?;
        let count = COUNT.load(Ordering::Relaxed);
        wait(Some(now_ns() + 1_000_000), 0);
        ensure!(count == COUNT.load(Ordering::Relaxed), "it counts on without a core");
    }
    Ok(())
}

/// All cores but the home; says how many.
fn take_all() -> Result<u32, NotOk> {
    for core in 1..several()? {
        start(core, count_for_ever, 0)?;
    }
    Ok(core_count() - 1)
}

/// Starts the peer where there is no core left and waits for these events.
fn squeeze(expected: u64, answer: fn()) -> Outcome {
    take_all()?;
    let _ = wait(Some(0), 0);
    let channel = order(orders::SPIN)?;
    let mut events = 0;
    let limit = now_ns() + 20_000_000_000;
    while events & expected != expected {
        ensure!(now_ns() < limit, "only {events:#x} of {expected:#x} came");
        let came = wait(Some(limit), 0);
        if came & CORE_WANTED != 0 {
            answer();
        }
        events |= came;
    }
    // The other one has a core of its own now: it counts while this one spins.
    let before = channel.words()[DONE].load(Ordering::Relaxed);
    until("it counts", || channel.words()[DONE].load(Ordering::Relaxed) > before + 1000)?;
    let mine = (0..core_count()).filter(|&core| release_core(core).is_ok()).count() as u32;
    end_application("peer").map_err(text)?;
    ensure!(mine == core_count() - 2, "{mine} further cores were left");
    Ok(())
}

fn given_back() -> Outcome {
    several()?;
    squeeze(CORE_WANTED, || {
        let _ = release_core(1);
    })
}

fn taken() -> Outcome {
    several()?;
    squeeze(CORE_WANTED | CORE_LOST, || {})
}

fn come_back() -> Outcome {
    let count = several()?;
    for turn in 0..6 {
        let channel = order(if turn % 2 == 0 { orders::GRAB } else { orders::SHARE })?;
        until("it has them", || channel.words()[DONE].load(Ordering::Acquire) == 1)?;
        let had = channel.words()[FOUND].load(Ordering::Relaxed);
        ensure!(had == u64::from(count) - 2, "it had {had} further cores");
        end_application("peer").map_err(text)?;
        take_all()?;
        let mine = (0..count).filter(|&core| release_core(core).is_ok()).count() as u32;
        ensure!(mine == count - 1, "{mine} cores came back");
    }
    Ok(())
}
