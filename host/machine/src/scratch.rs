//! A private folder that is gone when its owner is.

use crate::trouble::{Context, Outcome};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// What the guard does: it waits until our end of its pipe is closed, by us or because we are gone, and removes. A
/// process that still writes there can make a removal fail, so it is tried again for a while.
const GUARD: &str = "cat >/dev/null; for try in 1 2 3 4 5 6 7 8; do rm -rf -- \"$1\" && exit; sleep 1; done";

/// A folder that only its owner may enter, removed with everything in it when this value is dropped; or, should this
/// process be killed, by a guard that waits for its end.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    guard: Option<Child>,
}

impl Scratch {
    /// Makes a fresh folder below the system's folder for temporary files. A name that exists already is never
    /// used: somebody else may own it.
    pub fn new() -> Outcome<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let moment = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let name = format!("nom-{}-{count}-{moment:08x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context(|| format!("cannot make the private folder {}", path.display()))?;
        // Without a shell the folder is still removed, except after a KILL.
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok();
        Ok(Self { path, guard })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing sensible can be done about a failure here, and the content is private and small.
        let _ = std::fs::remove_dir_all(&self.path);
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nothing_is_left_and_nobody_else_may_enter() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_path_buf();
        std::fs::write(scratch.file("x"), b"y").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_ne!(Scratch::new().unwrap().path(), path);
        drop(scratch);
        assert!(!path.exists());
    }
}
