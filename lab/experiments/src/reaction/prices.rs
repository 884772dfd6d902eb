//! A provider that writes another price when it is told to.

use nom_feeds::metadata::Answer;
use nom_machine::metadata::Source;
use nom_money::Prices as Money;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For how long prices may be used.
const VALID_S: u64 = 600;

/// The prices in turns: the number of those in force and when they were written.
#[derive(Debug, Clone)]
pub struct Prices {
    all: Arc<Vec<Money>>,
    now: Arc<Mutex<(u64, u64)>>,
}

impl Prices {
    /// Prices of a core, which take turns.
    pub fn new(core: &[&str]) -> Self {
        let money = |text: &&str| Money { core: text.parse().ok(), ..Money::NONE };
        Self { all: Arc::new(core.iter().map(money).collect()), now: Arc::new(Mutex::new((1, unix_ns()))) }
    }

    /// Writes the next price. Its number and the time of writing.
    pub fn write(&self) -> (u64, u64) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (now.0 + 1, unix_ns());
        *now
    }
}

impl Source for Prices {
    fn at(&self, _elapsed: Duration) -> (u64, String, Option<Duration>) {
        let (generation, provider_unix_ns) = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let prices = self.all[generation as usize % self.all.len()];
        let answer = Answer { generation, provider_unix_ns, prices, next: None, valid_s: VALID_S };
        (generation, answer.to_json(), None)
    }
}

/// The clock of the world.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
