//! What a PVH loader tells: start information, memory map.
//!
//! The layout is Xen's `hvm_start_info` (version 1 has the memory map). The loader is trusted to tell the truth, but
//! not to be free of mistakes: whatever makes no sense is left out or refused.

/// First word of the start information.
pub const MAGIC: u32 = 0x336e_c578;
/// Bytes of the start information that are read.
pub const START_INFO_LEN: usize = 56;
/// Bytes of one entry of the memory map.
pub const REGION_LEN: usize = 24;
/// The most entries of a memory map that are looked at.
pub const REGIONS_MAX: u32 = 128;

const RAM: u32 = 1;

/// What the loader left where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartInfo {
    /// The command line (a C string), or 0.
    pub command_line: u64,
    /// ACPI's root pointer, or 0.
    pub root_pointer: u64,
    /// The memory map.
    pub map: u64,
    /// Its entries.
    pub map_entries: u32,
}

/// Why the start information is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It does not begin with [`MAGIC`].
    Magic,
    /// It has no memory map (version 0).
    NoMap,
}

/// Reads the start information.
pub fn start_info(bytes: &[u8; START_INFO_LEN]) -> Result<StartInfo, Refused> {
    if u32_at(bytes, 0) != MAGIC {
        return Err(Refused::Magic);
    }
    let info = StartInfo {
        command_line: u64_at(bytes, 24),
        root_pointer: u64_at(bytes, 32),
        map: u64_at(bytes, 40),
        map_entries: u32_at(bytes, 48).min(REGIONS_MAX),
    };
    if u32_at(bytes, 4) == 0 || info.map == 0 || info.map_entries == 0 {
        return Err(Refused::NoMap);
    }
    Ok(info)
}

/// A run of whole frames of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First address, a multiple of 4096.
    pub start: u64,
    /// First address behind it, a multiple of 4096.
    pub end: u64,
}

/// The memory among the entries of a map, in whole frames, below `limit`.
pub fn memory(map: &[u8], limit: u64) -> impl Iterator<Item = Region> + '_ {
    map.chunks_exact(REGION_LEN).filter_map(move |entry| {
        let start = u64_at(entry, 0).checked_next_multiple_of(4096)?;
        let end = u64_at(entry, 0).saturating_add(u64_at(entry, 8)).min(limit) & !4095;
        (u32_at(entry, 16) == RAM && start < end).then_some(Region { start, end })
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn start_information_is_read_or_refused() {
        let mut bytes = [0; START_INFO_LEN];
        assert_eq!(start_info(&bytes), Err(Refused::Magic));
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        assert_eq!(start_info(&bytes), Err(Refused::NoMap));
        bytes[4] = 1;
        bytes[24] = 7;
        bytes[40] = 8;
        bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        let info = start_info(&bytes).unwrap();
        assert_eq!((info.command_line, info.map, info.map_entries), (7, 8, REGIONS_MAX));
    }

    #[test]
    fn only_whole_frames_of_memory_count() {
        let mut map = Vec::new();
        for (start, len, kind) in [
            (0_u64, 0x9_fc00_u64, 1_u32),
            (0xf_0000, 0x1_0000, 2),
            (0x10_0800, 0x1000, 1),
            (0x20_0000, u64::MAX, 1),
            (u64::MAX, 5, 1),
        ] {
            map.extend(start.to_le_bytes());
            map.extend(len.to_le_bytes());
            map.extend(kind.to_le_bytes());
            map.extend([0; 4]);
        }
        map.extend([1; 10]);
        let found: Vec<_> = memory(&map, 1 << 30).map(|region| (region.start, region.end)).collect();
        assert_eq!(found, [(0, 0x9_f000), (0x20_0000, 1 << 30)]);
    }
}
