//! The access log's file: lines are appended some at a time, whole ones only.

use nom_httpd::log::Log;
use nom_service::home::Home;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Bytes that are worth a write.
const ENOUGH: usize = 16 << 10;
/// Longest time that a line waits for others.
const PATIENCE_NS: u64 = 500_000_000;

/// A file, or nothing where no log is wanted.
pub struct Journal {
    file: Option<File>,
    written_ns: u64,
    /// Lines that were lost when that was said last.
    lost: u64,
    failed: bool,
}

impl Journal {
    /// Opens the file to append to it.
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let open = |path: &Path| OpenOptions::new().append(true).create(true).open(path);
        let file = path.map(|path| open(path).map_err(|error| format!("{}: {error}", path.display())));
        Ok(Self { file: file.transpose()?, written_ns: 0, lost: 0, failed: false })
    }

    /// Whether there is one.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Writes what waits when it is enough, or has waited for long.
    #[inline]
    pub fn fetch(&mut self, log: &mut Log, home: &impl Home) {
        if log.waiting() == 0 {
            return;
        }
        let now_ns = home.now_ns();
        if log.waiting() >= ENOUGH || now_ns.saturating_sub(self.written_ns) >= PATIENCE_NS {
            self.written_ns = now_ns;
            self.end(log);
        }
    }

    /// Writes what waits. A file that fails is said once and then given up.
    pub fn end(&mut self, log: &mut Log) {
        let Some(file) = &mut self.file else { return };
        let mut result = Ok(());
        log.take(|lines| result = file.write_all(lines));
        if let Err(error) = result
            && !std::mem::replace(&mut self.failed, true)
        {
            eprintln!(
                "nom-httpd-linux: the access log cannot be written: {error}; serving on, its lines are lost"
            );
        }
        if log.lost > self.lost {
            eprintln!("nom-httpd-linux: {} lines of the access log were lost", log.lost - self.lost);
            self.lost = log.lost;
        }
    }
}
