//! Virtio over PCI (virtio 1.2, section 4.1): where a device's structures are.

use crate::{Bases, ConfigurationSpace, Function, capabilities, identity, subsystem};

const VENDOR: u16 = 0x1af4;
const MODERN_FIRST: u16 = 0x1040;
const MODERN_LAST: u16 = 0x107f;
const TRANSITIONAL_FIRST: u16 = 0x1000;
const TRANSITIONAL_LAST: u16 = 0x103f;

const CAPABILITY_MESSAGES: u8 = 0x11;
const CAPABILITY_VENDOR: u8 = 0x09;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const INTERRUPT_STATUS: u8 = 3;
const DEVICE: u8 = 4;
/// No structure of ours is longer; a longer one is cut by refusing it.
const LEN_MAX: u32 = 1 << 20;

/// A structure in physical memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}

impl Place {
    /// The pages that it lies on: first address and number.
    pub fn pages(&self) -> (u64, u64) {
        let first = self.address & !4095;
        (first, (self.address + self.len).div_ceil(4096) - first / 4096)
    }

    /// Whether the other one lies inside.
    pub fn holds(&self, other: &Place) -> bool {
        other.address >= self.address
            && other.len <= self.len
            && other.address - self.address <= self.len - other.len
    }

    /// Whether they share a page.
    pub fn shares_page(&self, other: &Place) -> bool {
        let (first, count) = self.pages();
        let (other_first, other_count) = other.pages();
        first < other_first + other_count * 4096 && other_first < first + count * 4096
    }
}

/// Interrupts by messages (MSI-X).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messages {
    /// Offset of the capability.
    pub offset: u8,
    /// The table, 16 bytes an entry.
    pub table: Place,
    /// The pending bits.
    pub pending: Place,
    /// Entries.
    pub entries: u32,
}

/// A virtio device with the modern structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Virtio {
    /// What it is for (virtio 1.2, section 5).
    pub kind: u32,
    /// The common configuration.
    pub common: Place,
    /// Notifications.
    pub notify: Place,
    /// Bytes between the notification addresses of two queues.
    pub notify_multiplier: u32,
    /// The interrupt status byte.
    pub interrupt_status: Place,
    /// The device's own configuration.
    pub device: Option<Place>,
    /// Its interrupts by messages, if it has them.
    pub messages: Option<Messages>,
}

/// Whether a function says that it is a virtio device, modern or not.
pub fn is_virtio(space: &impl ConfigurationSpace, function: Function) -> bool {
    let (vendor, number) = identity(space, function);
    vendor == VENDOR && (TRANSITIONAL_FIRST..=MODERN_LAST).contains(&number)
}

/// Reads a function as a virtio device. `None` when it is none, or only a legacy one, or makes no sense: a structure
/// lies in the room of one of the function's own base addresses, or it is none.
pub fn virtio(space: &impl ConfigurationSpace, function: Function, bases: &Bases) -> Option<Virtio> {
    let (vendor, number) = identity(space, function);
    if vendor != VENDOR {
        return None;
    }
    let kind = match number {
        MODERN_FIRST..=MODERN_LAST => number - MODERN_FIRST,
        TRANSITIONAL_FIRST..=TRANSITIONAL_LAST => subsystem(space, function),
        _ => return None,
    };
    let mut places = [None; 5];
    let mut notify_multiplier = 0;
    let mut messages = None;
    for (offset, capability) in capabilities(space, function) {
        let word =
            |at: u8| offset.checked_add(at).filter(|&at| at <= 0xfc).map(|at| space.read(function, at));
        match capability {
            CAPABILITY_VENDOR => {
                let Some((structure, place)) = structure(bases, &word) else { continue };
                // The first of each kind is the device's preferred one.
                if places[usize::from(structure)].is_none() {
                    places[usize::from(structure)] = Some(place);
                    if structure == NOTIFY {
                        notify_multiplier = word(16)?;
                    }
                }
            }
            CAPABILITY_MESSAGES => messages = self::messages(bases, offset, &word),
            _ => {}
        }
    }
    Some(Virtio {
        kind: u32::from(kind),
        common: places[usize::from(COMMON)]?,
        notify: places[usize::from(NOTIFY)]?,
        notify_multiplier,
        interrupt_status: places[usize::from(INTERRUPT_STATUS)]?,
        device: places[usize::from(DEVICE)],
        messages,
    })
}

/// The interrupts by messages of any function.
pub fn function_messages(
    space: &impl ConfigurationSpace,
    function: Function,
    bases: &Bases,
) -> Option<Messages> {
    let (offset, _) = capabilities(space, function).find(|&(_, kind)| kind == CAPABILITY_MESSAGES)?;
    let word = |at: u8| offset.checked_add(at).filter(|&at| at <= 0xfc).map(|at| space.read(function, at));
    messages(bases, offset, &word)
}

fn structure(bases: &Bases, word: &impl Fn(u8) -> Option<u32>) -> Option<(u8, Place)> {
    let structure = (word(0)? >> 24) as u8;
    if !(COMMON..=DEVICE).contains(&structure) {
        return None;
    }
    let len = word(12)?;
    if len == 0 || len > LEN_MAX {
        return None;
    }
    Some((structure, inside(bases, word(4)? as u8, word(8)?, u64::from(len))?))
}

fn messages(bases: &Bases, offset: u8, word: &impl Fn(u8) -> Option<u32>) -> Option<Messages> {
    let entries = (word(0)? >> 16 & 0x7ff) + 1;
    let place = |word: u32, len: u64| inside(bases, (word & 7) as u8, word & !7, len);
    Some(Messages {
        offset,
        table: place(word(4)?, u64::from(entries) * 16)?,
        pending: place(word(8)?, u64::from(entries.div_ceil(64)) * 8)?,
        entries,
    })
}

fn inside(bases: &Bases, register: u8, offset: u32, len: u64) -> Option<Place> {
    let base = bases.get(usize::from(register)).copied().flatten()?.place;
    let place = Place { address: base.address.checked_add(u64::from(offset))?, len };
    // Pages are counted behind it: there must be an address for their end.
    place.address.checked_add(len + 4096)?;
    (base.address != 0 && base.holds(&place)).then_some(place)
}
