//! A course of loads and prices, each step as long as the next: what fixed settings, the tuner and an oracle make of it.
//!
//! The tuner is told what one play showed, everything is scored by another one. The best fixed setting is that of the score
//! itself, which favours it.

use super::open::{Seen, capacity_per_s};
use super::server::Costs;
use nom_money::Prices;
use nom_points::{Class, Late, LoadKind, Noise, Point, Points, Range, Setting};
use nom_tuner::{Moment, Quoted, Rules, Tuner};
use nom_utility::{Contract, Flow};

/// Seconds of a step, and looks of a tuner in each.
const STEP_S: u64 = 30;
const LOOKS: u64 = 10;
const SECOND_NS: u64 = 1_000_000_000;

/// A load: the part of the capacity that arrives, and what each setting gives under it.
pub struct Load {
    pub part: f64,
    pub told: Vec<Seen>,
    pub scored: Vec<Seen>,
}

/// A step: a load by its place, and prices.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub load: usize,
    pub prices: Prices,
}

/// What was made, and what users paid for it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Made {
    pub profit: f64,
    pub revenue: f64,
}

/// What each way to choose made.
pub struct Outcome {
    /// The best fixed setting, in hindsight.
    pub fixed: Made,
    pub fixed_setting: Setting,
    pub adaptive: Made,
    pub oracle: Made,
    /// What the tuner had set at the end of each step.
    pub chosen: Vec<Setting>,
}

/// A game: an application, its loads, its contract.
pub struct Game<'a> {
    pub costs: &'a Costs,
    pub loads: &'a [Load],
    pub contract: Contract,
    /// Answers a second of each setting when more comes than it can serve.
    pub most_per_s: Vec<f64>,
    pub limit_us: u64,
}

impl Game<'_> {
    fn flow(&self, seen: &Seen) -> Flow {
        let bytes = seen.per_s * self.costs.answer_len;
        Flow {
            operations_per_s: seen.per_s,
            late: seen.late as f64 / seen.samples as f64,
            cores: seen.cores,
            ..Flow::paper(bytes, seen.mean_us * 1e3, seen.jitter_us * 1e3)
        }
    }

    fn made(&self, step: &Step, setting: Setting, seconds: f64) -> Made {
        let Some(seen) = self.loads[step.load].scored.iter().find(|seen| seen.setting == setting) else {
            return Made::default();
        };
        let profit = self.contract.evaluate(&self.flow(seen), &step.prices);
        Made { profit: profit.total() * seconds, revenue: profit.revenue * seconds }
    }

    fn points(&self) -> Points {
        let mut from = 0.0;
        let classes = self.loads.iter().enumerate().map(|(place, load)| {
            let to = self.loads.get(place + 1).map_or(f64::INFINITY, |next| (load.part + next.part) / 2.0);
            let range = Range { from, to };
            from = to;
            let point = |(seen, most): (&Seen, &f64)| Point {
                throughput_per_s: *most,
                useful_bytes: self.costs.answer_len,
                wire_bytes: self.costs.answer_len,
                core_ns: (seen.cores - seen.looking) / seen.per_s * 1e9,
                // What looks does so while there is nothing to do.
                idle_cores: seen.looking / (1.0 - seen.cores + seen.looking).max(1e-3),
                mean_ns: seen.mean_us * 1e3,
                jitter_ns: seen.jitter_us * 1e3,
                samples: seen.samples,
                late: vec![Late { threshold_ns: self.limit_us * 1_000, above: seen.late }],
                ..Point::unmeasured(seen.setting)
            };
            Class {
                name: format!("load{place}"),
                kind: LoadKind::Open,
                utilisation: range,
                connections: Range::ALL,
                measured: Some(load.part),
                points: load.told.iter().zip(&self.most_per_s).map(point).collect(),
            }
        });
        let noise = Noise { throughput: 0.005, bytes: 0.001, cores: 0.01, memory: 0.01, latency: 0.01 };
        Points {
            application: self.costs.name.into(),
            noise,
            capacity_per_s: capacity_per_s(self.costs),
            classes: classes.collect(),
        }
    }

    /// Plays a course.
    pub fn play(&self, steps: &[Step]) -> Outcome {
        let settings: Vec<Setting> = self.loads[0].told.iter().map(|seen| seen.setting).collect();
        let sum = |made: &dyn Fn(&Step) -> Made| {
            steps.iter().map(made).fold(Made::default(), |sum, one| Made {
                profit: sum.profit + one.profit,
                revenue: sum.revenue + one.revenue,
            })
        };
        let held = |setting: Setting| sum(&|step| self.made(step, setting, STEP_S as f64));
        let best = |of: &dyn Fn(Setting) -> f64| {
            settings.iter().copied().max_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap_or(settings[0])
        };
        let fixed_setting = best(&|setting| held(setting).profit);
        let oracle = sum(&|step| {
            let made = self.made(step, best(&|setting| self.made(step, setting, 1.0).profit), STEP_S as f64);
            // Nobody has to serve at a loss.
            if made.profit > 0.0 { made } else { Made::default() }
        });
        let rules = Rules { start: settings[0], ..Rules::default() };
        let mut tuner = Tuner::new(self.contract, self.points(), rules);
        let (mut adaptive, mut chosen) = (Made::default(), Vec::new());
        for (place, step) in steps.iter().enumerate() {
            for look in 0..STEP_S * LOOKS {
                let now_ns = place as u64 * STEP_S * SECOND_NS + look * SECOND_NS / LOOKS + 1;
                let serves = matches!(tuner.setting(), Setting::Serve { .. });
                let arrival_per_s = self.loads[step.load].part * capacity_per_s(self.costs);
                tuner.decide(&Moment {
                    now_ns,
                    quoted: Some(Quoted {
                        prices: step.prices,
                        generation: 1 + place as u64,
                        valid_until_ns: 0,
                    }),
                    // While nothing is served nobody asks.
                    arrival_per_s: if serves { arrival_per_s } else { 0.0 },
                    connections: 64.0,
                    announced: None,
                });
                let made = self.made(step, tuner.setting(), 1.0 / LOOKS as f64);
                adaptive.profit += made.profit;
                adaptive.revenue += made.revenue;
            }
            chosen.push(tuner.setting());
        }
        Outcome { fixed: held(fixed_setting), fixed_setting, adaptive, oracle, chosen }
    }
}
