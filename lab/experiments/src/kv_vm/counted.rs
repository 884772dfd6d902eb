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
pub(super) struct Counts {
    pub(super) operations: f64,
    pub(super) frames_in: f64,
    pub(super) frames_out: f64,
    /// Notifications of the device of frames to send.
    pub(super) kicks: f64,
    /// Device interrupts.
    pub(super) interrupts: f64,
    pub(super) calls: f64,
    pub(super) halts: f64,
}

impl Counts {
    /// What was counted since then, for each operation.
    pub(super) fn each_since(self, before: Self) -> Self {
        let operations = self.operations - before.operations;
        let each = |now: f64, then: f64| (now - then) / operations.max(1.0);
        Self {
            operations,
            frames_in: each(self.frames_in, before.frames_in),
            frames_out: each(self.frames_out, before.frames_out),
            kicks: each(self.kicks, before.kicks),
            interrupts: each(self.interrupts, before.interrupts),
            calls: each(self.calls, before.calls),
            halts: each(self.halts, before.halts),
        }
    }
}

/// The guest's answers, through its management channel.
pub(super) struct Asked(Management);

impl Asked {
    /// Opens the channel.
    pub(super) fn open(guest: &mut Guest, token: &str) -> Outcome<Self> {
        let stream = guest.take_management().ok_or_else(|| Trouble::new("the guest has no channel"))?;
        Ok(Self(Management::open(stream, token)?))
    }

    /// What was counted so far.
    pub(super) fn counts(&mut self) -> Outcome<Counts> {
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
