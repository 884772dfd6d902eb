//! The end of the machine.

use crate::serial::say;
use crate::{cpu, processors};

/// Ends the machine: by the emulator's exit port where there is one.
pub fn machine(code: u8) -> ! {
    cpu::out32(nom_abi::exit::PORT, u32::from(code));
    processors::stop_others();
    say!("halted with code {code} (there is no isa-debug-exit at port {:#x})", nom_abi::exit::PORT);
    cpu::stop()
}
