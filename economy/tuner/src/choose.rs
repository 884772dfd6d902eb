//! Weighing every point.

use crate::Rules;
use alloc::vec::Vec;
use nom_points::{Class, LoadKind, Point, Setting};
use nom_utility::{Evaluator, Flow, Profit, tail};

/// What a setting is expected to bring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The setting.
    pub setting: Setting,
    /// The flow it would serve.
    pub flow: Flow,
    /// What that earns and costs, in dollars a second.
    pub profit: Profit,
    /// The latency that the hard limit is about: 99th percentile where it was measured, else the mean.
    pub latency_ns: f64,
}

impl Estimate {
    /// Serving nothing under this load. What the most frugal of its points holds while idle is held all the same: so
    /// serving nothing is better only where operations lose money, and never because there are none.
    pub fn nothing(evaluator: &Evaluator, class: &Class) -> Self {
        let least = |of: fn(&Point) -> f64| class.points.iter().map(of).fold(f64::INFINITY, f64::min);
        let held = |least: f64| if least.is_finite() { least } else { 0.0 };
        let flow =
            Flow::nothing(held(least(|point| point.memory_bytes)), held(least(|point| point.idle_cores)));
        // Nobody waits, so no limit of latency is broken.
        let profit = Profit { revenue: 0.0, offered: true, ..evaluator.evaluate(&flow) };
        Self { setting: Setting::Nothing, flow, profit, latency_ns: 0.0 }
    }

    /// Whether the owner's hard limits allow it.
    pub fn within(&self, rules: &Rules) -> bool {
        // A contract that offers nothing here earns nothing: then serving nothing is the honest way to have that.
        (self.profit.offered || !rules.may_stop)
            && rules.spending_max.is_none_or(|most| self.profit.cost() <= most.to_dollars_f64())
            && rules.latency_max_ns.is_none_or(|most| self.latency_ns <= most as f64)
    }
}

/// The flow of a point when so much arrives, with a given fraction of late operations.
fn flow(point: &Point, kind: LoadKind, arrival_per_s: f64, late: f64) -> Flow {
    let arrival = match kind {
        LoadKind::Open => Some(arrival_per_s),
        LoadKind::Closed => None,
    };
    let served = point.served_per_s(arrival);
    Flow {
        operations_per_s: served,
        useful_bytes_per_s: served * point.useful_bytes,
        wire_bytes_per_s: served * point.wire_bytes,
        cores: point.cores(served),
        memory_bytes: point.memory_bytes,
        latency_mean_ns: point.mean_ns,
        latency_jitter_ns: point.jitter_ns,
        late,
    }
}

fn late(evaluator: &Evaluator, point: &Point) -> tail::Fraction {
    match evaluator.contract().limit_ns() {
        Some(limit_ns) => {
            let (above, of) = point.late_above(limit_ns);
            tail::counted(above, of)
        }
        None => tail::Fraction { low: 0.0, counted: 0.0, high: 0.0 },
    }
}

/// What a point is expected to bring, by its counted figures.
pub fn estimate(evaluator: &Evaluator, kind: LoadKind, arrival_per_s: f64, point: &Point) -> Estimate {
    let flow = flow(point, kind, arrival_per_s, late(evaluator, point).counted);
    let latency_ns = if point.p99_ns > 0.0 { point.p99_ns } else { point.mean_ns };
    Estimate { setting: point.setting, flow, profit: evaluator.evaluate(&flow), latency_ns }
}

/// The point in force, to compare others with.
pub(crate) struct Present<'a> {
    point: &'a Point,
    late: tail::Fraction,
    value: f64,
}

impl<'a> Present<'a> {
    pub fn new(evaluator: &Evaluator, kind: LoadKind, arrival_per_s: f64, point: &'a Point) -> Self {
        let late = late(evaluator, point);
        let value = evaluator.evaluate(&flow(point, kind, arrival_per_s, late.counted)).total();
        Self { point, late, value }
    }

    /// The candidate's profit rate over that of the present point, counting only what differs beyond noise: a figure
    /// within noise of the present one is taken to be the same, and so is the fraction of late operations when the
    /// confidence intervals meet; when they do not, the candidate's upper bound counts.
    pub fn gain_beyond_noise(
        &self,
        evaluator: &Evaluator,
        kind: LoadKind,
        arrival_per_s: f64,
        candidate: &Point,
        noise: f64,
    ) -> f64 {
        let present = self.point;
        let snap = |new: f64, old: f64| {
            if (new - old).abs() <= noise * new.abs().max(old.abs()) { old } else { new }
        };
        // An idle share is a part of a core already: compare it as such.
        let idle_is_same = (candidate.idle_cores - present.idle_cores).abs() <= noise;
        let snapped = Point {
            setting: candidate.setting,
            throughput_per_s: snap(candidate.throughput_per_s, present.throughput_per_s),
            useful_bytes: snap(candidate.useful_bytes, present.useful_bytes),
            wire_bytes: snap(candidate.wire_bytes, present.wire_bytes),
            core_ns: snap(candidate.core_ns, present.core_ns),
            idle_cores: if idle_is_same { present.idle_cores } else { candidate.idle_cores },
            memory_bytes: snap(candidate.memory_bytes, present.memory_bytes),
            mean_ns: snap(candidate.mean_ns, present.mean_ns),
            jitter_ns: snap(candidate.jitter_ns, present.jitter_ns),
            p99_ns: candidate.p99_ns,
            samples: candidate.samples,
            // The late fraction is judged here; a list would be allocated for every point of every decision.
            late: Vec::new(),
        };
        let new = late(evaluator, candidate);
        let meet = new.low <= self.late.high && self.late.low <= new.high;
        let new_late = if meet { self.late.counted } else { new.high };
        evaluator.evaluate(&flow(&snapped, kind, arrival_per_s, new_late)).total() - self.value
    }
}

/// The best of all points of a class and of serving nothing, among those that the rules allow and that `trusted`
/// accepts. Ties go to the earlier point, and to any point before nothing. `None` when nothing is allowed.
pub fn best(
    evaluator: &Evaluator,
    class: &Class,
    arrival_per_s: f64,
    rules: &Rules,
    trusted: impl Fn(Setting) -> bool,
) -> Option<Estimate> {
    let mut best: Option<Estimate> = None;
    for point in &class.points {
        let estimate = estimate(evaluator, class.kind, arrival_per_s, point);
        if estimate.within(rules)
            && trusted(estimate.setting)
            && best.is_none_or(|best| estimate.profit.total() > best.profit.total())
        {
            best = Some(estimate);
        }
    }
    if rules.may_stop {
        let nothing = Estimate::nothing(evaluator, class);
        if best.is_none_or(|best| nothing.profit.total() > best.profit.total()) {
            best = Some(nothing);
        }
    }
    best
}
