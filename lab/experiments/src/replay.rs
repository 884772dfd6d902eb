//! The same recorded arrivals and prices give the same answers in the guest, on Linux and in virtual time.
//!
//! One recording and one price schedule are played in four homes: in virtual time, against the Linux process, and
//! against the guest on both machine types. Everywhere the very service that ships serves them. Compared are the
//! bytes that every connection was answered, the operations in the sealed ledger (with each other and with what the
//! client counted in the answers), and which knobs moved under which prices.
//!
//! What is not compared depends on time and machine, and must differ: latencies, frames, core time, and so money.
//!
//! Files: `draw` (a recording with everything that is awkward), `count` (the client's count), `terms` (configuration
//! and prices of the test), `steps` (the schedule, one step at a time), `session` (a real home from hello to bye),
//! `virtual_time`.

mod count;
mod draw;
mod session;
mod steps;
mod terms;
mod virtual_time;

use crate::Settings;
use crate::figures::Figure;
use crate::homes::{Guest, Linux};
use count::Counted;
use nom_ledger::{Window, verify};
use nom_load::Recording;
use nom_load::recording::Answers;
use nom_machine::file;
use nom_machine::qemu::Kind;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::configuration::Configuration;
use nom_service::management::Bye;
use std::path::Path;
use steps::Steps;

/// What the bench claims.
pub const CLAIM: &str = "one recording, one price schedule: equal answers, ledgers and knobs in every home";

/// The seed of the drawn recording.
const SEED: u64 = 7;
/// Connections and length of the bench's recording, and of the one among the tests.
const LONG: (u32, u64) = (16, 8_000_000);
const SHORT: (u32, u64) = (8, 2_500_000);
/// Largest text of a recording that is read.
const TEXT_LEN_MAX: u64 = 1 << 30;

/// What is played.
struct Piece {
    recording: Recording,
    steps: Steps,
}

impl Piece {
    fn drawn(size: (u32, u64)) -> Outcome<Self> {
        Self::new(draw::draw(SEED, size.0, size.1), None)
    }

    /// A recording with its own prices, or with those of the test.
    fn new(recording: Recording, prices: Option<String>) -> Outcome<Self> {
        let end_us = recording.arrivals.last().map_or(0, |arrival| arrival.time_us);
        let text = prices.unwrap_or_else(|| terms::prices(end_us));
        Ok(Self { steps: Steps::read(&text, end_us * 1000)?, recording })
    }

    fn of_files(recording: Option<&Path>, prices: Option<&Path>) -> Outcome<Self> {
        let read = |path| file::text(path, TEXT_LEN_MAX);
        let drawn = match recording {
            Some(path) => Recording::parse(&read(path)?).context(|| path.display().to_string())?,
            None => draw::draw(SEED, LONG.0, LONG.1),
        };
        if drawn.arrivals.is_empty() {
            return Err(Trouble::new("the recording is empty: there is nothing to compare"));
        }
        let told = |trouble: Trouble| match prices {
            Some(path) => Trouble::new(format!("{}: {trouble}", path.display())),
            None => trouble,
        };
        Self::new(drawn, prices.map(read).transpose()?).map_err(told)
    }
}

/// A move of the knobs: under which prices, from what, to what.
type Move = (u64, String, String);

/// What came of a piece in one home.
#[derive(Debug)]
struct Played {
    home: &'static str,
    answers: Answers,
    windows: Vec<Window>,
    moves: Vec<Move>,
    bye: Bye,
}

/// A home.
type Home = (&'static str, fn(&Piece) -> Outcome<Played>);

/// The homes. The first one is what the others are compared with.
const HOMES: [Home; 4] = [
    ("virtual time", |piece| virtual_time::play(piece, nom_simnet::Link::gigabit())),
    ("linux", |piece| session::play("linux", piece, |follower| Linux::start(terms::CONFIGURATION, follower))),
    ("guest on microvm", |piece| {
        let start = |follower| Guest::start(terms::CONFIGURATION, Kind::Microvm, follower);
        session::play("guest on microvm", piece, start)
    }),
    ("guest on q35", |piece| {
        let start = |follower| Guest::start(terms::CONFIGURATION, Kind::Q35, follower);
        session::play("guest on q35", piece, start)
    }),
];

/// What is wrong with one home, in words; nothing when all is well.
#[derive(Debug, Default, PartialEq, Eq)]
struct Faults {
    answers: Option<String>,
    knobs: Option<String>,
    ledger: Option<String>,
}

/// Looks at a home by itself and beside the first one.
fn judge(played: &Played, first: &Played, piece: &Piece, counted: &Counted) -> Faults {
    let Counted { accepted, refused } = *counted;
    let knobs = (played.moves != first.moves)
        .then(|| format!("{:?} against {:?} in {}", played.moves, first.moves, first.home));
    let contract = Configuration::parse(terms::CONFIGURATION).ok().and_then(|own| own.contract);
    let ledger = match verify(&played.windows, contract.as_ref()) {
        Err(error) => Some(format!("it does not verify: {error}")),
        Ok(totals) => {
            let sealed = (totals.accepted, totals.refused);
            let said = (played.bye.accepted, played.bye.refused);
            let lost = played.bye.windows_dropped;
            (sealed != (accepted, refused) || said != sealed || lost > 0).then(|| {
                format!(
                    "sealed {} accepted and {} refused, the service counted {} and {}, the client {accepted} and {refused}; {lost} windows lost",
                    sealed.0, sealed.1, said.0, said.1
                )
            })
        }
    };
    let cut = played.answers.connections.iter().find(|(_, answered)| !answered.complete);
    let answers = played
        .answers
        .difference(&first.answers)
        .map(|what| format!("{what} in {}", first.home))
        .or_else(|| cut.map(|(name, _)| format!("connection {name} was cut")))
        .or_else(|| {
            let connections = piece.recording.connections() as usize;
            (played.answers.connections.len() != connections).then(|| "connections are missing".into())
        });
    Faults { answers, knobs, ledger }
}

/// The bench.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let piece = Piece::of_files(settings.recording.as_deref(), settings.prices.as_deref())?;
    let mut played = Vec::new();
    for (name, play) in HOMES {
        progress(&format!("{name}: {} arrivals", piece.recording.arrivals.len()));
        played.push(play(&piece).context(|| name.into())?);
    }
    let first = &played[0];
    let counted = count::count(&piece.recording, &first.answers)?;
    for (generation, before, after) in &first.moves {
        progress(&format!("prices {generation}: {before} -> {after}"));
    }
    let mut wrong = [0_u32; 3];
    for home in &played {
        let faults = judge(home, first, &piece, &counted);
        for (place, (what, fault)) in
            [("answers", faults.answers), ("knobs", faults.knobs), ("ledger", faults.ledger)]
                .into_iter()
                .enumerate()
        {
            if let Some(fault) = fault {
                wrong[place] += 1;
                progress(&format!("DIFFERENT {what}, {}: {fault}", home.home));
            }
        }
    }
    let none = Some("<1");
    let figures = [
        ("replay.homes", played.len() as f64, Some(">=4")),
        ("replay.connections", f64::from(piece.recording.connections()), None),
        ("replay.operations", (counted.accepted + counted.refused) as f64, None),
        ("replay.refused_operations", counted.refused as f64, None),
        ("replay.knob_changes", first.moves.len() as f64, None),
        ("replay.different_answers", f64::from(wrong[0]), none),
        ("replay.different_knobs", f64::from(wrong[1]), none),
        ("replay.ledger_mismatch", f64::from(wrong[2]), none),
    ];
    Ok(figures
        .into_iter()
        .filter_map(|(name, value, goal)| Figure::of(name, "", goal, &[value]))
        .map(|figure| figure.emulated(true))
        .collect())
}

/// A case for whoever runs tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What is wrong; `None` when it passed.
    pub fault: Option<String>,
}

/// A short piece in every home, as cases.
pub fn cases() -> Outcome<Vec<Case>> {
    let piece = Piece::drawn(SHORT)?;
    let first = (HOMES[0].1)(&piece)?;
    let counted = count::count(&piece.recording, &first.answers)?;
    let mut cases = Vec::new();
    for (name, play) in HOMES {
        let faults = match play(&piece) {
            Ok(played) => judge(&played, &first, &piece, &counted),
            Err(trouble) => {
                cases.push(Case { name: format!("{name}: plays"), fault: Some(trouble.to_string()) });
                continue;
            }
        };
        let case = |what: &str, fault| Case { name: format!("{name}: {what}"), fault };
        cases.push(case("the answers of a recording are those of virtual time", faults.answers));
        cases.push(case("prices move the same knobs", faults.knobs));
        cases.push(case("the ledger counts what the client counted", faults.ledger));
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_simnet::Link;

    #[test]
    fn faults_of_the_link_change_nothing_that_is_compared() {
        let piece = Piece::drawn(SHORT).unwrap();
        let first = virtual_time::play(&piece, Link::gigabit()).unwrap();
        let counted = count::count(&piece.recording, &first.answers).unwrap();
        assert!(counted.accepted > 500 && counted.refused > 20, "{counted:?}");
        assert_eq!(judge(&first, &first, &piece, &counted), Faults::default());
        let settings: Vec<&str> = first.moves.iter().map(|(_, _, after)| after.as_str()).collect();
        assert_eq!(settings, terms::EXPECTED);
        let generations: Vec<u64> = first.moves.iter().map(|(generation, ..)| *generation).collect();
        assert_eq!(generations, [2, 3, 4, 5]);
        let faulty = Link { loss: 0.02, reordering: 0.05, reordering_ns: 300_000, ..Link::gigabit() };
        let second = virtual_time::play(&piece, faulty).unwrap();
        assert_eq!(judge(&second, &first, &piece, &counted), Faults::default());
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let piece = Piece::drawn((4, 2_000_000)).unwrap();
        let play = || virtual_time::play(&piece, Link::gigabit()).unwrap();
        let first = play();
        let counted = count::count(&piece.recording, &first.answers).unwrap();
        let mut other = play();
        let last = other.answers.connections.get_mut(&3).unwrap();
        *last.bytes.last_mut().unwrap() ^= 1;
        other.moves.pop();
        other.windows[0].refused += 1;
        let faults = judge(&other, &first, &piece, &counted);
        assert!(faults.answers.unwrap().contains("connection 3 differs from byte"));
        assert!(faults.knobs.is_some() && faults.ledger.unwrap().contains("verify"));
        let fewer = Counted { accepted: counted.accepted - 1, ..counted };
        let faults = judge(&first, &first, &piece, &fewer);
        assert!(faults.ledger.unwrap().contains("the client"), "the client's own count is compared");
    }
}
