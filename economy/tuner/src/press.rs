//! When content is worth core time to leave smaller: what its bytes have cost so far is taken for what they will cost.
//!
//! Nobody knows how often a content will be asked for before it changes. So it is sent as it is until what that cost too
//! much on the wire comes to what pressing it costs, core time and memory: whoever decides so never pays more than twice
//! what somebody would who knew the future (the rule of who may rent or buy). Dear bytes bring that moment forward and make
//! more effort pay; dear cores put it off. What an effort takes and gives is learned from what was pressed here.

use nom_money::Prices;

/// How many ways there are, each one harder.
pub const EFFORTS: usize = 3;
/// As long as memory is reckoned for what is kept.
const KEPT_S: f64 = 3600.0;
/// Bytes that count as much as what was known before anything was pressed.
const PRIOR_BYTES: f64 = 65_536.0;

/// What an effort is expected to give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// The part of its bytes that a content keeps.
    pub share: f64,
    /// Core time for each of them.
    pub ns_per_byte: f64,
}

/// Content that was sent larger than it need be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wished {
    /// Its bytes as they are.
    pub len: u64,
    /// How often it was sent as it is now.
    pub sent: u64,
    /// How hard it was pressed already.
    pub effort: Option<usize>,
}

/// What to do, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressing {
    /// How hard.
    pub effort: usize,
    /// What would have been saved so far, in dollars.
    pub saved: f64,
    /// What it is expected to cost, in dollars.
    pub costs: f64,
}

/// The rule with what it has learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Press {
    efforts: [Effort; EFFORTS],
    /// Bytes that taught it, each.
    learned: [f64; EFFORTS],
}

impl Default for Press {
    /// What deflate's levels 1, 3 and 6 did to documents, pages and scripts on one processor.
    fn default() -> Self {
        let of = |share, ns_per_byte| Effort { share, ns_per_byte };
        Self { efforts: [of(0.39, 10.0), of(0.33, 20.0), of(0.32, 40.0)], learned: [PRIOR_BYTES; EFFORTS] }
    }
}

impl Press {
    /// What pays, if anything: the effort that leaves the most.
    pub fn choose(&self, prices: &Prices, wished: &Wished) -> Option<Pressing> {
        let bandwidth = prices.bandwidth?.to_dollars_f64();
        let core = prices.core?.to_dollars_f64();
        let memory = prices.memory.map_or(0.0, |rate| rate.to_dollars_f64());
        let len = wished.len as f64;
        let share_now = wished.effort.map_or(1.0, |effort| self.efforts[effort.min(EFFORTS - 1)].share);
        let mut best: Option<Pressing> = None;
        for effort in wished.effort.map_or(0, |effort| effort + 1)..EFFORTS {
            let Effort { share, ns_per_byte } = self.efforts[effort];
            let saved = len * wished.sent as f64 * (share_now - share) * bandwidth;
            let costs = len * (ns_per_byte * core + share * memory * KEPT_S);
            let more = best.is_none_or(|best| saved - costs > best.saved - best.costs);
            if saved > costs && saved > 0.0 && more {
                best = Some(Pressing { effort, saved, costs });
            }
        }
        best
    }

    /// What an effort is expected to give now.
    pub fn effort(&self, effort: usize) -> Effort {
        self.efforts[effort.min(EFFORTS - 1)]
    }

    /// What one gave: so many bytes became so many in so much core time.
    pub fn learn(&mut self, effort: usize, from: u64, to: u64, core_ns: u64) {
        let Some(known) = self.efforts.get_mut(effort).filter(|_| from > 0) else { return };
        let bytes = from as f64;
        let weight = bytes / (self.learned[effort] + bytes);
        known.share += (to.min(from) as f64 / bytes - known.share) * weight;
        known.ns_per_byte += (core_ns as f64 / bytes - known.ns_per_byte) * weight;
        self.learned[effort] += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(bandwidth: &str, core: &str) -> Prices {
        Prices { bandwidth: bandwidth.parse().ok(), core: core.parse().ok(), memory: None }
    }

    fn after(prices: &Prices, effort: Option<usize>) -> Option<(u64, usize)> {
        let press = Press::default();
        let times = (0..40).map(|power| 1u64 << power);
        times.into_iter().find_map(|sent| {
            let wished = Wished { len: 50_000, sent, effort };
            press.choose(prices, &wished).map(|pressing| (sent, pressing.effort))
        })
    }

    #[test]
    fn dear_bytes_press_at_once_and_dear_cores_later() {
        let dear = after(&prices("0.09 $/GB", "0.04 $/core/h"), None).unwrap();
        assert_eq!(dear.0, 1, "one answer pays");
        let cheap = after(&prices("0.0005 $/GB", "0.04 $/core/h"), None).unwrap();
        let cheap_dear_core = after(&prices("0.0005 $/GB", "4 $/core/h"), None).unwrap();
        assert!(dear.0 < cheap.0 || dear.1 > cheap.1, "{dear:?} {cheap:?}");
        assert!(cheap.0 < cheap_dear_core.0, "{cheap:?} {cheap_dear_core:?}");
        assert_eq!(after(&prices("0 $/GB", "0.04 $/core/h"), None), None, "free bytes are sent as they are");
    }

    #[test]
    fn dear_memory_for_what_is_kept_puts_it_off() {
        let free = prices("0.09 $/GB", "0.04 $/core/h");
        let dear = Prices { memory: "1 $/GiB/h".parse().ok(), ..free };
        assert!(dear.memory.is_some());
        assert!(after(&dear, None).unwrap().0 > after(&free, None).unwrap().0);
    }

    #[test]
    fn more_effort_pays_when_it_was_asked_for_more_often() {
        let prices = prices("0.09 $/GB", "4 $/core/h");
        let press = Press::default();
        let effort = |sent| {
            let wished = Wished { len: 50_000, sent, effort: None };
            press.choose(&prices, &wished).map(|pressing| pressing.effort)
        };
        assert_eq!((effort(0), effort(1_000_000)), (None, Some(2)));
        let mut before = None;
        for sent in 0..5_000 {
            let now = effort(sent);
            assert!(now >= before, "{sent}: {now:?} after {before:?}");
            before = now;
        }
        assert!(after(&prices, Some(0)).unwrap().0 > after(&prices, None).unwrap().0);
        assert_eq!(after(&prices, Some(2)), None, "there is nothing harder");
    }

    #[test]
    fn prices_that_are_not_known_decide_nothing() {
        let wished = Wished { len: 50_000, sent: 1_000_000, effort: None };
        for prices in [Prices::NONE, prices("0.09 $/GB", "none"), prices("none", "1 $/core/h")] {
            assert_eq!(Press::default().choose(&prices, &wished), None);
        }
    }

    #[test]
    fn it_learns_what_does_not_become_smaller() {
        let mut press = Press::default();
        for _ in 0..100 {
            press.learn(0, 100_000, 99_000, 2_000_000);
        }
        let known = press.effort(0);
        assert!(known.share > 0.97 && (known.ns_per_byte - 20.0).abs() < 0.5, "{known:?}");
    }
}
