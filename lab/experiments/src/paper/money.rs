//! The paper's two minutes: a price of 1 $/Gbit and many clients, then 10 $/Gbit and a single one.

use super::open::delayed;
use super::server::{Costs, Seen, play};
use nom_money::{BonusPerByte, Nano, PerByte, Prices, RefundPerByte};
use nom_points::{Class, Late, LoadKind, Measured, Noise, Point, Points, Range, Setting};
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

/// What a tuner is told, and what it is scored on.
type Pair = Arc<[Swept; 2]>;

/// What was played already, by application and number of answers: a handful.
static PLAYED: Mutex<Vec<(&str, usize, Pair)>> = Mutex::new(Vec::new());

/// Both loads of an application with every setting: answers of the model, or what was measured.
pub struct Swept {
    pub name: &'static str,
    /// Outbound bytes of an answer.
    pub answer_len: f64,
    /// Clients of the larger load.
    pub clients: usize,
    pub settings: Vec<Setting>,
    pub many: Vec<Seen>,
    pub single: Vec<Seen>,
}

impl Swept {
    /// Plays the delays of the model, so many answers each.
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
        Self {
            name: costs.name,
            answer_len: costs.answer_len,
            clients: costs.many,
            settings: DELAYS_US.map(delayed).to_vec(),
            many: sweep(costs.many),
            single: sweep(1),
        }
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
            ..Flow::paper(seen.per_s * self.answer_len, seen.mean_us * 1e3, seen.jitter_us * 1e3)
        }
    }

    /// Dollars of a second with a setting: profit, and what users paid.
    fn rate(&self, contract: &Contract, second: u64, place: usize) -> (f64, f64) {
        let profit = contract.evaluate(&self.flow(&self.phase(second)[place]), &prices(second));
        (profit.total(), profit.revenue)
    }

    /// A setting throughout.
    pub fn held(&self, contract: &Contract, place: usize) -> Made {
        Made::of(|second| self.rate(contract, second, place))
    }

    /// What a server counts in a window of a second of this phase.
    fn window(&self, second: u64, place: usize, window_ns: u64) -> Measured {
        let seen = &self.phase(second)[place];
        let operations = (seen.per_s * window_ns as f64 / 1e9) as u64;
        let bytes = (operations as f64 * self.answer_len) as u64;
        let late = (seen.late as f64 / seen.samples as f64 * operations as f64) as u64;
        Measured {
            window_ns,
            operations,
            arrived: operations,
            useful_bytes: bytes,
            wire_bytes: bytes,
            // Cores have no price here.
            core_ns: window_ns,
            memory_bytes: 0,
            measured: operations,
            late,
            mean_ns: seen.mean_us * 1e3,
            jitter_ns: seen.jitter_us * 1e3,
            counted_ns: 0.0,
        }
    }

    /// Points of a tuner: as they were profiled, or of which nothing is known.
    fn points(&self, profiled: bool) -> Points {
        let noise = Noise { throughput: 0.005, bytes: 0.001, cores: 0.01, memory: 0.01, latency: 0.01 };
        let point = |(seen, setting): (&Seen, &Setting)| match profiled {
            false => Point::unmeasured(*setting),
            true => Point {
                throughput_per_s: seen.per_s,
                useful_bytes: self.answer_len,
                wire_bytes: self.answer_len,
                mean_ns: seen.mean_us * 1e3,
                jitter_ns: seen.jitter_us * 1e3,
                samples: seen.samples,
                late: vec![Late { threshold_ns: LIMIT_US * 1_000, above: seen.late }],
                ..Point::unmeasured(*setting)
            },
        };
        let class = |name: &str, seen: &[Seen], connections| Class {
            name: name.into(),
            kind: LoadKind::Closed,
            utilisation: Range::ALL,
            connections,
            measured: None,
            points: seen.iter().zip(&self.settings).map(point).collect(),
        };
        let few = Range { from: 0.0, to: 1.5 };
        Points {
            application: self.name.into(),
            noise,
            capacity_per_s: self.many.iter().map(|seen| seen.per_s).fold(0.0, f64::max),
            classes: vec![
                class("single", &self.single, few),
                class("many", &self.many, Range { from: 1.5, ..Range::ALL }),
            ],
        }
    }

    /// What a tuner makes that lives through both minutes: ten looks a second and a window of a second that it is
    /// shown, as a service does.
    fn tuned(&self, contract: &Contract, points: Points, rules: Rules) -> Made {
        let mut tuner = Tuner::new(*contract, points, Rules { start: self.settings[0], ..rules });
        let (mut made, mut window) = (Made::default(), None);
        for look in 0..2 * PHASE_S * LOOKS {
            let (second, now_ns) = (look / LOOKS, look * LOOK_NS + 1);
            let place = |tuner: &Tuner| self.settings.iter().position(|known| *known == tuner.setting());
            let serving = place(&tuner);
            if look == PHASE_S * LOOKS {
                // What is seen from here on belongs to another load.
                window = None;
            }
            let mut decision = tuner.decide(&Moment {
                now_ns,
                quoted: Some(Quoted {
                    prices: prices(second),
                    generation: 1 + second / PHASE_S,
                    valid_until_ns: 0,
                }),
                // While nothing is served nobody asks.
                arrival_per_s: serving.map_or(0.0, |place| self.phase(second)[place].per_s),
                connections: if second < PHASE_S { self.clients as f64 } else { 1.0 },
                announced: None,
            });
            match window {
                None if now_ns >= tuner.settled_ns() => window = Some(now_ns),
                Some(from) if now_ns - from >= tuner.window_ns(LOOKS * LOOK_NS) => {
                    if let (None, Some(place)) = (&decision, serving) {
                        decision = tuner.observe(now_ns, &self.window(second, place, now_ns - from));
                    }
                    window = Some(now_ns);
                }
                _ => {}
            }
            if decision.is_some_and(|decision| decision.change.is_some()) {
                window = None;
            }
            let (profit, revenue) =
                place(&tuner).map_or((0.0, 0.0), |place| self.rate(contract, second, place));
            made.phases[usize::from(second >= PHASE_S)] += profit / LOOKS as f64;
            made.revenue += revenue / LOOKS as f64;
        }
        made
    }
}

/// Looks of a tuner in a second, and the time between two.
const LOOKS: u64 = 10;
const LOOK_NS: u64 = 100_000_000;

fn prices(second: u64) -> Prices {
    Prices { bandwidth: Some(PRICES[usize::from(second >= PHASE_S)]), ..Prices::NONE }
}

/// Dollars of the two minutes: profit of each phase, and what users paid in both.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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

/// How much more the first one made, as a part of what users paid under the second one. What is less than a billionth comes
/// of adding up in another order.
pub fn part(adaptive: Made, fixed: Made) -> f64 {
    let part = (adaptive.total() - fixed.total()) / fixed.revenue.max(f64::MIN_POSITIVE);
    if part.abs() < 1e-9 { 0.0 } else { part }
}

/// What each way to choose the setting makes.
pub struct Strategies {
    /// The setting of the greatest throughput, as profiled, throughout.
    pub throughput: Made,
    /// The setting of the least latency.
    pub latency: Made,
    /// The fixed setting that made most in the end: nobody knows it beforehand.
    pub fixed: Made,
    /// The tuner with profiled points.
    pub adaptive: Made,
    /// The best setting of each phase, known beforehand.
    pub oracle: Made,
}

/// Plays all of them: chosen by what is told, scored on what then happens.
pub fn strategies(contract: &Contract, told: &Swept, scored: &Swept) -> Strategies {
    let places = 0..scored.settings.len();
    let best =
        |of: &dyn Fn(usize) -> f64| places.clone().max_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap_or(0);
    let held = |place: usize| scored.held(contract, place);
    Strategies {
        throughput: held(best(&|place| told.many[place].per_s)),
        latency: held(best(&|place| -told.single[place].mean_us)),
        fixed: held(best(&|place| held(place).total())),
        adaptive: adaptive(contract, told, scored),
        oracle: Made::of(|second| {
            let all = places.clone().map(|place| scored.rate(contract, second, place));
            all.fold((0.0, 0.0), |best, one| if one.0 > best.0 { one } else { best })
        }),
    }
}

/// What the tuner makes with profiled points.
pub fn adaptive(contract: &Contract, told: &Swept, scored: &Swept) -> Made {
    scored.tuned(contract, told.points(true), Rules::default())
}

/// What the tuner makes that is told which settings there are and nothing about them.
pub fn online(contract: &Contract, scored: &Swept) -> Made {
    scored.tuned(contract, scored.points(false), Rules::default().online())
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
