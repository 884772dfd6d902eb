//! What adapting earns, in virtual time: the tuner beside the best fixed setting, an oracle, and what others do.
//!
//! The surfaces are fitted to measured points and then bent and moved in ways that the tuner is not told. The best
//! static setting is chosen on half of the runs and everything is scored on the other half. What margin the service has
//! is part of the setting: with a fat one the price of a core does not matter, and a figure says so.

mod days;
mod random;
mod rivals;
mod run;
mod sources;
mod surface;
mod trouble;

use crate::Settings;
use crate::figures::Figure;
use days::{Course, MOVES, Moves};
use nom_machine::trouble::{Outcome, Trouble};
use nom_money::{Nano, PerByte, PerOperation, RefundPerOperation};
use nom_points::Points;
use nom_utility::{Contract, LimitKind, TailRule};
pub use random::Random;
use run::{Earned, Knowledge, Scene};
use std::sync::atomic::{AtomicUsize, Ordering};
use surface::{DELAYS_US, Fitted, Form, Surface};

/// What is claimed.
pub const CLAIM: &str = "adapting earns at least what the best fixed setting does, 98% of an oracle with profiled points and \
                         95% with none, in virtual time on surfaces that the tuner was not told";

/// Runs of each cell: half of them choose the best static setting.
const RUNS: usize = 40;
/// Learning from nothing, and the time in which it is scored.
const LEARN_S: f64 = 600.0;
const SCORE_S: f64 = 600.0;
const LIMIT_NS: u64 = 750_000;
/// Where the oracle's headroom over the best static setting is less, captured gain has no meaning.
const HEADROOM: f64 = 0.1;

/// One cell of the table: a course and what moves in it.
struct Cell<'a> {
    course: &'a Course,
    name: &'static str,
    moves: Moves,
}

/// Runs that belong together.
#[derive(Debug, Clone, Copy)]
struct Series {
    /// The first run's seed, and how many follow it.
    first: u64,
    runs: usize,
    form: Form,
    /// How many times what an operation costs it is worth.
    margin: f64,
    /// Whether others are played beside.
    compared: bool,
}

/// The seeds that have been looked at ever since there is this bench.
const KNOWN: u64 = 1;
/// Seeds that nobody looked at before the tuner was as it is: those that change it look at others.
const FRESH: u64 = 700_001;
const OTHER_FORMS: u64 = 910_001;
const THIN: f64 = 3.0;
const FAT: f64 = 300.0;

impl Series {
    fn known(runs: usize, margin: f64) -> Self {
        Self { first: KNOWN, runs, form: Form::Shared, margin, compared: true }
    }

    fn unseen(first: u64, runs: usize, form: Form) -> Self {
        Self { first, runs, form, margin: THIN, compared: false }
    }
}

/// The scored half of a cell.
struct Scored {
    stat: Vec<Earned>,
    oracle: Vec<Earned>,
    frozen: Vec<Earned>,
    offline: Vec<Earned>,
    online: Vec<Earned>,
    climber: Vec<Earned>,
    bandit: Vec<Earned>,
    ix: Vec<Earned>,
}

fn sum(of: &[Earned]) -> f64 {
    of.iter().map(|earned| earned.profit).sum()
}

/// Mean and lower 95% bound of the paired difference, as a part of the reference's revenue.
fn paired(ours: &[Earned], theirs: &[Earned]) -> (f64, f64) {
    let parts: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| (a.profit - b.profit) / b.revenue.abs().max(f64::MIN_POSITIVE))
        .collect();
    let count = parts.len() as f64;
    let mean = parts.iter().sum::<f64>() / count;
    let squares: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
    let error = (squares / (count - 1.0).max(1.0) / count).sqrt();
    // Student's t, both sides, for at least so many runs.
    let t = [(20, 2.093), (10, 2.262), (5, 2.776), (3, 4.303)];
    let t = t.iter().find(|(runs, _)| parts.len() >= *runs).map_or(12.706, |(_, t)| *t);
    (mean, mean - t * error)
}

/// What an operation earns and what waiting costs. The paper's contract on its schedule; on the others one with a margin
/// that is so many times what an operation's core time costs on average.
fn contract(course: &Course, fitted: &Fitted, margin: f64) -> Contract {
    if course.paper {
        let kind =
            LimitKind::Penalty { limit_ns: LIMIT_NS, factor: Nano(100_000_000_000), tail: TailRule::Counted };
        return Contract::per_byte(PerByte(160_000_000_000), kind);
    }
    let cost = course.operation_cost_atto(fitted);
    let alpha = PerOperation((cost * margin) as i128);
    // A millisecond costs a little more than the core time of an operation.
    Contract::refund_per_operation(alpha, RefundPerOperation((cost * 1.2 * 1_000.0) as i128))
}

/// What the strategies of one run earned; no strategies where only the fixed settings are played.
struct Run {
    statics: Vec<Earned>,
    scored: Vec<Earned>,
}

/// Runs have nothing in common: so many are played at the same time, and what they earn does not depend on it.
const WORKERS: usize = 8;

fn play(cell: &Cell<'_>, homes: &[Fitted; 2], series: &Series) -> Scored {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut played = Vec::new();
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= series.runs {
                return played;
            }
            played.push((run, play_one(cell, homes, series, run)));
        }
    };
    let mut played: Vec<(usize, Run)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(series.runs)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run does not panic")).collect()
    });
    played.sort_by_key(|(run, _)| *run);
    // Chosen on the even runs, scored on the odd ones.
    let total =
        |place: usize| played.iter().step_by(2).map(|(_, run)| run.statics[place].profit).sum::<f64>();
    let best = (0..DELAYS_US.len()).max_by(|a, b| total(*a).total_cmp(&total(*b))).unwrap_or(0);
    let odd = || played.iter().skip(1).step_by(2).map(|(_, run)| run);
    let of = |place: usize| odd().filter_map(|run| run.scored.get(place).copied()).collect();
    Scored {
        stat: odd().map(|run| run.statics[best]).collect(),
        oracle: of(0),
        offline: of(1),
        online: of(2),
        frozen: of(3),
        climber: of(4),
        bandit: of(5),
        ix: of(6),
    }
}

fn play_one(cell: &Cell<'_>, homes: &[Fitted; 2], series: &Series, run: usize) -> Run {
    let fitted = homes[run / 2 % 2].formed(series.form);
    let seed = series.first + run as u64;
    let surface = Surface::draw(fitted, LIMIT_NS, &mut Random::new(seed));
    let scene = Scene {
        surface: &surface,
        course: cell.course,
        moves: cell.moves,
        contract: contract(cell.course, &fitted, series.margin),
        from_s: LEARN_S,
        until_s: LEARN_S + SCORE_S,
        seed,
    };
    let mut scored = Vec::new();
    if run % 2 == 1 {
        scored.push(scene.oracle());
        scored.push(scene.tuned(Knowledge::Profiled));
        scored.push(scene.tuned(Knowledge::Nothing));
        if series.compared {
            scored.push(scene.tuned(Knowledge::Frozen));
            scored.push(rivals::climber(&scene));
            scored.push(rivals::bandit(&scene));
            scored.push(rivals::ix(&scene));
        }
    }
    Run { statics: (0..DELAYS_US.len()).map(|place| scene.fixed(place)).collect(), scored }
}

fn points(text: &str) -> Outcome<Points> {
    Points::parse(text).map_err(|error| Trouble::new(format!("the measured points: {error}")))
}

/// Figures over all cells.
struct Worst {
    static_bound: f64,
    frozen: f64,
    offline: f64,
    online: f64,
    share: f64,
    captured: f64,
    captured_cells: usize,
    price_only: f64,
}

/// A cell as it came out: parts of the oracle's profit.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The course of prices.
    pub course: &'static str,
    /// What moves: `price`, `load` or `both`.
    pub moves: &'static str,
    /// The best fixed setting.
    pub stat: f64,
    /// The tuner with a profile that is left alone.
    pub frozen: f64,
    /// With a profile that it refines.
    pub offline: f64,
    /// With none.
    pub online: f64,
}

/// Measures it.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    Ok(cells(settings, progress)?.1)
}

/// Measures it; the cells beside the figures.
pub fn cells(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<(Vec<Row>, Vec<Figure>)> {
    let guest = points(include_str!("profit/guest.points"))?;
    let linux = points(include_str!("profit/linux.points"))?;
    let (homes, residual) = surface::fit([&guest, &linux])
        .ok_or_else(|| Trouble::new("the measured points do not show gathering"))?;
    progress(&format!(
        "the model is fitted to four measured points (two homes); what it leaves unexplained is at most {:.1}%",
        residual * 100.0
    ));
    let runs = settings.runs.map_or(RUNS, |runs| runs.max(2) * 2);
    let courses = sources::courses()?;
    let mut worst = Worst {
        static_bound: f64::INFINITY,
        frozen: f64::INFINITY,
        offline: f64::INFINITY,
        online: f64::INFINITY,
        share: 0.0,
        captured: f64::INFINITY,
        captured_cells: 0,
        price_only: f64::NEG_INFINITY,
    };
    progress(
        "course, what moves: of the oracle's profit: static, profile left alone, profile refined, from nothing; hill climbing, bandit, IX; headroom; captured",
    );
    let mut rows = Vec::new();
    for course in &courses {
        for (name, moves) in MOVES {
            let cell = Cell { course, name, moves };
            rows.push(take(&cell, &play(&cell, &homes, &Series::known(runs, THIN)), &mut worst, progress));
        }
    }
    let fat = courses.iter().filter(|course| !course.paper).map(|course| {
        let cell = Cell { course, name: "price", moves: MOVES[0].1 };
        let scored = play(&cell, &homes, &Series::known(runs, FAT));
        paired(&scored.oracle, &scored.stat).0
    });
    let fat = fat.fold(0.0, f64::max);
    progress(&format!(
        "with a margin of 300 times the core's cost the oracle gains at most {:.2}% over the best static setting by \
         following prices alone: there the price of a core does not matter",
        fat * 100.0
    ));
    trouble::show(&courses, &homes, progress);
    let fresh = unseen(&courses, &homes, &[Form::Shared], FRESH, runs / 2, progress);
    let forms = [Form::Cliff, Form::HeavyTail, Form::Knee];
    let other = unseen(&courses, &homes, &forms, OTHER_FORMS, runs / 4, progress);
    let one = |name, unit, goal, value: f64| Figure::of(name, unit, goal, &[value]);
    let figures = [
        one("profit.static_lower_bound", "", Some(">=-0.01"), worst.static_bound),
        one("profit.oracle_ratio_offline_min", "", Some(">=0.98"), worst.offline),
        one("profit.oracle_ratio_frozen_min", "", None, worst.frozen),
        one("profit.oracle_ratio_online_min", "", Some(">=0.95"), worst.online),
        one("profit.fresh_offline_min", "", Some(">=0.98"), fresh.0),
        one("profit.fresh_min", "", Some(">=0.95"), fresh.1),
        one("profit.other_form_offline_min", "", Some(">=0.98"), other.0),
        one("profit.other_form_min", "", Some(">=0.95"), other.1),
        one("profit.exploration_share_max", "", Some("<=0.01"), worst.share),
        (worst.captured_cells > 0)
            .then(|| one("profit.captured_gain_min", "", Some(">=0.8"), worst.captured))
            .flatten(),
        one("profit.captured_gain_cells", "", None, worst.captured_cells as f64),
        one("profit.price_only_gain", "", None, worst.price_only),
        one("profit.price_only_headroom_fat_margin", "", None, fat),
        one("profit.model_residual", "", None, residual),
    ];
    Ok((rows, figures.into_iter().flatten().collect()))
}

/// The least part of the oracle's profit with a profile and from nothing, over all courses and forms, on seeds that the
/// tuner was not made with.
fn unseen(
    courses: &[Course],
    homes: &[Fitted; 2],
    forms: &[Form],
    first: u64,
    runs: usize,
    progress: &mut dyn FnMut(&str),
) -> (f64, f64) {
    let mut least = (f64::INFINITY, f64::INFINITY);
    for form in forms {
        for course in courses {
            for (name, moves) in MOVES {
                let cell = Cell { course, name, moves };
                let scored = play(&cell, homes, &Series::unseen(first, runs.max(4), *form));
                let oracle = sum(&scored.oracle);
                let part = |of: &[Earned]| if oracle > 0.0 { sum(of) / oracle } else { f64::NAN };
                let (offline, online) = (part(&scored.offline), part(&scored.online));
                least = (least.0.min(offline), least.1.min(online));
                progress(&format!(
                    "seeds from {first}, {form:?}, {} {name}: profile refined {offline:.3}, from nothing {online:.3}; static {:.3}",
                    course.name,
                    part(&scored.stat),
                ));
            }
        }
    }
    least
}

fn take(cell: &Cell<'_>, scored: &Scored, worst: &mut Worst, progress: &mut dyn FnMut(&str)) -> Row {
    let oracle = sum(&scored.oracle);
    let (stat, offline) = (sum(&scored.stat), sum(&scored.offline));
    // A ratio whose denominator is not positive is void.
    let ratio = |of: &[Earned]| if oracle > 0.0 { sum(of) / oracle } else { f64::NAN };
    let share = scored.online.iter().chain(&scored.offline).map(|earned| earned.explored).fold(0.0, f64::max);
    let headroom = (oracle - stat) / stat.abs().max(f64::MIN_POSITIVE);
    let captured = (offline - stat) / (oracle - stat);
    let (mean, bound) = paired(&scored.offline, &scored.stat);
    worst.static_bound = worst.static_bound.min(bound);
    worst.frozen = worst.frozen.min(ratio(&scored.frozen));
    worst.offline = worst.offline.min(ratio(&scored.offline));
    worst.online = worst.online.min(ratio(&scored.online));
    worst.share = worst.share.max(share);
    if headroom >= HEADROOM {
        worst.captured = worst.captured.min(captured);
        worst.captured_cells += 1;
    }
    if cell.moves == MOVES[0].1 && !cell.course.paper {
        worst.price_only = worst.price_only.max(bound);
    }
    progress(&format!(
        "{:<11} {:<5}  {:.3} {:.3} {:.3} {:.3}  {:.3} {:.3} {:.3}  {:>6.1}%  {}  (offline over static {:+.2}% of revenue, at least {:+.2}%; \
         trying cost {:.2}%)",
        cell.course.name,
        cell.name,
        ratio(&scored.stat),
        ratio(&scored.frozen),
        ratio(&scored.offline),
        ratio(&scored.online),
        ratio(&scored.climber),
        ratio(&scored.bandit),
        ratio(&scored.ix),
        headroom * 100.0,
        if headroom >= HEADROOM { format!("{captured:.2}") } else { "-".into() },
        mean * 100.0,
        bound * 100.0,
        share * 100.0,
    ));
    Row {
        course: cell.course.name,
        moves: cell.name,
        stat: ratio(&scored.stat),
        frozen: ratio(&scored.frozen),
        offline: ratio(&scored.offline),
        online: ratio(&scored.online),
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_is_never_beaten_and_adapting_earns() {
        let guest = points(include_str!("profit/guest.points")).unwrap();
        let linux = points(include_str!("profit/linux.points")).unwrap();
        let (homes, residual) = surface::fit([&guest, &linux]).unwrap();
        assert!(residual < 0.06, "{residual}");
        let courses = sources::courses().unwrap();
        assert_eq!(courses.len(), 4);
        // On the spot day with load that moves.
        let cell = Cell { course: &courses[1], name: "both", moves: MOVES[2].1 };
        let scored = play(&cell, &homes, &Series::known(2, THIN));
        let oracle = sum(&scored.oracle);
        for other in [
            &scored.stat,
            &scored.frozen,
            &scored.offline,
            &scored.online,
            &scored.climber,
            &scored.bandit,
            &scored.ix,
        ] {
            // It stays with a setting for a second, in which the tuner may move.
            assert!(sum(other) <= oracle * 1.02, "{} {oracle}", sum(other));
        }
        assert!(sum(&scored.offline) > 0.9 * oracle, "{} {oracle}", sum(&scored.offline));
        assert!(scored.online.iter().all(|online| online.explored <= 0.02), "{:?}", scored.online);
    }
}
