//! Working points, measured: each setting in short blocks, in random order, with what the clients perceived.
//!
//! A machine drifts, and neighbours come and go. One long run after the other would hand each setting another machine;
//! so every round runs all settings once, shuffled, and what the rounds of a setting differ by is its noise. What the
//! server saw stands beside what its clients perceived. Limits: one load, one class; what a setting that does
//! not halt uses beyond one that does is its idle share, so that core time is exact at this load and an estimate at
//! others.

mod block;
mod shuffle;
mod summary;

pub use block::{Block, Load, Seen};
pub use shuffle::shuffled;
pub use summary::{Noise, Profile};

use crate::quiet;
use nom_machine::trouble::{Outcome, Trouble};
use nom_points::Setting;
use std::time::Duration;

/// More of the machine than this busy with other work before a block: the block counts as disturbed.
const DISTURBED: f64 = 0.25;
/// Looks for that before a block is measured all the same.
const LOOKS: u32 = 8;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What serves, one word.
    pub application: String,
    /// The settings.
    pub settings: Vec<Setting>,
    /// Rounds: so many blocks of each setting.
    pub rounds: usize,
    /// How long a block of the open loop lasts.
    pub block: Duration,
    /// How long a block under a flood lasts, which measures what can be served at most.
    pub capacity_block: Duration,
    /// How long each look before a block lasts, for other work on the machine.
    pub look: Duration,
    /// Requests a second of the open loop.
    pub rate: f64,
    /// The contract's limit, so that late operations are counted above exactly it.
    pub limit_ns: Option<u64>,
    /// The order of the blocks is a function of it.
    pub seed: u64,
}

/// What can be measured: a service that is started anew for every block.
pub trait Subject {
    /// Serves this load with this setting for so long.
    fn block(&mut self, setting: Setting, load: Load, duration: Duration) -> Outcome<Block>;
}

/// Measures. `progress` gets a line for each block.
pub fn measure(plan: &Plan, subject: &mut dyn Subject, progress: &mut dyn FnMut(&str)) -> Outcome<Profile> {
    if plan.settings.is_empty() || plan.rounds == 0 {
        return Err(Trouble::new("nothing to measure: name settings and rounds"));
    }
    let mut seen: Vec<Seen> = plan.settings.iter().map(|setting| Seen::new(*setting)).collect();
    let (mut done, of) = (0, plan.rounds * plan.settings.len() * 2);
    let mut disturbed = 0;
    for round in 0..plan.rounds {
        let turns = plan.settings.len() * 2;
        for turn in shuffled(turns, plan.seed.wrapping_add(round as u64)) {
            let (place, load, duration) = match turn % 2 {
                0 => (turn / 2, Load::Open { per_s: plan.rate }, plan.block),
                _ => (turn / 2, Load::Flood, plan.capacity_block),
            };
            let busy = quiet::wait_for_quiet(DISTURBED, plan.look, LOOKS);
            let noisy = busy >= DISTURBED;
            disturbed += usize::from(noisy);
            let block = subject.block(plan.settings[place], load, duration)?;
            done += 1;
            progress(&format!(
                "{done}/{of} {} {}{}",
                plan.settings[place],
                block.line(load),
                if noisy {
                    format!(" [{:.0}% of the machine was busy before]", busy * 100.0)
                } else {
                    String::new()
                },
            ));
            seen[place].take(load, block);
        }
    }
    Profile::new(plan, seen, disturbed, of)
}
