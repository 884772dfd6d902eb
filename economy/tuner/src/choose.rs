//! Weighing every point.

use crate::Rules;
use nom_points::{Class, LoadKind, Noise, Point, Setting};
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
        Self::holding(evaluator, Held::of(class))
    }

    /// The same for what is held.
    pub(crate) fn holding(evaluator: &Evaluator, held: Held) -> Self {
        let flow = Flow::nothing(held.memory_bytes, held.idle_cores);
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

/// What the most frugal points of a class hold while nothing is served. It changes only when a point does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    memory_bytes: f64,
    idle_cores: f64,
}

impl Held {
    pub fn of(class: &Class) -> Self {
        let measured = || class.points.iter().filter(|point| !point.is_unmeasured());
        let least = |of: fn(&Point) -> f64| measured().map(of).fold(f64::INFINITY, f64::min);
        let held = |least: f64| if least.is_finite() { least } else { 0.0 };
        Self {
            memory_bytes: held(least(|point| point.memory_bytes)),
            idle_cores: held(least(|point| point.idle_cores)),
        }
    }
}

/// The flow of a point when so much arrives, with a given fraction of late operations.
pub(crate) fn flow(point: &Point, kind: LoadKind, arrival_per_s: f64, late: f64) -> Flow {
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

/// The fraction of late operations with its confidence interval. It takes a square root, and changes only when a
/// point does: whoever decides often keeps it.
pub(crate) fn lateness(limit_ns: Option<u64>, point: &Point) -> tail::Fraction {
    match limit_ns {
        Some(limit_ns) => {
            let (above, of) = point.late_above(limit_ns);
            tail::counted(above, of)
        }
        None => tail::Fraction { low: 0.0, counted: 0.0, high: 0.0 },
    }
}

pub(crate) fn late_counted(limit_ns: Option<u64>, point: &Point) -> f64 {
    match limit_ns.map(|limit_ns| point.late_above(limit_ns)) {
        Some((above, of)) if of > 0 => above as f64 / of as f64,
        _ => 0.0,
    }
}

/// What a point is expected to bring, by its counted figures.
pub fn estimate(evaluator: &Evaluator, kind: LoadKind, arrival_per_s: f64, point: &Point) -> Estimate {
    let flow = flow(point, kind, arrival_per_s, late_counted(evaluator.contract().limit_ns(), point));
    let latency_ns = if point.p99_ns > 0.0 { point.p99_ns } else { point.mean_ns };
    Estimate { setting: point.setting, flow, profit: evaluator.evaluate(&flow), latency_ns }
}

/// What is taken for the same as a figure of the present point: everything within noise of it.
#[derive(Clone, Copy)]
struct Same {
    value: f64,
    from: f64,
    to: f64,
}

impl Same {
    /// All that differ from the value by at most a part of the larger of both. Figures are not negative.
    fn within(value: f64, part: f64) -> Self {
        Self { value, from: value * (1.0 - part), to: value / (1.0 - part) }
    }

    #[inline(always)]
    fn or(&self, new: f64) -> f64 {
        if new >= self.from && new <= self.to { self.value } else { new }
    }
}

/// The point in force, to compare others with.
pub(crate) struct Present {
    throughput: Same,
    useful_bytes: Same,
    wire_bytes: Same,
    core: Same,
    idle: Same,
    memory: Same,
    mean: Same,
    jitter: Same,
    late: tail::Fraction,
    value: f64,
    /// Whether useful bytes and jitter matter.
    needs: (bool, bool),
    /// What arrives, or no bound in a closed loop.
    arrival_per_s: f64,
}

impl Present {
    pub fn new(
        evaluator: &Evaluator,
        kind: LoadKind,
        arrival_per_s: f64,
        (point, late): (&Point, tail::Fraction),
        noise: &Noise,
    ) -> Self {
        let mut present = Self {
            throughput: Same::within(point.throughput_per_s, noise.throughput),
            useful_bytes: Same::within(point.useful_bytes, noise.bytes),
            wire_bytes: Same::within(point.wire_bytes, noise.bytes),
            core: Same::within(point.core_ns, noise.cores),
            // An idle share is a part of a core already: compare it as such.
            idle: Same {
                value: point.idle_cores,
                from: point.idle_cores - noise.cores,
                to: point.idle_cores + noise.cores,
            },
            memory: Same::within(point.memory_bytes, noise.memory),
            mean: Same::within(point.mean_ns, noise.latency),
            jitter: Same::within(point.jitter_ns, noise.latency),
            late,
            value: 0.0,
            needs: evaluator.needs(),
            arrival_per_s: f64::NAN,
        };
        present.under(evaluator, kind, arrival_per_s, point);
        present
    }

    /// The same point under other arrivals: what is within noise of it stays as it was.
    pub fn under(&mut self, evaluator: &Evaluator, kind: LoadKind, arrival_per_s: f64, point: &Point) {
        let bound_per_s = match kind {
            LoadKind::Open => arrival_per_s,
            LoadKind::Closed => f64::INFINITY,
        };
        if self.arrival_per_s != bound_per_s {
            self.value = evaluator.evaluate(&flow(point, kind, arrival_per_s, self.late.counted)).total();
            self.arrival_per_s = bound_per_s;
        }
    }

    /// Profit rate of the present point.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The candidate's profit rate over that of the present point, counting only what differs beyond noise: a figure
    /// within noise of the present one is taken to be the same, and so is the fraction of late operations when the
    /// confidence intervals meet; when they do not, the candidate's upper bound counts.
    #[inline(always)]
    pub fn gain_beyond_noise(
        &self,
        evaluator: &Evaluator,
        (candidate, new): (&Point, &tail::Fraction),
    ) -> f64 {
        let throughput_per_s = self.throughput.or(candidate.throughput_per_s);
        let served =
            if self.arrival_per_s < throughput_per_s { self.arrival_per_s } else { throughput_per_s };
        let busy = served * self.core.or(candidate.core_ns) * 1e-9;
        let idle = if busy < 1.0 { self.idle.or(candidate.idle_cores) * (1.0 - busy) } else { 0.0 };
        let meet = new.low <= self.late.high && self.late.low <= new.high;
        let flow = Flow {
            operations_per_s: served,
            useful_bytes_per_s: if self.needs.0 {
                served * self.useful_bytes.or(candidate.useful_bytes)
            } else {
                0.0
            },
            wire_bytes_per_s: served * self.wire_bytes.or(candidate.wire_bytes),
            cores: busy + idle,
            memory_bytes: self.memory.or(candidate.memory_bytes),
            latency_mean_ns: self.mean.or(candidate.mean_ns),
            latency_jitter_ns: if self.needs.1 { self.jitter.or(candidate.jitter_ns) } else { 0.0 },
            late: if meet { self.late.counted } else { new.high },
        };
        evaluator.evaluate(&flow).total() - self.value
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
    best_of(evaluator, class, arrival_per_s, rules, |place| trusted(class.points[place].setting))
}

/// The same by the points' places.
pub(crate) fn best_of(
    evaluator: &Evaluator,
    class: &Class,
    arrival_per_s: f64,
    rules: &Rules,
    trusted: impl Fn(usize) -> bool,
) -> Option<Estimate> {
    let mut best: Option<Estimate> = None;
    for (place, point) in class.points.iter().enumerate() {
        let estimate = estimate(evaluator, class.kind, arrival_per_s, point);
        if best.is_none_or(|best| estimate.profit.total() > best.profit.total())
            && estimate.within(rules)
            && trusted(place)
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
