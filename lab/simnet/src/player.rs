//! A recording in virtual time: the same file that `nom_load::replay` plays over sockets, and by the same rules.
//!
//! Every connection is opened before the clock of the recording starts, sends its requests when they are due,
//! closes its sending side after its last request, and collects what comes until the other side closes.

use crate::host::{Cost, Host};
use crate::port::Device;
use crate::simulation::{Node, Rest};
use nom_load::recording::{Answered, Answers, Recording};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// One recorded connection.
#[derive(Debug, Default)]
struct Line {
    /// Times and places of its requests.
    requests: Vec<(u64, usize)>,
    next: usize,
    unsent: Vec<u8>,
    opened: bool,
    closed: bool,
    over: bool,
    answered: Answered,
}

/// The client's side of all connections.
#[derive(Debug, Default)]
struct Client {
    lines: Vec<Line>,
    names: HashMap<ConnectionId, usize>,
}

impl Client {
    fn flush(&mut self, io: &mut impl Io) {
        let Some(line) = self.names.get(&io.connection()).map(|&name| &mut self.lines[name]) else { return };
        while !line.unsent.is_empty() {
            let len = line.unsent.len().min(io.room());
            if len == 0 || io.write(&line.unsent[..len]).is_err() {
                return;
            }
            line.unsent.drain(..len);
        }
        if line.next == line.requests.len() && !line.closed {
            line.closed = true;
            io.close();
        }
    }

    fn line(&mut self, connection: ConnectionId) -> Option<&mut Line> {
        self.names.get(&connection).map(|&name| &mut self.lines[name])
    }
}

impl Application for Client {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        if let Some(line) = self.line(io.connection()) {
            line.opened = true;
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        if let Some(line) = self.line(io.connection()) {
            line.answered.bytes.extend_from_slice(bytes);
        }
        bytes.len()
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.flush(io);
    }

    fn finished(&mut self, io: &mut impl Io) {
        if let Some(line) = self.line(io.connection()) {
            line.answered.complete = line.closed;
        }
    }

    fn ended(&mut self, connection: ConnectionId, _reason: Ended) {
        if let Some(line) = self.line(connection) {
            line.over = true;
        }
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        // Nothing is ever pinned here.
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

/// A host that plays a recording against one server.
pub struct Player {
    host: Host<Client>,
    recording: Recording,
    target: (Ipv4Addr, u16),
    connected: bool,
    start_ns: Option<u64>,
}

impl Player {
    /// A player that begins at once.
    pub fn new(
        config: Config,
        device: Device,
        recording: Recording,
        target: (Ipv4Addr, u16),
        seed: u64,
    ) -> Self {
        let mut client = Client::default();
        client.lines.resize_with(recording.connections() as usize, Line::default);
        for (place, arrival) in recording.arrivals.iter().enumerate() {
            client.lines[arrival.connection as usize].requests.push((arrival.time_us * 1000, place));
        }
        let host = Host::new(config, device, Cost::default(), client, seed);
        Self { host, recording, target, connected: false, start_ns: None }
    }

    /// Every connection is over, or its other side has closed.
    pub fn is_done(&self) -> bool {
        let lines = &self.host.engine().application().lines;
        self.connected && lines.iter().all(|line| line.over || line.answered.complete)
    }

    /// When the recording's clock started: all connections were open.
    pub fn start_ns(&self) -> Option<u64> {
        self.start_ns
    }

    /// What the connections answered so far.
    pub fn answers(&self) -> Answers {
        let lines = self.host.engine().application().lines.iter();
        Answers {
            connections: lines.enumerate().map(|(name, line)| (name as u32, line.answered.clone())).collect(),
        }
    }

    fn connect(&mut self, now_ns: u64) {
        let engine = self.host.engine_mut();
        for name in 0..engine.application().lines.len() {
            match engine.connect(self.target.0, self.target.1, now_ns) {
                Ok(connection) => {
                    engine.application_mut().names.insert(connection, name);
                }
                // Without a record or a port the connection is cut, and its answers say so.
                Err(_) => engine.application_mut().lines[name].over = true,
            }
        }
        self.connected = true;
    }

    /// Hands over what is due and says when the next request is.
    fn play(&mut self, now_ns: u64) -> Option<u64> {
        let engine = self.host.engine_mut();
        let client = engine.application_mut();
        if self.start_ns.is_none() && client.lines.iter().all(|line| line.opened || line.over) {
            self.start_ns = Some(now_ns);
        }
        let start_ns = self.start_ns?;
        let (mut next_ns, mut due) = (None::<u64>, Vec::new());
        for (&connection, &name) in &client.names {
            let line = &mut client.lines[name];
            let before = line.next;
            while let Some(&(time_ns, arrival)) = line.requests.get(line.next) {
                if start_ns + time_ns > now_ns {
                    next_ns = Some(next_ns.map_or(start_ns + time_ns, |next| next.min(start_ns + time_ns)));
                    break;
                }
                line.unsent.extend_from_slice(&self.recording.arrivals[arrival].request);
                line.next += 1;
            }
            if line.next > before || (line.requests.is_empty() && !line.closed) {
                due.push((name, connection));
            }
        }
        // The map has no order of its own; the trace needs one.
        due.sort_unstable();
        for (_, connection) in due {
            engine.with_connection(connection, now_ns, |client, io| client.flush(io));
        }
        next_ns
    }
}

impl Node for Player {
    fn deliver(&mut self, now_ns: u64, port: usize, frame: &[u8], damaged: bool) {
        self.host.deliver(now_ns, port, frame, damaged);
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        if !self.connected {
            self.connect(now_ns);
        }
        let next_ns = self.play(now_ns);
        let mut rest = self.host.step(now_ns);
        rest.deadline_ns = match (rest.deadline_ns, next_ns) {
            (Some(deadline_ns), Some(next_ns)) => Some(deadline_ns.min(next_ns)),
            (deadline_ns, next_ns) => deadline_ns.or(next_ns),
        };
        rest
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.host.depart()
    }
}
