//! What more or less memory would mean: the miss-ratio curve, from a sample.
//!
//! SHARDS (Waldspurger et al., FAST 2015): of all keys those whose hash ends in a number of zero bits are followed. How
//! much was asked for between two requests for such a key tells how large a cache must be for the second one to hit.
//! When there are too many samples, every other one is dropped and those left count twice. Old requests lose half
//! their weight now and then. The distances are those of LRU; a better policy needs a little less.

use alloc::vec::Vec;

/// Samples at most.
const SAMPLES_MAX: usize = 512;
/// One key in two to this is followed at first.
const SHIFT_FIRST: u32 = 8;
/// Sampled requests until old ones lose half their weight.
const HALF_LIFE: u32 = 1 << 14;
/// Sizes a doubling of memory, and of all.
const STEPS: u32 = 4;
const SIZES: usize = 36 * STEPS as usize;

#[derive(Debug, Clone, Copy)]
struct Sample {
    hash: u64,
    units: u32,
    last: u64,
}

/// The sample and what was learnt from it.
#[derive(Debug)]
pub(super) struct Curve {
    samples: Vec<Sample>,
    shift: u32,
    clock: u64,
    /// Requests by the memory that would have held what they ask for; their weight.
    needed: [u64; SIZES],
    /// Requests for what nobody asked for before.
    cold: u64,
    until_half: u32,
}

/// Place of a size in units among sizes.
fn place(units: u64) -> usize {
    let units = units.max(1);
    let log = units.ilog2();
    let part = if log >= 2 { (units >> (log - 2)) & 3 } else { 0 };
    ((log * STEPS) as usize + part as usize).min(SIZES - 1)
}

impl Curve {
    pub(super) fn new() -> Self {
        Self {
            samples: Vec::with_capacity(SAMPLES_MAX + 1),
            shift: SHIFT_FIRST,
            clock: 0,
            needed: [0; SIZES],
            cold: 0,
            until_half: HALF_LIFE,
        }
    }

    /// Whether a key is followed.
    #[inline(always)]
    pub(super) fn follows(&self, hash: u64) -> bool {
        follows(hash, self.shift)
    }

    /// A followed key was asked for.
    #[cold]
    pub(super) fn asked(&mut self, hash: u64) {
        let weight = 1 << self.shift;
        self.clock += 1;
        self.until_half -= 1;
        if self.until_half == 0 {
            self.until_half = HALF_LIFE;
            self.needed.iter_mut().for_each(|weight| *weight /= 2);
            self.cold /= 2;
        }
        let Some(at) = self.samples.iter().position(|sample| sample.hash == hash) else {
            self.cold += weight;
            return;
        };
        let last = self.samples[at].last;
        // Everything asked for since, and itself.
        let since = self.samples.iter().filter(|sample| sample.last >= last);
        let units: u64 = since.map(|sample| u64::from(sample.units)).sum();
        self.needed[place(units << self.shift)] += weight;
        self.samples[at].last = self.clock;
    }

    /// A followed key was stored.
    #[cold]
    pub(super) fn stored(&mut self, hash: u64, units: u32) {
        self.clock += 1;
        let last = self.clock;
        if let Some(sample) = self.samples.iter_mut().find(|sample| sample.hash == hash) {
            (sample.units, sample.last) = (units, last);
            return;
        }
        while self.samples.len() == SAMPLES_MAX {
            self.shift += 1;
            let shift = self.shift;
            self.samples.retain(|sample| follows(sample.hash, shift));
        }
        if self.follows(hash) {
            self.samples.push(Sample { hash, units, last });
        }
    }

    /// Which part of the requests a cache of so many units misses; `None` before anything was learnt.
    pub(super) fn miss_ratio(&self, units: u64) -> Option<f64> {
        let all = self.cold + self.needed.iter().sum::<u64>();
        let more: u64 = self.needed[(place(units) + 1).min(SIZES)..].iter().sum();
        (all > 0).then(|| (self.cold + more) as f64 / all as f64)
    }
}

/// Whether a hash ends in so many zero bits, of those that choose neither bucket nor tag of most indexes.
#[inline(always)]
fn follows(hash: u64, shift: u32) -> bool {
    (hash >> 20) & ((1 << shift) - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Secret;
    use crate::tests::Random;
    use std::collections::HashMap;

    /// What an LRU cache of so many units misses, counted.
    fn simulate(keys: &[u64], units: u64) -> f64 {
        let mut last: HashMap<u64, usize> = HashMap::new();
        let mut misses = 0;
        // Distances by a tree over time: 1 where a key was asked for last.
        let mut tree = std::vec![0i64; keys.len() + 1];
        let add = |tree: &mut Vec<i64>, mut at: usize, by: i64| {
            while at < tree.len() {
                tree[at] += by;
                at += at & at.wrapping_neg();
            }
        };
        let sum = |tree: &Vec<i64>, mut at: usize| {
            let mut sum = 0;
            while at > 0 {
                sum += tree[at];
                at -= at & at.wrapping_neg();
            }
            sum
        };
        for (now, key) in keys.iter().enumerate() {
            let now = now + 1;
            match last.insert(*key, now) {
                None => misses += 1,
                Some(before) => {
                    let distance = sum(&tree, now - 1) - sum(&tree, before - 1);
                    misses += u64::from(distance as u64 * 16 > units);
                    add(&mut tree, before, -1);
                }
            }
            add(&mut tree, now, 1);
        }
        misses as f64 / keys.len() as f64
    }

    #[test]
    fn the_sample_tells_what_a_simulation_of_everything_tells() {
        let secret = Secret::new([4; 16]);
        let mut random = Random::new(9);
        // Popularity falls with the number: the least of three draws among 600,000.
        let keys: Vec<u64> =
            (0..400_000).map(|_| (0..3).map(|_| random.below(600_000) as u64).min().unwrap()).collect();
        let mut curve = Curve::new();
        for key in &keys {
            let hash = secret.hash(&key.to_le_bytes());
            if curve.follows(hash) {
                curve.asked(hash);
                curve.stored(hash, 16);
            }
        }
        assert!(curve.samples.len() <= SAMPLES_MAX && curve.shift > SHIFT_FIRST);
        for items in [20_000, 60_000, 120_000] {
            let told = curve.miss_ratio(items * 16).unwrap();
            let true_ratio = simulate(&keys, items * 16);
            assert!((told - true_ratio).abs() < 0.08, "{items} items: {told:.3}, in truth {true_ratio:.3}");
        }
    }

    #[test]
    fn sizes_have_their_places() {
        assert_eq!((place(0), place(1)), (0, 0));
        assert!((1..1u64 << 35).step_by(9_999_991).is_sorted_by_key(place));
        assert!(place(u64::MAX) < SIZES);
    }
}
