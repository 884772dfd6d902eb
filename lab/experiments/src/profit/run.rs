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
/// What is said of a profile's noise.
const NOISE: Noise = Noise { throughput: 0.03, bytes: 0.002, cores: 0.04, memory: 0.02, latency: 0.04 };
/// Bounds of the load classes, as parts of the capacity, and the load that each is profiled at.
const CLASSES: [(f64, f64, f64); 4] =
    [(0.0, 0.2, 0.1), (0.2, 0.5, 0.35), (0.5, 0.95, 0.7), (0.95, f64::INFINITY, 1.1)];

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

    fn points(&self, online: bool) -> Points {
        let capacity_per_s = self.surface.fitted.capacity_per_s();
        let mut random = Random::new(self.seed ^ 0x9a);
        let classes = CLASSES.iter().enumerate().map(|(number, (from, to, at))| Class {
            name: format!("load{number}"),
            kind: LoadKind::Open,
            utilisation: Range { from: *from, to: *to },
            connections: Range::ALL,
            points: (0..DELAYS_US.len())
                .map(|place| match online {
                    true => Point::unmeasured(setting(place)),
                    false => self.surface.profiled(place, at * capacity_per_s, &NOISE, &mut random),
                })
                .collect(),
        });
        Points { application: "kv".into(), noise: NOISE, capacity_per_s, classes: classes.collect() }
    }

    /// The tuner: with profiled points that it leaves alone, or with none, learning while it serves.
    pub fn tuned(&self, online: bool) -> Earned {
        self.tuned_through(online, 1.0, None, |_, _| {})
    }

    /// The same with a server that sees only a part of its latency, a feed that goes silent, and a listener.
    pub fn tuned_through(
        &self,
        online: bool,
        lie: f64,
        silent_from_s: Option<f64>,
        mut say: impl FnMut(f64, &str),
    ) -> Earned {
        let rules = Rules { fallback: setting(0), ..Rules::default() };
        let rules = if online { rules.online() } else { rules };
        let mut tuner = Tuner::new(self.contract, self.points(online), rules);
        let mut random = Random::new(self.seed ^ 0x77);
        let (mut earned, mut revenue_all, mut changed_ns) = (Earned::default(), 0.0, 0);
        for window in 0..self.windows() {
            for look in 0..LOOKS {
                let second = (window as f64 + look as f64 / LOOKS as f64) * WINDOW_S;
                let now = self.now(second);
                let place = place_of(tuner.setting());
                let seen = self.surface.flow(place, now.arrival_per_s, second);
                let generation = 1 + window as u64;
                let now_ns = (second * 1e9) as u64 + 1;
                let silent_s = silent_from_s.filter(|from| second >= *from);
                let prices = silent_s.map_or(now.prices, |from| self.now(from - WINDOW_S).prices);
                let valid_until_ns = silent_s.map_or(0, |from| (from * 1e9) as u64);
                let decision = tuner.decide(&Moment {
                    now_ns,
                    quoted: Some(Quoted { prices, generation, valid_until_ns }),
                    // Arrivals are seen as answers: no more than can be served.
                    arrival_per_s: if place.is_some() { seen.operations_per_s } else { 0.0 },
                    connections: 64.0,
                });
                if let Some(decision) = decision {
                    say(second, &decision.line());
                    if decision.change.is_some() {
                        earned.changes += 1;
                        changed_ns = now_ns;
                    }
                }
                let (profit, revenue) = self.rate(place_of(tuner.setting()), &now, second);
                revenue_all += revenue * WINDOW_S / LOOKS as f64;
                if second >= self.from_s {
                    earned.profit += profit * WINDOW_S / LOOKS as f64;
                    earned.revenue += revenue * WINDOW_S / LOOKS as f64;
                }
            }
            let second = (window + 1) as f64 * WINDOW_S;
            let now_ns = (second * 1e9) as u64;
            if let Some(place) = place_of(tuner.setting())
                && now_ns - changed_ns.min(now_ns) >= (WINDOW_S * 1e9) as u64 - 1_000
            {
                let arrival = self.now(second - 0.01).arrival_per_s;
                let mut seen = self.surface.window(place, arrival, second, WINDOW_S, &mut random);
                seen.mean_ns *= lie;
                if let Some(decision) = tuner.observe(now_ns, &seen) {
                    say(second, &decision.line());
                    if decision.change.is_some() {
                        earned.changes += 1;
                        changed_ns = now_ns;
                    }
                }
            }
        }
        earned.explored = tuner.explored().0 / f64::max(revenue_all, f64::MIN_POSITIVE);
        earned
    }
}

fn place_of(wanted: Setting) -> Option<usize> {
    (0..DELAYS_US.len()).find(|place| setting(*place) == wanted)
}
