//! What the tuner is told, and how often: load and measured windows out of cumulative figures.
//!
//! Arrivals are taken as answers (what is asked and not answered cannot be seen here), smoothed over [`STEADY_NS`], so
//! that chance does not look like a change. When what came in the last [`SMOOTHING_NS`] is beyond chance, as arrivals
//! are seen to vary here, they are taken from the last two looks and smoothed from anew, so that a change is seen within
//! two or three looks. All of it is computed a hundred times a second from counters, nothing per request.

use crate::configuration::{self, Configuration};
use crate::setting;
use alloc::string::String;
use nom_ledger::Reading;
use nom_points::{Measured, Points, Setting};
use nom_tuner::{Announced, Decision, Mode, Moment, Quoted, Rules, Tuner};

mod waiting;

use waiting::Waiting;

/// Time between two looks at the load.
pub const LOOK_NS: u64 = 10_000_000;
/// Time over which a change of arrivals is looked for.
const SMOOTHING_NS: u64 = 20_000_000;
/// Time over which steady arrivals are smoothed.
const STEADY_NS: u64 = 1_000_000_000;
/// A difference is a change beyond this part of the arrivals and beyond so many of their standard deviations.
const CHANGE: (f64, f64) = (0.33, 4.0);
/// Another load class must be seen for so long: at one look more than at the first, which already is beyond chance.
const CLASS_DWELL_NS: u64 = LOOK_NS - STRETCH_MIN_NS;
/// Shorter stretches say too little about a rate.
const STRETCH_MIN_NS: u64 = 5_000_000;

/// Cumulative figures at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// What is billed and earned.
    pub reading: Reading,
    /// Sum of the squares of the known latencies.
    pub latency_square_sum: u128,
    /// Connections that are open.
    pub connections: u32,
    /// Frames that this core took and sent.
    pub frames: [u64; 2],
    /// Those that it holds now, on their way in and out.
    pub gathered: [u32; 2],
}

/// The tuner with its senses.
#[derive(Debug)]
pub struct Tuning {
    tuner: Option<Tuner>,
    /// The points as they were configured.
    profiled: Option<Points>,
    opening: Option<String>,
    looked_ns: u64,
    answered: u64,
    /// The look before: its time, and what was answered then.
    before: (u64, u64),
    /// How much the rate of one look differs from that of all, squared.
    variance: f64,
    /// Over the last few looks.
    lately_per_s: f64,
    /// Since the last change.
    arrival_per_s: f64,
    steady_ns: u64,
    window_ns: u64,
    /// Where the window that is being measured began; none when the setting changed in it.
    window: Option<(u64, Figures)>,
    /// What was counted waiting in it.
    waiting: Waiting,
}

impl Tuning {
    /// A tuner by the configuration, or none where there is nothing to decide by.
    pub fn new(configuration: &Configuration, start: Setting, now_ns: u64) -> Self {
        let rules = rules(configuration, false, start);
        let mode = rules.mode;
        let (tuner, opening) = match (&configuration.contract, &configuration.points) {
            _ if mode == Mode::Off => (None, None),
            (Some(contract), Some(points)) => (Some(Tuner::new(*contract, points.clone(), rules)), None),
            (None, _) => (None, Some("the tuner rests: the configuration says no utility and value")),
            (_, None) => (None, Some("the tuner rests: the configuration has no points to choose from")),
        };
        Self {
            tuner,
            profiled: configuration.points.clone(),
            opening: opening.map(String::from),
            looked_ns: now_ns,
            answered: 0,
            before: (now_ns, 0),
            variance: 0.0,
            lately_per_s: 0.0,
            arrival_per_s: 0.0,
            steady_ns: SMOOTHING_NS,
            window_ns: configuration.window_ns,
            window: None,
            waiting: Waiting::default(),
        }
    }

    /// Takes over what the configuration says now. Where it has other points the tuner begins anew, from the setting in
    /// force. Something to do comes back when a setting that is only being tried may not be any more.
    pub fn instruct(
        &mut self,
        configuration: &Configuration,
        frozen: bool,
        setting: Setting,
        now_ns: u64,
    ) -> Option<Decision> {
        let rules = rules(configuration, frozen, setting::setting(&configuration.knobs));
        let (Some(contract), Some(points)) = (&configuration.contract, &configuration.points) else {
            self.tuner = None;
            return None;
        };
        let profiled = self.profiled.replace(points.clone());
        match &mut self.tuner {
            Some(tuner) if profiled.as_ref() == Some(points) => tuner.set_rules(rules, now_ns),
            _ => {
                let mut tuner = Tuner::new(*contract, points.clone(), rules);
                tuner.force(setting, now_ns);
                self.tuner = Some(tuner);
                None
            }
        }
    }

    /// Somebody else put a setting in force.
    pub fn force(&mut self, setting: Setting, now_ns: u64) {
        if let Some(tuner) = &mut self.tuner {
            tuner.force(setting, now_ns);
        }
        self.window = None;
    }

    /// There is something to decide by.
    pub fn is_there(&self) -> bool {
        self.tuner.is_some()
    }

    /// What is to be said once at the start.
    pub fn opening(&mut self) -> Option<String> {
        self.opening.take()
    }

    /// Arrivals a second, as seen lately.
    pub fn arrival_per_s(&self) -> f64 {
        self.arrival_per_s
    }

    /// A look is worth its time.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.tuner.is_some() && now_ns >= self.looked_ns + LOOK_NS
    }

    /// When to wake for a look: not at all while nothing arrives.
    pub fn wake_ns(&self) -> u64 {
        if self.tuner.is_some() && self.arrival_per_s > 1.0 { self.looked_ns + LOOK_NS } else { u64::MAX }
    }

    /// Looks, and says what to do or to tell. `quoted` is what the board says.
    /// `announced` is what is known to come. A price that comes between two looks at the load does not wait for a third. What
    /// earns more is given to `put` at once.
    pub fn look(
        &mut self,
        now_ns: u64,
        figures: &Figures,
        quoted: Option<Quoted>,
        announced: Option<Announced>,
        put: &mut dyn FnMut(Setting),
    ) -> Option<Decision> {
        if now_ns >= self.looked_ns + LOOK_NS {
            self.see(now_ns, &figures.reading);
        }
        let tuner = self.tuner.as_mut()?;
        let moment = Moment {
            now_ns,
            quoted,
            announced,
            arrival_per_s: self.arrival_per_s,
            connections: f64::from(figures.connections),
        };
        let mut decision = tuner.decide_and(&moment, put);
        match &self.window {
            // What happens before the setting has settled says nothing about it.
            None if now_ns >= tuner.settled_ns() => {
                self.window = Some((now_ns, *figures));
                self.waiting = Waiting::default();
            }
            None => {}
            Some((start_ns, start)) if now_ns - start_ns >= tuner.window_ns(self.window_ns) => {
                if decision.is_none() {
                    let window_ns = now_ns - start_ns;
                    let counted_ns = self.waiting.least_ns(start.frames, figures.frames, window_ns);
                    let seen = Measured { counted_ns, ..measured(start, figures, window_ns) };
                    decision = tuner.observe(now_ns, &seen);
                }
                self.window = Some((now_ns, *figures));
                self.waiting = Waiting::default();
            }
            Some(_) => self.waiting.look(figures.gathered),
        }
        if decision.as_ref().is_some_and(|decision| decision.change.is_some()) {
            self.window = None;
        }
        decision
    }

    fn see(&mut self, now_ns: u64, reading: &Reading) {
        let stretch_ns = now_ns.saturating_sub(self.looked_ns);
        if stretch_ns < STRETCH_MIN_NS {
            return;
        }
        let answered = reading.accepted + reading.refused;
        let rate = (answered - self.answered) as f64 * 1e9 / stretch_ns as f64;
        let weight = |memory_ns: u64| stretch_ns as f64 / (stretch_ns + memory_ns) as f64;
        self.lately_per_s += (rate - self.lately_per_s) * weight(SMOOTHING_NS);
        self.arrival_per_s += (rate - self.arrival_per_s) * weight(self.steady_ns);
        // The memory grows slower than time goes, so that it forgets how it began.
        self.steady_ns = (self.steady_ns + stretch_ns / 2).min(STEADY_NS);
        let most = self.lately_per_s.max(self.arrival_per_s);
        // What an exponential memory holds varies less than one look. A Poisson count's variance is the count.
        let (share, look_s) = (weight(SMOOTHING_NS), stretch_ns as f64 / 1e9);
        let deviation = root(share / (2.0 - share) * self.variance.max(most / look_s));
        if (self.lately_per_s - self.arrival_per_s).abs() > (CHANGE.0 * most).max(CHANGE.1 * deviation) {
            let (since_ns, then) = self.before;
            self.arrival_per_s = (answered - then) as f64 * 1e9 / (now_ns - since_ns) as f64;
            self.lately_per_s = self.arrival_per_s;
            self.steady_ns = SMOOTHING_NS;
        } else {
            let differs = rate - self.arrival_per_s;
            self.variance += (differs * differs - self.variance) * weight(self.steady_ns.max(SMOOTHING_NS));
        }
        self.before = (self.looked_ns, self.answered);
        self.answered = answered;
        self.looked_ns = now_ns;
    }
}

/// The owner's rules, as the configuration says them.
fn rules(configuration: &Configuration, frozen: bool, start: Setting) -> Rules {
    let mode = match configuration.tuning {
        _ if frozen => Mode::Off,
        configuration::Tuning::Off => Mode::Off,
        configuration::Tuning::Observe => Mode::Observe,
        configuration::Tuning::On => Mode::On,
    };
    let rules = Rules {
        mode,
        start,
        may_stop: configuration.may_stop,
        spending_max: configuration.spending_max,
        latency_max_ns: configuration.latency_max_ns,
        class_dwell_ns: CLASS_DWELL_NS,
        ..Rules::default()
    };
    match configuration.online_millionths {
        Some(explore_millionths) => Rules { explore_millionths, ..rules.online() },
        None => rules,
    }
}

/// What happened between two moments.
fn measured(start: &Figures, end: &Figures, window_ns: u64) -> Measured {
    let (from, to) = (&start.reading, &end.reading);
    let count = to.measured - from.measured;
    let sum = (to.latency_sum_ns - from.latency_sum_ns) as f64;
    let squares = (end.latency_square_sum - start.latency_square_sum) as f64;
    let mean_ns = if count == 0 { 0.0 } else { sum / count as f64 };
    let variance = if count == 0 { 0.0 } else { (squares / count as f64 - mean_ns * mean_ns).max(0.0) };
    Measured {
        window_ns,
        operations: to.accepted - from.accepted,
        arrived: to.accepted + to.refused - from.accepted - from.refused,
        useful_bytes: to.useful_bytes - from.useful_bytes,
        wire_bytes: to.wire_bytes - from.wire_bytes,
        core_ns: to.core_ns - from.core_ns,
        memory_bytes: to.memory_bytes,
        measured: count,
        late: to.late - from.late,
        mean_ns,
        jitter_ns: root(variance),
        counted_ns: 0.0,
    }
}

/// Square root by Newton's steps: `core` has none, and this runs once a window.
fn root(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let mut guess = f64::from_bits((value.to_bits() >> 1) + (1023 << 51));
    for _ in 0..6 {
        guess = 0.5 * (guess + value / guess);
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        for value in [1e-9, 0.5, 1.0, 2.0, 144.0, 1e12, 3.7e20] {
            assert!((root(value) / f64::sqrt(value) - 1.0).abs() < 1e-12, "{value}");
        }
        assert_eq!(root(0.0), 0.0);
    }

    #[test]
    fn a_window_is_measured_from_two_moments() {
        let at = |operations: u64, latencies: &[u64]| Figures {
            reading: Reading {
                accepted: operations,
                measured: latencies.len() as u64,
                latency_sum_ns: latencies.iter().map(|ns| u128::from(*ns)).sum(),
                ..Reading::default()
            },
            latency_square_sum: latencies.iter().map(|ns| u128::from(ns * ns)).sum(),
            connections: 1,
            frames: [0; 2],
            gathered: [0; 2],
        };
        let window = measured(&at(10, &[5]), &at(13, &[5, 100, 200, 300]), 1_000);
        assert_eq!((window.operations, window.measured, window.mean_ns), (3, 3, 200.0));
        assert!((window.jitter_ns - 81.649_658).abs() < 1e-3, "{}", window.jitter_ns);
    }

    fn tuning() -> Tuning {
        let configuration = Configuration::parse("tuner = off").unwrap();
        Tuning::new(&configuration, "wait=halt batch=0".parse().unwrap(), 0)
    }

    /// Numbers from 0 to 1.
    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    #[test]
    fn a_step_of_poisson_arrivals_is_followed_within_three_looks() {
        let mut random = Random(1);
        let mut late = 0;
        for _ in 0..500 {
            let mut tuning = tuning();
            let mut reading = Reading::default();
            let (from, to) = if random.unit() < 0.5 { (400.0, 4_000.0) } else { (4_000.0, 400.0) };
            // It steps in the midst of a look.
            let steps_ns = 100 * LOOK_NS + (random.unit() * LOOK_NS as f64) as u64;
            let (mut time_ns, mut look) = (0.0, 1);
            let mut followed = None;
            while followed.is_none() {
                let per_s: f64 = if (time_ns as u64) < steps_ns { from } else { to };
                time_ns += -f64::ln(1.0 - random.unit()) * 1e9 / per_s;
                while look * LOOK_NS <= time_ns as u64 && followed.is_none() {
                    tuning.see(look * LOOK_NS, &reading);
                    let there = (tuning.arrival_per_s() > 2_000.0) == (to > 2_000.0);
                    if look * LOOK_NS > steps_ns && there {
                        followed = Some(look * LOOK_NS - steps_ns);
                    }
                    assert!(there || look * LOOK_NS < steps_ns + 1_000_000_000);
                    look += 1;
                }
                reading.accepted += 1;
            }
            late += u32::from(followed.unwrap() > 3 * LOOK_NS);
        }
        assert!(late <= 10, "{late} of 500 steps were followed later");
    }

    #[test]
    fn chance_is_no_change() {
        let (mut tuning, mut random) = (tuning(), Random(1));
        let mut reading = Reading::default();
        for step in 1..=2_000u64 {
            // 2,000 a second in groups, as a busy machine lets them through: 10, 15, 20, 25 or 30 in a look.
            reading.accepted += 10 + (random.unit() * 5.0) as u64 * 5;
            tuning.see(step * LOOK_NS, &reading);
            if step > 200 {
                assert!((tuning.arrival_per_s() - 2_000.0).abs() < 200.0, "{}", tuning.arrival_per_s());
            }
        }
    }
}
