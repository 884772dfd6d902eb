//! The bundle: the configuration and the applications of an image, as one run of bytes behind the kernel.
//!
//! ```text
//! 0   magic "nombundl"          8   version (u32)        12  number of parts (u32)
//! 16  total length (u64)        24  CRC-32 of bytes 8 to 24 and of all from byte 32 on (u32), 4 bytes zero
//! 32  a table of 64 bytes a part: kind (u32), length of the name (u32), name (40 bytes), offset (u64), length (u64)
//!     then the parts, each aligned to 16 bytes
//! ```
//!
//! All numbers are little-endian. Reading checks everything first; afterwards access cannot fail.

use core::fmt;

/// First eight bytes.
pub const MAGIC: [u8; 8] = *b"nombundl";
/// Version of this layout.
pub const VERSION: u32 = 1;
/// The most parts in one bundle.
pub const PARTS_MAX: usize = 32;
/// The longest name of a part in bytes.
pub const NAME_LEN_MAX: usize = 40;
/// The longest bundle in bytes: larger ones are a mistake.
pub const LEN_MAX: usize = 256 << 20;
/// The longest configuration text in bytes.
pub const CONFIGURATION_LEN_MAX: usize = 64 << 10;

const HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 64;
const ALIGNMENT: usize = 16;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The configuration text; exactly one.
    Configuration = 1,
    /// An application's ELF file; at least one.
    Application = 2,
    /// What an application finds in its memory, read-only, besides the configuration; named as the application.
    Content = 3,
}

/// One part of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it is.
    pub kind: Kind,
    /// What it is called: letters, digits, `-`, `_`, `.`.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// Why a bundle is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No bundle begins here.
    NoBundle,
    /// A version that is not [`VERSION`].
    Version(u32),
    /// The bytes end before the bundle does.
    Truncated,
    /// Longer than [`LEN_MAX`], or the buffer is too small to write it.
    TooLong,
    /// The content does not match its checksum.
    Checksum,
    /// No part, or more than [`PARTS_MAX`].
    Parts(u32),
    /// A part (by place) of unknown kind.
    Kind(usize),
    /// A part whose name is empty, too long, has strange characters, or comes twice.
    Name(usize),
    /// A part that lies outside the bundle or on another part.
    Place(usize),
    /// Not exactly one configuration, or one that is too long or not UTF-8.
    Configuration,
    /// No application.
    NoApplication,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoBundle => {
                out.write_str("there is no bundle behind the kernel; assemble an image first")
            }
            Refused::Version(version) => {
                write!(out, "the bundle has version {version}, this kernel reads version {VERSION}")
            }
            Refused::Truncated => out.write_str("the bundle is cut off"),
            Refused::TooLong => write!(out, "the bundle is longer than {LEN_MAX} bytes or its place"),
            Refused::Checksum => out.write_str("the bundle is damaged: its checksum does not match"),
            Refused::Parts(count) => {
                write!(out, "the bundle has {count} parts, allowed are 1 to {PARTS_MAX}")
            }
            Refused::Kind(place) => write!(out, "part {place} of the bundle is of an unknown kind"),
            Refused::Name(place) => write!(
                out,
                "part {place} of the bundle has no good name (1 to {NAME_LEN_MAX} letters, digits, '-', '_', '.', \
                 each name once)"
            ),
            Refused::Place(place) => {
                write!(out, "part {place} of the bundle lies outside of it or on another part")
            }
            Refused::Configuration => write!(
                out,
                "the bundle must hold one configuration, UTF-8, at most {CONFIGURATION_LEN_MAX} bytes"
            ),
            Refused::NoApplication => out.write_str("the bundle holds no application"),
        }
    }
}

/// How many bytes [`write`] needs for these parts.
pub fn encoded_len(parts: &[Part<'_>]) -> usize {
    parts.iter().fold(HEADER_LEN + parts.len() * ENTRY_LEN, |end, part| {
        end.next_multiple_of(ALIGNMENT).saturating_add(part.bytes.len())
    })
}

/// Writes a bundle to the front of `into` and says how long it is. What [`read`] would refuse is refused.
pub fn write(parts: &[Part<'_>], into: &mut [u8]) -> Result<usize, Refused> {
    let total = encoded_len(parts);
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(Refused::Parts(u32::try_from(parts.len()).unwrap_or(u32::MAX)));
    }
    if total > LEN_MAX {
        return Err(Refused::TooLong);
    }
    let into = into.get_mut(..total).ok_or(Refused::TooLong)?;
    into.fill(0);
    let mut end = HEADER_LEN + parts.len() * ENTRY_LEN;
    for (place, part) in parts.iter().enumerate() {
        if part.name.len() > NAME_LEN_MAX {
            return Err(Refused::Name(place));
        }
        let start = end.next_multiple_of(ALIGNMENT);
        end = start + part.bytes.len();
        into[start..end].copy_from_slice(part.bytes);
        let entry = &mut into[HEADER_LEN + place * ENTRY_LEN..][..ENTRY_LEN];
        entry[..4].copy_from_slice(&(part.kind as u32).to_le_bytes());
        entry[4..8].copy_from_slice(&(part.name.len() as u32).to_le_bytes());
        entry[8..8 + part.name.len()].copy_from_slice(part.name.as_bytes());
        entry[48..56].copy_from_slice(&(start as u64).to_le_bytes());
        entry[56..64].copy_from_slice(&(part.bytes.len() as u64).to_le_bytes());
    }
    into[..8].copy_from_slice(&MAGIC);
    into[8..12].copy_from_slice(&VERSION.to_le_bytes());
    into[12..16].copy_from_slice(&(parts.len() as u32).to_le_bytes());
    into[16..24].copy_from_slice(&(total as u64).to_le_bytes());
    let checksum = bundle_checksum(into);
    into[24..28].copy_from_slice(&checksum.to_le_bytes());
    read(into).map(|_| total)
}

/// A bundle that was checked.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// Checks the bundle that begins at the front of `bytes`; what follows it does not matter.
pub fn read(bytes: &[u8]) -> Result<Bundle<'_>, Refused> {
    let header = bytes.get(..HEADER_LEN).ok_or(Refused::NoBundle)?;
    if header[..8] != MAGIC {
        return Err(Refused::NoBundle);
    }
    let version = u32_at(header, 8);
    if version != VERSION {
        return Err(Refused::Version(version));
    }
    let total = usize::try_from(u64_at(header, 16)).map_err(|_| Refused::TooLong)?;
    if total > LEN_MAX {
        return Err(Refused::TooLong);
    }
    let bytes = bytes.get(..total).ok_or(Refused::Truncated)?;
    if total < HEADER_LEN {
        return Err(Refused::Truncated);
    }
    if bundle_checksum(bytes) != u32_at(header, 24) || u32_at(header, 28) != 0 {
        return Err(Refused::Checksum);
    }
    let count = u32_at(header, 12);
    if count == 0 || count as usize > PARTS_MAX {
        return Err(Refused::Parts(count));
    }
    let count = count as usize;
    let mut end = HEADER_LEN + count * ENTRY_LEN;
    if end > total {
        return Err(Refused::Truncated);
    }
    let mut configurations = 0;
    let mut applications = 0;
    for place in 0..count {
        let entry = &bytes[HEADER_LEN + place * ENTRY_LEN..][..ENTRY_LEN];
        let kind = kind(entry).ok_or(Refused::Kind(place))?;
        let name = name(entry).ok_or(Refused::Name(place))?;
        let start = usize::try_from(u64_at(entry, 48)).map_err(|_| Refused::Place(place))?;
        let len = usize::try_from(u64_at(entry, 56)).map_err(|_| Refused::Place(place))?;
        let stop = start.checked_add(len).ok_or(Refused::Place(place))?;
        // The parts lie in the order of the table, so that none can lie on another.
        if start < end || stop > total || !start.is_multiple_of(ALIGNMENT) {
            return Err(Refused::Place(place));
        }
        end = stop;
        let bundle = Bundle { bytes, count: place };
        if bundle.parts().any(|other| other.kind == kind && other.name == name) {
            return Err(Refused::Name(place));
        }
        match kind {
            Kind::Configuration => {
                configurations += 1;
                if len > CONFIGURATION_LEN_MAX || core::str::from_utf8(&bytes[start..stop]).is_err() {
                    return Err(Refused::Configuration);
                }
            }
            Kind::Application => applications += 1,
            Kind::Content => {}
        }
    }
    match (configurations, applications) {
        (1, 1..) => Ok(Bundle { bytes, count }),
        (1, 0) => Err(Refused::NoApplication),
        _ => Err(Refused::Configuration),
    }
}

impl<'a> Bundle<'a> {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a checked bundle has parts.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The parts in their order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let bytes = self.bytes;
        (0..self.count).filter_map(move |place| {
            let entry = bytes.get(HEADER_LEN + place * ENTRY_LEN..)?.get(..ENTRY_LEN)?;
            let start = usize::try_from(u64_at(entry, 48)).ok()?;
            let len = usize::try_from(u64_at(entry, 56)).ok()?;
            Some(Part { kind: kind(entry)?, name: name(entry)?, bytes: bytes.get(start..)?.get(..len)? })
        })
    }

    /// The configuration text.
    pub fn configuration(&self) -> &'a str {
        self.parts()
            .find(|part| part.kind == Kind::Configuration)
            .and_then(|part| core::str::from_utf8(part.bytes).ok())
            .unwrap_or("")
    }

    /// What the application of this name finds in its memory.
    pub fn content(&self, name: &str) -> &'a [u8] {
        self.parts()
            .find(|part| part.kind == Kind::Content && part.name == name)
            .map_or(&[], |part| part.bytes)
    }

    /// The application of this name, or without a name the first one.
    pub fn application(&self, name: Option<&str>) -> Option<Part<'a>> {
        self.parts().find(|part| part.kind == Kind::Application && name.is_none_or(|name| name == part.name))
    }
}

fn kind(entry: &[u8]) -> Option<Kind> {
    match u32_at(entry, 0) {
        1 => Some(Kind::Configuration),
        2 => Some(Kind::Application),
        3 => Some(Kind::Content),
        _ => None,
    }
}

fn name(entry: &[u8]) -> Option<&str> {
    let len = u32_at(entry, 4) as usize;
    if len == 0 || len > NAME_LEN_MAX {
        return None;
    }
    let name = core::str::from_utf8(entry.get(8..8 + len)?).ok()?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)).then_some(name)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// CRC-32 (IEEE 802.3, reflected).
pub fn checksum(bytes: &[u8]) -> u32 {
    checksum_over(bytes.iter())
}

fn bundle_checksum(bytes: &[u8]) -> u32 {
    let header = bytes.get(8..24).unwrap_or(&[]);
    checksum_over(header.iter().chain(bytes.get(HEADER_LEN..).unwrap_or(&[])))
}

fn checksum_over<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(!0, |crc, &byte| TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8))
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    fn sample() -> Vec<u8> {
        let parts = [
            Part { kind: Kind::Configuration, name: "configuration", bytes: b"listen = 11211\n" },
            Part { kind: Kind::Application, name: "kv", bytes: &[7; 100] },
            Part { kind: Kind::Application, name: "other", bytes: &[] },
        ];
        let mut bytes = vec![0; encoded_len(&parts)];
        assert_eq!(write(&parts, &mut bytes), Ok(bytes.len()));
        bytes
    }

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_written_is_read_even_with_bytes_behind() {
        let mut bytes = sample();
        bytes.extend([1; 50]);
        let bundle = read(&bytes).unwrap();
        assert_eq!(bundle.configuration(), "listen = 11211\n");
        assert_eq!(bundle.application(Some("kv")).unwrap().bytes, [7; 100]);
        assert_eq!(bundle.application(None).unwrap().name, "kv");
        assert!(bundle.application(Some("configuration")).is_none());
        assert_eq!(bundle.parts().count(), 3);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let good = sample();
        for at in 0..good.len() {
            for change in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                assert!(read(&bad).is_err(), "byte {at} ^ {change}");
            }
            assert!(read(&good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_right_checksum_does_not_excuse_a_wrong_table() {
        let good = sample();
        let mut accepted = 0;
        for at in HEADER_LEN..HEADER_LEN + 3 * ENTRY_LEN {
            for value in [0, 1, 2, 3, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let sum = bundle_checksum(&bad);
                bad[24..28].copy_from_slice(&sum.to_le_bytes());
                if let Ok(bundle) = read(&bad) {
                    // Some changes are harmless (a letter of a name); access must then be whole.
                    accepted += 1;
                    assert_eq!(bundle.parts().count(), 3);
                }
            }
        }
        assert!(accepted > 0);
    }

    #[test]
    fn wrong_parts_are_refused_with_their_reason() {
        let configuration = Part { kind: Kind::Configuration, name: "c", bytes: b"" };
        let application = Part { kind: Kind::Application, name: "a", bytes: b"" };
        let mut space = vec![0; 4096];
        let mut refusal = |parts: &[Part]| write(parts, &mut space).unwrap_err();
        assert_eq!(refusal(&[]), Refused::Parts(0));
        assert_eq!(refusal(&[configuration]), Refused::NoApplication);
        assert_eq!(refusal(&[application]), Refused::Configuration);
        assert_eq!(refusal(&[configuration, application, application]), Refused::Name(2));
        assert_eq!(refusal(&[Part { name: "a b", ..application }, configuration]), Refused::Name(0));
        assert_eq!(refusal(&[Part { bytes: &[0xff], ..configuration }, application]), Refused::Configuration);
        assert_eq!(write(&[configuration, application], &mut [0; 40]), Err(Refused::TooLong));
    }
}
