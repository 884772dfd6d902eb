//! What users pay, or what they are promised, as a person types it: in place of what the configuration says of it.
//!
//! ```text
//! --utility 'refund, value=0.2 $/Mop, refund=3 $/(Mop s)'      one of the usual kinds, with its terms
//! --utility '0.2 $/Mop * (1 - min(1, 100 * late)), latency.limit=750 us'     an expression of one's own
//! --slo 'p99 < 1 ms'                                           the cheapest setting that keeps a promise
//! ```

use crate::arguments::Typed;
use nom_machine::configuration as lines;
use nom_machine::trouble::{Outcome, Trouble};

/// Everything that a configuration says of it. One way of paying replaces the other whole.
const KEYS: [&str; 9] = [
    "utility",
    "value",
    "latency.limit",
    "penalty.factor",
    "penalty.tail",
    "refund",
    "bonus",
    "bonus.max",
    "slo",
];
/// The kinds that have names.
const KINDS: [&str; 5] = ["simple", "penalty", "refund", "bonus", "own"];

/// The text with what was typed in place of its own words; the same text when nothing was.
pub fn replaced(typed: &Typed, text: String) -> Outcome<String> {
    let settings = match (typed.text("utility"), typed.text("slo")) {
        (None, None) => return Ok(text),
        (Some(_), Some(_)) => {
            return Err(Trouble::new(
                "--slo is a promise and earns nothing, --utility says what is earned: leave one of them out",
            ));
        }
        (Some(terms), None) => utility(terms)?,
        (None, Some(promise)) => vec![("slo", plain("slo", promise)?)],
    };
    Ok(lines::with(&lines::without(&text, &KEYS), &settings))
}

fn utility(terms: &str) -> Outcome<Vec<(&str, &str)>> {
    let mut parts = parts(terms).into_iter();
    let first = plain("utility", parts.next().unwrap_or_default())?;
    let mut settings = match first {
        "" => {
            let kinds = KINDS.join(", ");
            return Err(Trouble::new(format!(
                "--utility: one of {kinds} with its terms, or an expression, is expected"
            )));
        }
        kind if KINDS.contains(&kind) => vec![("utility", kind)],
        word if word.bytes().all(|letter| letter.is_ascii_alphabetic()) => {
            let kinds = KINDS.join(", ");
            return Err(Trouble::new(format!(
                "--utility {word}: there are {kinds}, or an expression (`nom help configuration` has one)"
            )));
        }
        expression => vec![("utility", "own"), ("value", expression)],
    };
    for part in parts {
        let Some((key, value)) = part.split_once('=') else {
            return Err(Trouble::new(format!(
                "--utility: {part:?}: KEY=VALUE is expected, as in value=0.2 $/Mop"
            )));
        };
        let key = key.trim();
        let Some(key) = KEYS.into_iter().find(|known| *known == key && !["utility", "slo"].contains(known))
        else {
            let known = &KEYS[1..8];
            return Err(Trouble::new(format!("--utility: no term {key:?}; there are {}", known.join(", "))));
        };
        if settings.iter().any(|(other, _)| *other == key) {
            return Err(Trouble::new(format!("--utility: {key} is said twice")));
        }
        settings.push((key, plain("utility", value)?));
    }
    Ok(settings)
}

/// The parts between commas that stand in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    })
    .collect()
}

/// A value that stays within its line.
fn plain<'a>(option: &str, value: &'a str) -> Outcome<&'a str> {
    match value.contains(['\n', '\r', '#']) {
        true => Err(Trouble::new(format!("--{option}: line ends and # cannot be in it"))),
        false => Ok(value.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_service::configuration::Configuration;

    const OWN: &str = "listen = 11211\nutility = refund\nvalue = 0.2 $/Mop\nrefund = 3 $/(Mop s)\n";

    fn with(option: &'static str, value: &str) -> Outcome<String> {
        replaced(&Typed::default().with(option, value), OWN.into())
    }

    #[test]
    fn each_kind_takes_the_place_of_the_configurations() {
        for (typed, line) in [
            ("simple, value=1 $/Mop, latency.limit=1 ms", "utility = simple"),
            ("penalty,value=1 $/Mop,latency.limit=1 ms,penalty.factor=100", "penalty.factor = 100"),
            ("bonus, value=1 $/Mop, bonus=0.00001 $ s/Mop, bonus.max=0.1 $/Mop", "bonus.max = 0.1 $/Mop"),
            (
                "0.2 $/Mop * (1 - min(1, 100 * late)), latency.limit=750 us",
                "value = 0.2 $/Mop * (1 - min(1, 100 * late))",
            ),
        ] {
            let text = with("utility", typed).unwrap();
            assert!(text.contains(line) && !text.contains("refund"), "{text}");
            assert!(Configuration::parse(&text).unwrap().contract.is_some(), "{typed}");
        }
        let text = with("slo", "p99 < 1 ms").unwrap();
        assert!(Configuration::parse(&text).is_ok() && !text.contains("utility"), "{text}");
        assert_eq!(replaced(&Typed::default(), OWN.into()).unwrap(), OWN);
    }

    #[test]
    fn what_is_no_utility_is_refused_in_words() {
        for (typed, words) in [
            ("", "is expected"),
            ("refudn", "there are simple, penalty"),
            ("refund, 3 $", "KEY=VALUE"),
            ("refund, valeu=1 $/Mop", "no term \"valeu\""),
            ("refund, slo=p99 < 1 ms", "no term \"slo\""),
            ("refund, value=1 $/Mop, value=2 $/Mop", "said twice"),
            ("refund, value=1 $/Mop\ntuner = off", "line ends"),
            ("refund, value=1 # $/Mop", "#"),
        ] {
            let why = with("utility", typed).unwrap_err().to_string();
            assert!(why.contains(words), "{typed}: {why}");
        }
        let both = Typed::default().with("utility", "refund").with("slo", "p99 < 1 ms");
        assert!(replaced(&both, OWN.into()).unwrap_err().to_string().contains("leave one"));
        // More is worth less: refused by the axioms, with the counter-example.
        let text = with("utility", "0.2 $/Mop * mean / 1 ms").unwrap();
        println!("{}", Configuration::parse(&text).unwrap_err());
    }
}
