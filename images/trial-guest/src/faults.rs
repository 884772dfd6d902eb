//! Faults: each comes to the handler with its cause, and the application goes on.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_runtime::abi::call::{PAGE_LEN, WRITE};
use nom_runtime::abi::upcall::Cause;
use nom_runtime::call::map;
use nom_runtime::upcall::{Verdict, on_page_fault, unhandle};
use nom_trial::{
    Attempts, Fault, Privileged, breakpoint, code_address, divide_by_zero, jump, overflow_stack, privileged,
    read, undefined, unmap, write,
};

use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 10] = [
    ("fault_reading_nowhere", reading_nowhere),
    ("fault_writing_nowhere", writing_nowhere),
    ("fault_writing_code", writing_code),
    ("fault_jumping_nowhere", jumping_nowhere),
    ("fault_divide_by_zero", dividing),
    ("fault_undefined_instruction", undefined_instruction),
    ("fault_breakpoint", a_breakpoint),
    ("fault_privileged_instructions", privileged_instructions),
    ("fault_stack_overflow", stack_overflow),
    ("fault_self_paging", self_paging),
];

const USER: u64 = 4;
const GENERAL_PROTECTION: u64 = 13;

/// Canonical and not canonical addresses fault differently, but both fault.
fn refused(fault: Result<u64, Fault>, address: u64) -> bool {
    match fault {
        Ok(_) => false,
        Err(fault) if fault.cause == Cause::PageFault as u64 => {
            fault.error & USER != 0 && fault.address.abs_diff(address) < 8
        }
        Err(fault) => fault.address == GENERAL_PROTECTION,
    }
}

fn reading_nowhere() -> Outcome {
    let _attempts = Attempts::begin();
    for address in crate::calls::HOSTILE {
        let fault = read(address);
        ensure!(refused(fault, address), "{address:#x}: {fault:x?}");
    }
    Ok(())
}

fn writing_nowhere() -> Outcome {
    let _attempts = Attempts::begin();
    for address in crate::calls::HOSTILE {
        let fault = write(address, 1).map(|()| 0);
        ensure!(refused(fault, address), "{address:#x}: {fault:x?}");
    }
    Ok(())
}

fn writing_code() -> Outcome {
    let _attempts = Attempts::begin();
    let fault = write(code_address(), 0x9090_9090_9090_9090);
    ensure!(fault.is_err_and(|fault| fault.error & 3 == 3), "code was written: {fault:x?}");
    Ok(())
}

fn jumping_nowhere() -> Outcome {
    let _attempts = Attempts::begin();
    for address in [0, 0x1000, 0xffff_ffff_8010_7000, 0xffff_8000_0010_0000] {
        let fault = jump(address);
        ensure!(fault.is_err(), "{address:#x} was executed");
    }
    Ok(())
}

fn exception(fault: Result<(), Fault>, vector: u64) -> Outcome {
    let right = fault.is_err_and(|fault| fault.cause == Cause::Exception as u64 && fault.address == vector);
    ensure!(right, "expected exception {vector}, had {fault:x?}");
    Ok(())
}

fn dividing() -> Outcome {
    let _attempts = Attempts::begin();
    exception(divide_by_zero(), 0)
}

fn undefined_instruction() -> Outcome {
    let _attempts = Attempts::begin();
    exception(undefined(), 6)
}

fn a_breakpoint() -> Outcome {
    let _attempts = Attempts::begin();
    exception(breakpoint(), 3)
}

fn privileged_instructions() -> Outcome {
    let _attempts = Attempts::begin();
    for what in [
        Privileged::Halt,
        Privileged::NoInterrupts,
        Privileged::Port,
        Privileged::Register,
        Privileged::PageTable,
        Privileged::InterruptTable,
        Privileged::SwapGs,
        Privileged::Interrupt,
    ] {
        let fault = privileged(what);
        ensure!(exception(fault, GENERAL_PROTECTION).is_ok(), "{what:?}: {fault:x?}");
    }
    Ok(())
}

fn stack_overflow() -> Outcome {
    let _attempts = Attempts::begin();
    for _ in 0..3 {
        let fault = overflow_stack();
        ensure!(
            fault.is_err_and(|fault| fault.cause == Cause::PageFault as u64),
            "the stack has no end: {fault:x?}"
        );
    }
    Ok(())
}

static PAGED: AtomicU64 = AtomicU64::new(0);
const PAGES: u64 = 50;
const PLACE: u64 = 0x4100_0000_0000;

/// Gives a page to whoever touches one: memory that appears when it is used.
fn self_paging() -> Outcome {
    on_page_fault(|fault| {
        let page = fault.address & !(PAGE_LEN - 1);
        if fault.present || map(page, 1, WRITE).is_err() {
            return Verdict::End;
        }
        PAGED.fetch_add(1, Ordering::Relaxed);
        Verdict::Resume
    });
    let mut wrong = 0;
    for page in 0..PAGES {
        let at = PLACE + page * PAGE_LEN;
        wrong += u64::from(write(at, page + 1).is_err());
        wrong += u64::from(read(at) != Ok(page + 1));
    }
    unhandle(Cause::PageFault);
    let paged = PAGED.load(Ordering::Relaxed);
    ensure!(wrong == 0 && paged == PAGES, "{wrong} accesses went wrong, {paged} pages of {PAGES} were given");
    unmap(PLACE, PAGES).map_err(|error| alloc::format!("{error:?}").into())
}
