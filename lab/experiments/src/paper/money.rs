//! The paper's two minutes: a price of 1 $/Gbit and many clients, then 10 $/Gbit and a single one.

use super::server::{Costs, Seen, play};
use nom_money::{BonusPerByte, Nano, PerByte, Prices, RefundPerByte};
use nom_points::{Batching, Class, Late, LoadKind, Noise, Point, Points, Range, Setting, Wait};
use nom_tuner::{Moment, Quoted, Rules, Tuner};
use nom_utility::{Contract, Flow, LimitKind, TailRule};
use std::sync::{Arc, Mutex, PoisonError};

/// Delays that are profiled, in microseconds.
pub const DELAYS_US: [u64; 21] =
    [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40];
/// The paper's limit on latency, and what it costs to miss it.
pub const LIMIT_US: u64 = 750;
const PENALTY: Nano = Nano(100_000_000_000);
/// Seconds of a phase.
pub const PHASE_S: u64 = 60;
/// A price or value of 1 $/Gbit in attodollars a byte.
const ATTO: i128 = 8_000_000_000;
/// What users pay: 20 $/Gbit.
const ALPHA: PerByte = PerByte(20 * ATTO);
/// Prices of the phases.
pub const PRICES: [PerByte; 2] = [PerByte(ATTO), PerByte(10 * ATTO)];
/// Seeds of what the tuner is told, and of what it is scored on.
const TOLD: u64 = 11;
const SCORED: u64 = 29;

/// The contracts, by name.
pub fn contracts() -> [(&'static str, Contract); 5] {
    let limit = |tail| LimitKind::Penalty { limit_ns: LIMIT_US * 1_000, factor: PENALTY, tail };
    [
        ("penalty", Contract::per_byte(ALPHA, limit(TailRule::Counted))),
        ("penalty, normal", Contract::per_byte(ALPHA, limit(TailRule::Normal))),
        // 10 $/(Gbit s): a latency in microseconds takes almost nothing.
        ("refund, paper's", Contract::refund_per_byte(ALPHA, RefundPerByte(10 * ATTO))),
        // All is paid back at 200 us.
        ("refund", Contract::refund_per_byte(ALPHA, RefundPerByte(100_000 * ATTO))),
        ("bonus", Contract::bonus_per_byte(ALPHA, BonusPerByte(ATTO / 100), None)),
    ]
}

/// The paper's own three: what is seen of latency are its mean and deviation.
pub fn paper_contracts() -> [(&'static str, Contract); 3] {
    let [_, (_, penalty), (_, refund), _, (_, bonus)] = contracts();
    [("penalty", penalty), ("refund", refund), ("bonus", bonus)]
}

/// What a tuner is told, and what it is scored on.
type Pair = Arc<[Swept; 2]>;

/// What was played already, by application and number of answers: a handful.
static PLAYED: Mutex<Vec<(&str, usize, Pair)>> = Mutex::new(Vec::new());

/// Both loads of an application with every delay.
pub struct Swept {
    pub costs: Costs,
    pub many: Vec<Seen>,
    pub single: Vec<Seen>,
}

impl Swept {
    /// Plays them, so many answers each.
    fn of(costs: &Costs, answers: usize, seed: u64) -> Self {
        let sweep = |clients: usize| {
            let one = |delay: &u64| {
                play(
                    costs,
                    clients,
                    *delay as f64,
                    LIMIT_US as f64,
                    answers,
                    seed + delay * 7 + clients as u64,
                )
            };
            DELAYS_US.iter().map(one).collect()
        };
        Self { costs: *costs, many: sweep(costs.many), single: sweep(1) }
    }

    /// What a tuner is told, and what everything is scored on: other answers of the same server. Several claims ask for the
    /// same, which is played once.
    pub fn pair(costs: &Costs, answers: usize) -> Pair {
        let mut played = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., pair)) = played.iter().find(|(name, of, _)| (*name, *of) == (costs.name, answers)) {
            return Arc::clone(pair);
        }
        let pair = Arc::new([Self::of(costs, answers, TOLD), Self::of(costs, answers, SCORED)]);
        played.push((costs.name, answers, Arc::clone(&pair)));
        pair
    }

    fn phase(&self, second: u64) -> &[Seen] {
        if second < PHASE_S { &self.many } else { &self.single }
    }

    fn flow(&self, seen: &Seen) -> Flow {
        Flow {
            operations_per_s: seen.per_s,
            late: seen.late as f64 / seen.samples as f64,
            ..Flow::paper(seen.per_s * self.costs.answer_len, seen.mean_us * 1e3, seen.jitter_us * 1e3)
        }
    }

    /// Dollars of a second with a delay: profit, and what users paid.
    fn rate(&self, contract: &Contract, second: u64, place: usize) -> (f64, f64) {
        let profit = contract.evaluate(&self.flow(&self.phase(second)[place]), &prices(second));
        (profit.total(), profit.revenue)
    }

    /// Points of a tuner.
    fn points(&self) -> Points {
        let noise = Noise { throughput: 0.005, bytes: 0.001, cores: 0.01, memory: 0.01, latency: 0.01 };
        let class = |name: &str, seen: &[Seen], connections| Class {
            name: name.into(),
            kind: LoadKind::Closed,
            utilisation: Range::ALL,
            connections,
            measured: None,
            points: seen
                .iter()
                .enumerate()
                .map(|(place, seen)| Point {
                    throughput_per_s: seen.per_s,
                    useful_bytes: self.costs.answer_len,
                    wire_bytes: self.costs.answer_len,
                    mean_ns: seen.mean_us * 1e3,
                    jitter_ns: seen.jitter_us * 1e3,
                    samples: seen.samples,
                    late: vec![Late { threshold_ns: LIMIT_US * 1_000, above: seen.late }],
                    ..Point::unmeasured(setting(place))
                })
                .collect(),
        };
        let few = Range { from: 0.0, to: 1.5 };
        Points {
            application: self.costs.name.into(),
            noise,
            capacity_per_s: self.many.iter().map(|seen| seen.per_s).fold(0.0, f64::max),
            classes: vec![
                class("single", &self.single, few),
                class("many", &self.many, Range { from: 1.5, ..Range::ALL }),
            ],
        }
    }
}

fn prices(second: u64) -> Prices {
    Prices { bandwidth: Some(PRICES[usize::from(second >= PHASE_S)]), ..Prices::NONE }
}

fn setting(place: usize) -> Setting {
    let batching = match DELAYS_US[place] {
        0 => Batching::RunToCompletion,
        delay_us => Batching::Hold { delay_ns: delay_us * 1_000 },
    };
    Setting::Serve { wait: Wait::Poll, batching, ack_delay_ns: None }
}

/// Dollars of the two minutes: profit of each phase, and what users paid in both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Made {
    pub phases: [f64; 2],
    pub revenue: f64,
}

impl Made {
    pub fn total(&self) -> f64 {
        self.phases[0] + self.phases[1]
    }

    fn of(mut rate: impl FnMut(u64) -> (f64, f64)) -> Self {
        let (mut phases, mut revenue) = ([0.0; 2], 0.0);
        for second in 0..2 * PHASE_S {
            let (made, paid) = rate(second);
            phases[usize::from(second >= PHASE_S)] += made;
            revenue += paid;
        }
        Self { phases, revenue }
    }
}

/// What each way to choose the delay makes.
pub struct Strategies {
    /// The delay of the greatest throughput, as profiled, throughout.
    pub throughput: Made,
    /// The delay of the least latency.
    pub latency: Made,
    /// The fixed delay that made most in the end: nobody knows it beforehand.
    pub fixed: Made,
    /// The tuner with profiled points.
    pub adaptive: Made,
    /// The best delay of each phase, known beforehand.
    pub oracle: Made,
}

/// Plays all of them: chosen by what is told, scored on what then happens.
pub fn strategies(contract: &Contract, told: &Swept, scored: &Swept) -> Strategies {
    let best = |of: &dyn Fn(usize) -> f64| {
        (0..DELAYS_US.len()).max_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap_or(0)
    };
    let held = |place: usize| Made::of(|second| scored.rate(contract, second, place));
    let mut tuner = Tuner::new(*contract, told.points(), Rules { fallback: setting(0), ..Rules::default() });
    let adaptive = Made::of(|second| {
        let seen = |tuner: &Tuner| (0..DELAYS_US.len()).find(|place| setting(*place) == tuner.setting());
        let phase = scored.phase(second);
        // Ten looks a second, as a service has.
        (0..10)
            .map(|look| {
                let arrival_per_s = seen(&tuner).map_or(0.0, |place| phase[place].per_s);
                tuner.decide(&Moment {
                    now_ns: second * 1_000_000_000 + look * 100_000_000 + 1,
                    quoted: Some(Quoted {
                        prices: prices(second),
                        generation: 1 + second / PHASE_S,
                        valid_until_ns: 0,
                    }),
                    arrival_per_s,
                    connections: if second < PHASE_S { told.costs.many as f64 } else { 1.0 },
                    announced: None,
                });
                seen(&tuner).map_or((0.0, 0.0), |place| scored.rate(contract, second, place))
            })
            .fold((0.0, 0.0), |(made, paid), (more, pays)| (made + more / 10.0, paid + pays / 10.0))
    });
    Strategies {
        throughput: held(best(&|place| told.many[place].per_s)),
        latency: held(best(&|place| -told.single[place].mean_us)),
        fixed: held(best(&|place| held(place).total())),
        adaptive,
        oracle: Made::of(|second| {
            let all = (0..DELAYS_US.len()).map(|place| scored.rate(contract, second, place));
            all.fold((0.0, 0.0), |best, one| if one.0 > best.0 { one } else { best })
        }),
    }
}

/// What one delay for several applications makes.
pub struct Shared {
    /// Throughout, the best in hindsight.
    pub fixed: f64,
    /// The best of each phase, known beforehand; nobody serves at a loss.
    pub oracle: f64,
}

/// Plays two applications, each with its contract, that must have the same delay.
pub fn shared(both: [(&Contract, &Swept); 2]) -> Shared {
    let made = |second: u64, place: usize| -> f64 {
        both.iter().map(|(contract, swept)| swept.rate(contract, second, place).0).sum()
    };
    let best = |of: &dyn Fn(usize) -> f64| (0..DELAYS_US.len()).map(of).fold(f64::NEG_INFINITY, f64::max);
    let seconds = || 0..2 * PHASE_S;
    Shared {
        fixed: best(&|place| seconds().map(|second| made(second, place)).sum()),
        oracle: seconds().map(|second| best(&|place| made(second, place)).max(0.0)).sum(),
    }
}

/// Places that no other one beats in both: throughput with many clients and latency with one.
pub fn frontier(swept: &Swept) -> Vec<usize> {
    let point = |place: usize| (swept.many[place].per_s, swept.single[place].mean_us);
    (0..DELAYS_US.len())
        .filter(|place| {
            let (per_s, mean_us) = point(*place);
            !(0..DELAYS_US.len()).any(|other| {
                let (more, sooner) = point(other);
                more >= per_s && sooner <= mean_us && (more > per_s || sooner < mean_us)
            })
        })
        .collect()
}
