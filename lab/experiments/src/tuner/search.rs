//! Random cases, and the search through all of their points.

use nom_money::{
    BonusPerOperation, Nano, PerByte, PerByteSecond, PerCoreNs, PerOperation, Prices, RefundPerOperation,
    Spending,
};
use nom_points::{Batching, Class, Late, LoadKind, Noise, Point, Points, Range, Setting, Wait};
use nom_tuner::{Moment, Quoted, Rules, Tuner};
use nom_utility::{Contract, LimitKind, TailRule};

const LIMIT_NS: u64 = 750_000;
const POINTS_MAX: u64 = 40;
const ATTO: f64 = 1e-18;
/// Sums of the same numbers in another order differ by so much of the largest of them.
const ROUNDING: f64 = 1e-11;

/// Xorshift.
pub struct Random(pub u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn part(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1u64 << 30) as f64
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// The agreement with users, in the terms of the paper: alpha, and beta, gamma or X.
enum Utility {
    Simple,
    Penalty { factor: u64 },
    Refund { beta_atto: i128 },
    Bonus { gamma_atto: i128, delta_atto: Option<i128> },
}

/// A load, prices, points and rules.
pub struct Case {
    alpha_atto: i128,
    utility: Utility,
    prices: Prices,
    points: Vec<Point>,
    kind: LoadKind,
    arrival_per_s: f64,
    spending_max_atto: Option<i128>,
    latency_max_ns: Option<u64>,
    may_stop: bool,
}

impl Case {
    pub fn draw(random: &mut Random) -> Self {
        let utility = match random.below(4) {
            0 => Utility::Simple,
            1 => Utility::Penalty { factor: random.below(200) },
            2 => Utility::Refund { beta_atto: i128::from(random.below(1 << 48)) },
            _ => Utility::Bonus {
                gamma_atto: i128::from(random.below(1 << 24)),
                delta_atto: random.one_in(2).then(|| i128::from(random.below(1 << 38))),
            },
        };
        let known =
            |random: &mut Random, bound: u64| (!random.one_in(8)).then(|| i128::from(random.below(bound)));
        let prices = Prices {
            bandwidth: known(random, 1 << 30).map(PerByte),
            core: known(random, 1 << 24).map(PerCoreNs),
            memory: known(random, 5_000).map(PerByteSecond),
        };
        let limited = random.one_in(3);
        Self {
            alpha_atto: i128::from(random.below(1 << 38)),
            utility,
            prices,
            points: (0..1 + random.below(POINTS_MAX)).map(|place| point(random, place)).collect(),
            kind: if random.one_in(4) { LoadKind::Closed } else { LoadKind::Open },
            arrival_per_s: 5e4 * random.part(),
            spending_max_atto: (limited && random.one_in(2))
                .then(|| i128::from(random.below(1 << 54)) + (1 << 40)),
            latency_max_ns: (limited && random.one_in(2)).then(|| 20_000 + random.below(500_000)),
            may_stop: !random.one_in(3),
        }
    }

    pub fn is_open(&self) -> bool {
        self.kind == LoadKind::Open
    }

    pub fn is_limited(&self) -> bool {
        self.spending_max_atto.is_some() || self.latency_max_ns.is_some()
    }

    fn contract(&self) -> Contract {
        let alpha = PerOperation(self.alpha_atto);
        match self.utility {
            Utility::Simple => Contract::per_operation(alpha, LimitKind::Simple { limit_ns: LIMIT_NS / 3 }),
            Utility::Penalty { factor } => Contract::per_operation(
                alpha,
                LimitKind::Penalty {
                    limit_ns: LIMIT_NS,
                    factor: Nano(factor * 1_000_000_000),
                    tail: TailRule::Counted,
                },
            ),
            Utility::Refund { beta_atto } => {
                Contract::refund_per_operation(alpha, RefundPerOperation(beta_atto))
            }
            Utility::Bonus { gamma_atto, delta_atto } => Contract::bonus_per_operation(
                alpha,
                BonusPerOperation(gamma_atto),
                delta_atto.map(PerOperation),
            ),
        }
    }

    /// What the tuner puts in force, by place; 0 is nothing, and `None` is that it kept what it had because no setting
    /// is allowed.
    pub fn decided(&self) -> Option<usize> {
        let class = Class {
            name: "x".into(),
            kind: self.kind,
            utilisation: Range::ALL,
            connections: Range::ALL,
            measured: None,
            points: self.points.clone(),
        };
        let points = Points {
            application: "x".into(),
            noise: Noise::same(0.02),
            capacity_per_s: 40e3,
            classes: vec![class],
        };
        let rules = Rules {
            hysteresis: false,
            // One that is no point of the class, so that whatever is chosen is a change.
            start: Setting::serve(Wait::Poll, Batching::TakeQueued),
            may_stop: self.may_stop,
            spending_max: self.spending_max_atto.map(Spending),
            latency_max_ns: self.latency_max_ns,
            ..Rules::default()
        };
        let mut tuner = Tuner::new(self.contract(), points, rules);
        let quoted = Quoted { prices: self.prices, generation: 1, valid_until_ns: 0 };
        tuner.decide(&Moment {
            now_ns: 1,
            quoted: Some(quoted),
            announced: None,
            arrival_per_s: self.arrival_per_s,
            connections: 1.0,
        });
        match tuner.setting() {
            Setting::Nothing => Some(0),
            setting => self.points.iter().position(|point| point.setting == setting).map(|place| place + 1),
        }
    }

    /// Profit of each place (0 is nothing) in dollars a second, `None` where it is not allowed; and the best place.
    pub fn searched(&self) -> (Option<usize>, Vec<Option<f64>>) {
        let mut profits = vec![self.nothing()];
        profits.extend(self.points.iter().map(|point| self.profit(point)));
        let mut best: Option<(usize, f64)> = None;
        // Nothing comes last, since any point that is as good is preferred.
        for place in (1..profits.len()).chain([0]) {
            if let Some(profit) = profits[place]
                && best.is_none_or(|(_, most)| profit > most)
            {
                best = Some((place, profit));
            }
        }
        (best.map(|(place, _)| place), profits)
    }

    /// Whether the choice is right: the same place, or one that earns the same but for rounding.
    pub fn agree(&self, decided: Option<usize>, best: Option<usize>, profits: &[Option<f64>]) -> bool {
        match (decided, best) {
            (Some(decided), Some(best)) => {
                let (Some(chosen), Some(most)) = (profits[decided], profits[best]) else { return false };
                chosen >= most - ROUNDING * (1.0 + most.abs())
            }
            (decided, best) => decided == best,
        }
    }

    fn price(atto: Option<i128>) -> f64 {
        atto.unwrap_or(0) as f64 * ATTO
    }

    fn allowed(&self, cost: f64, latency_ns: f64) -> bool {
        self.spending_max_atto.is_none_or(|most| cost <= most as f64 * ATTO)
            && self.latency_max_ns.is_none_or(|most| latency_ns <= most as f64)
    }

    fn nothing(&self) -> Option<f64> {
        let least = |of: fn(&Point) -> f64| self.points.iter().map(of).fold(f64::INFINITY, f64::min);
        let cost = Self::price(self.prices.core.map(|rate| rate.0)) * 1e9 * least(|point| point.idle_cores)
            + Self::price(self.prices.memory.map(|rate| rate.0)) * least(|point| point.memory_bytes);
        // When even this costs more than may be spent, there is nothing left to save: it is allowed.
        self.may_stop.then_some(-cost)
    }

    fn profit(&self, point: &Point) -> Option<f64> {
        let t = if self.is_open() {
            self.arrival_per_s.min(point.throughput_per_s)
        } else {
            point.throughput_per_s
        };
        let (l, alpha) = (point.mean_ns / 1e9, self.alpha_atto as f64 * ATTO);
        let r = match self.utility {
            Utility::Simple if point.mean_ns <= (LIMIT_NS / 3) as f64 => alpha,
            Utility::Simple => 0.0,
            Utility::Penalty { factor } => {
                // The counts hold the limit itself.
                let late = point.late.iter().find(|late| late.threshold_ns == LIMIT_NS)?;
                alpha * (1.0 - (factor as f64 * late.above as f64 / point.samples as f64).min(1.0))
            }
            Utility::Refund { beta_atto } => (alpha - beta_atto as f64 * ATTO * l).max(0.0),
            Utility::Bonus { gamma_atto, delta_atto } => {
                let bonus = gamma_atto as f64 * ATTO / l;
                alpha + delta_atto.map_or(bonus, |delta| bonus.min(delta as f64 * ATTO))
            }
        };
        let busy = t * point.core_ns / 1e9;
        let cores = busy + point.idle_cores * (1.0 - busy).max(0.0);
        let mut bandwidth = Self::price(self.prices.bandwidth.map(|rate| rate.0)) * t * point.wire_bytes;
        let mut revenue = t * r;
        // "If L <= L0 and P < alpha, else nothing is offered": no bytes then, but what is held is held.
        let refused = matches!(self.utility, Utility::Simple) && (r == 0.0 || revenue <= bandwidth);
        if refused {
            (revenue, bandwidth) = (0.0, 0.0);
        }
        let cost = bandwidth
            + Self::price(self.prices.core.map(|rate| rate.0)) * 1e9 * cores
            + Self::price(self.prices.memory.map(|rate| rate.0)) * point.memory_bytes;
        let latency_ns = if point.p99_ns > 0.0 { point.p99_ns } else { point.mean_ns };
        // Offering nothing while serving is only for owners who forbid to stop.
        let offers = !refused || t == 0.0 || !self.may_stop;
        (offers && self.allowed(cost, latency_ns)).then_some(revenue - cost)
    }
}

fn point(random: &mut Random, place: u64) -> Point {
    let batching =
        if place == 0 { Batching::RunToCompletion } else { Batching::Hold { delay_ns: place * 1_000 } };
    let late = random.below(2_000);
    let mean_ns = 1e3 * (50.0 + 400.0 * random.part());
    Point {
        setting: Setting::serve(Wait::Halt, batching),
        throughput_per_s: 1e4 + 4e4 * random.part(),
        useful_bytes: 100.0,
        wire_bytes: 100.0 + 100.0 * random.part(),
        core_ns: 2e4 * random.part(),
        idle_cores: random.part(),
        memory_bytes: 1e8 * random.part(),
        mean_ns,
        server_ns: 0.0,
        jitter_ns: 1e4,
        p99_ns: if random.one_in(2) { mean_ns * (1.0 + random.part()) } else { 0.0 },
        samples: 100_000,
        late: vec![
            Late { threshold_ns: LIMIT_NS / 2, above: late * 2 },
            Late { threshold_ns: LIMIT_NS, above: late },
        ],
    }
}
