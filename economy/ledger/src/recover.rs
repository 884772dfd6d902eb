//! What a crash leaves of an export, put in order again.
//!
//! An export is one line a window, as [`Window::to_json`] writes it, and [`closing`] behind the last one. Sealed windows are
//! appended when they are sealed; between them the open window may be written again and again, marked as not sealed, so
//! that a crash leaves an idea of it. Whoever is killed while writing leaves a last line that is cut off. So whatever the
//! moment, all sealed windows but the one being written are there and still add up; what was open is in no sum, and an
//! export without its closing line is unsettled.
//!
//! A line that is wrong anywhere else is not what a crash does: it is damage, and nothing is guessed.

use crate::{Fault, Totals, Window, WindowError, verify};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use nom_utility::Contract;

/// How a closing line begins.
const CLOSING: &[u8] = b"{\"closed\":";

/// What was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The sealed windows, verified.
    pub windows: Vec<Window>,
    /// The latest idea of the window that was open, when one was written.
    pub open: Option<Window>,
    /// Bytes of a line that was cut off at the end.
    pub torn_bytes: usize,
    /// The ledger was closed in order: nothing was open any more.
    pub closed: bool,
    /// Sums over the sealed windows; `unsettled` when the ledger was not closed.
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
    /// Something stands behind the closing line, or the ledger was closed behind another window than the last one.
    Closed {
        /// From 1.
        line: usize,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, error } => write!(f, "line {line}: {error}"),
            Self::Fault(fault) => fault.fmt(f),
            Self::Closed { line } => {
                write!(f, "line {line}: the ledger was closed before, or behind another window")
            }
        }
    }
}

/// The last line of an export, without a newline: the ledger was closed behind this window.
pub fn closing(last: &Window) -> String {
    format!("{{\"closed\":{},\"hash\":\"{}\"}}", last.number, last.hash)
}

/// Puts an export in order. With the contract the revenue is recomputed too.
pub fn recover(export: &[u8], contract: Option<&Contract>) -> Result<Recovered, Damage> {
    let (mut windows, mut open): (Vec<Window>, Option<Window>) = (Vec::new(), None);
    let (mut torn_bytes, mut closed) = (0, false);
    let mut lines = export.split(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let last = lines.peek().is_none();
        if line.is_empty() && last {
            break;
        }
        if closed {
            return Err(Damage::Closed { line: index + 1 });
        }
        if line.starts_with(CLOSING) {
            closed = windows.last().is_some_and(|last| closing(last).as_bytes() == line);
            if closed {
                open = None;
                continue;
            }
            if !last {
                return Err(Damage::Closed { line: index + 1 });
            }
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
    totals.unsettled = !closed;
    Ok(Recovered { windows, open, torn_bytes, closed, totals })
}
