//! What settings give, learnt from what is seen of the one in force.
//!
//! Settings that differ only in how long frames gather are a family, and have much in common:
//!
//! ```text
//! core    = request + wake x alone        alone: the part of requests that a wake is not shared for, 1 / (1 + arrivals x W)
//! wire    = payload + lone x alone
//! latency = base + share x W + queue x (time in queue of a core that is so busy, by Pollaczek and Khinchine)
//! late    = a power of the mean latency over the limit
//! ```
//!
//! The terms are shared over all loads, so what is seen under one load says what to expect under another; how far each
//! setting is off them is estimated beside, see [`regression`]. What nature says is believed before anything is seen: a
//! request waits between none and all of W, gathering does not make it dearer, and a core that is full drowns.
//!
//! The terms are a first guess and not the truth: whatever else a setting does goes into how far it is off.

mod regression;

use alloc::vec::Vec;
use libm::{exp, log};
use nom_points::{Batching, Measured, Noise, Point, Points, Setting, Wait};
use regression::{At, Expected, Prior, Regression};

/// From this utilisation on a core is taken to drown, until it was seen to serve at a higher one.
const FULL: f64 = 0.97;
/// What a request waits in a core that drowns, in times of its core time.
const DROWNED: f64 = 400.0;
/// So many times longer than expected, while the core is busy, is no noise: it drowns.
const DROWNED_TIMES: f64 = 4.0;
const DROWNED_BUSY: f64 = 0.75;
/// How far the reckoning may be off.
const BUSY_DOUBT: f64 = 0.25;
/// Who answers less than this part of what comes drowns.
const KEPT_UP: f64 = 0.98;
/// A setting that drowned is taken to drown again under this part of the load.
const DROWNED_AGAIN: f64 = 0.97;
/// That is remembered so many times longer than figures are: to try it again is dear.
const DROWNED_REMEMBERED: u64 = 4;
/// Time in queue is a rough guess: how far a setting is off under a load counts so many times for it.
const ROUGH: f64 = 2.0;
/// No figure is expected below this part of the first that was seen.
const LEAST: f64 = 0.05;
/// What is taken from another family may be off by this part.
const FOREIGN: f64 = 0.3;

const CORE: Prior<2> = Prior { terms: [(0.6, 0.4), (0.4, 0.4)], member: 0.1, cell: 0.03, drifting: 0.25 };
const WIRE: Prior<2> = Prior { terms: [(0.9, 0.1), (0.1, 0.1)], member: 0.01, cell: 0.01, drifting: 0.25 };
/// The share of W that a request waits is a number of its own, whatever the first figure was.
const LATENCY: Prior<3> =
    Prior { terms: [(0.8, 0.4), (0.5, 0.4), (1.0, 0.5)], member: 0.1, cell: 0.06, drifting: 0.25 };
/// In logarithms.
const LATE: Prior<2> = Prior { terms: [(-3.0, 3.0), (3.0, 1.5)], member: 0.2, cell: 0.1, drifting: 0.25 };

/// What a setting is expected to give at a load, each with its variance.
#[derive(Debug, Clone, Copy)]
struct Guess {
    core_ns: Expected,
    wire_bytes: Expected,
    mean_ns: Expected,
    late: f64,
    /// Of its logarithm.
    late_variance: f64,
    drowned: bool,
    /// Of one that is reckoned to drown, and within doubt may not: its latency and late part then.
    afloat: Option<(f64, f64)>,
}

/// Settings that differ only in how long frames gather.
#[derive(Debug, Clone)]
struct Family {
    wait: Wait,
    ack_delay_ns: Option<u64>,
    /// W of each member.
    held_ns: Vec<f64>,
    seen: bool,
    /// Something of it was profiled.
    profiled: bool,
    /// Of each member.
    was_seen: Vec<bool>,
    /// First figures: core time, bytes, latency.
    unit: [f64; 3],
    core: Regression<2>,
    wire: Regression<2>,
    latency: Regression<3>,
    late: Regression<2>,
    /// Deviation of latency as a part of its mean.
    jitter: f64,
    full: f64,
    /// The most that was served in a second.
    served_per_s: f64,
    /// The load that a member drowned under, and the most that it was seen to serve; each with its time.
    drowned: Vec<Option<(f64, u64)>>,
    served: Vec<Option<(f64, u64)>>,
}

/// What was seen in a window.
pub(crate) struct Window<'a> {
    pub seen: &'a Measured,
    /// What the setting uses of a core while it is idle.
    pub idle_cores: f64,
    /// How much windows differ.
    pub spread: &'a Noise,
    /// The threshold of late operations.
    pub limit_ns: Option<u64>,
}

/// All that was learnt.
#[derive(Debug, Clone)]
pub(crate) struct Learnt {
    families: Vec<Family>,
    /// Of each class and place, where it is kept.
    places: Vec<Vec<Option<(usize, usize)>>>,
    /// Useful bytes of an operation, and memory held, as they were seen last: no setting changes them.
    held: Option<(f64, f64)>,
}

/// How far the figures of two settings may be off from each other, as deviations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doubt {
    pub core_ns: f64,
    pub wire_bytes: f64,
    pub mean_ns: f64,
    /// Of the logarithm of the late part at the same latency.
    pub late: f64,
}

fn key(setting: Setting) -> Option<(Wait, Option<u64>, f64)> {
    let Setting::Serve { wait, batching, ack_delay_ns } = setting else { return None };
    let held_ns = if let Batching::Hold { delay_ns } = batching { delay_ns as f64 } else { 0.0 };
    Some((wait, ack_delay_ns, held_ns))
}

impl Family {
    fn new(wait: Wait, ack_delay_ns: Option<u64>, held_ns: Vec<f64>, classes: usize) -> Self {
        let members = held_ns.len();
        Self {
            wait,
            ack_delay_ns,
            seen: false,
            profiled: false,
            was_seen: alloc::vec![false; members],
            unit: [1.0; 3],
            core: Regression::new(CORE, members, classes),
            wire: Regression::new(WIRE, members, classes),
            latency: Regression::new(LATENCY, members, classes),
            late: Regression::new(LATE, members, classes),
            jitter: 1.0,
            full: FULL,
            served_per_s: 0.0,
            drowned: alloc::vec![None; members],
            served: alloc::vec![None; members],
            held_ns,
        }
    }

    fn alone(&self, held_ns: f64, arrival_per_s: f64) -> [f64; 2] {
        [1.0, 1.0 / (1.0 + arrival_per_s * held_ns * 1e-9)]
    }

    /// What latency depends on, in units of the first that was seen, and whether the core is expected to drown.
    /// How busy the core is follows from what settings share: near the brim a small error of one setting's core time would
    /// be a large one of its latency, and what is wrong with it anyway goes into how far its latency is off.
    /// Without a profile there is nothing but what was seen of few settings to tell what is shared: one that is dear would make
    /// all others look busy, so each is taken for as busy as it showed itself.
    fn waiting(&self, at: At, held_ns: f64, arrival_per_s: f64) -> ([f64; 3], f64) {
        let alone = self.alone(held_ns, arrival_per_s);
        let core_ns = match self.profiled {
            true => self.core.shared(&alone).max(LEAST) * self.unit[0],
            false => expected(&self.core, at, &alone, self.unit[0]).value,
        };
        let busy = arrival_per_s * core_ns * 1e-9;
        let within = busy.min(FULL);
        let queue_ns = core_ns * within / (2.0 * (1.0 - within));
        ([1.0, held_ns / self.unit[2], queue_ns / self.unit[2]], busy)
    }

    fn guess(&self, at: At, held_ns: f64, arrival_per_s: f64, limit_ns: Option<u64>) -> Guess {
        let alone = self.alone(held_ns, arrival_per_s);
        let core_ns = expected(&self.core, at, &alone, self.unit[0]);
        let wire_bytes = expected(&self.wire, at, &alone, self.unit[1]);
        let (waiting, busy) = self.waiting(at, held_ns, arrival_per_s);
        let mut mean_ns = expected(&self.latency, at.rough(ROUGH * waiting[2]), &waiting, self.unit[2]);
        let mut reckoned = false;
        let drowned = match (self.drowned[at.member], self.served[at.member]) {
            // What was seen is believed before what is reckoned.
            (_, Some((served_per_s, _))) if arrival_per_s <= served_per_s => false,
            (Some((from_per_s, _)), _) if arrival_per_s >= from_per_s * DROWNED_AGAIN => true,
            _ => {
                reckoned = busy > self.full && busy * (1.0 - BUSY_DOUBT) <= self.full;
                busy > self.full
            }
        };
        let afloat_ns = mean_ns.value;
        if drowned {
            mean_ns.value += DROWNED * core_ns.value;
        }
        let late_at = |mean_ns: f64| {
            let late = limit_ns
                .map(|limit_ns| self.late.expected(at, &[1.0, log(mean_ns / limit_ns as f64)], Some(1.0)));
            late.map_or((0.0, 0.0), |late| (exp(late.value).min(1.0), late.variance))
        };
        let (late, late_variance) = late_at(mean_ns.value);
        let afloat = reckoned.then(|| (afloat_ns, late_at(afloat_ns).0));
        Guess { core_ns, wire_bytes, mean_ns, late, late_variance, drowned, afloat }
    }
}

/// In the figure's own unit, and never below what nature allows.
fn expected<const SHARED: usize>(
    learnt: &Regression<SHARED>,
    at: At,
    features: &[f64; SHARED],
    unit: f64,
) -> Expected {
    let Expected { value, variance } = learnt.expected(at, features, None);
    Expected { value: value.max(LEAST) * unit, variance: variance * unit * unit }
}

impl Learnt {
    /// Nothing was learnt yet but what was profiled, which is believed with the noise of the profile.
    pub fn new(points: &Points, limit_ns: Option<u64>) -> Self {
        let mut families: Vec<Family> = Vec::new();
        let mut kinds: Vec<(Wait, Option<u64>, Vec<f64>)> = Vec::new();
        for point in points.classes.iter().flat_map(|class| &class.points) {
            let Some((wait, ack_delay_ns, held_ns)) = key(point.setting) else { continue };
            match kinds.iter_mut().find(|kind| (kind.0, kind.1) == (wait, ack_delay_ns)) {
                Some(kind) if kind.2.contains(&held_ns) => {}
                Some(kind) => kind.2.push(held_ns),
                None => kinds.push((wait, ack_delay_ns, alloc::vec![held_ns])),
            }
        }
        for (wait, ack_delay_ns, held_ns) in kinds {
            families.push(Family::new(wait, ack_delay_ns, held_ns, points.classes.len()));
        }
        let find = |setting: Setting| {
            let (wait, ack_delay_ns, held_ns) = key(setting)?;
            let family = families
                .iter()
                .position(|family| (family.wait, family.ack_delay_ns) == (wait, ack_delay_ns))?;
            let member = families[family].held_ns.iter().position(|held| *held == held_ns)?;
            Some((family, member))
        };
        let of_class = |points: &[Point]| points.iter().map(|point| find(point.setting)).collect();
        let places = points.classes.iter().map(|class| of_class(&class.points)).collect();
        let mut this = Self { families, places, held: None };
        for (number, class) in points.classes.iter().enumerate() {
            for (place, point) in class.points.iter().enumerate().filter(|(_, point)| !point.is_unmeasured())
            {
                let (above, of) = limit_ns.map_or((0, 1), |limit_ns| point.late_above(limit_ns));
                let arrival_per_s = class.measured() * points.capacity_per_s;
                let figures = Figures {
                    arrival_per_s,
                    kept_up: arrival_per_s <= point.throughput_per_s,
                    core_ns: (point.idle_cores < 0.99).then_some(point.core_ns),
                    wire_bytes: point.wire_bytes,
                    mean_ns: point.mean_ns,
                    jitter_ns: point.jitter_ns,
                    late: (above, of),
                };
                if let Some((family, _)) = this.places[number][place] {
                    this.families[family].profiled = true;
                }
                this.take(number, place, &figures, &points.noise, limit_ns, 0);
            }
        }
        for family in this.families.iter_mut().filter(|family| family.seen) {
            family.core.anchor();
            family.wire.anchor();
            family.latency.anchor();
        }
        this
    }

    /// Whether anything was seen that says what to expect of a setting.
    pub fn knows(&self, class: usize, place: usize) -> bool {
        self.places[class][place].is_some() && self.families.iter().any(|family| family.seen)
    }

    /// Takes what was seen in a window under a setting.
    pub fn saw(&mut self, now_ns: u64, (class, place): (usize, usize), window: &Window<'_>, forget_ns: u64) {
        let Window { seen, idle_cores, spread, limit_ns } = *window;
        for family in &mut self.families {
            family.core.age(now_ns, forget_ns);
            family.wire.age(now_ns, forget_ns);
            family.latency.age(now_ns, forget_ns);
            family.late.age(now_ns, forget_ns);
            for remembered in family.drowned.iter_mut().chain(&mut family.served) {
                *remembered = remembered
                    .filter(|(_, at_ns)| now_ns.saturating_sub(*at_ns) / DROWNED_REMEMBERED < forget_ns);
            }
        }
        let operations = seen.operations as f64;
        self.held = Some((seen.useful_bytes as f64 / operations, seen.memory_bytes as f64));
        let cores = seen.core_ns as f64 / seen.window_ns.max(1) as f64;
        let busy = ((cores - idle_cores) / (1.0 - idle_cores).max(0.01)).max(0.0);
        let figures = Figures {
            arrival_per_s: seen.arrivals_per_s(),
            kept_up: seen.operations as f64 >= KEPT_UP * seen.arrived as f64,
            core_ns: (idle_cores < 0.99).then_some(busy * seen.window_ns as f64 / operations),
            wire_bytes: seen.wire_bytes as f64 / operations,
            mean_ns: seen.mean_ns,
            jitter_ns: seen.jitter_ns,
            late: (seen.late, seen.measured),
        };
        self.take(class, place, &figures, spread, limit_ns, now_ns);
    }

    fn take(
        &mut self,
        class: usize,
        place: usize,
        figures: &Figures,
        spread: &Noise,
        limit_ns: Option<u64>,
        now_ns: u64,
    ) {
        let Some((family, member)) = self.places[class][place] else { return };
        let family = &mut self.families[family];
        let at = At::new(member, class);
        let held_ns = family.held_ns[member];
        let arrival = figures.arrival_per_s;
        if !family.seen {
            family.seen = true;
            family.unit = [
                figures.core_ns.unwrap_or(1.0).max(1.0),
                figures.wire_bytes.max(1.0),
                figures.mean_ns.max(1.0),
            ];
            family.jitter = figures.jitter_ns / family.unit[2];
            // A core that drowns from the start says nothing about latency: a request waits about as long as it works.
            if figures.core_ns.is_some_and(|core_ns| arrival * core_ns * 1e-9 > DROWNED_BUSY)
                && figures.mean_ns > DROWNED_TIMES * 10.0 * family.unit[0]
            {
                family.unit[2] = DROWNED_TIMES * family.unit[0];
            }
        }
        family.was_seen[member] = true;
        let unit = family.unit;
        let alone = family.alone(held_ns, arrival);
        let noise = |part: f64, value: f64| {
            let deviation = part.max(0.005) * value;
            deviation * deviation
        };
        if let Some(core_ns) = figures.core_ns {
            let core = core_ns / unit[0];
            family.core.saw(at, &alone, None, (core, noise(spread.cores, core)));
            family.core.bound(0, 0.0, f64::INFINITY);
            family.core.bound(1, 0.0, f64::INFINITY);
        }
        let wire = figures.wire_bytes / unit[1];
        family.wire.saw(at, &alone, None, (wire, noise(spread.bytes, wire)));
        let (waiting, busy) = family.waiting(at, held_ns, arrival);
        let rough = at.rough(ROUGH * waiting[2]);
        let likely_ns = family.latency.expected(rough, &waiting, None).value.max(LEAST) * unit[2];
        let below = |known: Option<(f64, u64)>| known.filter(|(per_s, _)| *per_s < arrival);
        if !figures.kept_up || busy > DROWNED_BUSY && figures.mean_ns > DROWNED_TIMES * likely_ns {
            family.drowned[member] = Some((arrival, now_ns));
            family.served[member] = below(family.served[member]);
            return;
        }
        // It does serve: it drowns later than was thought.
        family.drowned[member] = family.drowned[member].filter(|(from_per_s, _)| arrival < *from_per_s);
        if below(family.served[member]).is_some() || family.served[member].is_none() {
            family.served[member] = Some((arrival, now_ns));
        }
        family.full = family.full.max(busy);
        family.served_per_s = family.served_per_s.max(arrival);
        let mean = figures.mean_ns / unit[2];
        family.latency.saw(rough, &waiting, None, (mean, noise(spread.latency, mean)));
        family.latency.bound(1, 0.0, 1.0);
        family.latency.bound(2, 0.0, 4.0);
        family.jitter += (figures.jitter_ns / figures.mean_ns.max(1.0) - family.jitter) * 0.1;
        if let Some(limit_ns) = limit_ns
            && figures.late.1 > 0
        {
            let (late, of) = (figures.late.0 as f64 + 0.5, figures.late.1 as f64 + 1.0);
            let features = [1.0, log(figures.mean_ns.max(1.0) / limit_ns as f64)];
            family.late.saw(at, &features, Some(1.0), (log(late / of), 0.02 + 1.0 / late));
            family.late.bound(1, 0.0, 8.0);
        }
    }

    /// Writes what is expected of a setting at a load into its point. False when nothing is known.
    pub fn tell(
        &self,
        (class, place): (usize, usize),
        arrival_per_s: f64,
        limit_ns: Option<u64>,
        capacity_per_s: f64,
        point: &mut Point,
    ) -> bool {
        let Some((family, guess)) = self.guess(class, place, arrival_per_s, limit_ns) else { return false };
        if point.is_unmeasured() {
            // What arrives does not say how much could be served.
            point.throughput_per_s = capacity_per_s.max(arrival_per_s);
            point.idle_cores = if family.wait == Wait::Poll { 1.0 } else { 0.0 };
        }
        point.throughput_per_s = point.throughput_per_s.max(family.served_per_s);
        if let Some((useful_bytes, memory_bytes)) = self.held {
            (point.useful_bytes, point.memory_bytes) = (useful_bytes, memory_bytes);
        }
        point.core_ns = guess.core_ns.value;
        point.wire_bytes = guess.wire_bytes.value;
        point.mean_ns = guess.mean_ns.value;
        point.jitter_ns = guess.mean_ns.value * family.jitter;
        if let Some(limit_ns) = limit_ns {
            const OF: f64 = 1e6;
            point.samples = OF as u64;
            point.late.clear();
            let above = (guess.late * OF) as u64;
            point.late.push(nom_points::Late { threshold_ns: limit_ns, above });
        }
        true
    }

    fn guess(
        &self,
        class: usize,
        place: usize,
        arrival_per_s: f64,
        limit_ns: Option<u64>,
    ) -> Option<(&Family, Guess)> {
        let (family, member) = self.places[class][place]?;
        let own = &self.families[family];
        if own.seen {
            return Some((
                own,
                own.guess(At::new(member, class), own.held_ns[member], arrival_per_s, limit_ns),
            ));
        }
        // Nothing was seen of its family: another one says about what to expect.
        let other = self.families.iter().find(|family| family.seen)?;
        let at = At::new(0, class);
        let mut guess = other.guess(at, own.held_ns[member], arrival_per_s, limit_ns);
        for figure in [&mut guess.core_ns, &mut guess.wire_bytes, &mut guess.mean_ns] {
            figure.variance += (FOREIGN * figure.value) * (FOREIGN * figure.value);
        }
        Some((other, guess))
    }

    /// How far what is expected of two settings may be off from each other.
    pub fn doubt(
        &self,
        class: usize,
        a: Option<usize>,
        b: usize,
        arrival_per_s: f64,
        limit_ns: Option<u64>,
    ) -> Option<Doubt> {
        let (_, of_b) = self.guess(class, b, arrival_per_s, limit_ns)?;
        let of = |figure: Expected| libm::sqrt(figure.variance);
        let alone = Doubt {
            core_ns: of(of_b.core_ns),
            wire_bytes: of(of_b.wire_bytes),
            mean_ns: of(of_b.mean_ns),
            late: libm::sqrt(of_b.late_variance),
        };
        let Some(a) = a else { return Some(alone) };
        let (_, of_a) = self.guess(class, a, arrival_per_s, limit_ns)?;
        // A core that drowns earns nothing: that is beyond doubt, whatever its latency.
        if of_a.drowned {
            return Some(alone);
        }
        let ((family, a), (other, b)) = (self.places[class][a]?, self.places[class][b]?);
        if family != other || !self.families[family].seen {
            let both = |a: Expected, b: f64| libm::sqrt(a.variance + b * b);
            return Some(Doubt {
                core_ns: both(of_a.core_ns, alone.core_ns),
                wire_bytes: both(of_a.wire_bytes, alone.wire_bytes),
                mean_ns: both(of_a.mean_ns, alone.mean_ns),
                late: libm::sqrt(of_a.late_variance + of_b.late_variance),
            });
        }
        let family = &self.families[family];
        let at = |member: usize| At::new(member, class);
        let rough = |member: usize, waiting: &[f64; 3]| at(member).rough(ROUGH * waiting[2]);
        let alone = |member: usize| family.alone(family.held_ns[member], arrival_per_s);
        let waiting = |member: usize| family.waiting(at(member), family.held_ns[member], arrival_per_s).0;
        let (alone_a, alone_b) = (alone(a), alone(b));
        let (waiting_a, waiting_b) = (waiting(a), waiting(b));
        let root = |variance: f64, unit: f64| libm::sqrt(variance) * unit;
        let late = limit_ns.map_or(0.0, |limit_ns| {
            let of = |guess: &Guess| [1.0, log(guess.mean_ns.value / limit_ns as f64)];
            family.late.difference((at(a), &of(&of_a)), (at(b), &of(&of_b)), Some(1.0))
        });
        Some(Doubt {
            core_ns: root(family.core.difference((at(a), &alone_a), (at(b), &alone_b), None), family.unit[0]),
            wire_bytes: root(
                family.wire.difference((at(a), &alone_a), (at(b), &alone_b), None),
                family.unit[1],
            ),
            mean_ns: root(
                family.latency.difference(
                    (rough(a, &waiting_a), &waiting_a),
                    (rough(b, &waiting_b), &waiting_b),
                    None,
                ),
                family.unit[2],
            ),
            late: libm::sqrt(late),
        })
    }

    /// Whether a setting was seen under any load.
    pub fn was_seen(&self, class: usize, place: usize) -> bool {
        self.places[class][place].is_some_and(|(family, member)| self.families[family].was_seen[member])
    }

    /// Whether a setting, or one that is next to it, was seen.
    pub fn is_near(&self, class: usize, place: usize) -> bool {
        let Some((family, member)) = self.places[class][place] else { return false };
        let own = &self.families[family];
        let held_ns = own.held_ns[member];
        if !own.seen {
            // The same W in another family, or the shortest one.
            let same = |other: &Family| {
                (0..other.held_ns.len()).any(|seen| other.was_seen[seen] && other.held_ns[seen] == held_ns)
            };
            return self.families.iter().any(same) || own.held_ns.iter().all(|held| *held >= held_ns);
        }
        (0..own.held_ns.len()).any(|seen| {
            let (from, to) = (held_ns.min(own.held_ns[seen]), held_ns.max(own.held_ns[seen]));
            own.was_seen[seen] && !own.held_ns.iter().any(|between| *between > from && *between < to)
        })
    }

    /// How the late part grows with the mean latency: by this power.
    pub fn late_power(&self, class: usize, place: usize) -> f64 {
        self.places[class][place].map_or(0.0, |(family, _)| self.families[family].late.terms()[1])
    }

    /// What a setting that is only reckoned to drown would give if it did not: mean latency and late part.
    pub fn afloat(
        &self,
        class: usize,
        place: usize,
        arrival_per_s: f64,
        limit_ns: Option<u64>,
    ) -> Option<(f64, f64)> {
        self.guess(class, place, arrival_per_s, limit_ns)?.1.afloat
    }

    /// Whether a window says nothing about latency but that the core drowns.
    pub fn is_drowned(&self, class: usize, place: usize, arrival_per_s: f64) -> bool {
        self.guess(class, place, arrival_per_s, None).is_some_and(|(_, guess)| guess.drowned)
    }
}

/// Figures of a window, or of a profile.
struct Figures {
    arrival_per_s: f64,
    /// What came was answered.
    kept_up: bool,
    /// None where a core is never idle: then what it uses says nothing about a request.
    core_ns: Option<f64>,
    wire_bytes: f64,
    mean_ns: f64,
    jitter_ns: f64,
    /// Late ones, of so many.
    late: (u64, u64),
}
