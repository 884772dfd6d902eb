//! A device comes, serves, is given back when that is asked, comes again, and is taken out under load. The host plugs; the
//! lines that it waits for begin with `plug:`.

use nom_runtime::abi::call::CallError;
use nom_runtime::abi::device::kind::ENTROPY;
use nom_runtime::abi::device::state::{BROKEN, LEAVING};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::device::{acquire, list, state};
use nom_runtime::{configuration, log};
use nom_trial as trial;
use nom_trial::{Attempts, read8, read32};

use crate::device::registers_address;
use crate::dma::Engine;
use crate::many::{counter, until};
use crate::{Outcome, ensure};

pub const CASES: [crate::Case; 4] = [
    ("plug_device_comes_and_serves", comes),
    ("plug_device_is_given_back_when_asked", given_back),
    ("plug_device_is_taken_out_under_load", taken_out),
    ("plug_device_vanishes_without_a_word", vanishes),
];

/// Whether the host will plug.
pub fn wanted() -> bool {
    configuration().lines().any(|line| line == "# plug")
}

fn there() -> bool {
    list().any(|listed| listed.kind == ENTROPY)
}

fn served() -> Outcome {
    until("the device", there)?;
    let mut engine = Engine::start()?;
    engine.aim_within(64)
}

fn comes() -> Outcome {
    ensure!(!there(), "it is there already");
    log!("plug: in");
    served()
}

fn given_back() -> Outcome {
    let engine = Engine::start()?;
    let number = engine.device.number;
    log!("plug: out");
    until("the request", || state(number) & LEAVING != 0)?;
    let twice = acquire(number);
    ensure!(twice == Err(CallError::Taken), "{twice:?}");
    drop(engine);
    until("the end", || state(number) == 0)?;
    let gone = acquire(number);
    ensure!(gone == Err(CallError::NoSuch), "{gone:?}");
    Ok(())
}

fn taken_out() -> Outcome {
    let _attempts = Attempts::begin();
    log!("plug: in");
    served()?;
    let free = counter(Counter::FreeFrames);
    let mut engine = Engine::start()?;
    let number = engine.device.number;
    let registers = registers_address(&engine.device);
    log!("plug: out");
    // It goes on as if nobody had asked.
    until("the request", || state(number) & LEAVING != 0)?;
    let mut rounds = 0;
    while state(number) != 0 {
        if engine.aim_within(64).is_err() {
            break;
        }
        rounds += 1;
    }
    until("the end", || state(number) == 0)?;
    let seen = read32(registers);
    let written = trial::write32(registers, 1);
    ensure!(seen == Ok(u32::MAX) && written.is_ok(), "its registers are {seen:x?}, {written:x?}");
    let again = acquire(number);
    ensure!(again.is_err(), "acquired what is not there: {again:?}");
    drop(engine);
    let again = acquire(number);
    ensure!(again == Err(CallError::NoSuch), "{again:?}");
    let now = counter(Counter::FreeFrames);
    ensure!(now == free, "{free} free frames became {now}");
    log!("{rounds} transfers until it was gone");
    // The host plugs once more when the emulator has said that it is gone.
    log!("plug: in");
    until("the next device", there)
}

/// The emulator takes it out of the machine and tells nobody, not even its port, between two transfers. (In the midst of
/// one QEMU 7.2 may end itself: the half that is gone still wants to interrupt.)
fn vanishes() -> Outcome {
    /// A device that is driven says so here (virtio 1.2, 4.1.4.3 and 2.1).
    const STATUS: u64 = 0x14;
    const DRIVEN: u8 = 15;
    let _attempts = Attempts::begin();
    served()?;
    let free = counter(Counter::FreeFrames);
    let mut engine = Engine::start()?;
    let (number, within) = (engine.device.number, engine.place());
    let status = registers_address(&engine.device) + STATUS;
    ensure!(read8(status) == Ok(DRIVEN), "it is not driven: {:x?}", read8(status));
    for _ in 0..64 {
        engine.aim_within(64)?;
    }
    log!("plug: vanish");
    until("its silence", || read8(status) != Ok(DRIVEN))?;
    // Its owner does not know yet, and asks for more.
    for _ in 0..64 {
        engine.shoot(within, 64)?;
    }
    // Nobody can know. What is not there cannot be reset, so nobody gets it again.
    drop(engine);
    let stands = state(number);
    ensure!(stands & BROKEN != 0, "it stands at {stands:#x}");
    let again = acquire(number);
    ensure!(again == Err(CallError::Gone), "acquired what is not there: {again:?}");
    let now = counter(Counter::FreeFrames);
    ensure!(now == free, "{free} free frames became {now}");
    // Its port serves the next one.
    log!("plug: in");
    until("the last device", || list().any(|one| one.kind == ENTROPY && state(one.number) & BROKEN == 0))?;
    served()
}
