//! Where the interrupt pin of a function leads, without the firmware's interpreted tables.
//!
//! Assumed is Intel's ICH9 as QEMU's `q35` has it: the pins of devices 0 to 24 of bus 0 are wired in turns to its lines E
//! to H, which are the pins 20 to 23 of the I/O interrupt controller (`hw/isa/lpc_ich9.c`, and what its own ACPI tables
//! say). Nothing is assumed of other machines.

use crate::{ConfigurationSpace, Found, Function, identity};

const INTERRUPT: u8 = 0x3c;
const BRIDGE: Function = Function { bus: 0, device: 31, function: 0 };
const ICH9: (u16, u16) = (0x8086, 0x2918);
/// Devices from here on are the chipset's own, wired otherwise.
const OWN_DEVICES: u8 = 25;
const LINE_E: u32 = 20;

/// The pin of the I/O interrupt controller at which a function's interrupt arrives; `None` when it has none, or nobody knows.
pub fn pin(space: &impl ConfigurationSpace, found: &Found) -> Option<u32> {
    let own = (space.read(found.function, INTERRUPT) >> 8) as u8;
    let known = (1..=4).contains(&own) && found.root.device < OWN_DEVICES && identity(space, BRIDGE) == ICH9;
    known.then(|| LINE_E + u32::from(found.root.device + own - 1 + found.turns) % 4)
}
