//! Fuzzing that sees where it has been: an input that makes the code go a new way becomes material for the next ones.
//!
//! Who runs an input tells, behind [`Watch`], which places were passed and which numbers were compared; what to do with
//! it is decided here. A place counts as new again when it was passed about twice as often as before, so that loops are
//! driven deeper. Compared numbers find what no chance finds: where the code asked whether 7 is 4,096, a 7 of the input
//! becomes a 4,096.

use crate::mutate::{change, numbers};
use crate::random::Random;
use crate::{Finding, INPUT_LEN_MAX, Target, attempt};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Who sees where a run went.
pub trait Watch {
    /// Forgets what was seen. Comparisons are seen from here on only where they are asked for.
    fn begin(&mut self, compares: bool);

    /// How often each place was passed since, up to 255.
    fn passed(&mut self) -> &[u8];

    /// What was compared with what since, newest last; bounded.
    fn compared(&mut self) -> Vec<(u64, u64)>;
}

/// Inputs that are kept.
const CORPUS_MAX: usize = 4_096;
/// Changed inputs that are made from one before another has its turn.
const BURST: u64 = 48;
/// Comparisons of an input that are remembered.
const COMPARES_MAX: usize = 512;
/// Runs that may be spent on making a new input shorter.
const TRIM_MAX: usize = 64;

/// An input that went a way of its own.
struct Kept {
    bytes: Vec<u8>,
    /// What was compared while it ran; asked for when its turn comes first.
    compares: Option<Vec<(u64, u64)>>,
}

/// What a guided run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs tried.
    pub inputs: u64,
    /// Places that some input passed.
    pub places: usize,
    /// Inputs that were kept, those it began with included.
    pub kept: usize,
    /// The first finding, if any: the run ends there.
    pub finding: Option<Finding>,
}

/// Tries a target until the time is over, so many inputs were tried, or something is found. `corpus` is what earlier
/// runs kept; `keep` is told of each input that this one keeps.
pub fn run(
    target: &Target,
    watch: &mut dyn Watch,
    corpus: Vec<Vec<u8>>,
    seed: u64,
    time: Duration,
    inputs_max: u64,
    keep: &mut dyn FnMut(&[u8]),
) -> Outcome {
    let started = Instant::now();
    let mut hunt = Hunt { target, watch, ways: Vec::new(), kept: Vec::new(), inputs: 0, finding: None };
    let mut random = Random::new(seed);
    let known = corpus.len();
    for (number, input) in corpus.into_iter().chain((target.seeds)()).enumerate() {
        hunt.offer(input, false, &mut |bytes| {
            if number >= known {
                keep(bytes);
            }
        });
    }
    // A target that passes no place that is seen has nothing to be guided by, but may still fail.
    if hunt.kept.is_empty() {
        hunt.kept.push(Kept { bytes: Vec::new(), compares: None });
    }
    while hunt.finding.is_none() && hunt.inputs < inputs_max && started.elapsed() < time {
        let base = hunt.choose(&mut random);
        for _ in 0..BURST {
            let input = hunt.changed(base, &mut random);
            hunt.offer(input, true, keep);
            if hunt.finding.is_some() || hunt.inputs >= inputs_max {
                break;
            }
        }
    }
    let places = hunt.ways.iter().filter(|ways| **ways != 0).count();
    Outcome { inputs: hunt.inputs, places, kept: hunt.kept.len(), finding: hunt.finding }
}

struct Hunt<'a> {
    target: &'a Target,
    watch: &'a mut dyn Watch,
    /// For each place, how often it was passed by some input: a bit for each class of [`class`].
    ways: Vec<u8>,
    kept: Vec<Kept>,
    inputs: u64,
    finding: Option<Finding>,
}

impl Hunt<'_> {
    /// Runs an input, and keeps it when it goes a new way; without what that way does not need, where it is of chance.
    fn offer(&mut self, mut input: Vec<u8>, chance: bool, keep: &mut dyn FnMut(&[u8])) {
        if self.finding.is_some() {
            return;
        }
        let new = self.try_out(&input, false);
        if self.finding.is_some() || new.is_empty() {
            return;
        }
        if chance {
            input = self.trimmed(input, &new);
        }
        if self.finding.is_some() {
            return;
        }
        for (place, class) in new {
            self.ways[place] |= class;
        }
        keep(&input);
        let kept = Kept { bytes: input, compares: None };
        match self.kept.len() < CORPUS_MAX {
            true => self.kept.push(kept),
            false => {
                let place = (self.inputs % CORPUS_MAX as u64) as usize;
                self.kept[place] = kept;
            }
        }
    }

    /// Runs an input and says where it went that none was before.
    fn try_out(&mut self, input: &[u8], compares: bool) -> Vec<(usize, u8)> {
        self.watch.begin(compares);
        let wrong = attempt(self.target, input);
        let number = self.inputs;
        self.inputs += 1;
        if let Some(what) = wrong {
            self.finding = Some(Finding { what, input: input.to_vec(), number });
            return Vec::new();
        }
        let passed = self.watch.passed();
        self.ways.resize(passed.len(), 0);
        let mut new = Vec::new();
        for (at, eight) in passed.chunks(8).enumerate() {
            if eight == [0; 8] {
                continue;
            }
            for (within, count) in eight.iter().enumerate() {
                let (place, class) = (at * 8 + within, class(*count));
                if class & !self.ways[place] != 0 {
                    new.push((place, class));
                }
            }
        }
        new
    }

    /// The input without what its new way does not need.
    fn trimmed(&mut self, mut input: Vec<u8>, new: &[(usize, u8)]) -> Vec<u8> {
        let mut runs = 0;
        let mut part = input.len() / 2;
        while part >= 4 {
            let mut at = 0;
            while at < input.len() {
                if runs == TRIM_MAX {
                    return input;
                }
                runs += 1;
                let mut shorter = input.clone();
                shorter.drain(at..(at + part).min(input.len()));
                let ways = self.try_out(&shorter, false);
                if self.finding.is_some() {
                    return input;
                }
                match new.iter().all(|way| ways.contains(way)) {
                    true => input = shorter,
                    false => at += part,
                }
            }
            part /= 2;
        }
        input
    }

    /// Whose turn it is: half of the time one of the newest.
    fn choose(&mut self, random: &mut Random) -> usize {
        let all = self.kept.len() as u64;
        let newest = all.div_ceil(4);
        let chosen = match random.below(2) {
            0 => random.below(all),
            _ => all - 1 - random.below(newest),
        } as usize;
        if self.kept[chosen].compares.is_none() {
            let bytes = self.kept[chosen].bytes.clone();
            self.try_out(&bytes, true);
            let compared: BTreeSet<(u64, u64)> =
                self.watch.compared().into_iter().filter(|(one, other)| one != other).collect();
            self.kept[chosen].compares = Some(compared.into_iter().take(COMPARES_MAX).collect());
        }
        chosen
    }

    fn changed(&self, base: usize, random: &mut Random) -> Vec<u8> {
        let kept = &self.kept[base];
        let mut input = kept.bytes.clone();
        let compares = kept.compares.as_deref().unwrap_or_default();
        let answered = !compares.is_empty() && random.below(2) == 0 && {
            let pair = compares[random.below(compares.len() as u64) as usize];
            answer(&mut input, pair, random)
        };
        for _ in u64::from(answered)..=random.below(6) {
            let other = &self.kept[random.below(self.kept.len() as u64) as usize].bytes;
            change(&mut input, other, self.target.tokens, random);
            input.truncate(INPUT_LEN_MAX);
        }
        input
    }
}

/// How often a place was passed, as one bit: 1, 2, 3, 4 and more, 8, 16, 32, 128 and more.
fn class(count: u8) -> u8 {
    match count {
        0 => 0,
        1..=3 => 1 << (count - 1),
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}

/// Writes one side of a comparison where the other side stands in the input, in any form that a number has there. False
/// when it stands nowhere.
fn answer(input: &mut Vec<u8>, (one, other): (u64, u64), random: &mut Random) -> bool {
    let (have, want) = if random.below(2) == 0 { (one, other) } else { (other, one) };
    // Beside what was compared with lies what is just too much and just too little.
    let want = match random.below(4) {
        0 => want.wrapping_add(1),
        1 => want.wrapping_sub(1),
        _ => want,
    };
    let forms: Vec<(Vec<u8>, Vec<u8>)> = numbers(have).into_iter().zip(numbers(want)).collect();
    let first = random.below(forms.len() as u64) as usize;
    for (have, want) in forms.iter().cycle().skip(first).take(forms.len()) {
        let places: Vec<usize> = input
            .windows(have.len())
            .enumerate()
            .filter(|(_, bytes)| bytes == have)
            .map(|(at, _)| at)
            .collect();
        if !places.is_empty() {
            let at = places[random.below(places.len() as u64) as usize];
            input.splice(at..at + have.len(), want.iter().copied());
            input.truncate(INPUT_LEN_MAX);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static PASSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        static COMPARED: RefCell<Vec<(u64, u64)>> = const { RefCell::new(Vec::new()) };
    }

    fn pass(place: usize) {
        PASSED.with_borrow_mut(|passed| passed[place] = passed[place].saturating_add(1));
    }

    fn compare(one: u64, other: u64) -> bool {
        COMPARED.with_borrow_mut(|compared| compared.push((one, other)));
        one == other
    }

    /// What the compiler does to a target, done by hand.
    struct ByHand(Vec<u8>);

    impl Watch for ByHand {
        fn begin(&mut self, _: bool) {
            PASSED.set(vec![0; 64]);
            COMPARED.set(Vec::new());
        }

        fn passed(&mut self) -> &[u8] {
            self.0 = PASSED.with_borrow(Vec::clone);
            &self.0
        }

        fn compared(&mut self) -> Vec<(u64, u64)> {
            COMPARED.with_borrow(Vec::clone)
        }
    }

    /// A length that is right, a number of four bytes, and then eight letters, each its own step: no chance finds all.
    fn maze(bytes: &[u8]) {
        pass(0);
        let Some((head, rest)) = bytes.split_first_chunk::<6>() else { return };
        pass(3);
        if !compare(u64::from(u16::from_be_bytes([head[0], head[1]])), rest.len() as u64) {
            return;
        }
        pass(1);
        if !compare(u64::from(u32::from_le_bytes([head[2], head[3], head[4], head[5]])), 0x7eed_c0de) {
            return;
        }
        pass(2);
        for (at, letter) in b"treasure".iter().enumerate() {
            if !rest.get(at).is_some_and(|found| compare(u64::from(*found), u64::from(*letter))) {
                return;
            }
            pass(8 + at);
        }
        panic!("the treasure");
    }

    const MAZE: Target = Target {
        name: "maze",
        what: "needs many steps",
        seeds: || vec![vec![9; 16]],
        tokens: &[],
        run: maze,
    };

    #[test]
    fn a_way_of_many_steps_is_found_and_found_again() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let hunt = || {
            let mut kept = Vec::new();
            let watch = &mut ByHand(Vec::new());
            let time = Duration::from_secs(60);
            let outcome =
                run(&MAZE, watch, Vec::new(), 5, time, 3_000_000, &mut |input| kept.push(input.to_vec()));
            (outcome, kept)
        };
        let (first, second) = (hunt(), hunt());
        std::panic::set_hook(hook);
        assert_eq!(first, second);
        let finding = first.0.finding.expect("the treasure lies there");
        assert!(finding.what.contains("the treasure"));
        assert!(finding.input[6..].starts_with(b"treasure"));
        assert!(first.1.len() >= 9, "each step was kept: {}", first.1.len());
        // Without being guided as many inputs find nothing.
        let blind = crate::run(&MAZE, 5, Duration::from_secs(60), first.0.inputs.min(200_000));
        assert_eq!(blind.finding, None);
    }

    #[test]
    fn what_was_kept_is_begun_with() {
        let outcome = |corpus: Vec<Vec<u8>>| {
            let mut kept = 0;
            let watch = &mut ByHand(Vec::new());
            let outcome = run(&MAZE, watch, corpus, 5, Duration::from_secs(60), 1, &mut |_| kept += 1);
            (outcome.kept, kept)
        };
        let far = [&[0, 8], &0x7eed_c0de_u32.to_le_bytes()[..], b"treaties"].concat();
        let (known, told) = outcome(vec![far]);
        assert_eq!(
            (known, told),
            (1, 0),
            "what was known is not told again, and the seed goes no way of its own"
        );
    }
}
