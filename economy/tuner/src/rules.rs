//! What the owner allows, and how careful the tuner is.

use nom_money::Spending;
use nom_points::{Batching, Setting, Wait};

/// Whether the tuner acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is silent and changes nothing.
    Off,
    /// It says what it would do.
    Observe,
    /// It acts.
    On,
}

/// The owner's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether the tuner acts.
    pub mode: Mode,
    /// The setting at the start. Nothing returns to it later.
    pub start: Setting,
    /// Whether serving nothing may be chosen.
    pub may_stop: bool,
    /// Longest time to serve nothing before serving again to see the load, when under some load serving would pay.
    /// (When it pays under no load, only a price can change that, and prices are seen.)
    pub stop_max_ns: u64,
    /// How long to serve then, at least.
    pub look_ns: u64,
    /// Without hysteresis every better point is taken at once: for tests and comparisons.
    pub hysteresis: bool,
    /// For how long a new setting is expected to stay: a gain counts for that long.
    pub expected_stay_ns: u64,
    /// What a change costs: that long a time's revenue of the setting that is left.
    pub change_cost_ns: u64,
    /// No further change sooner than this after one, except for a new price, a limit or a return.
    pub stay_min_ns: u64,
    /// No further change sooner than this after one even when a new price asks for it: prices may flap.
    pub price_stay_min_ns: u64,
    /// Without a new price or load class, another setting must be the better one for this long without a break.
    pub better_for_ns: u64,
    /// A gain must be one also if so many percent more or fewer arrive than are seen: what arrives is never seen
    /// exactly, and two settings that are about even at this load would take turns.
    pub arrivals_margin_percent: u32,
    /// A new load class must be seen for this long before it counts.
    pub class_dwell_ns: u64,
    /// After a change, what is seen for this long is not judged and not learnt from.
    pub settle_ns: u64,
    /// A measured window is judged and learnt from only with at least this many operations.
    pub judge_operations: u64,
    /// A change is taken back when it earned less than what was before in so many windows in a row.
    pub return_windows: u32,
    /// A setting that earned less than it promised is not tried again under this load for this long.
    pub distrust_ns: u64,
    /// How long after its end an outdated price still counts, before the average does.
    pub grace_ns: u64,
    /// Points follow what is seen; otherwise they stay as they were profiled.
    pub learn: bool,
    /// What was seen so long ago counts for half.
    pub forget_ns: u64,
    /// What trying other settings may cost: that many millionths of an hour's revenue; 0 means that none is tried.
    pub explore_millionths: u32,
    /// How long a setting is tried at most.
    pub explore_ns: u64,
    /// Hard limit on what is spent.
    pub spending_max: Option<Spending>,
    /// Hard limit on latency: the 99th percentile where it was measured, else the mean.
    pub latency_max_ns: Option<u64>,
}

impl Rules {
    /// Points follow what is seen, and no other setting is tried.
    pub fn following(self) -> Self {
        Self { learn: true, ..self }
    }

    /// Points follow what is seen, and a hundredth of the revenue may be spent on trying others.
    pub fn online(self) -> Self {
        Self { explore_millionths: 10_000, ..self.following() }
    }

    pub(crate) fn explores(&self) -> bool {
        self.learn && self.explore_millionths > 0
    }
}

impl Default for Rules {
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Self {
            mode: Mode::On,
            start: Setting::serve(Wait::Halt, Batching::RunToCompletion),
            may_stop: true,
            stop_max_ns: 60_000 * MS,
            look_ns: 1_000 * MS,
            hysteresis: true,
            expected_stay_ns: 10_000 * MS,
            change_cost_ns: 10 * MS,
            stay_min_ns: 2_000 * MS,
            price_stay_min_ns: 100 * MS,
            better_for_ns: 300 * MS,
            arrivals_margin_percent: 10,
            class_dwell_ns: 20 * MS,
            settle_ns: 200 * MS,
            judge_operations: 1_000,
            return_windows: 2,
            distrust_ns: 60_000 * MS,
            grace_ns: 60_000 * MS,
            learn: false,
            forget_ns: 600_000 * MS,
            explore_millionths: 0,
            explore_ns: 3_000 * MS,
            spending_max: None,
            latency_max_ns: None,
        }
    }
}
