//! Interrupts of one device that are told apart: an event for each vector, and the core of whoever waits for it.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_runtime::abi::call::CallError;
use nom_runtime::abi::device::VECTORS_MAX;
use nom_runtime::abi::device::kind::NETWORK;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::device::{Device, Transport, acquire_kind};
use nom_runtime::{core_count, cores, now_ns, wait};
use nom_trial as trial;
use nom_trial::Attempts;

use crate::device::{Registers, Sending, text};
use crate::many::{counter, until};
use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 3] = [
    ("device_vectors_have_events_of_their_own", own_events),
    ("device_vectors_are_checked", checked),
    ("device_vectors_come_to_the_core_that_waits", other_core),
];

const ROUNDS: u64 = 20;
const PATIENCE_NS: u64 = 10_000_000_000;
/// How long is listened for what must not come.
const SILENCE_NS: u64 = 2_000_000;

/// A card whose second queue sends, and interrupts by its second vector.
fn card() -> Result<(Device, Sending), NotOk> {
    let Ok(device) = acquire_kind(NETWORK) else { return Err(NotOk::Skipped("the machine has no card")) };
    let Transport::Pci { vectors: 2.., .. } = device.transport else {
        trial::release(device).map_err(text)?;
        return Err(NotOk::Skipped("its interrupts are one line"));
    };
    let registers = Registers { transport: device.transport, queue: 1, vector: 1 };
    Ok((device, Sending::start(registers)?))
}

fn own_events() -> Outcome {
    let _attempts = Attempts::begin();
    let (device, mut sending) = card()?;
    let events = [0, 1].map(|vector| device.own_event(vector));
    let [Ok(first), Ok(second)] = events else { return Err(alloc::format!("{events:?}").into()) };
    let distinct = first & second == 0 && (first | second) & device.event() == 0;
    ensure!(distinct, "{first:#x}, {second:#x}, {:#x}", device.event());
    for round in 1..=ROUNDS {
        sending.send()?;
        let came = wait(Some(now_ns() + PATIENCE_NS), second);
        ensure!(came == second, "round {round}: woken by {came:#x}, not {second:#x}");
    }
    // Only the other one is let in: this one waits until it is asked for.
    sending.send()?;
    let early = wait(Some(now_ns() + SILENCE_NS), first);
    let late = wait(Some(now_ns() + PATIENCE_NS), second);
    ensure!((early, late) == (0, second), "{early:#x}, then {late:#x}");
    trial::release(device).map_err(text)?;
    let answer = nom_runtime::call::unmask(second);
    ensure!(answer == Err(CallError::NotOwner), "released: {answer:?}");
    // Its next owner finds one event for all.
    let (device, mut sending) = card()?;
    sending.send()?;
    let came = wait(Some(now_ns() + PATIENCE_NS), device.event());
    trial::release(device).map_err(text)?;
    ensure!(came == device.event(), "woken by {came:#x}");
    Ok(())
}

fn checked() -> Outcome {
    let (device, _sending) = card()?;
    let event = device.event();
    for (vector, event, error) in [
        (VECTORS_MAX, event, CallError::NoSuch),
        (u32::MAX, event, CallError::NoSuch),
        (0, 0, CallError::BadArgument),
        (0, 1, CallError::BadArgument),
        (0, 1 << 63, CallError::BadArgument),
        (0, event | event << 1, CallError::BadArgument),
    ] {
        let answer = device.steer(vector, event);
        ensure!(answer == Err(error), "{vector}, {event:#x}: {answer:?}");
    }
    trial::release(device).map_err(text)?;
    let answer = device.steer(0, event);
    ensure!(answer == Err(CallError::NotOwner), "not ours: {answer:?}");
    Ok(())
}

/// What the other core waits for (0: it ends), and how often it was told.
static AWAITED: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicU64 = AtomicU64::new(0);
/// It waits, or is about to.
static THERE: AtomicU64 = AtomicU64::new(0);

fn listen(_: u64) {
    loop {
        let event = AWAITED.load(Ordering::Acquire);
        if event == 0 {
            return THERE.store(0, Ordering::Release);
        }
        THERE.store(1, Ordering::Release);
        let came = wait(Some(now_ns() + PATIENCE_NS), event);
        TOLD.fetch_add(u64::from(came == event), Ordering::AcqRel);
    }
}

fn other_core() -> Outcome {
    if core_count() < 2 {
        return Err(NotOk::Skipped("there is one core"));
    }
    let _attempts = Attempts::begin();
    let (device, mut sending) = card()?;
    let event = device.own_event(1).map_err(text)?;
    AWAITED.store(event, Ordering::Release);
    TOLD.store(0, Ordering::Release);
    cores::start(1, listen, 0).map_err(text)?;
    let mut here = 0;
    let mut between = 0;
    for round in 1..=ROUNDS {
        until("the other core", || THERE.load(Ordering::Acquire) == 1)?;
        let before = [Counter::CoreInterrupts, Counter::Interrupts].map(counter);
        sending.send()?;
        let limit = now_ns() + PATIENCE_NS;
        while TOLD.load(Ordering::Acquire) < round {
            ensure!(now_ns() < limit, "round {round}: the other core was not told");
            here |= wait(Some(now_ns() + 100_000), 0);
        }
        let after = [Counter::CoreInterrupts, Counter::Interrupts].map(counter);
        ensure!(after[1] == before[1] + 1, "round {round}: {before:?} interrupts became {after:?}");
        between += after[0] - before[0];
    }
    AWAITED.store(0, Ordering::Release);
    sending.send()?;
    until("the end of the other core", || THERE.load(Ordering::Acquire) == 0)?;
    until("the other core's release", || nom_runtime::call::release_core(1).is_err())?;
    trial::release(device).map_err(text)?;
    ensure!(here == 0, "this core was told {here:#x}");
    ensure!(between == 0, "{between} of {ROUNDS} interrupts came to a core that had to call the other one");
    Ok(())
}
