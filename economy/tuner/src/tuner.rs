//! The tuner: when to choose, and when to leave things as they are.

mod explore;
mod watch;
mod weigh;

use crate::choose::{Held, best};
use crate::explain::Why;
use crate::known::{Known, Spread};
use crate::learn::Learnt;
use crate::sight::Sight;
use crate::trial::{DISTRUSTED_MAX, Distrusted, Trial};
use crate::usual::Usual;
use crate::{Mode, Rules};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use explore::Explorer;
use nom_money::{NANO, Prices, print_duration};
use nom_points::{Class, Measured, Points, Setting, frontier, twins};
use nom_utility::Contract;
use weigh::Cause;

/// Arrivals are uneven: a window is meant for so many times what is needed.
const SOME_MORE: f64 = 1.2;

/// Prices as they stand on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// The prices.
    pub prices: Prices,
    /// Their generation.
    pub generation: u64,
    /// Until when they may be used; 0 means until they are replaced.
    pub valid_until_ns: u64,
}

/// Prices that a provider has said will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// From when on.
    pub at_ns: u64,
    /// All prices from then on.
    pub prices: Prices,
}

/// What the tuner is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The clock.
    pub now_ns: u64,
    /// The prices, `None` when none was ever published.
    pub quoted: Option<Quoted>,
    /// The next prices, when they are known ahead.
    pub announced: Option<Announced>,
    /// Operations that arrive in a second.
    pub arrival_per_s: f64,
    /// Active connections.
    pub connections: f64,
}

/// Something to do, or to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The setting to put in force; `None` when there is only something to say.
    pub change: Option<Setting>,
    /// Why. It becomes a line when somebody reads it: the knob need not wait for that.
    pub why: Why,
}

impl Decision {
    /// Why, in one line.
    pub fn line(&self) -> String {
        self.why.line()
    }
}

/// The tuner of one application.
#[derive(Debug, Clone)]
pub struct Tuner {
    contract: Contract,
    points: Points,
    rules: Rules,
    setting: Setting,
    changed_ns: Option<u64>,
    /// How long the present setting stays at least.
    stay_ns: u64,
    /// What is new since the last decision.
    news: Option<Cause>,
    /// Since when another setting has been the better one.
    better_since_ns: Option<u64>,
    class: Option<usize>,
    /// What the classes are called in explanations.
    names: Vec<Arc<str>>,
    /// Another class that is seen, and since when.
    other_class: Option<(usize, u64)>,
    arrival_per_s: f64,
    connections: f64,
    /// The last window that was measured, with its arrivals: it belongs to the present setting and class.
    seen: Option<(Measured, f64)>,
    trial: Option<Trial>,
    /// Of each class, what is known of each of its points beside the figures.
    known: Vec<Vec<Known>>,
    /// Of each class, what serving nothing holds.
    held: Vec<Held>,
    /// The place of the present setting, and of which class and setting it is.
    place: Option<usize>,
    place_of: Option<(usize, Setting)>,
    spread: Spread,
    sight: Sight,
    /// What is learnt while serving, and of which class and load the points were told by it.
    learnt: Option<Learnt>,
    told: Option<(usize, f64)>,
    explorer: Explorer,
    distrusted: Vec<Distrusted>,
    prices: Option<Prices>,
    announced: Option<Announced>,
    /// What was said last, so that it is not said again and again.
    advised: Option<Setting>,
    /// What they are on average, and that this is what counts since they ran out.
    usual: Usual,
    outdated: bool,
    /// Until then serving nothing is not weighed: the load is looked at.
    looking_until_ns: u64,
    frozen_said: Vec<usize>,
    /// Settings of a class of which it was said that server and profiled clients disagree about latency.
    disagreed: Vec<(usize, Setting)>,
}

impl Tuner {
    /// A tuner that begins with the configured setting.
    pub fn new(contract: Contract, points: Points, rules: Rules) -> Self {
        let limit_ns = contract.limit_ns();
        let names = points.classes.iter().map(|class| class.name.as_str().into()).collect();
        let known = points
            .classes
            .iter()
            .map(|class| class.points.iter().map(|point| Known::new(point, limit_ns)).collect());
        Self {
            known: known.collect(),
            held: points.classes.iter().map(Held::of).collect(),
            place: None,
            place_of: None,
            spread: Spread::default(),
            sight: Sight::default(),
            learnt: rules.learn.then(|| Learnt::new(&points, limit_ns)),
            told: None,
            explorer: Explorer::default(),
            contract,
            points,
            rules,
            setting: rules.start,
            changed_ns: None,
            stay_ns: 0,
            news: None,
            better_since_ns: None,
            class: None,
            names,
            other_class: None,
            arrival_per_s: 0.0,
            connections: 0.0,
            seen: None,
            trial: None,
            distrusted: Vec::with_capacity(DISTRUSTED_MAX),
            prices: None,
            announced: None,
            advised: None,
            usual: Usual::default(),
            outdated: false,
            looking_until_ns: 0,
            frozen_said: Vec::new(),
            disagreed: Vec::new(),
        }
    }

    /// The setting in force.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// From when on what is seen belongs to the setting in force: a window to be given to [`Tuner::observe`] begins then.
    pub fn settled_ns(&self) -> u64 {
        self.changed_ns.map_or(0, |changed_ns| changed_ns.saturating_add(self.rules.settle_ns))
    }

    /// How long the next window for [`Tuner::observe`] is, where it is `usual_ns` otherwise.
    pub fn window_ns(&self, usual_ns: u64) -> u64 {
        if !self.is_exploring() {
            return usual_ns;
        }
        // A window in which too few come is not looked at, and a trial would never end.
        let enough_s = self.rules.judge_operations as f64 * SOME_MORE / self.arrival_per_s.max(1.0);
        usual_ns.min(explore::TRIED_WINDOW_NS.max((enough_s * NANO as f64) as u64))
    }

    /// The points as they are known now.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// The load class in force, once a load was seen.
    pub fn class(&self) -> Option<&str> {
        self.class.map(|class| self.points.classes[class].name.as_str())
    }

    /// Puts a setting in force by hand: the tuner goes on from there.
    pub fn force(&mut self, setting: Setting, now_ns: u64) {
        self.put(setting, now_ns);
        self.trial = None;
    }

    /// Other rules hold from now on; the setting in force stays. One that is only being tried is given up when it may not
    /// be tried any more, which is something to do.
    pub fn set_rules(&mut self, rules: Rules, now_ns: u64) -> Option<Decision> {
        self.rules = rules;
        self.news = None;
        self.advised = None;
        match rules.mode == Mode::On && rules.explores() {
            true => None,
            false => self.break_off(now_ns, "what is allowed"),
        }
    }

    /// Looks whether another setting should be in force. Cheap enough for every price change and every few
    /// milliseconds; `None` when there is nothing to do and nothing to say.
    pub fn decide(&mut self, moment: &Moment) -> Option<Decision> {
        self.decide_and(moment, &mut |_| ())
    }

    /// The same, and what earns more is put in force by `put` before it is told why: explaining takes longer than weighing.
    /// A change for another reason, and one that is only told, is not put there.
    pub fn decide_and(&mut self, moment: &Moment, put: &mut dyn FnMut(Setting)) -> Option<Decision> {
        if self.rules.mode == Mode::Off {
            return None;
        }
        let settled = self.see_load(moment);
        let quoted = moment.quoted.as_ref()?;
        let until_ns = quoted.valid_until_ns;
        let usual;
        let quoted = if until_ns != 0 && moment.now_ns > until_ns.saturating_add(self.rules.grace_ns) {
            usual = Quoted { prices: self.usual.prices().unwrap_or(quoted.prices), ..*quoted };
            if !core::mem::replace(&mut self.outdated, true) {
                return Some(self.without_price(moment.now_ns - until_ns, &usual.prices));
            }
            &usual
        } else {
            self.outdated = false;
            quoted
        };
        if self.prices.as_ref() != Some(&quoted.prices) {
            self.prices = Some(quoted.prices);
            let expected = self.announced.is_some_and(|announced| announced.prices == quoted.prices);
            self.news = Some(if expected { Cause::Announced } else { Cause::Price });
        }
        if moment.announced.is_some() || self.announced.is_some() {
            self.announced = moment.announced;
        }
        if !settled {
            return None;
        }
        let class = self.class?;
        if self.learnt.is_some() {
            self.tell(class);
        }
        if let Some(look) = self.look_again(moment.now_ns, class, quoted) {
            return Some(look);
        }
        if self.is_exploring() {
            return match self.news {
                Some(news) => self.break_off(moment.now_ns, news.name()),
                None => None,
            };
        }
        self.choose(moment.now_ns, class, quoted, put)
            .or_else(|| self.frozen(class))
            .or_else(|| self.explore(moment.now_ns, class, quoted))
    }

    fn put(&mut self, setting: Setting, now_ns: u64) {
        self.setting = setting;
        self.changed_ns = Some(now_ns);
        self.stay_ns = self.rules.stay_min_ns;
        self.better_since_ns = None;
        self.seen = None;
        self.advised = None;
    }

    /// Keeps the load class, debounced. False while another class is seen but does not count yet.
    fn see_load(&mut self, moment: &Moment) -> bool {
        // Nothing is served, so nothing can be seen: the last load stands.
        if self.setting == Setting::Nothing && self.class.is_some() {
            return true;
        }
        self.arrival_per_s = moment.arrival_per_s;
        self.connections = moment.connections;
        let class = self.points.class_of(moment.arrival_per_s, moment.connections);
        match self.class {
            None => self.class = Some(class),
            Some(known) if known == class => self.other_class = None,
            Some(_) => {
                let since_ns = match self.other_class {
                    Some((other, since_ns)) if other == class => since_ns,
                    _ => moment.now_ns,
                };
                if moment.now_ns.saturating_sub(since_ns) < self.rules.class_dwell_ns {
                    self.other_class = Some((class, since_ns));
                    return false;
                }
                self.class = Some(class);
                self.other_class = None;
                self.better_since_ns = None;
                self.news = self.news.or(Some(Cause::Class));
                self.seen = None;
                self.trial = None;
            }
        }
        true
    }

    /// Says what counts from now on.
    fn without_price(&self, late_ns: u64, usual: &Prices) -> Decision {
        let late = print_duration(late_ns / NANO as u64 * NANO as u64);
        Decision {
            change: None,
            why: Why::Said(format!(
                "the price ran out {late} ago: until there is one again, what it was on average lately counts: {usual}"
            )),
        }
    }

    /// Ends a stop that has lasted long when under some load serving would pay: while nothing is served the load cannot be
    /// seen. It is looked for with what costs least under the load seen last, which is the best guess there is: what another
    /// load would want may be the dearest of all under this one.
    fn look_again(&mut self, now_ns: u64, class: usize, quoted: &Quoted) -> Option<Decision> {
        let stopped_ns = now_ns.saturating_sub(self.changed_ns?);
        if self.setting != Setting::Nothing
            || self.rules.mode != Mode::On
            || stopped_ns < self.rules.stop_max_ns
        {
            return None;
        }
        let evaluator = self.contract.at(&quoted.prices);
        let (paying, name) = (0..self.points.classes.len()).find_map(|class| {
            let (load, arrival_per_s) = self.usual_load(class);
            let known = |setting| load.find(setting).is_some_and(|place| !load.points[place].is_unmeasured());
            best(&evaluator, &load, arrival_per_s, &self.rules, known)
                .filter(|best| best.setting != Setting::Nothing)
                .map(|best| (best.setting, load.name))
        })?;
        self.find_place(class);
        let serving = Rules { may_stop: false, ..self.rules };
        // Where every setting breaks a limit under that load, one that keeps it under the other is the least evil.
        let least = self.scales(class, quoted).best(self.arrival_per_s, &serving);
        let setting = least.map_or(paying, |least| least.setting);
        self.put(setting, now_ns);
        self.stay_ns = self.rules.look_ns;
        self.looking_until_ns = now_ns.saturating_add(self.rules.look_ns);
        Some(Decision {
            change: Some(setting),
            why: Why::Said(format!(
                "look again nothing -> {setting}: stopped for {}, and under a load of class {name} serving would pay",
                print_duration(stopped_ns)
            )),
        })
    }

    /// A class with the load that its points stand for, and what is known of them there.
    fn usual_load(&self, class: usize) -> (Class, f64) {
        let mut load = self.points.classes[class].clone();
        let arrival_per_s = load.measured() * self.points.capacity_per_s;
        if let Some(learnt) = &self.learnt {
            let (limit_ns, capacity_per_s) = (self.contract.limit_ns(), self.points.capacity_per_s);
            for (place, point) in load.points.iter_mut().enumerate() {
                learnt.tell((class, place), arrival_per_s, limit_ns, capacity_per_s, point);
            }
        }
        (load, arrival_per_s)
    }

    /// Says once a class that its settings cannot be told apart.
    fn frozen(&mut self, class: usize) -> Option<Decision> {
        if self.frozen_said.contains(&class) {
            return None;
        }
        // What is not measured yet may still turn out to differ.
        if self.known[class].iter().any(|known| !known.is_known()) {
            return None;
        }
        self.frozen_said.push(class);
        let points = &self.points.classes[class];
        let edge = frontier(points).len();
        if edge * (edge - 1) / 2 > twins(points, &self.points.noise).len() {
            return None;
        }
        Some(Decision {
            change: None,
            why: Why::Said(format!(
                "class {}: no two settings of its frontier differ beyond noise ({}); nothing to win by changing among them",
                points.name, self.points.noise
            )),
        })
    }
}
