//! Several applications from one image: they start and end, share a core, and share memory.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::format;
use nom_runtime::abi::application::{Phase, Status};
use nom_runtime::abi::call::CallError;
use nom_runtime::abi::exit::{ENDED, FAULTED};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall;
use nom_runtime::abi::upcall::Cause;
use nom_runtime::call::set_timer;
use nom_runtime::call::{application_status, end_application, start_application};
use nom_runtime::channel::Channel;
use nom_runtime::upcall::{on_events, unhandle};
use nom_runtime::{core_count, now_ns, statistics, wait};
use nom_trial::disturbed;
use nom_trial::vectors::{self, Width};

use crate::orders::{self, DONE, FOUND, ORDER};
use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 14] = [
    ("many_start_and_end", start_and_end),
    ("many_start_is_checked", start_is_checked),
    ("many_restart_as_often_as_allowed", restart),
    ("many_end_by_the_starter", end_by_the_starter),
    ("many_fault_harms_itself_alone", fault),
    ("many_dead_ones_things_come_back", things_come_back),
    ("many_prying_is_refused", prying),
    ("many_start_and_end_often", often),
    ("many_alone_no_timer", alone_no_timer),
    ("many_slices_are_fair", slices_are_fair),
    ("many_vectors_survive_slices", vectors_survive),
    ("many_sleeper_wakes_among_spinners", sleeper_wakes),
    ("channel_echo", channel_echo),
    ("channel_peer_death_is_told", peer_death),
];

/// A bound on how long a case waits for what must come: virtual time, and generous.
const PATIENCE_NS: u64 = 40_000_000_000;

pub fn counter(counter: Counter) -> u64 {
    statistics()[counter as usize].load(Ordering::Relaxed)
}

pub fn text(error: CallError) -> alloc::string::String {
    format!("{error:?}")
}

/// Sleeps until something holds.
pub fn until(what: &str, holds: impl Fn() -> bool) -> Outcome {
    let limit = now_ns() + PATIENCE_NS;
    while !holds() {
        ensure!(now_ns() < limit, "it never came: {what}");
        wait(Some(now_ns() + 500_000), 0);
    }
    Ok(())
}

pub fn status(name: &str) -> Status {
    application_status(name).unwrap_or_default()
}

/// Opens the orders, gives one, and starts the peer.
pub fn order(order: u64) -> Result<Channel, NotOk> {
    // What a case left behind when it failed.
    let _ = end_application("peer");
    let channel = Channel::open("orders").map_err(text)?;
    channel.words().iter().for_each(|word| word.store(0, Ordering::Relaxed));
    channel.words()[ORDER].store(order, Ordering::Release);
    start_application("peer").map_err(text)?;
    Ok(channel)
}

fn ended(name: &str, code: u8) -> Outcome {
    until("the end", || status(name).phase == Phase::Ended)?;
    let found = status(name).code;
    ensure!(found == code, "{name} ended with {found}, not {code}");
    Ok(())
}

/// Does something, and sees that no frame is missing afterwards.
fn without_loss(work: impl FnOnce() -> Outcome) -> Outcome {
    // Tables of the places where channels are mapped stay: once before counting.
    drop(Channel::open("orders").map_err(text)?);
    let before = counter(Counter::FreeFrames);
    work()?;
    let after = counter(Counter::FreeFrames);
    ensure!(before == after, "{before} free frames became {after}");
    Ok(())
}

fn start_and_end() -> Outcome {
    without_loss(|| {
        let _ = wait(Some(0), 0);
        let starts = status("peer").starts;
        let _channel = order(orders::EXIT)?;
        let mut events = 0;
        while events & upcall::ENDED == 0 {
            let came = wait(Some(now_ns() + PATIENCE_NS), 0);
            ensure!(came != 0, "nobody said that it ended");
            events |= came;
        }
        ended("peer", 7)?;
        ensure!(status("peer").starts == starts + 1, "{:?}", status("peer"));
        Ok(())
    })
}

fn start_is_checked() -> Outcome {
    let _channel = order(orders::SLEEP)?;
    for (name, error) in [
        ("peer", CallError::Taken),
        ("many", CallError::Taken),
        ("nobody", CallError::NoSuch),
        ("pee", CallError::NoSuch),
        ("peer\0", CallError::NoSuch),
    ] {
        let answer = start_application(name);
        ensure!(answer == Err(error), "{name:?}: {answer:?}");
    }
    ensure!(end_application("other") == Err(CallError::NoSuch), "ended what does not run");
    ensure!(end_application("many") == Err(CallError::NotOwner), "ended itself as a stranger");
    end_application("peer").map_err(text)?;
    ended("peer", ENDED)
}

fn restart() -> Outcome {
    // The image says that it comes again twice; it ends at once each time.
    start_application("again").map_err(text)?;
    until("three lives", || {
        let status = status("again");
        status.starts == 3 && status.phase == Phase::Ended
    })?;
    wait(Some(now_ns() + 2_000_000), 0);
    ensure!(status("again").starts == 3, "{:?}", status("again"));
    Ok(())
}

fn end_by_the_starter() -> Outcome {
    without_loss(|| {
        let channel = order(orders::SPIN)?;
        until("it counts", || channel.words()[DONE].load(Ordering::Relaxed) > 1000)?;
        end_application("peer").map_err(text)?;
        ended("peer", ENDED)?;
        let count = channel.words()[DONE].load(Ordering::Relaxed);
        wait(Some(now_ns() + 3_000_000), 0);
        ensure!(count == channel.words()[DONE].load(Ordering::Relaxed), "it counts on after its end");
        Ok(())
    })
}

fn fault() -> Outcome {
    without_loss(|| {
        let _channel = order(orders::FAULT)?;
        ended("peer", FAULTED)
    })
}

fn things_come_back() -> Outcome {
    without_loss(|| {
        for _ in 0..3 {
            let channel = order(orders::HOLD)?;
            until("it holds", || channel.words()[DONE].load(Ordering::Acquire) == 1)?;
            let held = channel.words()[FOUND].load(Ordering::Relaxed);
            // All the memory that it wants and all the devices: each time again.
            let devices = nom_runtime::device::list().count() as u64;
            ensure!(held == 50 + devices, "it holds {held} things");
            end_application("peer").map_err(text)?;
            ended("peer", ENDED)?;
        }
        Ok(())
    })
}

fn prying() -> Outcome {
    let secret = Channel::open("secret").map_err(text)?;
    let channel = order(orders::PRY)?;
    ended("peer", 7)?;
    let let_in = channel.words()[FOUND].load(Ordering::Acquire);
    ensure!(channel.words()[DONE].load(Ordering::Acquire) == 1 && let_in == 0, "let in: {let_in:#b}");
    ensure!(secret.notify() == Err(CallError::Gone), "somebody is there");
    let twice = Channel::open("secret").err();
    ensure!(twice == Some(CallError::Taken), "opened twice: {twice:?}");
    Ok(())
}

fn often() -> Outcome {
    without_loss(|| {
        for turn in 0..40 {
            let channel = order(if turn % 2 == 0 { orders::SPIN } else { orders::ECHO })?;
            // In the middle of anything: of its start, of its first calls, of its work.
            let limit = now_ns() + turn * 37_000;
            while now_ns() < limit {}
            end_application("peer").map_err(text)?;
            drop(channel);
        }
        Ok(())
    })
}

fn alone_no_timer() -> Outcome {
    let channel = order(orders::SLEEP)?;
    until("it is about to sleep", || channel.words()[DONE].load(Ordering::Acquire) == 1)?;
    // When this core sleeps for a whole millisecond, nobody else on it is runnable.
    let limit = now_ns() + PATIENCE_NS;
    loop {
        let halts = counter(Counter::Halts);
        wait(Some(now_ns() + 1_000_000), 0);
        if counter(Counter::Halts) > halts {
            break;
        }
        ensure!(now_ns() < limit, "it never slept");
    }
    let before = counter(Counter::TimerInterrupts);
    let limit = now_ns() + 50_000_000;
    while now_ns() < limit {}
    let timers = counter(Counter::TimerInterrupts) - before;
    end_application("peer").map_err(text)?;
    ensure!(timers == 0, "{timers} timer interrupts while nobody else was runnable");
    Ok(())
}

fn slices_are_fair() -> Outcome {
    if core_count() > 1 {
        return Err(NotOk::Skipped("there is a core for each"));
    }
    let channel = order(orders::SPIN)?;
    until("it counts", || channel.words()[DONE].load(Ordering::Relaxed) > 1000)?;
    // Where the host keeps the emulator's clock waiting, one slice lasts as long as hundreds of others: so the middle ones count.
    let (own, theirs) = (AtomicU64::new(0), &channel.words()[DONE]);
    let mut slices = [[0; 2]; 100];
    for slice in &mut slices {
        let (switches, before) = (counter(Counter::Switches), theirs.load(Ordering::Relaxed));
        own.store(0, Ordering::Relaxed);
        // There and back again.
        while counter(Counter::Switches) < switches + 2 {
            for _ in 0..100 {
                own.fetch_add(1, Ordering::Relaxed);
            }
        }
        *slice = [own.load(Ordering::Relaxed), theirs.load(Ordering::Relaxed) - before];
    }
    end_application("peer").map_err(text)?;
    let [own, theirs] = [0, 1].map(|whose| {
        let mut steps = slices.map(|slice| slice[whose]);
        steps.sort_unstable();
        steps[slices.len() / 2]
    });
    nom_runtime::log!("the middle one of 100 slices: {own} steps here, {theirs} there");
    ensure!(own / 5 < theirs && theirs / 5 < own, "{own} steps here, {theirs} there");
    Ok(())
}

fn vectors_survive() -> Outcome {
    static STOP: AtomicU64 = AtomicU64::new(0);
    fn stop(events: u64) -> u64 {
        STOP.store(events & upcall::TIMER, Ordering::Relaxed);
        0
    }
    let channel = order(orders::SCRAMBLE)?;
    until("it scrambles", || channel.words()[DONE].load(Ordering::Relaxed) > 10)?;
    on_events(stop);
    let before = counter(Counter::Switches);
    for round in 0..20 {
        STOP.store(0, Ordering::Relaxed);
        let _ = set_timer(now_ns() + 5_000_000);
        let wrong = match round % 4 {
            0 => disturbed(&STOP) as usize,
            other => vectors::disturbed(Width::ALL[other - 1], &STOP).unwrap_or(0),
        };
        ensure!(wrong == 0, "round {round}: {wrong} places changed");
        // Without registers of that width nothing has waited for the timer.
        while STOP.load(Ordering::Relaxed) == 0 {}
    }
    unhandle(Cause::Events);
    let switches = counter(Counter::Switches) - before;
    end_application("peer").map_err(text)?;
    ensure!(core_count() > 1 || switches > 20, "only {switches} switches");
    Ok(())
}

fn sleeper_wakes() -> Outcome {
    let channel = order(orders::SPIN)?;
    until("it counts", || channel.words()[DONE].load(Ordering::Relaxed) > 1000)?;
    let _ = wait(Some(0), 0);
    let before = channel.words()[DONE].load(Ordering::Relaxed);
    for _ in 0..100 {
        let at = now_ns() + 300_000;
        let events = wait(Some(at), 0);
        ensure!(events == 0 && now_ns() >= at, "woken early by {events:#x}");
    }
    // The one that always runs has run meanwhile.
    let steps = channel.words()[DONE].load(Ordering::Relaxed) - before;
    ensure!(steps > 1000, "the neighbour made {steps} steps only");
    end_application("peer").map_err(text)?;
    Ok(())
}

fn channel_echo() -> Outcome {
    const ROUNDS: u64 = 300;
    let channel = order(orders::ECHO)?;
    let words = channel.words();
    until("the peer", || words[DONE].load(Ordering::Acquire) == 1)?;
    let _ = wait(Some(0), 0);
    let begin = words[FOUND].load(Ordering::Acquire);
    for round in 1..=ROUNDS {
        channel.notify().map_err(text)?;
        let limit = now_ns() + PATIENCE_NS;
        while words[FOUND].load(Ordering::Acquire) < begin + round {
            ensure!(now_ns() < limit, "round {round} was lost");
            wait(Some(now_ns() + PATIENCE_NS / 4), 0);
        }
    }
    end_application("peer").map_err(text)?;
    Ok(())
}

fn peer_death() -> Outcome {
    without_loss(|| {
        let channel = order(orders::ECHO)?;
        until("the peer", || channel.words()[DONE].load(Ordering::Acquire) == 1)?;
        channel.words()[orders::CORES].store(77, Ordering::Relaxed);
        let _ = wait(Some(0), 0);
        end_application("peer").map_err(text)?;
        let events = wait(Some(now_ns() + PATIENCE_NS), 0);
        ensure!(events & channel.event() != 0, "the death was not told: {events:#x}");
        ensure!(channel.notify() == Err(CallError::Gone), "the dead one was notified");
        // One's own end stays whole, and another life finds it.
        ensure!(channel.words()[orders::CORES].load(Ordering::Relaxed) == 77, "the memory has changed");
        start_application("peer").map_err(text)?;
        until("the peer again", || channel.words()[DONE].load(Ordering::Acquire) == 2)?;
        ensure!(channel.notify().is_ok(), "the new life cannot be notified");
        end_application("peer").map_err(text)?;
        Ok(())
    })
}
