//! How much memory a cache is worth: what a size costs a second at today's price of memory, and what its misses cost.
//!
//! The misses of a size are the cache's own estimate (a sampled miss-ratio curve). Sizes are tried one by one, a quarter
//! more each time: there are few, and nothing is simpler to trust. The size in force stays unless another one saves a
//! stated part of what both cost together, so that an estimate that trembles does not move memory.

use nom_money::{PerByteSecond, PerOperation};

/// The part of its costs that a change must save.
const WORTH: f64 = 0.05;

/// Sizes are multiples of this.
const GRAIN: u64 = 64 << 10;

/// Between which sizes, and what decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// Least memory.
    pub least_bytes: u64,
    /// Most memory.
    pub most_bytes: u64,
    /// What a miss costs whoever asked: the question to what is behind the cache.
    pub miss: PerOperation,
}

/// A size that costs less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resized {
    /// The size.
    pub bytes: u64,
    /// How much less, in dollars a second, memory and misses together.
    pub saved_per_s: f64,
}

impl Sizing {
    /// The size that costs the least, when it is worth a change. Nothing when the misses of a size are not known yet.
    pub fn choose(
        &self,
        memory: PerByteSecond,
        asked_per_s: f64,
        bytes: u64,
        miss_ratio: impl Fn(u64) -> Option<f64>,
    ) -> Option<Resized> {
        let cost = |bytes: u64| {
            let misses = self.miss.to_dollars_f64() * asked_per_s * miss_ratio(bytes)?;
            Some(memory.to_dollars_f64() * bytes as f64 + misses)
        };
        let now = cost(bytes)?;
        let mut best = (bytes, now);
        let mut size = self.least_bytes.max(1);
        loop {
            let costs = cost(size)?;
            if costs < best.1 {
                best = (size, costs);
            }
            if size >= self.most_bytes {
                break;
            }
            size = (size + size / 4).next_multiple_of(GRAIN).min(self.most_bytes);
        }
        let saved_per_s = now - best.1;
        (saved_per_s > WORTH * now).then_some(Resized { bytes: best.0, saved_per_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    /// A millionth of a dollar a miss, which is 10^12 attodollars.
    const SIZING: Sizing =
        Sizing { least_bytes: MIB, most_bytes: 64 * MIB, miss: PerOperation(1_000_000_000_000) };

    /// Each doubling of memory takes a tenth of the misses away, up to 16 MiB.
    fn curve(bytes: u64) -> Option<f64> {
        Some(0.9 - 0.1 * (bytes.min(16 * MIB) as f64 / MIB as f64).log2())
    }

    #[test]
    fn dear_memory_makes_it_small_and_cheap_memory_as_large_as_it_helps() {
        let at = |atto: i128, bytes: u64| SIZING.choose(PerByteSecond(atto), 1_000.0, bytes, curve);
        // A thousandth of a dollar a second is at stake; a mebibyte for 10^-2 and for 10^-8 dollars a second.
        let dear = at(10_000_000_000, 16 * MIB).unwrap();
        assert_eq!(dear.bytes, MIB);
        assert!(dear.saved_per_s > 0.1);
        let cheap = at(10_000, MIB).unwrap().bytes;
        assert!((15 * MIB..21 * MIB).contains(&cheap), "{cheap}");
        // In between, where a doubling costs what it brings: 10^-4 dollars a second for about 4 MiB.
        let between = at(34_000_000, MIB).unwrap().bytes;
        assert!((3 * MIB..7 * MIB).contains(&between), "{between}");
        assert_eq!(at(34_000_000, between), None, "it stays where it is");
    }

    #[test]
    fn what_saves_little_moves_no_memory() {
        // Misses cost 10^-3 dollars a second at any size; half the memory saves 4% of both, or 6%.
        let at = |atto| SIZING.choose(PerByteSecond(atto), 1_000.0, 2 * MIB, |_| Some(1.0));
        assert_eq!(at(41_000_000), None);
        assert_eq!(at(66_000_000).map(|resized| resized.bytes), Some(MIB));
    }

    #[test]
    fn without_a_curve_or_without_anybody_who_asks() {
        assert_eq!(SIZING.choose(PerByteSecond(1), 1_000.0, MIB, |_| None), None);
        let unasked = SIZING.choose(PerByteSecond(1_000), 0.0, 8 * MIB, curve).unwrap();
        assert_eq!(unasked.bytes, MIB, "memory that nobody needs");
        assert_eq!(SIZING.choose(PerByteSecond(0), 0.0, 8 * MIB, curve), None);
    }
}
