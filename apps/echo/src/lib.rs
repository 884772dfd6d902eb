//! An application that sends back what it gets, and closes when the other side has closed and got everything.
//!
//! It keeps nothing about its connections but those that cannot go on: bytes for which there is no room stay with the
//! stack, whose window then stops the sender.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::BTreeSet;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::meter::Answer;

/// The application.
#[derive(Debug, Default)]
pub struct Echo {
    /// Connections opened so far.
    pub opened: u64,
    /// Those that ended in order, and those that ended in another way.
    pub closed: u64,
    /// See `closed`.
    pub broken: u64,
    /// With bytes that were not taken yet. Bounded by the connections, as is the next one.
    behind: BTreeSet<ConnectionId>,
    /// Whose other side has closed while bytes were not taken yet.
    finished: BTreeSet<ConnectionId>,
}

impl Application for Echo {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.opened += 1;
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let taken = io.write_some(bytes);
        if taken > 0 {
            io.answered(Answer::Accepted);
        }
        if taken < bytes.len() {
            self.behind.insert(io.connection());
        } else if !self.behind.is_empty() {
            self.behind.remove(&io.connection());
            if self.finished.remove(&io.connection()) {
                io.close();
            }
        }
        taken
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        if self.behind.contains(&io.connection()) {
            self.finished.insert(io.connection());
        } else {
            io.close();
        }
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        self.behind.remove(&connection);
        self.finished.remove(&connection);
        match reason {
            Ended::Closed => self.closed += 1,
            _ => self.broken += 1,
        }
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}
