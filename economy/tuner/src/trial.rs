//! Judging a change by what was seen before and after it.
//!
//! A server does not see all of the latency that its clients perceive, and how much of it stays hidden differs from
//! setting to setting: a halted core wakes before anything of it looks at a clock. The points hold what clients
//! perceived. So both sides are judged by the same rule: a client waits at least as long as the server sees, and at
//! least as long as it did when the point was profiled. What the server sees can make a setting look worse than its
//! point, never better.

use nom_money::Prices;
use nom_points::{Class, LoadKind, Measured, Noise, Point, Setting};
use nom_utility::{Contract, Flow};

/// Settings that are distrusted at the same time; the oldest is forgotten for a new one.
pub(crate) const DISTRUSTED_MAX: usize = 16;

/// A change that is not judged yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    pub from: Setting,
    pub class: usize,
    /// The prices at which it was made: at others it may be worse and yet have been right.
    pub prices: Prices,
    /// The last window under the setting before.
    pub before: Measured,
    pub before_arrival_per_s: f64,
    /// Windows in a row in which it earned less than before.
    pub worse: u32,
}

/// A setting that earned less than it promised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distrusted {
    pub setting: Setting,
    pub class: usize,
    pub until_ns: u64,
}

/// What was seen under a setting, as a flow with the latency that clients are taken to perceive.
fn flow(seen: &Measured, point: Option<&Point>, limit_ns: Option<u64>) -> Flow {
    let part = |above: u64, of: u64| if of == 0 { 0.0 } else { above as f64 / of as f64 };
    let profiled_late = match (point, limit_ns) {
        (Some(point), Some(limit_ns)) => {
            let (above, of) = point.late_above(limit_ns);
            part(above, of)
        }
        _ => 0.0,
    };
    Flow {
        operations_per_s: seen.operations_per_s(),
        useful_bytes_per_s: seen.per_s(seen.useful_bytes),
        wire_bytes_per_s: seen.per_s(seen.wire_bytes),
        cores: seen.core_ns as f64 / seen.window_ns.max(1) as f64,
        memory_bytes: seen.memory_bytes as f64,
        latency_mean_ns: seen.mean_ns.max(point.map_or(0.0, |point| point.mean_ns)),
        latency_jitter_ns: seen.jitter_ns.max(point.map_or(0.0, |point| point.jitter_ns)),
        late: part(seen.late, seen.measured).max(profiled_late),
    }
}

/// A change of arrivals beyond this makes before and after incomparable.
const ARRIVALS_DRIFT_MAX: f64 = 0.25;

/// Profit rates before and after at the same prices, and whether after is worse beyond noise. `None` when they
/// cannot be compared. In an open loop what came before is scaled to what arrives now: fewer arrivals are not the
/// setting's fault.
pub(crate) fn judge(
    trial: &Trial,
    setting: Setting,
    seen: &Measured,
    arrival_per_s: f64,
    class: &Class,
    contract: &Contract,
    noise: &Noise,
) -> Option<(f64, f64, bool)> {
    let point = |setting| class.find(setting).map(|place| &class.points[place]);
    // With a point for only one of them the two would be judged by different rules.
    let (old, new) = match (point(trial.from), point(setting)) {
        (Some(old), Some(new)) => (Some(old), Some(new)),
        _ => (None, None),
    };
    let limit_ns = contract.limit_ns();
    let mut before = flow(&trial.before, old, limit_ns);
    if class.kind == LoadKind::Open {
        // Without arrivals before there is nothing to scale by, and the ratio is infinite.
        let ratio = arrival_per_s / trial.before_arrival_per_s.max(f64::MIN_POSITIVE);
        if (1.0 - ratio).abs() > ARRIVALS_DRIFT_MAX {
            return None;
        }
        before.operations_per_s *= ratio;
        before.useful_bytes_per_s *= ratio;
        before.wire_bytes_per_s *= ratio;
    }
    let after = contract.evaluate(&flow(seen, new, limit_ns), &trial.prices);
    let before = contract.evaluate(&before, &trial.prices);
    // Revenue follows from latency, each cost from the figure that it is billed by.
    let noise = noise.latency * before.revenue.abs()
        + noise.bytes * before.bandwidth.abs()
        + noise.cores * before.core.abs()
        + noise.memory * before.memory.abs();
    Some((before.total(), after.total(), after.total() < before.total() - noise))
}
