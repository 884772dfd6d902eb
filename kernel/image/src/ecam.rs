//! PCI configuration space in memory: 4 KiB a function, where firmware's table says.

use nom_pci::{COMMAND, Configurable, ConfigurationSpace, Function};

use crate::interrupts::{read32, write32};
use crate::paging::{Space, write_register16};

/// Configuration space, seen by the kernel.
#[derive(Clone, Copy)]
pub struct Ecam {
    seen: u64,
    last_bus: u8,
}

impl Ecam {
    /// Has it seen. `None` when it cannot be.
    pub fn show(
        table: nom_acpi::Configuration,
        space: &Space,
        frames: &mut nom_kernel_core::frames::Frames<'_>,
    ) -> Option<Ecam> {
        let len = (u64::from(table.last_bus) + 1) << 20;
        Some(Ecam { seen: space.show_large(table.address, len, frames)?, last_bus: table.last_bus })
    }

    fn place(&self, function: Function, offset: u8) -> Option<u64> {
        let place = u64::from(function.requester()) << 12 | u64::from(offset);
        (function.bus <= self.last_bus).then_some(self.seen + place)
    }

    /// Writes half a word: beside it may be what is cleared by writing.
    pub fn write16(&self, function: Function, offset: u8, value: u16) {
        if let Some(place) = self.place(function, offset) {
            write_register16(place, value);
        }
    }

    /// Sets and clears bits of a function's command; its status stays.
    pub fn command(&self, function: Function, set: u32, clear: u32) {
        let command = self.read(function, COMMAND) & 0xffff;
        self.write16(function, COMMAND, (command & !clear | set) as u16);
    }
}

impl ConfigurationSpace for Ecam {
    fn read(&self, function: Function, offset: u8) -> u32 {
        self.place(function, offset & !3).map_or(!0, read32)
    }
}

impl Configurable for Ecam {
    fn write(&self, function: Function, offset: u8, value: u32) {
        if let Some(place) = self.place(function, offset & !3) {
            write32(place, value);
        }
    }
}
