//! Prices and loads over time: the paper's two minutes, and days in the forms of three providers.

use nom_money::{PerByte, PerCoreNs, Prices};

/// Load and prices of a moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub arrival_per_s: f64,
    pub prices: Prices,
}

/// A course of prices.
#[derive(Debug, Clone)]
pub struct Course {
    pub name: &'static str,
    /// Seconds that it lasts; it begins again then.
    pub seconds: f64,
    /// From a second on.
    pub steps: Vec<(f64, Prices)>,
    /// Whether load follows the paper (many, then few) or the hours of a day.
    pub paper: bool,
}

impl Course {
    fn prices(&self, second: f64) -> Prices {
        let within = second % self.seconds;
        let place = self.steps.partition_point(|(from, _)| *from <= within).max(1) - 1;
        self.steps[place].1
    }

    /// The price that the whole course costs on average.
    pub fn middle(&self) -> Prices {
        let count = 200;
        let at = |place: i128| self.prices((place as f64 + 0.5) * self.seconds / count as f64);
        let mean = |of: &dyn Fn(&Prices) -> Option<i128>| {
            let sum: i128 = (0..count).filter_map(|place| of(&at(place))).sum();
            of(&at(0)).map(|_| sum / count)
        };
        Prices {
            bandwidth: mean(&|prices| prices.bandwidth.map(|rate| rate.0)).map(PerByte),
            core: mean(&|prices| prices.core.map(|rate| rate.0)).map(PerCoreNs),
            memory: None,
        }
    }

    /// What holds at a second, when prices, load or both move.
    pub fn at(&self, second: f64, moves: Moves, capacity_per_s: f64) -> Now {
        let part = (second % self.seconds) / self.seconds;
        let arrival_part = match (moves.load, self.paper) {
            (false, _) => 0.6,
            (true, true) => {
                if part < 0.5 {
                    1.1
                } else {
                    0.1
                }
            }
            // Few at night, many at noon and in the evening.
            (true, false) => [0.1, 0.1, 0.35, 0.8, 1.1, 0.8, 0.35, 1.1][(part * 8.0) as usize % 8],
        };
        Now {
            arrival_per_s: arrival_part * capacity_per_s,
            prices: if moves.price { self.prices(second) } else { self.middle() },
        }
    }
}

/// What moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    pub price: bool,
    pub load: bool,
}

pub const MOVES: [(&str, Moves); 3] = [
    ("price", Moves { price: true, load: false }),
    ("load", Moves { price: false, load: true }),
    ("both", Moves { price: true, load: true }),
];
