//! Decoding of PCI configuration space, free of registers.
//!
//! Whoever can read configuration space (by ports, by ECAM, from a recorded dump) lends it as a
//! [`ConfigurationSpace`]; here it becomes functions, capabilities and virtio structures. Nothing that a device says
//! is trusted: lists are bounded, places are checked against their own windows by the caller.

#![no_std]
#![forbid(unsafe_code)]

mod virtio;

pub use virtio::{Messages, Place, Virtio, virtio};

/// The most capabilities in one list: they have at least 4 bytes each, between 0x40 and 0x100.
pub const CAPABILITIES_MAX: usize = 48;
/// The deepest chain of bridges that is followed.
pub const BRIDGES_MAX: u32 = 4;

/// Identity of a function: bus, device (0 to 31), function (0 to 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Bus.
    pub bus: u8,
    /// Device.
    pub device: u8,
    /// Function.
    pub function: u8,
}

/// Something that reads the first 256 bytes of a function's configuration.
pub trait ConfigurationSpace {
    /// The word at `offset` (a multiple of 4, below 256); all ones where there is no function.
    fn read(&self, function: Function, offset: u8) -> u32;
}

/// Offset of vendor (low half) and device numbers.
pub const IDENTITY: u8 = 0x00;
/// Offset of command (low half) and status.
pub const COMMAND: u8 = 0x04;
/// Command: registers in memory answer.
pub const COMMAND_MEMORY: u32 = 1 << 1;
/// Command: the device may read and write memory by itself.
pub const COMMAND_BUS_MASTER: u32 = 1 << 2;
/// Command: no interrupts by pin.
pub const COMMAND_NO_PIN: u32 = 1 << 10;
/// Offset of the first base address.
pub const BASE_ADDRESS: u8 = 0x10;

const CLASS: u8 = 0x08;
const HEADER: u8 = 0x0c;
const SUBSYSTEM: u8 = 0x2c;
const BUSES: u8 = 0x18;
const CAPABILITIES: u8 = 0x34;
const STATUS_CAPABILITIES: u32 = 1 << 20;

/// Calls `found` for every function behind bus 0 and its bridges, in the order of their numbers.
pub fn functions(space: &impl ConfigurationSpace, found: &mut impl FnMut(Function)) {
    bus(space, 0, BRIDGES_MAX, found);
}

fn bus(space: &impl ConfigurationSpace, number: u8, depth: u32, found: &mut impl FnMut(Function)) {
    for device in 0..32 {
        for function in 0..8 {
            let here = Function { bus: number, device, function };
            if space.read(here, IDENTITY) as u16 == 0xffff {
                if function == 0 {
                    break;
                }
                continue;
            }
            found(here);
            let header = space.read(here, HEADER) >> 16;
            let secondary = (space.read(here, BUSES) >> 8) as u8;
            // A bridge leads to a higher bus; a lower one would be a loop.
            if header & 0x7f == 1
                && space.read(here, CLASS) >> 16 == 0x0604
                && secondary > number
                && depth > 0
            {
                bus(space, secondary, depth - 1, found);
            }
            if function == 0 && header & 0x80 == 0 {
                break;
            }
        }
    }
}

/// Vendor and device number.
pub fn identity(space: &impl ConfigurationSpace, function: Function) -> (u16, u16) {
    let word = space.read(function, IDENTITY);
    (word as u16, (word >> 16) as u16)
}

/// The function's own number within a family of devices.
pub fn subsystem(space: &impl ConfigurationSpace, function: Function) -> u16 {
    (space.read(function, SUBSYSTEM) >> 16) as u16
}

/// Offsets of the function's capabilities and what each is.
pub fn capabilities<'a>(
    space: &'a impl ConfigurationSpace,
    function: Function,
) -> impl Iterator<Item = (u8, u8)> + 'a {
    let listed = space.read(function, COMMAND) & STATUS_CAPABILITIES != 0;
    let mut next = if listed { space.read(function, CAPABILITIES) as u8 & !3 } else { 0 };
    (0..CAPABILITIES_MAX).map_while(move |_| {
        if next < 0x40 {
            return None;
        }
        let offset = next;
        let word = space.read(function, offset);
        next = (word >> 8) as u8 & !3;
        Some((offset, word as u8))
    })
}

/// The physical address in a base address register; `None` for ports, an empty register, or no such register.
pub fn base_address(space: &impl ConfigurationSpace, function: Function, register: u8) -> Option<u64> {
    if register > 5 {
        return None;
    }
    let low = space.read(function, BASE_ADDRESS + 4 * register);
    if low & 1 != 0 {
        return None;
    }
    let high = match low >> 1 & 3 {
        0 => 0,
        2 if register < 5 => space.read(function, BASE_ADDRESS + 4 * register + 4),
        _ => return None,
    };
    let address = u64::from(low & !15) | u64::from(high) << 32;
    (address != 0).then_some(address)
}

#[cfg(test)]
mod tests;
