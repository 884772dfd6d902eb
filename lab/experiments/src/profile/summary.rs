//! Blocks become points, with their noise: a figure is the middle one of all blocks.

use super::{Plan, Seen};
use nom_load::tally::Tally;
use nom_machine::trouble::{Outcome, Trouble};
use nom_points::{Class, Late, LoadKind, Point, Points, Range, Setting, Wait, frontier, twins};
use std::fmt::Write;

/// Latencies above which operations are counted, beside the contract's limit.
const THRESHOLDS_NS: [u64; 6] = [250_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000];
/// Bounds of what is called noise: fewer blocks than dozens cannot promise less, and more says nothing any more.
const NOISE: (f64, f64) = (0.02, 0.5);
/// Bytes are counted, not timed.
const NOISE_BYTES: (f64, f64) = (0.002, 0.5);
/// A server that sees another latency than its clients by more than this part: its own view cannot stand for theirs.
const DISAGREEMENT_MAX: f64 = 0.1;

/// Twice the standard error of each figure, as a part of it; the worst of all settings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Noise {
    /// Mean latency.
    pub mean: f64,
    /// Bytes of an operation.
    pub wire: f64,
    /// Cores in use.
    pub cores: f64,
    /// What can be served at most.
    pub capacity: f64,
}

impl Noise {
    fn of(seen: &[Seen]) -> Self {
        let worst = |of: &dyn Fn(&Seen) -> f64| seen.iter().map(of).fold(0.0, f64::max);
        Self {
            mean: worst(&|seen| part(&mean_latency(seen))),
            wire: worst(&|seen| part(&seen.each(|block| block.wire_bytes_each()))),
            cores: worst(&|seen| part(&seen.each(|block| block.cores()))),
            capacity: worst(&|seen| part(&seen.capacities)),
        }
    }

    /// As it stands with the points. Memory is read, not measured.
    pub fn of_points(&self) -> nom_points::Noise {
        let bounded = |value: f64, (least, most): (f64, f64)| rounded(value.clamp(least, most), 3);
        nom_points::Noise {
            throughput: bounded(self.capacity, NOISE),
            bytes: bounded(self.wire, NOISE_BYTES),
            cores: bounded(self.cores, NOISE),
            memory: NOISE.0,
            latency: bounded(self.mean, NOISE),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Standard error of the mean; with one value nothing is known.
fn error(values: &[f64]) -> f64 {
    let (count, middle) = (values.len() as f64, mean(values));
    if values.len() < 2 {
        return f64::INFINITY;
    }
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / (count - 1.0) / count).sqrt()
}

/// The middle value: a block that other work of the machine ran into does not move it.
fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// Twice the standard error of the middle value, as a part of it: from the middle deviation, for the same reason. The
/// factors are those of the normal distribution.
fn part(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::INFINITY;
    }
    let centre = middle(values);
    let deviations: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    let error = 1.2533 * 1.4826 * middle(&deviations) / (values.len() as f64).sqrt();
    2.0 * error / centre.max(f64::MIN_POSITIVE)
}

fn mean_latency(seen: &Seen) -> Vec<f64> {
    seen.each(|block| block.tally.latency_ns.mean())
}

/// How much more the fraction of late operations differs from block to block than chance alone lets it: late ones
/// come in crowds. So many operations are worth one. At least 1.
fn crowding(seen: &Seen, limit_ns: u64) -> f64 {
    let fractions = seen.each(|block| block.tally.fraction_above(limit_ns));
    let (late, answered) = (mean(&fractions), mean(&seen.each(|block| block.tally.latency_ns.len() as f64)));
    let by_chance = late * (1.0 - late) / answered.max(1.0);
    if by_chance <= 0.0 || fractions.len() < 2 {
        return 1.0;
    }
    let spread = error(&fractions).powi(2) * fractions.len() as f64;
    (spread / by_chance).max(1.0)
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The points, one class of them.
    pub points: Points,
    /// Their noise.
    pub noise: Noise,
    /// For each setting the mean latency of the clients, and as the server saw it.
    pub means_ns: Vec<(f64, f64)>,
    /// Blocks before which the machine was busy with other work, of how many.
    pub disturbed: (usize, usize),
    rate: f64,
}

impl Profile {
    pub(super) fn new(plan: &Plan, seen: Vec<Seen>, disturbed: usize, blocks: usize) -> Outcome<Self> {
        if let Some(empty) = seen.iter().find(|seen| {
            seen.capacities.is_empty()
                || seen.open.is_empty()
                || seen.open.iter().any(|block| block.operations == 0 || block.tally.latency_ns.is_empty())
        }) {
            return Err(Trouble::new(format!("{}: the load got no answers in a block", empty.setting)));
        }
        let mut thresholds = THRESHOLDS_NS.to_vec();
        thresholds.extend(plan.limit_ns);
        thresholds.sort_unstable();
        thresholds.dedup();
        let points = seen.iter().map(|one| point(plan, one, own_core_ns(one, &seen), &thresholds)).collect();
        let means_ns = seen
            .iter()
            .map(|seen| (middle(&mean_latency(seen)), middle(&seen.each(|block| block.seen_mean_ns()))))
            .collect();
        let noise = Noise::of(&seen);
        let most = seen.iter().map(|seen| middle(&seen.capacities)).fold(1.0, f64::max);
        let class = Class {
            name: "any".into(),
            kind: LoadKind::Open,
            utilisation: Range::ALL,
            connections: Range::ALL,
            measured: None,
            points,
        };
        let points = Points {
            application: plan.application.clone(),
            noise: noise.of_points(),
            capacity_per_s: most.round(),
            classes: vec![class],
        };
        Ok(Self { points, noise, means_ns, disturbed: (disturbed, blocks), rate: plan.rate })
    }

    /// Settings of the frontier that differ by nothing beyond noise, as text; and whether all of them do.
    pub fn twins(&self) -> (Vec<String>, bool) {
        let class = &self.points.classes[0];
        let pairs = twins(class, &self.points.noise);
        let edge = frontier(class).len();
        let lines = pairs
            .iter()
            .map(|pair| {
                format!("{} and {}", class.points[pair.first].setting, class.points[pair.second].setting)
            })
            .collect();
        (lines, edge * (edge - 1) / 2 == pairs.len())
    }

    /// What a person should know about the points, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let percent = |value: f64| format!("{:.1}%", value * 100.0);
        let mut lines = vec![format!(
            "noise (twice the standard error of the middle block, the worst setting): mean latency {}, wire bytes {}, cores {}, \
             capacity {}",
            percent(self.noise.mean),
            percent(self.noise.wire),
            percent(self.noise.cores),
            percent(self.noise.capacity),
        )];
        let (disturbed, blocks) = self.disturbed;
        if disturbed > 0 {
            lines.push(format!(
                "{disturbed} of {blocks} blocks began while the machine was busy with other work"
            ));
        }
        for (point, (clients, seen)) in self.points.classes[0].points.iter().zip(&self.means_ns) {
            let part = (clients - seen).abs() / clients.max(*seen).max(1.0);
            let mut line = format!(
                "{}: mean {:.0} us, as the server saw it {:.0} us",
                point.setting,
                clients / 1e3,
                seen / 1e3
            );
            if part > DISAGREEMENT_MAX {
                let _ =
                    write!(line, "; they disagree by {}, so only the clients' figure counts", percent(part));
            }
            lines.push(line);
        }
        let (pairs, all) = self.twins();
        for pair in &pairs {
            lines.push(format!("within noise the same: {pair}"));
        }
        if all {
            lines.push(format!(
                "no two settings of the frontier differ beyond noise at {:.0} op/s: there is nothing to win by changing \
                 among them",
                self.rate
            ));
        }
        lines
    }
}

/// Core time of an operation. A setting that halts uses none for waiting, so it is what it used; one that does not is
/// compared with the one that halts and gathers frames in the same way, or with the most frugal one.
fn own_core_ns(one: &Seen, all: &[Seen]) -> f64 {
    let used_ns = |seen: &Seen| middle(&seen.each(|block| block.core_ns as f64 / block.operations as f64));
    let Setting::Serve { batching, .. } = one.setting else { return used_ns(one) };
    let halting = |seen: &&Seen| matches!(seen.setting, Setting::Serve { wait: Wait::Halt, batching: other, .. } if other == batching);
    let like = all.iter().find(halting).map(used_ns);
    like.unwrap_or_else(|| all.iter().map(used_ns).fold(f64::INFINITY, f64::min)).min(used_ns(one))
}

fn point(plan: &Plan, seen: &Seen, own_ns: f64, thresholds: &[u64]) -> Point {
    let tally = seen.tally();
    let operations_per_s =
        middle(&seen.each(|block| block.operations as f64 * 1e9 / block.span_ns.max(1) as f64));
    let busy = (operations_per_s * own_ns / 1e9).min(1.0);
    let used = middle(&seen.each(|block| block.cores()));
    let idle = if busy < 1.0 { ((used - busy) / (1.0 - busy)).clamp(0.0, 1.0) } else { 0.0 };
    let crowd = crowding(seen, plan.limit_ns.unwrap_or(THRESHOLDS_NS[2]));
    let samples = worth(&tally, crowd);
    let late = thresholds
        .iter()
        .map(|limit_ns| {
            let above = (tally.fraction_above(*limit_ns) * samples as f64).round() as u64;
            Late { threshold_ns: *limit_ns, above: above.min(samples) }
        })
        .collect();
    Point {
        setting: seen.setting,
        throughput_per_s: middle(&seen.capacities).round(),
        useful_bytes: 0.0,
        wire_bytes: rounded(middle(&seen.each(|block| block.wire_bytes_each())), 1),
        core_ns: own_ns.round(),
        idle_cores: rounded(idle, 3),
        memory_bytes: seen.open.last().map_or(0.0, |block| block.memory_bytes as f64),
        mean_ns: middle(&mean_latency(seen)).round(),
        server_ns: middle(&seen.each(|block| block.seen_mean_ns())).round(),
        jitter_ns: middle(&seen.each(|block| block.tally.latency_ns.stdev())).round(),
        p99_ns: middle(&seen.each(|block| block.tally.quantile_ns(0.99) as f64)),
        samples,
        late,
    }
}

/// Operations that come in crowds are worth fewer independent ones.
fn worth(tally: &Tally, crowd: f64) -> u64 {
    ((tally.latency_ns.len() as f64 / crowd).round() as u64).max(1)
}

fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Block, Load, Subject, measure};
    use std::time::Duration;

    /// A service whose figures are known, with a little unevenness from block to block.
    struct Known {
        blocks: Vec<Setting>,
        poll_is_quicker: bool,
    }

    impl Subject for Known {
        fn block(&mut self, setting: Setting, load: Load, duration: Duration) -> Outcome<Block> {
            self.blocks.push(setting);
            let uneven = 1.0 + 0.002 * ((self.blocks.len() % 3) as f64 - 1.0);
            let polls = matches!(setting, Setting::Serve { wait: Wait::Poll, .. });
            let mut tally = Tally::default();
            let latency_us = if polls && self.poll_is_quicker { 200.0 } else { 400.0 };
            for place in 0..1_000 {
                let slow = if place < 20 { 2_000.0 } else { 0.0 };
                tally.took(((latency_us + slow) * uneven * 1e3) as u64);
            }
            let span_ns = duration.as_nanos() as u64;
            let Load::Open { per_s } = load else {
                return Ok(Block { per_s: 20_000.0 * uneven, ..empty(tally, span_ns) });
            };
            let operations = (per_s * duration.as_secs_f64()) as u64;
            let core_ns = if polls && self.poll_is_quicker { span_ns } else { operations * 50_000 };
            Ok(Block {
                per_s,
                operations,
                wire_bytes: operations * 500,
                core_ns: (core_ns as f64 * uneven.min(1.0)) as u64,
                latency_sum_ns: operations * 10_000,
                memory_bytes: 1 << 20,
                ..empty(tally, span_ns)
            })
        }
    }

    fn empty(tally: Tally, span_ns: u64) -> Block {
        Block {
            tally,
            per_s: 0.0,
            span_ns,
            operations: 0,
            wire_bytes: 0,
            core_ns: 0,
            latency_sum_ns: 0,
            memory_bytes: 0,
        }
    }

    fn plan() -> Plan {
        Plan {
            application: "httpd".into(),
            settings: vec!["wait=halt batch=0".parse().unwrap(), "wait=poll batch=0".parse().unwrap()],
            rounds: 6,
            block: Duration::from_secs(1),
            capacity_block: Duration::from_secs(1),
            look: Duration::ZERO,
            rate: 2_000.0,
            limit_ns: Some(750_000),
            seed: 3,
        }
    }

    #[test]
    fn points_are_what_was_measured_and_can_be_read_back() {
        let mut known = Known { blocks: Vec::new(), poll_is_quicker: true };
        let mut lines = Vec::new();
        let profile = measure(&plan(), &mut known, &mut |line| lines.push(line.to_string())).unwrap();
        assert_eq!((known.blocks.len(), lines.len()), (24, 24));
        assert!(known.blocks.windows(2).any(|pair| pair[0] != pair[1]));
        assert_eq!(Points::parse(&profile.points.to_string()), Ok(profile.points.clone()));
        let [halt, poll] = &profile.points.classes[0].points[..] else { panic!("two points") };
        assert!((halt.core_ns / 50_000.0 - 1.0).abs() < 0.01 && halt.idle_cores < 0.01, "{halt:?}");
        assert!(poll.idle_cores > 0.98 && poll.wire_bytes == 500.0, "{poll:?}");
        // A fiftieth is late in every block alike, above the limit of the contract too.
        assert!((halt.mean_ns - 440_000.0).abs() < 5_000.0, "{halt:?}");
        assert_eq!(halt.late_above(750_000), (120, 6_000));
        assert!(
            profile.points.noise.cores <= 0.03 && profile.points.noise.latency <= 0.03,
            "{:?}",
            profile.noise
        );
        let (pairs, all) = profile.twins();
        assert!(pairs.is_empty() && !all);
        assert!(
            profile.remarks().iter().any(|line| line.contains("disagree by 97")),
            "{:?}",
            profile.remarks()
        );
    }

    #[test]
    fn settings_that_cannot_be_told_apart_are_named() {
        let mut known = Known { blocks: Vec::new(), poll_is_quicker: false };
        let profile = measure(&plan(), &mut known, &mut |_| {}).unwrap();
        let (_, all) = profile.twins();
        assert!(all);
        assert!(profile.remarks().last().unwrap().contains("nothing to win"));
    }

    #[test]
    fn late_operations_that_come_in_crowds_count_for_fewer() {
        let mut seen = Seen::new("wait=halt batch=0".parse().unwrap());
        for crowd in [0, 0, 0, 100] {
            let mut tally = Tally::default();
            (0..1_000).for_each(|place| tally.took(if place < crowd { 5_000_000 } else { 100_000 }));
            seen.take(Load::Open { per_s: 1.0 }, empty(tally, 1));
        }
        assert!(crowding(&seen, 1_000_000) > 50.0, "{}", crowding(&seen, 1_000_000));
        assert_eq!(crowding(&seen, 50_000_000), 1.0);
    }
}
