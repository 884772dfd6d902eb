//! What the server knows of a connection, as bytes, so that a successor goes on with it: those that rest between requests,
//! or within a head, of which the stack keeps the bytes. Who is in the middle of an answer or of a request's content is cut.
//!
//! ```text
//! version (1)  the client will send no more (1)
//! ```

use super::{Connection, Httpd, State};
use alloc::vec::Vec;
use nom_stack::application::{ConnectionId, Io};

const VERSION: u8 = 1;

impl Httpd {
    pub(super) fn connection_state(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let connection = self.connections.get_mut(id.slot as usize)?;
        let rests = matches!(connection.state, State::Head) && connection.sending.is_none();
        let is_it = connection.open && connection.generation == id.generation;
        if !is_it || !rests || connection.late || connection.blocked {
            return None;
        }
        let finished = core::mem::take(connection).finished;
        self.tally.connections -= 1;
        Some(Vec::from([VERSION, u8::from(finished)]))
    }

    /// Goes on with a connection of a predecessor; false when its bytes are wrong.
    pub(super) fn restore(&mut self, io: &mut impl Io, bytes: &[u8]) -> bool {
        let [VERSION, finished @ (0 | 1)] = *bytes else { return false };
        let (id, slot) = (io.connection(), io.connection().slot as usize);
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, Connection::default);
        }
        let since_s = self.second(io.now_ns());
        self.connections[slot] = Connection {
            open: true,
            generation: id.generation,
            since_s,
            finished: finished == 1,
            ..Connection::default()
        };
        self.tally.connections += 1;
        true
    }
}
