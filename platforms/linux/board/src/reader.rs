//! Those who read the board.

use crate::error::BoardError;
use crate::mapping::Mapping;
use crate::socket_path;
use nom_abi::board::{self, Prices, Unreadable};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

/// How long a reader waits before it looks for a publisher again.
const RECONNECT_NS: u64 = 1_000_000_000;

/// A reader of a board.
#[derive(Debug)]
pub struct Reader {
    mapping: Mapping,
    notices: Option<UnixStream>,
    path: PathBuf,
    retry_ns: u64,
}

impl Reader {
    /// Maps a board read-only and connects to its publisher, if there is one now.
    pub fn open(path: &Path) -> Result<Self, BoardError> {
        let failed = |step| move |error| BoardError::File(step, path.to_owned(), error);
        let file = File::open(path).map_err(failed("open"))?;
        let mapping = Mapping::new(&file, false).map_err(failed("map"))?;
        if matches!(board::read(mapping.words()), Err(Unreadable::NotABoard)) {
            return Err(BoardError::NotABoard(path.to_owned()));
        }
        let mut reader = Self { mapping, notices: None, path: path.to_owned(), retry_ns: 0 };
        reader.connect();
        Ok(reader)
    }

    /// The words of the board, for `nom_abi::board::read` only: a store ends the process.
    pub fn words(&self) -> &[AtomicU64] {
        self.mapping.words()
    }

    /// What is on the board now.
    pub fn read(&self) -> Result<Prices, Unreadable> {
        board::read(self.mapping.words())
    }

    /// What to wait for: it becomes readable when prices were published. Nothing while there is no publisher.
    pub fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.notices.as_ref().map(AsFd::as_fd)
    }

    /// Takes the notices that came, so that the descriptor is quiet again, and says whether there were any. After
    /// the publisher went away it looks for a new one, once a second.
    pub fn heard(&mut self, now_ns: u64) -> bool {
        let Some(stream) = &mut self.notices else {
            if now_ns >= self.retry_ns {
                self.retry_ns = now_ns.saturating_add(RECONNECT_NS);
                self.connect();
            }
            return false;
        };
        let mut bytes = [0; 64];
        let mut heard = false;
        // Bounded by what the socket holds: the publisher writes a byte a publication.
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => self.notices = None,
                Ok(_) => {
                    heard = true;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => self.notices = None,
            }
            return heard;
        }
    }

    fn connect(&mut self) {
        if let Ok(stream) = UnixStream::connect(socket_path(&self.path))
            && stream.set_nonblocking(true).is_ok()
        {
            self.notices = Some(stream);
        }
    }
}
