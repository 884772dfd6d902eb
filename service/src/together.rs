//! An application and the connection that asks for prices, behind one face on one stack.

use alloc::vec::Vec;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};

/// Most bytes of the price provider that wait to be read.
pub const INBOX_MAX: usize = 16 << 10;

/// A connection of the service itself: bytes go into and come out of two small buffers.
#[derive(Debug, Default)]
pub struct Side {
    id: Option<ConnectionId>,
    open: bool,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Since somebody last looked it was opened, ...
    opened: bool,
    /// ... or it ended.
    ended: bool,
}

/// What happened on the service's own connection, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// It was opened.
    pub opened: bool,
    /// These bytes came.
    pub bytes: Vec<u8>,
    /// It ended.
    pub ended: bool,
}

impl Side {
    /// The connection that is being opened, or is open.
    pub fn id(&self) -> Option<ConnectionId> {
        self.id
    }

    /// Begins: `id` is being opened.
    pub fn begin(&mut self, id: ConnectionId) {
        *self = Self { id: Some(id), ..Self::default() };
    }

    /// Gives up: what still happens on the connection is nobody's business any more.
    pub fn forget(&mut self) -> Option<ConnectionId> {
        core::mem::take(self).id
    }

    /// Whether there is something for [`Side::happened`].
    pub fn stirred(&self) -> bool {
        self.opened || self.ended || !self.inbox.is_empty()
    }

    /// What happened since the last call.
    pub fn happened(&mut self) -> Happened {
        Happened {
            opened: core::mem::take(&mut self.opened),
            bytes: core::mem::take(&mut self.inbox),
            ended: core::mem::take(&mut self.ended),
        }
    }

    /// Adds bytes to be sent; [`Together::flush_side`] sends them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    fn flush(&mut self, io: &mut impl Io) {
        if !self.open {
            return;
        }
        let len = io.write_some(&self.outbox);
        self.outbox.drain(..len);
    }
}

/// A connection that others opened.
#[derive(Debug, Clone, Copy)]
struct Guest {
    id: ConnectionId,
    active_ns: u64,
    closing: bool,
}

/// The two behind one face.
#[derive(Debug)]
pub struct Together<A> {
    /// The application that is served.
    pub application: A,
    /// The service's own connection.
    pub side: Side,
    /// Connections that the application wanted opened, and that are neither open nor given up yet. Bounded by the stack's
    /// own table.
    openings: Vec<ConnectionId>,
    guests: Vec<Option<Guest>>,
    guests_count: u32,
}

impl<A: Application> Together<A> {
    /// Both, with no connection yet.
    pub fn new(application: A) -> Self {
        Self { application, side: Side::default(), openings: Vec::new(), guests: Vec::new(), guests_count: 0 }
    }

    /// The application.
    pub fn application(&self) -> &A {
        &self.application
    }

    /// The application hears what becomes of this opening.
    pub fn expect(&mut self, id: ConnectionId) {
        self.openings.push(id);
    }

    /// Whether the application wanted that one opened; it is not waited for any more.
    fn was_expected(&mut self, id: ConnectionId) -> bool {
        let place = self.openings.iter().position(|opening| *opening == id);
        place.map(|place| self.openings.swap_remove(place)).is_some()
    }

    /// Sends what waits on the service's own connection.
    pub fn flush_side(&mut self, io: &mut impl Io) {
        if self.side.id == Some(io.connection()) {
            self.side.flush(io);
        }
    }

    /// Connections of others on which nothing came since `before_ns`, and which were not closed by
    /// [`Together::close`] yet.
    pub fn quiet(&self, before_ns: u64) -> Vec<ConnectionId> {
        let quiet = |guest: &&Guest| guest.active_ns <= before_ns && !guest.closing;
        self.guests.iter().flatten().filter(quiet).map(|guest| guest.id).collect()
    }

    /// Closes a connection of others: what was written is sent, and nothing more is answered.
    pub fn close(&mut self, io: &mut impl Io) {
        if let Some(Some(guest)) = self.guests.get_mut(io.connection().slot as usize) {
            guest.closing = true;
        }
        io.close();
    }

    /// All connections that others opened and that have not ended.
    pub fn all_guests(&self) -> Vec<ConnectionId> {
        self.guests.iter().flatten().map(|guest| guest.id).collect()
    }

    /// Connections that others opened and that have not ended.
    pub fn guests(&self) -> u32 {
        self.guests_count
    }

    /// One more connection of others.
    fn seat(&mut self, io: &impl Io) {
        let (id, slot) = (io.connection(), io.connection().slot as usize);
        if self.guests.len() <= slot {
            // Grows to the stack's bound on connections, only when one is opened.
            self.guests.resize(slot + 1, None);
        }
        self.guests_count += 1;
        self.guests[slot] = Some(Guest { id, active_ns: io.now_ns(), closing: false });
    }

    fn touch(&mut self, io: &impl Io) {
        if let Some(Some(guest)) = self.guests.get_mut(io.connection().slot as usize) {
            guest.active_ns = io.now_ns();
        }
    }
}

impl<A: Application> Application for Together<A> {
    fn opened(&mut self, io: &mut impl Io, port: u16, outgoing: bool) {
        let id = io.connection();
        if self.side.id == Some(id) {
            self.side.open = true;
            self.side.opened = true;
            self.side.flush(io);
            return;
        }
        if outgoing && !self.was_expected(id) {
            // An opening that was given up meanwhile.
            io.abort();
            return;
        }
        self.seat(io);
        self.application.opened(io, port, outgoing);
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        if self.side.id == Some(io.connection()) {
            let len = bytes.len().min(INBOX_MAX.saturating_sub(self.side.inbox.len()));
            self.side.inbox.extend_from_slice(&bytes[..len]);
            return len;
        }
        self.touch(io);
        self.application.received(io, bytes)
    }

    fn writable(&mut self, io: &mut impl Io) {
        if self.side.id == Some(io.connection()) {
            self.side.flush(io);
        } else {
            self.application.writable(io);
        }
    }

    fn wanted(&mut self, now_ns: u64) -> Option<ConnectionId> {
        self.application.wanted(now_ns)
    }

    fn may_rest(&mut self) -> bool {
        self.application.may_rest()
    }

    fn withdraw(&mut self) -> bool {
        self.application.withdraw()
    }

    fn draining(&mut self) {
        self.application.draining();
    }

    fn finished(&mut self, io: &mut impl Io) {
        if self.side.id == Some(io.connection()) {
            io.close();
        } else {
            self.application.finished(io);
        }
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        if self.side.id == Some(connection) {
            self.side.id = None;
            self.side.open = false;
            self.side.ended = true;
            return;
        }
        if let Some(place) = self.guests.get_mut(connection.slot as usize)
            && place.is_some_and(|guest| guest.id == connection)
        {
            *place = None;
            self.guests_count -= 1;
            self.application.ended(connection, reason);
        } else if self.was_expected(connection) {
            self.application.ended(connection, reason);
        }
    }

    fn hand_over(&mut self, connection: ConnectionId) -> Option<Vec<u8>> {
        let place = self.guests.get_mut(connection.slot as usize)?;
        place.filter(|guest| guest.id == connection && !guest.closing)?;
        let state = self.application.hand_over(connection)?;
        *place = None;
        self.guests_count -= 1;
        Some(state)
    }

    fn take_over(&mut self, io: &mut impl Io, state: &[u8]) -> bool {
        let goes_on = self.application.take_over(io, state);
        if goes_on {
            self.seat(io);
        }
        goes_on
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        self.application.pinned(pin)
    }

    fn released(&mut self, pin: Pin) {
        self.application.released(pin);
    }
}
