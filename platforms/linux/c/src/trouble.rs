//! What C is told when something did not go: a negative number, and a line for a person.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

/// The numbers, as the header has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Nothing is there now, or there is no room now: an event says when to try again.
    Again = -1,
    /// An argument is wrong.
    Argument = -2,
    /// There is no such service in this thread, or no such connection any more.
    Gone = -3,
    /// A table is full.
    Full = -4,
    /// What was asked for cannot be had, and nothing has changed.
    Refused = -5,
    /// The service has ended.
    Over = -6,
    /// The library itself failed; the service is gone.
    Failed = -7,
}

/// A call that did not go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For the program.
    pub code: Code,
    /// For a person.
    pub text: String,
}

impl Trouble {
    /// With its line.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Keeps the line, and returns the number.
pub fn note(trouble: Trouble) -> i32 {
    // A line of ours has no zero byte; one that C gave us back might.
    let line = CString::new(trouble.text.replace('\0', "?")).unwrap_or_default();
    LAST.with(|last| *last.borrow_mut() = line);
    trouble.code as i32
}

/// The line of this thread's last trouble; it stays until the next one.
pub fn last() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}
