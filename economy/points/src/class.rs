//! Load classes, and the points of each.

use crate::{Noise, Point, Setting};
use alloc::string::String;
use alloc::vec::Vec;

/// From (included) to (excluded).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// First value.
    pub from: f64,
    /// First value beyond; infinite when there is no end.
    pub to: f64,
}

impl Range {
    /// Everything from zero.
    pub const ALL: Self = Self { from: 0.0, to: f64::INFINITY };

    /// Whether the value lies in it.
    pub fn contains(&self, value: f64) -> bool {
        self.from <= value && value < self.to
    }

    /// Whether both have a value in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// How far a value lies outside, as a part of the bound that it misses.
    fn distance(&self, value: f64) -> f64 {
        if value < self.from {
            (self.from - value) / self.from
        } else if value >= self.to {
            (value - self.to) / self.to.max(f64::MIN_POSITIVE)
        } else {
            0.0
        }
    }
}

/// Whether arrivals wait for replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadKind {
    /// They do not: what arrives is given, and a setting serves at most its throughput of it.
    Open,
    /// They do: throughput is the setting's own.
    Closed,
}

/// One load and its points. The load is told from what the tuner does not itself change.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Its name, one word.
    pub name: String,
    /// Open or closed loop.
    pub kind: LoadKind,
    /// Arrival rate over [`Points::capacity_per_s`].
    pub utilisation: Range,
    /// Active connections.
    pub connections: Range,
    /// The utilisation that the points were measured under, where that was noted.
    pub measured: Option<f64>,
    /// What was measured, one point a setting.
    pub points: Vec<Point>,
}

impl Class {
    /// The utilisation that the points stand for: the middle of the class where nobody noted another.
    pub fn measured(&self) -> f64 {
        let Range { from, to } = self.utilisation;
        let middle = if to.is_finite() { (from + to) / 2.0 } else { from.max(0.5) * 1.1 };
        self.measured.unwrap_or(middle)
    }

    /// The point of a setting.
    pub fn find(&self, setting: Setting) -> Option<usize> {
        self.points.iter().position(|point| point.setting == setting)
    }
}

/// All that was measured for an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// The application, one word.
    pub application: String,
    /// Differences below these parts of the figures are noise.
    pub noise: Noise,
    /// Operations a second that make a utilisation of 1.
    pub capacity_per_s: f64,
    /// The classes; at least one.
    pub classes: Vec<Class>,
}

impl Points {
    /// The class of a load: the one that contains it, or else the nearest one (the first when they tie).
    pub fn class_of(&self, arrival_per_s: f64, connections: f64) -> usize {
        let utilisation = arrival_per_s / self.capacity_per_s;
        let inside = |class: &Class| {
            class.utilisation.contains(utilisation) && class.connections.contains(connections)
        };
        if let Some(index) = self.classes.iter().position(inside) {
            return index;
        }
        let distance =
            |class: &Class| class.utilisation.distance(utilisation) + class.connections.distance(connections);
        let mut best = 0;
        for (index, class) in self.classes.iter().enumerate().skip(1) {
            if distance(class) < distance(&self.classes[best]) {
                best = index;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn class(utilisation: (f64, f64), connections: (f64, f64)) -> Class {
        let range = |(from, to)| Range { from, to };
        Class {
            name: "x".into(),
            kind: LoadKind::Open,
            utilisation: range(utilisation),
            connections: range(connections),
            measured: None,
            points: vec![],
        }
    }

    #[test]
    fn a_load_belongs_to_the_class_around_it_or_the_nearest() {
        let points = Points {
            application: "kv".into(),
            noise: Noise::same(0.02),
            capacity_per_s: 1000.0,
            classes: vec![
                class((0.0, 0.3), (0.0, 4.0)),
                class((0.3, f64::INFINITY), (0.0, 4.0)),
                class((0.3, 0.9), (4.0, f64::INFINITY)),
            ],
        };
        assert_eq!(points.class_of(100.0, 1.0), 0);
        assert_eq!(points.class_of(300.0, 1.0), 1);
        assert_eq!(points.class_of(400.0, 4.0), 2);
        assert_eq!(points.class_of(950.0, 400.0), 2);
        assert_eq!(points.class_of(0.0, 0.0), 0);
    }
}
