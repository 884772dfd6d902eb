//! Items that stay between two processes: written when one was drained, read and removed when the next one starts.
//!
//! Removed before anybody is served: a process that dies without a drain must not leave values behind that its
//! successor would serve although they were overwritten since.
//!
//! Each core leaves a file of its own. A successor reads all of them on each of its cores, which keep what is theirs: it may
//! have another number of cores, and which core has which key is chosen anew with each start.

use nom_kv::Kv;
use nom_kv::shards::CORES_MAX;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where a core leaves its items: the first one at the path itself, each other one beside it.
pub fn of_core(path: &Path, core: usize) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    if core > 0 {
        name.push(format!(".{core}"));
    }
    name.into()
}

/// What the cores of a predecessor left, with where that lay.
pub type Contents = Vec<(PathBuf, Vec<u8>)>;

/// Takes what a predecessor left, on however many cores it was. All of it is read before any of it is removed: when a
/// part cannot be read, the rest is still there for the next try.
pub fn take(path: &Path) -> Result<Contents, String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let mut all = Vec::new();
    for path in (0..CORES_MAX).map(|core| of_core(path, core)) {
        match fs::read(&path) {
            Ok(bytes) => all.push((path, bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    for (path, _) in &all {
        fs::remove_file(path).map_err(|error| failed(path, error))?;
    }
    Ok(all)
}

/// Takes over what is this core's of it. What is broken is said, by the core that `says`, and left out.
pub fn take_over(kv: &mut Kv, all: &Contents, now_ns: u64, says: bool) {
    for (path, bytes) in all {
        if let Err(error) = kv.load(now_ns, bytes)
            && says
        {
            eprintln!("nom-kv-linux: {}: {error}", path.display());
        }
    }
}

/// Where contents are written before they take the name that they are found by.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".new");
    name.into()
}

/// Refuses a place where nothing could be left at the end, while there is time to choose another one.
pub fn can_be_left(path: &Path) -> Result<(), String> {
    let new = unfinished(path);
    let tried = File::create(&new).and_then(|_| fs::remove_file(&new));
    tried.map_err(|error| format!("--contents: {} cannot be written: {error}", new.display()))
}

/// Leaves all items of a core to a successor.
pub fn leave(kv: &Kv, path: &Path, now_ns: u64) -> Result<(), String> {
    let new = unfinished(path);
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&new)?);
        let mut result = Ok(());
        kv.save(now_ns, |part| {
            if result.is_ok() {
                result = file.write_all(part);
            }
        });
        result?;
        file.flush()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&new);
        format!("the contents cannot be left in {}: {error}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the test's own, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("nom-contents-{name}-{}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn trying_a_place_touches_no_file_of_somebody_else() {
        let folder = Folder::new("tried");
        let neighbour = folder.0.join("cache.new");
        fs::write(&neighbour, "of somebody else").unwrap();
        can_be_left(&folder.0.join("cache.kv")).unwrap();
        assert_eq!(fs::read(&neighbour).unwrap(), b"of somebody else");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing of the try is left");
        assert!(can_be_left(&folder.0.join("absent/cache.kv")).is_err());
    }

    #[test]
    fn what_cannot_be_read_whole_stays_whole() {
        let folder = Folder::new("taken");
        let path = folder.0.join("cache");
        for core in [0, 1, 3] {
            fs::write(of_core(&path, core), [core as u8]).unwrap();
        }
        // A folder in the place of a part cannot be read.
        fs::create_dir(of_core(&path, 2)).unwrap();
        assert!(take(&path).unwrap_err().contains("cache.2"));
        fs::remove_dir(of_core(&path, 2)).unwrap();
        let taken: Vec<Vec<u8>> = take(&path).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(taken, [[0], [1], [3]]);
        assert_eq!(take(&path).unwrap(), [], "it is taken once");
    }
}
