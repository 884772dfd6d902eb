//! Base addresses: where a function's registers are, how much room they take, and giving them a place where nobody has.

use crate::{
    BASE_ADDRESS, COMMAND, COMMAND_BUS_MASTER, COMMAND_MEMORY, Configurable, ConfigurationSpace, Function,
    Place,
};

/// Registers for base addresses.
pub const BASES_MAX: u8 = 6;
/// Command: registers behind ports answer.
pub const COMMAND_PORTS: u32 = 1;
const PORTS: u32 = 1;
const WIDE: u32 = 4;
const KIND: u32 = 15;
/// Memory behind a bridge that may not be fetched ahead: base and limit, in MiB.
const WINDOW: u8 = 0x20;

/// One base address in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Base {
    /// Where it is; the address is 0 when nobody gave it a place.
    pub place: Place,
    /// It takes two registers.
    pub wide: bool,
}

/// A function's base addresses in memory, by register. Those for ports are left out.
pub type Bases = [Option<Base>; BASES_MAX as usize];

/// Finds out where the base addresses are and how much room each takes, by writing to them: meanwhile the function
/// does not answer there. What was written before is written again.
pub fn bases(space: &impl Configurable, function: Function) -> Bases {
    let mut found = Bases::default();
    let command = space.read(function, COMMAND) & 0xffff;
    space.write(function, COMMAND, command & !(COMMAND_MEMORY | COMMAND_PORTS | COMMAND_BUS_MASTER));
    let mut register = 0;
    while register < BASES_MAX {
        let at = BASE_ADDRESS + 4 * register;
        let low = space.read(function, at);
        let wide = low & (PORTS | 6) == WIDE;
        let fits = !wide || register + 1 < BASES_MAX;
        if low & PORTS == 0 && matches!(low >> 1 & 3, 0 | 2) && fits {
            let size = u64::from(size_bits(space, function, at) & !KIND);
            let (high, high_size) = match wide {
                true => (space.read(function, at + 4), size_bits(space, function, at + 4)),
                false => (0, !0),
            };
            let len = (size | u64::from(high_size) << 32).wrapping_neg();
            let address = u64::from(low & !KIND) | u64::from(high) << 32;
            // A register that keeps nothing is not there; a length has one bit, or somebody lies.
            if size != 0 && len.is_power_of_two() && address.checked_add(len).is_some() {
                found[usize::from(register)] = Some(Base { place: Place { address, len }, wide });
            }
        }
        register += if wide { 2 } else { 1 };
    }
    space.write(function, COMMAND, command);
    found
}

/// The ports of a function's first base address, as virtio's old interface has them: the first, and how many. `None`
/// when it has none there, or they make no sense.
pub fn ports(space: &impl Configurable, function: Function) -> Option<(u16, u16)> {
    /// Below are the ports of old, which belong to no function.
    const FIRST: u32 = 0x1000;
    let low = space.read(function, BASE_ADDRESS);
    let command = space.read(function, COMMAND) & 0xffff;
    if low & PORTS == 0 {
        return None;
    }
    space.write(function, COMMAND, command & !(COMMAND_MEMORY | COMMAND_PORTS | COMMAND_BUS_MASTER));
    let len = (size_bits(space, function, BASE_ADDRESS) & 0xfffc).wrapping_neg() & 0xffff;
    space.write(function, COMMAND, command);
    let first = low & !3;
    (first >= FIRST && len.is_power_of_two() && first + len <= 1 << 16).then_some((first as u16, len as u16))
}

fn size_bits(space: &impl Configurable, function: Function, at: u8) -> u32 {
    let before = space.read(function, at);
    space.write(function, at, !0);
    let bits = space.read(function, at);
    space.write(function, at, before);
    bits
}

/// What a bridge lets through to the bus behind it; `None` when it lets nothing through.
pub fn memory_window(space: &impl ConfigurationSpace, bridge: Function) -> Option<Place> {
    let word = space.read(bridge, WINDOW);
    let (base, limit) = (u64::from(word & 0xfff0) << 16, u64::from(word >> 16 & 0xfff0) << 16 | 0xf_ffff);
    (base != 0 && limit > base).then(|| Place { address: base, len: limit + 1 - base })
}

/// Gives every base address a place of its own within `window`, and all or nothing: largest first, so that none is lost
/// between two. Answers the end of what was used.
pub fn assign(
    space: &impl Configurable,
    function: Function,
    bases: &mut Bases,
    window: Place,
) -> Option<u64> {
    let mut order: [usize; BASES_MAX as usize] = core::array::from_fn(|register| register);
    order.sort_unstable_by_key(|&register| {
        core::cmp::Reverse(bases[register].map_or(0, |base| base.place.len))
    });
    let mut placed = *bases;
    let mut next = window.address;
    for register in order {
        let Some(base) = &mut placed[register] else { continue };
        let address = next.checked_next_multiple_of(base.place.len)?;
        next = address.checked_add(base.place.len)?;
        if next > window.address + window.len {
            return None;
        }
        base.place.address = address;
    }
    for (register, base) in (0..).zip(&placed) {
        let Some(base) = base else { continue };
        let at = BASE_ADDRESS + 4 * register;
        space.write(function, at, base.place.address as u32);
        if base.wide {
            space.write(function, at + 4, (base.place.address >> 32) as u32);
        }
    }
    *bases = placed;
    Some(next)
}
