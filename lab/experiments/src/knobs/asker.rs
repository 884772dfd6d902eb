//! The client on a private stack: asks on many connections, in a closed or an open loop, and keeps how long answers took
//! from the moment at which they were due to be asked for.

use super::sweep::CONNECTIONS;
use nom_load::pace::{Pace, Schedule};
use nom_load::tally::Tally;
use nom_stack::Engine;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use nom_stack::port::{Egress, Ingress};
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// Bytes of a question and of its echo.
pub const MESSAGE_LEN: usize = 64;
/// Questions that one connection may have open; what is due beyond is shed.
const OUTSTANDING_MAX: usize = 32;

/// When what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The load begins.
    pub begin_ns: u64,
    /// From then on it counts.
    pub from_ns: u64,
    /// Until then, and then the load ends.
    pub to_ns: u64,
}

#[derive(Default)]
struct Line {
    opened: bool,
    asked: VecDeque<u64>,
    partial: usize,
    gone: bool,
}

/// The application.
pub struct Asker {
    again: bool,
    span: Span,
    lines: HashMap<ConnectionId, Line>,
    /// In the order in which they were opened.
    names: Vec<ConnectionId>,
    /// What came of questions that were due within the span.
    pub tally: Tally,
    /// Answers that came within the span, whenever they were due.
    pub answers: u64,
}

impl Asker {
    fn new(pace: Pace, span: Span) -> Self {
        let (lines, names) = (HashMap::new(), Vec::new());
        Self { again: pace == Pace::Closed, span, lines, names, tally: Tally::default(), answers: 0 }
    }

    /// Every connection is open, or was refused.
    pub fn is_settled(&self) -> bool {
        self.lines.len() == CONNECTIONS as usize && self.lines.values().all(|line| line.opened || line.gone)
    }

    fn counts(&self, at_ns: u64) -> bool {
        (self.span.from_ns..self.span.to_ns).contains(&at_ns)
    }

    /// Asks what was due at a time.
    fn ask(&mut self, io: &mut impl Io, due_ns: u64) {
        let counts = self.counts(due_ns);
        let Some(line) = self.lines.get_mut(&io.connection()) else { return };
        self.tally.sent += u64::from(counts);
        if line.asked.len() < OUTSTANDING_MAX && io.write(&[0x61; MESSAGE_LEN]).is_ok() {
            line.asked.push_back(due_ns);
        } else {
            self.tally.shed += u64::from(counts);
        }
    }
}

impl Application for Asker {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        if let Some(line) = self.lines.get_mut(&io.connection()) {
            line.opened = true;
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let now_ns = io.now_ns();
        let Some(line) = self.lines.get_mut(&io.connection()) else { return bytes.len() };
        line.partial += bytes.len();
        let mut answered = 0;
        while line.partial >= MESSAGE_LEN
            && let Some(due_ns) = line.asked.pop_front()
        {
            line.partial -= MESSAGE_LEN;
            answered += 1;
            if (self.span.from_ns..self.span.to_ns).contains(&due_ns) {
                self.tally.answered += 1;
                self.tally.took(now_ns.saturating_sub(due_ns));
            }
        }
        if self.counts(now_ns) {
            self.answers += answered;
        }
        if self.again && now_ns < self.span.to_ns {
            (0..answered).for_each(|_| self.ask(io, now_ns));
        }
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, _io: &mut impl Io) {}

    fn ended(&mut self, connection: ConnectionId, _reason: Ended) {
        if let Some(line) = self.lines.get_mut(&connection) {
            line.gone = true;
        }
    }
}

/// Makes the asker ask: opens its connections at the first call, and then does what is due.
pub struct Driver {
    target: (Ipv4Addr, u16),
    pace: Pace,
    span: Span,
    schedule: Schedule,
    begun: bool,
    turn: usize,
}

impl Driver {
    /// A driver and the application that it drives.
    pub fn new(target: (Ipv4Addr, u16), per_s: Option<f64>, span: Span, seed: u64) -> (Self, Asker) {
        let pace = per_s.map_or(Pace::Closed, |per_s| Pace::Poisson { per_s });
        let schedule = Schedule::new(pace, 0, 1, seed);
        (Self { target, pace, span, schedule, begun: false, turn: 0 }, Asker::new(pace, span))
    }

    /// Says anew when the load is to come.
    pub fn set_span(&mut self, asker: &mut Asker, span: Span) {
        self.span = span;
        asker.span = span;
    }

    /// Does what is due, and says when something is next.
    pub fn drive<I: Ingress, E: Egress>(
        &mut self,
        engine: &mut Engine<I, E, Asker>,
        now_ns: u64,
    ) -> Option<u64> {
        while engine.application().names.len() < CONNECTIONS as usize {
            // A table of thousands has room for these.
            let Ok(id) = engine.connect(self.target.0, self.target.1, now_ns) else { return None };
            engine.application_mut().names.push(id);
            engine.application_mut().lines.insert(id, Line::default());
        }
        if now_ns < self.span.begin_ns {
            return Some(self.span.begin_ns);
        }
        if !self.begun {
            self.begun = true;
            if self.pace == Pace::Closed {
                for id in engine.application().names.clone() {
                    engine.with_connection(id, now_ns, |asker, io| asker.ask(io, now_ns));
                }
            }
        }
        loop {
            let due_ns = self.span.begin_ns + self.schedule.due_ns()?;
            if due_ns >= self.span.to_ns {
                return None;
            }
            if due_ns > now_ns {
                return Some(due_ns);
            }
            self.schedule.advance();
            let id = engine.application().names[self.turn % CONNECTIONS as usize];
            self.turn += 1;
            let asker = engine.application_mut();
            if asker.lines[&id].gone {
                let counts = u64::from(asker.counts(due_ns));
                asker.tally.sent += counts;
                asker.tally.shed += counts;
            } else {
                engine.with_connection(id, now_ns, |asker, io| asker.ask(io, due_ns));
            }
        }
    }
}
