//! Memory that an application pages by itself: zero on demand, and a working set within a bound of frames.

use core::sync::atomic::Ordering;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use nom_runtime::abi::call::{CallError, PAGE_LEN};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::demand::{DemandHeap, DemandZero, LEN_MAX, RANGES_MAX};
use nom_runtime::working_set::{PAGES_MAX, SETS_MAX, WorkingSet};
use nom_runtime::{log, statistics};
use nom_trial::{Attempts, read};

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 5] = [
    ("paging_demand_zero", demand_zero),
    ("paging_demand_heap", demand_heap),
    ("paging_demand_refusals", demand_refusals),
    ("paging_working_set", working_set),
    ("paging_working_set_refusals", working_set_refusals),
];

const PAGE: usize = PAGE_LEN as usize;

fn text(error: CallError) -> String {
    format!("{error:?}")
}

fn free() -> u64 {
    statistics()[Counter::FreeFrames as usize].load(Ordering::Relaxed)
}

/// Does something twice: the second time no frame may be missing afterwards. (Tables stay where pages were.)
pub fn without_loss(work: impl Fn() -> Outcome) -> Outcome {
    work()?;
    let before = free();
    work()?;
    ensure!(free() == before, "{before} free frames became {}", free());
    Ok(())
}

fn demand_zero() -> Outcome {
    // Far more than the machine has.
    const LEN: usize = 16 << 30;
    const STEP: usize = LEN / 100;
    without_loss(|| {
        let mut range = DemandZero::reserve(LEN as u64).map_err(text)?;
        let before = free();
        ensure!(range.bytes().len() == LEN && range.resident() == 0, "{range:?}");
        for at in (0..LEN).step_by(STEP) {
            ensure!(range.bytes()[at] == 0, "{at:#x} is not zero");
            range.bytes_mut()[at] = at as u8 | 1;
        }
        let touched = LEN.div_ceil(STEP) as u64;
        ensure!(range.resident() == touched, "{} pages of {touched}", range.resident());
        ensure!(before - free() >= touched, "{} frames for {touched} pages", before - free());
        let wrong = (0..LEN).step_by(STEP).filter(|&at| range.bytes()[at] != at as u8 | 1).count();
        ensure!(wrong == 0, "{wrong} bytes are not what was written");
        // Half of it goes back, and is zero again.
        let before = free();
        let given = range.trim(LEN / 2);
        ensure!(free() - before == given && given.abs_diff(touched / 2) <= 1, "{given} frames came back");
        let kept = (0..LEN / 2 - PAGE).step_by(STEP).all(|at| range.bytes()[at] == at as u8 | 1);
        ensure!(kept, "trimming changed what it should keep");
        let behind = (0..LEN).step_by(STEP).filter(|&at| at >= LEN / 2 + PAGE);
        let mut wrong = 0;
        behind.for_each(|at| wrong += u64::from(range.bytes()[at] != 0));
        ensure!(wrong == 0, "{wrong} trimmed bytes are not zero");
        Ok(())
    })
}

fn demand_heap() -> Outcome {
    without_loss(|| {
        let heap = DemandHeap::reserve(1 << 40).map_err(text)?;
        let mut pieces = Vec::new();
        for number in 0..300_usize {
            let mut piece = heap.piece(number * 37 % 9000).ok_or(format!("no piece {number}"))?;
            ensure!(piece.iter().all(|&byte| byte == 0), "piece {number} is not zero");
            piece.fill(number as u8);
            pieces.push((number, piece));
        }
        let full = heap.resident();
        ensure!(full > 250, "only {full} pages");
        // In another order than they came, most go; the rest is whole.
        while pieces.len() > 20 {
            let place = pieces.len() * 61 % pieces.len().max(1) + pieces.len() / 2;
            pieces.swap_remove(place % pieces.len());
        }
        let wrong = pieces.iter().filter(|(number, piece)| piece.iter().any(|&byte| byte != *number as u8));
        let wrong = wrong.count();
        ensure!(wrong == 0, "{wrong} pieces were overwritten");
        pieces.clear();
        let before = free();
        let given = heap.shrink();
        ensure!(given + heap.resident() == full && heap.resident() <= 2, "{given} of {full} pages came back");
        ensure!(free() == before + given, "{} frames for {given}", free() - before);
        // And it grows again.
        let big = heap.piece(3 << 20).ok_or(String::from("no big piece"))?;
        ensure!(big.iter().all(|&byte| byte == 0), "the big piece is not zero");
        ensure!(heap.piece(1 << 41).is_none() && heap.piece(usize::MAX).is_none(), "too large a piece");
        Ok(())
    })
}

fn demand_refusals() -> Outcome {
    let _attempts = Attempts::begin();
    for len in [0, LEN_MAX + 1, u64::MAX] {
        let answer = DemandZero::reserve(len).err();
        ensure!(answer == Some(CallError::BadLength), "{len}: {answer:?}");
    }
    let range = DemandZero::reserve(3 * PAGE_LEN).map_err(text)?;
    let (start, end) = (range.bytes().as_ptr() as u64, range.bytes().as_ptr_range().end as u64);
    for outside in [start.wrapping_sub(8), end, end + LEN_MAX, end + RANGES_MAX as u64 * LEN_MAX] {
        ensure!(read(outside).is_err(), "{outside:#x} got a frame");
    }
    let others: Vec<_> = (1..RANGES_MAX).map_while(|_| DemandZero::reserve(1).ok()).collect();
    let refused = DemandZero::reserve(1).err();
    ensure!(others.len() == RANGES_MAX - 1, "{} ranges", others.len());
    ensure!(refused == Some(CallError::NoSuch), "one too many: {refused:?}");
    drop(range);
    ensure!(read(start).is_err(), "a dropped range gets a frame");
    ensure!(DemandZero::reserve(1).is_ok(), "a place does not come back");
    Ok(())
}

/// What page and word hold in a generation: some pages the same word everywhere, some few words, some all different.
fn content(page: usize, word: usize, generation: u64) -> u64 {
    let mixed = |number: u64| (number ^ number >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match page % 4 {
        0 => generation,
        1 => mixed(page as u64 + generation),
        2 => mixed((word / 60) as u64 + generation),
        _ => mixed((page * 512 + word) as u64 + generation),
    }
}

fn working_set() -> Outcome {
    const PAGES: usize = 256;
    const BOUND: usize = 32;
    without_loss(|| {
        let unused = free();
        let mut set = WorkingSet::reserve(PAGES, BOUND, 1 << 20).map_err(text)?;
        let mut most = 0;
        let mut wrong = 0;
        let mut write = |set: &mut WorkingSet, page: usize, generation: u64| {
            for word in 0..PAGE / 8 {
                set.write(page * PAGE + word * 8, &content(page, word, generation).to_le_bytes());
            }
            most = most.max(unused.saturating_sub(free()));
        };
        let mut verify = |set: &WorkingSet, page: usize, generation: u64| {
            let mut bytes = [0; PAGE];
            set.read(page * PAGE, &mut bytes);
            let right =
                |(word, found): (usize, &[u8])| found == content(page, word, generation).to_le_bytes();
            wrong += usize::from(!bytes.chunks_exact(8).enumerate().all(right));
        };
        (0..PAGES).for_each(|page| write(&mut set, page, 1));
        (0..PAGES).rev().for_each(|page| verify(&set, page, 1));
        // Scattered: half of them change, and all are looked at.
        for step in 0..PAGES {
            let page = step * 75 % PAGES;
            if page % 8 < 4 {
                write(&mut set, page, 2);
            }
            verify(&set, page, if page % 8 < 4 { 2 } else { 1 });
        }
        (0..PAGES).for_each(|page| verify(&set, page, if page % 8 < 4 { 2 } else { 1 }));
        // Across the edge of two pages, byte by byte.
        let mut two = [0; 2];
        set.write(100 * PAGE - 1, &[7, 9]);
        set.read(100 * PAGE - 1, &mut two);
        let (counts, resident) = set.counts();
        log!(
            "{} KiB in {BOUND} frames: {} faults, {} evictions, {} of them stored, {} loads, {} second chances",
            PAGES * PAGE / 1024,
            counts.faults,
            counts.evictions,
            counts.stores,
            counts.loads,
            counts.second_chances
        );
        ensure!(wrong == 0 && two == [7, 9], "{wrong} pages are not what was written; {two:?}");
        ensure!(resident == BOUND, "{resident} resident pages");
        ensure!(counts.fresh == PAGES as u64 && counts.evictions > 3 * (PAGES - BOUND) as u64, "{counts:?}");
        // The frames, and tables for a range and what the heap does not give.
        ensure!(most <= BOUND as u64 + 4, "{most} frames for a bound of {BOUND}");
        Ok(())
    })
}

fn working_set_refusals() -> Outcome {
    let _attempts = Attempts::begin();
    for (pages, bound, store) in
        [(0, 0, 0), (PAGES_MAX + 1, 8, 0), (usize::MAX, 8, 0), (8, 9, 0), (16, 8, usize::MAX)]
    {
        let answer = WorkingSet::reserve(pages, bound, store).err();
        ensure!(answer == Some(CallError::BadLength), "{pages} {bound} {store}: {answer:?}");
    }
    let sets: Vec<_> = (0..SETS_MAX).map_while(|_| WorkingSet::reserve(8, 8, 0).ok()).collect();
    let refused = WorkingSet::reserve(8, 8, 0).err();
    ensure!(sets.len() == SETS_MAX && refused == Some(CallError::NoSuch), "{} sets, {refused:?}", sets.len());
    // The first of the sets begins here; it has eight pages.
    const FIRST: u64 = 0x3600_0000_0000;
    ensure!(read(FIRST + 7 * PAGE_LEN) == Ok(0), "the last page cannot be read");
    ensure!(read(FIRST + 8 * PAGE_LEN).is_err(), "a page behind the end can be read");
    drop(sets);
    ensure!(read(FIRST).is_err(), "a page of a dropped set can be read");
    Ok(())
}
