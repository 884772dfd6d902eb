//! What may not become dearer or larger unnoticed: counts that are the same each time, held against those that were
//! last agreed on.
//!
//! A count above its line fails the tests and says by how much, and which bench shows it whole. Whoever has a reason to
//! spend more writes the new count here, in the same change, and says the reason there. Whoever spends less writes the
//! lower one, so that it stays.

use crate::instructions::{Counter, Play};
use crate::size;
use nom_machine::artefacts;
use nom_machine::trouble::Outcome;

/// A count may be above its line by so much: another C library copies a little differently.
const SLACK: f64 = 1.02;
/// From here on below its line it is worth a word.
const WORTH: f64 = 0.97;

/// A count, and what was agreed on.
struct Guard {
    figure: &'static str,
    play: Play,
    /// Instructions.
    agreed: f64,
    /// What shows more of it.
    bench: &'static str,
}

const fn guard(figure: &'static str, play: Play, agreed: f64, bench: &'static str) -> Guard {
    Guard { figure, play, agreed, bench }
}

const GUARDS: [Guard; 13] = [
    guard("stack.instructions_batched", Play::new("stack", 64, 32), 1_188.0, "stack"),
    guard("stack.instructions_single", Play::new("stack", 64, 1), 1_679.0, "stack"),
    guard("kv.instructions_batched", Play::new("kv", 64, 32), 1_802.0, "kv --cost"),
    guard("kv.instructions_single", Play::new("kv", 64, 1), 2_339.0, "kv --cost"),
    guard("httpd.instructions_batched", Play::new("httpd", 64, 32), 1_457.0, "httpd --cost"),
    // 2,039 before answers were watched until the client has acknowledged them: slow readers are cut for it.
    guard("httpd.instructions_single", Play::new("httpd", 64, 1), 2_105.0, "httpd --cost"),
    guard("tuner.instructions_simple", Play::new("tuner-simple", 40, 1), 9_553.0, "tuner"),
    guard("tuner.instructions_penalty", Play::new("tuner-penalty", 40, 1), 9_024.0, "tuner"),
    guard("tuner.instructions_refund", Play::new("tuner-refund", 40, 1), 8_549.0, "tuner"),
    guard("tuner.instructions_bonus", Play::new("tuner-bonus", 40, 1), 8_544.0, "tuner"),
    guard("tuner.estimator_instructions", Play::new("estimators", 1, 64), 37.7, "tuner"),
    guard("switch.instructions_both_ways", Play::new("switch", 128, 32), 1_445.0, "switch"),
    guard("virtio.instructions_per_packet", Play::new("driver", 1, 32), 436.0, "virtio"),
];

/// Of the kernel: its file without symbols in KiB, and its lines.
const IMAGE_KIB: f64 = 300.0;
const RING0_LINES: f64 = 8_000.0;

/// How a count went: its name, and what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The figure.
    pub name: String,
    /// Why it is too high.
    pub fault: Option<String>,
}

/// Counts everything that has a line.
pub fn cases(progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Case>> {
    let counter = Counter::new(progress)?;
    let mut cases = Vec::new();
    for guard in &GUARDS {
        let count = counter.per_request(guard.play, &mut |_| ())?;
        if count < guard.agreed * WORTH {
            progress(&format!("{}: {count:.1}, agreed were {}; write it down", guard.figure, guard.agreed));
        }
        cases.push(judged(guard.figure, count, guard.agreed, SLACK, guard.bench));
    }
    let (rust, assembly) = size::ring0_lines(&artefacts::root()?)?;
    cases.push(judged("size.ring0_lines", (rust + assembly) as f64, RING0_LINES, 1.0, "size"));
    let image = size::stripped_len(progress)? as f64 / 1024.0;
    cases.push(judged("size.kernel_image_kib", image, IMAGE_KIB, 1.0, "size"));
    Ok(cases)
}

fn judged(name: &str, count: f64, agreed: f64, slack: f64, bench: &str) -> Case {
    let fault = (count > agreed * slack).then(|| {
        let more = (count / agreed - 1.0) * 100.0;
        format!(
            "{count:.1}, agreed were {agreed:.1} ({more:+.1} %); `./nom bench {bench}` shows more. If it is worth that, \
             write it into lab/experiments/src/guards.rs and say why"
        )
    });
    Case { name: name.into(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_above_its_line_fails_and_says_by_how_much() {
        assert_eq!(judged("a.b", 101.9, 100.0, SLACK, "a").fault, None);
        let fault = judged("a.b", 105.0, 100.0, SLACK, "a").fault.unwrap();
        assert!(
            fault.starts_with("105.0, agreed were 100.0 (+5.0 %); `./nom bench a` shows more."),
            "{fault}"
        );
        assert!(judged("a.b", 101.0, 100.0, 1.0, "a").fault.is_some());
    }
}
