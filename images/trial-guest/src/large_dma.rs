//! Devices reach pages of 2 MiB as they reach small ones: by one leaf each, with their owner's rights, and not beyond.

use nom_runtime::abi::call::{LARGE, LARGE_PAGES, PAGE_LEN, WRITE};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::call::{map, register_dma, withdraw_dma};
use nom_trial as trial;
use nom_trial::Attempts;

use crate::device::text;
use crate::dma::{Engine, blocked, written};
use crate::many::counter;
use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 3] = [
    ("dma_large_pages_are_reached_by_one_leaf", one_leaf),
    ("dma_large_pages_keep_their_rights", rights),
    ("dma_large_pages_where_small_ones_were", after_small),
];

/// At a multiple of 2 MiB, where nothing else is.
const PLACE: u64 = 0x6210_0000_0000;
const LARGE_LEN: u64 = LARGE_PAGES * PAGE_LEN;

fn large(address: u64) -> Outcome {
    map(address, LARGE_PAGES, WRITE | LARGE).map(|_| ()).map_err(text)
}

fn small(address: u64) -> Outcome {
    map(address, 1, WRITE).map(|_| ()).map_err(text)
}

/// Has a device write to the page of 4 KiB there, and sees that it did.
fn reached(address: u64) -> Outcome {
    let before = written(address)?;
    Engine::start()?.aim(address + (before as u64).next_multiple_of(64), 64)?;
    let after = written(address)?;
    ensure!(after > before + 16, "{before} bytes at {address:#x} became {after}");
    Ok(())
}

fn one_leaf() -> Outcome {
    let _attempts = Attempts::begin();
    let (first, second) = (PLACE, PLACE + LARGE_LEN);
    large(first)?;
    large(second)?;
    // The first takes the tables above.
    register_dma(first, LARGE_PAGES).map_err(text)?;
    let free = counter(Counter::FreeFrames);
    register_dma(second, LARGE_PAGES).map_err(text)?;
    let taken = free - counter(Counter::FreeFrames);
    ensure!(taken == 0, "{taken} frames for tables");
    for page in [0, 1, LARGE_PAGES / 2, LARGE_PAGES - 1] {
        reached(second + page * PAGE_LEN)?;
    }
    // Right behind it nothing is registered; and of what is withdrawn nothing is left.
    blocked(second + LARGE_LEN)?;
    withdraw_dma(second, LARGE_PAGES).map_err(text)?;
    blocked(second + 3 * PAGE_LEN)?;
    reached(first)?;
    trial::unmap(first, 2 * LARGE_PAGES).map_err(text)?;
    blocked(first)
}

fn rights() -> Outcome {
    let _attempts = Attempts::begin();
    large(PLACE)?;
    register_dma(PLACE, LARGE_PAGES).map_err(text)?;
    reached(PLACE + 5 * PAGE_LEN)?;
    trial::protect(PLACE, LARGE_PAGES, 0).map_err(text)?;
    let before = written(PLACE + 5 * PAGE_LEN)?;
    blocked(PLACE + 5 * PAGE_LEN)?;
    let after = written(PLACE + 5 * PAGE_LEN)?;
    ensure!(before == after, "{before} bytes became {after}");
    trial::protect(PLACE, LARGE_PAGES, WRITE).map_err(text)?;
    reached(PLACE + 5 * PAGE_LEN)?;
    reached(PLACE + 511 * PAGE_LEN)?;
    trial::unmap(PLACE, LARGE_PAGES).map_err(text)
}

/// Small pages, a large one in their place, and small ones again: whichever tables are there by now.
fn after_small() -> Outcome {
    let _attempts = Attempts::begin();
    let place = PLACE + 16 * LARGE_LEN;
    for round in 0..2 {
        small(place + PAGE_LEN)?;
        register_dma(place + PAGE_LEN, 1).map_err(text)?;
        reached(place + PAGE_LEN)?;
        blocked(place)?;
        trial::unmap(place + PAGE_LEN, 1).map_err(text)?;
        large(place)?;
        blocked(place + PAGE_LEN)?;
        register_dma(place, LARGE_PAGES).map_err(text)?;
        reached(place + round * PAGE_LEN)?;
        reached(place + 511 * PAGE_LEN)?;
        trial::protect(place, LARGE_PAGES, 0).map_err(text)?;
        blocked(place + 7 * PAGE_LEN)?;
        trial::unmap(place, LARGE_PAGES).map_err(text)?;
    }
    Ok(())
}
