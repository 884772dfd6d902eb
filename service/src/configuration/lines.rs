//! The lines of a configuration, each with the key that it is for, and what several of them say together.

use super::keys::{FORMER, KEYS};
use super::{APPLICATION, ConfigurationError, LEN_MAX, PriceSource, nearest, shown};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;
use nom_feeds::Feed;
use nom_feeds::priced::FEEDS_MAX;
use nom_points::Points;
use nom_utility::{Contract, Promise, Terms};

/// The lines that carry a key.
pub(super) struct Lines<'a> {
    pub(super) found: Vec<(usize, &'static str, &'a str)>,
}

impl<'a> Lines<'a> {
    pub(super) fn read(text: &'a str, application: Option<&str>) -> Result<Self, ConfigurationError> {
        let wrong = |line, message: String| Err(ConfigurationError { line, message });
        if text.len() > LEN_MAX {
            return wrong(0, format!("{} bytes, at most {LEN_MAX} are allowed", text.len()));
        }
        let mut lines = Self { found: Vec::new() };
        let mut own = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return wrong(number, format!("'{}': key = value is expected", shown(line)));
            };
            let (key, value) = (key.trim(), value.trim());
            if key.starts_with("kernel.") {
                // The kernel reads and checks these.
                continue;
            }
            let (of, key) = match key.strip_prefix(APPLICATION) {
                None => (None, key),
                Some(rest) => match rest.split_once('.') {
                    Some((name, key)) if !name.is_empty() => (Some(name), key),
                    _ => return wrong(number, format!("'{}': application.NAME.KEY is expected", shown(key))),
                },
            };
            if let Some((_, instead)) = FORMER.iter().find(|(name, _)| *name == key) {
                return wrong(number, format!("{key}: {instead}"));
            }
            let Some(known) = KEYS.iter().find(|known| known.name == key) else {
                let nearest = nearest::nearest(key, KEYS.iter().map(|known| known.name));
                let hint = nearest.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
                return wrong(number, format!("unknown key '{}'{hint}", shown(key)));
            };
            if value.is_empty() {
                return wrong(number, format!("{key} has no value; such as {key} = {}", known.example));
            }
            // Another application's lines are read when it is its turn.
            let found = match of {
                None => &mut lines.found,
                Some(name) if Some(name) == application => &mut own,
                Some(_) => continue,
            };
            let before = found.iter().find(|(_, name, _)| *name == key);
            match before {
                Some((line, ..)) if !known.repeats => {
                    return wrong(number, format!("{key} stands already in line {line}"));
                }
                _ => found.push((number, known.name, value)),
            }
        }
        lines.found.retain(|(_, general, _)| own.iter().all(|(_, name, _)| name != general));
        lines.found.append(&mut own);
        Ok(lines)
    }

    pub(super) fn get(&self, key: &str) -> Option<(usize, &'a str)> {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "{key} is in the table");
        self.found.iter().find(|(_, name, _)| *name == key).map(|(line, _, value)| (*line, *value))
    }

    pub(super) fn wrong(&self, key: &str, message: impl Display) -> ConfigurationError {
        let line = self.get(key).map_or(0, |(line, _)| line);
        ConfigurationError { line, message: format!("{key}: {message}") }
    }

    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigurationError> {
        self.get(key).map(|(_, value)| read(value).map_err(|message| self.wrong(key, message))).transpose()
    }

    pub(super) fn value<T>(
        &self,
        key: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigurationError> {
        debug_assert!(KEYS.iter().any(|known| known.name == key && known.default == default), "{key}");
        let value = self.get(key).map_or(default, |(_, value)| value);
        read(value).map_err(|message| self.wrong(key, message))
    }

    pub(super) fn contract(&self) -> Result<Option<Contract>, ConfigurationError> {
        let text = |key| self.get(key).map(|(_, value)| value);
        let terms = Terms {
            utility: text("utility"),
            value: text("value"),
            latency_limit: text("latency.limit"),
            penalty_factor: text("penalty.factor"),
            penalty_tail: text("penalty.tail"),
            refund: text("refund"),
            bonus: text("bonus"),
            bonus_max: text("bonus.max"),
        };
        if terms.utility.is_none() && terms.value.is_none() {
            return Ok(None);
        }
        terms.contract().map(Some).map_err(|error| self.wrong(error.key, error.message))
    }

    /// `board`, or the lines of one or more feeds.
    pub(super) fn prices(&self) -> Result<PriceSource, ConfigurationError> {
        let all: Vec<_> = self.found.iter().filter(|(_, name, _)| *name == "prices").collect();
        let mut feeds = Vec::new();
        for (line, _, value) in &all {
            let wrong =
                |message: String| ConfigurationError { line: *line, message: format!("prices: {message}") };
            if *value == "board" && all.len() == 1 {
                break;
            }
            if feeds.len() == FEEDS_MAX {
                return Err(wrong(format!("more than {FEEDS_MAX} feeds")));
            }
            let feed = Feed::parse(value)
                .map_err(|error| wrong(format!("'{}': {error}, or board", shown(value))))?;
            if feed.url.secure {
                return Err(wrong(format!(
                    "'{}': https is for nom-priced-linux: say board, and let it ask",
                    shown(value)
                )));
            }
            feeds.push(feed);
        }
        Ok(if feeds.is_empty() { PriceSource::Board } else { PriceSource::Feeds(feeds) })
    }

    /// A plain promise takes the place of everything that says what an operation is worth.
    pub(super) fn promise(&self) -> Result<Option<Promise>, ConfigurationError> {
        let Some(promise) =
            self.optional("slo", |text| text.parse::<Promise>().map_err(|error| error.to_string()))?
        else {
            return Ok(None);
        };
        for key in ["utility", "value", "limit.latency", "tuner.stop"] {
            if self.get(key).is_some() {
                return Err(self.wrong(key, "slo says already what is wanted; remove one of them"));
            }
        }
        Ok(Some(promise))
    }

    /// The lines of the points file, one a line.
    pub(super) fn points(&self) -> Result<Option<Points>, ConfigurationError> {
        let lines: Vec<_> = self.found.iter().filter(|(_, name, _)| *name == "points").collect();
        let Some(last) = lines.last() else { return Ok(None) };
        let text: String = lines.iter().flat_map(|(_, _, value)| [value, "\n"]).collect();
        Points::parse(&text).map(Some).map_err(|error| {
            // The line of the configuration in which the line of points stands.
            let line = lines.get(error.line.saturating_sub(1)).unwrap_or(last).0;
            ConfigurationError { line, message: format!("points: {}", error.message) }
        })
    }
}
