//! Sealed windows in a file: appended when they are sealed, a line each, and closed with a line of its own.
//!
//! Whoever is killed leaves all windows that were sealed but the one being written; [`nom_ledger::recover`] puts that in
//! order. What is written survives the death of the process at once, that of the machine when the system has written it
//! to the disk: nothing here waits for a disk while somebody is served, but [`Export::close`] does.
//!
//! A file that is there is kept under another name, since every run begins a ledger of its own. When the disk is full,
//! windows wait for the next one, [`WAITING_MAX`] at most; beyond that the file ends where it is, in order and
//! unsettled.

#![forbid(unsafe_code)]

use nom_ledger::{Window, closing};
use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Windows that wait while the file cannot be written.
pub const WAITING_MAX: usize = 1_024;
/// Earlier files that are kept beside a new one.
pub const EARLIER_MAX: u32 = 10_000;

/// What cannot be done with which file.
#[derive(Debug)]
pub struct ExportError {
    step: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ledger: cannot {} {}: {}", self.step, self.path.display(), self.error)
    }
}

impl std::error::Error for ExportError {}

/// A file of sealed windows that is being written.
#[derive(Debug)]
pub struct Export {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines; what stands behind them was not written to its end.
    len: u64,
    waiting: VecDeque<Window>,
    last: Option<Window>,
    /// A window was lost: later ones would not follow.
    ended: bool,
}

impl Export {
    /// Begins a file that only its owner reads, and says where an earlier one of that name went.
    pub fn create(path: &Path) -> Result<(Self, Option<PathBuf>), ExportError> {
        let failed = |step| move |error| ExportError { step, path: path.to_owned(), error };
        let earlier = match fs::metadata(path) {
            Ok(known) if known.len() > 0 => Some(set_aside(path).map_err(failed("keep the earlier"))?),
            _ => None,
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path).map_err(failed("create"))?;
        let path = path.to_owned();
        Ok((Self { file, path, len: 0, waiting: VecDeque::new(), last: None, ended: false }, earlier))
    }

    /// Appends a sealed window, and those that had to wait. An error is worth telling once; the window waits then.
    pub fn seal(&mut self, window: &Window) -> Result<(), ExportError> {
        if self.ended {
            return Ok(());
        }
        if self.waiting.len() == WAITING_MAX {
            self.ended = true;
            self.waiting.clear();
            let error = io::Error::other(format!("{WAITING_MAX} windows wait; the file ends here"));
            return Err(self.failed("write", error));
        }
        self.waiting.push_back(window.clone());
        self.flush()
    }

    /// Closes the ledger and waits until the disk has it. Nothing may be open any more.
    pub fn close(&mut self) -> Result<(), ExportError> {
        self.flush()?;
        if let Some(last) = self.last.take().filter(|_| !self.ended) {
            self.append(&closing(&last))?;
        }
        self.file.sync_all().map_err(|error| self.failed("write", error))
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        while let Some(window) = self.waiting.front() {
            let line = window.to_json();
            self.append(&line)?;
            self.last = self.waiting.pop_front();
        }
        Ok(())
    }

    /// A line is written where the whole lines end, so that one that was not written to its end is written over.
    fn append(&mut self, line: &str) -> Result<(), ExportError> {
        let line = format!("{line}\n");
        match self.file.write_all_at(line.as_bytes(), self.len) {
            Ok(()) => {
                self.len += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // As far as it can be undone; if not, it is a torn line at the end, as after a crash.
                let _ = self.file.set_len(self.len);
                Err(self.failed("write", error))
            }
        }
    }

    fn failed(&self, step: &'static str, error: io::Error) -> ExportError {
        ExportError { step, path: self.path.clone(), error }
    }
}

/// Gives a file the first free name that ends with a number.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=EARLIER_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let free = PathBuf::from(name);
        if !free.try_exists()? {
            fs::rename(path, &free)?;
            return Ok(free);
        }
    }
    Err(io::Error::other(format!("{EARLIER_MAX} earlier ones are kept already: remove some")))
}
