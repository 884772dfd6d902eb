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

/// Takes what a predecessor left, on however many cores it was.
pub fn take(path: &Path) -> Result<Contents, String> {
    let mut all = Vec::new();
    for path in (0..CORES_MAX).map(|core| of_core(path, core)) {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => {
                let bytes = read.map_err(failed)?;
                fs::remove_file(&path).map_err(failed)?;
                all.push((path, bytes));
            }
        }
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

/// Refuses a place where nothing could be left at the end, while there is time to choose another one.
pub fn can_be_left(path: &Path) -> Result<(), String> {
    let new = path.with_extension("new");
    let tried = File::create(&new).and_then(|_| fs::remove_file(&new));
    tried.map_err(|error| format!("--contents: {} cannot be written: {error}", new.display()))
}

/// Leaves all items of a core to a successor.
pub fn leave(kv: &Kv, path: &Path, now_ns: u64) -> Result<(), String> {
    let mut new = path.as_os_str().to_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
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
