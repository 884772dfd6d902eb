//! What protects the kernel from itself, shown by trying: only when the command line asks (`check=`), and never by an
//! application.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

use nom_kernel_core::command_line::Check;

use crate::paging::{self, Space};
use crate::serial::say;
use crate::{code_start, cpu, data_start};

const NOBODY: u8 = u8::MAX;
/// The core that runs over the end of its stack.
static OVERFLOWS: AtomicU8 = AtomicU8::new(NOBODY);

/// Does what is asked for, or remembers it for its core.
pub fn want(check: Check, space: &Space, cores: usize) {
    let [start, end] =
        [&raw const code_start, &raw const data_start].map(|symbol| symbol as u64 - paging::IMAGE);
    match check {
        Check::Rights => {
            let [pages, both, constant] = space.examine(start, end);
            say!(
                "{pages} pages: {both} can be written and executed, {constant} can be written and hold code or constants"
            );
        }
        Check::Code => {
            say!("writing to code at {:#x}", paging::DIRECT + start);
            paging::words(start, 1)[0].store(0, Ordering::Relaxed);
            say!("code was written");
        }
        Check::Overflow(core) if usize::from(core) < cores => OVERFLOWS.store(core, Ordering::Relaxed),
        Check::Overflow(core) => say!("there is no core {core} to overflow"),
    }
}

/// A core is about to begin.
pub fn perform() {
    let core = OVERFLOWS.load(Ordering::Relaxed);
    // That core is about to end the machine: nobody else may be quicker.
    while core != NOBODY && core != cpu::here().0 {
        core::hint::spin_loop();
    }
    if core != NOBODY {
        // SAFETY: the point is that the stack ends at a page that is not there; if it were, the machine would be lost,
        // which the command line has asked for.
        unsafe { asm!("2: push rax", "jmp 2b", options(noreturn)) }
    }
}
