//! The bulletin board and the other pages that the kernel shares.

use core::sync::atomic::Ordering;
use nom_runtime::abi::board::{Announced, Prices, Rate, generation, read};
use nom_runtime::abi::call::{Call, CallError};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::BOARD;
use nom_runtime::{board, now_ns, publish_prices, statistics, wait};
use nom_trial as trial;
use nom_trial::Attempts;

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 4] = [
    ("board_is_read_only", read_only),
    ("board_shows_what_is_published", shows_what_is_published),
    ("board_change_wakes", change_wakes),
    ("board_refuses_bad_places", refuses_bad_places),
];

fn read_only() -> Outcome {
    const PRESENT_WRITE_USER: u64 = 7;
    let _attempts = Attempts::begin();
    for page in [board(), statistics()] {
        for word in [0, 1, 8, 511] {
            let at = page[word..].as_ptr() as u64;
            let before = trial::read(at);
            let fault = trial::write(at, 0x6666);
            ensure!(
                fault.is_err_and(|fault| fault.error == PRESENT_WRITE_USER && fault.address == at),
                "word {word} at {at:#x}: {fault:x?}"
            );
            ensure!(before == trial::read(at) || core::ptr::eq(page, statistics()), "word {word} changed");
        }
    }
    Ok(())
}

fn shows_what_is_published() -> Outcome {
    let before = generation(board());
    let mut prices = Prices { provider_unix_ns: 77, ..Prices::NONE };
    prices.rates[0] = Some(Rate { atto_per_unit: 90_000_000, valid_until_ns: 5 });
    prices.rates[2] = Some(Rate { atto_per_unit: i128::MAX, valid_until_ns: 0 });
    let atto_per_unit = [None, Some(-1), Some(i128::MIN)];
    prices.next = Some(Announced { at_ns: u64::MAX, provider_unix_ns: 78, atto_per_unit });
    let at = now_ns();
    let answer = publish_prices(&prices);
    ensure!(answer == Ok(before + 1), "{answer:?} after {before}");
    let seen = read(board()).map_err(|error| alloc::format!("{error:?}"))?;
    ensure!(seen.rates == prices.rates && seen.provider_unix_ns == 77, "{seen:?}");
    ensure!(seen.next == prices.next, "{seen:?}");
    ensure!(seen.published_ns >= at && seen.published_ns <= now_ns(), "published at {}", seen.published_ns);
    Ok(())
}

fn change_wakes() -> Outcome {
    let _ = wait(Some(0), 0);
    let upcalls = || statistics()[Counter::EventUpcalls as usize].load(Ordering::Relaxed);
    let before = upcalls();
    publish_prices(&Prices::NONE).map_err(|error| alloc::format!("{error:?}"))?;
    // Who publishes knows it without an upcall, and a wait says it nevertheless.
    ensure!(upcalls() == before, "{} upcalls", upcalls() - before);
    let events = wait(Some(now_ns() + 1_000_000_000), 0);
    ensure!(events == BOARD, "woken by {events:#x}");
    let events = wait(Some(0), 0);
    ensure!(events & BOARD == 0, "told twice: {events:#x}");
    Ok(())
}

fn refuses_bad_places() -> Outcome {
    let before = generation(board());
    for address in crate::calls::HOSTILE {
        let (error, _) = nom_trial::raw(Call::PublishPrices as u64, [address, 0, 0, 0, 0]);
        ensure!(
            CallError::from_number(error) == CallError::BadAddress && error != 0,
            "{address:#x}: {error}"
        );
    }
    ensure!(generation(board()) == before, "the board changed");
    Ok(())
}
