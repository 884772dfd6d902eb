//! A setting of the knobs as plain data and as text: `wait=halt batch=14us`.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use nom_money::{parse_duration_ns, print_duration};

/// How to wait when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Sleep at once.
    Halt,
    /// Look for this long, then sleep.
    Spin {
        /// How long.
        budget_ns: u64,
    },
    /// Never sleep.
    Poll,
}

/// How frames gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Batching {
    /// Each frame is answered before the next is looked at (W = 0).
    RunToCompletion,
    /// What is queued is taken, nothing is waited for (IX's rule).
    TakeQueued,
    /// Frames gather for at most W.
    Hold {
        /// W.
        delay_ns: u64,
    },
}

/// What the tuner may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Nothing is accepted: new connections and operations are refused.
    Nothing,
    /// Serve, like this.
    Serve {
        /// How to wait.
        wait: Wait,
        /// How frames gather.
        batching: Batching,
        /// How long an acknowledgement may wait for a reply to ride on; `None` leaves it as configured.
        ack_delay_ns: Option<u64>,
    },
}

impl Setting {
    /// Serve with this wait and this batching, the rest as configured.
    pub const fn serve(wait: Wait, batching: Batching) -> Self {
        Self::Serve { wait, batching, ack_delay_ns: None }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting::Serve { wait, batching, ack_delay_ns } = self else { return f.write_str("nothing") };
        match wait {
            Wait::Halt => f.write_str("wait=halt")?,
            Wait::Spin { budget_ns } => write!(f, "wait=spin:{}", print_duration(*budget_ns))?,
            Wait::Poll => f.write_str("wait=poll")?,
        }
        match batching {
            Batching::RunToCompletion => f.write_str(" batch=0")?,
            Batching::TakeQueued => f.write_str(" batch=queued")?,
            Batching::Hold { delay_ns } => write!(f, " batch={}", print_duration(*delay_ns))?,
        }
        match ack_delay_ns {
            Some(delay_ns) => write!(f, " ack={}", print_duration(*delay_ns)),
            None => Ok(()),
        }
    }
}

/// Why a text is no setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError(pub String);

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Setting {
    type Err = SettingError;

    /// `nothing`, or `wait=halt|spin:20us|poll batch=0|queued|14us [ack=1ms]`.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        let refuse = |what: &str| {
            let text: String = text.chars().take(80).collect();
            SettingError(alloc::format!(
                "'{}': {what}; expected nothing, or wait=halt|spin:20us|poll batch=0|queued|14us [ack=1ms]",
                text.escape_debug()
            ))
        };
        if text.trim() == "nothing" {
            return Ok(Self::Nothing);
        }
        let (mut wait, mut batching, mut ack_delay_ns) = (None, None, None);
        let duration =
            |value: &str| parse_duration_ns(value).map_err(|error| SettingError(alloc::format!("{error}")));
        for word in text.split_whitespace() {
            let Some((key, value)) = word.split_once('=') else { return Err(refuse("a word without =")) };
            let taken = match key {
                "wait" => wait
                    .replace(match value {
                        "halt" => Wait::Halt,
                        "poll" => Wait::Poll,
                        _ => match value.strip_prefix("spin:") {
                            Some(budget) => Wait::Spin { budget_ns: duration(budget)? },
                            None => return Err(refuse("an unknown way to wait")),
                        },
                    })
                    .is_some(),
                "batch" => batching
                    .replace(match value {
                        "queued" => Batching::TakeQueued,
                        "0" => Batching::RunToCompletion,
                        delay => match duration(delay)? {
                            0 => Batching::RunToCompletion,
                            delay_ns => Batching::Hold { delay_ns },
                        },
                    })
                    .is_some(),
                "ack" => ack_delay_ns.replace(duration(value)?).is_some(),
                _ => return Err(refuse("an unknown knob")),
            };
            if taken {
                return Err(refuse("a knob that stands twice"));
            }
        }
        match (wait, batching) {
            (Some(wait), Some(batching)) => Ok(Self::Serve { wait, batching, ack_delay_ns }),
            (None, _) => Err(refuse("wait is missing")),
            (_, None) => Err(refuse("batch is missing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn settings_are_written_and_read_back() {
        for wait in [Wait::Halt, Wait::Spin { budget_ns: 20_500 }, Wait::Poll] {
            for batching in
                [Batching::RunToCompletion, Batching::TakeQueued, Batching::Hold { delay_ns: 14_000 }]
            {
                for ack_delay_ns in [None, Some(1_000_000)] {
                    let setting = Setting::Serve { wait, batching, ack_delay_ns };
                    assert_eq!(setting.to_string().parse(), Ok(setting), "{setting}");
                }
            }
        }
        assert_eq!("nothing".parse(), Ok(Setting::Nothing));
        let setting = Setting::serve(Wait::Halt, Batching::Hold { delay_ns: 14_000 });
        assert_eq!(setting.to_string(), "wait=halt batch=14us");
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for (text, why) in [
            ("", "wait is missing"),
            ("batch=0", "wait is missing"),
            ("wait=halt", "batch is missing"),
            ("wait=nap batch=0", "an unknown way to wait"),
            ("wait=spin batch=0", "an unknown way to wait"),
            ("wait=spin:20 batch=0", "20"),
            ("wait=halt batch=14", "14"),
            ("wait=halt batch=0 ack=1", "1"),
            ("wait=halt wait=halt batch=0", "a knob that stands twice"),
            ("wait=halt batch=0 batch=queued", "a knob that stands twice"),
            ("wait=halt batch=0 ack=1ms ack=1ms", "a knob that stands twice"),
            ("wait=halt batch=0 x=1", "an unknown knob"),
            ("nothing wait=halt", "a word without ="),
        ] {
            let error = text.parse::<Setting>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
