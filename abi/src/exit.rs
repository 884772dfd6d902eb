//! Exit codes. The kernel writes an application's code to port [`PORT`], where QEMU's `isa-debug-exit` turns it into
//! the emulator's exit status `code << 1 | 1`. A process status has eight bits, so codes go to 127. Where nothing
//! answers at that port, the kernel says so on the serial line and halts.

/// Where the code is written.
pub const PORT: u16 = 0xf4;
/// The largest code; a larger one counts as this.
pub const CODE_MAX: u64 = 127;
/// The kernel refused the image or the machine; the serial line says why.
pub const REFUSED: u8 = 100;
/// The application panicked.
pub const PANICKED: u8 = 101;
/// The application was ended for a fault that it did not handle.
pub const FAULTED: u8 = 102;
/// The application was ended by the one that had started it.
pub const ENDED: u8 = 104;
/// The kernel itself failed: never expected.
pub const KERNEL_FAILED: u8 = 103;

/// The emulator's exit status for a code.
pub const fn status(code: u8) -> u8 {
    code << 1 | 1
}
