//! What the server knows of a connection, as bytes, so that a successor goes on with it: between requests, within a head (of
//! which the stack keeps the bytes), within an answer, and behind its last one. What is still to be sent of an answer is named
//! by the content's tag, so a successor that does not have the very same content cuts it; so is cut who is within a
//! request's content.
//!
//! ```text
//! version (1)  the client will send no more (1)  nothing more is heard (1)  an answer is being sent (1)
//!
//! tag's length (1)  tag  what comes after (1)  parts have separators (1)
//! count of parts, this one first (1)  from (8)  to (8)  ...
//! ```

use super::{Connection, Httpd, Sending, State};
use crate::answer::After;
use crate::range::{PARTS_MAX, Part};
use crate::site::Site;
use alloc::vec::Vec;
use nom_stack::application::{ConnectionId, Io};

const VERSION: u8 = 2;
/// What may come after an answer, by the byte that stands for it.
const AFTER: [After; 3] = [After::Stays, After::StaysOld, After::Ends];

impl Sending {
    fn write(&self, site: &Site, out: &mut Vec<u8>) {
        let etag = &site.variant(self.slot).etag;
        out.push(etag.len() as u8);
        out.extend_from_slice(etag);
        out.push(AFTER.iter().position(|after| *after == self.after).unwrap_or(2) as u8);
        out.push(u8::from(self.several));
        out.push(self.parts.len() as u8 + 1);
        for part in core::iter::once(&self.part).chain(self.parts.iter().rev()) {
            out.extend_from_slice(&part.from.to_le_bytes());
            out.extend_from_slice(&part.to.to_le_bytes());
        }
    }

    /// None when something is wrong with it, or the content is not here.
    fn read(site: &Site, bytes: &[u8]) -> Option<Self> {
        let (&len, rest) = bytes.split_first()?;
        let (etag, rest) = rest.split_at_checked(usize::from(len))?;
        let slot = site.tagged(etag)?;
        let [after, several @ (0 | 1), count, parts @ ..] = rest else { return None };
        let after = *AFTER.get(usize::from(*after))?;
        let (words, []) = parts.as_chunks::<8>() else { return None };
        let (pairs, []) = words.as_chunks::<2>() else { return None };
        // The first of several is the empty one before them.
        if pairs.len() != usize::from(*count) || pairs.is_empty() || pairs.len() > PARTS_MAX + 1 {
            return None;
        }
        let mut parts: Vec<Part> = pairs
            .iter()
            .map(|[from, to]| Part { from: u64::from_le_bytes(*from), to: u64::from_le_bytes(*to) })
            .collect();
        let len = site.variant(slot).len();
        if parts.iter().any(|part| part.from > part.to || part.to > len) {
            return None;
        }
        parts.reverse();
        let part = parts.pop()?;
        Some(Self { slot, part, parts, several: *several == 1, after })
    }
}

impl Httpd {
    pub(super) fn connection_state(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let connection = self.connections.get_mut(id.slot as usize)?;
        let closes = match connection.state {
            State::Head => false,
            State::Closing => true,
            State::Content(..) | State::Mirror(_) => return None,
        };
        let is_it = connection.open && connection.generation == id.generation;
        if !is_it || connection.late || connection.blocked && connection.sending.is_none() {
            return None;
        }
        let Connection { finished, held, sending, .. } = core::mem::take(connection);
        if held {
            self.heads.forget(id.slot);
        }
        self.tally.connections -= 1;
        let mut out = Vec::from([VERSION, u8::from(finished), u8::from(closes), u8::from(sending.is_some())]);
        if let Some(sending) = sending {
            sending.write(&self.site, &mut out);
            self.site.release(sending.slot);
        }
        Some(out)
    }

    /// Goes on with a connection of a predecessor; false when its bytes are wrong, or what it was being sent is not here.
    pub(super) fn restore(&mut self, io: &mut impl Io, bytes: &[u8]) -> bool {
        let [VERSION, finished @ (0 | 1), closes @ (0 | 1), sends @ (0 | 1), rest @ ..] = bytes else {
            return false;
        };
        let sending = match (sends, rest) {
            (0, []) => None,
            (1, rest) => match Sending::read(&self.site, rest) {
                Some(sending) => Some(sending),
                None => return false,
            },
            _ => return false,
        };
        let (id, slot) = (io.connection(), io.connection().slot as usize);
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, Connection::default);
        }
        let mut connection = Connection {
            open: true,
            generation: id.generation,
            state: if *closes == 1 { State::Closing } else { State::Head },
            since_s: self.second(io.now_ns()),
            finished: *finished == 1,
            ..Connection::default()
        };
        self.tally.connections += 1;
        if let Some(sending) = sending {
            self.begin_sending(&mut connection, io, sending);
            connection.blocked = connection.sending.is_some();
            super::close_if_done(&connection, io);
        }
        self.expect_reader(&mut connection, io);
        self.connections[slot] = connection;
        true
    }
}
