//! What single deeds of kernel and runtime cost, for a bench on the host: with `# measure = kernel` in the configuration
//! each is done many times over, and the least time of a few batches comes as a line `row NAME NANOSECONDS`. Its
//! counterpart for Linux does the same in the same order (`lab/experiments/src/kernel_peer.c`).

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use nom_runtime::abi::call::{CallError, WRITE};
use nom_runtime::abi::upcall::Cause;
use nom_runtime::call::{call_core, end_application, map, nothing, start_application};
use nom_runtime::channel::Channel;
use nom_runtime::thread::{Condition, Mutex, spawn};
use nom_runtime::upcall::{Events, Verdict, on_events, on_page_fault, unhandle};
use nom_runtime::{configuration, core_count, cores, log, now_ns, wait};
use nom_trial::{protect, unmap};

use crate::many::text;

const BATCHES: u64 = 7;
const PAGE: u64 = 0x5a00_0000_0000;
/// Words of the channel: turns asked for and answered, and when the answer was begun.
const ASKED: usize = 0;
const ANSWERED: usize = 1;
const WOKEN_NS: usize = 2;
/// A notification that takes longer than this was lost.
const PATIENCE_NS: u64 = 60_000_000_000;

/// Whether the configuration asks for it.
pub fn wanted() -> bool {
    configuration().lines().any(|line| line.trim() == "# measure = kernel")
}

/// Does it, as whom the image calls `answers` or as the one that measures.
pub fn run() -> u8 {
    if nom_runtime::name() == "answers" {
        return answer();
    }
    match measure() {
        Ok(()) => 0,
        Err(why) => {
            log!("rows FAILED {why}");
            1
        }
    }
}

/// The least time of one turn among the batches, each of which says how long all its turns took.
fn row(name: &str, turns: u64, mut batch: impl FnMut(u64) -> Result<u64, String>) -> Result<(), String> {
    // The first one only warms up.
    batch(turns / 8 + 1)?;
    let mut least = u64::MAX;
    for _ in 0..BATCHES {
        least = least.min(batch(turns)?);
    }
    log!("row {name} {}.{}", least / turns, least * 10 / turns % 10);
    Ok(())
}

fn timed(turns: u64, mut turn: impl FnMut()) -> u64 {
    let from = now_ns();
    (0..turns).for_each(|_| turn());
    now_ns() - from
}

fn measure() -> Result<(), String> {
    if core_count() < 2 {
        return Err("two processors are needed".into());
    }
    row("null_call", 20_000, |turns| Ok(timed(turns, nothing)))?;
    fault()?;
    row("map_unmap", 3_000, |turns| {
        Ok(timed(turns, || {
            let _ = map(PAGE, 1, WRITE);
            let _ = nom_trial::write(PAGE, 1);
            let _ = unmap(PAGE, 1);
        }))
    })?;
    row("core_handover", 300, handover)?;
    row("interrupt", 300, interrupt)?;
    notify()?;
    // From here on events come to threads.
    row("thread_switch", 5_000, switch)?;
    log!("rows done");
    Ok(())
}

fn fault() -> Result<(), String> {
    map(PAGE, 1, WRITE).map_err(text)?;
    on_page_fault(|_| if protect(PAGE, 1, WRITE).is_ok() { Verdict::Resume } else { Verdict::End });
    row("fault", 3_000, |turns| {
        Ok(timed(turns, || {
            let _ = protect(PAGE, 1, 0);
            let _ = nom_trial::write(PAGE, 1);
        }))
    })?;
    unhandle(Cause::PageFault);
    unmap(PAGE, 1).map_err(text)
}

/// A core is acquired, something runs there, and it is given back.
fn handover(turns: u64) -> Result<u64, String> {
    static RAN: AtomicU64 = AtomicU64::new(0);
    fn work(turn: u64) {
        RAN.store(turn, Ordering::Release);
    }
    let from = now_ns();
    for turn in 1..=turns {
        while cores::start(1, work, turn) == Err(CallError::Taken) {}
        while RAN.load(Ordering::Acquire) != turn {
            core::hint::spin_loop();
        }
    }
    Ok(now_ns() - from)
}

/// Another core interrupts this one while it runs: from there to the handler here.
fn interrupt(turns: u64) -> Result<u64, String> {
    static SENT_NS: AtomicU64 = AtomicU64::new(0);
    static SUM_NS: AtomicU64 = AtomicU64::new(0);
    static SEEN: AtomicU64 = AtomicU64::new(0);
    fn came(_: Events) -> Events {
        SUM_NS.fetch_add(now_ns() - SENT_NS.load(Ordering::Acquire), Ordering::Relaxed);
        SEEN.fetch_add(1, Ordering::Release);
        0
    }
    // Seen ones are counted through, so that no batch resets what the last one still waits for.
    fn work(until: u64) {
        for turn in SEEN.load(Ordering::Acquire) + 1..=until {
            SENT_NS.store(now_ns(), Ordering::Release);
            let _ = call_core(0);
            while SEEN.load(Ordering::Acquire) < turn {
                core::hint::spin_loop();
            }
        }
    }
    SUM_NS.store(0, Ordering::Relaxed);
    let until = SEEN.load(Ordering::Acquire) + turns;
    on_events(came);
    while cores::start(1, work, until) == Err(CallError::Taken) {}
    let limit = now_ns() + PATIENCE_NS;
    while SEEN.load(Ordering::Acquire) < until && now_ns() < limit {}
    unhandle(Cause::Events);
    if SEEN.load(Ordering::Acquire) < until {
        Err("an interrupt was lost".into())
    } else {
        Ok(SUM_NS.load(Ordering::Relaxed))
    }
}

/// Two applications on two cores, each asleep until the other notifies it.
fn notify() -> Result<(), String> {
    // The core that was lent to this one must be free, so that the other application is alone on it.
    wait(Some(now_ns() + 5_000_000), 0);
    let channel = Channel::open("turns").map_err(text)?;
    start_application("answers").map_err(text)?;
    let words = channel.words();
    let mut turn = 0;
    let mut ask = |turns: u64, one_way: bool| {
        let mut sum = 0;
        for _ in 0..turns {
            turn += 1;
            let from = now_ns();
            words[ASKED].store(turn, Ordering::Release);
            while channel.notify().is_err() {
                if now_ns() > from + PATIENCE_NS {
                    return Err(String::from("nobody is at the other end"));
                }
                wait(Some(now_ns() + 1_000_000), 0);
            }
            while words[ANSWERED].load(Ordering::Acquire) != turn {
                if now_ns() > from + PATIENCE_NS {
                    return Err(format!("turn {turn} was lost"));
                }
                wait(Some(from + PATIENCE_NS), 0);
            }
            sum += if one_way { words[WOKEN_NS].load(Ordering::Relaxed) - from } else { now_ns() - from };
        }
        Ok(sum)
    };
    row("notify_one_way", 1_000, |turns| ask(turns, true))?;
    row("notify_round_trip", 1_000, |turns| ask(turns, false))?;
    end_application("answers").map_err(text)
}

fn answer() -> u8 {
    let Ok(channel) = Channel::open("turns") else { return 1 };
    let words = channel.words();
    loop {
        let asked = words[ASKED].load(Ordering::Acquire);
        if words[ANSWERED].load(Ordering::Relaxed) == asked {
            wait(None, 0);
            continue;
        }
        words[WOKEN_NS].store(now_ns(), Ordering::Relaxed);
        words[ANSWERED].store(asked, Ordering::Release);
        let _ = channel.notify();
    }
}

/// Two threads on one core hand a turn to each other through a mutex and a condition for each.
fn switch(turns: u64) -> Result<u64, String> {
    struct Shared {
        turn: Mutex<u64>,
        conditions: [Condition; 2],
    }
    fn play(shared: &Shared, own: usize, turns: u64) {
        for _ in 0..turns / 2 {
            let mut turn = shared.turn.lock();
            while *turn % 2 != own as u64 {
                turn = shared.conditions[own].wait(turn);
            }
            *turn += 1;
            shared.conditions[1 - own].notify_one();
        }
    }
    let shared = Arc::new(Shared { turn: Mutex::new(0), conditions: [Condition::new(), Condition::new()] });
    let theirs = shared.clone();
    let from = now_ns();
    let other = spawn(move || play(&theirs, 1, turns)).map_err(|error| format!("{error:?}"))?;
    play(&shared, 0, turns);
    other.join();
    Ok(now_ns() - from)
}
