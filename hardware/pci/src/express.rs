//! PCI Express: ports that a device can be plugged into (PCI Express 3.0, 7.8).

use crate::{ConfigurationSpace, Function, capabilities};

const CAPABILITY_EXPRESS: u8 = 0x10;
const ROOT_PORT: u32 = 4;
const DOWNSTREAM_PORT: u32 = 6;

/// A port with a bus of its own behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Offset of the capability.
    pub offset: u8,
    /// Devices come and go there, and it says so itself.
    pub hot_plug: bool,
    /// The message of its interrupt.
    pub message: u8,
}

/// Reads a function as a port; `None` when it is none.
pub fn port(space: &impl ConfigurationSpace, function: Function) -> Option<Port> {
    const SLOT: u32 = 1 << 24;
    const SLOT_CAPABILITIES: u8 = 0x14;
    const HOT_PLUG: u32 = 1 << 6;
    let (offset, _) = capabilities(space, function).find(|&(_, kind)| kind == CAPABILITY_EXPRESS)?;
    let flags = space.read(function, offset);
    if !matches!(flags >> 20 & 15, ROOT_PORT | DOWNSTREAM_PORT) {
        return None;
    }
    let slot = offset.checked_add(SLOT_CAPABILITIES).filter(|&at| at <= 0xf0 && flags & SLOT != 0);
    let hot_plug = slot.is_some_and(|at| space.read(function, at) & HOT_PLUG != 0);
    Some(Port { offset, hot_plug, message: (flags >> 25 & 31) as u8 })
}
