//! Further cores: a function that runs on one.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use nom_abi::call::{CallError, PAGE_LEN, WRITE};

use crate::upcall::CONTEXTS_MAX;

const STACKS: u64 = 0x3100_0000_0000;
/// Between two stacks nothing is mapped.
const STACK_ROOM: u64 = 16 << 20;
const STACK_PAGES: u64 = 64;

static WORK: [AtomicPtr<()>; CONTEXTS_MAX] = [const { AtomicPtr::new(core::ptr::null_mut()) }; CONTEXTS_MAX];
static ARGUMENTS: [AtomicU64; CONTEXTS_MAX] = [const { AtomicU64::new(0) }; CONTEXTS_MAX];
/// A core's stack is mapped: it stays for the next time.
static MAPPED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn nom_context_start();
}

/// Cores whose context goes on at home when they are taken.
static MOVING: AtomicU64 = AtomicU64::new(0);

/// The same as [`start`], but when the core is taken in the middle of `work` that goes on on the first core, and is
/// told so ([`nom_abi::upcall::CORE_LOST`]).
pub(crate) fn start_moving(core: u32, work: fn(u64)) -> Result<(), CallError> {
    begin(core, work, 0, true)
}

/// Acquires a core and runs `work` there, with upcalls of its own; when it returns the core is given back. The core
/// may be taken in the middle of `work` ([`nom_abi::upcall::CORE_WANTED`]): what it does must stand that.
pub fn start(core: u32, work: fn(u64), argument: u64) -> Result<(), CallError> {
    begin(core, work, argument, false)
}

fn begin(core: u32, work: fn(u64), argument: u64, moving: bool) -> Result<(), CallError> {
    let place = core as usize;
    if place >= CONTEXTS_MAX || core >= crate::core_count() {
        return Err(CallError::NoSuch);
    }
    let stack = STACKS + u64::from(core) * STACK_ROOM;
    if MAPPED.fetch_or(1 << core, Ordering::AcqRel) & 1 << core == 0
        && let Err(error) = crate::call::map(stack, STACK_PAGES, WRITE)
    {
        MAPPED.fetch_and(!(1 << core), Ordering::AcqRel);
        return Err(error);
    }
    if moving {
        MOVING.fetch_or(1 << core, Ordering::AcqRel);
    } else {
        MOVING.fetch_and(!(1 << core), Ordering::AcqRel);
    }
    WORK[place].store(work as *mut (), Ordering::Release);
    ARGUMENTS[place].store(argument, Ordering::Release);
    let entry = nom_context_start as *const () as u64;
    crate::call::acquire_core(core, entry, stack + STACK_PAGES * PAGE_LEN, u64::from(core))
}

/// The first function of a further core.
#[unsafe(no_mangle)]
extern "C" fn nom_context_run(core: u64) -> ! {
    let place = core as usize;
    if let Err(error) =
        crate::upcall::register_context(place, MOVING.load(Ordering::Acquire) & 1 << core != 0)
    {
        // Nothing that needs upcalls can be said here.
        let _ = error;
        let _ = crate::call::release_core(core as u32);
    }
    let work = WORK[place].load(Ordering::Acquire);
    // SAFETY: `start` is the only place that stores here, and stores a `fn(u64)`.
    let work = unsafe { core::mem::transmute::<*mut (), fn(u64)>(work) };
    work(ARGUMENTS[place].load(Ordering::Acquire));
    loop {
        let _ = crate::call::release_core(core as u32);
    }
}
