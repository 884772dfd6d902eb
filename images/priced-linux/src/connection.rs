//! The connection to the metadata service, never blocking.

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// A connection that is open or about to be.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    open: bool,
    unsent: Vec<u8>,
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection is open now.
    Open,
    /// Bytes came.
    Bytes(usize),
    /// The connection failed or is over.
    Over,
}

impl Connection {
    /// Begins to connect.
    pub fn begin(address: Ipv4Addr, port: u16) -> std::io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        match connect(&socket, &SocketAddrV4::new(address, port)) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { stream: socket.into(), open: false, unsent: Vec::new() })
    }

    /// Sends these bytes when it can.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// What to wait for.
    pub fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !self.open || !self.unsent.is_empty());
        (self.stream.as_fd(), flags)
    }

    /// Does what can be done now. `ready` is what was waited for.
    pub fn turn(&mut self, ready: PollFlags, bytes: &mut [u8]) -> Option<Event> {
        if ready.is_empty() && self.unsent.is_empty() {
            return None;
        }
        if !self.open {
            if ready.is_empty() {
                return None;
            }
            self.open = true;
            let failed = !matches!(self.stream.take_error(), Ok(None));
            return Some(if failed || self.stream.peer_addr().is_err() { Event::Over } else { Event::Open });
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if not_now(&error) => break,
                Err(_) => return Some(Event::Over),
            }
        }
        match self.stream.read(bytes) {
            Ok(0) => Some(Event::Over),
            Ok(len) => Some(Event::Bytes(len)),
            Err(error) if not_now(&error) => None,
            Err(_) => Some(Event::Over),
        }
    }
}

fn not_now(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
