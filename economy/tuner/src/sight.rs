//! Whether a server that was never profiled sees the latency that it speaks of.
//!
//! By Little's law what waits on average is what comes in a second times how long each waits. What waits is counted without
//! any clock, so a latency that is far below what the count allows was not seen: a driver stamps too late, or somebody
//! reckons wrongly. The count is a lower bound (it knows nothing of the wire, the client, and queues in the device), and says
//! the most where the most waits. By how much it was found to be wrong there is taken for all settings until, where it was found, the
//! two agree again.

use nom_points::{Measured, Setting};

/// So many times less than was counted is no chance.
const LOST: f64 = 2.0;

/// How much of its latency a server sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// Latency is so many times what the server says; 1 where nothing speaks against it.
    times: f64,
    /// Under which load and setting that was found.
    found: Option<(usize, Setting)>,
    said: bool,
}

impl Default for Sight {
    fn default() -> Self {
        Self { times: 1.0, found: None, said: false }
    }
}

impl Sight {
    /// Compares what a window says with what was counted in it.
    pub fn look(&mut self, class: usize, setting: Setting, seen: &Measured) {
        if seen.counted_ns <= 0.0 || seen.mean_ns <= 0.0 {
            return;
        }
        let times = seen.counted_ns / seen.mean_ns;
        if times > self.times.max(LOST) {
            (self.times, self.found) = (times, Some((class, setting)));
        } else if times <= 1.0 && self.found == Some((class, setting)) {
            *self = Self { said: self.said, ..Self::default() };
        }
    }

    /// The window as it is believed. How many were late is not known where latency was not seen.
    pub fn corrected(&self, seen: &Measured) -> Measured {
        if self.found.is_none() {
            return *seen;
        }
        let (mean_ns, jitter_ns) = (seen.mean_ns * self.times, seen.jitter_ns * self.times);
        Measured { mean_ns, jitter_ns, measured: 0, late: 0, ..*seen }
    }

    /// By how much the server is wrong, to be said once.
    pub fn news(&mut self) -> Option<f64> {
        self.found?;
        (!core::mem::replace(&mut self.said, true)).then_some(self.times)
    }
}
