//! Trying other settings while serving: carefully, within a budget, and visibly.
//!
//! A setting of which too little is known, or that has not been seen for long, may be better than the one in force. It
//! is tried for a few windows, neighbours first, if what it may cost fits into the budget: a part of what was earned
//! within the last hour. Its cost is what the present setting would have earned meanwhile, and every line says it. A
//! trial ends at once when the promise is in danger, when it loses more than was risked, and when prices or load move.

use super::{Decision, Quoted, Tuner};
use crate::choose::estimate;
use crate::explain::{Hourly, Why};
use crate::known::KNOWN_WINDOWS;
use crate::trial::{DISTRUSTED_MAX, Distrusted};
use crate::{Mode, Rules};
use alloc::format;
use nom_money::NANO;
use nom_points::{Batching, Class, Measured, Point, Setting};

/// What was earned and lost counts for so long.
const BUDGET_NS: f64 = 3600.0 * NANO as f64;
/// A setting of which nothing is known is taken to lose at least this part of the revenue.
const UNKNOWN_RISK: f64 = 0.1;
/// A trial ends when it lost so many times what was risked.
const LOSS_MOST: f64 = 2.0;
/// A trial is judged by whole windows, so it may lose a little more than it should: a part is kept back for that.
const KEPT_BACK: f64 = 0.8;
/// More than this part late, where the promise is a limit of latency, is danger.
const LATE_MOST: f64 = 0.01;

/// A setting that is being tried.
#[derive(Debug, Clone, Copy)]
struct Visit {
    home: Setting,
    accounted_ns: u64,
    windows: u32,
    /// What it may lose, and what it lost, in dollars.
    risk: f64,
    lost: f64,
}

/// What trying costs, and what it may cost.
#[derive(Debug, Clone, Default)]
pub(super) struct Explorer {
    visit: Option<Visit>,
    /// Dollars within about an hour.
    earned: f64,
    lost: f64,
    at_ns: u64,
}

impl Explorer {
    /// What may still be lost.
    fn left(&self, rules: &Rules) -> f64 {
        self.earned * f64::from(rules.explore_millionths) / 1e6 * KEPT_BACK - self.lost
    }

    fn forget(&mut self, now_ns: u64) {
        let kept = 1.0 / (1.0 + now_ns.saturating_sub(self.at_ns) as f64 / BUDGET_NS);
        self.earned *= kept;
        self.lost *= kept;
        self.at_ns = now_ns;
    }
}

fn seconds(duration_ns: u64) -> f64 {
    duration_ns as f64 / NANO as f64
}

/// How long frames gather.
fn held_ns(setting: Setting) -> f64 {
    match setting {
        Setting::Serve { batching: Batching::Hold { delay_ns }, .. } => delay_ns as f64,
        _ => 0.0,
    }
}

impl Tuner {
    /// What trying other settings has cost within the last hour, and what it may cost, in dollars.
    pub fn explored(&self) -> (f64, f64) {
        (self.explorer.lost, self.explorer.left(&self.rules).max(0.0))
    }

    /// Whether settings of the class are still to be tried although none that is known pays. Stopping would end the
    /// search, so it waits as long as the budget lasts.
    pub(super) fn is_looking_for_better(&self, class: usize) -> bool {
        self.rules.explores()
            && self.explorer.left(&self.rules) >= 0.0
            && self.known[class].iter().any(|known| !known.is_known())
    }

    pub(super) fn is_exploring(&self) -> bool {
        self.explorer.visit.is_some()
    }

    /// Something moved: what is being tried cannot be judged any more.
    pub(super) fn break_off(&mut self, now_ns: u64, what: &str) -> Option<Decision> {
        let visit = self.explorer.visit.take()?;
        // What it cost was not seen: it counts as all that was risked, so that prices that flap do not try for free.
        self.explorer.lost += visit.risk - visit.lost.min(visit.risk);
        let why = Why::Said(format!("end trying {} -> {}: {what} moved", self.setting, visit.home));
        self.put(visit.home, now_ns);
        Some(Decision { change: Some(visit.home), why })
    }

    /// Takes a window into the account, and ends a trial whose time has come.
    pub(super) fn account(&mut self, now_ns: u64, class: usize, seen: &Measured) -> Option<Decision> {
        self.explorer.forget(now_ns);
        let prices = self.prices?;
        let load = &self.points.classes[class];
        let arrival = self.arrival_per_s;
        let evaluator = self.contract.at(&prices);
        let of = |setting: Setting| {
            load.find(setting).map(|place| estimate(&evaluator, load.kind, arrival, &load.points[place]))
        };
        let here = of(self.setting)?;
        self.explorer.earned += here.profit.revenue.max(0.0) * seconds(seen.window_ns);
        // Serving at a loss while something better is looked for costs what serving nothing would have saved.
        if self.explorer.visit.is_none() && self.known[class].iter().any(|known| !known.is_known()) {
            self.explorer.lost += (-here.profit.total()).max(0.0) * seconds(seen.window_ns);
        }
        let mut visit = self.explorer.visit?;
        let home = of(visit.home)?;
        let loss = (home.profit.total() - here.profit.total()).max(0.0)
            * seconds(now_ns.saturating_sub(visit.accounted_ns));
        visit.accounted_ns = now_ns;
        visit.windows += 1;
        visit.lost += loss;
        self.explorer.lost += loss;
        self.explorer.visit = Some(visit);
        let danger = !here.within(&self.rules)
            || self.rules.latency_max_ns.is_some_and(|most| {
                let late = seen.late as f64 > LATE_MOST * seen.measured as f64;
                seen.mean_ns > most as f64 || late && self.contract.limit_ns() == Some(most)
            });
        let dear = visit.lost > LOSS_MOST * visit.risk || self.explorer.left(&self.rules) < 0.0;
        if !danger && !dear && visit.windows < self.rules.explore_windows {
            return None;
        }
        self.explorer.visit = None;
        let better = here.profit.total() > home.profit.total();
        if (danger || dear) && self.distrusted.len() < DISTRUSTED_MAX {
            let until_ns = now_ns.saturating_add(self.rules.distrust_ns);
            self.distrusted.push(Distrusted { setting: self.setting, class, until_ns });
        }
        let stays = better && !danger;
        let verdict = match (stays, danger, dear) {
            (true, ..) => "it stays",
            (_, true, _) => "back, since it breaks a limit",
            (_, _, true) => "back, since it loses more than was risked",
            _ => "back",
        };
        let why = Why::Said(format!(
            "tried {} instead of {} for {} windows in class {}: it earns {} where the other earns {}; that cost {:.9} $, \
             {:.9} $ are left for trying; {verdict}",
            self.setting,
            visit.home,
            visit.windows,
            load.name,
            Hourly(here.profit.total()),
            Hourly(home.profit.total()),
            visit.lost,
            self.explorer.left(&self.rules).max(0.0),
        ));
        if stays {
            return Some(Decision { change: None, why });
        }
        self.put(visit.home, now_ns);
        Some(Decision { change: Some(visit.home), why })
    }

    /// Begins to try a setting, when there is one that is worth it and the budget allows it.
    pub(super) fn explore(&mut self, now_ns: u64, class: usize, quoted: &Quoted) -> Option<Decision> {
        let (seen, _) = self.seen?;
        let quiet = self.trial.is_none()
            && self.explorer.visit.is_none()
            && self.better_since_ns.is_none()
            && now_ns >= self.looking_until_ns
            && self.changed_ns.is_none_or(|changed| now_ns.saturating_sub(changed) >= self.stay_ns);
        if !self.rules.explores() || self.rules.mode != Mode::On || !quiet {
            return None;
        }
        let dwell_ns = self.rules.settle_ns + seen.window_ns * (u64::from(self.rules.explore_windows) + 1);
        let (setting, risk) = self.worth_trying(now_ns, class, quoted, seconds(dwell_ns))?;
        let home = self.setting;
        let left = self.explorer.left(&self.rules);
        self.put(setting, now_ns);
        self.explorer.visit = Some(Visit { home, accounted_ns: now_ns, windows: 0, risk, lost: 0.0 });
        let why = Why::Said(format!(
            "try {home} -> {setting} in class {}: it may cost {risk:.9} $ of {left:.9} $ that are left for trying",
            self.points.classes[class].name,
        ));
        Some(Decision { change: Some(setting), why })
    }

    /// The nearest setting that may be better, if what it may cost is left: with that cost.
    fn worth_trying(
        &self,
        now_ns: u64,
        class: usize,
        quoted: &Quoted,
        dwell_s: f64,
    ) -> Option<(Setting, f64)> {
        let scales = self.scales(class, quoted);
        let (load, known, arrival) = (scales.load, scales.known, self.arrival_per_s);
        let present = scales.present?;
        let now = estimate(&scales.evaluator, load.kind, arrival, &load.points[present]);
        let left = self.explorer.left(&self.rules);
        let mut order: alloc::vec::Vec<usize> =
            (0..load.points.len()).filter(|place| *place != present).collect();
        order.sort_by_key(|place| place.abs_diff(present));
        for place in order {
            let (point, what) = (&load.points[place], &known[place]);
            let distrusted =
                self.distrusted.iter().any(|bad| bad.setting == point.setting && bad.class == class);
            let windows = what.windows(now_ns, self.rules.forget_ns);
            if distrusted || windows >= KNOWN_WINDOWS * 2.0 && what.is_known() {
                continue;
            }
            let loss = if what.is_known() {
                let part = what.alone();
                let at = |sign: f64| {
                    let moved = moved(point, &scales.spread.unwrap_or(scales.noise), part * sign);
                    estimate(&scales.evaluator, load.kind, arrival, &moved)
                };
                let (best, worst) = (at(-1.0), at(1.0));
                if best.profit.total() <= now.profit.total() || !worst.within(&self.rules) {
                    continue;
                }
                now.profit.total() - worst.profit.total()
            } else {
                let Some(near) = self.nearest(load, class, place) else { continue };
                let like = estimate(&scales.evaluator, load.kind, arrival, near);
                let later = (held_ns(point.setting) - held_ns(near.setting)).max(0.0);
                if self.rules.latency_max_ns.is_some_and(|most| like.latency_ns + later > most as f64 / 2.0) {
                    continue;
                }
                UNKNOWN_RISK * now.profit.revenue.max(0.0) + now.profit.total() - like.profit.total()
            };
            let risk = loss.max(0.0) * dwell_s;
            if risk <= left {
                return Some((point.setting, risk));
            }
        }
        None
    }

    /// The known point that is nearest to a place.
    fn nearest<'a>(&self, load: &'a Class, class: usize, place: usize) -> Option<&'a Point> {
        (0..load.points.len())
            .filter(|other| self.known[class][*other].is_known())
            .min_by_key(|other| other.abs_diff(place))
            .map(|other| &load.points[other])
    }
}

/// A point whose figures are all worse (or better, below zero) by so many deviations of a window.
fn moved(point: &Point, spread: &nom_points::Noise, times: f64) -> Point {
    const MOST: f64 = 0.9;
    let by = |value: f64, part: f64| value * (1.0 + (part * times).clamp(-MOST, MOST));
    Point {
        core_ns: by(point.core_ns, spread.cores),
        wire_bytes: by(point.wire_bytes, spread.bytes),
        mean_ns: by(point.mean_ns, spread.latency),
        jitter_ns: by(point.jitter_ns, spread.latency),
        ..point.clone()
    }
}
