//! The application on the stack: what a kernel's socket layer keeps of each connection.

use nom_stack::application::{Application, ConnectionId, Ended, Io};
use std::collections::{BTreeMap, VecDeque};

/// One connection.
#[derive(Default)]
pub struct Connection {
    /// Bytes that the stack holds for the reader.
    pub available: usize,
    /// How many the reader wants now, whether they stay, and those that it got.
    pub wanted: usize,
    pub peeking: bool,
    pub got: Vec<u8>,
    pub opened: bool,
    pub finished: bool,
    /// Nobody will read any more.
    pub closed: bool,
    pub ended: Option<Ended>,
    /// The end was told to the reader.
    pub told: bool,
}

/// All of them.
#[derive(Default)]
pub struct Sockets {
    pub connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that nobody accepted yet, by port.
    pub arrived: BTreeMap<u16, VecDeque<ConnectionId>>,
}

impl Application for Sockets {
    fn opened(&mut self, io: &mut impl Io, port: u16, outgoing: bool) {
        let id = io.connection();
        self.connections.entry(id).or_default().opened = true;
        if !outgoing {
            self.arrived.entry(port).or_default().push_back(id);
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let connection = self.connections.entry(io.connection()).or_default();
        if connection.closed {
            // They would be lost, and the other side has to know (RFC 9293, 3.6.1).
            io.abort();
            return bytes.len();
        }
        let taken = connection.wanted.min(bytes.len());
        connection.wanted -= taken;
        connection.got.extend_from_slice(&bytes[..taken]);
        let consumed = if connection.peeking { 0 } else { taken };
        connection.available = bytes.len() - consumed;
        consumed
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        self.connections.entry(io.connection()).or_default().finished = true;
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        let connection = self.connections.entry(connection).or_default();
        connection.ended = Some(reason);
        connection.available = 0;
    }
}
