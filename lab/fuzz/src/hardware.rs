//! Machines made of bytes: PCI functions that lie about themselves, and firmware tables that are ruined.

use nom_pci::{Configurable, ConfigurationSpace, Function};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Bytes of a function in an input: where it is (bus, device and function), then its configuration.
const FUNCTION_LEN: usize = 2 + 256;
/// Where a table's image begins in physical memory.
const TABLES_AT: u64 = 0x1000;

/// Functions whose base addresses keep only the bits that a mask leaves, as a real one's do.
struct Machine(RefCell<BTreeMap<Function, [u32; 64]>>);

impl Machine {
    fn new(bytes: &[u8]) -> Machine {
        let functions = bytes.chunks_exact(FUNCTION_LEN).map(|bytes| {
            let (bus, place) = (bytes[0], bytes[1]);
            let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[2 + 4 * at + byte]));
            (Function { bus, device: place >> 3, function: place & 7 }, std::array::from_fn(word))
        });
        Machine(RefCell::new(functions.collect()))
    }
}

impl ConfigurationSpace for Machine {
    fn read(&self, function: Function, offset: u8) -> u32 {
        self.0.borrow().get(&function).map_or(!0, |words| words[usize::from(offset / 4)])
    }
}

impl Configurable for Machine {
    fn write(&self, function: Function, offset: u8, value: u32) {
        if let Some(words) = self.0.borrow_mut().get_mut(&function) {
            // What a base address keeps depends on the function's own bytes: any answer must be survived.
            let mask = if (0x10..0x28).contains(&offset) { words[60] } else { !0 };
            words[usize::from(offset / 4)] = value & mask | offset_kind(words, offset);
        }
    }
}

fn offset_kind(words: &[u32; 64], offset: u8) -> u32 {
    if (0x10..0x28).contains(&offset) { words[61] & 15 } else { 0 }
}

/// Goes over a machine as the kernel does.
pub fn pci(bytes: &[u8]) {
    let machine = Machine::new(bytes);
    let mut found = Vec::new();
    nom_pci::functions(&machine, &mut |one| found.push(one));
    for one in found {
        assert_eq!(one.root.bus, 0, "a root is on bus 0");
        let bridge = one.function;
        if let Some(window) = nom_pci::memory_window(&machine, bridge) {
            nom_pci::functions_behind(&machine, bridge, &mut |behind| {
                let mut bases = nom_pci::bases(&machine, behind.function);
                if let Some(end) = nom_pci::assign(&machine, behind.function, &mut bases, window) {
                    assert!(end <= window.address + window.len);
                    let inside = |base: &nom_pci::Base| window.holds(&base.place);
                    assert!(bases.iter().flatten().all(inside), "{bases:x?} leave {window:x?}");
                }
            });
        }
        let _ = nom_pci::port(&machine, one.function);
        let bases = nom_pci::bases(&machine, one.function);
        if let Some(virtio) = nom_pci::virtio(&machine, one.function, &bases) {
            let inside = |place: &nom_pci::Place| bases.iter().flatten().any(|base| base.place.holds(place));
            assert!(inside(&virtio.common) && inside(&virtio.notify) && inside(&virtio.interrupt_status));
            assert!(virtio.device.is_none_or(|place| inside(&place)));
            assert!(
                virtio.messages.is_none_or(|messages| inside(&messages.table) && inside(&messages.pending))
            );
        }
    }
}

/// A virtio device behind a port, and one beside it.
pub fn sample_pci() -> Vec<u8> {
    let mut port = [0_u32; 64];
    (port[0], port[1], port[2], port[3]) = (0x000c_1b36, 1 << 20, 0x0604_0000, 1 << 16);
    (port[6], port[8], port[13]) = (0x0001_0100, 0xfe50_fe40, 0x54);
    (port[0x54 / 4], port[0x68 / 4]) = (0x0142_0010, 0x0002_007b);
    let mut card = [0_u32; 64];
    (card[0], card[1], card[13]) = (0x1041_1af4, 1 << 20, 0x40);
    (card[4], card[60]) = (0xfe40_0000, 0xffff_8000);
    for (place, kind) in (1..=4_u32).enumerate() {
        let at = 0x10 + 4 * place;
        let next = 0x40 + 16 * (place as u32 + 1);
        card[at] = kind << 24 | 0x10 << 16 | next << 8 | 9;
        (card[at + 2], card[at + 3]) = (0x1000 * kind, 0x1000);
    }
    (card[0x20], card[0x21], card[0x22]) = (0x11 | 2 << 16, 0x6000, 0x6800);
    let functions = [(0, 1 << 3, &port), (1, 0, &card), (0, 2 << 3, &card)];
    functions
        .iter()
        .flat_map(|(bus, place, words)| {
            [*bus, *place].into_iter().chain(words.iter().flat_map(|word| word.to_le_bytes()))
        })
        .collect()
}

/// Reads tables whose root pointer is the first of the bytes, and the older ones.
pub fn tables(bytes: &[u8]) {
    let memory = |at: u64, len: usize| {
        let at = usize::try_from(at.checked_sub(TABLES_AT)?).ok()?;
        bytes.get(at..at.checked_add(len)?)
    };
    let found = nom_acpi::read(TABLES_AT, memory);
    assert!(found.identities().len() <= nom_acpi::PROCESSORS_MAX);
    let low = |at: u64, len: usize| {
        let at = usize::try_from(at.checked_sub(0x9_fc00)?).ok()?;
        bytes.get(at..at.checked_add(len)?)
    };
    if let Some(found) = nom_acpi::multiprocessor::read(low) {
        assert!(found.processors > 0);
    }
}

/// A root with one table of each kind. The checksums are made right again after every change, or nothing behind them
/// would ever be tried; see [`sealed_tables`].
pub fn sample_tables() -> Vec<u8> {
    let mut memory = vec![0; 0x400];
    memory[..8].copy_from_slice(b"RSD PTR ");
    memory[16..20].copy_from_slice(&(TABLES_AT as u32 + 0x40).to_le_bytes());
    let mut put = |at: usize, name: &[u8; 4], body: &[u8]| {
        memory[at..at + 4].copy_from_slice(name);
        memory[at + 4..at + 8].copy_from_slice(&(36 + body.len() as u32).to_le_bytes());
        memory[at + 36..at + 36 + body.len()].copy_from_slice(body);
    };
    let list: Vec<u8> =
        [0x80, 0x100, 0x180_u32].iter().flat_map(|at| (TABLES_AT as u32 + at).to_le_bytes()).collect();
    put(0x40, b"RSDT", &list);
    put(0x80, b"MCFG", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0]);
    put(
        0x100,
        b"APIC",
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
    );
    let unit = [0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 2, 0];
    let dmar: Vec<u8> = [38, 1].into_iter().chain([0; 10]).chain(unit).collect();
    put(0x180, b"DMAR", &dmar);
    memory
}

/// The same as [`tables`], with the checksums of the sample's places made right first.
pub fn sealed_tables(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    tables(&bytes);
    seal(&mut bytes, 0, 20, 8);
    for at in [0x40, 0x80, 0x100, 0x180] {
        let len =
            bytes.get(at + 4..at + 8).map_or(0, |len| u32::from_le_bytes([len[0], len[1], len[2], len[3]]));
        seal(&mut bytes, at, len as usize, 9);
    }
    tables(&bytes);
}

fn seal(bytes: &mut [u8], at: usize, len: usize, sum: usize) {
    let Some(table) = at.checked_add(len).and_then(|end| bytes.get_mut(at..end)) else { return };
    if table.len() > sum {
        table[sum] = 0;
        table[sum] = table.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
    }
}
