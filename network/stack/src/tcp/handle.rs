//! What an application holds while it is called: its connection, and nothing else of the stack.

use core::cell::Cell;
use core::net::Ipv4Addr;

use super::connection::{Connection, State};
use super::operations::Operations;
use super::send_memory::SendMemory;
use crate::application::{ConnectionId, Io, NoRoom, Pin};
use crate::batch::Departures;
use crate::counters::Counters;
use crate::meter::Answer;

/// An application that finds less room than this is told when there is more.
const LOW_ROOM: usize = 2048;

/// The stack's [`Io`].
pub struct Handle<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) now_ns: u64,
    pub(crate) limit: u32,
    pub(crate) connection: &'a mut Connection,
    pub(crate) send: &'a mut SendMemory,
    pub(crate) operations: &'a mut Operations,
    pub(crate) departures: &'a mut Departures,
    pub(crate) counters: &'a mut Counters,
    /// The application saw that there was little or no room.
    pub(crate) short: Cell<bool>,
}

impl Handle<'_> {
    fn may_write(&self) -> bool {
        !self.connection.closed && !self.connection.aborted
    }
}

impl Io for Handle<'_> {
    fn connection(&self) -> ConnectionId {
        self.id
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn peer(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from_bits(self.connection.key.remote))
    }

    fn room(&self) -> usize {
        if !self.may_write() {
            return 0;
        }
        let room = self.send.room(&self.connection.queue, self.limit);
        if room < LOW_ROOM {
            self.short.set(true);
        }
        room
    }

    fn acknowledged(&self) -> u32 {
        self.connection.una.0
    }

    fn unacknowledged(&self) -> u32 {
        self.connection.queue.bytes()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        if !self.may_write() {
            return Err(NoRoom);
        }
        if !self.send.write(&mut self.connection.queue, bytes, self.limit) {
            self.short.set(true);
            return Err(NoRoom);
        }
        self.counters.copied_out_bytes += bytes.len() as u64;
        Ok(())
    }

    fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom> {
        if !self.may_write() {
            return Err(NoRoom);
        }
        if !self.send.write_pinned(&mut self.connection.queue, pin, self.limit) {
            self.short.set(true);
            return Err(NoRoom);
        }
        Ok(())
    }

    #[inline]
    fn answered(&mut self, answer: Answer) {
        self.departures.meter.count(answer);
        if answer == Answer::Refused {
            return;
        }
        let end = self.connection.written();
        if end.after(self.connection.max) {
            self.operations.push(&mut self.connection.operations, end, self.connection.arrived_ns);
        } else {
            // Nothing of it is still to leave: an operation without an answer.
            self.departures.show(self.connection.arrived_ns, self.now_ns);
        }
    }

    fn close(&mut self) {
        if !self.may_write() {
            return;
        }
        self.connection.closed = true;
        self.connection.state = match self.connection.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other,
        };
    }

    fn abort(&mut self) {
        self.connection.aborted = true;
    }
}
