//! What an application does that `many` has started: the first word of the channel `orders` says it.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_runtime::abi::call::{CallError, PAGE_LEN, WRITE};
use nom_runtime::abi::upcall::CORE_WANTED;
use nom_runtime::call::{application_status, end_application, map, release_core, start_application};
use nom_runtime::channel::Channel;
use nom_runtime::{core_count, cores, now_ns, wait};

/// Ends with code 7.
pub const EXIT: u64 = 1;
/// Counts for ever.
pub const SPIN: u64 = 2;
/// Answers each notification with one.
pub const ECHO: u64 = 3;
/// Writes to nowhere.
pub const FAULT: u64 = 4;
/// Takes memory and devices, and waits.
pub const HOLD: u64 = 5;
/// Tries what it may not do, and says how often it was let.
pub const PRY: u64 = 6;
/// Takes all cores that it gets, and counts on each, whatever it is asked.
pub const GRAB: u64 = 7;
/// Takes all cores that it gets, and gives them back when asked.
pub const SHARE: u64 = 8;
/// Sleeps.
pub const SLEEP: u64 = 9;

/// Spins for longer than a core may be kept that was asked back, then says so.
pub const STOP_LATER: u64 = 31;

/// Changes all vector registers for ever.
pub const SCRAMBLE: u64 = 10;
/// Registers a page of a known content for its devices, and says later whether it has changed.
pub const NEIGHBOUR: u64 = 11;
/// Acquires and releases the device of a number again and again.
pub const RACE: u64 = 12;
/// Posts as many receive buffers to a network card as it takes, and waits.
pub const FLIGHT: u64 = 13;

/// The word of the order.
pub const ORDER: usize = 0;
/// Grows by one whenever something was done.
pub const DONE: usize = 1;
/// What the ordered work has found.
pub const FOUND: usize = 2;
/// The number of a device plus 1; see [`RACE`].
pub const DEVICE: usize = 3;
/// Who has it at the moment.
pub const HOLDER: usize = 4;
/// How often two had it.
pub const BOTH: usize = 5;
/// A further core counts behind here.
pub const CORES: usize = 8;

/// Bounds how many devices there may be.
const DEVICES_MAX: u32 = nom_runtime::abi::device::DEVICES_MAX;

/// Does what the channel says; a name without a channel ends at once.
pub fn obey() -> u8 {
    let Ok(channel) = Channel::open("orders") else { return 9 };
    let words = channel.words();
    match words[ORDER].load(Ordering::Acquire) {
        EXIT => 7,
        SPIN => loop {
            words[DONE].fetch_add(1, Ordering::Relaxed);
        },
        STOP_LATER => {
            let until_ns = nom_runtime::now_ns() + 70_000_000;
            while nom_runtime::now_ns() < until_ns {}
            loop {
                words[DONE].fetch_add(1, Ordering::Relaxed);
            }
        }
        SCRAMBLE => loop {
            nom_trial::vectors::scramble();
            words[DONE].fetch_add(1, Ordering::Relaxed);
        },
        ECHO => {
            words[DONE].fetch_add(1, Ordering::Release);
            let _ = channel.notify();
            loop {
                if wait(None, 0) & channel.event() != 0 {
                    words[FOUND].fetch_add(1, Ordering::Release);
                    let _ = channel.notify();
                }
            }
        }
        FAULT => {
            let _ = nom_trial::write(0, 1);
            8
        }
        HOLD => {
            let mut held = 0;
            for place in 0..50 {
                held += u64::from(map(0x6000_0000_0000 + place * 64 * PAGE_LEN, 8, WRITE).is_ok());
            }
            for device in 0..DEVICES_MAX {
                held += u64::from(nom_runtime::device::acquire(device).is_ok());
            }
            words[FOUND].store(held, Ordering::Release);
            words[DONE].store(1, Ordering::Release);
            loop {
                wait(None, 0);
            }
        }
        NEIGHBOUR => {
            const PATTERN: u64 = 0x5a5a_0123_4567_89ab;
            let place = crate::dma::NEIGHBOUR_PLACE;
            let all = (place..place + PAGE_LEN).step_by(8);
            let ready = map(place, 1, WRITE).is_ok()
                && all.clone().all(|at| nom_trial::write(at, PATTERN).is_ok())
                && nom_runtime::call::register_dma(place, 1).is_ok();
            words[DONE].store(u64::from(ready), Ordering::Release);
            while words[DONE].load(Ordering::Acquire) != 2 {
                wait(None, 0);
            }
            let changed = all.filter(|&at| nom_trial::read(at) != Ok(PATTERN)).count();
            words[FOUND].store(changed as u64, Ordering::Release);
            words[DONE].store(3, Ordering::Release);
            loop {
                wait(None, 0);
            }
        }
        RACE => {
            while words[DEVICE].load(Ordering::Acquire) == 0 {
                wait(Some(now_ns() + 50_000), 0);
            }
            let number = words[DEVICE].load(Ordering::Acquire) as u32 - 1;
            loop {
                if let Ok(true) = grab(number, words) {
                    words[FOUND].fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        FLIGHT => {
            words[FOUND].store(crate::flight::post(), Ordering::Release);
            words[DONE].store(1, Ordering::Release);
            loop {
                wait(None, 0);
            }
        }
        PRY => {
            words[FOUND].store(pry(), Ordering::Release);
            words[DONE].store(1, Ordering::Release);
            7
        }
        order @ (GRAB | SHARE) => {
            let place = words.as_ptr() as u64;
            let count = (0..core_count()).filter(|&core| cores::start(core, count_on, place).is_ok()).count();
            words[FOUND].store(count as u64, Ordering::Release);
            words[DONE].store(1, Ordering::Release);
            loop {
                if wait(None, 0) & CORE_WANTED != 0 && order == SHARE {
                    let given = (0..core_count()).any(|core| release_core(core).is_ok());
                    words[FOUND].fetch_sub(u64::from(given), Ordering::Release);
                }
            }
        }
        _ => {
            words[DONE].store(1, Ordering::Release);
            loop {
                wait(None, 0);
            }
        }
    }
}

/// A further core counts for ever, in ring 3 and in calls.
fn count_on(_: u64) {
    loop {
        nom_runtime::call::nothing();
    }
}

/// Acquires a device, sees that nobody else has it, and releases it; false when it was taken.
pub fn grab(number: u32, words: &[AtomicU64]) -> Result<bool, crate::NotOk> {
    match nom_runtime::device::acquire(number) {
        Ok(device) => {
            let other = words[HOLDER].swap(1, Ordering::AcqRel);
            words[BOTH].fetch_add(other, Ordering::AcqRel);
            words[HOLDER].store(0, Ordering::Release);
            nom_trial::release(device).map_err(crate::device::text)?;
            Ok(true)
        }
        Err(CallError::Taken) => Ok(false),
        Err(error) => Err(crate::device::text(error)),
    }
}

/// How often a forbidden thing was let, as bits.
fn pry() -> u64 {
    let attempts = [
        Channel::open("secret").err() != Some(CallError::NoSuch),
        Channel::open("nonsense").err() != Some(CallError::NoSuch),
        Channel::open("").err() != Some(CallError::BadLength),
        Channel::open("orders").err() != Some(CallError::Taken),
        start_application("peer") != Err(CallError::Taken),
        start_application("many") != Err(CallError::Taken),
        start_application("nobody") != Err(CallError::NoSuch),
        end_application("many") != Err(CallError::NotOwner),
        end_application("peer") != Err(CallError::NotOwner),
        end_application("other") != Err(CallError::NoSuch),
        application_status("nobody").is_ok(),
        release_core(0).is_ok(),
    ];
    attempts.iter().rev().fold(0, |bits, &let_in| bits << 1 | u64::from(let_in))
}
