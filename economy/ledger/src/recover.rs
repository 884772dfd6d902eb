//! What a crash leaves of an export, put in order again.
//!
//! An export is one line a window, as [`Window::to_json`] writes it. Sealed windows are appended when they are sealed;
//! between them the open window may be written again and again, marked as not sealed, so that a crash leaves an idea of
//! it. Whoever is killed while writing leaves a last line that is cut off. So whatever the moment, all sealed windows
//! but the one being written are there, they still add up, and what was open is marked unsettled and in no sum.
//!
//! A line that is wrong anywhere else is not what a crash does: it is damage, and nothing is guessed.

use crate::{Fault, Totals, Window, WindowError, verify};
use alloc::vec::Vec;
use core::fmt;
use nom_utility::Contract;

/// What was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The sealed windows, verified.
    pub windows: Vec<Window>,
    /// The latest idea of the window that was open, when one was written.
    pub open: Option<Window>,
    /// Bytes of a line that was cut off at the end.
    pub torn_bytes: usize,
    /// Sums over the sealed windows; `unsettled` when something was open or cut off.
    pub totals: Totals,
}

/// Why an export cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A line that is no window, with another line behind it.
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: WindowError,
    },
    /// The windows do not follow each other, or do not add up.
    Fault(Fault),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, error } => write!(f, "line {line}: {error}"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// Puts an export in order. With the contract the revenue is recomputed too.
pub fn recover(export: &[u8], contract: Option<&Contract>) -> Result<Recovered, Damage> {
    let (mut windows, mut open): (Vec<Window>, Option<Window>) = (Vec::new(), None);
    let mut torn_bytes = 0;
    let mut lines = export.split(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let last = lines.peek().is_none();
        if line.is_empty() && last {
            break;
        }
        let text = core::str::from_utf8(line)
            .map_err(|error| WindowError::Expected { at: error.valid_up_to(), what: "text" });
        let window = match text.and_then(Window::parse) {
            Ok(window) => window,
            // Only the last line has no newline behind it.
            Err(_) if last => {
                torn_bytes = line.len();
                break;
            }
            Err(error) => return Err(Damage::Line { line: index + 1, error }),
        };
        if window.sealed {
            open = None;
            windows.push(window);
        } else {
            open = Some(window);
        }
    }
    if let Some(first) = windows.first().or(open.as_ref()).filter(|first| first.number != 1) {
        return Err(Damage::Fault(Fault {
            window: first.number,
            what: "it is the first, and should be window 1",
        }));
    }
    let mut totals = verify(&windows, contract).map_err(Damage::Fault)?;
    if let Some(open) = &open {
        let both: Vec<Window> = windows.last().into_iter().chain([open]).cloned().collect();
        verify(&both, contract).map_err(Damage::Fault)?;
    }
    totals.unsettled = open.is_some() || torn_bytes > 0;
    Ok(Recovered { windows, open, torn_bytes, totals })
}
