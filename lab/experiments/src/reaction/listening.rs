//! What the service says while it reacts.

use super::prices::unix_ns;
use crate::homes::Home;
use nom_machine::management::{Heard, Management, Silence};
use nom_machine::trouble::{Outcome, Trouble};
use nom_service::management::{Command, KnobChange, Message};
use std::time::{Duration, Instant};

/// How long anything may take. Nothing here takes a second on a machine that is not starved.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long one wait for words lasts.
const TURN: Duration = Duration::from_millis(5);

/// Who listens, and what was heard.
pub struct Listener {
    management: Management,
    /// Generation of the prices in force.
    pub generation: u64,
    /// The last change of the knob, and when it was heard.
    pub change: Option<(KnobChange, u64)>,
    bye: bool,
}

impl Listener {
    /// Listens to a home from its hello on.
    pub fn new(home: &mut impl Home) -> Outcome<Self> {
        let management = home.management()?;
        let mut listener = Self { management, generation: 0, change: None, bye: false };
        listener.until(home, "have its first prices", |heard| heard.generation > 0)?;
        Ok(listener)
    }

    /// Listens until something was heard.
    pub fn until(&mut self, home: &mut impl Home, what: &str, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > deadline {
                return Err(Trouble::new(format!("it did not {what} in time")));
            }
            self.hear(home, TURN)?;
        }
        Ok(())
    }

    /// Listens for so long.
    pub fn rest(&mut self, home: &mut impl Home, time: Duration) -> Outcome<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.hear(home, left.min(TURN))?;
        }
    }

    /// Asks the service to end, and waits for that.
    pub fn drain(mut self, home: &mut impl Home) -> Outcome<()> {
        self.management.say(&Command::Drain)?;
        self.until(home, "say bye", |heard| heard.bye)?;
        home.ended()
    }

    fn hear(&mut self, home: &mut impl Home, turn: Duration) -> Outcome<()> {
        match self.management.hear(turn) {
            Ok(Heard::Message(message, _)) => match *message {
                Message::Stats(stats) => self.generation = stats.price_generation,
                Message::Knobs(change) => self.change = Some((change, unix_ns())),
                Message::Bye(_) => self.bye = true,
                Message::Refused { reason } => {
                    return Err(Trouble::new(format!("it refused us: {reason}")));
                }
                _ => {}
            },
            Ok(Heard::Malformed(text)) => {
                return Err(Trouble::new(format!("it said what is no line: {text}")));
            }
            Err(_) if self.bye => {}
            Err(silence) => match home.gone() {
                Some(trouble) => return Err(trouble),
                None if silence == Silence::ForGood => {
                    return Err(Trouble::new("it closed its management channel"));
                }
                None => {}
            },
        }
        Ok(())
    }
}
