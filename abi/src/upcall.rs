//! Upcalls: how the kernel tells an application that something happened.
//!
//! The kernel writes a [`Frame`] onto the application's upcall stack and enters its handler with the stack pointer
//! on the frame. Asynchronous events come only while the [`Block`] says enabled, which entering clears; faults come
//! always, nested if they must. The handler returns in ring 3: it restores the registers and runs a short range of
//! instructions that looks for new events, enables, and returns. When an event comes inside that range the kernel
//! does not enter again, but clears the flag and continues at `again`, so no event is lost and none comes twice:
//!
//! ```text
//! return_start: cmp pending, 0 ; jne again ; mov enabled, 1 ; restore flags and stack ; jmp   :return_end
//! ```
//!
//! (`iretq` would be one instruction, but it is slow on hardware, and in ring 3 some emulators refuse it when SMAP is
//! on.)

use core::sync::atomic::AtomicU64;

/// A deadline has come.
pub const TIMER: u64 = 1;
/// The bulletin board has changed.
pub const BOARD: u64 = 2;
/// An application has ended.
pub const ENDED: u64 = 4;
/// The kernel wants a core back, the lowest one that nobody is at home on: others have none of their own. It is taken
/// after a moment if it is not released.
pub const CORE_WANTED: u64 = 8;
/// A core was taken back.
pub const CORE_LOST: u64 = 16;
/// Another context of the same application has called.
pub const CALLED: u64 = 32;
/// The board says something new about devices: one came, is to leave or has left, or one of the caller's own was blocked.
pub const DEVICES: u64 = 64;
/// Bit of device 0's interrupt; the others follow.
const FIRST_DEVICE_BIT: u32 = 16;

/// The event of a device's interrupts, unless its owner has steered one of them to another one
/// ([`crate::call::Call::Steer`]). An interrupt that came stays masked until the owner unmasks it.
pub const fn device_event(device: u32) -> u64 {
    if device < crate::device::DEVICES_MAX { 1 << (FIRST_DEVICE_BIT + device) } else { 0 }
}

/// Every device's event.
pub const ALL_DEVICES: u64 = ((1 << crate::device::DEVICES_MAX) - 1) << FIRST_DEVICE_BIT;

/// How deep upcalls may nest before the application is ended: a handler that faults in its handler of faults.
pub const NESTING_MAX: u64 = 4;

/// Why the handler is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Cause {
    /// Look at the pending bits.
    Events = 0,
    /// A page fault at `address`, with the processor's error code.
    PageFault = 1,
    /// Another exception: `address` is its vector number.
    Exception = 2,
    /// A call with a number that is not ours, in `rax` of the frame; its arguments are in the other registers.
    ForeignCall = 3,
}

/// A context's control block, in memory that the application owns.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Block {
    /// Not 0 when asynchronous upcalls may come.
    pub enabled: AtomicU64,
    /// Events that have come and were not taken.
    pub pending: AtomicU64,
    /// How many frames are on the upcall stack.
    pub nesting: AtomicU64,
    /// The runtime's own: where the return jumps to.
    pub resume: AtomicU64,
    /// The runtime's own: the frame that the return is leaving.
    pub frame: AtomicU64,
    /// The runtime's own: which of its contexts this is.
    pub context: AtomicU64,
}

/// Bytes of a [`Block`].
pub const BLOCK_LEN: u64 = 48;
/// Where a block may begin.
pub const BLOCK_ALIGNMENT: u64 = 64;

/// Where upcalls go: the argument of `RegisterUpcalls`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registration {
    /// First instruction of the handler.
    pub entry: u64,
    /// The [`Block`], at a multiple of [`BLOCK_ALIGNMENT`]; the kernel also makes it the base of `gs`.
    pub block: u64,
    /// Lowest address of the upcall stack.
    pub stack: u64,
    /// Bytes of the upcall stack.
    pub stack_len: u64,
    /// First instruction of the range that enables and returns.
    pub return_start: u64,
    /// First address behind that range.
    pub return_end: u64,
    /// Where to continue when an event comes within the range.
    pub again: u64,
    /// Not 0: when the kernel takes the context's core it goes on on the application's home, is told [`CORE_LOST`],
    /// and ends by giving its core back. Else it ends with its core.
    pub moves: u64,
}

/// Words of a [`Registration`].
pub const REGISTRATION_WORDS: usize = 8;

/// What was interrupted. The handler may change it before it returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the registers are named as in the processor's manual")]
pub struct Frame {
    /// A [`Cause`].
    pub cause: u64,
    /// See [`Cause`].
    pub address: u64,
    /// The processor's error code, or 0.
    pub error: u64,
    /// Not 0 when upcalls were enabled and shall be again after returning.
    pub was_enabled: u64,
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
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Bytes of a [`Frame`].
pub const FRAME_LEN: u64 = 24 * 8;
