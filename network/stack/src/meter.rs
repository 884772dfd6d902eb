//! What the stack counts while it works: operations and their latency, as the driver's stamps let it be seen.
//!
//! Latency runs from the arrival bound of the request's last bytes to the moment at which the reply was made
//! visible to the device, as the first clock seen after that says: the beginning of the next step, which follows at
//! once because a step in which something left says that it worked. So the time that the step took is in. What lies outside of that (the wire, the client) the stack cannot see. Only accepted
//! operations are measured: a refusal is quick and would flatter the mean.
//!
//! Everything is cumulative; whoever wants a window keeps a copy and takes the difference by [`Meter::since`].

use alloc::boxed::Box;

/// What kind of answer an application gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An accepted operation: the user pays for it.
    Accepted,
    /// A refused or malformed one: nobody pays.
    Refused,
}

/// Buckets within one power of two: 16 make a bucket 6% wide.
const SUB_BITS: u32 = 4;
/// Latencies from 2^40 ns (18 minutes) share the last bucket.
const OCTAVES: u32 = 40;
/// Buckets of an octave: the last of them ends at a power of two, and all of them lie behind the one before it.
pub const OCTAVE_BUCKETS: usize = 1 << SUB_BITS;
/// Buckets of a histogram.
pub const BUCKETS: usize = ((OCTAVES - SUB_BITS + 1) << SUB_BITS) as usize;

/// Operations and latencies since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    accepted: u64,
    refused: u64,
    measured: u64,
    latency_sum_ns: u128,
    latency_square_sum: u128,
    threshold_ns: u64,
    above: u64,
    histogram: Box<[u64; BUCKETS]>,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// Nothing counted, and a threshold that nothing exceeds.
    pub fn new() -> Self {
        Self {
            accepted: 0,
            refused: 0,
            measured: 0,
            latency_sum_ns: 0,
            latency_square_sum: 0,
            threshold_ns: u64::MAX,
            above: 0,
            histogram: Box::new([0; BUCKETS]),
        }
    }

    /// Operations that were answered and accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Operations that were answered by a refusal.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Accepted operations whose latency is known: those that were still on their way out when their connection
    /// ended are not, nor those beyond the bound of what is tracked at the same time.
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// Sum of all measured latencies.
    pub fn latency_sum_ns(&self) -> u128 {
        self.latency_sum_ns
    }

    /// Sum of the squares of all measured latencies, in ns^2.
    pub fn latency_square_sum(&self) -> u128 {
        self.latency_square_sum
    }

    /// Measured latencies above the threshold, as it was when they were measured.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// The latency above which an operation counts as late.
    pub fn threshold_ns(&self) -> u64 {
        self.threshold_ns
    }

    /// Measured operations in each latency bucket; [`Meter::bucket_end_ns`] says where a bucket ends.
    pub fn histogram(&self) -> &[u64] {
        &self.histogram[..]
    }

    /// First latency that is beyond a bucket.
    pub fn bucket_end_ns(bucket: usize) -> u64 {
        let bucket = bucket as u64 + 1;
        let octave = bucket >> SUB_BITS;
        let rest = bucket & ((1 << SUB_BITS) - 1);
        if octave == 0 { rest } else { ((1 << SUB_BITS) + rest) << (octave - 1) }
    }

    /// Latency below which this fraction of the measured operations lie (the end of the bucket in which it falls);
    /// nothing when none was measured.
    pub fn quantile_ns(&self, fraction: f64) -> Option<u64> {
        if self.measured == 0 {
            return None;
        }
        let wanted = ((self.measured as f64) * fraction.clamp(0.0, 1.0)) as u64;
        let wanted = wanted.clamp(1, self.measured);
        let mut seen = 0;
        for (bucket, count) in self.histogram.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Self::bucket_end_ns(bucket));
            }
        }
        None
    }

    /// What was counted after `earlier`, an older copy of the same meter.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut histogram = self.histogram.clone();
        for (now, then) in histogram.iter_mut().zip(earlier.histogram.iter()) {
            *now -= then;
        }
        Self {
            accepted: self.accepted - earlier.accepted,
            refused: self.refused - earlier.refused,
            measured: self.measured - earlier.measured,
            latency_sum_ns: self.latency_sum_ns - earlier.latency_sum_ns,
            latency_square_sum: self.latency_square_sum - earlier.latency_square_sum,
            threshold_ns: self.threshold_ns,
            above: self.above - earlier.above,
            histogram,
        }
    }

    /// Adds what another meter counted, by the same threshold.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.measured += other.measured;
        self.latency_sum_ns += other.latency_sum_ns;
        self.latency_square_sum += other.latency_square_sum;
        self.above += other.above;
        for (sum, more) in self.histogram.iter_mut().zip(other.histogram.iter()) {
            *sum += more;
        }
    }

    /// From now on operations above this latency count as late.
    pub fn set_threshold_ns(&mut self, threshold_ns: u64) {
        self.threshold_ns = threshold_ns;
    }

    /// Counts an answer.
    pub fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted => self.accepted += 1,
            Answer::Refused => self.refused += 1,
        }
    }

    /// Takes the latency of an accepted operation: throughput, mean, variance, quantiles and the tail all follow from
    /// what is counted here.
    pub fn measure(&mut self, latency_ns: u64) {
        self.measured += 1;
        self.latency_sum_ns += u128::from(latency_ns);
        self.latency_square_sum += u128::from(latency_ns) * u128::from(latency_ns);
        self.above += u64::from(latency_ns > self.threshold_ns);
        self.histogram[bucket_of(latency_ns)] += 1;
    }
}

fn bucket_of(latency_ns: u64) -> usize {
    let top = 63 - (latency_ns | 1).leading_zeros();
    let bucket = if top < SUB_BITS {
        latency_ns
    } else {
        let shift = top - SUB_BITS;
        (u64::from(shift + 1) << SUB_BITS) + ((latency_ns >> shift) & ((1 << SUB_BITS) - 1))
    };
    (bucket as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_in_the_bucket_that_says_so() {
        for shift in 0..40 {
            for step in [0u64, 1, 3, 7] {
                let latency = (1u64 << shift) + ((step << shift) >> 3);
                let bucket = bucket_of(latency);
                let begin = if bucket == 0 { 0 } else { Meter::bucket_end_ns(bucket - 1) };
                assert!(begin <= latency, "{latency}");
                assert!(latency < Meter::bucket_end_ns(bucket) || bucket == BUCKETS - 1, "{latency}");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_window_is_the_difference_of_two_copies() {
        let mut meter = Meter::new();
        meter.set_threshold_ns(100);
        meter.count(Answer::Accepted);
        meter.measure(50);
        let earlier = meter.clone();
        meter.count(Answer::Accepted);
        meter.count(Answer::Refused);
        meter.measure(150);
        let window = meter.since(&earlier);
        assert_eq!((window.accepted(), window.refused(), window.measured(), window.above()), (1, 1, 1, 1));
        assert_eq!(window.latency_sum_ns(), 150);
        assert_eq!(window.latency_square_sum(), 22_500);
        let mut both = earlier.clone();
        both.add(&window);
        assert_eq!(both, meter);
        assert!(window.quantile_ns(0.5).is_some_and(|end| end > 150 && end <= 160));
    }
}
