//! A service in a guest of ours beside another one in a guest of Linux: the same machine type with one processor, the same
//! card on a TAP device in a network of the bench's own, the same client. The emulator with all its threads has one
//! processor of the host, the client the other one. What serves, what the peer is and what the client does is data
//! ([`Contest`]).
//!
//! Three sides take turns: the peer under Debian's cloud kernel, ours asleep between requests, and ours polling while the
//! guest's processor is demoted (nice 19) against the emulator's other threads. The figures, behind the contest's name:
//!
//! - `vm_many_ratio`: operations in a second with 64 connections, ours asleep between them;
//! - `vm_single_ratio`: with one connection; `vm_single_polling_ratio` where ours polls;
//! - `vm_jitter_ratio`: standard deviation of the latency with one connection, as the client sees it, the steadier of
//!   ours; `vm_jitter_halting_ratio` and `vm_jitter_polling_ratio` are those of one way to wait, `vm_many_jitter_ratio`
//!   with 64, ours asleep between them;
//! - `vm_wire_jitter_ratio`: the same from the request's frame to that of its answer on the guest's TAP device, as the
//!   host's kernel stamps them ([`wire`]): without the client; `vm_wire_SIDE_us`, `_deviation_us` and `_p99_us` beside it;
//! - `vm_cpu_ratio`, `vm_single_cpu_ratio`: processor time of an operation, guest and emulator together, ours asleep
//!   between them: less disturbed by others than rates;
//! - `vm_LOAD_WHAT_per_operation`: what an operation makes a guest of ours do ([`counted`]);
//! - `vm_floor_single_us`, `vm_floor_deviation_us`: what the client sees of a server of this host's own, without a machine
//!   around it: that much of latency and jitter is the client's and the host's, whoever is the guest;
//! - `first_answer_ms`: from the start of the emulator's process to the first answer, over the network;
//!   `first_answer_ratio` against Linux'.

pub mod counted;
mod exits;
mod wire;

use crate::caslap::Seen;
use crate::figures::Figure;
use crate::first_answer::{self, Probe};
use crate::linux_guest::service::{self, Service};
use crate::tap_home::{GUEST, Guest, HOST, HOST_MAC, INTERFACE, PREFIX_LEN, in_own_network};
use crate::{Settings, emulator_threads, linux_guest};
use counted::{Asked, Counts};
use nom_machine::kvm;
use nom_machine::machine::Nameless;
use nom_machine::packages;
use nom_machine::qemu::{Accelerator, Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use wire::{Watch, Wire};

/// Rounds through all sides unless somebody asks otherwise.
const RUNS: usize = 5;
/// Connections of the larger load where nobody wants others.
pub const MANY: u32 = 64;
/// The nom paper's *many*: by Little's law, 402 us at 39,800 answers a second are 16 requests on their way.
pub const PAPER_MANY: u32 = 16;
const QUIET: f64 = 0.1;
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 8;
const LINUX_MEMORY_MIB: u32 = 96;
/// By this word a guest that counts knows who asks: `management.token` of its configuration.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// What is compared.
pub struct Contest<'a> {
    /// The first part of the figures' names.
    pub name: &'static str,
    /// Makes our image for a way of waiting (`halt`, `poll`).
    pub ours: &'a dyn Fn(&str) -> Outcome<Nameless>,
    /// Memory of our machine.
    pub memory_mib: u32,
    /// What serves in the guest of Linux.
    pub peer: Service,
    /// What shows that either serves.
    pub probe: Probe,
    /// Loads a guest over so many connections.
    pub ask: Ask<'a>,
    /// The load of one connection on a server of this host's own, without a machine around it.
    pub floor: Option<&'a dyn Fn() -> Outcome<Seen>>,
    /// Connections of the larger load.
    pub many: u32,
    /// What the figures should be.
    pub goals: Goals,
    /// Whether it is also counted what each guest makes the machine do ([`exits`]).
    pub exits: bool,
}

/// What ratios should be; `None` where nothing was promised.
#[derive(Debug, Clone, Copy, Default)]
pub struct Goals {
    /// `vm_many_ratio`.
    pub many: Option<&'static str>,
    /// `vm_single_ratio`.
    pub single: Option<&'static str>,
    /// `vm_single_polling_ratio`.
    pub single_polling: Option<&'static str>,
    /// `vm_jitter_ratio`.
    pub jitter: Option<&'static str>,
    /// `first_answer_ms`.
    pub first_answer_ms: Option<&'static str>,
}

/// Who serves, and how it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Linux,
    Halting,
    Demoted,
}

const SIDES: [Side; 3] = [Side::Linux, Side::Halting, Side::Demoted];

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Halting => "nom, halting",
            Self::Demoted => "nom, polling, demoted",
        }
    }

    /// In the names of figures.
    fn key(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Halting => "halting",
            Self::Demoted => "polling",
        }
    }
}

/// How a guest is loaded.
type Ask<'a> = &'a (dyn Fn(SocketAddr, u32) -> Outcome<Seen> + Sync);

/// What a side is started from.
struct Started {
    side: Side,
    plan: Plan,
    kernel: Nameless,
    initial: Option<Nameless>,
}

/// What one side did in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    side: Side,
    first_answer_ms: f64,
    many: Seen,
    /// Processor time for one operation with many: of the thread that executes the guest, and of the emulator's others.
    many_us: [f64; 2],
    single: Seen,
    /// The same with one.
    single_us: [f64; 2],
    /// What the wire said of another load of one, where somebody could listen.
    wire: Option<Wire>,
}

/// Measures.
pub fn measure(
    contest: &Contest,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Figure>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let (sides, linux) = sides(contest, settings, progress)?;
    let (probe, ask, many) = (&contest.probe, contest.ask, contest.many);
    let tcpdump = packages::ensure("tcpdump", "tcpdump", progress)?;
    let (mut rounds, mut floors, mut disturbed) = (Vec::new(), Vec::new(), 0);
    for run in 0..settings.runs.unwrap_or(RUNS) {
        disturbed += settings.quiet(QUIET, LOOK, LOOKS, run, progress);
        let mut round = Vec::new();
        // In turns: who comes first changes with every round.
        for place in 0..sides.len() {
            let side = &sides[(place + run) % sides.len()];
            let (seen, silent) = in_own_network(|| measured(side, probe, ask, many, &tcpdump))?;
            progress(&format!(
                "  {}: first answer after {:.0} ms; {} connections {:.0}/s at {:.1} + {:.1} us of CPU; \
                 one {:.0}/s at {:.1} + {:.1}, {:.0} us, deviation {:.1} us; misses {} and {}",
                seen.side.name(),
                seen.first_answer_ms,
                contest.many,
                seen.many.rate,
                seen.many_us[0],
                seen.many_us[1],
                seen.single.rate,
                seen.single_us[0],
                seen.single_us[1],
                seen.single.mean_us,
                seen.single.deviation_us,
                seen.many.misses,
                seen.single.misses,
            ));
            match (seen.wire, silent) {
                (Some(wire), _) => progress(&format!(
                    "    on the wire: one {:.0} us, deviation {:.1} us, one in a hundred {:.0} us and more",
                    wire.mean_us, wire.deviation_us, wire.p99_us
                )),
                (None, why) => {
                    progress(&format!("    the wire was not listened to: {}", why.unwrap_or_default()))
                }
            }
            round.push(seen);
        }
        rounds.push(round);
        if let Some(floor) = contest.floor {
            let seen = floor()?;
            let (mean_us, deviation_us) = (seen.mean_us, seen.deviation_us);
            progress(&format!("  without a machine: one {mean_us:.0} us, deviation {deviation_us:.1} us"));
            floors.push(seen);
        }
    }
    let counted = in_own_network(|| counted(&sides[1], probe, ask, many))?;
    let measured = figures(contest.name, contest.goals, &rounds, &linux);
    let figures = measured.into_iter().chain(explained(contest.name, &counted));
    let mut exits = Vec::new();
    if contest.exits {
        for side in &sides {
            let seen = in_own_network(|| exits::counted(side, probe, ask, many))?;
            exits.extend(exits::figures(contest.name, side.side.key(), &seen));
        }
    }
    let disturbed =
        Figure::of(&format!("{}.vm_disturbed_rounds", contest.name), "", None, &[disturbed as f64]);
    let figures = figures.chain(exits).chain(disturbed).map(|figure| figure.emulated(!settings.kvm));
    Ok(figures.chain(floor_figures(contest.name, &floors)).collect())
}

/// Builds the sides; the name of the Linux one.
fn sides(
    contest: &Contest,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<(Vec<Started>, String)> {
    let (halting, polling) = ((contest.ours)("halt")?, (contest.ours)("poll")?);
    if settings.kvm {
        kvm::require(&halting, &settings.cache)?;
    }
    let accelerator = if settings.kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    let peer = service::prepare(&contest.peer, place(), &settings.cache, progress)?;
    let plan = Plan { accelerator, memory_mib: contest.memory_mib, ..Plan::new(Kind::Microvm) };
    let linux = Plan {
        foreign: true,
        memory_mib: LINUX_MEMORY_MIB,
        command_line: Some(linux_guest::command_line()),
        ..plan.clone()
    };
    let (kernel, initial) = (Nameless::new(&peer.kernel)?, Some(Nameless::new(&peer.initial)?));
    let sides = vec![
        Started { side: SIDES[0], plan: linux, kernel, initial },
        Started { side: SIDES[1], plan: plan.clone(), kernel: halting, initial: None },
        Started { side: SIDES[2], plan, kernel: polling, initial: None },
    ];
    Ok((sides, peer.name))
}

fn place() -> service::Place {
    let mask = Ipv4Addr::from(u32::MAX << (32 - u32::from(PREFIX_LEN)));
    service::Place { address: GUEST, mask, neighbour: (HOST, HOST_MAC) }
}

/// One guest from its start to its end; and why nobody listened to its wire, where nobody could.
fn measured(
    started: &Started,
    probe: &Probe,
    ask: Ask,
    many: u32,
    tcpdump: &Path,
) -> Outcome<(Round, Option<String>)> {
    let side = started.side;
    let mut guest = Guest::start_as(started.plan.clone(), &started.kernel, started.initial.as_ref())?;
    let first_answer_ms = first_answer::wait(&mut guest, probe)?;
    let _apart = emulator_threads::apart(guest.id())?;
    if side == Side::Demoted {
        emulator_threads::demote_processors(guest.id())?;
    }
    let target = SocketAddr::from((GUEST, probe.port));
    let timed = |connections| -> Outcome<(Seen, [f64; 2])> {
        let before = emulator_threads::times_ns(guest.id())?;
        let seen = ask(target, connections)?;
        let after = emulator_threads::times_ns(guest.id())?;
        Ok((seen, [0, 1].map(|at: usize| (after[at] - before[at]) as f64 / 1e3 / seen.operations)))
    };
    let ((many, many_us), (single, single_us)) = (timed(many)?, timed(1)?);
    let listened = Watch::start(tcpdump, INTERFACE, probe.port).and_then(|watch| {
        ask(target, 1)?;
        watch.seen()
    });
    let (wire, silent) = listened.map_or_else(|why| (None, Some(why.to_string())), |wire| (Some(wire), None));
    if guest.ended() {
        return Err(guest.autopsy());
    }
    Ok((Round { side, first_answer_ms, many, many_us, single, single_us, wire }, silent))
}

/// What an operation costs a guest of ours in kicks, interrupts and calls, with many connections and with one.
fn counted(started: &Started, probe: &Probe, ask: Ask, many: u32) -> Outcome<[Counts; 2]> {
    let plan = Plan { management: true, ..started.plan.clone() };
    let mut guest = Guest::start_as(plan, &started.kernel, started.initial.as_ref())?;
    first_answer::wait(&mut guest, probe)?;
    let mut asked = Asked::open(&mut guest, TOKEN)?;
    let _apart = emulator_threads::apart(guest.id())?;
    let mut counted = [Counts::default(); 2];
    for (counted, connections) in counted.iter_mut().zip([many, 1]) {
        let before = asked.counts()?;
        ask(SocketAddr::from((GUEST, probe.port)), connections)?;
        *counted = asked.counts()?.since(&before).of_each();
    }
    Ok(counted)
}

/// The figures that explain, of a guest that halts.
fn explained(name: &str, counted: &[Counts; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (load, counts) in ["many", "single"].into_iter().zip(counted) {
        let rows = [
            ("frames_in", counts.frames_in),
            ("frames_out", counts.frames_out),
            ("kicks", counts.kicks),
            ("interrupts", counts.interrupts),
            ("calls", counts.calls),
            ("halts", counts.halts),
        ];
        let figure =
            |(what, each)| Figure::of(&format!("{name}.vm_{load}_{what}_per_operation"), "", None, &[each]);
        figures.extend(rows.into_iter().filter_map(figure));
    }
    figures
}

/// What the client saw where no machine was.
fn floor_figures(name: &str, floors: &[Seen]) -> Vec<Figure> {
    let figure = |what: &str, of: fn(&Seen) -> f64| {
        let runs: Vec<f64> = floors.iter().map(of).collect();
        Figure::of(&format!("{name}.vm_floor_{what}"), "us", None, &runs)
    };
    let figures =
        [figure("single_us", |seen| seen.mean_us), figure("deviation_us", |seen| seen.deviation_us)];
    figures.into_iter().flatten().collect()
}

/// A figure of a round of ours against Linux' in the same one; above 1 is better where a larger value is.
fn ratios(rounds: &[Vec<Round>], side: Side, of: impl Fn(&Round) -> f64) -> Vec<f64> {
    let find = |round: &Vec<Round>, side: Side| round.iter().find(|one| one.side == side).copied();
    let ratio = |round| Some(of(&find(round, side)?) / of(&find(round, Side::Linux)?));
    rounds.iter().filter_map(ratio).collect()
}

/// Linux' deviation over that of the steadier of ours in each round that has both.
fn steadier_of(rounds: &[Vec<Round>], deviation: impl Fn(&Round) -> Option<f64>) -> Vec<f64> {
    let least = |round: &Vec<Round>, linux: bool| {
        let sides = round.iter().filter(|one| (one.side == Side::Linux) == linux);
        sides.filter_map(&deviation).min_by(f64::total_cmp)
    };
    rounds.iter().filter_map(|round| Some(least(round, true)? / least(round, false)?)).collect()
}

fn figures(contest: &str, goals: Goals, rounds: &[Vec<Round>], linux: &str) -> Vec<Figure> {
    let steadiness = |seen: Seen| 1.0 / seen.deviation_us;
    let many = |round: &Round| round.many.rate;
    let single = |round: &Round| round.single.rate;
    let single_steadiness = |round: &Round| steadiness(round.single);
    let many_steadiness = |round: &Round| steadiness(round.many);
    let soon = |round: &Round| 1.0 / round.first_answer_ms;
    let (halting, demoted) = (Side::Halting, Side::Demoted);
    let ratio = |name: &str, goal, runs: Vec<f64>| {
        Figure::of(&format!("{contest}.{name}"), "x", goal, &runs).map(|figure| figure.against(linux))
    };
    let plain = |name: &str, unit, goal, sides: &[Side], of: &dyn Fn(&Round) -> f64| {
        let runs: Vec<f64> =
            rounds.iter().flatten().filter(|round| sides.contains(&round.side)).map(of).collect();
        Figure::of(&format!("{contest}.{name}"), unit, goal, &runs)
    };
    let steadier = steadier_of(rounds, |round| Some(round.single.deviation_us));
    let wire_jitter = steadier_of(rounds, |round| Some(round.wire?.deviation_us));
    let us = |round: &Round| round.single.mean_us;
    let deviation_us = |round: &Round| round.single.deviation_us;
    let mut figures: Vec<Figure> = [
        ratio("vm_many_ratio", goals.many, ratios(rounds, halting, many)),
        ratio("vm_single_ratio", goals.single, ratios(rounds, halting, single)),
        ratio("vm_single_polling_ratio", goals.single_polling, ratios(rounds, demoted, single)),
        ratio("vm_jitter_ratio", goals.jitter, steadier),
        ratio("vm_wire_jitter_ratio", None, wire_jitter),
        ratio("vm_jitter_halting_ratio", None, ratios(rounds, halting, single_steadiness)),
        ratio("vm_jitter_polling_ratio", None, ratios(rounds, demoted, single_steadiness)),
        ratio("vm_many_jitter_ratio", None, ratios(rounds, halting, many_steadiness)),
        ratio("vm_cpu_ratio", None, ratios(rounds, halting, |round| 1.0 / round.many_us.iter().sum::<f64>())),
        ratio(
            "vm_single_cpu_ratio",
            None,
            ratios(rounds, halting, |round| 1.0 / round.single_us.iter().sum::<f64>()),
        ),
        ratio("vm_many_polling_ratio", None, ratios(rounds, demoted, many)),
        ratio("vm_many_jitter_polling_ratio", None, ratios(rounds, demoted, many_steadiness)),
        plain("first_answer_ms", "ms", goals.first_answer_ms, &[halting, demoted], &|one| {
            one.first_answer_ms
        }),
        ratio("first_answer_ratio", None, ratios(rounds, halting, soon)),
        plain("first_answer_linux_ms", "ms", None, &[Side::Linux], &|one| one.first_answer_ms),
    ]
    .into_iter()
    .flatten()
    .collect();
    for side in SIDES {
        let name = side.key();
        figures.extend(plain(&format!("vm_{name}_many_per_s"), "1/s", None, &[side], &many));
        figures.extend(plain(&format!("vm_{name}_single_us"), "us", None, &[side], &us));
        figures.extend(plain(&format!("vm_{name}_many_us"), "us", None, &[side], &|one| one.many.mean_us));
        figures.extend(plain(&format!("vm_{name}_many_deviation_us"), "us", None, &[side], &|one| {
            one.many.deviation_us
        }));
        for (load, of) in
            [("many", (|one: &Round| one.many) as fn(&Round) -> Seen), ("single", |one| one.single)]
        {
            let of_side = rounds.iter().flatten().filter(|round| round.side == side);
            let runs: Vec<f64> = of_side.filter_map(|round| of(round).late).collect();
            figures.extend(Figure::of(&format!("{contest}.vm_{name}_{load}_late_part"), "", None, &runs));
        }
        figures.extend(plain(&format!("vm_{name}_single_per_s"), "1/s", None, &[side], &single));
        let name_of = format!("vm_{name}_single_deviation_us");
        figures.extend(plain(&name_of, "us", None, &[side], &deviation_us));
        for (place, what) in wire::FIGURES.iter().enumerate() {
            let of_side = rounds.iter().flatten().filter(|round| round.side == side);
            let runs: Vec<f64> = of_side.filter_map(|round| Some(round.wire?.figures()[place])).collect();
            figures.extend(Figure::of(&format!("{contest}.vm_wire_{name}_{what}"), "us", None, &runs));
        }
        figures.extend(plain(&format!("vm_{name}_guest_us"), "us", None, &[side], &|one| one.many_us[0]));
        figures.extend(plain(&format!("vm_{name}_emulator_us"), "us", None, &[side], &|one| one.many_us[1]));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_stands_against_linux_of_the_same_round() {
        let round = |side, rate, deviation_us, first_answer_ms| {
            let seen = Seen { operations: 1.0, rate, mean_us: 1.0, deviation_us, misses: 0, late: Some(0.5) };
            let wire = Some(Wire { mean_us: 1.0, deviation_us: deviation_us / 2.0, p99_us: 1.0 });
            let (many_us, single_us) = ([1.0; 2], [1.0; 2]);
            Round { side, first_answer_ms, many: seen, many_us, single: seen, single_us, wire }
        };
        let rounds = [
            vec![
                round(SIDES[0], 100.0, 40.0, 3000.0),
                round(SIDES[1], 800.0, 4.0, 100.0),
                round(SIDES[2], 500.0, 2.0, 110.0),
            ],
            vec![round(SIDES[0], 1000.0, 40.0, 3000.0), round(SIDES[1], 2000.0, 4.0, 60.0)],
        ];
        let figures = figures("kv", Goals::default(), &rounds, "Linux");
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap();
        assert_eq!((of("kv.vm_many_ratio").min, of("kv.vm_many_ratio").max), (2.0, 8.0));
        assert_eq!(of("kv.vm_single_polling_ratio").value, 5.0);
        assert_eq!((of("kv.vm_jitter_ratio").min, of("kv.vm_jitter_ratio").max), (10.0, 20.0));
        assert_eq!(of("kv.vm_jitter_halting_ratio").value, 10.0);
        assert_eq!(of("kv.vm_wire_jitter_ratio").max, 20.0);
        assert_eq!(of("kv.vm_wire_polling_deviation_us").value, 1.0);
        assert_eq!((of("kv.first_answer_ms").value, of("kv.first_answer_ms").runs), (100.0, 3));
        assert_eq!(of("kv.vm_linux_many_per_s").runs, 2);
    }
}
