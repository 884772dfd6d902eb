//! Calls: what is refused, and that refusing changes nothing.

use nom_runtime::abi::call::{BASE, CALLS, Call, CallError, FOREIGN_REFUSED, LOG_LEN_MAX, USER_END};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::Cause;
use nom_runtime::upcall::{on_foreign_call, unhandle};
use nom_runtime::{call, core_count, statistics};

use core::sync::atomic::Ordering;

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 9] = [
    ("call_null_counts", null_counts),
    ("call_log_pointers", log_pointers),
    ("call_log_lengths", log_lengths),
    ("call_log_text", log_text),
    ("call_hostile_sweep", hostile_sweep),
    ("call_foreign_refused", foreign_refused),
    ("call_foreign_upcall", foreign_upcall),
    ("call_unknown_of_ours", unknown_of_ours),
    ("call_cores", cores),
];

/// Addresses that are not an application's to name.
pub const HOSTILE: [u64; 14] = [
    0,
    1,
    8,
    0xfff,
    0x1000,
    USER_END - 1,
    USER_END,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0xffff_7fff_ffff_ffff,
    0xffff_8000_0000_0000,
    0xffff_ffff_8010_0000,
    u64::MAX - 7,
    u64::MAX,
];

pub fn counter(counter: Counter) -> u64 {
    statistics()[counter as usize].load(Ordering::Relaxed)
}

fn asked(number: Call, arguments: [u64; 5]) -> Result<u64, CallError> {
    match nom_trial::raw(number as u64, arguments) {
        (0, value) => Ok(value),
        (error, _) => Err(CallError::from_number(error)),
    }
}

fn null_counts() -> Outcome {
    let before = counter(Counter::Calls);
    (0..100).for_each(|_| call::nothing());
    let calls = counter(Counter::Calls) - before;
    ensure!(calls == 100, "100 calls were counted as {calls}");
    Ok(())
}

fn log_pointers() -> Outcome {
    for address in HOSTILE {
        let answer = asked(Call::Log, [address, 5, 0, 0, 0]);
        ensure!(answer == Err(CallError::BadAddress), "{address:#x}: {answer:?}");
    }
    let text = b"half of this lies on no page";
    let edge = 0x5000_0000_0000;
    call::map(edge, 1, nom_runtime::abi::call::WRITE).map_err(|error| alloc::format!("{error:?}"))?;
    let answer = asked(Call::Log, [edge + 4096 - 8, text.len() as u64, 0, 0, 0]);
    let _ = nom_trial::unmap(edge, 1);
    ensure!(answer == Err(CallError::BadAddress), "across the end of memory: {answer:?}");
    Ok(())
}

fn log_lengths() -> Outcome {
    let text = [b'x'; 8];
    for len in [0, LOG_LEN_MAX + 1, u64::MAX, 1 << 63] {
        let answer = asked(Call::Log, [text.as_ptr() as u64, len, 0, 0, 0]);
        ensure!(answer == Err(CallError::BadLength), "{len}: {answer:?}");
    }
    Ok(())
}

fn log_text() -> Outcome {
    let text = [0xff, 0xfe, b'x'];
    let answer = asked(Call::Log, [text.as_ptr() as u64, 3, 0, 0, 0]);
    ensure!(answer == Err(CallError::NotText), "{answer:?}");
    // What could steer a terminal must not come through; the host looks for the question mark.
    ensure!(call::log("a line with an escape \u{1b}[2J in it").is_ok(), "refused");
    Ok(())
}

fn hostile_sweep() -> Outcome {
    let free = counter(Counter::FreeFrames);
    let mut tried = 0;
    for number in CALLS {
        // These would end or sleep.
        if matches!(number, Call::Exit | Call::Wait) {
            continue;
        }
        for first in HOSTILE {
            for second in HOSTILE {
                for third in [0, 3, 7, 8, u64::MAX, USER_END] {
                    let answer = asked(number, [first, second, third, u64::MAX, 0x8000_0000_0000]);
                    tried += 1;
                    let harmless = match number {
                        Call::Nothing | Call::SetTimer => true,
                        // No device is named by no bit; on core 0 is the caller itself.
                        Call::Unmask | Call::CallCore => first == 0,
                        _ => false,
                    };
                    ensure!(
                        answer.is_err() || harmless,
                        "{number:?} {first:#x} {second:#x} {third:#x}: {answer:?}"
                    );
                }
            }
        }
    }
    let _ = call::set_timer(nom_runtime::abi::call::FOREVER);
    let _ = nom_runtime::wait(Some(0), 0);
    ensure!(tried > 10_000, "only {tried}");
    let left = counter(Counter::FreeFrames);
    ensure!(left == free, "{free} free frames became {left}");
    Ok(())
}

fn foreign_refused() -> Outcome {
    for number in [0, 1, 39, 60, 231, u64::MAX, BASE - 1] {
        let (answer, _) = nom_trial::raw(number, [0; 5]);
        ensure!(answer == FOREIGN_REFUSED, "{number}: {answer:#x}");
    }
    Ok(())
}

fn foreign_upcall() -> Outcome {
    on_foreign_call(|call| call.number.wrapping_mul(1000).wrapping_add(call.arguments[0]));
    let (answer, _) = nom_trial::raw(39, [7, 0, 0, 0, 0]);
    unhandle(Cause::ForeignCall);
    ensure!(answer == 39_007, "the handler's answer came as {answer}");
    Ok(())
}

fn unknown_of_ours() -> Outcome {
    let (answer, _) = nom_trial::raw(BASE + CALLS.len() as u64, [0; 5]);
    ensure!(answer == FOREIGN_REFUSED, "{answer:#x}");
    Ok(())
}

fn cores() -> Outcome {
    let last = core_count() - 1;
    fn nothing(_: u64) {}
    let answer = nom_runtime::cores::start(0, nothing, 0);
    ensure!(answer == Err(CallError::Taken), "acquired twice: {answer:?}");
    let answer = nom_runtime::cores::start(last + 1, nothing, 0);
    ensure!(answer == Err(CallError::NoSuch), "acquired what is not there: {answer:?}");
    let answer = call::release_core(0);
    ensure!(answer == Err(CallError::BadArgument), "released its home: {answer:?}");
    let answer = call::release_core(last + 1);
    ensure!(answer == Err(CallError::NoSuch), "released what is not there: {answer:?}");
    Ok(())
}
