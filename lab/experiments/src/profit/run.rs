//! One run: a strategy earns on a surface while prices and load take their course.

use super::days::{Course, Moves, Now};
use super::random::Random;
use super::surface::{DELAYS_US, Surface, setting};
use nom_points::{Class, LoadKind, Noise, Point, Points, Range, Setting};
use nom_tuner::{Moment, Quoted, Rules, Tuner};
use nom_utility::Contract;

/// A settlement window, and the time between two looks.
pub const WINDOW_S: f64 = 1.0;
const LOOKS: usize = 10;
const LOOK_S: f64 = WINDOW_S / LOOKS as f64;
const SECOND_NS: u64 = 1_000_000_000;
/// What is said of a profile's noise.
const NOISE: Noise = Noise { throughput: 0.03, bytes: 0.002, cores: 0.04, memory: 0.02, latency: 0.04 };
/// Bounds of the load classes, as parts of the capacity, and the load that each is profiled at.
const CLASSES: [(f64, f64, f64); 4] =
    [(0.0, 0.2, 0.1), (0.2, 0.5, 0.35), (0.5, 0.95, 0.7), (0.95, f64::INFINITY, 1.1)];

/// What a tuner is told at the start, and what it may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// Profiled points, which stay as they were profiled.
    Frozen,
    /// Profiled points, refined by what is seen, and others tried within the budget.
    Profiled,
    /// Settings that are possible, and nothing about them.
    Nothing,
}

/// What holds for a run, whoever plays it.
pub struct Scene<'a> {
    pub surface: &'a Surface,
    pub course: &'a Course,
    pub moves: Moves,
    pub contract: Contract,
    /// Profit counts from there on.
    pub from_s: f64,
    pub until_s: f64,
    pub seed: u64,
}

/// What came out, in dollars.
#[derive(Debug, Clone, Copy, Default)]
pub struct Earned {
    pub profit: f64,
    pub revenue: f64,
    pub changes: u32,
    /// What the tuner says that trying cost it, of the revenue so far.
    pub explored: f64,
}

impl Scene<'_> {
    fn now(&self, second: f64) -> Now {
        self.course.at(second, self.moves, self.surface.fitted.capacity_per_s())
    }

    /// The mean rate of profit and revenue of a place at a moment.
    fn rate(&self, place: Option<usize>, now: &Now, second: f64) -> (f64, f64) {
        let flow = self.surface.flow(place, now.arrival_per_s, second);
        let profit = self.contract.evaluate(&flow, &now.prices);
        (profit.total(), profit.revenue)
    }

    fn windows(&self) -> usize {
        (self.until_s / WINDOW_S) as usize
    }

    /// A strategy by windows: it is asked what to do, and told the profit that a window showed.
    pub fn play(
        &self,
        mut choose: impl FnMut(usize, &Now) -> Option<usize>,
        mut tell: impl FnMut(f64),
    ) -> Earned {
        let mut random = Random::new(self.seed ^ 0x51);
        let mut earned = Earned::default();
        for window in 0..self.windows() {
            let second = window as f64 * WINDOW_S;
            let now = self.now(second);
            let place = choose(window, &now);
            let (profit, revenue) = self.rate(place, &now, second);
            tell(profit + 0.04 * revenue * random.normal());
            if second >= self.from_s {
                earned.profit += profit * WINDOW_S;
                earned.revenue += revenue * WINDOW_S;
            }
        }
        earned
    }

    pub fn fixed(&self, place: usize) -> Earned {
        self.play(|_, _| Some(place), |_| {})
    }

    /// The best of each window on the true mean surface, serving nothing included.
    pub fn oracle(&self) -> Earned {
        let best = |window: usize, now: &Now| {
            let second = window as f64 * WINDOW_S;
            let at = |place: Option<usize>| self.rate(place, now, second).0;
            (0..DELAYS_US.len()).map(Some).chain([None]).max_by(|a, b| at(*a).total_cmp(&at(*b))).flatten()
        };
        self.play(best, |_| {})
    }

    fn points(&self, knowledge: Knowledge) -> Points {
        let capacity_per_s = self.surface.fitted.capacity_per_s();
        let mut random = Random::new(self.seed ^ 0x9a);
        let classes = CLASSES.iter().enumerate().map(|(number, (from, to, at))| Class {
            name: format!("load{number}"),
            kind: LoadKind::Open,
            utilisation: Range { from: *from, to: *to },
            connections: Range::ALL,
            measured: Some(*at),
            points: (0..DELAYS_US.len())
                .map(|place| match knowledge {
                    Knowledge::Nothing => Point::unmeasured(setting(place)),
                    _ => self.surface.profiled(place, at * capacity_per_s, &NOISE, &mut random),
                })
                .collect(),
        });
        Points { application: "kv".into(), noise: NOISE, capacity_per_s, classes: classes.collect() }
    }

    /// The tuner.
    pub fn tuned(&self, knowledge: Knowledge) -> Earned {
        self.tuned_through(knowledge, 1.0, None, |_, _| {})
    }

    /// The same with a server that sees only a part of its latency, a feed that goes silent, and a listener.
    pub fn tuned_through(
        &self,
        knowledge: Knowledge,
        lie: f64,
        silent_from_s: Option<f64>,
        mut say: impl FnMut(f64, &str),
    ) -> Earned {
        let rules = Rules { start: setting(0), ..Rules::default() };
        let rules = if knowledge == Knowledge::Frozen { rules } else { rules.online() };
        let mut tuner = Tuner::new(self.contract, self.points(knowledge), rules);
        let (mut random, mut counts) = (Random::new(self.seed ^ 0x77), Random::new(self.seed ^ 0xc0));
        let (mut earned, mut revenue_all) = (Earned::default(), 0.0);
        let mut window: Option<usize> = None;
        for look in 0..self.windows() * LOOKS {
            let second = look as f64 / LOOKS as f64 * WINDOW_S;
            let now = self.now(second);
            let now_ns = (second * 1e9) as u64 + 1;
            let place = place_of(tuner.setting());
            let silent_s = silent_from_s.filter(|from| second >= *from);
            let prices = silent_s.map_or(now.prices, |from| self.now(from - WINDOW_S).prices);
            let valid_until_ns = silent_s.map_or(0, |from| (from * 1e9) as u64);
            let mut decision = tuner.decide(&Moment {
                now_ns,
                quoted: Some(Quoted { prices, generation: 1 + (look / LOOKS) as u64, valid_until_ns }),
                announced: None,
                // While nothing is served nobody asks.
                arrival_per_s: if place.is_some() { now.arrival_per_s } else { 0.0 },
                connections: 64.0,
            });
            // As the service does: a window is that of one setting, once that has settled.
            match window {
                None if now_ns >= tuner.settled_ns() => window = Some(look),
                Some(from)
                    if (look - from) as f64 * LOOK_S >= tuner.window_ns(SECOND_NS) as f64 / 1e9 - 1e-9 =>
                {
                    if let (None, Some(place)) = (&decision, place) {
                        let window_s = (look - from) as f64 * LOOK_S;
                        let middle_s = second - window_s / 2.0;
                        let arrival = self.now(middle_s).arrival_per_s;
                        let mut seen = self.surface.window(place, arrival, middle_s, window_s, &mut random);
                        seen.mean_ns *= lie;
                        let served_per_s = seen.operations_per_s();
                        seen.counted_ns = self.surface.counted_ns(place, served_per_s, window_s, &mut counts);
                        decision = tuner.observe(now_ns, &seen);
                    }
                    window = Some(look);
                }
                _ => {}
            }
            if let Some(decision) = decision {
                say(second, &decision.line());
                if decision.change.is_some() {
                    earned.changes += 1;
                    window = None;
                }
            }
            let (profit, revenue) = self.rate(place_of(tuner.setting()), &now, second);
            revenue_all += revenue * WINDOW_S / LOOKS as f64;
            if second >= self.from_s {
                earned.profit += profit * WINDOW_S / LOOKS as f64;
                earned.revenue += revenue * WINDOW_S / LOOKS as f64;
            }
        }
        earned.explored = tuner.explored().0 / f64::max(revenue_all, f64::MIN_POSITIVE);
        earned
    }
}

fn place_of(wanted: Setting) -> Option<usize> {
    (0..DELAYS_US.len()).find(|place| setting(*place) == wanted)
}
