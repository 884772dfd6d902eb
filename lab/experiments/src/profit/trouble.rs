//! Feeds that misbehave, a server that lies about latency, and the two tails: what the tuner did, and what it lost.

use super::days::{Course, Moves};
use super::random::Random;
use super::run::{Earned, Knowledge, Scene};
use super::surface::{Fitted, Surface};
use super::{LIMIT_NS, contract};
use nom_money::{PerCoreNs, Prices};
use nom_utility::tail;

const RUN_S: f64 = 600.0;

fn core(atto: i128) -> Prices {
    Prices { core: Some(PerCoreNs(atto)), ..Prices::NONE }
}

/// A core at 0.05 $/h.
const USUAL: i128 = 13_889;

/// Says what happened, a line each.
pub fn show(courses: &[Course], homes: &[Fitted; 2], progress: &mut dyn FnMut(&str)) {
    let course = |name, steps| Course { name, seconds: RUN_S, steps, paper: false };
    let steady = course("steady", vec![(0.0, core(USUAL))]);
    let flapping =
        (0..600).map(|step| (f64::from(step), core(if step % 2 == 0 { USUAL } else { 4 * USUAL })));
    let cases = [
        (course("flaps every second between once and four times", flapping.collect()), None, 1.0),
        (
            course(
                "jumps to 1000 times for five seconds",
                vec![(0.0, core(USUAL)), (300.0, core(1000 * USUAL)), (305.0, core(USUAL))],
            ),
            None,
            1.0,
        ),
        (
            course(
                "goes silent after 100 s while it doubles",
                vec![(0.0, core(USUAL)), (100.0, core(2 * USUAL))],
            ),
            Some(100.0),
            1.0,
        ),
        (
            course(
                "is negative for 100 s",
                vec![(0.0, core(USUAL)), (300.0, core(-USUAL)), (400.0, core(USUAL))],
            ),
            None,
            1.0,
        ),
    ];
    let both = Moves { price: true, load: false };
    for (knowledge, words) in [
        (Knowledge::Frozen, "profiled points left alone"),
        (Knowledge::Profiled, "profiled points"),
        (Knowledge::Nothing, "learning"),
    ] {
        for (course, silent_from_s, lie) in &cases {
            let told = play(course, homes, both, knowledge, *silent_from_s, *lie, &steady);
            progress(&format!("a feed that {}, {words}: {told}", course.name));
        }
        let load = Moves { price: true, load: true };
        for lie in [0.1, 3.0] {
            if let Some(day) = courses.last() {
                let told = play(day, homes, load, knowledge, None, lie, day);
                progress(&format!(
                    "a server that sees {lie} of its latency on the electricity day, {words}: {told}"
                ));
            }
        }
    }
    for (words, part, slow_us) in [("2% at 800 us", 0.02_f64, 800.0), ("0.5% at 5 ms", 0.005, 5_000.0)] {
        let mean = 100.0 * (1.0 - part) + slow_us * part;
        let jitter = (part * (1.0 - part)).sqrt() * (slow_us - 100.0);
        let normal = tail::normal_above(750.0, mean, jitter);
        let counted = tail::counted((part * 100_000.0) as u64, 100_000);
        progress(&format!(
            "{words} among 100 us: above 750 us by the normal tail {:.3}%, counted {:.3}% ({:.3}% to {:.3}%); at X = 100 users pay \
             {:.0}% by the one and {:.0}% by the other",
            normal * 100.0,
            counted.counted * 100.0,
            counted.low * 100.0,
            counted.high * 100.0,
            100.0 * (1.0 - (100.0 * normal).min(1.0)),
            100.0 * (1.0 - (100.0 * counted.counted).min(1.0)),
        ));
    }
}

fn play(
    course: &Course,
    homes: &[Fitted; 2],
    moves: Moves,
    knowledge: Knowledge,
    silent_from_s: Option<f64>,
    lie: f64,
    worth: &Course,
) -> String {
    let fitted = homes[0];
    let surface = Surface::draw(fitted, LIMIT_NS, &mut Random::new(99));
    let scene = Scene {
        surface: &surface,
        course,
        moves,
        contract: contract(worth, &fitted, 3.0),
        from_s: 0.0,
        until_s: RUN_S,
        seed: 99,
    };
    let mut last = String::new();
    let Earned { profit, revenue, changes, .. } =
        scene.tuned_through(knowledge, lie, silent_from_s, |_, line| {
            if !line.starts_with("class") && !line.starts_with("try") {
                last = line.split([';', ':']).next().unwrap_or("").to_string();
            }
        });
    let stay = scene.fixed(0);
    let oracle = scene.oracle();
    format!(
        "{changes} changes, {:+.2}% of revenue over never changing, {:+.2}% under the oracle; the last: {last}",
        100.0 * (profit - stay.profit) / revenue.abs().max(f64::MIN_POSITIVE),
        100.0 * (profit - oracle.profit) / revenue.abs().max(f64::MIN_POSITIVE),
    )
}
