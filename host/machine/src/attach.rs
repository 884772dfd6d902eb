//! A bundle behind the kernel's file: loaded to the first page behind the kernel's memory, by a program header that the
//! kernel's linker script left free. The same file without it is had back.
//!
//! ```text
//!   ELF header | program headers ..., the bundle's | the kernel | fill to a page | bundle
//! ```

use nom_kernel_core::elf::{self, LOAD, PROGRAM_HEADER_LEN, Segment, u32_at, u64_at};
use std::fmt;

const PAGE: usize = 4096;
/// The kind of a program header that says nothing.
const FREE: u32 = 0;
/// The right to be read and no other.
const READ: u32 = 4;
/// The kernel is loaded far below this: what goes beyond is no kernel of ours.
const KERNEL_END_MAX: u64 = 1 << 30;
/// Where the file's header says where the program headers begin.
const TABLE: usize = 32;
// Where a program header says what it says.
const OFFSET: usize = 8;
const VIRTUAL: usize = 16;
const PHYSICAL: usize = 24;
const FILE_LEN: usize = 32;
const MEMORY_LEN: usize = 40;
const ALIGNMENT: usize = 48;

/// Why a file is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is no good file at all.
    File(elf::Refused),
    /// A kernel without a free program header.
    NoRoom,
    /// What is loaded last is no bundle, or nothing is loaded.
    NoBundle,
    /// Something stands behind the bundle.
    NotAtEnd,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::File(why) => return why.fmt(out),
            Self::NoRoom => "it has no free program header for a bundle; it is not our kernel",
            Self::NoBundle => "it is a file without a bundle",
            Self::NotAtEnd => "its bundle is not at its end",
        })
    }
}

impl From<elf::Refused> for Refused {
    fn from(why: elf::Refused) -> Self {
        Self::File(why)
    }
}

/// The kernel's file with a bundle.
pub fn attach(kernel: &[u8], bundle: &[u8]) -> Result<Vec<u8>, Refused> {
    let free = elf::headers(kernel)?.position(|header| u32_at(header, 0) == FREE);
    let free = free.ok_or(Refused::NoRoom)?;
    let mut end = 0;
    for (place, header) in elf::headers(kernel)?.enumerate() {
        if u32_at(header, 0) == LOAD {
            elf::segment(kernel, header).ok_or(elf::Refused::Segment(place))?;
            let stop = u64_at(header, PHYSICAL).checked_add(u64_at(header, MEMORY_LEN));
            end = stop.ok_or(elf::Refused::Segment(place))?.max(end);
        }
    }
    if end == 0 || end > KERNEL_END_MAX {
        return Err(elf::Refused::Headers.into());
    }
    let mut image = kernel.to_vec();
    image.resize(kernel.len().next_multiple_of(PAGE), 0);
    let (offset, len) = (image.len() as u64, bundle.len() as u64);
    image.extend_from_slice(bundle);
    let address = end.next_multiple_of(PAGE as u64);
    let header = header_mut(&mut image, free).ok_or(elf::Refused::Headers)?;
    header[..4].copy_from_slice(&LOAD.to_le_bytes());
    header[4..8].copy_from_slice(&READ.to_le_bytes());
    for (at, value) in [
        (OFFSET, offset),
        (VIRTUAL, address),
        (PHYSICAL, address),
        (FILE_LEN, len),
        (MEMORY_LEN, len),
        (ALIGNMENT, PAGE as u64),
    ] {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    Ok(image)
}

/// The bundle of an image.
pub fn attached(image: &[u8]) -> Result<&[u8], Refused> {
    last(image).map(|(_, segment)| segment.bytes)
}

/// The kernel's file as it was before a bundle was attached, filled to a whole page.
pub fn detached(image: &[u8]) -> Result<Vec<u8>, Refused> {
    let (place, segment) = last(image)?;
    let kernel = image.strip_suffix(segment.bytes);
    let offset = elf::headers(image)?.nth(place).map(|header| u64_at(header, OFFSET));
    let kernel = kernel.filter(|kernel| offset == Some(kernel.len() as u64));
    let mut kernel = kernel.ok_or(Refused::NotAtEnd)?.to_vec();
    header_mut(&mut kernel, place).ok_or(elf::Refused::Headers)?.fill(0);
    Ok(kernel)
}

/// The segment that is loaded last, which is the bundle's, with the place of its program header.
fn last(image: &[u8]) -> Result<(usize, Segment<'_>), Refused> {
    let mut last: Option<(u64, usize, Segment<'_>)> = None;
    for (place, header) in elf::headers(image)?.enumerate() {
        if u32_at(header, 0) == LOAD {
            let segment = elf::segment(image, header).ok_or(elf::Refused::Segment(place))?;
            let physical = u64_at(header, PHYSICAL);
            if last.is_none_or(|(highest, ..)| physical >= highest) {
                last = Some((physical, place, segment));
            }
        }
    }
    match last {
        Some((_, place, segment)) if !segment.write && !segment.execute => Ok((place, segment)),
        _ => Err(Refused::NoBundle),
    }
}

/// A program header, to be written. None when the file ends before it.
fn header_mut(file: &mut [u8], place: usize) -> Option<&mut [u8]> {
    let table = usize::try_from(u64_at(file, TABLE)).ok()?;
    let start = table.checked_add(place * PROGRAM_HEADER_LEN)?;
    file.get_mut(start..start.checked_add(PROGRAM_HEADER_LEN)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program header: its kind, rights, place in the file, address, bytes there and in memory.
    type Header = (u32, u32, u64, u64, u64, u64);

    const CODE: Header = (LOAD, 5, 0x200, 0x40_0000, 0x100, 0x100);
    const DATA: Header = (LOAD, 6, 0x300, 0x40_1000, 0x80, 0x2000);
    const NOTHING: Header = (FREE, 0, 0, 0, 0, 0);
    const LEN: usize = 0x400;

    fn file(headers: &[Header]) -> Vec<u8> {
        let mut file = vec![0; LEN];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..20].copy_from_slice(&(62_u32 << 16 | 2).to_le_bytes());
        file[TABLE..TABLE + 8].copy_from_slice(&64_u64.to_le_bytes());
        file[54] = PROGRAM_HEADER_LEN as u8;
        file[56] = headers.len() as u8;
        for (place, header) in headers.iter().enumerate() {
            let (kind, rights, offset, address, file_len, memory_len) = *header;
            let into = header_mut(&mut file, place).unwrap();
            into[..4].copy_from_slice(&kind.to_le_bytes());
            into[4..8].copy_from_slice(&rights.to_le_bytes());
            for (at, value) in [
                (OFFSET, offset),
                (VIRTUAL, address),
                (PHYSICAL, address),
                (FILE_LEN, file_len),
                (MEMORY_LEN, memory_len),
            ] {
                into[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        file
    }

    #[test]
    fn a_bundle_is_attached_behind_the_kernel_and_had_back() {
        let kernel = file(&[CODE, DATA, NOTHING]);
        let bundle = [9; 100];
        let image = attach(&kernel, &bundle).unwrap();
        assert_eq!(image.len(), PAGE + bundle.len());
        assert_eq!(attached(&image), Ok(&bundle[..]));
        let header = elf::headers(&image).unwrap().nth(2).unwrap();
        // Behind the data, which ends at 0x403000 in memory.
        assert_eq!((u64_at(header, PHYSICAL), u64_at(header, VIRTUAL)), (0x40_3000, 0x40_3000));
        assert_eq!(
            (u32_at(header, 0), u32_at(header, 4)),
            (LOAD, READ),
            "it is loaded and cannot be written"
        );
        let again = detached(&image).unwrap();
        assert_eq!((&again[..LEN], again.len()), (&kernel[..], PAGE));
        assert_eq!(attach(&again, &bundle).unwrap(), image);
    }

    #[test]
    fn kernels_that_cannot_take_a_bundle_are_refused() {
        let full = attach(&file(&[CODE, NOTHING]), &[9; 100]).unwrap();
        assert_eq!(attach(&full, &[9; 100]), Err(Refused::NoRoom));
        assert_eq!(attach(&[0; 100], &[9; 100]), Err(Refused::File(elf::Refused::NotElf)));
        let damaged = [
            // Nothing is loaded; a segment outside the file; one that wraps around; a kernel above a gigabyte.
            (&[NOTHING][..], elf::Refused::Headers),
            (&[NOTHING, (LOAD, 5, 0x380, 0x40_0000, 0x100, 0x100)], elf::Refused::Segment(1)),
            (&[NOTHING, (LOAD, 5, 0x200, u64::MAX - 4, 0, 0x100)], elf::Refused::Segment(1)),
            (&[NOTHING, (LOAD, 5, 0x200, KERNEL_END_MAX, 0x100, 0x100)], elf::Refused::Headers),
        ];
        for (headers, why) in damaged {
            assert_eq!(attach(&file(headers), &[9; 100]), Err(Refused::File(why)));
        }
    }

    #[test]
    fn what_is_no_bundle_at_the_end_is_not_taken_for_one() {
        for headers in [&[CODE, DATA][..], &[CODE], &[NOTHING]] {
            assert_eq!(attached(&file(headers)), Err(Refused::NoBundle));
            assert_eq!(detached(&file(headers)), Err(Refused::NoBundle));
        }
        let mut longer = attach(&file(&[CODE, NOTHING]), &[9; 100]).unwrap();
        longer.push(9);
        // The same bytes stand at the end, and yet are not the bundle's own.
        assert_eq!(attached(&longer), Ok(&[9; 100][..]));
        assert_eq!(detached(&longer), Err(Refused::NotAtEnd));
    }

    #[test]
    fn any_single_changed_byte_is_survived() {
        let good = attach(&file(&[CODE, DATA, NOTHING]), &[9; 100]).unwrap();
        for at in 0..64 + 3 * PROGRAM_HEADER_LEN {
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[at] = value;
                let Ok(kernel) = detached(&bad) else { continue };
                assert!(kernel.len() + attached(&bad).unwrap().len() == bad.len());
                let _ = attach(&kernel, &[7; 100]);
            }
        }
    }
}
