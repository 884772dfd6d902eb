//! The price schedule, one step at a time.
//!
//! A step begins when its time has come *and* the home has been seen to have the step before it, for at least
//! [`SPACE`]. So a machine that stalls may delay a price, but no home ever misses one or decides in a hurry: which
//! knobs move can be compared.

use nom_feeds::Schedule;
use nom_feeds::metadata::Answer;
use nom_machine::metadata::Source;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_money::Prices;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Most steps within a recording.
const STEPS_MAX: usize = 1_000;
/// Least time between two steps, longer than the tuner stays with a setting that it has just chosen.
pub const SPACE: Duration = Duration::from_millis(400);
/// How often a client that waits for the next step looks for it.
const LOOK: Duration = Duration::from_millis(5);
/// For how long prices may be used.
const VALID_S: u64 = 600;

/// The steps that begin before a recording ends.
#[derive(Debug, Clone)]
pub struct Steps(Vec<(u64, Prices)>);

impl Steps {
    /// Reads a schedule.
    pub fn read(text: &str, end_ns: u64) -> Outcome<Self> {
        let schedule = Schedule::parse(text).context(|| "the price schedule".into())?;
        let first = schedule.at(0);
        let mut steps = vec![(0, first.prices)];
        let mut next = first.next;
        while let Some((at_ns, prices)) = next.filter(|(at_ns, _)| *at_ns < end_ns) {
            let before_ns = steps.last().map_or(0, |(at_ns, _)| *at_ns);
            if at_ns - before_ns < SPACE.as_nanos() as u64 {
                return Err(Trouble::new(format!(
                    "the price schedule: a step at {} ms is closer than {} ms to the one before",
                    at_ns / 1_000_000,
                    SPACE.as_millis()
                )));
            }
            if steps.len() == STEPS_MAX {
                return Err(Trouble::new(format!("more than {STEPS_MAX} price steps within the recording")));
            }
            steps.push((at_ns, prices));
            next = schedule.at(at_ns).next;
        }
        Ok(Self(steps))
    }

    /// Times and prices.
    pub fn all(&self) -> &[(u64, Prices)] {
        &self.0
    }
}

#[derive(Debug)]
struct Now {
    /// The step in force, from 0.
    place: usize,
    since: Instant,
    since_unix_ns: u64,
    started: Option<Instant>,
}

/// The schedule as it is followed: what the metadata service tells.
#[derive(Debug, Clone)]
pub struct Follower {
    steps: Steps,
    now: Arc<Mutex<Now>>,
}

impl Follower {
    /// Begins with the first step, and stays there until [`Follower::start`].
    pub fn new(steps: &Steps) -> Self {
        let now = Now { place: 0, since: Instant::now(), since_unix_ns: unix_ns(), started: None };
        Self { steps: steps.clone(), now: Arc::new(Mutex::new(now)) }
    }

    /// The recording begins.
    pub fn start(&self) {
        self.with(|now| now.started = Some(Instant::now()));
    }

    /// The home has prices of this generation. Whether they were the last ones, and long enough.
    pub fn seen(&self, generation: u64) -> bool {
        self.with(|now| {
            let settled = generation == now.place as u64 + 1 && now.since.elapsed() >= SPACE;
            let Some((at_ns, _)) = self.steps.0.get(now.place + 1) else { return settled };
            let due = now.started.is_some_and(|started| started.elapsed() >= Duration::from_nanos(*at_ns));
            if settled && due {
                (now.place, now.since, now.since_unix_ns) = (now.place + 1, Instant::now(), unix_ns());
            }
            false
        })
    }

    fn with<R>(&self, act: impl FnOnce(&mut Now) -> R) -> R {
        act(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source for Follower {
    fn at(&self, elapsed: Duration) -> (u64, String, Option<Duration>) {
        self.with(|now| {
            let generation = now.place as u64 + 1;
            let answer = Answer {
                generation,
                provider_unix_ns: now.since_unix_ns,
                prices: self.steps.0[now.place].1,
                next: None,
                valid_s: VALID_S,
            };
            (generation, answer.to_json(), Some(elapsed + LOOK))
        })
    }
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_within_the_recording() {
        let text = "at 0 s: core 1 $/core/h\nat 1 s: core 2 $/core/h\nloop 2 s\n";
        let steps = Steps::read(text, 3_500_000_000).unwrap();
        let times: Vec<u64> = steps.all().iter().map(|(at_ns, _)| at_ns / 1_000_000).collect();
        assert_eq!(times, [0, 1000, 2000, 3000]);
        let close = "at 0 s: core 1 $/core/h\nat 10 ms: core 2 $/core/h\n";
        assert!(Steps::read(close, 1_000_000_000).unwrap_err().to_string().contains("closer than"));
        assert!(Steps::read("at 1 s: x", 1).unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn a_step_waits_until_the_one_before_was_seen() {
        let steps = Steps::read("at 0 s: core 1 $/core/h\nat 1 s: core 2 $/core/h\n", 2_000_000_000).unwrap();
        let follower = Follower::new(&steps);
        let place = || follower.at(Duration::ZERO).0;
        let long_ago = Instant::now() - 3 * SPACE;
        follower.with(|now| now.since = long_ago);
        assert!(!follower.seen(1) && place() == 1, "the recording has not begun");
        follower.with(|now| now.started = Some(Instant::now() - Duration::from_secs(5)));
        assert!(!follower.seen(0) && place() == 1, "it was not seen");
        assert!(!follower.seen(1) && place() == 2);
        assert!(!follower.seen(2), "not yet for long enough");
        follower.with(|now| now.since = long_ago);
        assert!(follower.seen(2));
    }
}
