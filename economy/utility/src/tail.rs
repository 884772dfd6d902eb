//! How many operations are late: by the paper's normal distribution, and by counting.

use libm::{erfc, sqrt};

/// z of a two-sided 95% interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// N(L0; L, sigma): the probability that a normal latency is above the limit. Without jitter it is a step.
pub fn normal_above(limit_ns: f64, mean_ns: f64, jitter_ns: f64) -> f64 {
    if jitter_ns > 0.0 {
        0.5 * erfc((limit_ns - mean_ns) / (jitter_ns * core::f64::consts::SQRT_2))
    } else if mean_ns > limit_ns {
        1.0
    } else {
        0.0
    }
}

/// A counted fraction with a 95% confidence interval (Wilson's, which holds for counts near zero too).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fraction {
    /// Lower bound.
    pub low: f64,
    /// What was counted.
    pub counted: f64,
    /// Upper bound.
    pub high: f64,
}

/// So many of so many. Nothing measured means nothing known: between 0 and 1, and counted as 0.
pub fn counted(above: u64, measured: u64) -> Fraction {
    if measured == 0 {
        return Fraction { low: 0.0, counted: 0.0, high: 1.0 };
    }
    let n = measured as f64;
    let p = (above.min(measured)) as f64 / n;
    let z2 = Z_95 * Z_95;
    let centre = p + z2 / (2.0 * n);
    let half = Z_95 * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    let scale = 1.0 + z2 / n;
    Fraction {
        low: ((centre - half) / scale).clamp(0.0, p),
        counted: p,
        high: ((centre + half) / scale).clamp(p, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_tail_is_that_of_tables() {
        // Upper tail probabilities of the standard normal distribution, to ten digits.
        let table = [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457_05),
            (1.96, 0.024_997_895_148_220_435),
            (3.0, 0.001_349_898_031_630_094_5),
            (5.0, 2.866_515_718_791_939e-7),
            (-1.0, 0.841_344_746_068_543),
        ];
        for (z, expected) in table {
            let tail = normal_above(750.0 + z * 121.0, 750.0, 121.0);
            assert!((tail - expected).abs() < 1e-12, "{z}: {tail}");
        }
        assert_eq!(normal_above(750.0, 750.0, 0.0), 0.0);
        assert_eq!(normal_above(750.0, 751.0, 0.0), 1.0);
    }

    /// The density summed up by Simpson's rule: slow, and without a formula for the tail.
    fn summed(z: f64) -> f64 {
        const STEPS: u32 = 2_000;
        let end = z.max(0.0) + 12.0;
        let step = (end - z) / f64::from(STEPS);
        let density = |x: f64| libm::exp(-0.5 * x * x) / sqrt(core::f64::consts::TAU);
        let inner: f64 = (1..STEPS)
            .map(|place| density(z + f64::from(place) * step) * if place % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        (density(z) + inner + density(end)) * step / 3.0
    }

    #[test]
    fn the_normal_tail_is_good_to_a_billionth_everywhere() {
        for place in -800..=800 {
            let z = f64::from(place) / 100.0;
            let (tail, reference) = (normal_above(z * 121.0, 0.0, 121.0), summed(z));
            assert!((tail - reference).abs() < 1e-10, "{z}: {tail} {reference}");
        }
    }

    #[test]
    fn the_interval_holds_the_count_and_narrows() {
        let mut width = 2.0;
        for n in [1u64, 10, 100, 10_000, 1_000_000] {
            let fraction = counted(n / 10, n);
            assert!(fraction.low <= fraction.counted && fraction.counted <= fraction.high);
            assert!(fraction.high - fraction.low < width);
            width = fraction.high - fraction.low;
        }
        let none = counted(0, 1000);
        assert_eq!(none.low, 0.0);
        assert!((none.high - 0.003_826_758).abs() < 1e-6, "{}", none.high);
        assert_eq!(counted(7, 3).counted, 1.0);
    }
}
