//! Decoding of ACPI tables, free of registers.
//!
//! Only what the kernel asks: where PCI's configuration space is (MCFG), where the I/O interrupt controller is and
//! which processors there are (MADT), and where the IOMMU is (DMAR). Memory comes in through a closure; every table's checksum is verified and no
//! length is believed beyond its bound.

#![no_std]
#![forbid(unsafe_code)]

pub mod multiprocessor;

/// The longest table that is read, in bytes.
pub const TABLE_LEN_MAX: usize = 64 << 10;
/// The most tables that the root may list.
pub const TABLES_MAX: usize = 128;

const HEADER_LEN: usize = 36;

/// PCI configuration space in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Physical address of bus 0 (4096 bytes a function).
    pub address: u64,
    /// The last bus that is covered.
    pub last_bus: u8,
}

/// The one IOMMU of segment 0 (Intel VT-d).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iommu {
    /// The functions of bus 0 before which it stands, and before all that is behind them: a bit each, by device and
    /// function.
    covered: [u64; 4],
    /// Physical address of its registers.
    pub address: u64,
    /// The platform can have it translate interrupts too.
    pub interrupts: bool,
    /// What requests of the I/O interrupt controller carry; 0 when nobody says.
    pub controller: u16,
}

/// The most processors that are told apart.
pub const PROCESSORS_MAX: usize = 64;

/// What the tables say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// PCI configuration space of segment 0.
    pub configuration: Option<Configuration>,
    /// Physical address of the first I/O interrupt controller.
    pub interrupts: Option<u64>,
    /// The IOMMU; `None` too when there are several, each before some of the devices.
    pub iommu: Option<Iommu>,
    /// Processors that can be used.
    pub processors: u32,
    identities: [u32; PROCESSORS_MAX],
}

impl Default for Found {
    fn default() -> Found {
        Found {
            configuration: None,
            interrupts: None,
            iommu: None,
            processors: 0,
            identities: [0; PROCESSORS_MAX],
        }
    }
}

impl Iommu {
    /// Whether it stands before this function of bus 0, and before what is behind it.
    pub fn covers(&self, device: u8, function: u8) -> bool {
        let place = device << 3 | function & 7;
        self.covered[usize::from(place / 64)] >> (place % 64) & 1 != 0
    }
}

impl Found {
    /// The identities of the processors in their interrupt controllers.
    pub fn identities(&self) -> &[u32] {
        &self.identities[..(self.processors as usize).min(PROCESSORS_MAX)]
    }

    fn add_processor(&mut self, identity: u8) {
        if let Some(place) = self.identities.get_mut(self.processors as usize) {
            *place = u32::from(identity);
            self.processors += 1;
        }
    }
}

/// Reads the tables below the root pointer at `root`. `memory` lends `len` bytes at a physical address, or nothing.
/// Tables that make no sense are passed over.
pub fn read<'a>(root: u64, memory: impl Fn(u64, usize) -> Option<&'a [u8]>) -> Found {
    let mut found = Found::default();
    let Some(pointer) = memory(root, 20) else { return found };
    if &pointer[..8] != b"RSD PTR " || !sums_to_zero(pointer) {
        return found;
    }
    let wide = memory(root, 36)
        .filter(|bytes| pointer[15] >= 2 && sums_to_zero(bytes))
        .map(|bytes| word(bytes, 24, 8));
    let (list, width) = match wide.filter(|&address| address != 0) {
        Some(address) => (table(address, &memory), 8),
        None => (table(word(pointer, 16, 4), &memory), 4),
    };
    let Some(list) = list else { return found };
    for entry in list[HEADER_LEN..].chunks_exact(width).take(TABLES_MAX) {
        let Some(table) = table(word(entry, 0, width), &memory) else { continue };
        match &table[..4] {
            b"MCFG" => configuration(table, &mut found),
            b"APIC" => interrupts(table, &mut found),
            b"DMAR" => found.iommu = iommu(table),
            _ => {}
        }
    }
    found
}

fn configuration(table: &[u8], found: &mut Found) {
    for entry in table.get(44..).unwrap_or(&[]).chunks_exact(16) {
        let (address, segment, first_bus) = (word(entry, 0, 8), word(entry, 8, 2), entry[10]);
        if segment == 0 && first_bus == 0 && address != 0 && found.configuration.is_none() {
            found.configuration = Some(Configuration { address, last_bus: entry[11] });
        }
    }
}

fn interrupts(table: &[u8], found: &mut Found) {
    const PROCESSOR: u8 = 0;
    const INPUT_OUTPUT: u8 = 1;
    const ENABLED: u64 = 1;
    let mut rest = table.get(44..).unwrap_or(&[]);
    while let [kind, len, ..] = *rest {
        let len = usize::from(len);
        if len < 2 || len > rest.len() {
            return;
        }
        match kind {
            PROCESSOR if len >= 8 && word(rest, 4, 4) & ENABLED != 0 => {
                found.add_processor(rest[3]);
            }
            INPUT_OUTPUT if len >= 12 && found.interrupts.is_none() => {
                found.interrupts = Some(word(rest, 4, 4));
            }
            _ => {}
        }
        rest = &rest[len..];
    }
}

/// VT-d 3.0, 8.1. Where there is more than one unit, none: each would have to be driven.
fn iommu(table: &[u8]) -> Option<Iommu> {
    const INTERRUPTS: u8 = 1;
    const UNIT: u64 = 0;
    const INCLUDES_ALL: u8 = 1;
    let interrupts = table.get(37)? & INTERRUPTS != 0;
    let mut rest = table.get(48..)?;
    let mut only = None;
    while rest.len() >= 4 {
        let len = word(rest, 2, 2) as usize;
        let entry = rest.get(..len).filter(|entry| entry.len() >= 4)?;
        if word(entry, 0, 2) == UNIT {
            let address = word(entry.get(..16)?, 8, 8);
            if word(entry, 6, 2) != 0 || address == 0 || only.is_some() {
                return None;
            }
            let (mut covered, controller) = scopes(entry.get(16..)?);
            if entry[4] & INCLUDES_ALL != 0 {
                covered = [!0; 4];
            }
            only = Some(Iommu { covered, address, interrupts, controller });
        }
        rest = &rest[len..];
    }
    only
}

/// VT-d 3.0, 8.3.1: functions and bridges by their paths, of which only those count that begin and end on bus 0; and the
/// requester of the I/O interrupt controller.
fn scopes(mut scopes: &[u8]) -> ([u64; 4], u16) {
    const FUNCTION: u8 = 1;
    const BRIDGE: u8 = 2;
    const CONTROLLER: u8 = 3;
    const ONE_STEP: usize = 8;
    let (mut covered, mut controller) = ([0; 4], 0);
    while let [kind, len, ..] = *scopes {
        let len = usize::from(len);
        if len < 2 || len > scopes.len() {
            break;
        }
        let place = if len == ONE_STEP { scopes[6] << 3 | scopes[7] & 7 } else { 0 };
        if kind == CONTROLLER && len == ONE_STEP {
            controller = u16::from(scopes[5]) << 8 | u16::from(place);
        }
        if matches!(kind, FUNCTION | BRIDGE) && len == ONE_STEP && scopes[5] == 0 {
            covered[usize::from(place / 64)] |= 1 << (place % 64);
        }
        scopes = &scopes[len..];
    }
    (covered, controller)
}

fn table<'a>(address: u64, memory: &impl Fn(u64, usize) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
    let len = word(memory(address, HEADER_LEN)?, 4, 4) as usize;
    if !(HEADER_LEN..=TABLE_LEN_MAX).contains(&len) {
        return None;
    }
    memory(address, len).filter(|bytes| bytes.len() == len && sums_to_zero(bytes))
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

fn word(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.iter().skip(at).take(len).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
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

    fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..4].copy_from_slice(name);
        bytes.extend(body);
        let len = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        seal(&mut bytes, 9);
        bytes
    }

    fn machine() -> Vec<u8> {
        let mut memory = vec![0; 0x1000];
        memory[..8].copy_from_slice(b"RSD PTR ");
        memory[16..20].copy_from_slice(&0x100_u32.to_le_bytes());
        seal(&mut memory[..20], 8);
        let mut body = vec![0; 8];
        body.extend(0xb000_0000_u64.to_le_bytes());
        body.extend([0, 0, 0, 0xff, 0, 0, 0, 0]);
        let configuration = table(b"MCFG", &body);
        let mut body = vec![0; 8];
        body.extend([0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0, 1, 12, 0, 0]);
        body.extend(0xfec0_0000_u32.to_le_bytes());
        body.extend([0; 4]);
        let interrupts = table(b"APIC", &body);
        let mut body = vec![38, 1];
        body.extend([0; 10]);
        body.extend([0, 0, 40, 0, 0, 0, 0, 0]);
        body.extend(0xfed9_0000_u64.to_le_bytes());
        body.extend([3, 8, 0, 0, 0, 0xff, 0, 1, 2, 8, 0, 0, 0, 0, 1, 0, 1, 8, 0, 0, 0, 0, 31, 3]);
        let iommu = self::table(b"DMAR", &body);
        let mut list = Vec::new();
        for (place, table) in [(0x200_u32, &configuration), (0x300, &interrupts), (0x400, &iommu)] {
            memory[place as usize..place as usize + table.len()].copy_from_slice(table);
            list.extend(place.to_le_bytes());
        }
        let root = self::table(b"RSDT", &list);
        memory[0x100..0x100 + root.len()].copy_from_slice(&root);
        memory
    }

    #[test]
    fn the_tables_are_read() {
        let memory = machine();
        let found = read(0, |at, len| memory.get(at as usize..at as usize + len));
        assert_eq!(found.configuration, Some(Configuration { address: 0xb000_0000, last_bus: 255 }));
        assert_eq!(found.interrupts, Some(0xfec0_0000));
        assert_eq!(found.identities(), [0]);
        let iommu = found.iommu.unwrap();
        assert_eq!((iommu.address, iommu.interrupts, iommu.controller), (0xfed9_0000, true, 0xff01));
        assert!(iommu.covers(1, 0) && iommu.covers(31, 3));
        assert!(!iommu.covers(0, 0) && !iommu.covers(1, 1) && !iommu.covers(31, 2));
    }

    #[test]
    fn any_changed_byte_is_survived_and_noticed_by_a_checksum() {
        let good = machine();
        let whole = read(0, |at, len| good.get(at as usize..at as usize + len));
        for at in (0..20).chain(0x100..0x130).chain(0x200..0x23c).chain(0x300..0x348).chain(0x400..0x458) {
            for change in [1, 0x40, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                let found = read(0, |at, len| {
                    let at = usize::try_from(at).ok()?;
                    bad.get(at..at.checked_add(len)?)
                });
                assert_ne!(found, whole, "byte {at:#x} ^ {change:#x}");
            }
        }
    }
}
