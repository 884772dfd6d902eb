//! Files that a person names, read up to a bound, whatever they are: a device or a pipe has no length to look at before.

use crate::trouble::{Context, Outcome, Trouble};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The bytes of a file, when they are not more than so many.
pub fn bytes(path: &Path, len_max: u64) -> Outcome<Vec<u8>> {
    let reading = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).context(reading)?;
    file.take(len_max.saturating_add(1)).read_to_end(&mut bytes).context(reading)?;
    match bytes.len() as u64 > len_max {
        true => {
            Err(Trouble::new(format!("{}: it has more than the {len_max} bytes allowed", path.display())))
        }
        false => Ok(bytes),
    }
}

/// The same of a text.
pub fn text(path: &Path, len_max: u64) -> Outcome<String> {
    String::from_utf8(bytes(path, len_max)?)
        .map_err(|_| Trouble::new(format!("{}: it is no text (UTF-8)", path.display())))
}

/// Whether it could be written, tried before hours of work are to go into it; what is in it stays.
pub fn try_writing(path: &Path) -> Outcome<()> {
    let tried = match File::create_new(path) {
        // Should the work fail, nothing is left of it.
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        // Whoever reads a pipe would see it closed, and without a reader it would be waited for.
        Err(_) if path.metadata().is_ok_and(|known| !known.is_file() && !known.is_dir()) => Ok(()),
        Err(_) => File::options().append(true).open(path).map(drop),
    };
    tried.context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn trying_changes_nothing() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.file("some");
        try_writing(&file).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "12").unwrap();
        try_writing(&file).unwrap();
        assert_eq!(text(&file, 2).unwrap(), "12");
        let pipe = scratch.file("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        try_writing(&pipe).unwrap();
        assert!(try_writing(scratch.path()).is_err() && try_writing(Path::new("/absent/x")).is_err());
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused_by_its_name() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.file("some");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(text(&file, 5).unwrap(), "12345");
        std::fs::write(&file, [b'a', 0xff]).unwrap();
        for (path, len_max, why) in [
            (file.as_path(), 1, "more than the 1 bytes"),
            (&file, 5, "no text"),
            (Path::new("/dev/zero"), 1 << 16, "more than the 65536 bytes"),
            (scratch.path(), 5, "cannot read"),
            (Path::new("/absent"), 5, "cannot read"),
        ] {
            let said = text(path, len_max).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains(&*path.to_string_lossy()), "{said}");
        }
    }
}
