//! What can go wrong with a board in shared memory.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no board.
#[derive(Debug)]
pub enum BoardError {
    /// A step on a file or socket failed.
    File(&'static str, PathBuf, io::Error),
    /// Somebody else publishes there.
    Taken(PathBuf),
    /// The file is not a board.
    NotABoard(PathBuf),
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(step, path, error) => {
                write!(f, "price board: cannot {step} {}: {error}", path.display())
            }
            Self::Taken(path) => write!(
                f,
                "price board: another process publishes on {}: stop it or choose another board",
                path.display()
            ),
            Self::NotABoard(path) => {
                write!(f, "price board: {} is not a board: delete it or choose another path", path.display())
            }
        }
    }
}

impl std::error::Error for BoardError {}
