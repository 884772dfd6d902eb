//! Further processors: started one after the other, interrupted by one another, and made to forget translations.
//!
//! Whoever asks another core for something holds the kernel's lock and waits for the answer. Nobody answers too late:
//! a core in ring 3 or asleep is interrupted, and one that waits for the lock answers from there.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use nom_abi::call::PAGE_LEN;
use nom_kernel_core::cores::{CORES_MAX, Core};
use nom_kernel_core::frames::{Frame, Frames, Owner, Shape};

use crate::interrupts::{self, CALL_VECTOR};
use crate::paging::{self, Space};
use crate::{check, clock, cpu, descriptor, run, statistics};

/// Where a processor begins: the start interrupt names a page below 1 MiB.
const START: u64 = 0x8000;
/// Pages of a core's stack.
pub const STACK_PAGES: u64 = 8;
const FAULT_STACK_PAGES: u64 = 2;
/// Where the stacks of further processors are mapped, this far apart. Below each is a page that is not.
const STACKS_START: u64 = paging::IMAGE + (1 << 30);
const STACKS_ROOM: u64 = 16 * PAGE_LEN;
/// How long a processor may take to appear.
const PATIENCE_NS: u64 = 200_000_000;
/// After this the start is sent once more, as the manual wants it.
const AGAIN_NS: u64 = 1_000_000;

/// How long a core watches before it sleeps, where its last rest was as short and ended by another core. To wake one
/// that sleeps costs half of that in an emulator, and a good part on hardware; who waits for a device, a time or
/// nothing sleeps at once.
const WATCH_NS: u64 = 100_000;
/// Looks between two readings of the clock.
const WATCH_TURNS: u64 = 64;

const OWN: u8 = 1;
const OTHER: u8 = 2;
const FORGET: u64 = 1;
const LEAVE: u64 = 2;

unsafe extern "C" {
    static processor_start: u8;
    static processor_end: u8;
    static boot_root: u8;
    fn kernel_halt();
    fn kernel_watch(attention: *const AtomicU8, turns: u64);
}

/// What a core is asked for.
static WORK: [AtomicU64; CORES_MAX] = [const { AtomicU64::new(0) }; CORES_MAX];
/// The page table that a core uses.
static ROOTS: [AtomicU64; CORES_MAX] = [const { AtomicU64::new(0) }; CORES_MAX];
/// A core has to look at the schedule before it goes on: [`OWN`] and [`OTHER`] say because of whom.
static ATTENTION: [AtomicU8; CORES_MAX] = [const { AtomicU8::new(0) }; CORES_MAX];
/// A core watches its attention: it need not be interrupted.
static WATCHING: [AtomicBool; CORES_MAX] = [const { AtomicBool::new(false) }; CORES_MAX];
/// Each core's last rest was ended by another core, and soon: the next one may be.
static BRIEF: [AtomicBool; CORES_MAX] = [const { AtomicBool::new(false) }; CORES_MAX];
/// Each core's identity in its interrupt controller.
static IDENTITIES: [AtomicU32; CORES_MAX] = [const { AtomicU32::new(0) }; CORES_MAX];
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
/// Cores that have arrived.
static ARRIVED: AtomicU32 = AtomicU32::new(0);
/// The stacks of the one that is being started, and whether all may begin to work.
static STACKS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static BEGIN: AtomicBool = AtomicBool::new(false);

/// The first core is there, in the kernel's own space.
pub fn initialise(kernel: &Space) {
    KERNEL_ROOT.store(kernel.root(), Ordering::Relaxed);
    ROOTS[0].store(kernel.root(), Ordering::Relaxed);
    IDENTITIES[0].store(interrupts::identity(), Ordering::Relaxed);
    ARRIVED.store(1, Ordering::Release);
}

/// Starts the processors with these identities (the one that this runs on is left out); says how many cores there are
/// then. One that does not appear is left out with those behind it.
pub fn start(identities: &[u32], space: &Space, frames: &mut Frames<'_>) -> usize {
    // SAFETY: the symbols enclose the start code; the page below 1 MiB is never given to anybody.
    unsafe {
        let code = &raw const processor_start;
        let len = &raw const processor_end as usize - code as usize;
        core::ptr::copy_nonoverlapping(code, (paging::DIRECT + START) as *mut u8, len);
    }
    let places = paging::words(START, 3);
    places[2].store(&raw const boot_root as u64, Ordering::Relaxed);
    let own = interrupts::identity();
    for &identity in identities.iter().filter(|&&identity| identity != own).take(CORES_MAX - 1) {
        let number = ARRIVED.load(Ordering::Acquire);
        let pages = STACK_PAGES + FAULT_STACK_PAGES;
        let Some(stack) = frames.take(Shape::together(pages), Frame(0), Owner::KERNEL) else { break };
        let fault_stack = STACKS_START + u64::from(number) * STACKS_ROOM + PAGE_LEN;
        let fault_stack_end = fault_stack + FAULT_STACK_PAGES * PAGE_LEN;
        let stack_end = fault_stack_end + PAGE_LEN + STACK_PAGES * PAGE_LEN;
        let above = Frame(stack.0 + FAULT_STACK_PAGES);
        let shown = space
            .show_memory(fault_stack, stack, FAULT_STACK_PAGES, frames)
            .and_then(|()| space.show_memory(fault_stack_end + PAGE_LEN, above, STACK_PAGES, frames));
        if shown.is_none() {
            break;
        }
        STACKS[0].store(stack_end, Ordering::Relaxed);
        STACKS[1].store(fault_stack_end, Ordering::Relaxed);
        IDENTITIES[number as usize].store(identity, Ordering::Relaxed);
        // The first steps know only where all memory is mapped.
        places[1].store(paging::DIRECT + stack.address() + pages * PAGE_LEN, Ordering::Release);
        if !start_one(identity, number) {
            // It may still come, and then uses this stack: it is not given to anybody.
            crate::serial::say!("processor {identity} does not start; going on with {number}");
            break;
        }
    }
    ARRIVED.load(Ordering::Acquire) as usize
}

fn start_one(identity: u32, number: u32) -> bool {
    const INITIALISE: u32 = 0x4500;
    const BEGIN_AT: u32 = 0x4600 | (START >> 12) as u32;
    interrupts::command(identity, INITIALISE);
    interrupts::command(identity, BEGIN_AT);
    let from_ns = clock::now_ns();
    let mut again = false;
    loop {
        if ARRIVED.load(Ordering::Acquire) > number {
            return true;
        }
        let waited_ns = clock::now_ns().saturating_sub(from_ns);
        if waited_ns > PATIENCE_NS {
            return false;
        }
        if waited_ns > AGAIN_NS && !again {
            again = true;
            interrupts::command(identity, BEGIN_AT);
        }
        core::hint::spin_loop();
    }
}

/// Lets the other cores work: everything is in its place.
pub fn begin() {
    BEGIN.store(true, Ordering::Release);
}

/// A further processor's first instruction in Rust.
#[unsafe(no_mangle)]
extern "C" fn processor_main() -> ! {
    let number = ARRIVED.load(Ordering::Acquire);
    let here = Core(number as u8);
    let [stack, fault_stack] = [0, 1].map(|place| STACKS[place].load(Ordering::Relaxed));
    descriptor::initialise_core(here, stack, fault_stack);
    cpu::enable_features();
    let root = KERNEL_ROOT.load(Ordering::Relaxed);
    // SAFETY: the kernel's own table maps everything that runs here, this stack included.
    unsafe { cpu::set_page_table(root) };
    ROOTS[usize::from(here.0)].store(root, Ordering::Relaxed);
    interrupts::initialise_core();
    ARRIVED.store(number + 1, Ordering::Release);
    while !BEGIN.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    // SAFETY: the new stack is this core's own and mapped; what is on the old one is not needed any more.
    unsafe { asm!("mov rsp, {}", "call {}", "ud2", in(reg) stack, sym work, options(noreturn)) }
}

/// On the stack that has a guard.
extern "C" fn work() -> ! {
    check::perform();
    run::core()
}

/// The core has to look at the schedule before it goes on; it is interrupted if it is another one.
pub fn attend(core: Core) {
    let place = usize::from(core.0);
    let other = core != cpu::here();
    // The order of these two and of the two in `rest` decides: either we see that it watches no more, or it sees this.
    // Only another core's bit says that it is interrupted, or sees this, anyway: its own may be left from before.
    let before = ATTENTION[place].fetch_or(if other { OTHER } else { OWN }, Ordering::SeqCst);
    if before & OTHER == 0 && other && !WATCHING[place].load(Ordering::SeqCst) {
        call(core);
    }
}

/// Whether this core has to look.
pub fn must_look(here: Core) -> bool {
    ATTENTION[usize::from(here.0)].load(Ordering::SeqCst) != 0
}

/// It looks now.
pub fn looking(here: Core) {
    ATTENTION[usize::from(here.0)].store(0, Ordering::Release);
}

/// This core has nothing to do: it watches for a while or not at all, and sleeps.
pub fn rest(here: Core) {
    let place = usize::from(here.0);
    let from_ns = clock::now_ns();
    let brief = || clock::now_ns().saturating_sub(from_ns) < WATCH_NS;
    if BRIEF[place].load(Ordering::Relaxed) {
        WATCHING[place].store(true, Ordering::SeqCst);
        while !must_look(here) && brief() {
            // SAFETY: it reads the flag and comes back; interrupts find a whole stack below.
            unsafe { kernel_watch(&raw const ATTENTION[place], WATCH_TURNS) }
        }
        WATCHING[place].swap(false, Ordering::SeqCst);
    }
    // Whoever asks for attention from here on interrupts.
    if !must_look(here) {
        // SAFETY: it sleeps and comes back; the interrupt that ends it finds a whole stack below, since this call
        // leaves no red zone in use.
        statistics::slept(here, || unsafe { kernel_halt() });
    }
    BRIEF[place].store(ATTENTION[place].load(Ordering::Relaxed) & OTHER != 0 && brief(), Ordering::Relaxed);
}

fn call(core: Core) {
    const ASSERT: u32 = 0x4000;
    let identity = IDENTITIES[usize::from(core.0)].load(Ordering::Relaxed);
    interrupts::command(identity, ASSERT | CALL_VECTOR as u32);
}

/// Uses this space on this core.
pub fn enter(here: Core, space: &Space) {
    let root = &ROOTS[usize::from(here.0)];
    if root.load(Ordering::Relaxed) != space.root() {
        space.enter();
        root.store(space.root(), Ordering::Relaxed);
    }
}

/// The core has left the context that ran on it; returns when nothing of its application is in use there. Only under
/// the kernel's lock.
pub fn leave(core: Core) {
    // Before it leaves: a core that watches or is about to sleep must not miss this. It looks when the lock is free.
    ATTENTION[usize::from(core.0)].fetch_or(OWN, Ordering::SeqCst);
    if core == cpu::here() {
        do_work(core, LEAVE);
    } else {
        ask(core, LEAVE);
    }
}

/// All cores that use this space leave it. Only under the kernel's lock.
pub fn leave_space(space: &Space) {
    for core in users(space) {
        leave(core);
    }
}

/// All other cores that use this space forget its translations. Only under the kernel's lock, and before what was
/// unmapped is given away.
pub fn forget(space: &Space) {
    let here = cpu::here();
    for core in users(space).filter(|&core| core != here) {
        ask(core, FORGET);
    }
}

fn users(space: &Space) -> impl Iterator<Item = Core> + use<> {
    let root = space.root();
    let place = move |core: &Core| ROOTS[usize::from(core.0)].load(Ordering::Relaxed) == root;
    (0..ARRIVED.load(Ordering::Acquire) as u8).map(Core).filter(place)
}

fn ask(core: Core, what: u64) {
    let work = &WORK[usize::from(core.0)];
    work.store(what, Ordering::SeqCst);
    call(core);
    while work.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

/// Does what another core has asked for.
pub fn serve() {
    let here = cpu::here();
    let work = &WORK[usize::from(here.0)];
    let what = work.load(Ordering::Acquire);
    if what != 0 {
        do_work(here, what);
        work.store(0, Ordering::Release);
    }
}

fn do_work(here: Core, what: u64) {
    let root = &ROOTS[usize::from(here.0)];
    let table =
        if what & LEAVE != 0 { KERNEL_ROOT.load(Ordering::Relaxed) } else { root.load(Ordering::Relaxed) };
    // SAFETY: it is the kernel's table or the one that is in use already; loading it forgets old translations.
    unsafe { cpu::set_page_table(table) };
    root.store(table, Ordering::Relaxed);
}

/// Stops all other cores for good: the machine ends.
pub fn stop_others() {
    const INITIALISE: u32 = 0x4500;
    const ALL_OTHERS: u32 = 3 << 18;
    if ARRIVED.load(Ordering::Acquire) > 1 {
        interrupts::command(0, INITIALISE | ALL_OTHERS);
    }
}

/// Saves the vector state that an interrupt found: `found` is what the entry saved (the kernel's own code may have
/// changed these registers since), the rest is still in the registers.
///
/// # Safety
/// `found` must be the entry's sixteen registers, `area` an XSAVE area of the context that was interrupted on this core.
pub unsafe fn save_vectors(found: *const u8, area: *mut u8, xsave: bool) {
    // SAFETY: the caller vouches for the areas; all registers that change are named.
    unsafe {
        asm!(
            ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "movaps xmm\\number, [{found} + 16 * \\number]",
            ".endr",
            "test {xsave:e}, {xsave:e}", "jz 2f", "xsave64 [{area}]", "jmp 3f",
            "2:", "fxsave64 [{area}]", "3:",
            found = in(reg) found, area = in(reg) area, xsave = in(reg) u32::from(xsave),
            in("eax") -1, in("edx") -1,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
}
