//! The management socket: one peer at a time, never blocking.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// The listener and its peer. Whoever comes while a peer is connected is turned away.
#[derive(Debug)]
pub struct Management {
    listener: UnixListener,
    peer: RefCell<Option<UnixStream>>,
    peers: Cell<u64>,
}

impl Management {
    /// Takes over a listener.
    pub fn new(listener: UnixListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, peer: RefCell::new(None), peers: Cell::new(0) })
    }

    /// The name of the peer that is connected now, 0 for none; a new one is accepted.
    pub fn peer(&self) -> u64 {
        let mut peer = self.peer.borrow_mut();
        // Bounded by the backlog of the listener.
        while let Ok((stream, _)) = self.listener.accept() {
            if peer.is_none() && stream.set_nonblocking(true).is_ok() {
                *peer = Some(stream);
                self.peers.set(self.peers.get() + 1);
            }
        }
        if peer.is_some() { self.peers.get() } else { 0 }
    }

    /// Reads what is there: 0 for nothing or nobody.
    pub fn read(&self, bytes: &mut [u8]) -> usize {
        self.with(|peer| match peer.read(bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            len => Ok(len),
        })
    }

    /// Writes what is taken: 0 when it is full or nobody is there.
    pub fn write(&self, bytes: &[u8]) -> usize {
        self.with(|peer| peer.write(bytes))
    }

    /// What to wait for: a new peer, and bytes of the one that is there.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Calls with the peer's descriptor, or with the listener's when there is none.
    pub fn with_peer_fd<R>(&self, call: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        call(self.peer.borrow().as_ref().map_or(self.listener.as_fd(), |peer| peer.as_fd()))
    }

    /// A peer that fails is gone.
    fn with(&self, act: impl FnOnce(&mut UnixStream) -> std::io::Result<usize>) -> usize {
        let mut peer = self.peer.borrow_mut();
        let Some(stream) = peer.as_mut() else { return 0 };
        act(stream).unwrap_or_else(|error| {
            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                *peer = None;
            }
            0
        })
    }
}

/// Nobody is to knock at a door behind which nobody is any more. Who has given up the right to remove it leaves it to the
/// one who comes next. (A restart that succeeds becomes another program, and nothing is dropped.)
impl Drop for Management {
    fn drop(&mut self) {
        let address = self.listener.local_addr();
        if let Some(path) = address.as_ref().ok().and_then(SocketAddr::as_pathname) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_come_one_after_the_other() {
        let path = std::env::temp_dir().join(format!("nom-management-{}", std::process::id()));
        let management = Management::new(UnixListener::bind(&path).unwrap()).unwrap();
        assert_eq!((management.peer(), management.read(&mut [0; 4]), management.write(b"x")), (0, 0, 0));
        let mut first = UnixStream::connect(&path).unwrap();
        assert_eq!(management.peer(), 1);
        let mut second = UnixStream::connect(&path).unwrap();
        assert_eq!(management.peer(), 1);
        assert_eq!(second.read(&mut [0; 4]).unwrap(), 0, "turned away");
        first.write_all(b"report\n").unwrap();
        let mut bytes = [0; 16];
        assert_eq!(management.read(&mut bytes), 7);
        assert_eq!(management.write(b"{}\n"), 3);
        drop(first);
        assert_eq!((management.read(&mut bytes), management.peer()), (0, 0));
        let _third = UnixStream::connect(&path).unwrap();
        assert_eq!(management.peer(), 2);
        drop(management);
        assert!(!path.exists());
    }
}
