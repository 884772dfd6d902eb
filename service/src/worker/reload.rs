//! Another configuration, and orders about the tuner, while the service runs.
//!
//! Everything is checked before anything changes: what is refused changes nothing, what is taken says what changed and
//! what waits for the next start. Each answer goes to whoever asked and into the log.

use super::Worker;
use crate::configuration::{Changed, Configuration, Tuning};
use crate::home::Home;
use crate::management::{KnobChange, Level, Message};
use crate::setting;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use nom_points::Setting;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Reads the configuration again, where this home has one to read. What changed, or why nothing did; the log has it
    /// too.
    pub fn reload(&mut self, home: &mut impl Home) -> Result<String, String> {
        let answer = self.reloaded(home);
        self.say(home, "reload", answer.clone());
        answer
    }

    pub(super) fn ordered_reload(&mut self, home: &mut impl Home) {
        let answer = self.reloaded(home);
        self.answer(home, "reload", answer);
    }

    pub(super) fn set(&mut self, home: &mut impl Home, key: &str, value: &str) {
        let answer = self.changed(home, key, value);
        self.answer(home, &format!("set {key}"), answer);
    }

    /// The application itself changes one key of the configuration. What changed, or why nothing did; the log has it too.
    pub fn change_key(&mut self, home: &mut impl Home, key: &str, value: &str) -> Result<String, String> {
        let answer = self.changed(home, key, value);
        self.say(home, &format!("the application sets {key}"), answer.clone());
        answer
    }

    fn changed(&mut self, home: &mut impl Home, key: &str, value: &str) -> Result<String, String> {
        let new = self.configuration.with(key, value).map_err(|error| error.to_string())?;
        self.adopt(home, &new)
    }

    /// Keeps the setting in force, whatever prices and load do.
    pub(super) fn freeze(&mut self, home: &mut impl Home) {
        let answer = if core::mem::replace(&mut self.frozen, true) {
            Err("it is frozen already".into())
        } else {
            self.instruct(home);
            Ok(format!("frozen at {}; thaw lets the tuner go on", self.setting))
        };
        self.answer(home, "freeze", answer);
    }

    /// Lets the tuner do again what its configuration says.
    pub(super) fn thaw(&mut self, home: &mut impl Home) {
        let answer = if core::mem::replace(&mut self.frozen, false) {
            self.instruct(home);
            Ok(match self.configuration.tuning {
                Tuning::On => "thawed: the tuner changes knobs again".into(),
                Tuning::Observe => "thawed: the tuner says again what it would do".into(),
                Tuning::Off => "thawed; the tuner is off".into(),
            })
        } else {
            Err("it is not frozen".into())
        };
        self.answer(home, "thaw", answer);
    }

    fn reloaded(&mut self, home: &mut impl Home) -> Result<String, String> {
        let text = home.configuration().unwrap_or_else(|| {
            Err("there is no file to read again here; set KEY = VALUE changes one key".into())
        })?;
        let new = self.configuration.again(&text).map_err(|error| error.to_string())?;
        self.adopt(home, &new)
    }

    /// Takes over what may change now. The error says why nothing did.
    fn adopt(&mut self, home: &mut impl Home, new: &Configuration) -> Result<String, String> {
        if self.is_draining() {
            return Err("it drains".into());
        }
        let (live, later): (Vec<Changed>, Vec<Changed>) =
            self.configuration.difference(new).into_iter().partition(|changed| self.takes(changed, new));
        let mut adopted = self
            .configuration
            .adopted(&live)
            .map_err(|error| format!("{error}; what waits for the next start belongs to it, start anew"))?;
        self.engine.set_terms_of_ports(adopted.tcp.terms).map_err(|_| {
            "tcp.keepalive and tcp.user_timeout were changed too often: start anew".to_string()
        })?;
        // A home may have its own way to prices, whatever the text says.
        adopted.prices = self.configuration.prices.clone();
        self.configuration = adopted;
        self.instruct(home);
        if live.iter().any(|changed| matches!(changed.key.as_str(), "wait" | "batch")) {
            self.configure_setting(home);
        } else {
            let knobs = setting::knobs(self.setting, &self.configuration.knobs);
            self.engine.set_knobs(knobs, home.now_ns());
            home.lead(&knobs);
        }
        let told = |changes: &[Changed]| changes.iter().map(Changed::line).collect::<Vec<_>>().join("; ");
        Ok(match (live.is_empty(), later.is_empty()) {
            (true, true) => "nothing has changed".into(),
            (false, true) => told(&live),
            (true, false) => format!("nothing changes now; after a restart: {}", told(&later)),
            (false, false) => format!("{}; after a restart: {}", told(&live), told(&later)),
        })
    }

    /// Whether a change takes effect now. Tables were made for a number of connections, so there may be fewer.
    fn takes(&self, changed: &Changed, new: &Configuration) -> bool {
        changed.is_live()
            && (changed.key != "connections" || new.knobs.connections_max <= self.connections_made)
    }

    /// Tells the tuner what holds now; a setting that is only being tried is given up when it may not be.
    fn instruct(&mut self, home: &mut impl Home) {
        let now_ns = home.now_ns();
        let (setting, frozen) = (self.setting, self.frozen);
        if let Some(decision) = self.tuning.instruct(&self.configuration, frozen, setting, now_ns) {
            self.decided(home, decision, now_ns);
        }
    }

    /// Puts the configured setting in force, where no tuner decides.
    fn configure_setting(&mut self, home: &mut impl Home) {
        let wanted = match self.configuration.tuning {
            Tuning::On if !self.frozen && self.tuning.is_there() => self.setting,
            _ => setting::setting(&self.configuration.knobs),
        };
        self.put(home, wanted);
    }

    fn put(&mut self, home: &mut impl Home, wanted: Setting) {
        let seen_ns = home.now_ns();
        let before = core::mem::replace(&mut self.setting, wanted);
        let knobs = setting::knobs(wanted, &self.configuration.knobs);
        self.engine.set_knobs(knobs, seen_ns);
        home.lead(&knobs);
        self.tuning.force(wanted, seen_ns);
        if before == wanted {
            return;
        }
        (self.setting_ns, self.knob_changes) = (seen_ns, self.knob_changes + 1);
        self.channel.push(&Message::Knobs(KnobChange {
            number: self.knob_changes,
            price_generation: self.prices.generation,
            in_force_unix_ns: home.unix_ns(),
            seen_ns,
            in_force_ns: home.now_ns(),
            before: before.to_string(),
            after: wanted.to_string(),
            why: "the configuration says so".into(),
            ..KnobChange::default()
        }));
    }

    fn answer(&mut self, home: &impl Home, to: &str, answer: Result<String, String>) {
        let (good, text) = match &answer {
            Ok(text) => (1, text),
            Err(text) => (0, text),
        };
        self.channel.push(&Message::Answered { good, text: text.clone() });
        self.say(home, to, answer);
    }

    fn say(&mut self, home: &impl Home, to: &str, answer: Result<String, String>) {
        let (level, text) = match answer {
            Ok(text) => (Level::Info, format!("{to}: {text}")),
            Err(text) => (Level::Warning, format!("{to} is refused, nothing has changed: {text}")),
        };
        self.log(home.now_ns(), level, text);
    }
}
