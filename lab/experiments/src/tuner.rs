//! What a decision of the tuner takes, and whether it is the right one.
//!
//! Without hysteresis the tuner must choose what a search through all points finds. The search here follows the
//! equations of the paper and the definitions of the design; nothing of the tuner is in it but its types.

mod search;

use crate::Settings;
use crate::figures::Figure;
use crate::instructions::{Counter, Play};
use nom_machine::trouble::Outcome;
use search::Case;

/// What is claimed.
pub const CLAIM: &str = "a decision takes less than 10,000 instructions at 40 points, whatever the utility, and is that of \
                         a search through all points in 1,000,000 random cases; estimators take at most 40 a request";

/// Points of the class that is decided in.
const POINTS: usize = 40;
const CONTRACTS: [&str; 4] = ["tuner-simple", "tuner-penalty", "tuner-refund", "tuner-bonus"];
/// An own expression has as many steps as its owner likes: counted apart.
const OWN: &str = "tuner-own";
const CASES: u64 = 1_000_000;

/// Measures it.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counter = Counter::new(progress)?;
    let mut each = Vec::new();
    for contract in CONTRACTS {
        each.push(counter.per_request(Play::new(contract, POINTS, 1), progress)?);
    }
    let own = counter.per_request(Play::new(OWN, POINTS, 1), progress)?;
    let estimators = counter.per_request(Play::new("estimators", 1, 64), progress)?;
    let worst = each.iter().copied().fold(0.0, f64::max);
    let cases = settings.runs.map_or(CASES, |runs| runs as u64 * 1_000);
    progress(&format!("deciding {cases} random cases, and searching through each"));
    let tally = search(cases);
    progress(&format!(
        "{} open, {} closed, {} with limits; served {}, stopped {}, kept because nothing is allowed {}",
        tally.open, tally.closed, tally.limited, tally.served, tally.stopped, tally.kept
    ));
    let figures = [
        Figure::of("tuner.instructions", "", Some("<10000"), &[worst]),
        Figure::of("tuner.instructions_own", "", None, &[own]),
        Figure::of("tuner.estimator_instructions", "", Some("<=40"), &[estimators]),
        Figure::of("tuner.wrong", "", Some("<=0"), &[tally.wrong as f64]),
        Figure::of("tuner.cases", "", None, &[cases as f64]),
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// What came out.
#[derive(Debug, Default)]
struct Tally {
    open: u64,
    closed: u64,
    limited: u64,
    served: u64,
    stopped: u64,
    kept: u64,
    wrong: u64,
}

fn search(cases: u64) -> Tally {
    let mut random = search::Random(0x0123_4567_89ab_cdef);
    let mut tally = Tally::default();
    for _ in 0..cases {
        let case = Case::draw(&mut random);
        *(if case.is_open() { &mut tally.open } else { &mut tally.closed }) += 1;
        tally.limited += u64::from(case.is_limited());
        let decided = case.decided();
        let (best, profits) = case.searched();
        match best {
            None => tally.kept += 1,
            Some(0) => tally.stopped += 1,
            Some(_) => tally.served += 1,
        }
        tally.wrong += u64::from(!case.agree(decided, best, &profits));
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_through_all_points_finds_nothing_better() {
        let tally = search(20_000);
        assert_eq!(tally.wrong, 0, "{tally:?}");
        let each = [tally.open, tally.closed, tally.limited, tally.served, tally.stopped, tally.kept];
        assert!(each.iter().all(|count| *count > 200), "{tally:?}");
    }

    #[test]
    fn a_wrong_choice_would_be_seen() {
        let mut random = search::Random(7);
        let mut seen = 0;
        for _ in 0..1_000 {
            let case = Case::draw(&mut random);
            let (best, profits) = case.searched();
            // Whatever earns less by more than rounding is wrong.
            let worse = (1..profits.len()).find(|place| {
                profits[*place].is_some_and(|profit| {
                    best.is_some_and(|best| {
                        profits[best].is_some_and(|most| profit < most - 1e-6 * (1.0 + most.abs()))
                    })
                })
            });
            if let Some(worse) = worse {
                assert!(!case.agree(Some(worse), best, &profits));
                seen += 1;
            }
        }
        assert!(seen > 300, "{seen}");
    }
}
