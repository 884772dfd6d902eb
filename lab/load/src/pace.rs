//! When requests are due.

use crate::random::Random;

/// The law of arrivals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection sends its next request when the last one was answered.
    Closed,
    /// Arrivals at equal distances, all connections together, whether or not replies come.
    Fixed {
        /// Operations a second.
        per_s: f64,
    },
    /// Arrivals at exponentially distributed distances, whether or not replies come.
    Poisson {
        /// Operations a second.
        per_s: f64,
    },
}

/// Due times of one thread's share of an open loop, in nanoseconds from the start of the run.
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    share: f64,
    random: Random,
    next_ns: f64,
}

impl Schedule {
    /// The share `index` of `of` equal shares. Fixed arrivals of the shares interleave at equal distances.
    pub fn new(pace: Pace, index: usize, of: usize, seed: u64) -> Self {
        let share = 1.0 / of.max(1) as f64;
        // Far from the names by which connections draw their requests from the same seed.
        let random = Random::new(seed).fork((1 << 63) | index as u64);
        let mut schedule = Self { pace, share, random, next_ns: 0.0 };
        match pace {
            Pace::Fixed { per_s } => schedule.next_ns = 1e9 / per_s * index as f64,
            Pace::Poisson { .. } => schedule.advance(),
            Pace::Closed => {}
        }
        schedule
    }

    /// When the next arrival is due; `None` in a closed loop.
    pub fn due_ns(&self) -> Option<u64> {
        (self.pace != Pace::Closed).then_some(self.next_ns as u64)
    }

    /// Goes on to the arrival after that.
    pub fn advance(&mut self) {
        match self.pace {
            Pace::Closed => {}
            Pace::Fixed { per_s } => self.next_ns += 1e9 / (per_s * self.share),
            Pace::Poisson { per_s } => self.next_ns += self.random.exponential(1e9 / (per_s * self.share)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(pace: Pace, shares: usize, until_ns: u64) -> Vec<u64> {
        let mut due = Vec::new();
        for index in 0..shares {
            let mut schedule = Schedule::new(pace, index, shares, 5);
            while schedule.due_ns().unwrap() < until_ns {
                due.push(schedule.due_ns().unwrap());
                schedule.advance();
            }
        }
        due.sort_unstable();
        due
    }

    #[test]
    fn fixed_shares_interleave_evenly() {
        let due = arrivals(Pace::Fixed { per_s: 1000.0 }, 4, 1_000_000_000);
        assert_eq!(due.len(), 1000);
        assert!(due.windows(2).all(|pair| (999_000..=1_001_000).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn poisson_has_its_rate_and_its_variance() {
        let due = arrivals(Pace::Poisson { per_s: 10_000.0 }, 3, 10_000_000_000);
        assert!((99_000..101_000).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03);
    }
}
