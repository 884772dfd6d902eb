//! Connections that take too long: looked for a few at a time with each turn of the stack.

use super::reading::Reader;
use super::{Answer, Connection, Httpd, State};
use crate::answer::After;
use crate::plan::What;
use crate::status::Status;
use alloc::boxed::Box;
use nom_stack::application::{ConnectionId, Io};

/// Time between two looks.
const EVERY_NS: u64 = 10_000_000;
/// Connections of one look.
const CONNECTIONS_A_LOOK: usize = 256;
/// Seconds for the other side to end a connection that we closed.
const END_LIMIT_S: u32 = 10;

/// Where the looks are.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    last_ns: u64,
    slot: usize,
    /// How many connections of this look are left.
    left: usize,
}

impl Httpd {
    /// A connection that took too long, or nothing.
    #[inline]
    pub(super) fn find_late(&mut self, now_ns: u64) -> Option<ConnectionId> {
        if self.heads.are_too_many()
            && let Some(slot) = self.heads.first()
        {
            let connection = &mut self.connections[slot as usize];
            connection.late = true;
            return Some(ConnectionId { slot, generation: connection.generation });
        }
        if self.sweep.left == 0 && now_ns.saturating_sub(self.sweep.last_ns) < EVERY_NS {
            return None;
        }
        self.look(now_ns)
    }

    fn look(&mut self, now_ns: u64) -> Option<ConnectionId> {
        let now_s = self.second(now_ns);
        if self.sweep.left == 0 {
            self.sweep.last_ns = now_ns;
            self.sweep.left = self.connections.len().min(CONNECTIONS_A_LOOK);
        }
        while self.sweep.left > 0 {
            self.sweep.left -= 1;
            self.sweep.slot = (self.sweep.slot + 1) % self.connections.len();
            let slot = self.sweep.slot;
            let limit_s = self.limit_s(&self.connections[slot]);
            let connection = &mut self.connections[slot];
            let waited_s = now_s.saturating_sub(connection.since_s);
            let is_late = limit_s > 0 && waited_s >= limit_s;
            if connection.open && (is_late || connection.reading.is_due(now_s, self.config.reading_limit_s)) {
                connection.late = true;
                return Some(ConnectionId { slot: slot as u32, generation: connection.generation });
            }
        }
        None
    }

    /// How long it may stay as it is; 0 for ever.
    fn limit_s(&self, connection: &Connection) -> u32 {
        match connection.state {
            State::Closing => END_LIMIT_S,
            _ if connection.sending.is_some() || connection.blocked => self.config.reading_limit_s,
            State::Content(..) | State::Mirror(_) => self.config.content_limit_s,
            State::Head if connection.begun => self.config.head_limit_s,
            State::Head => self.config.idle_limit_s,
        }
    }

    /// Ends it: with an answer where one is due and possible.
    pub(super) fn end_late(&mut self, connection: &mut Connection, io: &mut impl Io) {
        connection.late = false;
        let slot = io.connection().slot;
        if self.look_at_reader(connection, io) == Reader::Slow {
            self.tally.late += 1;
            return io.abort();
        }
        let is_crowded = connection.held && self.heads.are_too_many() && self.heads.first() == Some(slot);
        // It may have gone on since it was found.
        let limit_s = self.limit_s(connection);
        let now_s = self.second(io.now_ns());
        if !is_crowded && (limit_s == 0 || now_s.saturating_sub(connection.since_s) < limit_s) {
            return;
        }
        let sends = matches!(connection.state, State::Content(..) | State::Mirror(_)) || connection.begun;
        let reads = connection.reading.owed && io.unacknowledged() > 0;
        if reads && !is_crowded && (connection.blocked || !sends) {
            // It still reads, for which there is a limit of its own; what else it owes begins behind that.
            connection.since_s = now_s;
            return;
        }
        if is_crowded {
            self.tally.crowded += 1;
        }
        self.forget_head(connection, slot);
        match connection.state {
            State::Head if !connection.begun && !connection.blocked && connection.sending.is_none() => {
                self.tally.idle += 1;
                self.finish(connection, io, After::Ends);
            }
            State::Mirror(ref mirror) if mirror.begun => {
                self.tally.late += 1;
                io.abort();
            }
            _ if !matches!(connection.state, State::Closing)
                && !connection.blocked
                && connection.sending.is_none() =>
            {
                self.tally.late += 1;
                if let State::Content(_, answer) = core::mem::take(&mut connection.state)
                    && let Some(slot) = answer.what.slot()
                {
                    self.site.release(slot);
                }
                let answer = Answer {
                    what: What::Options,
                    after: After::Ends,
                    bare: false,
                    path: None,
                    line: Box::default(),
                };
                if !self.give(connection, io, &answer, &What::Said(Status::RequestTimeout), &[]) {
                    io.abort();
                }
            }
            _ => {
                self.tally.late += 1;
                io.abort();
            }
        }
    }
}
