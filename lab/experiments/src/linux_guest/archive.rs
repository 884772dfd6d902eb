//! An initial file system, written in the `newc` form of cpio.

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
const LAST: &str = "TRAILER!!!";

/// What is being written.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    /// Names that are in it.
    names: Vec<String>,
}

impl Archive {
    /// One with `/dev/console` (without which `init` has no output) and `/init`.
    pub fn new(init: &[u8]) -> Self {
        let mut archive = Self { bytes: Vec::new(), names: Vec::new() };
        archive.folder("dev");
        archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
        archive.add("init", PROGRAM, (0, 0), init);
        archive
    }

    /// Adds a folder and those above it, where they are not there yet.
    pub fn folder(&mut self, name: &str) {
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        for end in ends.filter(|end| *end > 0) {
            if !self.names.iter().any(|known| known == &name[..end]) {
                self.add(&name[..end], FOLDER, (0, 0), &[]);
            }
        }
    }

    /// Adds a file that everybody may execute, and the folders above it.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder);
        }
        self.add(name, PROGRAM, (0, 0), content);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.add(LAST, 0, (0, 0), &[]);
        self.bytes
    }

    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.names.push(name.into());
        let fields = [
            self.names.len() as u32,
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            content.len() as u32,
            0, // device that holds it, in two parts
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // checksum: none in this form
        ];
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(b"070701");
        for field in fields {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_aligned_and_ends() {
        let archive = Archive::new(b"12345").finish();
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.starts_with(b"07070100000001"));
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("dev/console\0") && text.contains("12345") && text.contains("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 4);
    }

    #[test]
    fn each_folder_comes_once_and_before_what_is_in_it() {
        let mut archive = Archive::new(b"");
        archive.file("usr/lib/one", b"1");
        archive.file("usr/lib/two", b"2");
        assert_eq!(archive.names[3..], ["usr", "usr/lib", "usr/lib/one", "usr/lib/two"]);
    }
}
