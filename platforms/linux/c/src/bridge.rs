//! The application that the stack sees: it notes what C will be told, and hands bytes over when C asks for them.
//!
//! Bytes that C has not read stay with the stack, which offers them again with every call on the connection: a program
//! that does not read stops its sender by TCP's window, and nothing grows here.

use crate::event::{ENDED, READABLE, WRITABLE};
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use std::collections::{HashMap, VecDeque};

/// Connections that wait on a port to be accepted; further ones are reset.
pub const BACKLOG_MAX: usize = 4096;

/// Where C wants bytes.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Whose bytes.
    pub id: ConnectionId,
    /// The place.
    pub place: *mut u8,
    /// How many fit there.
    pub room: usize,
    /// They stay with the stack as well.
    pub keep: bool,
    /// How many were put there.
    pub len: usize,
}

/// What is known of a connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// The program's own word for it.
    pub tag: u64,
    /// Bytes that were offered and not taken.
    pub unread: usize,
    /// The other side will send no more.
    pub finished: bool,
    /// This side sends no more.
    pub shut: bool,
    /// It is gone, and why.
    pub ended: Option<Ended>,
    accepted: bool,
    news: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Bridge {
    connections: HashMap<ConnectionId, Connection>,
    /// Connections that wait to be accepted, by port. A port that is not here is not listened to.
    backlogs: HashMap<u16, VecDeque<ConnectionId>>,
    /// With news, each once.
    stirred: VecDeque<ConnectionId>,
    /// What C wants during this call.
    pub wanted: Option<Wanted>,
    /// The service begins to end, and nobody was told.
    pub draining: bool,
}

impl Bridge {
    /// Connections to this port wait to be accepted from now on.
    pub fn listen(&mut self, port: u16) {
        self.backlogs.entry(port).or_default();
    }

    /// Ports on which somebody waits.
    pub fn waiting(&self) -> impl Iterator<Item = u16> {
        self.backlogs.iter().filter(|(_, backlog)| !backlog.is_empty()).map(|(port, _)| *port)
    }

    /// Who waits longest on a port; none when nobody does. The error: nobody listens to that port.
    pub fn accept(&mut self, port: u16, tag: u64) -> Result<Option<ConnectionId>, ()> {
        let Some(id) = self.backlogs.get_mut(&port).ok_or(())?.pop_front() else { return Ok(None) };
        if let Some(connection) = self.connections.get_mut(&id) {
            (connection.accepted, connection.tag) = (true, tag);
            if connection.news != 0 {
                self.stirred.push_back(id);
            }
        }
        Ok(Some(id))
    }

    /// A connection that C has.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(&id).filter(|connection| connection.accepted)
    }

    /// C does not want to hear of it any more.
    pub fn forget(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// There is something to tell of a connection.
    pub fn stir(&mut self, id: ConnectionId, news: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // One that is not accepted yet is told of then.
        let first = connection.news == 0;
        connection.news |= news;
        if first && connection.accepted {
            self.stirred.push_back(id);
        }
    }

    /// A connection with news: its name, what, its tag, and why it ended. One that ended is forgotten with that.
    pub fn news(&mut self) -> Option<(ConnectionId, u32, u64, Option<Ended>)> {
        loop {
            let id = self.stirred.pop_front()?;
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let news = std::mem::take(&mut connection.news);
            let told = (id, news, connection.tag, connection.ended);
            if news & ENDED != 0 {
                self.connections.remove(&id);
            }
            if news != 0 {
                return Some(told);
            }
        }
    }
}

impl Application for Bridge {
    fn opened(&mut self, io: &mut impl Io, port: u16, _outgoing: bool) {
        let Some(backlog) = self.backlogs.get_mut(&port).filter(|backlog| backlog.len() < BACKLOG_MAX) else {
            io.abort();
            return;
        };
        let id = io.connection();
        backlog.push_back(id);
        self.connections.insert(id, Connection::default());
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let id = io.connection();
        // What comes for somebody who does not listen any more is nobody's.
        let Some(connection) = self.connections.get_mut(&id) else { return bytes.len() };
        let mut taken = 0;
        if let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.id == id) {
            let len = bytes.len().min(wanted.room - wanted.len);
            // SAFETY: C says that there is room for `room` bytes at `place`, of which `len` are filled, and waits in
            // its call until `wanted` is nothing again. What is copied lies in a buffer of the stack, not there.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), wanted.place.add(wanted.len), len) };
            wanted.len += len;
            // Offered twice in one call, the same bytes would be copied twice.
            wanted.room = wanted.len;
            taken = if wanted.keep { 0 } else { len };
        }
        let more = bytes.len() > connection.unread;
        connection.unread = bytes.len() - taken;
        if more && taken == 0 {
            self.stir(id, READABLE);
        }
        taken
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.stir(io.connection(), WRITABLE);
    }

    fn draining(&mut self) {
        self.draining = true;
    }

    fn finished(&mut self, io: &mut impl Io) {
        if let Some(connection) = self.connections.get_mut(&io.connection()) {
            connection.finished = true;
            self.stir(io.connection(), READABLE);
        } else {
            io.close();
        }
    }

    fn ended(&mut self, id: ConnectionId, reason: Ended) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.ended = Some(reason);
        if connection.accepted {
            self.stir(id, ENDED);
        } else {
            // Nobody has seen it.
            self.connections.remove(&id);
            self.backlogs.values_mut().for_each(|backlog| backlog.retain(|waiting| *waiting != id));
        }
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_stack::scripted::Link;

    const PORT: u16 = 80;

    fn waiting() -> (Bridge, Link) {
        let (mut bridge, mut link) = (Bridge::default(), Link::new(0, 4096));
        bridge.listen(PORT);
        bridge.opened(&mut link, PORT, false);
        (bridge, link)
    }

    #[test]
    fn who_ended_before_it_was_accepted_is_not_there_to_be_accepted() {
        let (mut bridge, link) = waiting();
        assert_eq!(bridge.waiting().collect::<Vec<_>>(), [PORT]);
        bridge.ended(link.id, Ended::Reset);
        assert_eq!((bridge.waiting().count(), bridge.accept(PORT, 1)), (0, Ok(None)));
        assert_eq!(bridge.accept(PORT + 1, 1), Err(()), "nobody listens there");
        assert!(bridge.news().is_none());
    }

    #[test]
    fn who_comes_where_nobody_listens_is_reset() {
        let (mut bridge, mut link) = (Bridge::default(), Link::new(0, 4096));
        bridge.opened(&mut link, PORT, false);
        assert!(link.aborted && bridge.connections.is_empty());
    }

    #[test]
    fn bytes_that_are_offered_twice_in_a_call_are_given_once() {
        let (mut bridge, mut link) = waiting();
        assert_eq!(bridge.accept(PORT, 7), Ok(Some(link.id)));
        let mut place = [0; 10];
        for keep in [true, false] {
            place.fill(0);
            bridge.wanted = Some(Wanted { id: link.id, place: place.as_mut_ptr(), room: 10, keep, len: 0 });
            assert_eq!(bridge.received(&mut link, b"abcd"), if keep { 0 } else { 4 });
            assert_eq!(bridge.received(&mut link, b"abcd"), 0);
            assert_eq!(bridge.wanted.take().map(|wanted| wanted.len), Some(4));
            assert_eq!(&place, b"abcd\0\0\0\0\0\0");
        }
        assert_eq!(bridge.connection(link.id).map(|known| known.unread), Some(4));
    }
}
