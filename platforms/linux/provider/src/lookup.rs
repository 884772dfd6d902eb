//! A name becomes addresses. The system's resolver waits, so it does that on a thread of its own.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

/// Addresses of a name that are tried, in the resolver's order.
const ADDRESSES_MAX: usize = 8;

/// A question to the resolver.
#[derive(Debug)]
pub struct Lookup {
    answer: Receiver<Result<Vec<SocketAddr>, String>>,
    /// Readable when there is an answer.
    bell: UnixStream,
}

impl Lookup {
    /// Asks for the addresses of a name.
    pub fn begin(name: String, port: u16) -> std::io::Result<Self> {
        let (bell, ring) = UnixStream::pair()?;
        let (say, answer) = mpsc::channel();
        thread::Builder::new().name("nom-lookup".into()).spawn(move || {
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map(|all| all.take(ADDRESSES_MAX).collect())
                .map_err(|error| format!("{name} has no address: {error}"));
            // Who asked may have given up.
            let _ = say.send(found);
            drop(ring);
        })?;
        Ok(Self { answer, bell })
    }

    /// The answer, when there is one.
    pub fn answer(&self) -> Option<Result<Vec<SocketAddr>, String>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("the resolver ended without an answer".into())),
        }
    }
}

impl AsFd for Lookup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
