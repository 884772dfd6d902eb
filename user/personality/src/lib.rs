//! Runs a small static Linux program in an application's own address space.
//!
//! The kernel knows nothing of Linux: a call whose number is not its own becomes an upcall, and the handler here answers
//! it ([`calls`]). The program is loaded at the addresses that its file names, gets a stack and a data segment that
//! grows, and runs on the caller's core until it exits: there is one program at a time. It shares the application's fate:
//! a fault of its own ends both. There are no threads, signals, files or bases of `fs`, so no C library.

#![no_std]

extern crate alloc;

mod calls;

use alloc::string::String;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

use nom_abi::call::{CallError, EXECUTE, PAGE_LEN, WRITE};
use nom_abi::upcall::Cause;
use nom_kernel_core::elf;
use nom_runtime::call::{map, protect, unmap};
use nom_runtime::demand::DemandZero;
use nom_runtime::upcall::{on_fault, unhandle};

use calls::Program;

global_asm!(include_str!("enter.s"));

unsafe extern "C" {
    fn nom_foreign_enter(entry: u64, stack: u64) -> u64;
}

const STACK: u64 = 0x4100_0000_0000;
const STACK_PAGES: u64 = 16;
/// What the program may ask for by `brk` and `mmap`.
const DATA_LEN: u64 = 16 << 20;

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it gave to `exit`.
    pub code: u8,
    /// What it wrote, as far as it was kept.
    pub output: String,
    /// Calls that are not known here.
    pub unknown: u64,
}

/// Why a program was not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its file.
    File(elf::Refused),
    /// Memory at the places where it has to lie.
    Memory(CallError),
    /// Another program runs.
    Busy,
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        Refused::Memory(error)
    }
}

static BUSY: AtomicBool = AtomicBool::new(false);

/// Runs a program to its end. What it writes is logged line by line.
///
/// # Safety
/// The program runs with all rights of the application: it must touch no memory but its own, and leave `gs` alone.
pub unsafe fn run(file: &[u8]) -> Result<Ended, Refused> {
    let program = elf::application(file).map_err(Refused::File)?;
    if BUSY.swap(true, Ordering::Acquire) {
        return Err(Refused::Busy);
    }
    // SAFETY: the caller vouches for the program, and no other one runs.
    let ended = unsafe { run_alone(&program) };
    BUSY.store(false, Ordering::Release);
    ended
}

/// # Safety
/// As for [`run`]; no other program runs.
unsafe fn run_alone(program: &elf::Application<'_>) -> Result<Ended, Refused> {
    let data = DemandZero::reserve(DATA_LEN)?;
    let _stack = Pages::map(STACK, STACK_PAGES)?;
    let mut loaded = Vec::new();
    for segment in program.segments() {
        loaded.push(load(&segment)?);
    }
    // SAFETY: the caller vouches for the program, which is loaded and has a stack.
    Ok(unsafe { execute(program, &data) })
}

/// Pages that are mapped at a chosen place until this is dropped.
struct Pages {
    address: u64,
    pages: u64,
}

impl Pages {
    /// Refused where something else lies, an application's own code for example.
    fn map(address: u64, pages: u64) -> Result<Pages, CallError> {
        map(address, pages, WRITE)?;
        Ok(Pages { address, pages })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: they were mapped for a program that has ended or never began; nothing else knows of them.
        let _ = unsafe { unmap(self.address, self.pages) };
    }
}

fn load(segment: &elf::Segment<'_>) -> Result<Pages, Refused> {
    let first = segment.first_page();
    let pages = Pages::map(first, (segment.end_page() - first) / PAGE_LEN)?;
    let rights = match (segment.write, segment.execute) {
        (true, _) => WRITE,
        (_, true) => EXECUTE,
        _ => 0,
    };
    // SAFETY: these pages were just mapped for the segment, whose bytes the file's check keeps within them; nothing
    // refers to them yet.
    unsafe {
        let to = segment.address as *mut u8;
        core::ptr::copy_nonoverlapping(segment.bytes.as_ptr(), to, segment.bytes.len());
        protect(first, pages.pages, rights)?;
    }
    Ok(pages)
}

/// # Safety
/// As for [`run`]; the program is loaded and its stack is mapped.
unsafe fn execute(program: &elf::Application<'_>, data: &DemandZero) -> Ended {
    // What a program finds on its stack: no arguments, no environment, the length of a page.
    const PAGE_SIZE: u64 = 6;
    let words = [0_u64, 0, 0, PAGE_SIZE, PAGE_LEN, 0, 0, 0];
    let stack = STACK..STACK + STACK_PAGES * PAGE_LEN;
    let place = stack.end - size_of_val(&words) as u64;
    // SAFETY: the caller says that the stack is mapped, and this is its upper end.
    unsafe { core::ptr::copy_nonoverlapping(words.as_ptr(), place as *mut u64, words.len()) };
    let start = data.bytes().as_ptr() as u64;
    calls::begin(Program::new(program, stack, start..start + DATA_LEN));
    // SAFETY: only the program makes foreign calls while it runs, and expects what Linux answers; when it exits, the
    // handler sends it to where `nom_foreign_enter` waits, whose stack and registers are whole.
    unsafe { on_fault(Cause::ForeignCall, calls::answer) };
    // SAFETY: the caller vouches for the program.
    let code = unsafe { nom_foreign_enter(program.entry, place) };
    unhandle(Cause::ForeignCall);
    calls::end(code as u8)
}
