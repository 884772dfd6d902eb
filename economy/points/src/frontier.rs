//! Which points can be best for somebody, and which cannot be told apart.

use crate::{Class, Noise, Point};
use alloc::vec::Vec;

/// What decides profit, each so that less is better.
fn costs(point: &Point) -> [f64; 6] {
    [
        -point.throughput_per_s,
        point.mean_ns,
        point.jitter_ns,
        point.wire_bytes,
        point.core_ns,
        point.idle_cores,
    ]
}

fn dominates<const N: usize>(a: [f64; N], b: [f64; N]) -> bool {
    a.iter().zip(&b).all(|(a, b)| a <= b) && a.iter().zip(&b).any(|(a, b)| a < b)
}

fn undominated<const N: usize>(class: &Class, of: impl Fn(&Point) -> [f64; N]) -> Vec<usize> {
    (0..class.points.len())
        .filter(|index| {
            let point = of(&class.points[*index]);
            !class.points.iter().any(|other| dominates(of(other), point))
        })
        .collect()
}

/// The Pareto frontier over throughput, latency, jitter, bytes and cores: points that no other equals in all of them
/// and beats in one. Only these can be best at some price.
pub fn frontier(class: &Class) -> Vec<usize> {
    undominated(class, costs)
}

/// The paper's frontier: throughput and mean latency only (section 6.7).
pub fn frontier_paper(class: &Class) -> Vec<usize> {
    undominated(class, |point| [-point.throughput_per_s, point.mean_ns])
}

/// Two points of a frontier that differ in nothing beyond noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twins {
    /// The earlier one.
    pub first: usize,
    /// The later one.
    pub second: usize,
}

/// All pairs of the frontier that cannot be told apart. When that is every pair, the class has nothing to win by
/// adapting, and whoever tunes should say so and freeze the knob.
pub fn twins(class: &Class, noise: &Noise) -> Vec<Twins> {
    let frontier = frontier(class);
    let near = |(a, b): (f64, f64), part: f64| (a - b).abs() <= part * a.abs().max(b.abs());
    // In the order of the costs, the idle cores apart.
    let parts = [noise.throughput, noise.latency, noise.latency, noise.bytes, noise.cores];
    let mut twins = Vec::new();
    for (place, &first) in frontier.iter().enumerate() {
        for &second in &frontier[place + 1..] {
            let (a, b) = (costs(&class.points[first]), costs(&class.points[second]));
            // Idle cores are a share already: compare them as such.
            if parts.iter().zip(a.into_iter().zip(b)).all(|(part, pair)| near(pair, *part))
                && (a[5] - b[5]).abs() <= noise.cores
            {
                twins.push(Twins { first, second });
            }
        }
    }
    twins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batching, LoadKind, Range, Setting, Wait};
    use alloc::vec;

    fn point(delay_us: u64, throughput_per_s: f64, mean_us: f64) -> Point {
        Point {
            setting: Setting::serve(Wait::Halt, Batching::Hold { delay_ns: delay_us * 1000 }),
            throughput_per_s,
            useful_bytes: 100.0,
            wire_bytes: 166.0,
            core_ns: 20_000.0,
            idle_cores: 0.0,
            memory_bytes: 0.0,
            mean_ns: mean_us * 1000.0,
            server_ns: 0.0,
            jitter_ns: 13_000.0,
            p99_ns: 0.0,
            samples: 1000,
            late: vec![],
        }
    }

    fn class(points: Vec<Point>) -> Class {
        Class {
            name: "single".into(),
            kind: LoadKind::Closed,
            utilisation: Range::ALL,
            connections: Range::ALL,
            measured: None,
            points,
        }
    }

    #[test]
    fn the_frontier_is_the_papers() {
        // Section 6.7: 10 us and 14 us are on memcached's frontier, 32 us is not.
        let class = class(vec![point(10, 38e3, 74.0), point(32, 38e3, 96.0), point(14, 40e3, 77.0)]);
        assert_eq!(frontier_paper(&class), [0, 2]);
        assert_eq!(frontier(&class), [0, 2]);
    }

    #[test]
    fn a_cheaper_point_stays_although_it_is_slower() {
        let mut cheap = point(32, 38e3, 96.0);
        cheap.core_ns = 10_000.0;
        let class = class(vec![point(10, 38e3, 74.0), cheap]);
        assert_eq!(frontier_paper(&class), [0]);
        assert_eq!(frontier(&class), [0, 1]);
    }

    #[test]
    fn points_within_noise_are_reported() {
        let class = class(vec![point(10, 38e3, 74.0), point(12, 38.2e3, 74.3), point(14, 40e3, 77.0)]);
        assert_eq!(twins(&class, &Noise::same(0.01)), [Twins { first: 0, second: 1 }]);
        assert!(twins(&class, &Noise::same(0.001)).is_empty());
        // Idle cores are a share: none and a hundredth differ by a hundredth, not by all.
        for (idle_cores, alike) in [(0.009, true), (0.011, false)] {
            let mut other = class.clone();
            (other.points[1].idle_cores, other.points[1].mean_ns) = (idle_cores, 74_000.0);
            assert_eq!(twins(&other, &Noise::same(0.01)).len(), usize::from(alike), "{idle_cores}");
        }
    }
}
