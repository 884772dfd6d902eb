//! What happens when ring 3 is interrupted: interrupts, faults, calls, and the way back with or without an upcall.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::call::{Call, FOREIGN_REFUSED, PAGE_LEN};
use nom_abi::exit::FAULTED;
use nom_abi::statistics::Counter;
use nom_abi::upcall::{Cause, FRAME_LEN, Registration};
use nom_kernel_core::upcall::{Step, View, asynchronous, fault, frame_place};

use crate::calls::Answer;
use crate::context::Vectors;
use crate::paging::Space;
use crate::run::After;
use crate::serial::say;
use crate::state::{Caller, Kernel, count, with};
use crate::{calls, cpu, descriptor, end, interrupts, processors, run};

/// What the entry code saves (trap.s).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "the registers are named as in the processor's manual")]
pub struct Trap {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Ring 3's code and data segments.
pub const APPLICATION_CODE: u64 = 0x23;
/// See [`APPLICATION_CODE`].
pub const APPLICATION_DATA: u64 = 0x1b;
/// Flags of a program that was just started: interrupts on.
pub const FLAGS: u64 = 0x202;

const FIRST_INTERRUPT: u64 = 0x20;
const NON_MASKABLE: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;
const MACHINE_CHECK: u64 = 18;
/// What a call leaves in the place of a vector.
const CALL: u64 = 0x100;

#[unsafe(no_mangle)]
extern "C" fn kernel_trap(trap: &mut Trap, found: *const u8) {
    let from_application = trap.cs & 3 == 3;
    match trap.vector {
        CALL => kernel_call(trap),
        FIRST_INTERRUPT.. => interrupts::arrived(trap.vector),
        NON_MASKABLE | DOUBLE_FAULT | MACHINE_CHECK => kernel_failed(trap),
        _ if !from_application => kernel_failed(trap),
        PAGE_FAULT => {
            let address = cpu::fault_address();
            deliver_fault(trap, Cause::PageFault, address);
        }
        vector => deliver_fault(trap, Cause::Exception, vector),
    }
    // A core that slept finds out by itself what there is to do.
    if from_application {
        settle(trap, Vectors::Found(found), false);
    }
}

#[unsafe(no_mangle)]
extern "C" fn kernel_call(trap: &mut Trap) {
    let number = trap.rax;
    match calls::call(trap) {
        Answer::Now(Ok(value)) => {
            trap.rax = 0;
            trap.rdx = value;
        }
        Answer::Now(Err(error)) => {
            trap.rax = error as u64;
            trap.rdx = 0;
        }
        Answer::Again(done) => {
            // Back at the `syscall` instruction, two bytes before: what waits comes in first.
            trap.rax = done << 32 | Call::Map as u64;
            trap.rip -= 2;
        }
        Answer::Gone => run::core(),
        Answer::Foreign { listens } => {
            // Its vector registers are not given up: if it has to rest, `kernel_trap` sees to it.
            if listens {
                deliver_fault(trap, Cause::ForeignCall, trap.rip);
            } else {
                trap.rax = FOREIGN_REFUSED;
            }
            return;
        }
    }
    // Only the call that does nothing else is made because something may be pending already.
    settle(trap, Vectors::GivenUp, number == Call::Nothing as u64);
}

/// Before the way back to ring 3. Whatever changes what this core must do says that it has to look: a timer, a device,
/// another core. With `tell` what is pending is told even when nobody said so; the schedule is as it was then.
fn settle(trap: &mut Trap, vectors: Vectors, tell: bool) {
    let here = cpu::here();
    let after = if processors::must_look(here) {
        with(|kernel| kernel.look(here, trap, vectors))
    } else if tell {
        with(|kernel| kernel.tell(here, trap))
    } else {
        return;
    };
    if let Some(After::Gone) = after {
        run::core()
    }
}

fn kernel_failed(trap: &Trap) -> ! {
    let (here, address) = (cpu::here(), cpu::fault_address());
    let guard_end = descriptor::stack_end(here) - processors::STACK_PAGES * PAGE_LEN;
    if trap.vector == DOUBLE_FAULT && (guard_end - PAGE_LEN..guard_end).contains(&address) {
        say!("failed: stack overflow on processor {}", here.0);
    }
    say!("failed: vector {} on processor {}, address {address:#x}, {trap:x?}", trap.vector, here.0);
    end::machine(nom_abi::exit::KERNEL_FAILED)
}

/// What the kernel uses of a context's block.
pub struct Block {
    enabled: &'static AtomicU64,
    /// Events that have come and were not taken.
    pub pending: &'static AtomicU64,
    nesting: &'static AtomicU64,
}

impl Block {
    /// Finds it with one walk, anew each time: the application may unmap it or protect it.
    pub fn of(space: &Space, registered: &Registration) -> Option<Block> {
        match space.words(registered.block, 3)? {
            [enabled, pending, nesting] => Some(Block { enabled, pending, nesting }),
            _ => None,
        }
    }

    fn view(&self, registered: &Registration, trap: &Trap) -> View {
        View {
            enabled: self.enabled.load(Ordering::Acquire) != 0,
            pending: self.pending.load(Ordering::Acquire) != 0,
            nesting: self.nesting.load(Ordering::Acquire),
            returning: (registered.return_start..registered.return_end).contains(&trap.rip),
        }
    }
}

/// Tells a context what came, if it listens; an error is why its application must end.
pub fn deliver(kernel: &mut Kernel, caller: &Caller, trap: &mut Trap) -> Result<(), &'static str> {
    const GONE: &str = "its upcall stack or block is gone";
    let Some(registered) = kernel.page(caller.context).and_then(|page| page.upcalls) else { return Ok(()) };
    let events = kernel.schedule.take(caller.context);
    // A block that is gone is noticed at the next fault; events without a block have nobody to go to.
    let Some(block) = Block::of(&caller.space, &registered) else { return Ok(()) };
    if events != 0 {
        block.pending.fetch_or(events, Ordering::AcqRel);
    }
    match asynchronous(block.view(&registered, trap)) {
        Step::Resume => Ok(()),
        Step::End => Err(GONE),
        Step::Restart => {
            block.enabled.store(0, Ordering::Release);
            trap.rip = registered.again;
            count(Counter::UpcallRestarts);
            Ok(())
        }
        Step::Enter { was_enabled, nesting } => {
            count(Counter::EventUpcalls);
            let why = Why { cause: Cause::Events, address: 0, was_enabled, nesting };
            if enter(&caller.space, &registered, &block, trap, why) { Ok(()) } else { Err(GONE) }
        }
    }
}

/// Tells the application about its own fault, or ends it.
fn deliver_fault(trap: &mut Trap, cause: Cause, address: u64) {
    let here = cpu::here();
    let entered = with(|kernel| {
        let caller = kernel.caller(here)?;
        let taken =
            kernel.page(caller.context).and_then(|page| page.upcalls.as_ref()).is_some_and(|registered| {
                let Some(block) = Block::of(&caller.space, registered) else { return false };
                let Step::Enter { was_enabled, nesting } = fault(block.view(registered, trap)) else {
                    return false;
                };
                let why = Why { cause, address, was_enabled, nesting };
                enter(&caller.space, registered, &block, trap, why)
            });
        if taken {
            return Some(());
        }
        let what = match cause {
            Cause::PageFault => "page fault at",
            Cause::Exception => "exception",
            Cause::Events | Cause::ForeignCall => "foreign call at",
        };
        let why = format_args!(
            "{what} {address:#x}, error code {:#x}, instruction {:#x}, stack {:#x}; no handler could take it",
            trap.error, trap.rip, trap.rsp
        );
        kernel.end(caller.number, FAULTED, Some(why));
        None
    });
    match entered.flatten() {
        Some(()) => count(Counter::FaultUpcalls),
        None => run::core(),
    }
}

/// Why a handler is entered.
struct Why {
    cause: Cause,
    address: u64,
    was_enabled: bool,
    nesting: u64,
}

/// Puts a frame on the upcall stack and changes `trap` so that it returns into the handler. False when that memory
/// is not there.
fn enter(space: &Space, registered: &Registration, block: &Block, trap: &mut Trap, why: Why) -> bool {
    let Some(place) = frame_place(registered.stack, registered.stack_len, trap.rsp, FRAME_LEN) else {
        return false;
    };
    let frame = [
        why.cause as u64,
        why.address,
        trap.error,
        u64::from(why.was_enabled),
        trap.r15,
        trap.r14,
        trap.r13,
        trap.r12,
        trap.r11,
        trap.r10,
        trap.r9,
        trap.r8,
        trap.rbp,
        trap.rdi,
        trap.rsi,
        trap.rdx,
        trap.rcx,
        trap.rbx,
        trap.rax,
        trap.rip,
        trap.cs,
        trap.rflags,
        trap.rsp,
        trap.ss,
    ];
    if !space.words_out(place, &frame) {
        return false;
    }
    block.enabled.store(0, Ordering::Release);
    block.nesting.store(why.nesting, Ordering::Release);
    trap.rip = registered.entry;
    trap.rsp = place;
    trap.rflags = FLAGS;
    // The handler finds its registers in the frame; so the way there can be the short one (trap.s).
    trap.rcx = trap.rip;
    trap.r11 = trap.rflags;
    trap.cs = APPLICATION_CODE;
    trap.ss = APPLICATION_DATA;
    true
}
