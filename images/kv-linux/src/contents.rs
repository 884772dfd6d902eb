//! Items that stay between two processes: written when one was drained, read and removed when the next one starts.
//!
//! Removed before anybody is served: a process that dies without a drain must not leave values behind that its
//! successor would serve although they were overwritten since.

use nom_kv::Kv;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

/// Takes over what a predecessor left. What is broken is said and left out.
pub fn take_over(kv: &mut Kv, path: &Path, now_ns: u64) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(failed)?,
    };
    fs::remove_file(path).map_err(failed)?;
    if let Err(error) = kv.load(now_ns, &bytes) {
        eprintln!("nom-kv-linux: {}: {error}", path.display());
    }
    Ok(())
}

/// Refuses a place where nothing could be left at the end, while there is time to choose another one.
pub fn can_be_left(path: &Path) -> Result<(), String> {
    let new = path.with_extension("new");
    let tried = File::create(&new).and_then(|_| fs::remove_file(&new));
    tried.map_err(|error| format!("--contents: {} cannot be written: {error}", new.display()))
}

/// Leaves all items to a successor.
pub fn leave(kv: &Kv, path: &Path, now_ns: u64) -> Result<(), String> {
    let new = path.with_extension("new");
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
