//! What went wrong, in words for the person who typed the command.

use std::fmt;

/// An operating error as one line: what happened, where, and what to do about it.
///
/// A struct around text and not an enum: nobody in the host decides by the kind of trouble, everybody shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble(String);

impl Trouble {
    /// Trouble with this text. Line ends become spaces: one clear line is a promise.
    pub fn new(text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self(text.trim().replace(['\n', '\r'], " "))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// Shorthand for everything in the host that can fail.
pub type Outcome<T> = Result<T, Trouble>;

/// Says what was being done when the system refused.
pub trait Context<T> {
    /// Turns the error into trouble that begins with `what`.
    fn context(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Trouble::new(format!("{}: {error}", what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_one_line() {
        let refused: Result<(), &str> = Err("no such file\nor directory\n");
        let trouble = refused.context(|| "reading kv.conf".into()).unwrap_err();
        assert_eq!(trouble.to_string(), "reading kv.conf: no such file or directory");
    }
}
