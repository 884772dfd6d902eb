//! One side of one measurement: what is awaited, and what follows it.
//!
//! ```text
//! both          transmitter   receiver
//! SyncMe        100 messages, each sent back
//! SyncMe
//! SyncMe        repeats ->                     for each length, until the transmitter says QUIT
//!   SyncMe      messages, each sent back       for each trial
//!                             <- time          when streaming: messages were not sent back
//! ```
//!
//! With resets, both say QUIT after the messages that are not measured and after each trial, and go on with a new
//! connection.

use crate::outbox::Outbox;
use crate::schedule::Lengths;
use crate::{Plan, Sample};
use nom_stack::application::Io;

const SYNC: &[u8; 6] = b"SyncMe";
const QUIT: &[u8; 5] = b"QUIT\0";
/// Messages that go and come before anything is measured.
const WARM_UP: u32 = 100;
/// Repeats of one length at most.
const REPEATS_MAX: u64 = 1_000_000;

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends first, and decides how often.
    Transmitter,
    /// Answers.
    Receiver,
}

/// The other side says something else than NetPIPE would, or has another list of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strange;

/// What is done next: at once, or with a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Point,
    Trial,
    Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The other side's text before the messages that are not measured, and after them.
    Before,
    After,
    /// The text before a length, or the end.
    Point,
    /// How often the length is to be repeated.
    Repeats,
    /// The text before a trial.
    Trial,
    /// Messages that are still to come, of those that are not measured and those that are.
    Warming(u32),
    Messages(u32),
    /// The receiver's time for what streamed.
    Time,
    /// The other side's farewell, before a new connection or for good.
    Parting(Next),
    Farewell,
    /// A new connection.
    Between(Next),
    Over,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Side {
    role: Role,
    plan: Plan,
    phase: Phase,
    lengths: Lengths,
    len: u32,
    /// Bytes of a message of which not all are here.
    got: u32,
    repeats: u32,
    trials: u32,
    began_ns: u64,
    /// The quickest trial of this length so far, as long as it took.
    best_ns: u64,
    outbox: Outbox,
}

impl Side {
    pub fn new(role: Role, plan: Plan) -> Self {
        let mut outbox = Outbox::default();
        outbox.text(SYNC);
        Self {
            role,
            plan,
            phase: Phase::Before,
            lengths: plan.schedule.lengths(),
            len: plan.schedule.start.max(1),
            got: 0,
            repeats: 0,
            trials: 0,
            began_ns: 0,
            best_ns: u64::MAX,
            outbox,
        }
    }

    /// Sends what there is room for, and goes on with what waited for that.
    pub fn send(&mut self, io: &mut impl Io) -> Option<Sample> {
        self.outbox.send(io);
        // A transmitter that streams is through with a trial when everything is handed over.
        if self.outbox.is_empty() && self.streaming_out() { self.outbox_done(io) } else { None }
    }

    fn streaming_out(&self) -> bool {
        self.plan.streams && self.role == Role::Transmitter && matches!(self.phase, Phase::Messages(_))
    }

    fn outbox_done(&mut self, io: &mut impl Io) -> Option<Sample> {
        let sample = self.trial_over(io.now_ns());
        self.outbox.send(io);
        sample
    }

    /// Whether everything is said on both sides.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.outbox.is_empty()
    }

    /// Whether everything is said on this connection, and it goes on with another.
    pub fn is_between(&self) -> bool {
        matches!(self.phase, Phase::Between(_)) && self.outbox.is_empty()
    }

    /// Who this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Goes on with a new connection.
    pub fn resume(&mut self) {
        if let Phase::Between(next) = self.phase {
            self.go(next);
        }
    }

    /// Takes what it can of what came, and says how much that was.
    pub fn receive(
        &mut self,
        io: &mut impl Io,
        bytes: &[u8],
        mut found: impl FnMut(Sample),
    ) -> Result<usize, Strange> {
        let mut taken = 0;
        loop {
            if let Some(sample) = self.send(io) {
                found(sample);
            }
            // Nobody sends before the answer is there, but for whoever has stopped to play by the rules.
            if !self.outbox.is_empty() {
                return Ok(taken);
            }
            let used = self.one(io.now_ns(), &bytes[taken..], &mut found)?;
            if used == 0 {
                return Ok(taken);
            }
            taken += used;
        }
    }

    /// Takes one thing. Zero when it is not whole yet.
    fn one(&mut self, now_ns: u64, bytes: &[u8], found: &mut impl FnMut(Sample)) -> Result<usize, Strange> {
        match self.phase {
            Phase::Before | Phase::After | Phase::Point | Phase::Trial => {
                // Each side stops by its own clock: either may part where the other one goes on.
                if self.phase == Phase::Point && bytes.first() == QUIT.first() {
                    let Some(used) = whole(bytes, QUIT)? else { return Ok(0) };
                    if self.role == Role::Receiver {
                        self.outbox.text(QUIT);
                    }
                    self.phase = Phase::Over;
                    return Ok(used);
                }
                let Some(used) = whole(bytes, SYNC)? else { return Ok(0) };
                self.synced(now_ns)?;
                Ok(used)
            }
            Phase::Repeats => {
                let Some(number) = number(bytes) else { return Ok(0) };
                self.repeats = number;
                if number == 0 {
                    return Err(Strange);
                }
                self.trials = 0;
                self.best_ns = u64::MAX;
                self.next_trial();
                Ok(4)
            }
            Phase::Warming(left) | Phase::Messages(left) => {
                let used = (self.len - self.got).min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                self.got += used;
                if self.got == self.len && used > 0 {
                    self.got = 0;
                    if let Some(sample) = self.message(now_ns, left) {
                        found(sample);
                    }
                }
                Ok(used as usize)
            }
            Phase::Time => {
                let Some(hundredths_us) = number(bytes) else { return Ok(0) };
                found(self.sample(f64::from(hundredths_us) * 10.0));
                self.next_point();
                Ok(4)
            }
            // What it says may be what it would have said if it went on.
            Phase::Farewell => {
                if bytes.len() < QUIT.len() {
                    return Ok(0);
                }
                self.phase = Phase::Over;
                Ok(bytes.len())
            }
            Phase::Parting(next) if self.role == Role::Receiver => {
                let Some(used) = whole(bytes, QUIT)? else { return Ok(0) };
                self.outbox.text(QUIT);
                self.phase = Phase::Between(next);
                Ok(used)
            }
            Phase::Parting(next) => {
                if bytes.len() < QUIT.len() {
                    return Ok(0);
                }
                self.phase = Phase::Between(next);
                Ok(QUIT.len())
            }
            // Whatever a side says after the farewell is let pass.
            Phase::Between(_) | Phase::Over => Ok(bytes.len()),
        }
    }

    /// Both sides have said their text.
    fn synced(&mut self, now_ns: u64) -> Result<(), Strange> {
        let transmits = self.role == Role::Transmitter;
        match self.phase {
            Phase::Before => {
                self.phase = Phase::Warming(WARM_UP);
                if transmits {
                    self.began_ns = now_ns;
                    self.outbox.message(u64::from(self.len));
                }
            }
            Phase::After => self.part(Next::Point),
            Phase::Point if transmits => {
                self.outbox.text(&self.repeats.to_be_bytes());
                self.trials = 0;
                self.best_ns = u64::MAX;
                self.next_trial();
            }
            Phase::Point => {
                // More lengths than we know of: the other side was started with other ones.
                self.len = self.lengths.next().ok_or(Strange)?;
                self.phase = Phase::Repeats;
            }
            Phase::Trial => {
                self.began_ns = now_ns;
                self.phase = Phase::Messages(self.repeats);
                if transmits {
                    let count = if self.plan.streams { self.repeats } else { 1 };
                    self.outbox.message(u64::from(self.len) * u64::from(count));
                }
            }
            _ => unreachable!("no text is awaited in {:?}", self.phase),
        }
        Ok(())
    }

    /// A whole message is here, and so many were awaited with it.
    fn message(&mut self, now_ns: u64, awaited: u32) -> Option<Sample> {
        let left = awaited - 1;
        let warming = matches!(self.phase, Phase::Warming(_));
        let sends = match self.role {
            Role::Receiver => warming || !self.plan.streams,
            Role::Transmitter => left > 0,
        };
        if sends {
            self.outbox.message(u64::from(self.len));
        }
        match (warming, left) {
            (true, 0) => {
                self.repeats =
                    self.repeats_for((now_ns - self.began_ns) / u64::from(2 * WARM_UP), self.len, self.len);
                self.phase = Phase::After;
                self.outbox.text(SYNC);
                None
            }
            (false, 0) => self.trial_over(now_ns),
            (true, _) => {
                self.phase = Phase::Warming(left);
                None
            }
            (false, _) => {
                self.phase = Phase::Messages(left);
                None
            }
        }
    }

    fn next_trial(&mut self) {
        self.phase = Phase::Trial;
        self.outbox.text(SYNC);
    }

    fn trial_over(&mut self, now_ns: u64) -> Option<Sample> {
        self.best_ns = self.best_ns.min(now_ns - self.began_ns);
        self.trials += 1;
        if self.trials < self.plan.trials {
            self.part(Next::Trial);
            return None;
        }
        let ways = if self.plan.streams { 1.0 } else { 2.0 };
        let one_way_ns = self.best_ns as f64 / f64::from(self.repeats) / ways;
        if self.plan.streams && self.role == Role::Transmitter {
            self.part(Next::Time);
            return None;
        }
        let sample = self.sample(one_way_ns);
        self.part(if self.plan.streams { Next::Time } else { Next::Point });
        Some(sample)
    }

    /// Goes on, with a new connection where that is wanted.
    fn part(&mut self, next: Next) {
        if !self.plan.resets {
            return self.go(next);
        }
        if self.role == Role::Transmitter {
            self.outbox.text(QUIT);
        }
        self.phase = Phase::Parting(next);
    }

    fn go(&mut self, next: Next) {
        match (next, self.role) {
            (Next::Point, _) => self.next_point(),
            (Next::Trial, _) => self.next_trial(),
            (Next::Time, Role::Transmitter) => self.phase = Phase::Time,
            (Next::Time, Role::Receiver) => {
                let hundredths_us = u32::try_from(self.best_ns / 10).unwrap_or(u32::MAX);
                self.outbox.text(&hundredths_us.to_be_bytes());
                self.next_point();
            }
        }
    }

    fn sample(&mut self, one_way_ns: f64) -> Sample {
        // Kept for the choice of the next one.
        self.best_ns = one_way_ns as u64;
        Sample { len: self.len, repeats: self.repeats, one_way_ns }
    }

    /// Goes on to the next length. A receiver learns from the other side whether there is one.
    fn next_point(&mut self) {
        if self.role == Role::Receiver {
            self.phase = Phase::Point;
            self.outbox.text(SYNC);
            return;
        }
        let first = self.best_ns == u64::MAX;
        let last_ns = if first { 0 } else { self.best_ns };
        let before = self.len;
        match self.lengths.next().filter(|_| last_ns < self.plan.stop_ns) {
            Some(len) => {
                self.len = len;
                if last_ns > 0 {
                    self.repeats = self.repeats_for(last_ns, before, len);
                }
                self.phase = Phase::Point;
                self.outbox.text(SYNC);
            }
            None => {
                self.phase = Phase::Farewell;
                self.outbox.text(QUIT);
            }
        }
    }

    /// So often that a trial takes as long as is planned, from how long one way took with another length.
    fn repeats_for(&self, last_ns: u64, before: u32, len: u32) -> u32 {
        let guess_ns = u128::from(last_ns.max(1)) * u128::from(len.max(1)) / u128::from(before.max(1));
        let guess_ns = guess_ns.clamp(1, u128::from(u64::MAX)) as u64;
        let most = self.plan.repeats.map_or(self.plan.trial_ns / guess_ns, u64::from);
        most.clamp(u64::from(self.plan.trials.max(1)), REPEATS_MAX) as u32
    }
}

/// The length of a text that is whole; none while it may still become so.
fn whole(bytes: &[u8], text: &[u8]) -> Result<Option<usize>, Strange> {
    if !bytes.iter().zip(text).all(|(left, right)| left == right) {
        return Err(Strange);
    }
    Ok((bytes.len() >= text.len()).then_some(text.len()))
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_be_bytes(*four))
}
