//! A server in virtual time: what each setting gives under each load, fitted to measured points, then bent.
//!
//! The model has a cost of each wake and of each request, shared by what gathers meanwhile:
//!
//! ```text
//! gathered = 1 + arrivals x W        core = request + wake / gathered      wire = payload + lone / gathered
//! latency  = base + share x W + time in queue, by the core's utilisation
//! ```
//!
//! It is fitted to the measured points that come with the examples: those without and with gathering, in two homes. A run
//! bends it: each setting's figures are off by chance, and wander while time goes on. What a tuner is told is one more
//! measurement of that, with its own error.

use super::random::Random;
use nom_points::{Batching, Measured, Noise, Point, Points, Setting, Wait};
use nom_utility::Flow;

/// Settings that are weighed: for how long frames gather, in microseconds.
pub const DELAYS_US: [u64; 8] = [0, 50, 100, 250, 500, 1_000, 2_000, 4_000];
/// The load under which the points were measured.
const MEASURED_PER_S: f64 = 6_000.0;
/// A queue is cut off there.
const BUSY_MOST: f64 = 0.97;
/// What a client waits when more arrives than can be served.
const DROWNED_NS: f64 = 20e6;
/// How far settings are off the model, how far they wander, and how much windows differ.
const BENT: f64 = 0.08;
const WANDER: f64 = 0.06;
const UNEVEN: f64 = 0.04;
/// How often a server counts what waits, and how much that varies.
const LOOKS_PER_S: f64 = 100.0;
const COUNT_UNEVEN: f64 = 0.6;

/// How what gathers counts. The tuner's model is of the first form; it is told nothing of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A cost of each wake, shared by what gathers, and of each request.
    Shared,
    /// The same, and beyond so many requests what gathered does not stay in the cache: each is dearer then.
    Cliff,
    /// Few requests take most of the time: queues are long, and how many are late grows slowly with the mean.
    HeavyTail,
    /// A wake is shared by few requests; each beyond them has a cost of its own that grows with what gathered.
    Knee,
}

/// Requests that fit into the cache, how much dearer others are, and over how many more that comes.
const CLIFF: (f64, f64, f64) = (12.0, 0.3, 4.0);
/// Squared variation of service times.
const HEAVY: f64 = 8.0;
/// Requests that share a wake at most, and what each beyond costs, as a part of a request.
const KNEE: (f64, f64) = (4.0, 0.01);

/// The parameters of a home.
#[derive(Debug, Clone, Copy)]
pub struct Fitted {
    request_ns: f64,
    wake_ns: f64,
    payload: f64,
    lone: f64,
    base_ns: f64,
    share: f64,
    form: Form,
}

/// The fit of both homes, and what it leaves unexplained: each figure's largest difference as a part.
pub fn fit(homes: [&Points; 2]) -> Option<([Fitted; 2], f64)> {
    let pair = |points: &Points| {
        let all = &points.classes.first()?.points;
        let with = |wanted: bool| {
            all.iter().find(|point| {
                matches!(point.setting, Setting::Serve { batching: Batching::Hold { .. }, .. }) == wanted
            })
        };
        let (alone, held) = (with(false)?.clone(), with(true)?.clone());
        let Setting::Serve { batching: Batching::Hold { delay_ns }, .. } = held.setting else { return None };
        Some((alone, held, delay_ns as f64))
    };
    let pairs = [pair(homes[0])?, pair(homes[1])?];
    // One share of W for both, by least squares; all else follows from each home's own two points.
    let (mut above, mut below) = (0.0, 0.0);
    for (alone, held, delay_ns) in &pairs {
        above += (held.mean_ns - alone.mean_ns) * delay_ns;
        below += delay_ns * delay_ns;
    }
    let share = above / below;
    // One drop of bytes for both.
    let drops = pairs.each_ref().map(|(alone, held, _)| 1.0 - held.wire_bytes / alone.wire_bytes);
    let drop = (drops[0] + drops[1]) / 2.0;
    let mut residual: f64 = 0.0;
    let fitted = pairs.each_ref().map(|(alone, held, delay_ns)| {
        let gathered = 1.0 + MEASURED_PER_S * delay_ns / 1e9;
        let shared = 1.0 - 1.0 / gathered;
        let wake_ns = (alone.core_ns - held.core_ns) / shared;
        let lone = alone.wire_bytes * drop / shared;
        let one = Fitted {
            request_ns: alone.core_ns - wake_ns,
            wake_ns,
            payload: alone.wire_bytes - lone,
            lone,
            base_ns: alone.mean_ns,
            share,
            form: Form::Shared,
        };
        let latency_ns = one.base_ns + share * delay_ns;
        residual = residual.max((latency_ns / held.mean_ns - 1.0).abs());
        let wire = one.payload + one.lone / gathered;
        residual = residual.max((wire / held.wire_bytes - 1.0).abs());
        one
    });
    Some((fitted, residual))
}

/// What a setting gives: the truth at a moment, or what the model says.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    pub core_ns: f64,
    pub wire: f64,
    pub mean_ns: f64,
    pub capacity_per_s: f64,
}

impl Fitted {
    /// The same home with a server of another form.
    pub fn formed(self, form: Form) -> Self {
        Self { form, ..self }
    }

    fn core_ns(&self, gathered: f64) -> f64 {
        let shared = self.request_ns + self.wake_ns / gathered;
        match self.form {
            Form::Shared | Form::HeavyTail => shared,
            Form::Cliff => {
                let (fits, dearer, over) = CLIFF;
                shared * (1.0 + dearer * ((gathered - fits) / over).clamp(0.0, 1.0))
            }
            Form::Knee => {
                let (most, each) = KNEE;
                let beyond = (gathered - most).max(0.0);
                self.request_ns * (1.0 + each * beyond) + self.wake_ns / gathered.min(most)
            }
        }
    }

    fn at(&self, delay_us: u64, arrival_per_s: f64) -> Truth {
        let delay_ns = delay_us as f64 * 1e3;
        let gathered = 1.0 + arrival_per_s * delay_ns / 1e9;
        let core_ns = self.core_ns(gathered);
        let varied = if self.form == Form::HeavyTail { 1.0 + HEAVY } else { 1.0 };
        let busy = arrival_per_s * core_ns / 1e9;
        let queue_ns =
            if busy < BUSY_MOST { varied * core_ns * busy / (2.0 * (1.0 - busy)) } else { DROWNED_NS };
        Truth {
            core_ns,
            wire: self.payload + self.lone / gathered,
            mean_ns: self.base_ns + self.share * delay_ns + queue_ns,
            capacity_per_s: BUSY_MOST * 1e9 / core_ns,
        }
    }

    /// Core time and bytes of a request that is served alone.
    pub fn alone_core_ns(&self) -> f64 {
        self.request_ns + self.wake_ns
    }

    pub fn alone_wire(&self) -> f64 {
        self.payload + self.lone
    }

    /// Requests a second that one core serves without gathering.
    pub fn capacity_per_s(&self) -> f64 {
        BUSY_MOST * 1e9 / (self.request_ns + self.wake_ns)
    }
}

/// How one figure of one setting is off.
#[derive(Debug, Clone, Copy)]
struct Bend {
    off: f64,
    phase: f64,
    period_s: f64,
}

impl Bend {
    fn draw(random: &mut Random) -> Self {
        Self {
            off: 1.0 + BENT * random.normal(),
            phase: random.part() * core::f64::consts::TAU,
            period_s: 300.0 + 900.0 * random.part(),
        }
    }

    fn at(&self, second: f64) -> f64 {
        self.off * (1.0 + WANDER * (self.phase + core::f64::consts::TAU * second / self.period_s).sin())
    }
}

/// The surface of one run.
#[derive(Debug, Clone)]
pub struct Surface {
    pub fitted: Fitted,
    bends: Vec<[Bend; 2]>,
    pub limit_ns: u64,
}

pub fn setting(place: usize) -> Setting {
    let batching = match DELAYS_US[place] {
        0 => Batching::RunToCompletion,
        delay_us => Batching::Hold { delay_ns: delay_us * 1_000 },
    };
    Setting::serve(Wait::Halt, batching)
}

impl Surface {
    pub fn draw(fitted: Fitted, limit_ns: u64, random: &mut Random) -> Self {
        let bends = DELAYS_US.iter().map(|_| [Bend::draw(random), Bend::draw(random)]).collect();
        Self { fitted, bends, limit_ns }
    }

    /// What a setting truly gives on average at a moment.
    pub fn truth(&self, place: usize, arrival_per_s: f64, second: f64) -> Truth {
        let mut truth = self.fitted.at(DELAYS_US[place], arrival_per_s);
        let [core, latency] = &self.bends[place];
        truth.core_ns *= core.at(second);
        truth.mean_ns *= latency.at(second);
        truth
    }

    /// The fraction above the limit: latencies have a heavy tail.
    fn late(&self, mean_ns: f64) -> f64 {
        let part = mean_ns / self.limit_ns as f64;
        let late = match self.fitted.form {
            Form::HeavyTail => 0.01 * part.powf(1.5),
            _ => 0.05 * part.powi(4),
        };
        late.min(1.0)
    }

    /// The true flow, to be judged by.
    pub fn flow(&self, place: Option<usize>, arrival_per_s: f64, second: f64) -> Flow {
        let Some(place) = place else { return Flow::nothing(0.0, 0.0) };
        let truth = self.truth(place, arrival_per_s, second);
        let served = arrival_per_s.min(truth.capacity_per_s);
        Flow {
            operations_per_s: served,
            useful_bytes_per_s: served * 500.0,
            wire_bytes_per_s: served * truth.wire,
            cores: served * truth.core_ns / 1e9,
            memory_bytes: 0.0,
            latency_mean_ns: truth.mean_ns,
            latency_jitter_ns: truth.mean_ns / 2.0,
            late: self.late(truth.mean_ns),
        }
    }

    /// What a server counts in a window, unevenly.
    pub fn window(
        &self,
        place: usize,
        arrival_per_s: f64,
        second: f64,
        seconds: f64,
        random: &mut Random,
    ) -> Measured {
        let flow = self.flow(Some(place), arrival_per_s, second);
        // Chance averages out with time.
        let scale = 1.0 / seconds.sqrt();
        let mut uneven = |part: f64| (1.0 + part * scale * random.normal()).max(0.1);
        let more = uneven(UNEVEN / 4.0);
        let operations = (flow.operations_per_s * seconds * more) as u64;
        let mean_ns = flow.latency_mean_ns * uneven(UNEVEN);
        let count = |per_s: f64, part: f64| (per_s * seconds * part) as u64;
        Measured {
            window_ns: (seconds * 1e9) as u64,
            operations,
            arrived: (arrival_per_s * seconds * more) as u64,
            useful_bytes: operations * 500,
            wire_bytes: (operations as f64 * flow.wire_bytes_per_s / flow.operations_per_s.max(1.0)) as u64,
            core_ns: count(flow.cores * 1e9, uneven(UNEVEN)),
            memory_bytes: 0,
            measured: operations,
            late: (self.late(mean_ns) * operations as f64) as u64,
            mean_ns,
            jitter_ns: mean_ns / 2.0,
            counted_ns: 0.0,
        }
    }

    /// How long requests gather at least, by how many wait when the server looks a hundred times a second: as the service
    /// counts it, less the one that may have woken it and two deviations. It sees no queue and nothing beyond itself.
    pub fn counted_ns(&self, place: usize, served_per_s: f64, seconds: f64, random: &mut Random) -> f64 {
        let gathers_ns = self.fitted.share * DELAYS_US[place] as f64 * 1e3;
        let waiting = served_per_s * gathers_ns / 1e9;
        let doubt = COUNT_UNEVEN * (waiting + waiting.sqrt()) / (LOOKS_PER_S * seconds).sqrt();
        let counted = waiting + doubt * random.normal() - 2.0 * doubt - 1.0;
        counted.max(0.0) * 1e9 / served_per_s.max(1.0)
    }

    /// A profile: a point under a load, measured with an error of its own before the run begins.
    pub fn profiled(&self, place: usize, arrival_per_s: f64, noise: &Noise, random: &mut Random) -> Point {
        let truth = self.truth(place, arrival_per_s, 0.0);
        let mean_ns = truth.mean_ns * (1.0 + noise.latency / 2.0 * random.normal());
        let late = (self.late(mean_ns) * 100_000.0) as u64;
        Point {
            throughput_per_s: truth.capacity_per_s,
            useful_bytes: 500.0,
            wire_bytes: truth.wire,
            core_ns: truth.core_ns * (1.0 + noise.cores / 2.0 * random.normal()),
            mean_ns,
            server_ns: mean_ns,
            jitter_ns: mean_ns / 2.0,
            samples: 100_000,
            late: vec![nom_points::Late { threshold_ns: self.limit_ns, above: late }],
            ..Point::unmeasured(setting(place))
        }
    }
}
