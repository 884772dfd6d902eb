//! A victim that keeps time beside a hostile application: whatever that one does, no beat is missed.
//!
//! `victim` starts `hostile` again and again with another attack ordered over a channel, and beats meanwhile. A beat is
//! a timer event, by turns while it works and while it sleeps, then a piece of work: it looks through memory of its own
//! and asks the kernel something.
//!
//! With a core for each, a beat is missed when its event does not come, comes twice, comes before its time, or when the
//! work finds what it did not leave. How late it comes is the host's doing there: its processors are shared. With one
//! core the machine's clock counts instructions (the emulator's `-icount`), so that time is the guest's alone: then a
//! beat is also missed when it comes more than a slice and [`ALLOWANCE_NS`] late.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;
use nom_runtime::abi::application::Phase;
use nom_runtime::abi::call::{BASE, CALLS, Call, PAGE_LEN, WRITE};
use nom_runtime::abi::device::DEVICES_MAX;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::{Cause, TIMER};
use nom_runtime::call::{
    application_status, call_core, end_application, map, nothing, set_timer, start_application,
};
use nom_runtime::channel::Channel;
use nom_runtime::upcall::{Verdict, disable, on_events, on_page_fault, unhandle};
use nom_runtime::{board, core_count, cores, device, log, now_ns, statistics, wait};
use nom_trial::{Attempts, Privileged, jump, overflow_stack, privileged, raw, read, undefined, unmap, write};

use crate::calls::HOSTILE;
use crate::many::{counter, status, text, until};
use crate::orders::{DONE, ORDER};
use crate::{Case, Outcome, ensure};

/// Between two beats.
const PERIOD_NS: u64 = 4_000_000;
/// Beats under each attack.
const BEATS: u64 = 12;
/// A slice of the neighbour's.
const SLICE_NS: u64 = 1_000_000;
/// What the kernel and the handler take on top of a slice.
const ALLOWANCE_NS: u64 = 500_000;
/// A bound on how long an event is waited for: generous, since the host may be busy.
const PATIENCE_NS: u64 = 20_000_000_000;
const PLACE: u64 = 0x5000_0000_0000;

/// An attack: its name, and what it does. The channel is the one with the victim.
type Attack = (&'static str, fn(&Channel));

/// What the hostile one does, by the number of the order. Those that end are started again.
const ATTACKS: [Attack; 17] = [
    ("faults", |_| storm_of_faults()),
    ("privileged_instructions", |_| privileged_for_ever()),
    ("hostile_arguments", |_| hostile_arguments()),
    ("null_calls", |_| {
        loop {
            nothing();
        }
    }),
    ("foreign_calls", |_| {
        loop {
            raw(39, [0; 5]);
        }
    }),
    ("memory_by_pages", |_| memory_by_pages()),
    ("memory_at_once", |_| memory_at_once()),
    ("timers_and_sleeps", |_| {
        loop {
            let _ = set_timer(0);
            wait(Some(0), 0);
        }
    }),
    ("notifications", |channel| {
        loop {
            let _ = channel.notify();
        }
    }),
    ("devices", |_| {
        loop {
            let had: Vec<_> = (0..DEVICES_MAX).filter_map(|number| device::acquire(number).ok()).collect();
            for device in had {
                let _ = nom_trial::release(device);
            }
        }
    }),
    ("kernel_jumps", |_| kernel_jumps()),
    ("shared_pages_written", |_| shared_pages_written()),
    ("channels", |_| {
        loop {
            drop(Channel::open("own"));
        }
    }),
    ("masked_and_looping", |_| {
        disable();
        loop {
            core::hint::spin_loop();
        }
    }),
    ("all_cores", |_| all_cores()),
    ("stack_overflows", |_| {
        let _attempts = Attempts::begin();
        loop {
            let _ = overflow_stack();
        }
    }),
    ("faults_in_the_fault_handler", |_| {
        on_page_fault(|_| {
            let _ = read(16);
            Verdict::End
        });
        let _ = read(8);
    }),
];

/// The hostile one.
pub fn attack() -> u8 {
    let Ok(channel) = Channel::open("orders") else { return 9 };
    let order = channel.words()[ORDER].load(Ordering::Acquire) as usize;
    channel.words()[DONE].fetch_add(1, Ordering::Release);
    if let Some((_, attack)) = ATTACKS.get(order) {
        attack(&channel);
    }
    7
}

fn kernel_jumps() {
    let _attempts = Attempts::begin();
    loop {
        for address in HOSTILE.into_iter().filter(|&address| address > PLACE) {
            let _ = jump(address);
        }
    }
}

fn shared_pages_written() {
    let _attempts = Attempts::begin();
    loop {
        for page in [board(), statistics()] {
            for word in page {
                let _ = write(word.as_ptr() as u64, u64::MAX);
            }
        }
    }
}

fn storm_of_faults() {
    let _attempts = Attempts::begin();
    loop {
        for address in HOSTILE {
            let _ = read(address);
            let _ = write(address, 1);
        }
        let _ = undefined();
    }
}

fn privileged_for_ever() {
    let _attempts = Attempts::begin();
    loop {
        for what in [
            Privileged::Halt,
            Privileged::NoInterrupts,
            Privileged::Port,
            Privileged::Register,
            Privileged::PageTable,
            Privileged::InterruptTable,
            Privileged::SwapGs,
            Privileged::Interrupt,
        ] {
            let _ = privileged(what);
        }
    }
}

fn hostile_arguments() {
    loop {
        for number in (BASE..BASE + CALLS.len() as u64).filter(|number| {
            // These would end the attack, and the log is for people.
            ![Call::Exit as u64, Call::Wait as u64, Call::Log as u64].contains(number)
        }) {
            for first in HOSTILE {
                for second in HOSTILE {
                    raw(number, [first, second, u64::MAX, first, second]);
                }
            }
        }
    }
}

/// All memory there is, a page at a time, and back.
fn memory_by_pages() {
    loop {
        let count = (0..).take_while(|page| map(PLACE + page * PAGE_LEN, 1, WRITE).is_ok()).count();
        let _ = unmap(PLACE, count as u64);
    }
}

/// As much memory as one call gives, and back.
fn memory_at_once() {
    let mut pages = 1 << 24;
    loop {
        match map(PLACE, pages, WRITE) {
            Ok(_) => drop(unmap(PLACE, pages)),
            Err(_) => pages = (pages / 2).max(1),
        }
    }
}

/// Takes every core that it can get, is deaf to all that the kernel asks, and calls them all.
fn all_cores() {
    fn deaf(_: u64) {
        disable();
        loop {
            nothing();
        }
    }
    loop {
        for core in 0..core_count() {
            let _ = cores::start(core, deaf, 0);
            let _ = call_core(core);
        }
    }
}

/// What the beats have shown.
#[derive(Default)]
struct Tally {
    beats: u64,
    missed: u64,
    latest_ns: u64,
    /// Events that the handler must have been told.
    told: u64,
}

/// Timer events that the handler was told.
static TOLD: AtomicU64 = AtomicU64::new(0);
/// When the last one came.
static TOLD_NS: AtomicU64 = AtomicU64::new(0);

fn told(events: u64) -> u64 {
    if events & TIMER != 0 {
        TOLD_NS.store(now_ns(), Ordering::Relaxed);
        TOLD.fetch_add(1, Ordering::Relaxed);
    }
    0
}

/// The victim.
fn keeps_time() -> Outcome {
    let channel = Channel::open("orders").map_err(text)?;
    let mut memory: Vec<u64> = (0..2 * PAGE_LEN).collect();
    let before = counter(Counter::FreeFrames);
    let (mut tally, mut lives) = (Tally::default(), 0);
    for (order, (name, _)) in ATTACKS.iter().enumerate() {
        channel.words()[ORDER].store(order as u64, Ordering::Release);
        let done = channel.words()[DONE].load(Ordering::Acquire);
        start_application("hostile").map_err(text)?;
        until("the attack", || channel.words()[DONE].load(Ordering::Acquire) > done)?;
        beats(name, &mut tally, &mut memory);
        let _ = end_application("hostile");
        ensure!(status("hostile").phase == Phase::Ended, "it lives on after {name}");
        lives += channel.words()[DONE].load(Ordering::Acquire) - done;
    }
    log!(
        "neighbour missed_beats {} beats {} attacks {} lives {lives} latest_ns {}",
        tally.missed,
        tally.beats,
        ATTACKS.len(),
        tally.latest_ns
    );
    let after = counter(Counter::FreeFrames);
    ensure!(before == after, "{before} free frames became {after}");
    ensure!(tally.missed == 0, "{} of {} beats were missed", tally.missed, tally.beats);
    Ok(())
}

fn beats(attack: &str, tally: &mut Tally, memory: &mut [u64]) {
    for turn in 0..BEATS {
        let works = turn % 2 == 0;
        if !works {
            // What `wait` answers is told nobody else.
            unhandle(Cause::Events);
        }
        let due_ns = now_ns() + PERIOD_NS;
        let limit_ns = due_ns + PATIENCE_NS;
        let _ = set_timer(due_ns);
        let came_ns = if works {
            let told = tally.told;
            while TOLD.load(Ordering::Relaxed) == told && now_ns() < limit_ns {}
            tally.told += 1;
            TOLD_NS.load(Ordering::Relaxed)
        } else {
            // Others' events end a sleep too: that is no beat.
            while wait(Some(limit_ns), 0) & TIMER == 0 && now_ns() < limit_ns {}
            on_events(told);
            now_ns()
        };
        let late_ns = came_ns.saturating_sub(due_ns);
        let latest_ns = if core_count() == 1 { SLICE_NS + ALLOWANCE_NS } else { PATIENCE_NS };
        let once = TOLD.load(Ordering::Relaxed) == tally.told;
        let whole = work(memory);
        tally.beats += 1;
        tally.latest_ns = tally.latest_ns.max(late_ns);
        if !(once && whole && came_ns >= due_ns && late_ns <= latest_ns) {
            tally.missed += 1;
            log!("a beat was missed under {attack}: once {once}, whole {whole}, {late_ns} ns late");
        }
        if status("hostile").phase == Phase::Ended {
            let _ = start_application("hostile");
        }
    }
}

/// Nobody else has changed this memory, and the kernel answers.
fn work(memory: &mut [u64]) -> bool {
    let first = memory.first().copied().unwrap_or(0);
    let whole = (first..).zip(memory.iter_mut()).all(|(expected, found)| {
        *found += 1;
        *found == expected + 1
    });
    whole && application_status("victim").is_ok_and(|status| status.starts == 1)
}

/// The one case of the victim's image.
pub const CASES: [Case; 1] = [("neighbour_misses_no_beat", || {
    on_events(told);
    let outcome = keeps_time();
    unhandle(Cause::Events);
    outcome
})];
