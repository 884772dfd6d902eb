//! Content as one run of bytes: an archive in the form of POSIX `ustar`, which `tar` makes and lists.
//!
//! An image carries its content so. Files whose names end with `.gz` or `.br` beside one without that ending are the same
//! content, compressed.

use crate::site::File;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Archives come in blocks of so many bytes.
pub const BLOCK: usize = 512;
/// Most entries of one archive.
pub const ENTRIES_MAX: usize = 3 * crate::site::PATHS_MAX;
const NAME: core::ops::Range<usize> = 0..100;
const SIZE: core::ops::Range<usize> = 124..136;
const MODIFIED: core::ops::Range<usize> = 136..148;
const CHECKSUM: core::ops::Range<usize> = 148..156;
const KIND: usize = 156;
const MAGIC: core::ops::Range<usize> = 257..263;
const PREFIX: core::ops::Range<usize> = 345..500;

/// What is wrong with an archive, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub at: usize,
    /// What.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the content's archive is malformed at byte {}: {}", self.at, self.what)
    }
}

/// A file of a folder or an archive, before it is known what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    /// Its path, from the content's root, with a slash before it.
    pub path: String,
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
    /// When it changed last, in seconds since 1970.
    pub modified_s: u64,
}

/// Reads an archive that stays where it is. Folders in it are passed over; any other kind of entry is refused.
pub fn read(bytes: &'static [u8]) -> Result<Vec<Loose>, Malformed> {
    let mut files = Vec::new();
    let mut at = 0;
    loop {
        let wrong = |what| Malformed { at, what };
        let Some(header) = bytes.get(at..at + BLOCK) else {
            return if at >= bytes.len() { Ok(files) } else { Err(wrong("a header is cut off")) };
        };
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        if &header[MAGIC] != b"ustar\0" {
            return Err(wrong("no ustar header"));
        }
        if octal(&header[CHECKSUM]) != Some(checksum(header)) {
            return Err(wrong("a header's checksum"));
        }
        let (Some(len), Some(modified_s)) = (octal(&header[SIZE]), octal(&header[MODIFIED])) else {
            return Err(wrong("a number"));
        };
        let begin = at + BLOCK;
        let content = usize::try_from(len).ok().and_then(|len| bytes.get(begin..begin.checked_add(len)?));
        let Some(content) = content else { return Err(wrong("a file is cut off")) };
        match header[KIND] {
            b'5' => {}
            b'0' | 0 => {
                let (Some(prefix), Some(name)) = (text(&header[PREFIX]), text(&header[NAME])) else {
                    return Err(wrong("a name that is not UTF-8"));
                };
                let mut path = String::from("/");
                let whole = if prefix.is_empty() { name.to_string() } else { [prefix, name].join("/") };
                path.push_str(whole.trim_start_matches("./"));
                if files.len() == ENTRIES_MAX {
                    return Err(wrong("too many files"));
                }
                files.push(Loose { path, bytes: Cow::Borrowed(content), modified_s });
            }
            _ => return Err(wrong("an entry that is neither file nor folder")),
        }
        at = begin + content.len().next_multiple_of(BLOCK);
    }
}

/// The header of a file in an archive; none when its path is too long for one. Behind it come the file's bytes, filled up
/// with zeros to a block; behind all files two blocks of zeros.
pub fn header(path: &str, len: u64, modified_s: u64) -> Option<[u8; BLOCK]> {
    let path = path.trim_start_matches('/');
    let (prefix, name) = match path.len() <= NAME.len() {
        true => ("", path),
        false => path.match_indices('/').find_map(|(slash, _)| {
            let fits = slash <= PREFIX.len() && path.len() - slash - 1 <= NAME.len();
            fits.then(|| (&path[..slash], &path[slash + 1..]))
        })?,
    };
    let mut header = [0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[PREFIX][..prefix.len()].copy_from_slice(prefix.as_bytes());
    for (place, value) in
        [(100..108, 0o644), (108..116, 0), (116..124, 0), (SIZE, len), (MODIFIED, modified_s)]
    {
        write_octal(&mut header[place], value)?;
    }
    header[KIND] = b'0';
    header[MAGIC].copy_from_slice(b"ustar\0");
    header[263..265].copy_from_slice(b"00");
    let sum = checksum(&header);
    write_octal(&mut header[CHECKSUM], sum)?;
    Some(header)
}

/// Brings together what belongs to one path: a file, and the same compressed beside it, unless that is older.
pub fn gather(files: impl IntoIterator<Item = Loose>) -> Vec<(String, File)> {
    let mut all: BTreeMap<String, Loose> = files.into_iter().map(|file| (file.path.clone(), file)).collect();
    let paths: Vec<String> = all.keys().cloned().collect();
    let mut gathered = Vec::new();
    for path in &paths {
        // Compressed forms were taken by what they belong to, which stands before them.
        let Some(plain) = all.remove(path) else { continue };
        let mut coded = |ending: &str| {
            let beside = [path.as_str(), ending].concat();
            let fresh = all.get(&beside).is_some_and(|coded| coded.modified_s >= plain.modified_s);
            let taken = all.remove(&beside);
            taken.filter(|_| fresh).map(|coded| coded.bytes)
        };
        let (gzip, brotli) = (coded(".gz"), coded(".br"));
        gathered
            .push((path.clone(), File { plain: plain.bytes, gzip, brotli, modified_s: plain.modified_s }));
    }
    gathered
}

fn text(field: &[u8]) -> Option<&str> {
    let len = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..len]).ok()
}

/// A number in octal digits, with blanks or zeros around it.
fn octal(field: &[u8]) -> Option<u64> {
    let text = text(field)?.trim();
    if text.is_empty() {
        Some(0)
    } else {
        u64::from_str_radix(text, 8).ok().filter(|_| !text.starts_with('+'))
    }
}

fn write_octal(field: &mut [u8], mut value: u64) -> Option<()> {
    let digits = field.len() - 1;
    for place in (0..digits).rev() {
        field[place] = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    (value == 0).then_some(())
}

/// The sum of a header's bytes, with blanks where the sum itself stands.
fn checksum(header: &[u8]) -> u64 {
    let byte =
        |(place, byte): (usize, &u8)| if CHECKSUM.contains(&place) { b' '.into() } else { u64::from(*byte) };
    header.iter().enumerate().map(byte).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> &'static [u8] {
        let mut bytes = Vec::new();
        for (path, content) in files {
            bytes.extend_from_slice(&header(path, content.len() as u64, 1_700_000_000).unwrap());
            bytes.extend_from_slice(content.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes.leak()
    }

    #[test]
    fn what_is_written_is_read_and_gathered() {
        let long = ["/", &"d".repeat(120), "/", &"n".repeat(90)].concat();
        let files = [("/a.css", "plain"), ("/a.css.gz", "zipped"), ("/b.gz", "alone"), (long.as_str(), "")];
        let gathered = gather(read(archive(&files)).unwrap());
        let paths: Vec<&str> = gathered.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/a.css", "/b.gz", &long]);
        let first = &gathered[0].1;
        assert_eq!(
            (&first.plain[..], first.gzip.as_deref(), first.brotli.as_deref()),
            (&b"plain"[..], Some(&b"zipped"[..]), None)
        );
        assert_eq!(first.modified_s, 1_700_000_000);
        assert!(header(&"x".repeat(300), 0, 0).is_none());
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let good = archive(&[("/a", "content")]);
        for (at, what) in [(0, "checksum"), (130, "checksum"), (258, "ustar")] {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            let error = read(bytes.leak()).unwrap_err();
            assert!(error.what.contains(what), "{at}: {error}");
        }
        assert_eq!(read(&good[..700]).unwrap().len(), 1, "what fills a block up may be missing at the end");
        assert!(read(&good[..515]).is_err() && read(&good[..100]).is_err());
    }
}
