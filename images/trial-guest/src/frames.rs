//! Frames of a certain kind: together, of a colour, 2 MiB large; how they are filled, and that they come back.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::string::String;
use nom_runtime::abi::call::{
    COLOURS_MAX, CONTIGUOUS, Call, CallError, EXECUTE, FILL_FRAMES_MAX, LARGE, LARGE_PAGES, NO_ACCESS,
    PAGE_LEN, USER_END, WRITE,
};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::{Cause, TIMER};
use nom_runtime::call::{log, map, map_coloured, set_timer};
use nom_runtime::upcall::{on_events, unhandle};
use nom_runtime::{now_ns, statistics};
use nom_trial::{Attempts, jump, protect, raw, read, unmap, write};

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 10] = [
    ("frames_of_a_colour", of_a_colour),
    ("frames_of_a_colour_run_out", colour_runs_out),
    ("frames_large_and_small_mixed", large_and_small),
    ("frames_large_are_aligned", large_are_aligned),
    ("frames_large_zeroed_between_owners", large_zeroed),
    ("frames_large_run_out", large_run_out),
    ("frames_refusals", refusals),
    ("frames_filling_lets_others_in", filling_lets_others_in),
    ("frames_filling_is_interrupted", filling_is_interrupted),
    ("frames_without_access", without_access),
];

const PLACE: u64 = 0x4200_0000_0000;
const LARGE_LEN: u64 = LARGE_PAGES * PAGE_LEN;

fn text(error: CallError) -> String {
    alloc::format!("{error:?}")
}

fn counter(counter: Counter) -> u64 {
    statistics()[counter as usize].load(Ordering::Relaxed)
}

fn free() -> u64 {
    counter(Counter::FreeFrames)
}

/// Does something twice: afterwards there are as many free frames as in between. (Tables stay where pages were.)
fn without_loss(work: impl Fn() -> Outcome) -> Outcome {
    work()?;
    let before = free();
    work()?;
    ensure!(free() == before, "{before} free frames became {}", free());
    Ok(())
}

/// Every word that is looked at is zero, and keeps what is written.
fn usable(start: u64, pages: u64) -> Outcome {
    for at in (start..start + pages * PAGE_LEN).step_by(512) {
        let found = read(at);
        ensure!(found == Ok(0), "at {at:#x}: {found:x?}");
        ensure!(write(at, at).is_ok(), "{at:#x} cannot be written");
    }
    for at in (start..start + pages * PAGE_LEN).step_by(512) {
        let found = read(at);
        ensure!(found == Ok(at), "at {at:#x}: {found:x?}, which was not written there");
    }
    Ok(())
}

fn of_a_colour() -> Outcome {
    let _attempts = Attempts::begin();
    without_loss(|| {
        for (colours, colour) in [(1, 0), (2, 1), (16, 0), (16, 15), (64, 33), (COLOURS_MAX, 7)] {
            // Alone a page says where it is; of several the kernel's own tests say it.
            let physical = map_coloured(PLACE, 1, WRITE | CONTIGUOUS, colours, colour).map_err(text)?;
            ensure!(physical / PAGE_LEN % colours == colour, "{physical:#x} is not {colour} of {colours}");
            let several = if colours == COLOURS_MAX { 2 } else { 20 };
            map_coloured(PLACE + PAGE_LEN, several, WRITE, colours, colour).map_err(text)?;
            usable(PLACE, 1 + several)?;
            unmap(PLACE, 1 + several).map_err(text)?;
        }
        Ok(())
    })
}

fn colour_runs_out() -> Outcome {
    without_loss(|| {
        let mut had = 0;
        let refused = loop {
            match map_coloured(PLACE + had * PAGE_LEN, 1, 0, COLOURS_MAX, 9) {
                Ok(_) => had += 1,
                Err(error) => break error,
            }
        };
        let other = map_coloured(PLACE + had * PAGE_LEN, 1, 0, COLOURS_MAX, 10);
        unmap(PLACE, had + u64::from(other.is_ok())).map_err(text)?;
        ensure!(refused == CallError::NoMemory && had > 0, "{had} frames, then {refused:?}");
        ensure!(other.is_ok(), "the next colour: {other:?}");
        Ok(())
    })
}

fn large_and_small() -> Outcome {
    let _attempts = Attempts::begin();
    without_loss(|| {
        map(PLACE, 2 * LARGE_PAGES, WRITE | LARGE).map_err(text)?;
        usable(PLACE, 2 * LARGE_PAGES)?;
        // The first goes, and pages of 4 KiB take its place; then again one of 2 MiB where their table is.
        for _ in 0..2 {
            unmap(PLACE, LARGE_PAGES).map_err(text)?;
            ensure!(read(PLACE + LARGE_LEN / 2).is_err(), "the first is still there");
            ensure!(read(PLACE + LARGE_LEN) == Ok(PLACE + LARGE_LEN), "the second has changed");
            map(PLACE + PAGE_LEN, 3, WRITE).map_err(text)?;
            let covered = map(PLACE, LARGE_PAGES, WRITE | LARGE);
            ensure!(covered == Err(CallError::AlreadyMapped), "over small pages: {covered:?}");
            usable(PLACE + PAGE_LEN, 3)?;
            unmap(PLACE + PAGE_LEN, 3).map_err(text)?;
            map(PLACE, LARGE_PAGES, WRITE | LARGE).map_err(text)?;
            usable(PLACE, LARGE_PAGES)?;
        }
        protect(PLACE, LARGE_PAGES, 0).map_err(text)?;
        ensure!(write(PLACE + LARGE_LEN - 8, 1).is_err(), "a read-only page was written");
        ensure!(write(PLACE + LARGE_LEN, 1).is_ok(), "the next page became read-only too");
        let word = Ok(PLACE + 512);
        ensure!(read(PLACE + 512) == word, "rights changed the content");
        protect(PLACE, LARGE_PAGES, EXECUTE).map_err(text)?;
        ensure!(write(PLACE, 1).is_err(), "code was written");
        unmap(PLACE, 2 * LARGE_PAGES).map_err(|error| text(error).into())
    })
}

fn large_are_aligned() -> Outcome {
    for pages in [LARGE_PAGES, 2 * LARGE_PAGES] {
        let physical = map(PLACE, pages, WRITE | LARGE | CONTIGUOUS).map_err(text)?;
        unmap(PLACE, pages).map_err(text)?;
        ensure!(physical != 0 && physical.is_multiple_of(LARGE_LEN), "{pages} pages at {physical:#x}");
    }
    Ok(())
}

fn large_zeroed() -> Outcome {
    let _attempts = Attempts::begin();
    for _ in 0..3 {
        map(PLACE, 2 * LARGE_PAGES, WRITE | LARGE).map_err(text)?;
        let checked = usable(PLACE, 2 * LARGE_PAGES);
        unmap(PLACE, 2 * LARGE_PAGES).map_err(text)?;
        checked?;
    }
    Ok(())
}

fn large_run_out() -> Outcome {
    without_loss(|| {
        let before = free();
        let refused = map(PLACE, before / LARGE_PAGES * LARGE_PAGES, WRITE | LARGE);
        ensure!(refused == Err(CallError::NoMemory), "more large pages than there are: {refused:?}");
        ensure!(free() == before, "a refusal took {} frames", before.abs_diff(free()));
        let mut had = 0;
        let refused = loop {
            match map(PLACE + had * LARGE_LEN, LARGE_PAGES, WRITE | LARGE) {
                Ok(_) => had += 1,
                Err(error) => break error,
            }
        };
        unmap(PLACE, had * LARGE_PAGES).map_err(text)?;
        ensure!(refused == CallError::NoMemory && had > 0, "{had} pages, then {refused:?}");
        // As many as there are can be had at once, too.
        map(PLACE, had * LARGE_PAGES, WRITE | LARGE).map_err(text)?;
        unmap(PLACE, had * LARGE_PAGES).map_err(|error| text(error).into())
    })
}

fn refusals() -> Outcome {
    let _attempts = Attempts::begin();
    map(PLACE, 2 * LARGE_PAGES, WRITE | LARGE).map_err(text)?;
    let after = PLACE + 2 * LARGE_LEN;
    let before = free();
    for (address, pages, flags, error) in [
        (PLACE - PAGE_LEN, LARGE_PAGES, LARGE, CallError::BadAddress),
        (after + PAGE_LEN, LARGE_PAGES, LARGE, CallError::BadAddress),
        (after, 1, LARGE, CallError::BadLength),
        (after, LARGE_PAGES + 1, LARGE, CallError::BadLength),
        (after, 0, LARGE, CallError::BadLength),
        (after, !511, LARGE, CallError::BadLength),
        (0, LARGE_PAGES, LARGE, CallError::BadAddress),
        (USER_END & !(LARGE_LEN - 1), LARGE_PAGES, LARGE, CallError::BadAddress),
        (0xffff_8000_0000_0000, LARGE_PAGES, LARGE, CallError::BadAddress),
        (u64::MAX - LARGE_LEN + 1, LARGE_PAGES, LARGE, CallError::BadAddress),
        (PLACE + LARGE_LEN, LARGE_PAGES, LARGE, CallError::AlreadyMapped),
        (PLACE + PAGE_LEN, 1, 0, CallError::AlreadyMapped),
        (PLACE - PAGE_LEN, 2, 0, CallError::AlreadyMapped),
        (after, LARGE_PAGES, LARGE | EXECUTE, CallError::BadArgument),
        (after, LARGE_PAGES, LARGE | NO_ACCESS, CallError::BadArgument),
    ] {
        let answer = map(address, pages, flags | WRITE);
        ensure!(answer == Err(error), "{address:#x} {pages} {flags:#x}: {answer:?}");
    }
    for (colours, colour) in [(0, 1), (3, 0), (4, 4), (2 * COLOURS_MAX, 0), (1 << 63, 0), (u64::MAX, 1)] {
        let answer = map_coloured(after, 1, WRITE, colours, colour);
        ensure!(answer == Err(CallError::BadArgument), "colour {colour} of {colours}: {answer:?}");
    }
    // What cuts a large page, and what is only half there.
    for (address, pages, error) in [
        (PLACE, 1, CallError::BadAddress),
        (PLACE + PAGE_LEN, LARGE_PAGES - 1, CallError::BadAddress),
        (PLACE + PAGE_LEN, LARGE_PAGES, CallError::BadAddress),
        (PLACE, 2 * LARGE_PAGES - 1, CallError::BadAddress),
        (PLACE, 2 * LARGE_PAGES + 1, CallError::NotMapped),
        (PLACE - PAGE_LEN, LARGE_PAGES + 1, CallError::NotMapped),
    ] {
        for answer in [unmap(address, pages), protect(address, pages, 0)] {
            ensure!(answer == Err(error), "{address:#x} {pages}: {answer:?}");
        }
    }
    // Pretending to go on with what never began gives nothing.
    let (_, value) = raw(5 << 32 | Call::Map as u64, [after, 10, WRITE, 0, 0]);
    ensure!(value == 0 && read(after + 6 * PAGE_LEN).is_err(), "a forged call mapped something: {value:#x}");
    ensure!(free() == before, "refusals changed {before} free frames to {}", free());
    ensure!(write(PLACE + LARGE_LEN - 8, 1).is_ok(), "a refused call changed the page");
    unmap(PLACE, 2 * LARGE_PAGES).map_err(|error| text(error).into())
}

fn filling_lets_others_in() -> Outcome {
    const PAGES: u64 = 5 * FILL_FRAMES_MAX + 3;
    for (pages, flags) in [(PAGES, WRITE), (PAGES, WRITE | CONTIGUOUS), (LARGE_PAGES, WRITE | LARGE)] {
        let (calls, zeroed) = (counter(Counter::Calls), counter(Counter::FramesZeroed));
        map(PLACE, pages, flags).map_err(text)?;
        let (calls, zeroed) = (counter(Counter::Calls) - calls, counter(Counter::FramesZeroed) - zeroed);
        unmap(PLACE, pages).map_err(text)?;
        // Other applications may map meanwhile, but here are none.
        ensure!(calls == 1 && zeroed == pages, "{calls} calls zeroed {zeroed} frames for {pages} pages");
    }
    let most = counter(Counter::FramesZeroedAtOnce);
    nom_runtime::log!("{most} frames at most were zeroed without letting others in");
    ensure!(most == FILL_FRAMES_MAX, "{most} frames were zeroed at once");
    Ok(())
}

fn filling_is_interrupted() -> Outcome {
    static EVENTS: AtomicU64 = AtomicU64::new(0);
    static GO_ON: AtomicU64 = AtomicU64::new(1);
    fn again(events: u64) -> u64 {
        if events & TIMER != 0 {
            EVENTS.fetch_add(1, Ordering::Relaxed);
            if GO_ON.load(Ordering::Relaxed) != 0 {
                let _ = set_timer(now_ns() + 10_000);
            }
        }
        0
    }
    const PAGES: u64 = 4 * LARGE_PAGES;
    let _attempts = Attempts::begin();
    GO_ON.store(1, Ordering::Relaxed);
    on_events(again);
    let _ = set_timer(now_ns());
    let during = AtomicU64::new(0);
    let round = |flags| -> Outcome {
        let before = EVENTS.load(Ordering::Relaxed);
        let physical = map(PLACE, PAGES, flags).map_err(text)?;
        during.fetch_add(EVENTS.load(Ordering::Relaxed) - before, Ordering::Relaxed);
        let absent = (0..PAGES).find(|page| read(PLACE + page * PAGE_LEN + 8 * (page % 512)) != Ok(0));
        unmap(PLACE, PAGES).map_err(text)?;
        ensure!(absent.is_none(), "page {absent:?} is not there or not zero");
        let told = physical != 0 && physical.is_multiple_of(PAGE_LEN);
        ensure!(told == (flags & CONTIGUOUS != 0), "the value is {physical:#x}");
        Ok(())
    };
    let mut outcome = Ok(());
    let limit = now_ns() + 20_000_000_000;
    while outcome.is_ok() && during.load(Ordering::Relaxed) < 20 && now_ns() < limit {
        outcome = round(WRITE).and_then(|()| round(WRITE | CONTIGUOUS));
    }
    GO_ON.store(0, Ordering::Relaxed);
    let _ = set_timer(nom_runtime::abi::call::FOREVER);
    unhandle(Cause::Events);
    let _ = nom_runtime::wait(Some(0), 0);
    outcome?;
    let during = during.load(Ordering::Relaxed);
    ensure!(during >= 20, "only {during} events came while pages were mapped");
    Ok(())
}

fn without_access() -> Outcome {
    let _attempts = Attempts::begin();
    for (pages, size) in [(2, 0), (LARGE_PAGES, LARGE)] {
        map(PLACE, pages, WRITE | size).map_err(text)?;
        ensure!(write(PLACE + 8, 7).is_ok(), "cannot be written");
        protect(PLACE, pages, NO_ACCESS).map_err(text)?;
        for (what, fault) in
            [("read", read(PLACE + 8).err()), ("written", write(PLACE, 1).err()), ("run", jump(PLACE).err())]
        {
            // The page is there, and not for ring 3.
            let right = fault.is_some_and(|fault| fault.error & 5 == 5 && fault.address.abs_diff(PLACE) < 16);
            ensure!(right, "{what}: {fault:x?}");
        }
        // The kernel must not read for the application what that cannot read itself.
        let (answer, _) = raw(Call::Log as u64, [PLACE, 5, 0, 0, 0]);
        ensure!(answer == CallError::BadAddress as u64, "the kernel reads it: {answer}");
        protect(PLACE, pages, WRITE).map_err(text)?;
        ensure!(read(PLACE + 8) == Ok(7), "the content is gone");
        unmap(PLACE, pages).map_err(text)?;
    }
    let _ = log("pages without access keep their content");
    Ok(())
}
