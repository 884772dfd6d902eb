//! The bulletin board for Linux processes: a file in shared memory, and a socket beside it that says when to look.
//!
//! One publisher (`priced`) creates both, any number of readers map the file read-only, and at most
//! [`READERS_MAX`] of them hold a connection over which one byte comes for every publication, so that nobody
//! polls. Words and their consistency are `nom_abi::board`'s.
//!
//! Whoever may read the file may also connect. The directory of the board is the trust boundary: whoever may write
//! there may publish, and may also shorten the file under its readers, which ends them. Keep it in a directory of mode
//! 0700 or one that only the publisher writes.

mod error;
mod mapping;
mod publisher;
mod reader;

pub use error::BoardError;
pub use publisher::Publisher;
pub use reader::Reader;

use std::path::{Path, PathBuf};

/// Readers that are told of publications; further connections are closed at once, and those readers see changes
/// only when they look.
pub const READERS_MAX: usize = 64;

/// Where the socket of a board is: beside the file.
fn socket_path(board: &Path) -> PathBuf {
    let mut path = board.as_os_str().to_owned();
    path.push(".notify");
    path.into()
}
