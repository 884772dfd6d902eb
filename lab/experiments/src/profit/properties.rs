//! What must hold for each kind of server and each utility: adapting costs next to nothing where it wins nothing, and does
//! not move to and fro.

use super::days::{Course, MOVES};
use super::random::Random;
use super::run::{Knowledge, Scene};
use super::surface::{DELAYS_US, Fitted, Form, Surface, fit};
use super::{LIMIT_NS, points, sources};
use nom_money::{BonusPerOperation, Nano, PerOperation, RefundPerOperation};
use nom_utility::{Contract, LimitKind, TailRule};

/// A course is played once.
const RUN_S: f64 = 600.0;
const UTILITIES: [&str; 3] = ["penalty", "refund", "bonus"];

fn contract(utility: &str, cost: f64) -> Contract {
    let alpha = PerOperation((cost * 3.0) as i128);
    match utility {
        "penalty" => {
            let factor = Nano(20_000_000_000);
            let kind = LimitKind::Penalty { limit_ns: LIMIT_NS, factor, tail: TailRule::Counted };
            Contract::per_operation(alpha, kind)
        }
        "refund" => Contract::refund_per_operation(alpha, RefundPerOperation((cost * 1_200.0) as i128)),
        // At 200 us the bonus is what an operation costs.
        _ => Contract::bonus_per_operation(alpha, BonusPerOperation((cost * 200e-6) as i128), Some(alpha)),
    }
}

/// Three applications: two homes, and one that falls off its cache.
fn applications() -> [Fitted; 3] {
    let guest = points(include_str!("guest.points")).unwrap();
    let linux = points(include_str!("linux.points")).unwrap();
    let (homes, _) = fit([&guest, &linux]).unwrap();
    [homes[0], homes[1], homes[0].formed(Form::Cliff)]
}

/// How often price or load change within a run.
fn regimes(course: &Course, scene: &Scene<'_>) -> u32 {
    let capacity_per_s = scene.surface.fitted.capacity_per_s();
    let at = |second: u32| course.at(f64::from(second), scene.moves, capacity_per_s);
    let moved = |second: &u32| {
        let (before, now) = (at(second - 1), at(*second));
        before.prices != now.prices || before.arrival_per_s != now.arrival_per_s
    };
    (1..RUN_S as u32).filter(moved).count() as u32
}

#[test]
fn adapting_is_never_worse_than_the_best_static_by_more_than_a_hundredth_and_does_not_oscillate() {
    let courses = sources::courses().unwrap();
    let course = &courses[1];
    for (application, fitted) in applications().into_iter().enumerate() {
        for utility in UTILITIES {
            let terms = contract(utility, course.operation_cost_atto(&fitted));
            for (name, moves) in MOVES {
                // Seeds of their own. The best static setting is that of another surface of the same kind.
                let drawn =
                    [31_000, 31_001].map(|seed| Surface::draw(fitted, LIMIT_NS, &mut Random::new(seed)));
                let scene = |surface| Scene {
                    surface,
                    course,
                    moves,
                    contract: terms,
                    from_s: 0.0,
                    until_s: RUN_S,
                    seed: 31_000,
                };
                let earned = |place: &usize| scene(&drawn[1]).fixed(*place).profit;
                let best = (0..DELAYS_US.len()).max_by(|a, b| earned(a).total_cmp(&earned(b))).unwrap();
                let scene = scene(&drawn[0]);
                let stat = scene.fixed(best);
                let tuned = scene.tuned(Knowledge::Frozen);
                let lost = (stat.profit - tuned.profit) / stat.revenue;
                let regimes = regimes(course, &scene);
                assert!(lost <= 0.01, "application {application}, {utility}, {name}: {lost}");
                // A regime may be answered once by its price and once by its load; the first choice is free.
                assert!(tuned.changes <= 2 * regimes + 1, "{} in {regimes} regimes", tuned.changes);
            }
        }
    }
}

#[test]
fn what_is_tried_stays_within_its_budget() {
    let courses = sources::courses().unwrap();
    let course = &courses[1];
    let fitted = applications()[1];
    let surface = Surface::draw(fitted, LIMIT_NS, &mut Random::new(31_002));
    let scene = Scene {
        surface: &surface,
        course,
        moves: MOVES[2].1,
        contract: contract("refund", course.operation_cost_atto(&fitted)),
        from_s: 0.0,
        until_s: RUN_S,
        seed: 31_002,
    };
    let tuned = scene.tuned(Knowledge::Profiled);
    assert!(tuned.explored <= 0.01, "{}", tuned.explored);
    // Whatever is tried and given up takes two changes and at least the time to settle and be seen.
    assert!(f64::from(tuned.changes) <= RUN_S / 2.0, "{}", tuned.changes);
}
