//! A decision that is played through and taken back.
//!
//! Looking at the load weighs every setting a hundred times a second. What only a change of price executes is not
//! executed for minutes, and the machine forgets where it lies. So it is rehearsed: the tuner takes the prices in force
//! for new and another setting for the one in force, decides, and gives back what it would put in force, which almost
//! always is what is in force. Then everything is as it was: what was decided, learnt, spent and said before is what
//! counts after.

use super::{Announced, Quoted, Trial, Tuner, weigh::Cause};
use crate::{Mode, Moment};
use nom_money::Prices;
use nom_points::{Measured, Setting};

/// Everything that deciding moves while no other setting is tried.
struct Kept {
    setting: Setting,
    changed_ns: Option<u64>,
    stay_ns: u64,
    news: Option<Cause>,
    better_since_ns: Option<u64>,
    class: Option<usize>,
    other_class: Option<(usize, u64)>,
    arrival_per_s: f64,
    connections: f64,
    seen: Option<(Measured, f64)>,
    trial: Option<Trial>,
    place: Option<usize>,
    place_of: Option<(usize, Setting)>,
    told: Option<(usize, f64)>,
    prices: Option<Prices>,
    announced: Option<Announced>,
    advised: Option<Setting>,
    outdated: bool,
    looking_until_ns: u64,
}

impl Kept {
    fn of(tuner: &Tuner) -> Self {
        Self {
            setting: tuner.setting,
            changed_ns: tuner.changed_ns,
            stay_ns: tuner.stay_ns,
            news: tuner.news,
            better_since_ns: tuner.better_since_ns,
            class: tuner.class,
            other_class: tuner.other_class,
            arrival_per_s: tuner.arrival_per_s,
            connections: tuner.connections,
            seen: tuner.seen,
            trial: tuner.trial,
            place: tuner.place,
            place_of: tuner.place_of,
            told: tuner.told,
            prices: tuner.prices,
            announced: tuner.announced,
            advised: tuner.advised,
            outdated: tuner.outdated,
            looking_until_ns: tuner.looking_until_ns,
        }
    }

    fn give_back(self, tuner: &mut Tuner) {
        tuner.setting = self.setting;
        tuner.changed_ns = self.changed_ns;
        tuner.stay_ns = self.stay_ns;
        tuner.news = self.news;
        tuner.better_since_ns = self.better_since_ns;
        tuner.class = self.class;
        tuner.other_class = self.other_class;
        tuner.arrival_per_s = self.arrival_per_s;
        tuner.connections = self.connections;
        tuner.seen = self.seen;
        tuner.trial = self.trial;
        tuner.place = self.place;
        tuner.place_of = self.place_of;
        tuner.told = self.told;
        tuner.prices = self.prices;
        tuner.announced = self.announced;
        tuner.advised = self.advised;
        tuner.outdated = self.outdated;
        tuner.looking_until_ns = self.looking_until_ns;
    }
}

impl Tuner {
    /// Plays a change of price through, up to the knob and what comes behind it, and takes it back. `put` is called as a change
    /// would call it, and must do nothing that shows. `turn` chooses the setting that is left. Says whether it came to the
    /// knob: where the other setting would stay, or there is nothing to choose from, it does not.
    pub fn rehearse(&mut self, quoted: &Quoted, turn: u64, put: &mut dyn FnMut(Setting)) -> bool {
        let Some((class, other)) = self.other_setting(turn) else { return false };
        let kept = Kept::of(self);
        self.setting = other;
        // Any price is new now, may be followed at once, and nothing is judged or tried by what was seen.
        (self.prices, self.changed_ns, self.seen) = (None, None, None);
        self.looking_until_ns = 0;
        // The points say what they were told last.
        self.told = Some((class, self.arrival_per_s));
        let moment = Moment {
            // At the beginning of time nothing has run out, so nothing is forgotten.
            now_ns: 0,
            quoted: Some(*quoted),
            announced: None,
            arrival_per_s: self.arrival_per_s,
            connections: self.connections,
        };
        let mut came = false;
        let decision = self.decide_and(&moment, &mut |setting| {
            came = true;
            put(setting);
        });
        drop(decision);
        kept.give_back(self);
        came
    }

    /// The class in force and a setting of it other than the one in force, where a price would be weighed there at all.
    fn other_setting(&self, turn: u64) -> Option<(usize, Setting)> {
        let class = self.class?;
        let points = &self.points.classes[class].points;
        let may = self.rules.mode == Mode::On
            && self.setting != Setting::Nothing
            && self.other_class.is_none()
            && !self.is_exploring()
            // Until it was looked for settings that cannot be told apart, a decision would do that.
            && (self.frozen_said.contains(&class) || self.known[class].iter().any(|known| !known.is_known()));
        // The place is that of this setting once a decision has looked for it.
        let here = self.place.filter(|_| self.place_of == Some((class, self.setting)))?;
        if !may || points.len() < 2 {
            return None;
        }
        let step = 1 + turn as usize % (points.len() - 1);
        Some((class, points[(here + step) % points.len()].setting))
    }
}
