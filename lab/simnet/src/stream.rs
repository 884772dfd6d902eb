//! A transfer that is checked byte for byte: an application that sends a known sequence on every connection and
//! expects the other side's.

use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use std::collections::HashMap;

/// Bytes in one turn of writing.
const CHUNK_LEN: usize = 700;

/// What one side sends and how it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Bytes to send on each connection before closing.
    pub send: u64,
    /// Bytes to expect before the other side closes.
    pub expect: u64,
    /// The sequence that is sent; the other side's `expect_seed`.
    pub seed: u64,
    /// The sequence that is expected.
    pub expect_seed: u64,
    /// Length of the records that are consumed whole or not at all, as a parser does; the last one may be shorter.
    pub record: usize,
    /// Send every other chunk from pinned memory.
    pub pins: bool,
}

/// How a connection went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    /// Bytes written.
    pub sent: u64,
    /// Bytes consumed, all as expected.
    pub received: u64,
    /// The other side closed after its last byte.
    pub finished: bool,
    /// How the connection ended.
    pub ended: Option<Ended>,
    closed: bool,
}

/// The application.
#[derive(Debug)]
pub struct Stream {
    plan: Plan,
    courses: HashMap<ConnectionId, Course>,
    pins: HashMap<u64, Vec<u8>>,
    next_pin: u64,
    deaf: bool,
}

/// The byte at a place of a sequence.
pub fn byte_at(seed: u64, place: u64) -> u8 {
    ((place ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 47) as u8
}

impl Stream {
    /// An application that does the same on every connection.
    pub fn new(plan: Plan) -> Self {
        Self { plan, courses: HashMap::new(), pins: HashMap::new(), next_pin: 0, deaf: false }
    }

    /// How the connections went so far, in the order of their names.
    pub fn courses(&self) -> Vec<(ConnectionId, Course)> {
        let mut courses: Vec<_> = self.courses.iter().map(|(id, course)| (*id, *course)).collect();
        courses.sort_by_key(|(id, _)| *id);
        courses
    }

    /// Whether this many connections ended in order with every byte sent and received.
    pub fn complete(&self, connections: usize) -> bool {
        self.courses.len() == connections
            && self.courses.values().all(|course| {
                course.sent == self.plan.send
                    && course.received == self.plan.expect
                    && course.finished
                    && course.ended == Some(Ended::Closed)
            })
    }

    /// Whether it leaves what arrives where it is, until all that it expects is there. Whoever ends that calls it for its
    /// connections.
    pub fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
    }

    /// Whether it does.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Pins that the stack still has.
    pub fn pins_held(&self) -> usize {
        self.pins.len()
    }

    /// Forgets a connection that goes on elsewhere, and says how it went so far.
    pub fn hand_over(&mut self, id: ConnectionId) -> Option<Course> {
        self.courses.remove(&id)
    }

    /// Goes on with a connection that began elsewhere.
    pub fn take_over(&mut self, io: &mut impl Io, course: Course) {
        assert_eq!(self.courses.insert(io.connection(), course), None, "the name was new");
        self.pump(io);
    }

    fn pump(&mut self, io: &mut impl Io) {
        let plan = self.plan;
        let course = self.courses.entry(io.connection()).or_default();
        while course.sent < plan.send {
            let len = CHUNK_LEN.min((plan.send - course.sent) as usize);
            let chunk: Vec<u8> =
                (course.sent..course.sent + len as u64).map(|place| byte_at(plan.seed, place)).collect();
            let pinned = plan.pins && (course.sent / CHUNK_LEN as u64).is_multiple_of(2);
            let written = if pinned {
                let pin = Pin { token: self.next_pin, len: len as u32 };
                // The bytes have to be reachable before the pin is known to the stack.
                self.pins.insert(pin.token, chunk);
                let written = io.write_pinned(pin);
                if written.is_err() {
                    self.pins.remove(&pin.token);
                } else {
                    self.next_pin += 1;
                }
                written
            } else {
                io.write(&chunk)
            };
            if written.is_err() {
                return;
            }
            course.sent += len as u64;
        }
        if !course.closed {
            course.closed = true;
            io.close();
        }
    }
}

impl Application for Stream {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.pump(io);
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let plan = self.plan;
        let course = self.courses.entry(io.connection()).or_default();
        assert!(!course.finished, "bytes after the end");
        let last = course.received + bytes.len() as u64 == plan.expect;
        let taken = match (last, self.deaf) {
            (true, _) => bytes.len(),
            (false, true) => 0,
            (false, false) => bytes.len() / plan.record * plan.record,
        };
        for &byte in &bytes[..taken] {
            assert_eq!(byte, byte_at(plan.expect_seed, course.received), "byte {}", course.received);
            course.received += 1;
        }
        assert!(course.received <= plan.expect, "more bytes than were sent");
        self.pump(io);
        taken
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.pump(io);
    }

    fn finished(&mut self, io: &mut impl Io) {
        self.courses.entry(io.connection()).or_default().finished = true;
        self.pump(io);
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        let course = self.courses.entry(connection).or_default();
        assert_eq!(course.ended, None, "a connection ended twice");
        course.ended = Some(reason);
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        &self.pins[&pin.token]
    }

    fn released(&mut self, pin: Pin) {
        assert!(self.pins.remove(&pin.token).is_some(), "a pin was released twice");
    }
}
