//! What prices usually are, for the time in which nobody says what they are now.

use nom_money::{PerByte, PerByteSecond, PerCoreNs, Prices};

/// A price counts the less the longer it is ago: about so long is remembered.
const REMEMBERED_NS: u64 = 3_600_000_000_000;

/// The mean price of each resource by the time that it held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usual {
    /// Attodollars a unit.
    means: [Option<f64>; 3],
    since_ns: Option<u64>,
    /// The memory grows with time, so that the beginning is a plain mean.
    memory_ns: u64,
}

impl Usual {
    /// These prices held until now.
    pub fn held(&mut self, now_ns: u64, prices: &Prices) {
        let Some(since_ns) = self.since_ns.replace(now_ns) else {
            self.take(1.0, prices);
            return;
        };
        let span_ns = now_ns.saturating_sub(since_ns);
        self.memory_ns = self.memory_ns.saturating_add(span_ns).min(REMEMBERED_NS);
        if span_ns > 0 {
            self.take((span_ns as f64 / self.memory_ns as f64).min(1.0), prices);
        }
    }

    fn take(&mut self, weight: f64, prices: &Prices) {
        let now = [
            prices.bandwidth.map(|rate| rate.0),
            prices.core.map(|rate| rate.0),
            prices.memory.map(|rate| rate.0),
        ];
        for (mean, now) in self.means.iter_mut().zip(now) {
            // A price that is not told at times is still what it was when it was.
            let Some(now) = now.map(|atto| atto as f64) else { continue };
            *mean = Some(mean.map_or(now, |mean| mean + (now - mean) * weight));
        }
    }

    /// The means; `None` when no price was ever seen.
    pub fn prices(&self) -> Option<Prices> {
        let [bandwidth, core, memory] = self.means.map(|mean| mean.map(|atto| atto as i128));
        self.since_ns.map(|_| Prices {
            bandwidth: bandwidth.map(PerByte),
            core: core.map(PerCoreNs),
            memory: memory.map(PerByteSecond),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(atto: i128) -> Prices {
        Prices { core: Some(PerCoreNs(atto)), ..Prices::NONE }
    }

    #[test]
    fn a_price_counts_by_the_time_that_it_held() {
        const SECOND: u64 = 1_000_000_000;
        let mut usual = Usual::default();
        assert_eq!(usual.prices(), None);
        usual.held(0, &core(100));
        for second in 1..=60 {
            usual.held(second * SECOND, &core(if second <= 45 { 100 } else { 500 }));
        }
        let mean = usual.prices().unwrap().core.unwrap().0;
        assert!((199..=201).contains(&mean), "{mean}");
        // Ten hours of another price, and hardly anything is left of it.
        for minute in 1..=600 {
            usual.held(60 * SECOND * (1 + minute), &core(-50));
        }
        let mean = usual.prices().unwrap().core.unwrap().0;
        assert!((-50..=-49).contains(&mean), "{mean}");
    }
}
