//! Which code a price executes on its way to the knob, and which of that has not been executed since the price before: counted
//! with callgrind in the build for guests, so that no clock and no neighbour has a part in it.
//!
//! The program is a whole service (`nom-counted reaction-*`). What it executes from a price on the board to the knob in
//! force is compared with what it executes in the second before: requests, looks at the load, settlement, and rehearsals.

use crate::figures::Figure;
use crate::instructions::{Counter, collected};
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::collections::BTreeSet;
use std::process::Stdio;

/// The points of the bench's service, and as many as a service may reasonably have.
const POINTS: [usize; 2] = [2, 40];
/// A rehearsal may take so many instructions.
const REHEARSAL_MAX: &str = "<=10000";
/// So many lines of code a price may execute that nothing has executed since the one before.
const UNREHEARSED_MAX: &str = "<=20";
/// A line of a cache: code is fetched by these.
const LINE: u64 = 64;

/// Where collecting begins and ends: inside of this, and not any more from that on.
const COUNTED: [&str; 2] = ["*nom_counted::reaction::counted*", "*nom_counted::reaction::arrived*"];
const REHEARSAL: &str = "*nom_service::worker::rehearse*rehearse*";

/// Where an instruction lies: in which object, and where there.
type Place = (String, u64);

/// What was executed.
struct Executed {
    /// All instructions.
    addresses: BTreeSet<Place>,
    instructions: f64,
    rehearsals: f64,
}

/// What came out, by counting.
pub struct Counts {
    /// Instructions from the board to the knob.
    pub price: f64,
    /// Different lines of code among them.
    pub lines: usize,
    /// Those that nothing executed in the second before, with rehearsals and without.
    pub unrehearsed: [usize; 2],
    /// The same by instructions.
    pub unrehearsed_instructions: [usize; 2],
    /// Instructions of a rehearsal, with few points and with many.
    pub rehearsal: [f64; 2],
    /// Rehearsals in a second.
    pub rehearsals: f64,
}

/// Counts.
pub fn count(counter: &Counter) -> Outcome<Counts> {
    let price = execute(counter, "reaction-price", POINTS[0], &COUNTED)?;
    let between = execute(counter, "reaction-between", POINTS[0], &COUNTED)?;
    let alone = execute(counter, "reaction-alone", POINTS[0], &COUNTED)?;
    let mut rehearsal = [0.0; 2];
    for (each, points) in rehearsal.iter_mut().zip(POINTS) {
        let all = execute(counter, "reaction-rehearsal", points, &[REHEARSAL])?;
        *each = all.instructions / all.rehearsals;
    }
    let unrehearsed = [&between, &alone].map(|before| beyond(&price, before, LINE));
    let unrehearsed_instructions = [&between, &alone].map(|before| beyond(&price, before, 1));
    Ok(Counts {
        price: price.instructions,
        lines: pieces(&price, LINE).len(),
        unrehearsed,
        unrehearsed_instructions,
        rehearsal,
        rehearsals: between.rehearsals,
    })
}

/// The pieces of code of this length.
fn pieces(all: &Executed, len: u64) -> BTreeSet<(&str, u64)> {
    all.addresses.iter().map(|(object, at)| (object.as_str(), at / len)).collect()
}

/// How many of them are executed in one and not in the other.
fn beyond(one: &Executed, other: &Executed, len: u64) -> usize {
    pieces(one, len).difference(&pieces(other, len)).count()
}

/// Plays it, and collects inside of functions of these names.
fn execute(counter: &Counter, what: &str, points: usize, inside: &[&str]) -> Outcome<Executed> {
    let folder = Scratch::new()?;
    let file = folder.file("executed");
    let output = dying_with_us(&counter.valgrind)
        .args(["--tool=callgrind", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"])
        .args(["--collect-atstart=no", "--vgdb=no"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .args(inside.iter().map(|name| format!("--toggle-collect={name}")))
        .arg(&counter.program)
        .args([what, &points.to_string(), "1", "1"])
        .stdin(Stdio::null())
        .output()
        .context(|| "cannot start valgrind".into())?;
    let (words, said) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let rehearsals = said.lines().find_map(|line| line.strip_prefix("rehearsals ")?.parse().ok());
    let (true, Some(rehearsals)) = (output.status.success(), rehearsals) else {
        return Err(Trouble::new(format!("nom-counted failed: {}", words.lines().last().unwrap_or(""))));
    };
    let instructions = collected(&words).ok_or_else(|| Trouble::new("callgrind said no count"))?;
    let text = std::fs::read_to_string(&file).context(|| "callgrind wrote nothing".into())?;
    let addresses = addresses(&text);
    if addresses.is_empty() {
        return Err(Trouble::new(format!("{what}: nothing was collected")));
    }
    Ok(Executed { addresses, instructions, rehearsals })
}

/// The instructions in callgrind's file: a line for each, which begins with its address in the object that was named last.
fn addresses(text: &str) -> BTreeSet<Place> {
    let (mut object, mut all) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name.into();
        }
        let digits = line.strip_prefix("0x").and_then(|line| line.split(' ').next());
        if let Some(address) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            all.insert((object.clone(), address));
        }
    }
    all
}

impl Counts {
    /// As figures.
    pub fn figures(&self) -> Vec<Figure> {
        let [few, many] = self.rehearsal;
        let [lines, lines_alone] = self.unrehearsed.map(|count| count as f64);
        let [instructions, instructions_alone] = self.unrehearsed_instructions.map(|count| count as f64);
        let all = [
            Figure::of("reaction.price_instructions", "", None, &[self.price]),
            Figure::of("reaction.price_lines", "", None, &[self.lines as f64]),
            Figure::of("reaction.unrehearsed_lines", "", Some(UNREHEARSED_MAX), &[lines]),
            Figure::of("reaction.unrehearsed_lines_alone", "", None, &[lines_alone]),
            Figure::of("reaction.unrehearsed_instructions", "", None, &[instructions]),
            Figure::of("reaction.unrehearsed_instructions_alone", "", None, &[instructions_alone]),
            Figure::of("reaction.rehearsal_instructions", "", Some(REHEARSAL_MAX), &[few]),
            Figure::of("reaction.rehearsal_instructions_40_points", "", None, &[many]),
            Figure::of("reaction.rehearsals_per_s", "", Some("<=10"), &[self.rehearsals]),
        ];
        all.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_callgrinds_file_and_compared_by_lines() {
        let text = "positions: instr line\nevents: Ir\n\nob=program\nfn=counted\n0x1000 0 3\n0x1004 0 3\ncalls=1 0x2000 0\n0x1008 0 90\n\n\
                    fn=other\n0x2000 0 1\n0x20c0 7 1\nob=library\n0x1004 0 1\ntotals: 8\n";
        let executed = |addresses| Executed { addresses, instructions: 0.0, rehearsals: 0.0 };
        let one = executed(addresses(text));
        let places: Vec<u64> = one.addresses.iter().map(|(_, at)| *at).collect();
        assert_eq!(places, [0x1004, 0x1000, 0x1004, 0x1008, 0x2000, 0x20c0]);
        let program = |at| ("program".to_string(), at);
        let other = executed(BTreeSet::from([program(0x1000), program(0x20fc)]));
        assert_eq!((beyond(&one, &other, LINE), beyond(&one, &other, 1)), (2, 5));
    }
}
