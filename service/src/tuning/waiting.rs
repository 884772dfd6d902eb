//! How long frames wait, by counting how many do: a witness of latency that needs no stamp.
//!
//! By Little's law as many wait on average as come in a second times how long each waits. What the stack holds is counted
//! at each look, which no request brings about; but a timer may be late, and then a frame's arrival wakes the core and
//! is counted for it. So one frame is left out of every count, and what remains says how long frames wait *at least*.

use super::root;

/// So many standard errors are taken off, since few looks make a rough mean.
const SURE: f64 = 2.0;
/// Fewer looks say nothing.
const LOOKS_LEAST: u32 = 20;

/// Frames that were counted in a window, on their way in and out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    looks: u32,
    sums: [u64; 2],
    squares: [u64; 2],
}

impl Waiting {
    /// So many wait now.
    pub fn look(&mut self, gathered: [u32; 2]) {
        self.looks = self.looks.saturating_add(1);
        for (way, waiting) in gathered.into_iter().enumerate() {
            let waiting = u64::from(waiting.saturating_sub(1));
            self.sums[way] += waiting;
            self.squares[way] += waiting * waiting;
        }
    }

    /// How long an answer waited at least, of that as a frame on its way in and out; 0 where too little was seen. `from` and
    /// `to` are the frames that went either way until the window began and ended.
    pub fn least_ns(&self, from: [u64; 2], to: [u64; 2], window_ns: u64) -> f64 {
        if self.looks < LOOKS_LEAST {
            return 0.0;
        }
        let looks = f64::from(self.looks);
        let way = |way: usize| {
            let frames = to[way].saturating_sub(from[way]);
            let mean = self.sums[way] as f64 / looks;
            let error = root((self.squares[way] as f64 / looks - mean * mean) / looks);
            (mean - SURE * error).max(0.0) * window_ns as f64 / frames.max(1) as f64
        };
        way(0) + way(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_what_comes_say_how_long() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.least_ns([0; 2], [4_000; 2], 1_000_000_000), 0.0);
        // From 1 to 9 wait at a time, so 4 beyond the first: of 4,000 a second, a millisecond.
        for look in 0..90 {
            waiting.look([1 + look % 9, 1]);
        }
        let least_ns = waiting.least_ns([10, 10], [4_010, 4_010], 1_000_000_000);
        assert!((800_000.0..1_000_000.0).contains(&least_ns), "{least_ns}");
        // Both ways add up.
        for _ in 0..90 {
            waiting.look([5, 5]);
        }
        assert!(waiting.least_ns([0; 2], [4_000; 2], 1_000_000_000) > 1_200_000.0);
    }

    #[test]
    fn one_frame_at_a_time_says_nothing() {
        let mut waiting = Waiting::default();
        (0..100).for_each(|look| waiting.look([look % 2, 1]));
        assert_eq!(waiting.least_ns([0; 2], [100; 2], 1_000_000_000), 0.0);
    }
}
