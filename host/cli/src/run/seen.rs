//! What a person is shown of a running service, gathered from what the service says.

use nom_ledger::Window;
use nom_points::{Class, Point, Points, frontier};
use nom_service::configuration::Configuration;
use nom_service::management::{Hello, KnobChange, Stats, Words};
use nom_service::metrics::bucket_ends_ns;
use nom_tuner::estimate;
use nom_utility::Contract;
use nom_view::{DECISIONS_MAX, Decision, Fixed, Latency, Money, Price, Request, Snapshot, push};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Figures of so long a time are shown together.
const SPAN_NS: u64 = 1_000_000_000;
/// Money of so long a time is shown together.
const MONEY_SPAN_NS: u64 = 3_000_000_000;

/// What an owner said before the service began.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// What users pay.
    pub contract: Option<Contract>,
    /// What was measured of fixed settings.
    pub points: Option<Points>,
    /// How long it waits for its clients when it ends.
    pub drain: Duration,
}

impl Terms {
    /// Those of a configuration.
    pub fn of(configuration: &Configuration) -> Self {
        let drain = Duration::from_nanos(configuration.drain_ns);
        Self { contract: configuration.contract, points: configuration.points.clone(), drain }
    }
}

/// Gathers a snapshot.
#[derive(Debug, Default)]
pub struct Seen {
    terms: Terms,
    now: Snapshot,
    ready: Option<Instant>,
    /// The service's clock when it was ready.
    ready_ns: u64,
    recent: VecDeque<Stats>,
    /// Ends and money of the last windows, in dollars.
    windows: VecDeque<(u64, u64, Money)>,
    last: Option<Window>,
    /// What the best setting of each window would have made, in dollars.
    best: f64,
}

impl Seen {
    /// Nothing was seen yet.
    pub fn new(terms: Terms, place: String, ends: Option<Duration>) -> Self {
        Self { terms, now: Snapshot { place, ends, ..Snapshot::default() }, ..Self::default() }
    }

    /// Whether the service has said hello.
    pub fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// What is to be shown now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.now
    }

    /// The service is up.
    pub fn hello(&mut self, hello: &Hello) {
        self.ready = Some(Instant::now());
        self.ready_ns = hello.ready_ns;
        self.now.service = format!("{} {} ({})", hello.application, hello.version, hello.home);
    }

    /// A window was settled and found right.
    pub fn window(&mut self, window: &Window) {
        let money = Money {
            revenue: dollars(window.revenue.amount.0),
            bandwidth: dollars(window.bandwidth.amount.0),
            core: dollars(window.core.amount.0),
            memory: dollars(window.memory.amount.0),
        };
        add(&mut self.now.total, &money, 1.0);
        self.windows.push_back((window.start_ns, window.end_ns, money));
        while self.windows.front().is_some_and(|(_, end, _)| end + MONEY_SPAN_NS < window.end_ns) {
            self.windows.pop_front();
        }
        let hours = hours(window);
        if hours > 0.0 {
            push(&mut self.now.profits, money.profit() / hours);
        }
        let mut sum = Money::default();
        self.windows.iter().for_each(|(_, _, money)| add(&mut sum, money, 1.0));
        let from = self.windows.front().map_or(window.start_ns, |(start, ..)| *start);
        let hours = window.end_ns.saturating_sub(from) as f64 / 3.6e12;
        if hours > 0.0 {
            let mut rates = Money::default();
            add(&mut rates, &sum, 1.0 / hours);
            self.now.rates = Some(rates);
        }
        self.estimate(window);
        self.last = Some(window.clone());
    }

    /// What the measured points would have made of a window: as much arrives, at the same prices.
    fn estimate(&mut self, window: &Window) {
        let (Some(contract), Some(points)) = (&self.terms.contract, &self.terms.points) else { return };
        let hours = hours(window);
        if hours <= 0.0 {
            return;
        }
        let arrival_per_s = (window.accepted + window.refused) as f64 / (hours * 3600.0);
        let connections = self.recent.back().map_or(0, |stats| stats.connections) as f64;
        let Some(class) = points.classes.get(points.class_of(arrival_per_s, connections)) else { return };
        let evaluator = contract.at(&window.prices);
        let best = frontier(class);
        let mut most = f64::NEG_INFINITY;
        for (place, point) in class.points.iter().enumerate().filter(|(_, point)| !point.is_unmeasured()) {
            let setting = point.setting.to_string();
            let estimate = estimate(&evaluator, class.kind, arrival_per_s, point);
            let per_h = estimate.profit.total() * 3600.0;
            let served = estimate.flow.operations_per_s;
            let fixed = known(&mut self.now.fixed, setting);
            fixed.frontier = best.contains(&place);
            fixed.latency_ns = point.mean_ns;
            fixed.profit_per_h = per_h;
            fixed.total += per_h * hours;
            most = most.max(per_h * hours);
            fixed.cost = if served > 0.0 {
                estimate.profit.cost() / served
            } else {
                marginal(class, point, &evaluator)
            };
        }
        if most.is_finite() {
            self.best += most;
        }
    }

    /// What the best fixed setting of each window would have made over what the best one of all would have: an estimate.
    pub fn headroom(&self) -> Option<f64> {
        let best = self.now.fixed.iter().map(|fixed| fixed.total).fold(f64::NEG_INFINITY, f64::max);
        (best > 0.0).then(|| self.best / best)
    }

    /// A knob has moved.
    pub fn knob(&mut self, change: &KnobChange) {
        if self.now.decisions.len() == DECISIONS_MAX {
            self.now.decisions.remove(0);
        }
        self.now.decisions.push(Decision {
            at: Duration::from_nanos(change.in_force_ns.saturating_sub(self.ready_ns)),
            before: change.before.clone(),
            after: change.after.clone(),
            why: change.why.clone(),
            took_ns: change.in_force_ns.saturating_sub(change.seen_ns),
        });
    }

    /// New figures.
    pub fn stats(&mut self, stats: Stats) {
        self.recent.push_back(stats);
        while self.recent.len() > 2 && self.span_ns(1) >= SPAN_NS {
            self.recent.pop_front();
        }
        let (Some(old), Some(new)) = (self.recent.front(), self.recent.back()) else { return };
        let now = &mut self.now;
        now.elapsed = self.ready.map_or(Duration::ZERO, |ready| ready.elapsed());
        let span_s = new.at_ns.saturating_sub(old.at_ns) as f64 / 1e9;
        let change = |pick: fn(&Stats) -> u64| pick(new).saturating_sub(pick(old)) as f64;
        let per_s = |count: f64| if span_s > 0.0 { count / span_s } else { 0.0 };
        let accepted = change(|stats| stats.accepted);
        now.operations_per_s = per_s(accepted);
        now.refused_per_s = per_s(change(|stats| stats.refused));
        push(&mut now.operations, now.operations_per_s);
        now.capacity_per_s = self.terms.points.as_ref().map(|points| points.capacity_per_s);
        now.connections = new.connections;
        now.setting.clone_from(&new.setting);
        for fixed in &mut now.fixed {
            fixed.current = fixed.setting == new.setting;
        }
        prices(&mut now.prices, new);
        now.latency = (new.latency_p50_ns > 0).then(|| latency(old, new));
        let each = |pick: fn(&Stats) -> u64| change(pick) / accepted;
        now.request = (accepted > 0.0).then(|| {
            let (in_bytes, out_bytes) =
                (each(|stats| stats.wire_in_bytes), each(|stats| stats.wire_out_bytes));
            let core_ns = each(|stats| stats.core_ns);
            let flow = nom_utility::Flow {
                wire_bytes_per_s: out_bytes,
                cores: core_ns / 1e9,
                memory_bytes: new.memory_bytes as f64 / per_s(accepted).max(1.0),
                ..nom_utility::Flow::default()
            };
            let cost = match (&self.terms.contract, &self.last) {
                (Some(contract), Some(window)) => contract.evaluate(&flow, &window.prices).cost(),
                _ => 0.0,
            };
            let (kicks, sleeps) = (each(|stats| stats.kicks), each(|stats| stats.sleeps));
            Request { in_bytes, out_bytes, core_ns, kicks, sleeps, cost }
        });
    }

    /// Time from the figures at this place to the newest.
    fn span_ns(&self, place: usize) -> u64 {
        match (self.recent.get(place), self.recent.back()) {
            (Some(old), Some(new)) => new.at_ns.saturating_sub(old.at_ns),
            _ => 0,
        }
    }
}

fn dollars(picodollars: i128) -> f64 {
    picodollars as f64 / 1e12
}

fn hours(window: &Window) -> f64 {
    window.end_ns.saturating_sub(window.start_ns) as f64 / 3.6e12
}

fn add(sum: &mut Money, more: &Money, times: f64) {
    sum.revenue += more.revenue * times;
    sum.bandwidth += more.bandwidth * times;
    sum.core += more.core * times;
    sum.memory += more.memory * times;
}

/// The row of a setting, made when it is not there.
fn known(rows: &mut Vec<Fixed>, setting: String) -> &mut Fixed {
    let place = rows.iter().position(|row| row.setting == setting).unwrap_or_else(|| {
        rows.push(Fixed { setting, ..Fixed::default() });
        rows.len() - 1
    });
    &mut rows[place]
}

/// What an operation would cost while none arrives: as if one did in a second.
fn marginal(class: &Class, point: &Point, evaluator: &nom_utility::Evaluator) -> f64 {
    estimate(evaluator, class.kind, 1.0, point).profit.cost()
}

/// Prices as they are said, and their courses.
fn prices(known: &mut Vec<Price>, stats: &Stats) {
    let said =
        [("core", &stats.price_core), ("bandwidth", &stats.price_bandwidth), ("memory", &stats.price_memory)];
    for (name, text) in said {
        let place = known.iter().position(|price| price.name == name);
        match (place, text.is_empty()) {
            (Some(place), true) => drop(known.remove(place)),
            (None, true) => {}
            (place, false) => {
                let place = place.unwrap_or_else(|| {
                    known.push(Price { name, ..Price::default() });
                    known.len() - 1
                });
                known[place].text.clone_from(text);
                let figure = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN);
                push(&mut known[place].course, figure);
            }
        }
    }
}

/// Latency between two lines of figures.
fn latency(old: &Stats, new: &Stats) -> Latency {
    let counts: Vec<(u64, u64)> = bucket_ends_ns()
        .enumerate()
        .map(|(place, end_ns)| {
            let count = |words: &Words| words.get(place);
            (end_ns, count(&new.latency_counts).saturating_sub(count(&old.latency_counts)))
        })
        .collect();
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let sum_ns = new.latency_sum_ns.saturating_sub(old.latency_sum_ns) as f64;
    let mean_ns = if all > 0 { sum_ns / all as f64 } else { 0.0 };
    // A bucket's operations are taken to lie at its middle, which is three quarters of its end.
    let middle = |end_ns: u64| end_ns as f64 * 0.75;
    let spread: f64 =
        counts.iter().map(|(end_ns, count)| (middle(*end_ns) - mean_ns).powi(2) * *count as f64).sum();
    Latency {
        p50_ns: new.latency_p50_ns,
        p90_ns: quantile(&counts, all, 0.9),
        p99_ns: new.latency_p99_ns,
        p999_ns: quantile(&counts, all, 0.999),
        mean_ns: mean_ns as u64,
        jitter_ns: if all > 0 { (spread / all as f64).sqrt() as u64 } else { 0 },
    }
}

/// A quantile from buckets that end at powers of two, by a straight line through its bucket.
fn quantile(counts: &[(u64, u64)], all: u64, part: f64) -> u64 {
    let mut left = all as f64 * part;
    for (end_ns, count) in counts {
        let count = *count as f64;
        if count > 0.0 && left <= count {
            return (*end_ns as f64 * (0.5 + 0.5 * left / count)) as u64;
        }
        left -= count;
    }
    counts.last().map_or(0, |(end_ns, _)| *end_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_ledger::{Ledger, Reading};

    fn stats(at_s: u64) -> Stats {
        // Half a thousand operations a second, all of them between 65 and 131 us.
        let place = bucket_ends_ns().position(|end_ns| end_ns == 1 << 17).unwrap();
        Stats {
            at_ns: at_s * 1_000_000_000,
            accepted: at_s * 500,
            latency_sum_ns: at_s * 500 * 100_000,
            latency_p50_ns: 98_000,
            latency_p99_ns: 130_000,
            latency_counts: Words::new((0..=place).map(|at| if at == place { at_s * 500 } else { 0 })),
            wire_out_bytes: at_s * 50_000,
            core_ns: at_s * 10_000_000,
            price_core: format!("{at_s} $/core/h"),
            ..Stats::default()
        }
    }

    #[test]
    fn figures_are_those_of_the_last_second() {
        let mut seen = Seen::default();
        for at_s in 1..5 {
            seen.stats(stats(at_s));
        }
        let now = seen.snapshot();
        assert_eq!((now.operations_per_s, now.operations.len()), (500.0, 4));
        let request = now.request.unwrap();
        assert_eq!((request.out_bytes, request.core_ns), (100.0, 20_000.0));
        let latency = now.latency.unwrap();
        assert_eq!((latency.mean_ns, latency.p99_ns), (100_000, 130_000));
        assert!((117_000..131_072).contains(&latency.p90_ns), "{latency:?}");
        assert!(latency.jitter_ns < 5_000, "{latency:?}");
        assert_eq!((now.prices.len(), &now.prices[0].course[..]), (1, &[1.0, 2.0, 3.0, 4.0][..]));
    }

    #[test]
    fn fixed_settings_are_estimated_at_the_prices_of_each_window() {
        let root = nom_machine::artefacts::root().unwrap().join("examples");
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let points = Points::parse(&read("kv-guest.points")).unwrap();
        let contract = Configuration::parse(&read("kv.conf")).unwrap().contract;
        let mut seen =
            Seen::new(Terms { contract, points: Some(points), drain: Duration::ZERO }, String::new(), None);
        let cheap = "core 0.04 $/core/h, bandwidth 0.09 $/GB, memory 0.005 $/GiB/h";
        let dear = "core 3 $/core/h, bandwidth 0.09 $/GB, memory 0.005 $/GiB/h";
        let mut better = Vec::new();
        let mut ledger = Ledger::new(contract.unwrap(), 1_000_000_000, 0, Reading::default());
        for (number, prices) in (1..).zip([cheap, dear]) {
            let schedule = nom_feeds::Schedule::parse(&format!("at 0 s: {prices}\n")).unwrap();
            let start_ns = (number - 1) * 1_000_000_000;
            let before = Reading { accepted: (number - 1) * 6_000, ..Reading::default() };
            ledger.set_prices(schedule.at(0).prices, number, None, start_ns, &before).unwrap();
            let after = Reading { accepted: number * 6_000, ..Reading::default() };
            seen.window(&ledger.settle(number * 1_000_000_000, &after).unwrap().unwrap());
            let fixed = &seen.snapshot().fixed;
            better.push(fixed[0].profit_per_h > fixed[1].profit_per_h);
            assert!(fixed.iter().all(|fixed| fixed.cost > 0.0 && fixed.frontier), "{fixed:?}");
        }
        assert_eq!(better, [true, false], "batching pays when cores are dear");
        assert!(seen.headroom().is_some_and(|headroom| headroom > 1.0 && headroom < 2.0));
        let fixed = &seen.snapshot().fixed[0];
        assert!(fixed.total > 0.0 && fixed.total < 2.0 * 6_000.0 * 0.12e-6, "{fixed:?}");
    }
}
