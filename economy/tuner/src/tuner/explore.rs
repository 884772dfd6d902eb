//! Trying other settings while serving: carefully, within a budget, and visibly.
//!
//! A setting of which too little is known, or that has not been seen for long, may be better than the one in force. It
//! is tried for a few windows, never further than one step beyond what was seen, if what may be gained by it for as long
//! as it is remembered is more than what trying costs, and if that fits into the budget: a part of what is earned within
//! an hour. Its cost is what the present setting would have earned meanwhile, and every line says it: where the present
//! one earns nothing, trying another costs nothing. A trial ends at once when the promise is in danger, when it loses
//! more than was risked, and when prices or load move.

use super::weigh::{HOPED, Outlook, Scales};
use super::{Decision, Quoted, Tuner};
use crate::choose::{Estimate, estimate};
use crate::explain::{Hourly, Why};
use crate::trial::{DISTRUSTED_MAX, Distrusted};
use crate::{Mode, Rules};
use alloc::format;
use nom_money::{NANO, Prices, print_duration};
use nom_points::{Measured, Setting};
use nom_utility::Flow;

/// What was earned and lost counts for so long.
const BUDGET_NS: f64 = 3600.0 * NANO as f64;
/// At the start the budget is that of so long a time of what users would pay at best.
const CREDIT_S: f64 = 300.0;
/// What is found counts for this part of the time in which it is forgotten.
const REMEMBERED: f64 = 0.1;
/// What was tried is tried again after this part of that time, if it is worth it then.
const AGAIN: f64 = 0.05;
/// What may be gained must be this part of the revenue.
const GAIN_LEAST: f64 = 0.001;
/// A limit of latency must be kept although it may be so many deviations longer.
const DOUBTED: f64 = 2.0;
/// A trial ends when it lost so many times what was risked.
const LOSS_MOST: f64 = 2.0;
/// What is tried is looked at in shorter windows, so that what is clearly worse is left soon; it is after so many.
pub(super) const TRIED_WINDOW_NS: u64 = 500_000_000;
const CLEAR_WINDOWS: u64 = 2;
/// A trial ends early when it is better or worse by so many deviations.
const DECIDED: f64 = 2.0;
/// A trial is judged by whole windows, so it may lose a little more than it should: a part is kept back for that.
const KEPT_BACK: f64 = 0.8;
/// More than this part late, where the promise is a limit of latency, is danger.
const LATE_MOST: f64 = 0.01;

/// A setting that is being tried.
#[derive(Debug, Clone, Copy)]
struct Visit {
    home: Setting,
    accounted_ns: u64,
    /// How long it was seen.
    seen_ns: u64,
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
    /// What would be earned in the first time, if users paid at best.
    credit: f64,
    at_ns: u64,
}

impl Explorer {
    /// What may still be lost.
    fn left(&self, rules: &Rules) -> f64 {
        self.earned.max(self.credit) * f64::from(rules.explore_millionths) / 1e6 * KEPT_BACK - self.lost
    }

    fn forget(&mut self, now_ns: u64) {
        let kept = 1.0 / (1.0 + now_ns.saturating_sub(self.at_ns) as f64 / BUDGET_NS);
        self.earned *= kept;
        self.lost *= kept;
        self.credit *= kept;
        self.at_ns = now_ns;
    }
}

fn seconds(duration_ns: u64) -> f64 {
    duration_ns as f64 / NANO as f64
}

impl Tuner {
    /// What trying other settings has cost within the last hour, and what it may cost, in dollars.
    pub fn explored(&self) -> (f64, f64) {
        (self.explorer.lost, self.explorer.left(&self.rules).max(0.0))
    }

    /// Whether a setting that is worth trying may pay although none that is known does. Stopping would end the search,
    /// so it waits as long as the budget lasts.
    pub(super) fn is_looking_for_better(&self, now_ns: u64, class: usize, quoted: &Quoted) -> bool {
        if !self.rules.explores() || self.rules.mode != Mode::On || self.explorer.left(&self.rules) < 0.0 {
            return false;
        }
        let (scales, arrival) = (self.scales(class, quoted), self.arrival_per_s);
        let now = scales.current(arrival).map_or(0.0, |now| now.profit.total());
        let nothing = Estimate::holding(&scales.evaluator, self.held[class]).profit.total();
        if now > nothing {
            return false;
        }
        let Some(learnt) = scales.learnt else { return false };
        let pays = |place: usize| {
            let Outlook { gain, hope, .. } = scales.outlook(learnt, place, arrival);
            now + gain + HOPED * hope > nothing
        };
        (0..scales.load.points.len())
            .any(|place| !scales.is_told(place) || self.may_try(now_ns, &scales, place) && pays(place))
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
        // It is no choice that has to prove itself: what moved may ask for another setting at once.
        self.stay_ns = 0;
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
        let ideal = Flow {
            latency_mean_ns: here.flow.cores * 1e9 / here.flow.operations_per_s.max(1.0),
            late: 0.0,
            latency_jitter_ns: 0.0,
            ..here.flow
        };
        // A quiet hour does not take back what a busy one allowed.
        let credit = evaluator.evaluate(&ideal).revenue.max(0.0) * CREDIT_S;
        self.explorer.credit = self.explorer.credit.max(credit);
        let Some(mut visit) = self.explorer.visit else {
            // Serving at a loss while something better is looked for costs what serving nothing would have saved.
            if self.rules.may_stop {
                self.explorer.lost += (-here.profit.total()).max(0.0) * seconds(seen.window_ns);
            }
            return None;
        };
        let home = of(visit.home)?;
        let loss = (home.profit.total() - here.profit.total()).max(0.0)
            * seconds(now_ns.saturating_sub(visit.accounted_ns));
        visit.accounted_ns = now_ns;
        visit.seen_ns += seen.window_ns;
        visit.lost += loss;
        self.explorer.lost += loss;
        self.explorer.visit = Some(visit);
        let danger = !here.within(&self.rules)
            || self.rules.latency_max_ns.is_some_and(|most| {
                let late = seen.late as f64 > LATE_MOST * seen.measured as f64;
                seen.mean_ns > most as f64 || late && self.contract.limit_ns() == Some(most)
            });
        let dear = visit.lost > LOSS_MOST * visit.risk || self.explorer.left(&self.rules) < 0.0;
        let decided = self.is_decided(class, visit.home, &prices);
        if !danger && !dear && !decided && visit.seen_ns < self.rules.explore_ns {
            return None;
        }
        self.explorer.visit = None;
        if let Some(place) = load.find(self.setting) {
            self.known[class][place].tried_ns = Some(now_ns);
        }
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
            "tried {} instead of {} for {} in class {}: it earns {} where the other earns {}; that cost {:.9} $, \
             {:.9} $ are left for trying; {verdict}",
            self.setting,
            visit.home,
            print_duration(visit.seen_ns),
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

    /// Whether more windows of what is tried would hardly change the verdict.
    fn is_decided(&self, class: usize, home: Setting, prices: &Prices) -> bool {
        let quoted = Quoted { prices: *prices, generation: 0, valid_until_ns: 0 };
        let mut scales = self.scales(class, &quoted);
        let (Some(learnt), Some(home)) = (scales.learnt, scales.load.find(home)) else { return false };
        scales.present = scales.load.find(self.setting);
        let Outlook { gain, deviation, .. } = scales.outlook(learnt, home, self.arrival_per_s);
        gain.abs() > DECIDED * deviation
    }

    /// Begins to try a setting, when there is one that is worth it and the budget allows it.
    pub(super) fn explore(&mut self, now_ns: u64, class: usize, quoted: &Quoted) -> Option<Decision> {
        self.seen?;
        let quiet = self.trial.is_none()
            && self.explorer.visit.is_none()
            && self.better_since_ns.is_none()
            && now_ns >= self.looking_until_ns
            && self.announced_in_ns(now_ns) > self.rules.settle_ns + self.rules.explore_ns
            && self.changed_ns.is_none_or(|changed| now_ns.saturating_sub(changed) >= self.stay_ns);
        if !self.rules.explores() || self.rules.mode != Mode::On || !quiet {
            return None;
        }
        // What is clearly worse is left after a few short windows.
        let dwell_ns = self.rules.settle_ns + CLEAR_WINDOWS * TRIED_WINDOW_NS;
        let (setting, risk) = self.worth_trying(now_ns, class, quoted, seconds(dwell_ns))?;
        let home = self.setting;
        let left = self.explorer.left(&self.rules);
        self.put(setting, now_ns);
        self.explorer.visit = Some(Visit { home, accounted_ns: now_ns, seen_ns: 0, risk, lost: 0.0 });
        let why = Why::Said(format!(
            "try {home} -> {setting} in class {}: it may cost {risk:.9} $ of {left:.9} $ that are left for trying",
            self.points.classes[class].name,
        ));
        Some(Decision { change: Some(setting), why })
    }

    /// The setting that is worth trying most, if what it may cost is left: with that cost.
    fn worth_trying(
        &self,
        now_ns: u64,
        class: usize,
        quoted: &Quoted,
        dwell_s: f64,
    ) -> Option<(Setting, f64)> {
        let (scales, arrival) = (self.scales(class, quoted), self.arrival_per_s);
        let learnt = scales.learnt?;
        let present = scales.present?;
        // What it is compared with must be known first.
        if !scales.known[present].is_known() {
            return None;
        }
        let now = scales.current(arrival)?.profit;
        let revenue = now.revenue.max(0.0);
        // Who loses money could stop instead: only what may earn more than nothing is worth its trial then.
        let nothing = Estimate::holding(&scales.evaluator, self.held[class]).profit.total();
        let short = if self.rules.may_stop { (nothing - now.total()).max(0.0) } else { 0.0 };
        let left = self.explorer.left(&self.rules);
        let remembered_s = seconds(self.rules.forget_ns) * REMEMBERED;
        let mut most: Option<(f64, Setting, f64)> = None;
        for place in (0..scales.load.points.len()).filter(|place| *place != present) {
            if !self.may_try(now_ns, &scales, place) {
                continue;
            }
            let Outlook { gain, deviation, hope } = scales.outlook(learnt, place, arrival);
            let found = expected_gain(gain - short, if short > 0.0 { hope } else { deviation });
            let risk = expected_gain(-gain, deviation) * dwell_s;
            let worth = found * remembered_s - (-gain).max(0.0) * dwell_s;
            if found > GAIN_LEAST * revenue
                && worth > 0.0
                && risk <= left
                && most.is_none_or(|(most, ..)| worth / risk > most)
            {
                // The budget is what is short: the most for what it may cost.
                most = Some((worth / risk, scales.load.points[place].setting, risk));
            }
        }
        most.map(|(_, setting, risk)| (setting, risk))
    }

    /// Whether a setting may be tried at all: it is no step into the dark, and keeps the owner's limits as far as is known.
    fn may_try(&self, now_ns: u64, scales: &Scales<'_>, place: usize) -> bool {
        let Some(learnt) = scales.learnt else { return false };
        // What was found is remembered: it is not looked for again meanwhile.
        let again_ns = (self.rules.forget_ns as f64 * AGAIN) as u64;
        let tried = scales.known[place].tried_ns;
        let again = tried.is_none_or(|tried_ns| now_ns.saturating_sub(tried_ns) >= again_ns);
        if !again || scales.is_distrusted(place) || !learnt.is_near(scales.class, place) {
            return false;
        }
        let (point, arrival) = (&scales.load.points[place], self.arrival_per_s);
        let slower = learnt
            .doubt(scales.class, None, place, arrival, None)
            .map_or(0.0, |doubt| doubt.mean_ns * DOUBTED);
        let worst = nom_points::Point { mean_ns: point.mean_ns + slower, ..point.clone() };
        estimate(&scales.evaluator, scales.load.kind, arrival, &worst).within(&self.rules)
    }
}

/// What a normal gain brings on average, where a loss is not taken.
fn expected_gain(gain: f64, deviation: f64) -> f64 {
    if deviation <= 0.0 {
        return gain.max(0.0);
    }
    let z = gain / deviation;
    let density = libm::exp(-0.5 * z * z) / libm::sqrt(core::f64::consts::TAU);
    let above = 0.5 * libm::erfc(-z / core::f64::consts::SQRT_2);
    deviation * density + gain * above
}
