//! Decoding of PCI configuration space, free of registers.
//!
//! Whoever can read configuration space (by ECAM, from a recorded dump) lends it as a [`ConfigurationSpace`]; here it
//! becomes functions, groups, base addresses, capabilities and virtio structures. Nothing that a device says is trusted:
//! lists are bounded, and a structure that leaves its own base address' room is none.

#![no_std]
#![forbid(unsafe_code)]

mod bases;
mod express;
mod pin;
mod virtio;

pub use bases::{Base, Bases, COMMAND_PORTS, assign, bases, memory_window, ports};
pub use express::{Port, port};
pub use pin::pin;
pub use virtio::{Messages, Place, Virtio, function_messages, is_virtio, virtio};

/// The most capabilities in one list: they have at least 4 bytes each, between 0x40 and 0x100.
pub const CAPABILITIES_MAX: usize = 48;
/// The deepest chain of buses that is followed.
pub const BUSES_DEEP_MAX: u32 = 5;

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

impl Function {
    /// What its requests to memory carry: bus, device and function in 16 bits.
    pub fn requester(self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device & 31) << 3 | u16::from(self.function & 7)
    }
}

/// Something that reads the first 256 bytes of a function's configuration.
pub trait ConfigurationSpace {
    /// The word at `offset` (a multiple of 4, below 256); all ones where there is no function.
    fn read(&self, function: Function, offset: u8) -> u32;
}

/// Something that writes them too.
pub trait Configurable: ConfigurationSpace {
    /// Changes the word at `offset`.
    fn write(&self, function: Function, offset: u8, value: u32);
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

/// A function and what it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The function.
    pub function: Function,
    /// The function that stands for its group: those that one cannot tell from another by what their requests carry, or
    /// that reach one another without asking. These are the functions of one device, and all that lies behind a bridge
    /// to a shared bus.
    pub group: Function,
    /// The function of bus 0 behind which it is, or itself.
    pub root: Function,
    /// By how many pins its interrupt is turned on the way to `root`: each bridge turns by the number of the device behind it.
    pub turns: u8,
}

/// Calls `found` for every function behind bus 0 and its bridges, in the order of their numbers.
pub fn functions(space: &impl ConfigurationSpace, found: &mut impl FnMut(Found)) {
    bus(space, 0, (None, None, 0), &mut Walk { depth: BUSES_DEEP_MAX, seen: [0; 4] }, found);
}

/// The same for the bus behind a port of bus 0.
pub fn functions_behind(space: &impl ConfigurationSpace, port: Function, found: &mut impl FnMut(Found)) {
    if let Some(secondary) = secondary(space, port).filter(|&secondary| secondary > port.bus) {
        let mut walk = Walk { depth: BUSES_DEEP_MAX, seen: [0; 4] };
        bus(space, secondary, (None, Some(port), 0), &mut walk, found);
    }
}

/// Bounds a walk: each bus is visited once, whatever bridges say.
struct Walk {
    depth: u32,
    seen: [u64; 4],
}

fn bus(
    space: &impl ConfigurationSpace,
    number: u8,
    (group, root, turns): (Option<Function>, Option<Function>, u8),
    walk: &mut Walk,
    found: &mut impl FnMut(Found),
) {
    let seen = &mut walk.seen[usize::from(number / 64)];
    if walk.depth == 0 || *seen >> (number % 64) & 1 != 0 {
        return;
    }
    *seen |= 1 << (number % 64);
    walk.depth -= 1;
    for device in 0..32 {
        for function in 0..8 {
            let here = Function { bus: number, device, function };
            if space.read(here, IDENTITY) as u16 == 0xffff {
                if function == 0 {
                    break;
                }
                continue;
            }
            let own = group.unwrap_or(Function { function: 0, ..here });
            let turns = if root.is_some() { (turns + device) % 4 } else { 0 };
            let root = root.unwrap_or(here);
            found(Found { function: here, group: own, root, turns });
            // A bridge leads to a higher bus; a lower one would be a loop.
            if let Some(secondary) = secondary(space, here)
                && secondary > number
            {
                let shared = group.or(if port(space, here).is_some() { None } else { Some(own) });
                bus(space, secondary, (shared, Some(root), turns), walk, found);
            }
            if function == 0 && space.read(here, HEADER) >> 16 & 0x80 == 0 {
                break;
            }
        }
    }
    walk.depth += 1;
}

/// The bus right behind a bridge; `None` when the function is no bridge between buses.
pub fn secondary(space: &impl ConfigurationSpace, function: Function) -> Option<u8> {
    let bridge =
        space.read(function, HEADER) >> 16 & 0x7f == 1 && space.read(function, CLASS) >> 16 == 0x0604;
    bridge.then(|| (space.read(function, BUSES) >> 8) as u8)
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

#[cfg(test)]
mod tests;
