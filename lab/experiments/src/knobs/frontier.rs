//! Whether a knob has a frontier: two values of which neither is better in everything, beyond noise. Where one value
//! is best in all that matters, or none differs from another, there is nothing to choose by price.

use super::seen::{METRICS, Seen};

/// Differences below this part are noise, whatever the runs say.
const NOISE: f64 = 0.05;
/// What is said where nothing can be.
pub const ONCE: &str = "one run: no noise known";

/// What was found about a knob under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Places of the values that no other one beats.
    pub frontier: Vec<usize>,
    /// The two values that differ most, each better at something: the first one's gain, the second one's gain.
    pub trade: Option<Trade>,
    /// Any two values differ beyond noise at all.
    pub differs: bool,
    /// Each value was run once: nobody knows what noise is.
    pub once: bool,
}

/// What is given for what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade {
    /// Places of the two values.
    pub values: [usize; 2],
    /// The metric in which each of them is better.
    pub metrics: [&'static str; 2],
    /// How many times better it is there.
    pub times: [f64; 2],
}

/// By how much the runs of one value are better than those of another in a metric; nothing when that may be noise: their
/// ranges overlap, or are nearly the same.
fn better(one: &[Seen], other: &[Seen], metric: usize) -> Option<f64> {
    let (of, more) = (METRICS[metric].of, METRICS[metric].better?);
    // As costs: less is better.
    let cost = |seen: &Seen| if more { 1.0 / of(seen).max(1e-12) } else { of(seen) };
    let worst = one.iter().map(cost).fold(0.0, f64::max);
    let best = other.iter().map(cost).fold(f64::INFINITY, f64::min);
    (best > worst * (1.0 + NOISE)).then(|| best / worst.max(1e-12))
}

fn best_gain(one: &[Seen], other: &[Seen]) -> Option<(usize, f64)> {
    let gains = (0..METRICS.len()).filter_map(|metric| Some((metric, better(one, other, metric)?)));
    gains.max_by(|left, right| left.1.total_cmp(&right.1))
}

/// Judges the runs of all values under one load.
pub fn judge(values: &[Vec<Seen>]) -> Verdict {
    if values.iter().any(|runs| runs.len() < 2) {
        return Verdict { frontier: (0..values.len()).collect(), trade: None, differs: false, once: true };
    }
    let pairs = || (0..values.len()).flat_map(|one| (0..values.len()).map(move |other| (one, other)));
    let gain = |one: usize, other: usize| best_gain(&values[one], &values[other]);
    let beaten = |place: usize| {
        (0..values.len()).any(|other| gain(other, place).is_some() && gain(place, other).is_none())
    };
    let frontier: Vec<usize> = (0..values.len()).filter(|place| !beaten(*place)).collect();
    let trades = pairs().filter(|(one, other)| one < other).filter_map(|(one, other)| {
        let (mine, theirs) = (gain(one, other)?, gain(other, one)?);
        let on = |place: &usize| frontier.contains(place);
        (on(&one) && on(&other)).then_some(Trade {
            values: [one, other],
            metrics: [METRICS[mine.0].name, METRICS[theirs.0].name],
            times: [mine.1, theirs.1],
        })
    });
    let trade = trades.max_by(|left, right| {
        let least = |trade: &Trade| trade.times[0].min(trade.times[1]);
        least(left).total_cmp(&least(right))
    });
    let differs = pairs().any(|(one, other)| gain(one, other).is_some());
    Verdict { trade, differs, frontier, once: false }
}

impl Verdict {
    /// In few words, for a table.
    pub fn cell(&self, names: &[&str]) -> String {
        match &self.trade {
            Some(Trade { values, metrics, times }) => format!(
                "{} has {:.1} times better {}, {} {:.1} times better {}",
                names[values[0]], times[0], metrics[0], names[values[1]], times[1], metrics[1]
            ),
            None if self.once => ONCE.into(),
            None if !self.differs => "none: no difference".into(),
            None => {
                let best: Vec<&str> = self.frontier.iter().map(|place| names[*place]).collect();
                format!("none: nothing beats {}", best.join(", "))
            }
        }
    }

    /// In words, with the names of the values.
    pub fn say(&self, names: &[&str]) -> String {
        match &self.trade {
            Some(Trade { values, metrics, times }) => format!(
                "a frontier: {} is {:.2} times better in {}, {} is {:.2} times better in {}",
                names[values[0]], times[0], metrics[0], names[values[1]], times[1], metrics[1]
            ),
            None if self.once => ONCE.into(),
            None if !self.differs => "no frontier: no value differs from another beyond noise".into(),
            None => {
                let best: Vec<&str> = self.frontier.iter().map(|place| names[*place]).collect();
                format!("no frontier: nothing beats {}", best.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(per_s: f64, mean_us: f64, cpu_us: f64, spread: f64) -> Vec<Seen> {
        let seen = |part: f64| Seen {
            per_s: per_s * part,
            mean_us: mean_us * part,
            p99_us: 9.0 * part,
            bytes: 100.0,
            cpu_us: cpu_us * part,
            ..Seen::default()
        };
        vec![seen(1.0 - spread), seen(1.0), seen(1.0 + spread)]
    }

    #[test]
    fn a_trade_is_a_frontier_and_noise_is_none() {
        let trade = judge(&[runs(100.0, 10.0, 8.0, 0.01), runs(100.0, 60.0, 2.0, 0.01)]);
        assert_eq!(trade.frontier, [0, 1]);
        let found = trade.trade.unwrap();
        assert_eq!((found.values, found.metrics), ([0, 1], ["mean_us", "cpu_us"]));
        assert!(trade.cell(&["a", "b"]).starts_with("a has "), "{}", trade.cell(&["a", "b"]));
        assert!((5.5..6.5).contains(&found.times[0]) && (3.5..4.5).contains(&found.times[1]), "{found:?}");
        // The same means, and runs that differ more than they do.
        let noise = judge(&[runs(100.0, 10.0, 8.0, 0.9), runs(100.0, 11.0, 7.0, 0.9)]);
        assert!(noise.trade.is_none() && !noise.differs, "{noise:?}");
        // Equal runs whose difference is too small to matter.
        let small = judge(&[runs(100.0, 10.0, 8.0, 0.0), runs(100.0, 10.3, 7.8, 0.0)]);
        assert!(small.trade.is_none() && !small.differs, "{small:?}");
    }

    #[test]
    fn one_run_shows_no_noise_and_so_no_frontier() {
        let once = |mean_us, cpu_us| runs(100.0, mean_us, cpu_us, 0.0)[..1].to_vec();
        let verdict = judge(&[once(10.0, 8.0), once(60.0, 2.0)]);
        assert!(verdict.once && verdict.trade.is_none(), "{verdict:?}");
        assert_eq!([verdict.say(&["a", "b"]), verdict.cell(&["a", "b"])], [ONCE; 2]);
    }

    #[test]
    fn who_is_better_in_everything_is_no_frontier() {
        let values =
            [runs(100.0, 10.0, 2.0, 0.01), runs(100.0, 30.0, 4.0, 0.01), runs(50.0, 60.0, 8.0, 0.01)];
        let verdict = judge(&values);
        assert_eq!((verdict.frontier.as_slice(), verdict.trade), (&[0][..], None));
        assert!(verdict.differs);
        assert_eq!(judge(&values).say(&["0", "1", "2"]), "no frontier: nothing beats 0");
        assert_eq!(judge(&values).cell(&["0", "1", "2"]), "none: nothing beats 0");
    }
}
