//! The clock page: nanoseconds since boot from the time stamp counter, and what the wall clock said.
//!
//! ```text
//! word 0  generation: odd while the kernel revises     word 1  counter value at `offset`
//! word 2  offset (ns since boot)                       word 3  scale: ns per tick, 32 fractional bits
//! word 4  ns since 1970 when the clock read 0, or 0    word 5  ticks a second
//! ```

use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of the page that are in use.
pub const WORDS: usize = 6;

/// How a counter becomes nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Counter value at `offset_ns`.
    pub base_ticks: u64,
    /// The clock at `base_ticks`.
    pub offset_ns: u64,
    /// Nanoseconds a tick, with 32 fractional bits.
    pub scale: u64,
    /// Nanoseconds since 1970 when the clock read 0; 0 when the machine has no wall clock.
    pub unix_ns_at_zero: u64,
    /// Ticks a second.
    pub ticks_per_s: u64,
}

impl Scale {
    /// A clock that reads 0 at `base_ticks`. `None` for a frequency that no counter has.
    pub fn new(base_ticks: u64, ticks_per_s: u64, unix_ns_at_zero: u64) -> Option<Scale> {
        if !(1_000_000..=100_000_000_000).contains(&ticks_per_s) {
            return None;
        }
        let scale = ((1_000_000_000_u128 << 32) / u128::from(ticks_per_s)) as u64;
        Some(Scale { base_ticks, offset_ns: 0, scale, unix_ns_at_zero, ticks_per_s })
    }

    /// The time at this counter value. A counter that is behind the base (another core's, slightly late) reads as
    /// the base.
    pub fn ns(&self, ticks: u64) -> u64 {
        let since = u128::from(ticks.saturating_sub(self.base_ticks));
        self.offset_ns.wrapping_add(((since * u128::from(self.scale)) >> 32) as u64)
    }

    /// The counter value at which the clock reads at least this time.
    pub fn ticks_at(&self, ns: u64) -> u64 {
        let since = u128::from(ns.saturating_sub(self.offset_ns)) << 32;
        let ticks = since.div_ceil(u128::from(self.scale));
        self.base_ticks.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

/// Writes a new scale; the kernel is the only writer.
pub fn publish(words: &[AtomicU64], scale: &Scale) {
    let Some(words) = words.get(..WORDS) else { return };
    let generation = words[0].load(Ordering::Relaxed) | 1;
    words[0].store(generation, Ordering::Relaxed);
    fence(Ordering::Release);
    let values = [scale.base_ticks, scale.offset_ns, scale.scale, scale.unix_ns_at_zero, scale.ticks_per_s];
    for (word, value) in words[1..].iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
    words[0].store(generation.wrapping_add(1), Ordering::Release);
}

/// The scale in force. Waits while the kernel revises it: a handful of stores, on another core.
pub fn read(words: &[AtomicU64]) -> Scale {
    loop {
        let before = words[0].load(Ordering::Acquire);
        let value = |place: usize| words[place].load(Ordering::Relaxed);
        let scale = Scale {
            base_ticks: value(1),
            offset_ns: value(2),
            scale: value(3),
            unix_ns_at_zero: value(4),
            ticks_per_s: value(5),
        };
        fence(Ordering::Acquire);
        if before & 1 == 0 && words[0].load(Ordering::Relaxed) == before {
            return scale;
        }
        core::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_exact_to_a_tick_and_turns_back() {
        for ticks_per_s in [1_000_000, 1_193_182, 2_099_998_123, 5_000_000_000] {
            let scale = Scale::new(77, ticks_per_s, 0).unwrap();
            assert_eq!(scale.ns(77), 0);
            assert_eq!(scale.ns(3), 0);
            let hour = scale.ns(77 + 3600 * ticks_per_s);
            let error = hour.abs_diff(3_600_000_000_000);
            assert!(error <= 3_600_000_000_000 >> 30, "{ticks_per_s}: {error}");
            for ns in [0, 1, 999, 1_000_000, 86_400_000_000_000] {
                assert!(scale.ns(scale.ticks_at(ns)) >= ns.saturating_sub(1));
            }
        }
        assert_eq!(Scale::new(0, 0, 0), None);
        assert_eq!(Scale::new(0, 1, 0).map(|scale| scale.ticks_at(u64::MAX)), None);
    }

    #[test]
    fn what_is_published_is_read() {
        let words: [AtomicU64; WORDS] = core::array::from_fn(|_| AtomicU64::new(0));
        let scale = Scale::new(5, 2_000_000_000, 9).unwrap();
        publish(&words, &scale);
        assert_eq!(read(&words), scale);
    }
}
