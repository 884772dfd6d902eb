//! NetPIPE: how long a message takes one way, and how many bytes a second that is, for each of a list of lengths.
//!
//! Either side, against ours or against `NPtcp`: the receiver answers as many as come, the transmitter (an opening of
//! ours) measures. Both must be started with the same lengths, since nobody sends them. What `NPtcp` calls streaming
//! (`-s`, with new connections, `-r`) is here; its checks of what the messages contain (`-i`) and both ways at once (`-2`)
//! are not.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod outbox;
pub mod schedule;
mod side;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use schedule::Schedule;
use side::{Role, Side, Strange};

/// NetPIPE's port.
pub const PORT: u16 = 5_002;
/// Measurements that go on at the same time. Whoever comes beyond that is turned away.
pub const SIDES_MAX: usize = 64;
/// Samples that are kept until they are taken; further ones are dropped.
pub const SAMPLES_MAX: usize = 8_192;

/// What is measured, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The lengths.
    pub schedule: Schedule,
    /// Messages follow each other without being sent back.
    pub streams: bool,
    /// Each trial has a connection of its own: `NPtcp` wants that whenever it streams.
    pub resets: bool,
    /// Trials of each length; the quickest counts. Both sides must do as many: Debian's `NPtcp` does 3, others 7.
    pub trials: u32,
    /// How long a trial of ours is to take.
    pub trial_ns: u64,
    /// How often a message is repeated in a trial of ours, instead of that.
    pub repeats: Option<u32>,
    /// A message that takes longer ends our measurement.
    pub stop_ns: u64,
}

/// What `NPtcp` does when nothing is said.
impl Default for Plan {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            streams: false,
            resets: false,
            trials: 3,
            trial_ns: 100_000_000,
            repeats: None,
            stop_ns: 1_000_000_000,
        }
    }
}

/// What was found for one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Bytes of a message.
    pub len: u32,
    /// Messages in a trial.
    pub repeats: u32,
    /// How long one took one way, in the quickest trial.
    pub one_way_ns: f64,
}

/// A side on its connection.
#[derive(Debug)]
struct Going {
    side: Side,
    /// As it was before this connection, until something is heard on it. A new connection may still meet the listener
    /// that the other side is about to close.
    before: Option<Side>,
}

/// The application.
#[derive(Debug)]
pub struct Netpipe {
    plan: Plan,
    /// Of each connection; none when its side is through, or goes on with another.
    sides: BTreeMap<ConnectionId, Option<Going>>,
    /// The side that waits for a new connection.
    parked: Option<Side>,
    samples: Vec<Sample>,
    pattern: Vec<u8>,
    opened: u64,
    completed: u64,
    broken: u64,
}

impl Default for Netpipe {
    fn default() -> Self {
        Self::new(Plan::default())
    }
}

impl Netpipe {
    /// An application that measures by this plan.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            sides: BTreeMap::new(),
            parked: None,
            samples: Vec::new(),
            pattern: alloc::vec![b'n'; outbox::PATTERN_LEN],
            opened: 0,
            completed: 0,
            broken: 0,
        }
    }

    /// What was found since this was asked last.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        core::mem::take(&mut self.samples)
    }

    /// Connections that were opened so far.
    pub fn connections(&self) -> u64 {
        self.opened
    }

    /// Measurements that went to their end so far.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Connections that were refused, ended too early, were turned away, or whose other side said something else.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Whether a measurement of ours waits for a new connection: open it.
    pub fn wants_connection(&self) -> bool {
        self.parked.as_ref().is_some_and(|side| side.role() == Role::Transmitter)
    }

    /// Closes what is over. A second one that wants to go on with a new connection could not be told from the first.
    fn part(&mut self, io: &mut impl Io) {
        let Some(place) = self.sides.get_mut(&io.connection()) else { return };
        match place {
            Some(going) if going.side.is_over() => {
                *place = None;
                self.completed += 1;
                io.close();
            }
            Some(going) if going.side.is_between() && self.parked.is_none() => {
                self.parked = place.take().map(|going| going.side);
                io.close();
            }
            Some(going) if going.side.is_between() => io.abort(),
            _ => {}
        }
    }

    fn keep(samples: &mut Vec<Sample>, sample: Sample) {
        if samples.len() < SAMPLES_MAX {
            samples.push(sample);
        }
    }
}

impl Application for Netpipe {
    fn opened(&mut self, io: &mut impl Io, _port: u16, outgoing: bool) {
        self.opened += 1;
        if self.sides.len() >= SIDES_MAX {
            io.abort();
            return;
        }
        let role = if outgoing { Role::Transmitter } else { Role::Receiver };
        let before = self.parked.take_if(|side| side.role() == role);
        let mut side = before.clone().unwrap_or_else(|| Side::new(role, self.plan));
        side.resume();
        side.send(io);
        self.sides.insert(io.connection(), Some(Going { side, before }));
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let Some(Some(going)) = self.sides.get_mut(&io.connection()) else { return bytes.len() };
        going.before = None;
        match going.side.receive(io, bytes, |sample| Self::keep(&mut self.samples, sample)) {
            Ok(taken) => {
                self.part(io);
                taken
            }
            Err(Strange) => {
                io.abort();
                bytes.len()
            }
        }
    }

    fn writable(&mut self, io: &mut impl Io) {
        let Some(Some(going)) = self.sides.get_mut(&io.connection()) else { return };
        if let Some(sample) = going.side.send(io) {
            Self::keep(&mut self.samples, sample);
        }
        self.part(io);
    }

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, connection: ConnectionId, _reason: Ended) {
        match self.sides.remove(&connection) {
            Some(None) => {}
            Some(Some(Going { before: Some(side), .. })) if self.parked.is_none() => {
                self.parked = Some(side);
                self.broken += 1;
            }
            _ => self.broken += 1,
        }
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        &self.pattern[..pin.len as usize]
    }

    fn released(&mut self, _pin: Pin) {}
}
