//! Weighing another setting against the present one: whether it is better, surely better, and for long enough.

use super::{Decision, Quoted, Tuner};
use crate::Mode;
use crate::Rules;
use crate::choose::{Estimate, Held, Present, estimate, flow, late_counted};
use crate::explain::{Better, Why};
use crate::known::Known;
use crate::learn::Learnt;
use crate::trial::{Distrusted, Trial};
use alloc::boxed::Box;
use alloc::format;
use nom_money::NANO;
use nom_points::{Class, Noise, Setting};
use nom_utility::{Evaluator, Flow};

/// What is learnt counts as a gain when it is one by so many deviations less.
const SURE: f64 = 0.5;
/// What a setting would gain if it did not drown after all counts as so much doubt.
const AFLOAT: f64 = 0.5;
/// No setting is taken to be quicker than this part of what is expected.
const FASTEST: f64 = 0.2;
/// Who hopes takes what is doubtful to be so many deviations better.
pub(super) const HOPED: f64 = 2.0;

/// What a setting may gain over the present one, in dollars a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    pub gain: f64,
    /// How far that may be off.
    pub deviation: f64,
    /// A deviation toward the better. It is the larger one where users pay nothing for what is expected, and would pay for what
    /// may well be: there a small doubt changes nothing, and twice as much changes everything.
    pub hope: f64,
}

/// Everything that one decision is made from.
pub(super) struct Scales<'a> {
    pub evaluator: Evaluator<'a>,
    pub load: &'a Class,
    /// What is known of each point beside its figures.
    pub known: &'a [Known],
    /// Its number, for what is distrusted in it.
    pub class: usize,
    pub distrusted: &'a [Distrusted],
    pub noise: Noise,
    /// What is learnt while serving: then doubt is a number for each pair of settings.
    pub learnt: Option<&'a Learnt>,
    pub setting: Setting,
    /// The place of the present setting's point.
    pub present: Option<usize>,
    pub held: Held,
}

impl Scales<'_> {
    /// What the present setting brings; `None` when it was never profiled under this load: anything known is better.
    pub fn current(&self, arrival_per_s: f64) -> Option<Estimate> {
        match (self.setting, self.present) {
            (Setting::Nothing, _) => Some(Estimate::holding(&self.evaluator, self.held)),
            (_, Some(place)) => {
                Some(estimate(&self.evaluator, self.load.kind, arrival_per_s, &self.load.points[place]))
            }
            (_, None) => None,
        }
    }

    /// The present point at these arrivals, with the noise between it and a candidate.
    fn weigh_against(&self, present: usize, arrival_per_s: f64) -> Present {
        let weighed = (&self.load.points[present], self.known[present].late);
        Present::new(&self.evaluator, self.load.kind, arrival_per_s, weighed, &self.noise)
    }

    /// Whether a point may be chosen for what it is taken to bring: what was never seen must be tried first.
    fn trusted(&self, place: usize) -> bool {
        let seen = match self.learnt {
            Some(learnt) => learnt.was_seen(self.class, place),
            None => self.known[place].is_known(),
        };
        seen && !self.is_distrusted(place)
    }

    /// Whether a setting lately earned less than it promised.
    pub fn is_distrusted(&self, place: usize) -> bool {
        let setting = &self.load.points[place].setting;
        self.distrusted.iter().any(|known| known.class == self.class && known.setting == *setting)
    }

    /// Whether anything is known of a point.
    pub fn is_told(&self, place: usize) -> bool {
        self.known[place].is_known() || self.learnt.is_some_and(|learnt| learnt.knows(self.class, place))
    }

    /// What a learnt setting is expected to gain over the present one (over serving nothing, where that is unknown).
    #[inline(never)]
    pub fn outlook(&self, learnt: &Learnt, place: usize, arrival_per_s: f64) -> Outlook {
        let limit_ns = self.evaluator.contract().limit_ns();
        let point = &self.load.points[place];
        let expected = flow(point, self.load.kind, arrival_per_s, late_counted(limit_ns, point));
        let total = self.evaluator.evaluate(&expected).total();
        let now = self.current(arrival_per_s).map_or(0.0, |now| now.profit.total());
        let Some(doubt) = learnt.doubt(self.class, self.present, place, arrival_per_s, limit_ns) else {
            return Outlook { gain: total - now, deviation: 0.0, hope: 0.0 };
        };
        // A core that is only reckoned to drown may serve all the same.
        let afloat =
            learnt.afloat(self.class, place, arrival_per_s, limit_ns).map_or(0.0, |(mean_ns, late)| {
                let serving = Flow { latency_mean_ns: mean_ns, late, ..expected };
                (self.evaluator.evaluate(&serving).total() - total).max(0.0) * AFLOAT
            });
        let power = learnt.late_power(self.class, place);
        // Where one side is bound (nobody pays less than nothing), the other one still says how much may be gained.
        let moved = |by: f64| {
            let slower = (1.0 + by * doubt.mean_ns / expected.latency_mean_ns.max(1.0)).max(FASTEST);
            let late = |times: f64| (expected.late * times).min(1.0);
            let more = |figure: f64, doubt: f64| (figure + by * expected.operations_per_s * doubt).max(0.0);
            [
                Flow {
                    latency_mean_ns: expected.latency_mean_ns * slower,
                    late: late(libm::pow(slower, power)),
                    ..expected
                },
                Flow { cores: more(expected.cores, doubt.core_ns * 1e-9), ..expected },
                Flow { wire_bytes_per_s: more(expected.wire_bytes_per_s, doubt.wire_bytes), ..expected },
                Flow { late: late(libm::exp(by * doubt.late)), ..expected },
            ]
        };
        let off = |flow: &Flow| self.evaluator.evaluate(flow).total() - total;
        let (worse, better, hoped) = (moved(1.0), moved(-1.0), moved(-HOPED));
        let lost = worse.iter().zip(&better).map(|(worse, better)| off(worse).abs().max(off(better).abs()));
        let won = hoped.iter().map(|hoped| off(hoped).max(0.0) / HOPED);
        let root = |squares: f64| libm::sqrt(squares + afloat * afloat);
        let deviation = root(lost.map(|lost| lost * lost).sum());
        let hope = root(won.map(|won| won * won).sum());
        Outlook { gain: total - now, deviation, hope: hope.max(deviation) }
    }

    /// The gain of serving nothing.
    fn gain_of_nothing(&self, arrival_per_s: f64) -> f64 {
        let now = self.current(arrival_per_s).map_or(0.0, |now| now.profit.total());
        Estimate::holding(&self.evaluator, self.held).profit.total() - now
    }

    /// The gain of a change to a place (none is serving nothing), counting only what differs beyond noise from `weighed`,
    /// the present point where there is one.
    fn gain(&self, to: Option<usize>, arrival_per_s: f64, weighed: Option<&mut Present>) -> f64 {
        let Some(place) = to else { return self.gain_of_nothing(arrival_per_s) };
        if let Some(learnt) = self.learnt {
            let Outlook { gain, deviation, .. } = self.outlook(learnt, place, arrival_per_s);
            if Some(place) == self.present {
                return 0.0;
            }
            // Who loses money leaves anyway: what is expected to be better than nothing is then as good as that, however
            // doubtful, since nothing can be learnt by stopping.
            let nothing = self.gain_of_nothing(arrival_per_s);
            let sure = gain - SURE * deviation;
            return if nothing > 0.0 && gain >= nothing { sure.max(nothing) } else { sure };
        }
        let point = &self.load.points[place];
        match (self.present, weighed) {
            (Some(present), Some(weighed)) => {
                weighed.under(&self.evaluator, self.load.kind, arrival_per_s, &self.load.points[present]);
                weighed.gain_beyond_noise(&self.evaluator, (point, &self.known[place].late))
            }
            _ => {
                let now = self.current(arrival_per_s).map_or(0.0, |now| now.profit.total());
                estimate(&self.evaluator, self.load.kind, arrival_per_s, point).profit.total() - now
            }
        }
    }

    /// The least gain should a part more or fewer arrive than are seen.
    fn least_gain(
        &self,
        place: Option<usize>,
        arrival_per_s: f64,
        part: f64,
        mut weighed: Option<&mut Present>,
    ) -> f64 {
        let mut at = |factor: f64| self.gain(place, arrival_per_s * factor, weighed.as_deref_mut());
        at(1.0 - part).min(at(1.0 + part))
    }

    /// The best of what is trusted and allowed, by its figures alone.
    pub fn best(&self, arrival_per_s: f64, rules: &Rules) -> Option<Estimate> {
        crate::choose::best_of(&self.evaluator, self.load, arrival_per_s, rules, |place| self.trusted(place))
    }

    /// Of the points (with their place; none is serving nothing) whose gain is beyond noise the one that gains most, or serving
    /// nothing; with that gain.
    fn best_beyond_noise(
        &self,
        weighed: &Present,
        arrival_per_s: f64,
        rules: &Rules,
    ) -> Option<(Option<usize>, Estimate, f64)> {
        let kind = self.load.kind;
        let estimated =
            |place: usize| estimate(&self.evaluator, kind, arrival_per_s, &self.load.points[place]);
        let may = |place: usize| Some(estimated(place)).filter(|it| it.within(rules) && self.trusted(place));
        // Almost always the one that gains most may be chosen: only if not, each is asked.
        let most = |ask: bool| {
            let (mut chosen, mut most) = (None, f64::NEG_INFINITY);
            for (place, point) in self.load.points.iter().enumerate() {
                let candidate = (point, &self.known[place].late);
                let gain = match self.learnt {
                    None if Some(place) == self.present => 0.0,
                    None => weighed.gain_beyond_noise(&self.evaluator, candidate),
                    Some(_) => self.gain(Some(place), arrival_per_s, None),
                };
                if gain > most && (!ask || may(place).is_some()) {
                    (chosen, most) = (Some((gain, place)), gain);
                }
            }
            chosen
        };
        let estimate = |(gain, place)| may(place).map(|it| (Some(place), it, gain));
        let chosen = most(false).and_then(|first| estimate(first).or_else(|| most(true).and_then(estimate)));
        if !rules.may_stop {
            return chosen;
        }
        let nothing = Estimate::holding(&self.evaluator, self.held);
        let gain_of_nothing = nothing.profit.total() - weighed.value();
        chosen.filter(|(_, _, gain)| *gain >= gain_of_nothing).or(Some((None, nothing, gain_of_nothing)))
    }
}

impl Tuner {
    pub(super) fn choose(
        &mut self,
        now_ns: u64,
        class: usize,
        quoted: &Quoted,
        put: &mut dyn FnMut(Setting),
    ) -> Option<Decision> {
        self.distrusted.retain(|distrusted| distrusted.until_ns > now_ns);
        // First of all: what is weighed below is weighed against the place in this class.
        self.find_place(class);
        let mut rules = self.rules;
        rules.may_stop &= now_ns >= self.looking_until_ns
            && !(self.rules.explores() && self.is_looking_for_better(now_ns, class, quoted));
        // What pays at these prices pays for as long as they last.
        let lasts_ns = self.announced_in_ns(now_ns);
        let until = self.announced.filter(|_| lasts_ns < rules.expected_stay_ns);
        rules.expected_stay_ns = rules.expected_stay_ns.min(lasts_ns);
        let arrival = self.arrival_per_s;
        let load = &self.points.classes[class];
        let mut scales = self.scales(class, quoted);
        // Nothing is known of any setting under this load: there is nothing to choose by.
        if !(0..load.points.len()).any(|place| scales.is_told(place)) {
            return None;
        }
        // What was never measured cannot be compared with.
        scales.present = scales.present.filter(|place| scales.is_told(*place));
        let current = scales.current(arrival);
        let allowed = current.is_some_and(|current| current.within(&rules));
        // What breaks a limit is left at once, and so is what was never profiled.
        let free = !rules.hysteresis || !allowed;
        let mut weighed =
            scales.present.filter(|_| !free).map(|present| scales.weigh_against(present, arrival));
        let now = current.map_or(0.0, |current| current.profit.total());
        let chosen = match &weighed {
            Some(weighed) => scales.best_beyond_noise(weighed, arrival, &rules),
            None => scales.best(arrival, &rules).map(|best| {
                let gain = best.profit.total() - now;
                (load.find(best.setting), best, gain)
            }),
        };
        let Some((place, chosen, gain)) = chosen else {
            // Nothing is allowed and stopping is forbidden: the owner's rules contradict each other.
            let line = format!(
                "keep {}: no setting keeps the hard limits, and serving nothing is forbidden",
                self.setting
            );
            return (self.advised.replace(self.setting) != Some(self.setting))
                .then_some(Decision { change: None, why: Why::Said(line) });
        };
        let part = f64::from(rules.arrivals_margin_percent) / 100.0;
        let least =
            if free { gain } else { gain.min(scales.least_gain(place, arrival, part, weighed.as_mut())) };
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
        if self.rules.mode == Mode::On {
            put(chosen.setting);
        }
        let why = Why::Better(Box::new(Better {
            observing: self.rules.mode == Mode::Observe,
            from: self.setting,
            cause,
            class: self.names[class].clone(),
            arrival_per_s: arrival,
            connections: self.connections,
            quoted: *quoted,
            expected: chosen,
            present: current,
            forced: !allowed,
            gain,
            least,
            stay_ns: rules.expected_stay_ns,
            until,
        }));
        if self.rules.mode == Mode::Observe {
            self.advised = Some(chosen.setting);
            return Some(Decision { change: None, why });
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
        Some(Decision { change: Some(chosen.setting), why })
    }

    /// How long it is until prices change, as far as that is known.
    pub(super) fn announced_in_ns(&self, now_ns: u64) -> u64 {
        match &self.announced {
            // One whose time has come and that is not there is believed no more.
            Some(announced) if announced.at_ns > now_ns && Some(announced.prices) != self.prices => {
                announced.at_ns - now_ns
            }
            _ => u64::MAX,
        }
    }

    /// Finds the present setting among the points of the class, when one of both is new.
    pub(super) fn find_place(&mut self, class: usize) {
        if self.place_of != Some((class, self.setting)) {
            self.place_of = Some((class, self.setting));
            self.place = self.points.classes[class].find(self.setting);
        }
    }

    pub(super) fn scales(&self, class: usize, quoted: &Quoted) -> Scales<'_> {
        let load = &self.points.classes[class];
        Scales {
            evaluator: self.contract.at(&quoted.prices),
            load,
            known: &self.known[class],
            class,
            distrusted: &self.distrusted,
            noise: self.points.noise,
            learnt: self.learnt.as_ref(),
            setting: self.setting,
            present: self.place,
            held: self.held[class],
        }
    }

    /// Whether a better setting may be taken now: a new price or class may at once, anything else must have lasted.
    fn is_time(&self, now_ns: u64, better_since_ns: u64) -> bool {
        let (stay_ns, better_ns) = match self.news {
            Some(Cause::Price) => (self.rules.price_stay_min_ns.min(self.stay_ns), 0),
            Some(Cause::Announced) => (0, 0),
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
    /// A price that was announced: it was waited for, so nothing flaps.
    Announced,
    /// A load class.
    Class,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Announced => "announced price",
            Self::Class => "load class",
        }
    }
}

fn seconds(duration_ns: u64) -> f64 {
    duration_ns as f64 / NANO as f64
}
