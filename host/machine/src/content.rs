//! A folder as the content that an image carries: an archive that `tar` can list.

use crate::trouble::{Context, Outcome, Trouble};
use nom_httpd::archive::{BLOCK, header};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Most bytes of content: more than that does not belong into an image.
const LEN_MAX: u64 = 128 << 20;
/// Folders within folders.
const DEPTH_MAX: usize = 32;

/// Packs all files of a folder, in the order of their names. Names that begin with a dot are passed over, and so is what is
/// no file: a pipe or a device has no end that one could wait for.
pub fn pack(folder: &Path) -> Outcome<Vec<u8>> {
    let mut archive = Vec::new();
    add(folder, "", 0, &mut archive)?;
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

fn add(folder: &Path, path: &str, depth: usize, archive: &mut Vec<u8>) -> Outcome<()> {
    let reading = || format!("cannot read {}", folder.display());
    if depth > DEPTH_MAX {
        return Err(Trouble::new(format!("{}: too many folders within each other", folder.display())));
    }
    let mut entries =
        fs::read_dir(folder).context(reading)?.collect::<Result<Vec<_>, _>>().context(reading)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let file = entry.path();
        let name = entry.file_name().into_string().map_err(|_| {
            Trouble::new(format!("{}: a name that is not UTF-8 cannot be asked for", file.display()))
        })?;
        if name.starts_with('.') {
            continue;
        }
        let own = format!("{path}/{name}");
        let known = fs::metadata(&file).context(|| format!("cannot read {}", file.display()))?;
        if known.is_dir() {
            add(&file, &own, depth + 1, archive)?;
            continue;
        }
        if !known.is_file() {
            continue;
        }
        if archive.len() as u64 + known.len() > LEN_MAX {
            return Err(Trouble::new(format!("{}: more than {LEN_MAX} bytes of content", folder.display())));
        }
        let bytes = fs::read(&file).context(|| format!("cannot read {}", file.display()))?;
        let modified_s = u64::try_from(known.mtime()).unwrap_or(0);
        let header = header(&own, bytes.len() as u64, modified_s).ok_or_else(|| {
            Trouble::new(format!("{}: its path is too long for an archive", file.display()))
        })?;
        archive.extend_from_slice(&header);
        archive.extend_from_slice(&bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_folder_is_packed_and_read_again() {
        let scratch = Scratch::new().unwrap();
        fs::create_dir(scratch.file("b")).unwrap();
        for (file, text) in [("a.txt", "one"), ("b/c.txt", "two"), (".hidden", "three")] {
            fs::write(scratch.file(file), text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/zero", scratch.file("endless")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scratch.file("socket")).unwrap();
        let archive = pack(scratch.path()).unwrap().leak();
        let files = nom_httpd::archive::read(archive).unwrap();
        let all: Vec<_> = files.iter().map(|file| (file.path.as_str(), &file.bytes[..])).collect();
        assert_eq!(all, [("/a.txt", &b"one"[..]), ("/b/c.txt", b"two")]);
        assert!(pack(&scratch.file("absent")).unwrap_err().to_string().contains("absent"));
    }
}
