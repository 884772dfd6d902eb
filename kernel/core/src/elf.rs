//! ELF files: the applications of a bundle. Who attaches a bundle to the kernel's file (`host/machine`) reads that one by
//! the same rules.
//!
//! Only what is needed is accepted: 64-bit, little-endian, x86-64, static, at fixed addresses.

use core::fmt;

/// The most program headers in a file.
pub const SEGMENTS_MAX: usize = 16;
/// Where an application may lie: above what must fault as a null pointer, below the kernel's own choices.
pub const APPLICATION_START: u64 = 0x1_0000;
/// End of the addresses an application's file may take.
pub const APPLICATION_END: u64 = 0x1000_0000_0000;

const PAGE: u64 = 4096;
/// The kind of a program header whose segment is loaded.
pub const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const HEADER_LEN: usize = 64;
/// Bytes of a program header.
pub const PROGRAM_HEADER_LEN: usize = 56;

/// Why a file is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not an ELF file.
    NotElf,
    /// Not for 64-bit x86, or not an executable at fixed addresses.
    NotForUs,
    /// It wants a dynamic linker.
    Dynamic,
    /// The program headers lie outside the file or are too many.
    Headers,
    /// A segment (by place) lies outside the file, outside the allowed addresses, on another, or is misaligned.
    Segment(usize),
    /// A segment that can be written and executed.
    WritableCode(usize),
    /// The entry point is not in an executable segment.
    Entry,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotElf => out.write_str("it is not an ELF file"),
            Refused::NotForUs => out.write_str("it is not a static 64-bit x86 executable"),
            Refused::Dynamic => out.write_str("it wants a dynamic linker; link it with -static -no-pie"),
            Refused::Headers => out.write_str("its program headers are damaged"),
            Refused::Segment(place) => write!(out, "its segment {place} has an impossible place"),
            Refused::WritableCode(place) => write!(out, "its segment {place} is writable and executable"),
            Refused::Entry => out.write_str("its entry point is not in executable memory"),
        }
    }
}

/// A piece of an application's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// First address.
    pub address: u64,
    /// Bytes in memory; what the file does not give is zero.
    pub memory_len: u64,
    /// Bytes from the file.
    pub bytes: &'a [u8],
    /// It can be written.
    pub write: bool,
    /// It can be executed.
    pub execute: bool,
}

impl Segment<'_> {
    /// First byte of its first page.
    pub fn first_page(&self) -> u64 {
        self.address & !(PAGE - 1)
    }

    /// First byte behind its last page.
    pub fn end_page(&self) -> u64 {
        (self.address + self.memory_len).next_multiple_of(PAGE)
    }
}

/// An application's file that was checked.
#[derive(Debug, Clone, Copy)]
pub struct Application<'a> {
    file: &'a [u8],
    /// Where its first instruction is.
    pub entry: u64,
}

/// Checks an application's file.
pub fn application(file: &[u8]) -> Result<Application<'_>, Refused> {
    let headers = headers(file)?;
    let entry = u64_at(file, 24);
    let mut entry_found = false;
    let mut end = APPLICATION_START;
    for (place, header) in headers.enumerate() {
        match u32_at(header, 0) {
            DYNAMIC | INTERPRETER => return Err(Refused::Dynamic),
            LOAD => {}
            _ => continue,
        }
        let segment = segment(file, header).ok_or(Refused::Segment(place))?;
        if segment.memory_len == 0 {
            continue;
        }
        let stop = segment.address.checked_add(segment.memory_len).ok_or(Refused::Segment(place))?;
        // In the order of addresses and without a shared page, so that every page has one set of rights.
        if segment.first_page() < end || stop > APPLICATION_END {
            return Err(Refused::Segment(place));
        }
        if segment.write && segment.execute {
            return Err(Refused::WritableCode(place));
        }
        end = segment.end_page();
        entry_found |= segment.execute && (segment.address..stop).contains(&entry);
    }
    if entry_found { Ok(Application { file, entry }) } else { Err(Refused::Entry) }
}

impl<'a> Application<'a> {
    /// Its memory, in the order of addresses.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let file = self.file;
        headers(file)
            .ok()
            .into_iter()
            .flatten()
            .filter_map(move |header| (u32_at(header, 0) == LOAD).then(|| segment(file, header)).flatten())
            .filter(|segment| segment.memory_len > 0)
    }

    /// Pages that all segments take.
    pub fn pages(&self) -> u64 {
        self.segments().map(|segment| (segment.end_page() - segment.first_page()) / PAGE).sum()
    }
}

/// The program headers of a file; each has its kind in front.
pub fn headers(file: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Refused> {
    let header = file.get(..HEADER_LEN).ok_or(Refused::NotElf)?;
    if header[..4] != *b"\x7fELF" {
        return Err(Refused::NotElf);
    }
    // 64 bits, little-endian, an executable (2) for x86-64 (62).
    if header[4] != 2 || header[5] != 1 || u32_at(header, 16) != 62 << 16 | 2 {
        return Err(Refused::NotForUs);
    }
    let start = usize::try_from(u64_at(header, 32)).map_err(|_| Refused::Headers)?;
    let size = usize::from(u16_at(header, 54));
    let count = usize::from(u16_at(header, 56));
    if size != PROGRAM_HEADER_LEN || count == 0 || count > SEGMENTS_MAX {
        return Err(Refused::Headers);
    }
    let table = start.checked_add(count * size).and_then(|end| file.get(start..end));
    Ok(table.ok_or(Refused::Headers)?.chunks_exact(PROGRAM_HEADER_LEN))
}

/// What a program header says, where the file has it.
pub fn segment<'a>(file: &'a [u8], header: &[u8]) -> Option<Segment<'a>> {
    let flags = u32_at(header, 4);
    let offset = usize::try_from(u64_at(header, 8)).ok()?;
    let file_len = usize::try_from(u64_at(header, 32)).ok()?;
    let memory_len = u64_at(header, 40);
    let address = u64_at(header, 16);
    let bytes = file.get(offset..offset.checked_add(file_len)?)?;
    address.checked_add(memory_len)?.checked_next_multiple_of(PAGE)?;
    (bytes.len() as u64 <= memory_len).then_some(Segment {
        address,
        memory_len,
        bytes,
        write: flags & 2 != 0,
        execute: flags & 1 != 0,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// A number of a header.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A long number of a header.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    /// type, flags, offset, address, file length, memory length
    type Header = (u32, u32, u64, u64, u64, u64);

    fn file(entry: u64, headers: &[Header]) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..20].copy_from_slice(&(62_u32 << 16 | 2).to_le_bytes());
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54] = PROGRAM_HEADER_LEN as u8;
        file[56] = headers.len() as u8;
        for (place, header) in headers.iter().enumerate() {
            let at = 64 + place * PROGRAM_HEADER_LEN;
            file[at..at + 4].copy_from_slice(&header.0.to_le_bytes());
            file[at + 4..at + 8].copy_from_slice(&header.1.to_le_bytes());
            for (word, value) in
                [(8, header.2), (16, header.3), (24, header.3), (32, header.4), (40, header.5)]
            {
                file[at + word..at + word + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        file
    }

    const CODE: Header = (LOAD, 5, 0x200, 0x40_0000, 0x100, 0x100);
    const DATA: Header = (LOAD, 6, 0x300, 0x40_1000, 0x80, 0x2000);

    #[test]
    fn a_good_application_is_read() {
        let file = file(0x40_0010, &[CODE, (0x6474_e551, 6, 0, 0, 0, 0), DATA]);
        let read = application(&file).unwrap();
        assert_eq!(read.entry, 0x40_0010);
        let segments: Vec<_> = read.segments().collect();
        assert_eq!(segments.len(), 2);
        assert!(segments[0].execute && !segments[0].write && segments[1].write && !segments[1].execute);
        assert_eq!(segments[1].memory_len, 0x2000);
        assert_eq!(read.pages(), 3);
    }

    #[test]
    fn bad_applications_are_refused_with_their_reason() {
        let entry = 0x40_0000;
        let refusal = |headers: &[Header]| application(&file(entry, headers)).unwrap_err();
        assert_eq!(application(b"").unwrap_err(), Refused::NotElf);
        assert_eq!(application(&[0; 100]).unwrap_err(), Refused::NotElf);
        assert_eq!(refusal(&[]), Refused::Headers);
        assert_eq!(refusal(&[DATA]), Refused::Entry);
        assert_eq!(refusal(&[CODE, (INTERPRETER, 4, 0, 0, 0, 0)]), Refused::Dynamic);
        assert_eq!(refusal(&[(LOAD, 7, 0x200, entry, 0x100, 0x100)]), Refused::WritableCode(0));
        assert_eq!(refusal(&[(LOAD, 5, 0x380, entry, 0x100, 0x100)]), Refused::Segment(0));
        assert_eq!(refusal(&[(LOAD, 5, 0x200, entry, 0x100, 0x80)]), Refused::Segment(0));
        assert_eq!(refusal(&[(LOAD, 5, 0x200, 0x1000, 0x100, 0x100)]), Refused::Segment(0));
        assert_eq!(refusal(&[(LOAD, 5, 0x200, u64::MAX - 4, 0, 0x100)]), Refused::Segment(0));
        assert_eq!(refusal(&[(LOAD, 5, u64::MAX, entry, 0x100, 0x100)]), Refused::Segment(0));
        assert_eq!(refusal(&[CODE, (LOAD, 6, 0x300, entry + 0x200, 1, 1)]), Refused::Segment(1));
        assert_eq!(refusal(&[CODE, (LOAD, 6, 0x300, 0xffff_8000_0000_0000, 1, 1)]), Refused::Segment(1));
    }

    #[test]
    fn any_single_changed_byte_is_survived() {
        let good = file(0x40_0010, &[CODE, DATA]);
        for at in 0..64 + 2 * PROGRAM_HEADER_LEN {
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok(read) = application(&bad) {
                    for segment in read.segments() {
                        assert!(segment.bytes.len() as u64 <= segment.memory_len);
                        assert!(segment.end_page() <= APPLICATION_END);
                    }
                }
            }
        }
    }
}
