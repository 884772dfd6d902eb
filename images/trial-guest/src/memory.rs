//! Mappings: rights, refusals, zeroed frames, and memory that comes back.

use core::sync::atomic::Ordering;

use alloc::boxed::Box;
use nom_runtime::abi::call::{CONTIGUOUS, CallError, EXECUTE, PAGE_LEN, USER_END, WRITE};
use nom_runtime::abi::statistics::Counter;
use nom_runtime::abi::upcall::Cause;
use nom_runtime::call::map;
use nom_runtime::{heap_region, statistics};
use nom_trial::{Attempts, jump, protect, read, unmap, write};

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 9] = [
    ("memory_map_and_unmap", map_and_unmap),
    ("memory_refusals", refusals),
    ("memory_exhaustion", exhaustion),
    ("memory_protect", protect_pages),
    ("memory_no_execution_of_data", no_execution_of_data),
    ("memory_zeroed_between_owners", zeroed_between_owners),
    ("memory_contiguous", contiguous),
    ("memory_heap_region", heap),
    ("memory_shared_pages_stay", shared_pages_stay),
];

const PLACE: u64 = 0x4000_0000_0000;

fn text(error: CallError) -> alloc::string::String {
    alloc::format!("{error:?}")
}

fn free() -> u64 {
    statistics()[Counter::FreeFrames as usize].load(Ordering::Relaxed)
}

fn map_and_unmap() -> Outcome {
    let _attempts = Attempts::begin();
    let before = free();
    map(PLACE, 3, WRITE).map_err(text)?;
    for page in 0..3 {
        let at = PLACE + page * PAGE_LEN;
        ensure!(read(at) == Ok(0), "page {page} is not zero");
        ensure!(write(at + 8, page + 1).is_ok(), "page {page} cannot be written");
    }
    ensure!(read(PLACE + PAGE_LEN + 8) == Ok(2), "what was written is not read");
    ensure!(free() <= before - 3, "three frames did not count");
    unmap(PLACE, 3).map_err(text)?;
    let fault = read(PLACE + PAGE_LEN).err();
    ensure!(
        fault
            .is_some_and(|fault| fault.cause == Cause::PageFault as u64 && fault.address == PLACE + PAGE_LEN),
        "reading after unmapping: {fault:?}"
    );
    Ok(())
}

fn refusals() -> Outcome {
    for (address, pages, flags, error) in [
        (0, 1, WRITE, CallError::BadAddress),
        (PAGE_LEN, 1, WRITE, CallError::BadAddress),
        (PLACE + 1, 1, WRITE, CallError::BadAddress),
        (USER_END, 1, WRITE, CallError::BadAddress),
        (USER_END - PAGE_LEN, 2, WRITE, CallError::BadAddress),
        (0xffff_8000_0000_0000, 1, WRITE, CallError::BadAddress),
        (PLACE, 0, WRITE, CallError::BadLength),
        (PLACE, u64::MAX, WRITE, CallError::BadLength),
        (PLACE, 1 << 52, WRITE, CallError::BadLength),
        (PLACE, 1, WRITE | EXECUTE, CallError::BadArgument),
        (PLACE, 1, 1 << 63, CallError::BadArgument),
        (0x40_0000, 1, WRITE, CallError::AlreadyMapped),
        (heap_region().virtual_base as u64, 1, WRITE, CallError::AlreadyMapped),
        (heap_region().virtual_base as u64 - PAGE_LEN, 2, WRITE, CallError::AlreadyMapped),
    ] {
        let answer = map(address, pages, flags);
        ensure!(answer == Err(error), "{address:#x} {pages} {flags:#x}: {answer:?}");
    }
    for (address, pages, error) in [
        (PLACE, 1, CallError::NotMapped),
        (PLACE + 1, 1, CallError::BadAddress),
        (PLACE, u64::MAX, CallError::BadLength),
        (0xffff_ffff_8010_0000, 1, CallError::BadAddress),
    ] {
        let answer = unmap(address, pages);
        ensure!(answer == Err(error), "unmapping {address:#x} {pages}: {answer:?}");
    }
    Ok(())
}

fn exhaustion() -> Outcome {
    let before = free();
    for pages in [before + 1, before, 2 * before] {
        for flags in [WRITE, WRITE | CONTIGUOUS] {
            let answer = map(PLACE, pages, flags);
            ensure!(answer == Err(CallError::NoMemory), "{pages} pages: {answer:?}");
        }
    }
    ensure!(free() == before, "refusals changed {before} free frames to {}", free());
    // Nearly all of it can be had, and all of it comes back.
    let most = before - before / 256 - 16;
    map(PLACE, most, WRITE).map_err(text)?;
    let answer = map(PLACE + (most << 12), 1000, WRITE);
    unmap(PLACE, most).map_err(text)?;
    ensure!(answer == Err(CallError::NoMemory), "more than there is: {answer:?}");
    // Tables stay until the application ends.
    ensure!(free() + before / 256 + 16 >= before, "{before} free frames became {}", free());
    Ok(())
}

fn protect_pages() -> Outcome {
    let _attempts = Attempts::begin();
    map(PLACE, 1, WRITE).map_err(text)?;
    ensure!(write(PLACE, 5).is_ok(), "cannot be written");
    protect(PLACE, 1, 0).map_err(text)?;
    ensure!(write(PLACE, 6).is_err(), "a read-only page was written");
    ensure!(read(PLACE) == Ok(5), "a read-only page cannot be read");
    let both = protect(PLACE, 1, WRITE | EXECUTE);
    ensure!(both == Err(CallError::BadArgument), "writable code: {both:?}");
    protect(PLACE, 1, WRITE).map_err(text)?;
    ensure!(write(PLACE, 7).is_ok(), "cannot be written again");
    unmap(PLACE, 1).map_err(|error| text(error).into())
}

fn no_execution_of_data() -> Outcome {
    const FETCH: u64 = 1 << 4;
    let _attempts = Attempts::begin();
    map(PLACE, 1, WRITE).map_err(text)?;
    let fault = jump(PLACE).err();
    unmap(PLACE, 1).map_err(text)?;
    ensure!(fault.is_some_and(|fault| fault.error & FETCH != 0), "data was executed: {fault:?}");
    Ok(())
}

fn zeroed_between_owners() -> Outcome {
    let _attempts = Attempts::begin();
    for round in 0..4 {
        map(PLACE, 64, WRITE).map_err(text)?;
        for word in (0..64 * PAGE_LEN).step_by(512) {
            let found = read(PLACE + word);
            ensure!(found == Ok(0), "round {round}: {found:x?} from before");
            ensure!(write(PLACE + word, 0xdead_beef).is_ok(), "cannot be written");
        }
        unmap(PLACE, 64).map_err(text)?;
    }
    Ok(())
}

fn contiguous() -> Outcome {
    let first = map(PLACE, 32, WRITE | CONTIGUOUS).map_err(text)?;
    let second = map(PLACE + 32 * PAGE_LEN, 32, WRITE | CONTIGUOUS).map_err(text)?;
    unmap(PLACE, 64).map_err(text)?;
    ensure!(first != 0 && first.is_multiple_of(PAGE_LEN), "first at {first:#x}");
    ensure!(first.abs_diff(second) >= 32 * PAGE_LEN, "{first:#x} and {second:#x} overlap");
    Ok(())
}

fn heap() -> Outcome {
    let region = heap_region();
    ensure!(region.physical_base != 0, "a trusted image knows no physical address");
    let thing = Box::new([7_u8; 5000]);
    let at = thing.as_ptr() as usize;
    ensure!(
        at >= region.virtual_base && at + 5000 <= region.virtual_base + region.len,
        "{at:#x} not in {region:x?}"
    );
    // A thousand pieces of many sizes, freed in another order.
    let mut pieces: alloc::vec::Vec<alloc::vec::Vec<u8>> =
        (0..1000).map(|size| alloc::vec![size as u8; (size * 7) % 900 + 1]).collect();
    while pieces.len() > 1 {
        let place = pieces.len() * 37 % pieces.len().max(2);
        let piece = pieces.swap_remove(place);
        ensure!(piece.iter().all(|&byte| byte == piece[0]), "a piece of the heap was overwritten");
    }
    Ok(())
}

fn shared_pages_stay() -> Outcome {
    for page in [nom_runtime::board(), statistics()] {
        let at = page.as_ptr() as u64;
        let answer = unmap(at, 1);
        ensure!(answer == Err(CallError::NotMapped), "the page at {at:#x} was taken away: {answer:?}");
        let answer = protect(at, 1, WRITE);
        ensure!(answer == Err(CallError::NotMapped), "the page at {at:#x} was made writable: {answer:?}");
    }
    Ok(())
}
