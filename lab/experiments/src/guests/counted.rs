//! What an operation makes the guest do, as its kernel and its stack count it: the other side of its processor time.
//!
//! Asked over the management channel, which the guests that are timed do not have.

use crate::tap_home::Guest;
use nom_abi::statistics::Counter;
use nom_machine::management::{Heard, Management};
use nom_machine::trouble::{Outcome, Trouble};
use nom_service::management::{Command, Message};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Counts since the guest's start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Operations that were accepted.
    pub operations: f64,
    /// Frames that came.
    pub frames_in: f64,
    /// Frames that went.
    pub frames_out: f64,
    /// Notifications of the device of frames to send.
    pub kicks: f64,
    /// Device interrupts.
    pub interrupts: f64,
    /// Calls of the kernel.
    pub calls: f64,
    /// Times that the processor was halted.
    pub halts: f64,
}

impl Counts {
    /// What was counted since then.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            operations: self.operations - before.operations,
            frames_in: self.frames_in - before.frames_in,
            frames_out: self.frames_out - before.frames_out,
            kicks: self.kicks - before.kicks,
            interrupts: self.interrupts - before.interrupts,
            calls: self.calls - before.calls,
            halts: self.halts - before.halts,
        }
    }

    /// The same for each operation.
    pub fn of_each(&self) -> Self {
        let each = |count: f64| count / self.operations.max(1.0);
        Self {
            operations: 1.0,
            frames_in: each(self.frames_in),
            frames_out: each(self.frames_out),
            kicks: each(self.kicks),
            interrupts: each(self.interrupts),
            calls: each(self.calls),
            halts: each(self.halts),
        }
    }
}

/// The guest's answers, through its management channel.
pub struct Asked(Management);

impl Asked {
    /// Opens the channel.
    pub fn open(guest: &mut Guest, token: &str) -> Outcome<Self> {
        let stream = guest.take_management().ok_or_else(|| Trouble::new("the guest has no channel"))?;
        Ok(Self(Management::open(stream, token)?))
    }

    /// What was counted so far.
    pub fn counts(&mut self) -> Outcome<Counts> {
        self.0.say(&Command::Report)?;
        self.0.say(&Command::Machine)?;
        let (deadline, mut stats) = (Instant::now() + PATIENCE, None);
        while Instant::now() < deadline {
            match self.0.hear(PATIENCE) {
                Ok(Heard::Message(message, _)) => match *message {
                    // The newest before the counters of the kernel: they were asked for in this order.
                    Message::Stats(newer) => stats = Some(newer),
                    Message::Machine(machine) => {
                        let Some(stats) = stats else { continue };
                        let word = |counter: Counter| machine.words.get(counter as usize) as f64;
                        return Ok(Counts {
                            operations: stats.accepted as f64,
                            frames_in: stats.frames_in as f64,
                            frames_out: stats.frames_out as f64,
                            kicks: stats.kicks as f64,
                            interrupts: word(Counter::Interrupts),
                            calls: word(Counter::Calls),
                            halts: word(Counter::Halts),
                        });
                    }
                    _ => {}
                },
                Ok(Heard::Malformed(line)) => {
                    return Err(Trouble::new(format!("the guest's channel says {line:?}")));
                }
                Err(_) => break,
            }
        }
        Err(Trouble::new("the guest does not say what it counted"))
    }
}
