//! The price schedule, as the metadata service tells it: times of the schedule become times of the world.

use crate::service::read_text;
use nom_feeds::metadata::Answer;
use nom_machine::metadata::Source;
use nom_machine::trouble::{Context, Outcome};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For how long an answer may be used without asking again: longer than the longest wait for a new one.
const VALID_S: u64 = 60;

/// A schedule that begins when it is served: what is built between reading and serving takes its time.
pub struct Schedule {
    schedule: nom_feeds::Schedule,
    /// Nanoseconds since 1970 at its beginning, known from the first question on.
    began_unix_ns: OnceLock<u64>,
}

impl Schedule {
    /// Reads and checks it.
    pub fn read(path: &Path) -> Outcome<Self> {
        let text = read_text(path)?;
        let schedule = nom_feeds::trace::read(&text).context(|| path.display().to_string())?;
        Ok(Self::new(schedule))
    }

    /// How long a round of it is, when it begins again.
    pub fn round(&self) -> Option<Duration> {
        self.schedule.round_ns().map(Duration::from_nanos)
    }

    /// A schedule that was read.
    pub fn new(schedule: nom_feeds::Schedule) -> Self {
        Self { schedule, began_unix_ns: OnceLock::new() }
    }
}

impl Source for Schedule {
    fn at(&self, elapsed: Duration) -> (u64, String, Option<Duration>) {
        let step = self.schedule.at(elapsed.as_nanos() as u64);
        let began_unix_ns = *self.began_unix_ns.get_or_init(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.saturating_sub(elapsed).as_nanos() as u64
        });
        let unix = |schedule_ns: u64| began_unix_ns.saturating_add(schedule_ns);
        let answer = Answer {
            generation: step.generation,
            provider_unix_ns: unix(step.since_ns),
            prices: step.prices,
            next: step.next.map(|(at_ns, prices)| (unix(at_ns), prices)),
            valid_s: VALID_S,
        };
        (step.generation, answer.to_json(), step.next.map(|(at_ns, _)| Duration::from_nanos(at_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_what_the_schedule_says() {
        let schedule = Schedule {
            schedule: nom_feeds::Schedule::parse("at 0 s: core 1 $/core/h\nat 5 s: core 2 $/core/h\n")
                .unwrap(),
            began_unix_ns: OnceLock::from(1_000_000_000_000),
        };
        let (first, body, change) = schedule.at(Duration::from_secs(1));
        assert_eq!(change, Some(Duration::from_secs(5)));
        let answer = Answer::parse(&body).unwrap();
        assert_eq!((answer.generation, answer.provider_unix_ns), (first, 1_000_000_000_000));
        assert_eq!(answer.next.unwrap().0, 1_005_000_000_000);
        let (second, _, change) = schedule.at(Duration::from_secs(5));
        assert!(second > first && change.is_none());
    }

    #[test]
    fn the_example_is_a_schedule() {
        let file = nom_machine::artefacts::root().unwrap().join("examples/day.prices");
        assert!(Schedule::read(&file).is_ok());
    }
}
