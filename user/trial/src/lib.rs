//! Forbidden and delicate things done on purpose, for the image that tries out the kernel.
//!
//! Its functions are safe to write down and do what no safe function may: that is their use. So this is a crate of its
//! own, and `docs/dependencies.md` lets nobody but `images/trial-guest` depend on it.
//!
//! Each attempt says beforehand where to go on when it faults (in `r11`), and [`Attempts`] makes the fault handler
//! go there. So a fault is a value here, not the end.

#![no_std]

pub mod vectors;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::upcall::{Cause, Frame};

use nom_runtime::upcall::{Verdict, on_fault, unhandle};

static FAULTS: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static ERROR: AtomicU64 = AtomicU64::new(0);
static CAUSE: AtomicU64 = AtomicU64::new(0);

/// What went wrong in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// A [`Cause`] as a number.
    pub cause: u64,
    /// The address of a page fault, or the vector of an exception.
    pub address: u64,
    /// The processor's error code.
    pub error: u64,
}

/// While this lives, faults of attempts are caught.
#[derive(Debug)]
pub struct Attempts(());

impl Attempts {
    /// From now on.
    pub fn begin() -> Attempts {
        // SAFETY: only attempts fault while it lives, and those expect to go on where `caught` says.
        unsafe {
            on_fault(Cause::PageFault, caught);
            on_fault(Cause::Exception, caught);
        }
        Attempts(())
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        unhandle(Cause::PageFault);
        unhandle(Cause::Exception);
    }
}

fn caught(frame: &mut Frame) -> Verdict {
    FAULTS.fetch_add(1, Ordering::Relaxed);
    CAUSE.store(frame.cause, Ordering::Relaxed);
    ADDRESS.store(frame.address, Ordering::Relaxed);
    ERROR.store(frame.error, Ordering::Relaxed);
    frame.rip = frame.r11;
    Verdict::Resume
}

fn outcome<T>(before: u64, value: T) -> Result<T, Fault> {
    if FAULTS.load(Ordering::Relaxed) == before {
        return Ok(value);
    }
    Err(Fault {
        cause: CAUSE.load(Ordering::Relaxed),
        address: ADDRESS.load(Ordering::Relaxed),
        error: ERROR.load(Ordering::Relaxed),
    })
}

macro_rules! attempt {
    ($($instruction:literal),+ ; $($operand:tt)*) => {{
        let before = FAULTS.load(Ordering::Relaxed);
        // SAFETY: when the instruction faults, the handler goes on behind it. What it changes when it does not fault
        // is what the trial wants to see.
        unsafe { asm!("lea r11, [rip + 2f]", $($instruction),+, "2:", $($operand)* out("r11") _) };
        before
    }};
}

/// Reads a word anywhere.
pub fn read(address: u64) -> Result<u64, Fault> {
    let mut value = 0_u64;
    let before = attempt!("mov {value}, [{address}]"; value = inout(reg) value, address = in(reg) address,);
    outcome(before, value)
}

/// Reads 32 bits anywhere: registers of devices.
pub fn read32(address: u64) -> Result<u32, Fault> {
    let mut value = 0_u32;
    let before = attempt!("mov {value:e}, [{address}]"; value = inout(reg) value, address = in(reg) address,);
    outcome(before, value)
}

/// Reads 16 bits anywhere: a register of that width must not be read wider.
pub fn read16(address: u64) -> Result<u16, Fault> {
    let mut value = 0_u16;
    let before = attempt!("mov {value:x}, [{address}]"; value = inout(reg) value, address = in(reg) address,);
    outcome(before, value)
}

/// Reads 8 bits anywhere.
pub fn read8(address: u64) -> Result<u8, Fault> {
    let mut value = 0_u8;
    let before =
        attempt!("mov {value}, [{address}]"; value = inout(reg_byte) value, address = in(reg) address,);
    outcome(before, value)
}

/// Writes 32 bits anywhere.
pub fn write32(address: u64, value: u32) -> Result<(), Fault> {
    let before = attempt!("mov [{address}], {value:e}"; value = in(reg) value, address = in(reg) address,);
    outcome(before, ())
}

/// Writes 16 bits anywhere.
pub fn write16(address: u64, value: u16) -> Result<(), Fault> {
    let before = attempt!("mov [{address}], {value:x}"; value = in(reg) value, address = in(reg) address,);
    outcome(before, ())
}

/// Writes 8 bits anywhere.
pub fn write8(address: u64, value: u8) -> Result<(), Fault> {
    let before = attempt!("mov [{address}], {value}"; value = in(reg_byte) value, address = in(reg) address,);
    outcome(before, ())
}

/// Writes a word anywhere.
pub fn write(address: u64, value: u64) -> Result<(), Fault> {
    let before = attempt!("mov [{address}], {value}"; value = in(reg) value, address = in(reg) address,);
    outcome(before, ())
}

/// Jumps anywhere. Only for places that fault at once: nothing comes back from elsewhere.
pub fn jump(address: u64) -> Result<(), Fault> {
    let before = attempt!("jmp {address}"; address = in(reg) address,);
    outcome(before, ())
}

/// Divides by zero.
pub fn divide_by_zero() -> Result<(), Fault> {
    let before = attempt!("xor edx, edx", "mov eax, 1", "xor ecx, ecx", "div ecx" ;
        out("eax") _, out("ecx") _, out("edx") _,);
    outcome(before, ())
}

/// An instruction that does not exist.
pub fn undefined() -> Result<(), Fault> {
    outcome(attempt!("ud2" ;), ())
}

/// A breakpoint.
pub fn breakpoint() -> Result<(), Fault> {
    outcome(attempt!("int3" ;), ())
}

/// Reads a byte from a port by the processor's own instruction.
pub fn port_in(port: u16) -> Result<u8, Fault> {
    let mut value = 0_u8;
    let before = attempt!("in al, dx"; inout("al") value, in("dx") port,);
    outcome(before, value)
}

/// What only ring 0 may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileged {
    /// Halting the processor.
    Halt,
    /// Keeping interrupts out.
    NoInterrupts,
    /// Writing to a port.
    Port,
    /// Reading a model-specific register.
    Register,
    /// Changing the page table.
    PageTable,
    /// Changing the interrupt table.
    InterruptTable,
    /// Changing the kernel's `gs`.
    SwapGs,
    /// Raising a hardware interrupt's vector.
    Interrupt,
}

/// Tries it.
pub fn privileged(what: Privileged) -> Result<(), Fault> {
    let before = match what {
        Privileged::Halt => attempt!("hlt" ;),
        Privileged::NoInterrupts => attempt!("cli" ;),
        Privileged::Port => {
            attempt!("mov edx, 0xf4", "mov eax, 1", "out dx, eax" ; out("eax") _, out("edx") _,)
        }
        Privileged::Register => {
            attempt!("mov ecx, 0xc0000080", "rdmsr" ; out("eax") _, out("ecx") _, out("edx") _,)
        }
        Privileged::PageTable => attempt!("xor eax, eax", "mov cr3, rax" ; out("eax") _,),
        Privileged::InterruptTable => attempt!("lidt [rsp]" ;),
        Privileged::SwapGs => attempt!("swapgs" ;),
        Privileged::Interrupt => attempt!("int 0x20" ;),
    };
    outcome(before, ())
}

/// Runs down the stack until it faults below its end.
pub fn overflow_stack() -> Result<(), Fault> {
    let before = attempt!("mov rcx, rsp", "3:", "sub rcx, 4096", "mov [rcx], al", "jmp 3b" ; out("rcx") _,);
    outcome(before, ())
}

/// Loops until `stop` is not 0 with known values in all vector registers (16 bytes each), in the general registers
/// and in the red zone, and says how many of them had changed.
pub fn disturbed(stop: &AtomicU64) -> u64 {
    let wrong: u64;
    // SAFETY: it writes only the red zone below the stack pointer, where the compiler keeps nothing across this
    // block (it is told that the block uses the stack), and registers that it names or restores.
    unsafe {
        asm!(
            "mov rax, 0x1122334455667788",
            "movq xmm0, rax", "movq xmm1, rax", "movq xmm2, rax", "movq xmm3, rax",
            "movq xmm4, rax", "movq xmm5, rax", "movq xmm6, rax", "movq xmm7, rax",
            "movq xmm8, rax", "movq xmm9, rax", "movq xmm10, rax", "movq xmm11, rax",
            "movq xmm12, rax", "movq xmm13, rax", "movq xmm14, rax", "movq xmm15, rax",
            "mov [rsp - 8], rax", "mov [rsp - 64], rax", "mov [rsp - 128], rax",
            "mov rcx, rax", "mov rdx, rax", "mov rsi, rax", "mov r8, rax", "mov r9, rax",
            "mov r10, rax", "mov r11, rax", "mov r12, rax", "mov r13, rax", "mov r14, rax",
            "std",
            "3:",
            "cmp qword ptr [rdi], 0",
            "je 3b",
            // Bits of flags that a comparison leaves alone: the direction is still backwards.
            "pushfq", "pop r15", "cld",
            "not r15", "shr r15, 10", "and r15, 1",
            // `pushfq` itself has overwritten the word right below the stack pointer.
            "cmp [rsp - 64], rax", "setne al", "movzx eax, al", "add r15, rax", "mov rax, 0x1122334455667788",
            "cmp [rsp - 128], rax", "je 4f", "inc r15", "4:",
            "cmp rcx, rax", "je 4f", "inc r15", "4:",
            "cmp rdx, rax", "je 4f", "inc r15", "4:",
            "cmp rsi, rax", "je 4f", "inc r15", "4:",
            "cmp r8, rax", "je 4f", "inc r15", "4:",
            "cmp r9, rax", "je 4f", "inc r15", "4:",
            "cmp r10, rax", "je 4f", "inc r15", "4:",
            "cmp r11, rax", "je 4f", "inc r15", "4:",
            "cmp r12, rax", "je 4f", "inc r15", "4:",
            "cmp r13, rax", "je 4f", "inc r15", "4:",
            "cmp r14, rax", "je 4f", "inc r15", "4:",
            "movq rcx, xmm0", "cmp rcx, rax", "je 4f", "inc r15", "4:",
            "movq rcx, xmm1", "cmp rcx, rax", "je 4f", "inc r15", "4:",
            "movq rcx, xmm2", "cmp rcx, rax", "je 4f", "inc r15", "4:",
            "movq rcx, xmm7", "cmp rcx, rax", "je 4f", "inc r15", "4:",
            "movq rcx, xmm8", "cmp rcx, rax", "je 4f", "inc r15", "4:",
            "movq rcx, xmm15", "cmp rcx, rax", "je 4f", "inc r15", "4:",
            in("rdi") stop.as_ptr(),
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") wrong,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
    wrong
}

/// A call into the kernel with any number and arguments.
pub fn raw(number: u64, arguments: [u64; 5]) -> (u64, u64) {
    // SAFETY: none is claimed: a trial passes what it may not pass, to see the refusal.
    unsafe { nom_runtime::call::raw(number, arguments) }
}

/// Takes pages of a trial away that nothing refers to.
pub fn unmap(address: u64, pages: u64) -> Result<(), nom_abi::call::CallError> {
    // SAFETY: trials use addresses of their own choice that no Rust object lies on.
    unsafe { nom_runtime::call::unmap(address, pages) }
}

/// Changes the rights of pages of a trial that nothing refers to.
pub fn protect(address: u64, pages: u64, flags: u64) -> Result<(), nom_abi::call::CallError> {
    // SAFETY: as for `unmap`.
    unsafe { nom_runtime::call::protect(address, pages, flags) }
}

/// Gives a device of a trial back.
pub fn release(device: nom_runtime::device::Device) -> Result<(), nom_abi::call::CallError> {
    // SAFETY: trials reach registers by attempts, which may fault.
    unsafe { device.release() }
}

/// The application's own code, for what should not be writable.
pub fn code_address() -> u64 {
    caught as *const () as u64
}

/// Runs a program that was compiled for Linux.
pub fn run_linux_program(file: &[u8]) -> Result<nom_personality::Ended, nom_personality::Refused> {
    // SAFETY: a trial's program (`user/linux-program`, or what is refused) touches its own memory only.
    unsafe { nom_personality::run(file) }
}
