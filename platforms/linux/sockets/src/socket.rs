//! A connection between the program's threads and the stack's.
//!
//! Bytes are copied twice each way: the program says where they are only when it reads or writes, and then it is not the
//! stack's turn.

use crate::readiness::Readiness;
use nom_stack::application::{ConnectionId, Ended, Io};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes for the program beyond which the stack keeps what comes, so that its window closes.
const INCOMING_MAX: usize = 256 << 10;
/// Bytes from the program beyond which it has to wait.
const OUTGOING_MAX: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub struct Socket {
    /// Its name in the stack.
    pub id: ConnectionId,
    /// The address of the other side, where the stack knows it.
    pub peer: Option<Ipv4Addr>,
    /// Our port.
    pub port: u16,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    incoming: VecDeque<u8>,
    outgoing: VecDeque<u8>,
    /// The stack keeps bytes that did not fit here.
    held_back: bool,
    /// The other side will send no more.
    finished: bool,
    /// The program will send no more.
    closing: bool,
    /// The program has closed it, and nobody reads what still comes.
    released: bool,
    /// Why there is no connection any more.
    broken: Option<libc::c_int>,
    /// The stack was told to look here and has not looked yet.
    touched: bool,
    readiness: Option<Readiness>,
}

/// Why nothing was read or written: a number of the C library's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub libc::c_int);

/// Whether the stack has to look here.
pub type Touch = bool;

impl Socket {
    /// A connection that is open.
    pub fn new(id: ConnectionId, port: u16, peer: Option<Ipv4Addr>) -> Self {
        Self { id, peer, port, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program has it now, and is told of what came before.
    pub fn accept(&self, mut readiness: Readiness) {
        let mut state = self.state();
        if !state.incoming.is_empty() || state.finished || state.broken.is_some() {
            readiness.set_readable();
        }
        state.readiness = Some(readiness);
    }

    /// Reads into these places; `peek` leaves the bytes. EAGAIN when nothing is there yet.
    pub fn read(&self, places: &mut [&mut [u8]], peek: bool) -> Result<(usize, Touch), Errno> {
        let mut state = self.state();
        let state = &mut *state;
        if state.incoming.is_empty() {
            return match state.broken.take() {
                Some(errno) if errno != libc::EPIPE => {
                    state.broken = Some(libc::EPIPE);
                    Err(Errno(errno))
                }
                // What the stack keeps comes before the end.
                _ if state.held_back => Err(Errno(libc::EAGAIN)),
                broken if broken.is_some() || state.finished => {
                    state.broken = broken;
                    Ok((0, false))
                }
                _ => Err(Errno(libc::EAGAIN)),
            };
        }
        let mut read = 0;
        for place in places {
            let skip = if peek { read } else { 0 };
            let len = place.len().min(state.incoming.len() - skip);
            for (byte, from) in place.iter_mut().zip(state.incoming.range(skip..skip + len)) {
                *byte = *from;
            }
            if !peek {
                state.incoming.drain(..len);
            }
            read += len;
        }
        if state.incoming.is_empty()
            && !state.finished
            && state.broken.is_none()
            && let Some(readiness) = &mut state.readiness
        {
            readiness.clear_readable();
        }
        let touch = state.held_back && !peek && !std::mem::replace(&mut state.touched, true);
        Ok((read, touch))
    }

    /// Takes what there is room for from these places. EAGAIN when there is none.
    pub fn write(&self, places: &[&[u8]]) -> Result<(usize, Touch), Errno> {
        let mut state = self.state();
        let state = &mut *state;
        if state.closing || state.broken.is_some() {
            return Err(Errno(libc::EPIPE));
        }
        let mut written = 0;
        for place in places {
            let len = place.len().min(OUTGOING_MAX - state.outgoing.len());
            state.outgoing.extend(&place[..len]);
            written += len;
        }
        if state.outgoing.len() == OUTGOING_MAX
            && let Some(readiness) = &mut state.readiness
        {
            readiness.set_writable(false);
        }
        if written == 0 && places.iter().any(|place| !place.is_empty()) {
            return Err(Errno(libc::EAGAIN));
        }
        Ok((written, !std::mem::replace(&mut state.touched, true)))
    }

    /// Bytes that can be read now.
    pub fn readable(&self) -> usize {
        self.state().incoming.len()
    }

    /// The program will send no more.
    pub fn shut(&self) -> Touch {
        let mut state = self.state();
        state.closing = true;
        !std::mem::replace(&mut state.touched, true)
    }

    /// The program has closed it.
    pub fn release(&self) -> Touch {
        let mut state = self.state();
        state.released = true;
        state.closing = true;
        state.readiness = None;
        !std::mem::replace(&mut state.touched, true)
    }

    /// The stack's side: takes what came, as far as there is room.
    pub fn received(&self, bytes: &[u8]) -> usize {
        let mut state = self.state();
        let state = &mut *state;
        if state.released {
            return bytes.len();
        }
        let len = bytes.len().min(INCOMING_MAX.saturating_sub(state.incoming.len()));
        state.incoming.extend(&bytes[..len]);
        state.held_back = len < bytes.len();
        if len > 0
            && let Some(readiness) = &mut state.readiness
        {
            readiness.set_readable();
        }
        len
    }

    /// The stack's side: sends what is to be sent, as far as there is room.
    pub fn send(&self, io: &mut impl Io) {
        let mut state = self.state();
        let state = &mut *state;
        state.touched = false;
        // Bytes that came and were never read: their sender has to know.
        if state.released && !state.incoming.is_empty() {
            io.abort();
            return;
        }
        while let Some(first) = Some(state.outgoing.as_slices().0).filter(|first| !first.is_empty()) {
            let (len, all) = (io.write_some(first), first.len());
            state.outgoing.drain(..len);
            if len < all {
                break;
            }
        }
        if state.outgoing.len() <= OUTGOING_MAX / 2
            && let Some(readiness) = &mut state.readiness
        {
            readiness.set_writable(true);
        }
        if state.outgoing.is_empty() && state.closing {
            io.close();
        }
    }

    /// The stack's side: the other side will send no more.
    pub fn finished(&self) {
        let mut state = self.state();
        state.finished = true;
        if let Some(readiness) = &mut state.readiness {
            readiness.set_readable();
        }
    }

    /// The stack's side: the connection is gone.
    pub fn ended(&self, reason: Ended) {
        let mut state = self.state();
        let errno = match reason {
            Ended::Closed => libc::EPIPE,
            Ended::TimedOut => libc::ETIMEDOUT,
            Ended::Refused => libc::ECONNREFUSED,
            Ended::Reset | Ended::Aborted => libc::ECONNRESET,
        };
        state.broken = Some(errno);
        state.held_back = false;
        if let Some(readiness) = &mut state.readiness {
            readiness.set_writable(true);
            readiness.set_readable();
        }
    }
}
