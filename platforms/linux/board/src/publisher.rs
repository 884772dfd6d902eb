//! The one who writes the board.

use crate::error::BoardError;
use crate::mapping::{LEN, Mapping};
use crate::{READERS_MAX, socket_path};
use nom_abi::board::{self, Prices};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The publisher of a board. The lock on the file, the socket and the mapping end with it.
#[derive(Debug)]
pub struct Publisher {
    mapping: Mapping,
    listener: UnixListener,
    readers: Vec<UnixStream>,
    path: PathBuf,
    // Holds the lock that makes this the only publisher.
    _file: File,
}

impl Publisher {
    /// Creates the board, or goes on with one that an earlier publisher left: readers keep their mapping and the
    /// generations go on counting.
    pub fn create(path: &Path) -> Result<Self, BoardError> {
        let failed = |step| move |error| BoardError::File(step, path.to_owned(), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(failed("create"))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| BoardError::Taken(path.to_owned()))?;
        let fresh = file.metadata().map_err(failed("examine"))?.len() == 0;
        if fresh {
            file.set_len(LEN as u64).map_err(failed("enlarge"))?;
        }
        let mapping = Mapping::new(&file, true).map_err(failed("map"))?;
        if fresh {
            // The mapping has just the length of a board.
            let _ = board::initialise(mapping.words());
        } else if matches!(board::read(mapping.words()), Err(board::Unreadable::NotABoard)) {
            return Err(BoardError::NotABoard(path.to_owned()));
        }
        let socket = socket_path(path);
        // The lock is ours, so a socket that is there was left by a publisher that is gone. Anything else is somebody's file.
        if fs::symlink_metadata(&socket).is_ok_and(|known| known.file_type().is_socket()) {
            let _ = fs::remove_file(&socket);
        }
        let failed = |step| move |error| BoardError::File(step, socket_path(path), error);
        let listener = UnixListener::bind(&socket).map_err(failed("listen on"))?;
        listener.set_nonblocking(true).map_err(failed("listen on"))?;
        // Whoever may read the board may be told of it. Linux takes the right to write for the right to connect.
        let readers = file.metadata().map_err(failed("examine"))?.mode() & 0o444;
        let may = Permissions::from_mode(readers | readers >> 1);
        fs::set_permissions(&socket, may).map_err(failed("listen on"))?;
        Ok(Self { mapping, listener, readers: Vec::new(), path: path.to_owned(), _file: file })
    }

    /// Where the board is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the readers that wait to be connected. Called when the descriptor is readable, and by
    /// [`Publisher::publish`].
    pub fn accept(&mut self) {
        // Bounded by the backlog of the listener.
        while let Ok((mut reader, _)) = self.listener.accept() {
            // The first byte makes a new reader look at what is already there.
            if self.readers.len() < READERS_MAX
                && reader.set_nonblocking(true).is_ok()
                && reader.write_all(&[1]).is_ok()
            {
                self.readers.push(reader);
            } else {
                self.readers.retain(|mut reader| alive(reader.write(&[1])));
            }
        }
    }

    /// Writes prices on the board, tells the connected readers, and returns the generation.
    pub fn publish(&mut self, prices: &Prices) -> Result<u64, BoardError> {
        let generation = board::publish(self.mapping.words(), prices)
            .map_err(|_| BoardError::NotABoard(self.path.clone()))?;
        self.readers.retain(|mut reader| alive(reader.write(&[1])));
        self.accept();
        Ok(generation)
    }

    /// What is on the board now.
    pub fn read(&self) -> Result<Prices, board::Unreadable> {
        board::read(self.mapping.words())
    }

    /// Readers that are told.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }
}

impl AsFd for Publisher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// A reader that has not read for long still has bytes to wake it: a full socket is no reason to part.
fn alive(written: std::io::Result<usize>) -> bool {
    written.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |len| len > 0)
}
