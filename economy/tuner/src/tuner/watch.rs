//! What is seen while a setting is in force: whether it earns what the one before earned, and whether its point holds.

use super::{Decision, Tuner};
use crate::Mode;
use crate::choose::{Held, lateness};
use crate::explain::{Hourly, Why};
use crate::learn::Window;
use crate::trial::{DISTRUSTED_MAX, Distrusted, judge};
use alloc::format;
use nom_money::print_duration;
use nom_points::{Measured, Setting};

/// A server that sees another latency than the profiled clients by more than this part says so.
const DISAGREEMENT_MAX: f64 = 0.1;
/// A change is judged by deviations of so many windows.
const JUDGED: f64 = 2.0;
/// Points are told anew when the load has moved by this part.
const TOLD_AGAIN: f64 = 0.03;
/// Settings of which that was said; of more it is not said.
const SAID_MAX: usize = 64;

impl Tuner {
    /// Takes what was measured in a window under the present setting: judges the last change by it, and refines the
    /// point. Call it once a window; a window in which the setting changed must not be given.
    pub fn observe(&mut self, now_ns: u64, seen: &Measured) -> Option<Decision> {
        let settled =
            self.changed_ns.is_none_or(|changed| now_ns >= changed + self.rules.settle_ns + seen.window_ns);
        if let (Some(prices), false) = (&self.prices, self.outdated) {
            self.usual.held(now_ns, prices);
        }
        let class = self.class?;
        if self.rules.mode == Mode::Off
            || self.setting == Setting::Nothing
            || !settled
            || self.other_class.is_some()
            || seen.measured < self.rules.judge_operations
        {
            return None;
        }
        let seen = &self.sighted(class, seen);
        self.seen = Some((*seen, self.arrival_per_s));
        if self.rules.learn {
            self.learn(now_ns, class, seen);
            if self.rules.explores() {
                let said = self.account(now_ns, class, seen);
                if said.is_some() || self.is_exploring() {
                    return said;
                }
            }
        }
        self.judge(now_ns, class, seen)
            .or_else(|| self.lost_sight())
            .or_else(|| self.disagreement(class, seen))
    }

    /// What was seen, as far as it can be true. A profile is the better witness where there is one, see [`Self::learn`].
    fn sighted(&mut self, class: usize, seen: &Measured) -> Measured {
        let place = self.points.classes[class].find(self.setting);
        if place.is_none_or(|place| self.known[class][place].was_profiled()) {
            return *seen;
        }
        self.sight.look(class, self.setting, seen);
        self.sight.corrected(seen)
    }

    /// Says once that the server does not see its latency.
    fn lost_sight(&mut self) -> Option<Decision> {
        let times = self.sight.news()?;
        let why = Why::Said(format!(
            "{}: more requests wait here than the latency seen here allows; until both agree again, {times:.1} times what is \
             seen counts: look at the stamps of arrivals, or profile",
            self.setting
        ));
        Some(Decision { change: None, why })
    }

    /// Learns from what was seen of the present setting, and tells it to the points.
    fn learn(&mut self, now_ns: u64, class: usize, seen: &Measured) {
        let limit_ns = self.contract.limit_ns();
        let Some(place) = self.points.classes[class].find(self.setting) else { return };
        let (Some(learnt), true) = (&mut self.learnt, seen.operations > 0) else { return };
        let (point, known) = (&self.points.classes[class].points[place], &mut self.known[class][place]);
        let drowned = learnt.is_drowned(class, place, seen.arrivals_per_s());
        let hidden_ns = known.hidden_ns(point.mean_ns, seen.mean_ns, drowned);
        // What clients wait is what the server sees and what it cannot see.
        let credible = drowned || known.is_credible(point.mean_ns, seen.mean_ns);
        let seen = match credible {
            true => Measured { mean_ns: seen.mean_ns + hidden_ns, ..*seen },
            // Its latencies are not learnt; what it uses is billed, and so is.
            false => Measured { mean_ns: point.mean_ns, measured: 0, late: 0, ..*seen },
        };
        if known.was_seen() && !drowned {
            let each = |count: u64| count as f64 / seen.operations as f64;
            self.spread.saw(seen.window_ns, point, seen.mean_ns, each(seen.core_ns), each(seen.wire_bytes));
        }
        let spread = self.spread.of(seen.window_ns);
        let window = Window { seen: &seen, idle_cores: point.idle_cores, spread: &spread, limit_ns };
        learnt.saw(now_ns, (class, place), &window, self.rules.forget_ns);
        known.saw();
        self.told = None;
        self.tell(class);
        self.held[class] = Held::of(&self.points.classes[class]);
    }

    /// Tells the points of a class what is expected under the present load, when that or what is learnt has moved.
    pub(super) fn tell(&mut self, class: usize) {
        let Some(learnt) = &self.learnt else { return };
        let arrival = self.arrival_per_s;
        let near = |told: f64| (arrival - told).abs() <= TOLD_AGAIN * told;
        if self.told.is_some_and(|(of, told)| of == class && near(told)) {
            return;
        }
        self.told = Some((class, arrival));
        let (limit_ns, capacity_per_s) = (self.contract.limit_ns(), self.points.capacity_per_s);
        for (place, point) in self.points.classes[class].points.iter_mut().enumerate() {
            if learnt.tell((class, place), arrival, limit_ns, capacity_per_s, point) {
                self.known[class][place].late = lateness(limit_ns, point);
            }
        }
    }

    fn judge(&mut self, now_ns: u64, class: usize, seen: &Measured) -> Option<Decision> {
        let mut trial = self.trial.take()?;
        if trial.class != class || self.prices != Some(trial.prices) {
            return None;
        }
        let load = &self.points.classes[class];
        // Who learns knows how much windows differ.
        let noise = match self.rules.learn {
            true => self.points.noise.at_least(&self.spread.0, JUDGED),
            false => self.points.noise,
        };
        let (before, after, worse) =
            judge(&trial, self.setting, seen, self.arrival_per_s, load, &self.contract, &noise)?;
        if !worse {
            return None;
        }
        trial.worse += 1;
        if trial.worse < self.rules.return_windows {
            self.trial = Some(trial);
            return None;
        }
        let failed = self.setting;
        if self.distrusted.len() == DISTRUSTED_MAX {
            self.distrusted.remove(0);
        }
        let until_ns = now_ns.saturating_add(self.rules.distrust_ns);
        self.distrusted.push(Distrusted { setting: failed, class, until_ns });
        let why = Why::Said(format!(
            "return {failed} -> {}: it earns {} where {} was earned before at the same prices; not tried again in class {} for {}",
            trial.from,
            Hourly(after),
            Hourly(before),
            load.name,
            print_duration(self.rules.distrust_ns),
        ));
        self.put(trial.from, now_ns);
        Some(Decision { change: Some(trial.from), why })
    }

    /// Says once a setting that the server sees another latency than the clients had when its point was profiled.
    fn disagreement(&mut self, class: usize, seen: &Measured) -> Option<Decision> {
        let load = &self.points.classes[class];
        let point = &load.points[load.find(self.setting)?];
        let key = (class, self.setting);
        let difference_ns = seen.mean_ns - point.mean_ns;
        if difference_ns.abs() <= DISAGREEMENT_MAX * seen.mean_ns.max(point.mean_ns)
            || self.disagreed.contains(&key)
            || self.disagreed.len() == SAID_MAX
        {
            return None;
        }
        let what = if difference_ns < 0.0 {
            "what a server cannot see of its clients' latency is taken from the point"
        } else {
            "the point promises less than its clients have to wait: profile again"
        };
        let why = Why::Said(format!(
            "class {}, {}: the mean latency seen here is {}, of the profiled clients it was {}; {what}",
            load.name,
            self.setting,
            print_duration(seen.mean_ns as u64 / 1000 * 1000),
            print_duration(point.mean_ns as u64 / 1000 * 1000),
        ));
        self.disagreed.push(key);
        Some(Decision { change: None, why })
    }
}
