//! Hostile bytes for every parser and state machine, on stable Rust and in one process: seeds are changed at
//! random, and whatever panics, overflows or takes too long is a finding.
//!
//! [`run`] sees nothing of the code; what it lacks in cunning it makes up by starting from good inputs, by knowing the
//! tokens of each format, and by being there in every test. [`guided`] sees where each input went, in a program that the
//! compiler was told to watch. The same seed gives the same inputs, so a finding is replayed by its seed, and its bytes
//! are saved too.

#![forbid(unsafe_code)]

pub mod guided;
pub mod hardware;
pub mod machine;
pub mod memcached;
pub mod mutate;
pub mod random;
pub mod targets;
pub mod wire;

use mutate::mutate;
use random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longest input.
pub const INPUT_LEN_MAX: usize = 1 << 16;
/// An input that takes longer of a processor's time is a finding: all our parsers are linear in bounded inputs.
const SLOW: Duration = Duration::from_secs(2);
/// Inputs that are kept as material for further ones.
const MATERIAL_MAX: usize = 256;

/// Something that takes bytes from outside.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it is, for the list.
    pub what: &'static str,
    /// Good inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that the format knows.
    pub tokens: &'static [&'static [u8]],
    /// Takes the bytes. Refusing them is right; panicking is not.
    pub run: fn(&[u8]),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What went wrong.
    pub what: String,
    /// The bytes that did it.
    pub input: Vec<u8>,
    /// Which of the run's inputs it was, from 0.
    pub number: u64,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs tried.
    pub inputs: u64,
    /// The first finding, if any: the run ends there.
    pub finding: Option<Finding>,
}

/// Tries a target until the time is over, so many inputs were tried, or something is found.
pub fn run(target: &Target, seed: u64, time: Duration, inputs_max: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut material = (target.seeds)();
    let originals = material.len();
    let started = Instant::now();
    let mut inputs = 0;
    while inputs < inputs_max && started.elapsed() < time {
        // The good inputs themselves come first.
        let input = match material.get(inputs as usize) {
            Some(seed) if (inputs as usize) < originals => seed.clone(),
            _ => mutate(&material, originals, target.tokens, &mut random),
        };
        if let Some(what) = attempt(target, &input) {
            return Outcome { inputs: inputs + 1, finding: Some(Finding { what, input, number: inputs }) };
        }
        inputs += 1;
        // Changes pile up: now and then an input becomes material itself.
        if random.below(64) == 0 {
            if material.len() < MATERIAL_MAX {
                material.push(input);
            } else {
                let place = originals + random.below((MATERIAL_MAX - originals) as u64) as usize;
                material[place] = input;
            }
        }
    }
    Outcome { inputs, finding: None }
}

/// Gives one input to a target; says what went wrong.
pub fn attempt(target: &Target, input: &[u8]) -> Option<String> {
    attempt_within(SLOW, target, input)
}

fn attempt_within(slow: Duration, target: &Target, input: &[u8]) -> Option<String> {
    let started = Instant::now();
    let end = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    // On a busy machine a clock says how long others had the processor. Only what seems slow is worth asking the scheduler.
    let took = if started.elapsed() > slow { processor_time(target, input) } else { Duration::ZERO };
    match end {
        Err(payload) => Some(match payload.downcast_ref::<String>().map(String::as_str) {
            Some(text) => format!("panicked: {text}"),
            None => format!("panicked: {}", payload.downcast_ref::<&str>().unwrap_or(&"without words")),
        }),
        Ok(()) if took > slow => Some(format!("took {} ms for {} bytes", took.as_millis(), input.len())),
        Ok(()) => None,
    }
}

/// How long an input has the processor, when it is tried once more. Where nobody counts that, how long it takes.
fn processor_time(target: &Target, input: &[u8]) -> Duration {
    let (started, before) = (Instant::now(), used());
    let _ = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    used().zip(before).map_or_else(|| started.elapsed(), |(after, before)| after.saturating_sub(before))
}

/// How long this thread had a processor so far: the first number of its `schedstat`.
fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap(bytes: &[u8]) {
        assert!(!bytes.windows(3).any(|three| three == b"bad"), "the trap");
    }

    const TRAP: Target = Target {
        name: "trap",
        what: "panics on a word",
        seeds: || vec![b"good ba".to_vec()],
        tokens: &[b"d", b"x"],
        run: trap,
    };

    #[test]
    fn a_trap_is_found_and_replayed_by_its_seed() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let first = run(&TRAP, 7, Duration::MAX, 1_000_000);
        let second = run(&TRAP, 7, Duration::MAX, 1_000_000);
        std::panic::set_hook(hook);
        assert_eq!(first, second);
        assert!(first.finding.unwrap().what.contains("the trap"));
    }

    /// A short run of everything, so that an ordinary test catches what is shallow.
    #[test]
    fn nothing_shallow_is_wrong() {
        for target in targets::TARGETS {
            // These however long it takes, and more where that takes little.
            let outcome = run(target, 1, Duration::MAX, 300);
            assert_eq!(outcome, Outcome { inputs: 300, finding: None }, "{}", target.name);
            let more = run(target, 2, Duration::from_secs(3), 2_700);
            assert_eq!(more.finding, None, "{}", target.name);
        }
    }

    const BRIEF: Duration = Duration::from_millis(30);

    fn sleeps(_: &[u8]) {
        std::thread::sleep(2 * BRIEF);
    }

    fn works(_: &[u8]) {
        let begun = used().unwrap_or_default();
        while used().is_some_and(|used| used < begun + 2 * BRIEF) {}
    }

    #[test]
    fn waiting_for_the_processor_is_no_finding_and_using_it_is() {
        assert_eq!(attempt_within(BRIEF, &Target { run: sleeps, ..TRAP }, b"x"), None);
        let said = attempt_within(BRIEF, &Target { run: works, ..TRAP }, b"x");
        assert!(used().is_none() || said.is_some_and(|what| what.starts_with("took ")), "without a finding");
    }
}
