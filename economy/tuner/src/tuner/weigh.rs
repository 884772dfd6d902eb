//! Weighing another setting against the present one: whether it is better, surely better, and for long enough.

use super::{Decision, Quoted, Tuner};
use crate::choose::{Estimate, Present, best, estimate};
use crate::explain::{Hourly, Seen, Sides, bounded};
use crate::trial::Trial;
use crate::{Mode, Rules};
use alloc::format;
use nom_money::{NANO, print_duration};
use nom_points::{Class, Point, Setting};
use nom_utility::Evaluator;

/// Everything that one decision is made from.
struct Scales<'a> {
    evaluator: Evaluator,
    load: &'a Class,
    noise: f64,
    setting: Setting,
    present: Option<&'a Point>,
}

impl Scales<'_> {
    /// What the present setting brings; `None` when it was never profiled under this load: anything known is better.
    fn current(&self, arrival_per_s: f64) -> Option<Estimate> {
        match (self.setting, self.present) {
            (Setting::Nothing, _) => Some(Estimate::nothing(&self.evaluator, self.load)),
            (_, Some(point)) => Some(estimate(&self.evaluator, self.load.kind, arrival_per_s, point)),
            (_, None) => None,
        }
    }

    /// The gain of a change, counting only what differs beyond noise.
    fn gain(&self, to: Setting, arrival_per_s: f64) -> f64 {
        let (kind, now) = (self.load.kind, self.current(arrival_per_s).map_or(0.0, |now| now.profit.total()));
        let Some(point) = self.load.find(to).map(|place| &self.load.points[place]) else {
            return Estimate::nothing(&self.evaluator, self.load).profit.total() - now;
        };
        match self.present {
            Some(present) => Present::new(&self.evaluator, kind, arrival_per_s, present).gain_beyond_noise(
                &self.evaluator,
                kind,
                arrival_per_s,
                point,
                self.noise,
            ),
            None => estimate(&self.evaluator, kind, arrival_per_s, point).profit.total() - now,
        }
    }

    /// The least gain should a part more or fewer arrive than are seen.
    fn gain_at_least(&self, to: Setting, arrival_per_s: f64, part: f64) -> f64 {
        let at = |factor: f64| self.gain(to, arrival_per_s * factor);
        at(1.0).min(at(1.0 - part)).min(at(1.0 + part))
    }

    /// Of the points whose gain is beyond noise the one that gains most, or serving nothing.
    fn best_beyond_noise(
        &self,
        present: &Point,
        arrival_per_s: f64,
        rules: &Rules,
        trusted: impl Fn(Setting) -> bool,
    ) -> Option<Estimate> {
        let kind = self.load.kind;
        let present = Present::new(&self.evaluator, kind, arrival_per_s, present);
        let mut chosen: Option<(f64, Estimate)> = None;
        for point in &self.load.points {
            let estimate = estimate(&self.evaluator, kind, arrival_per_s, point);
            let gain = present.gain_beyond_noise(&self.evaluator, kind, arrival_per_s, point, self.noise);
            if estimate.within(rules) && trusted(point.setting) && chosen.is_none_or(|(most, _)| gain > most)
            {
                chosen = Some((gain, estimate));
            }
        }
        let stop = self.gain(Setting::Nothing, arrival_per_s);
        match chosen {
            Some((gain, estimate)) if gain >= stop || !rules.may_stop => Some(estimate),
            _ if rules.may_stop => Some(Estimate::nothing(&self.evaluator, self.load)),
            _ => None,
        }
    }
}

impl Tuner {
    pub(super) fn choose(&mut self, now_ns: u64, class: usize, quoted: &Quoted) -> Option<Decision> {
        self.distrusted.retain(|distrusted| distrusted.until_ns > now_ns);
        let mut rules = self.rules;
        rules.may_stop &= now_ns >= self.looking_until_ns;
        let rules = rules;
        let (load, arrival) = (&self.points.classes[class], self.arrival_per_s);
        let scales = Scales {
            evaluator: self.contract.at(&quoted.prices),
            load,
            noise: self.points.noise,
            setting: self.setting,
            present: load.find(self.setting).map(|place| &load.points[place]),
        };
        let current = scales.current(arrival);
        let trusted =
            |setting| !self.distrusted.iter().any(|known| known.setting == setting && known.class == class);
        let allowed = current.is_some_and(|current| current.within(&rules));
        // What breaks a limit is left at once, and so is what was never profiled.
        let free = !rules.hysteresis || !allowed;
        let chosen = match scales.present {
            Some(present) if !free => scales.best_beyond_noise(present, arrival, &rules, trusted),
            _ => best(&scales.evaluator, load, arrival, &rules, trusted),
        };
        let Some(chosen) = chosen else {
            // Nothing is allowed and stopping is forbidden: the owner's rules contradict each other.
            let line = format!(
                "keep {}: no setting keeps the hard limits, and serving nothing is forbidden",
                self.setting
            );
            return (self.advised.replace(self.setting) != Some(self.setting))
                .then_some(Decision { change: None, line: bounded(line) });
        };
        let now = current.map_or(0.0, |current| current.profit.total());
        let part = f64::from(rules.arrivals_margin_percent) / 100.0;
        let (gain, least) = if free {
            (chosen.profit.total() - now, chosen.profit.total() - now)
        } else {
            (scales.gain(chosen.setting, arrival), scales.gain_at_least(chosen.setting, arrival, part))
        };
        let cost = current.map_or(0.0, |current| current.profit.revenue) * seconds(rules.change_cost_ns);
        let pays = if free { !allowed || gain > 0.0 } else { least * seconds(rules.expected_stay_ns) > cost };
        if chosen.setting == self.setting || !pays {
            self.news = None;
            self.better_since_ns = None;
            if chosen.setting == self.setting {
                self.advised = None;
            }
            return None;
        }
        let since_ns = *self.better_since_ns.get_or_insert(now_ns);
        if !free && !self.is_time(now_ns, since_ns) {
            return None;
        }
        let cause = self.news.take().map_or("load", Cause::name);
        if self.rules.mode == Mode::Observe && self.advised == Some(chosen.setting) {
            return None;
        }
        let verb = if self.rules.mode == Mode::Observe { "would change" } else { "change" };
        let instead = match &current {
            Some(current) if allowed => format!("instead of {}", Sides(current)),
            Some(_) => "because the present one breaks a hard limit or offers nothing".into(),
            None => "and the present one was never profiled here".into(),
        };
        let line = bounded(format!(
            "{verb} {} -> {} by {cause}: class {}, {arrival:.0} op/s, {:.0} connections; {}; expected {} {instead}; gain beyond noise {}, at least {}, for {} beats changing",
            self.setting,
            chosen.setting,
            load.name,
            self.connections,
            Seen(quoted),
            Sides(&chosen),
            Hourly(gain),
            Hourly(least),
            print_duration(rules.expected_stay_ns),
        ));
        if self.rules.mode == Mode::Observe {
            self.advised = Some(chosen.setting);
            return Some(Decision { change: None, line });
        }
        let before =
            self.seen.filter(|_| self.setting != Setting::Nothing && chosen.setting != Setting::Nothing);
        self.trial = before.map(|(before, before_arrival_per_s)| Trial {
            from: self.setting,
            class,
            prices: quoted.prices,
            before,
            before_arrival_per_s,
            worse: 0,
        });
        self.put(chosen.setting, now_ns);
        Some(Decision { change: Some(chosen.setting), line })
    }

    /// Whether a better setting may be taken now: a new price or class may at once, anything else must have lasted.
    fn is_time(&self, now_ns: u64, better_since_ns: u64) -> bool {
        let (stay_ns, better_ns) = match self.news {
            Some(Cause::Price) => (self.rules.price_stay_min_ns.min(self.stay_ns), 0),
            Some(Cause::Class) => (self.stay_ns, 0),
            None => (self.stay_ns, self.rules.better_for_ns),
        };
        self.changed_ns.is_none_or(|changed| now_ns.saturating_sub(changed) >= stay_ns)
            && now_ns.saturating_sub(better_since_ns) >= better_ns
    }
}

/// What is new since the last decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A price.
    Price,
    /// A load class.
    Class,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Class => "load class",
        }
    }
}

fn seconds(duration_ns: u64) -> f64 {
    duration_ns as f64 / NANO as f64
}
