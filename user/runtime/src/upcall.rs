//! Upcalls: who handles what, and sleeping until something happens.
//!
//! Without handlers of its own an application sees events as the answer of [`wait`], and ends with a clear line at
//! its first fault. Handlers run on the upcall stack with upcalls disabled; they must not allocate, nor use the old
//! floating-point unit (which Rust does not).

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering};

use nom_abi::call::{CallError, FOREIGN_REFUSED, FOREVER, PAGE_LEN, WRITE};
use nom_abi::upcall::{Block, Cause, Frame, Registration};

/// Bits of [`nom_abi::upcall`].
pub type Events = u64;

const STACK_ADDRESS: u64 = 0x3000_0000_0000;
const STACK_LEN: u64 = 16 * PAGE_LEN;
/// Between two upcall stacks nothing is mapped.
const STACK_ROOM: u64 = 16 << 20;
/// The most contexts: one a core.
pub(crate) const CONTEXTS_MAX: usize = 8;
/// A context runs no thread at the moment.
pub(crate) const NO_THREAD: u64 = u64::MAX;
/// Vector state by FXSAVE.
const FXSAVE_LEN: u64 = 512;
/// Vector state by XSAVE with the old unit, SSE and AVX: 512, a header of 64, and 16 halves of 16.
const UP_TO_AVX_LEN: u64 = 832;
/// Alignment of the XSAVE area, which is taken off below the frame.
const XSAVE_ALIGNMENT: u64 = 64;

/// What a context has of its own, block first: `gs` leads there.
#[repr(C, align(64))]
struct Own {
    block: Block,
    /// The thread that runs here ([`crate::thread`]), in the word that follows the block.
    thread: AtomicU64,
    /// Events that upcalls brought and `wait` has not answered yet.
    collected: AtomicU64,
    /// The upcall stack is mapped: it stays for the next context of this number.
    has_stack: AtomicBool,
}

static OWN: [Own; CONTEXTS_MAX] = [const {
    Own {
        block: Block {
            enabled: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            nesting: AtomicU64::new(0),
            resume: AtomicU64::new(0),
            frame: AtomicU64::new(0),
            context: AtomicU64::new(0),
        },
        thread: AtomicU64::new(NO_THREAD),
        collected: AtomicU64::new(0),
        has_stack: AtomicBool::new(false),
    }
}; CONTEXTS_MAX];
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Which of the application's contexts this is: 0 is the first, others have the numbers of their cores.
pub fn context() -> usize {
    if !REGISTERED.load(Ordering::Relaxed) {
        return 0;
    }
    let number: usize;
    // SAFETY: the kernel has made this context's block the base of `gs` when it was registered, before anything else
    // runs on it, and the sixth word of a block is its number.
    unsafe { asm!("mov {}, gs:[40]", out(reg) number, options(readonly, nostack, preserves_flags)) }
    number % CONTEXTS_MAX
}

fn own() -> &'static Own {
    &OWN[context()]
}

#[unsafe(no_mangle)]
static nom_vector_state_len: AtomicU64 = AtomicU64::new(FXSAVE_LEN);
/// How the entry saves vectors: 0 by FXSAVE, 1 by XSAVE, 2 by XSAVE or, around handlers, by moves: there is AVX and
/// nothing beyond.
#[unsafe(no_mangle)]
static nom_vectors_by: AtomicU8 = AtomicU8::new(0);

unsafe extern "C" {
    fn nom_upcall_entry();
    fn nom_return_start();
    fn nom_return_end();
    fn nom_return_again();
}

/// What becomes of the interrupted program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as the frame says.
    Resume,
    /// It ends with a line that says why.
    End,
}

/// Handles a fault; may change the frame.
pub type FaultHandler = fn(&mut Frame) -> Verdict;
/// Makes a page touchable, if it is one that it knows: resuming tries the same instruction again.
pub type PageFaultHandler = fn(PageFault) -> Verdict;
/// Answers a foreign call.
pub type ForeignCallHandler = fn(ForeignCall) -> u64;

/// A page was touched in a way that it does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFault {
    /// The address that was touched.
    pub address: u64,
    /// Something is mapped there, with other rights.
    pub present: bool,
    /// It was to be written.
    pub write: bool,
    /// It was to be executed.
    pub execute: bool,
}

/// A call with a number that is not the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignCall {
    /// What was in `rax`.
    pub number: u64,
    /// What was in `rdi`, `rsi`, `rdx`, `r10`, `r8` and `r9`.
    pub arguments: [u64; 6],
}

static ON_PAGE_FAULT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static ON_FOREIGN_CALL: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// Handles events; answers those that [`wait`] shall still answer.
pub type EventHandler = fn(Events) -> Events;

static ON_FAULT: [AtomicPtr<()>; 4] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 4];

/// From now on this handles faults of that cause. [`on_page_fault`] and [`on_foreign_call`] are safe to use.
///
/// # Safety
/// The handler decides with which registers, and so where, the interrupted code goes on: that code must stand it.
pub unsafe fn on_fault(cause: Cause, handler: FaultHandler) {
    if cause != Cause::Events {
        ON_FAULT[cause as usize].store(handler as *mut (), Ordering::Release);
    }
}

/// From now on this handles page faults outside of demand-zero ranges and working sets.
pub fn on_page_fault(handler: PageFaultHandler) {
    fn told(frame: &mut Frame) -> Verdict {
        let handler = ON_PAGE_FAULT.load(Ordering::Acquire);
        // SAFETY: what stores here, stores a `PageFaultHandler` before it names this function.
        let handler = unsafe { core::mem::transmute::<*mut (), PageFaultHandler>(handler) };
        let [present, write, execute] = [0, 1, 4].map(|bit| frame.error & 1 << bit != 0);
        handler(PageFault { address: frame.address, present, write, execute })
    }
    ON_PAGE_FAULT.store(handler as *mut (), Ordering::Release);
    // SAFETY: the frame stays as it is: the same instruction is tried again, or the application ends.
    unsafe { on_fault(Cause::PageFault, told) }
}

/// From now on this answers foreign calls.
pub fn on_foreign_call(handler: ForeignCallHandler) {
    fn told(frame: &mut Frame) -> Verdict {
        let handler = ON_FOREIGN_CALL.load(Ordering::Acquire);
        // SAFETY: what stores here, stores a `ForeignCallHandler` before it names this function.
        let handler = unsafe { core::mem::transmute::<*mut (), ForeignCallHandler>(handler) };
        let arguments = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
        frame.rax = handler(ForeignCall { number: frame.rax, arguments });
        Verdict::Resume
    }
    ON_FOREIGN_CALL.store(handler as *mut (), Ordering::Release);
    // SAFETY: only `rax` changes, which is where whoever makes such a call expects the answer.
    unsafe { on_fault(Cause::ForeignCall, told) }
}

/// From now on this handles events that come while the program runs.
pub fn on_events(handler: EventHandler) {
    ON_FAULT[Cause::Events as usize].store(handler as *mut (), Ordering::Release);
}

/// Faults of that cause end the application again; events are collected for [`wait`] again.
pub fn unhandle(cause: Cause) {
    ON_FAULT[cause as usize].store(core::ptr::null_mut(), Ordering::Release);
}

/// Keeps asynchronous upcalls out; says whether they were let in before.
pub fn disable() -> bool {
    if !REGISTERED.load(Ordering::Relaxed) {
        return false;
    }
    let mut was: u64 = 0;
    // SAFETY: `gs` leads to this context's block. One instruction: a thread may go on on another core before or after
    // it, not within.
    unsafe { asm!("xchg {}, gs:[0]", inout(reg) was, options(nostack, preserves_flags)) }
    was != 0
}

/// Lets asynchronous upcalls in, those that wait at once.
pub fn enable() {
    if !REGISTERED.load(Ordering::Relaxed) {
        return;
    }
    let pending: u64;
    // SAFETY: as for `disable`; who goes on on another core between the two was let in there, and what waits here was
    // told on the way.
    unsafe {
        asm!("mov qword ptr gs:[0], 1", "mov {}, gs:[8]", out(reg) pending, options(nostack, preserves_flags));
    }
    if pending != 0 {
        crate::call::nothing();
    }
}

/// The thread that runs, or [`NO_THREAD`].
pub(crate) fn thread() -> u64 {
    if !REGISTERED.load(Ordering::Relaxed) {
        return NO_THREAD;
    }
    let number: u64;
    // SAFETY: the word behind the block of this context; wherever the thread goes on, its number is there.
    unsafe { asm!("mov {}, gs:[48]", out(reg) number, options(readonly, nostack, preserves_flags)) }
    number
}

/// Another thread runs on this context from now on. Upcalls are disabled.
pub(crate) fn set_thread(number: u64) {
    own().thread.store(number, Ordering::Relaxed);
}

/// Takes events to one's own place, and may change the frame so that something else goes on: the threads'.
pub(crate) type Taker = fn(Events, &mut Frame);

static TAKER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From now on events go there (`None`: to handlers and [`wait`] again).
pub(crate) fn take_events(taker: Option<Taker>) {
    TAKER.store(taker.map_or(core::ptr::null_mut(), |taker| taker as *mut ()), Ordering::Release);
}

/// Halts the core until an event comes or until this time (`None`: only an event), and answers the events that came
/// since the last `wait`. `unmask` names the devices ([`crate::device::Device::event`]) whose interrupts are let in
/// first. One call into the kernel.
pub fn wait(until_ns: Option<u64>, unmask: Events) -> Events {
    // Disabled first: what comes between here and the call stays pending, and the kernel looks there.
    let enabled = disable();
    let own = own();
    let collected = own.collected.swap(0, Ordering::Relaxed);
    // With something to answer the call must not sleep, but it still unmasks.
    let until_ns = if collected != 0 { 0 } else { until_ns.unwrap_or(FOREVER) };
    let came = if collected != 0 && unmask == 0 {
        own.block.pending.swap(0, Ordering::AcqRel)
    } else {
        crate::call::wait(until_ns, unmask).unwrap_or(0)
    };
    if enabled {
        enable();
    }
    collected | came
}

/// Makes a call whose event this context brings about itself: [`wait`] answers it, but no upcall tells the caller what he
/// has just done. What else came meanwhile goes the same way; handlers and threads are told as always.
pub(crate) fn untold<T>(call: impl FnOnce() -> T) -> T {
    let enabled = disable();
    let result = call();
    if enabled {
        let handled = !ON_FAULT[Cause::Events as usize].load(Ordering::Acquire).is_null();
        if !handled && TAKER.load(Ordering::Acquire).is_null() {
            let own = own();
            own.collected.fetch_or(own.block.pending.swap(0, Ordering::AcqRel), Ordering::Relaxed);
        }
        enable();
    }
    result
}

pub(crate) fn register() -> Result<(), CallError> {
    const XSAVE_ENABLED: u32 = 1 << 27;
    if __cpuid(1).ecx & XSAVE_ENABLED != 0 {
        // What the kernel has enabled, by its length: each state has its fixed place.
        let len = u64::from(__cpuid_count(0xd, 0).ebx);
        nom_vector_state_len.store(len, Ordering::Relaxed);
        nom_vectors_by.store(if len == UP_TO_AVX_LEN { 2 } else { 1 }, Ordering::Relaxed);
    }
    register_context(0, false)?;
    REGISTERED.store(true, Ordering::Release);
    Ok(())
}

/// Gives the context that calls its block and its upcall stack. Nothing else may run on it before.
pub(crate) fn register_context(number: usize, moves: bool) -> Result<(), CallError> {
    let own = &OWN[number % CONTEXTS_MAX];
    // A frame and its vector state for every level of nesting must fit, with room for Rust.
    let state_len = nom_vector_state_len.load(Ordering::Relaxed) + XSAVE_ALIGNMENT;
    let stack_len = (STACK_LEN + 4 * state_len).next_multiple_of(PAGE_LEN);
    let stack = STACK_ADDRESS + number as u64 * STACK_ROOM;
    if !own.has_stack.load(Ordering::Relaxed) {
        crate::call::map(stack, stack_len / PAGE_LEN, WRITE)?;
        own.has_stack.store(true, Ordering::Relaxed);
    }
    // An earlier context of this number may have ended anywhere.
    own.block.enabled.store(0, Ordering::Relaxed);
    own.block.pending.store(0, Ordering::Relaxed);
    own.block.nesting.store(0, Ordering::Relaxed);
    own.block.context.store(number as u64, Ordering::Relaxed);
    own.collected.store(0, Ordering::Relaxed);
    own.thread.store(NO_THREAD, Ordering::Relaxed);
    let address = |code: unsafe extern "C" fn()| code as usize as u64;
    crate::call::register_upcalls(&Registration {
        entry: address(nom_upcall_entry),
        block: core::ptr::from_ref(&own.block) as u64,
        stack,
        stack_len,
        return_start: address(nom_return_start),
        return_end: address(nom_return_end),
        again: address(nom_return_again),
        moves: u64::from(moves),
    })?;
    own.block.enabled.store(1, Ordering::SeqCst);
    if own.block.pending.load(Ordering::SeqCst) != 0 {
        crate::call::nothing();
    }
    Ok(())
}

/// Called by the entry with the frame; when it returns, the interrupted program goes on.
#[unsafe(no_mangle)]
extern "C" fn nom_upcall(frame: &mut Frame) {
    let place = frame.cause as usize & 3;
    let handler = ON_FAULT[place].load(Ordering::Acquire);
    if place == Cause::Events as usize {
        let own = own();
        let events = own.block.pending.swap(0, Ordering::AcqRel);
        let taker = TAKER.load(Ordering::Acquire);
        if !taker.is_null() {
            // SAFETY: `take_events` is the only place that stores here, and stores a `Taker`.
            let taker = unsafe { core::mem::transmute::<*mut (), Taker>(taker) };
            return taker(events, frame);
        }
        let kept = if handler.is_null() {
            events
        } else {
            // SAFETY: `on_events` is the only place that stores at this index, and stores an `EventHandler`.
            let handler = unsafe { core::mem::transmute::<*mut (), EventHandler>(handler) };
            handler(events)
        };
        own.collected.fetch_or(kept, Ordering::Relaxed);
        return;
    }
    if place == Cause::PageFault as usize
        && (crate::demand::serve(frame.address, frame.error)
            || crate::working_set::serve(frame.address, frame.error))
    {
        return;
    }
    let verdict = if handler.is_null() {
        if place == Cause::ForeignCall as usize {
            // As a system without such a call would answer.
            frame.rax = FOREIGN_REFUSED;
            return;
        }
        Verdict::End
    } else {
        // SAFETY: `on_fault` is the only place that stores at these indices, and stores a `FaultHandler`.
        let handler = unsafe { core::mem::transmute::<*mut (), FaultHandler>(handler) };
        handler(frame)
    };
    if verdict == Verdict::End {
        let what = if place == Cause::PageFault as usize { "page fault at" } else { "exception" };
        let thread = crate::thread::Culprit { address: frame.address };
        crate::log!(
            "application ended: {thread}{what} {:#x}, error code {:#x}, instruction {:#x}, stack {:#x}",
            frame.address,
            frame.error,
            frame.rip,
            frame.rsp
        );
        crate::exit(nom_abi::exit::FAULTED);
    }
}
