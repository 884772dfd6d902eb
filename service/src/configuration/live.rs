//! Which keys take effect while the service runs, and what another configuration would change.
//!
//! A change is made of whole texts: what may change now is put into the text in force, and that is read and checked as
//! any other. So a service never runs with what it would not have started with.

use super::{APPLICATION, Configuration, ConfigurationError};
use alloc::string::String;
use alloc::vec::Vec;

/// Keys that take effect at once. All others wait for the next start.
pub const LIVE: &[&str] = &[
    "connections",
    "wait",
    "batch",
    "batch.bound",
    "ack.delay",
    "tcp.keepalive",
    "tcp.keepalive.interval",
    "tcp.keepalive.probes",
    "tcp.user_timeout",
    "tuner",
    "tuner.online",
    "tuner.budget",
    "tuner.stop",
    "limit.latency",
    "limit.spending",
    "points",
    "stats.interval",
    "drain.limit",
];

/// What must not be repeated to anybody.
const SECRET: &str = "management.token";

/// A key whose lines differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: String,
    /// Its values, one a line of the configuration.
    pub before: Vec<String>,
    /// What they are to be; nothing when its lines are gone.
    pub after: Vec<String>,
}

impl Changed {
    /// Whether it takes effect while the service runs.
    pub fn is_live(&self) -> bool {
        LIVE.contains(&self.key.as_str())
    }

    /// `batch: 0 -> 2 ms`, for people.
    pub fn line(&self) -> String {
        let shown = |values: &[String]| match values {
            [] => String::from("absent"),
            [_] if self.key == SECRET => String::from("another"),
            [value] => value.chars().take(60).collect(),
            many => alloc::format!("{} lines", many.len()),
        };
        alloc::format!("{}: {} -> {}", self.key, shown(&self.before), shown(&self.after))
    }
}

impl Configuration {
    /// Reads another text for the same application.
    pub fn again(&self, text: &str) -> Result<Self, ConfigurationError> {
        match &self.application {
            Some(name) => Self::parse_for(text, name),
            None => Self::parse(text),
        }
    }

    /// The same with one key set; what it was before is gone. A key with several lines is not set so.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, ConfigurationError> {
        let wrong = |message: &str| Err(ConfigurationError { line: 0, message: message.into() });
        if key.starts_with("kernel.") || key.starts_with(APPLICATION) || value.contains('#') {
            return wrong("a key of the application and its value are expected, such as set batch = 2 ms");
        }
        if matches!(key, "points" | "prices") {
            return wrong("a key with several lines is not set one by one: change the file, and reload it");
        }
        // An unknown key is found by reading it alone, which says where the mistake is not: in the file.
        let line = alloc::format!("{key} = {value}\n");
        let known = self.values(&line);
        let known = known.map_err(|error| ConfigurationError { line: 0, ..error })?;
        self.again(&self.replaced(&known))
    }

    /// The keys whose lines differ from those of another configuration, for this application.
    pub fn difference(&self, other: &Self) -> Vec<Changed> {
        let of = |text: &str| self.values(text).unwrap_or_default();
        let (before, after) = (of(&self.text), of(&other.text));
        let values = |all: &[(String, Vec<String>)], key: &str| {
            all.iter().find(|(name, _)| name == key).map(|(_, values)| values.clone()).unwrap_or_default()
        };
        let mut keys: Vec<&String> = before.iter().chain(&after).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .map(|key| Changed { key: key.clone(), before: values(&before, key), after: values(&after, key) })
            .filter(|changed| changed.before != changed.after)
            .collect()
    }

    /// This configuration with some keys as they are to be.
    pub fn adopted(&self, changes: &[Changed]) -> Result<Self, ConfigurationError> {
        let new: Vec<(String, Vec<String>)> =
            changes.iter().map(|changed| (changed.key.clone(), changed.after.clone())).collect();
        self.again(&self.replaced(&new))
    }

    /// The keys of a text that hold for this application, with all values of each.
    fn values(&self, text: &str) -> Result<Vec<(String, Vec<String>)>, ConfigurationError> {
        let lines = super::Lines::read(text, self.application.as_deref())?;
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        for (_, key, value) in lines.found {
            match all.iter_mut().find(|(known, _)| known == key) {
                Some((_, values)) => values.push(value.into()),
                None => all.push((key.into(), alloc::vec![value.into()])),
            }
        }
        Ok(all)
    }

    /// The text in force with the lines of these keys replaced.
    fn replaced(&self, new: &[(String, Vec<String>)]) -> String {
        let own = self.application.as_ref().map(|name| alloc::format!("{APPLICATION}{name}."));
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            let key = line.split('#').next().unwrap_or_default().split('=').next().unwrap_or_default().trim();
            let key = own.as_deref().and_then(|own| key.strip_prefix(own)).unwrap_or(key);
            if !new.iter().any(|(name, _)| name == key) {
                text.push_str(line);
                text.push('\n');
            }
        }
        for (key, values) in new {
            for value in values {
                text.push_str(&alloc::format!("{key} = {value}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::KEYS;
    use alloc::string::ToString;

    const TEXT: &str = "# mine\nlisten = 1234\nbatch = 0 # at once\nkernel.heap = 9 MiB\n\
                        application.kv.connections = 9\nmanagement.token = 00112233445566778899\n";

    fn kv(text: &str) -> Configuration {
        Configuration::parse_for(text, "kv").unwrap()
    }

    #[test]
    fn what_is_live_is_a_key() {
        for live in LIVE {
            assert!(KEYS.iter().any(|key| key.name == *live), "{live}");
        }
    }

    #[test]
    fn one_key_is_set_and_checked_like_the_file() {
        let set = kv(TEXT).with("batch", "2 ms").unwrap();
        assert_eq!(set.knobs.batching.delay_ns(), 2_000_000);
        assert_eq!((set.listen, set.knobs.connections_max), (1234, 9));
        let set = set.with("connections", "7").unwrap().with("batch", "0").unwrap();
        assert_eq!((set.knobs.connections_max, set.knobs.batching.delay_ns()), (7, 0));
        assert_eq!(set.text.matches("batch").count(), 1);
        for (key, value, said) in [
            ("bacth", "1 ms", "did you mean 'batch'?"),
            ("batch", "1", "unit is missing"),
            ("batch", "", "batch has no value"),
            ("points", "nom-points 1", "change the file"),
            ("kernel.heap", "1 MiB", "a key of the application"),
            ("batch", "0 # and", "a key of the application"),
        ] {
            let error = kv(TEXT).with(key, value).unwrap_err().to_string();
            assert!(error.contains(said), "{key} = {value}: {error}");
        }
    }

    #[test]
    fn a_difference_is_told_by_key_and_only_what_is_live_is_adopted() {
        let old = kv(TEXT);
        let new = "listen = 80\nbatch = 1 ms\napplication.kv.connections = 9\napplication.other.batch = 0\n\
                   tuner = off\nmanagement.token = 99887766554433221100\n";
        let changes = old.difference(&kv(new));
        let lines: Vec<String> = changes.iter().map(Changed::line).collect();
        assert_eq!(
            lines,
            [
                "batch: 0 -> 1 ms",
                "listen: 1234 -> 80",
                "management.token: another -> another",
                "tuner: absent -> off"
            ]
        );
        let (live, later): (Vec<Changed>, Vec<Changed>) = changes.into_iter().partition(Changed::is_live);
        assert_eq!((live.len(), later.len()), (2, 2));
        let adopted = old.adopted(&live).unwrap();
        assert_eq!((adopted.listen, adopted.knobs.batching.delay_ns()), (1234, 1_000_000));
        // What waits is told again, what was adopted is not.
        assert_eq!(adopted.difference(&kv(new)), later);
        assert!(old.difference(&old).is_empty());
        // Lines that go are adopted as well.
        let gone = old.difference(&kv("listen = 1234\nmanagement.token = 00112233445566778899\n"));
        assert_eq!(gone.len(), 2);
        assert_eq!(old.adopted(&gone).unwrap().knobs.connections_max, 10_000);
    }
}
