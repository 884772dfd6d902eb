//! The older tables of the MultiProcessor Specification (version 1.4), where a machine has no ACPI: QEMU's `microvm`
//! and Firecracker tell their processors so.

use crate::{Found, sums_to_zero, word};

/// Where the pointer may lie: the last KiB of base memory, then the firmware's own part.
const PLACES: [(u64, usize); 2] = [(0x9_fc00, 0x400), (0xf_0000, 0x1_0000)];
const POINTER_LEN: usize = 16;
const HEADER_LEN: usize = 44;
/// The longest table, by the width of its length.
const TABLE_LEN_MAX: usize = 0xffff;

/// Reads the tables. `memory` lends `len` bytes at a physical address, or nothing.
pub fn read<'a>(memory: impl Fn(u64, usize) -> Option<&'a [u8]>) -> Option<Found> {
    PLACES.iter().find_map(|&(at, len)| {
        let place = memory(at, len)?;
        place.chunks_exact(POINTER_LEN).find_map(|pointer| table(pointer, &memory))
    })
}

fn table<'a>(pointer: &[u8], memory: &impl Fn(u64, usize) -> Option<&'a [u8]>) -> Option<Found> {
    if &pointer[..4] != b"_MP_" || !sums_to_zero(pointer) {
        return None;
    }
    let address = word(pointer, 4, 4);
    let header = memory(address, HEADER_LEN)?;
    let len = word(header, 4, 2) as usize;
    if &header[..4] != b"PCMP" || !(HEADER_LEN..=TABLE_LEN_MAX).contains(&len) {
        return None;
    }
    let table = memory(address, len).filter(|table| table.len() == len && sums_to_zero(table))?;
    // The length counts, not the number of entries: some firmware leaves that at 0.
    let mut found = Found::default();
    let mut rest = &table[HEADER_LEN..];
    while let Some(&kind) = rest.first() {
        const PROCESSOR: u8 = 0;
        const INPUT_OUTPUT: u8 = 2;
        let len = if kind == PROCESSOR { 20 } else { 8 };
        let Some(entry) = rest.get(..len) else { break };
        let enabled = entry[3] & 1 != 0;
        match kind {
            PROCESSOR if enabled => found.add_processor(entry[1]),
            INPUT_OUTPUT if enabled && found.interrupts.is_none() => {
                found.interrupts = Some(word(entry, 4, 4));
            }
            _ => {}
        }
        rest = &rest[len..];
    }
    (found.processors > 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    fn seal(bytes: &mut [u8], at: usize) {
        bytes[at] = 0;
        bytes[at] = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
    }

    /// The last KiB of base memory as QEMU's firmware for `microvm` leaves it.
    fn machine(processors: u8) -> Vec<u8> {
        let mut table = vec![0; HEADER_LEN];
        table[..4].copy_from_slice(b"PCMP");
        for number in 0..processors {
            table.extend([0, number, 0x14, if number == 0 { 3 } else { 1 }]);
            table.extend([0; 16]);
        }
        table.extend([0, 9, 0x14, 0]);
        table.extend([0; 16]);
        table.extend([1, 0, b'I', b'S', b'A', 0, 0, 0]);
        table.extend([2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe]);
        let len = table.len() as u16;
        table[4..6].copy_from_slice(&len.to_le_bytes());
        seal(&mut table, 7);
        let mut memory = vec![0; 0x400];
        memory[..4].copy_from_slice(b"_MP_");
        memory[4..8].copy_from_slice(&0x9_fc10_u32.to_le_bytes());
        memory[8..10].copy_from_slice(&[1, 4]);
        seal(&mut memory[..16], 10);
        memory[16..16 + table.len()].copy_from_slice(&table);
        memory
    }

    fn found(memory: &[u8]) -> Option<Found> {
        read(|at, len| {
            let at = usize::try_from(at.checked_sub(0x9_fc00)?).ok()?;
            memory.get(at..at.checked_add(len)?)
        })
    }

    #[test]
    fn processors_that_are_on_are_found() {
        let found = found(&machine(4)).unwrap();
        assert_eq!(found.identities(), [0, 1, 2, 3]);
        assert_eq!(found.interrupts, Some(0xfec0_0000));
    }

    #[test]
    fn a_changed_table_is_none() {
        let good = machine(2);
        let whole = found(&good);
        // Bytes 11 to 15 of the pointer and everything of the table are summed up.
        for at in 0..16 + HEADER_LEN + 3 * 20 + 16 {
            for change in [1, 0x40, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                assert_ne!(found(&bad), whole, "byte {at} ^ {change:#x}");
            }
        }
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[0xff; 0x400]), None);
    }
}
