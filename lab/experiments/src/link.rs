//! A private stack on Linux's platforms against Linux's own sockets: the same echo, the same client, one processor for
//! each side.
//!
//! The client is Linux's TCP with one thread that never sleeps. The servers are a private stack over AF_XDP, AF_PACKET
//! (both on a `veth` cable) and TAP, and Linux's own sockets with epoll over the cable; each halting and spinning. All of
//! them are threads of this process in networks of their own, which end with it.
//!
//! - `link.PLATFORM_many_ratio`: round trips in a second with 64 connections, the better way of waiting of either side;
//! - `link.PLATFORM_cpu_ratio`: processor time of the server's thread for one of them, both halting;
//! - `link.PLATFORM_single_ratio`: round-trip time with one connection, ours spinning, Linux's blocking as servers do;
//!   `_single_spinning_ratio` and `_single_blocking_ratio` where both wait the same way;
//! - `link.PLATFORM_bulk_ratio`: bytes a second of one connection that sends and gets back as much as goes;
//!   `link.bulk_ratio` is the best of them;
//! - `link.PLATFORM_floor_bulk_ratio`: the same where each frame is only turned round, by nobody who knows TCP: what a
//!   stack on this device could reach at most.

mod mirror;
pub(crate) mod opening;
mod place;

use crate::figures::Figure;
use crate::quiet;
use crate::{Settings, link::place::Place};
use nom_cable::Answered;
use nom_machine::trouble::{Outcome, Trouble};
use std::time::Duration;

/// What is claimed.
pub const CLAIM: &str = "beside Linux's sockets, one core each side: 64 connections 1.15x over AF_XDP and 1.35x over TAP, 1.33x less CPU";

const RUNS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(200);
const TIME: Duration = Duration::from_millis(800);
const MANY: usize = 64;
/// Bytes of a request and of its answer.
const MESSAGE_LEN: usize = 64;
/// The share of the machine that others may use, how long to look, and how often.
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Linux,
    Xdp,
    Packet,
    Tap,
    TapMirror,
    XdpMirror,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
            Self::Tap => "tap",
            Self::TapMirror => "tap_floor",
            Self::XdpMirror => "xdp_floor",
        }
    }
}

const SERVERS: [Server; 6] =
    [Server::Linux, Server::Xdp, Server::Packet, Server::Tap, Server::TapMirror, Server::XdpMirror];
/// Those of them that have a stack.
const STACKS: usize = 4;

/// What one server did in one round, halting and spinning.
#[derive(Debug, Default, Clone, Copy)]
struct Round {
    /// Round trips in a second with many connections, and processor time of the server for one, in nanoseconds.
    many: [f64; 2],
    cpu_ns: [f64; 2],
    /// Round trips in a second with one connection.
    single: [f64; 2],
    /// Bytes in a second.
    bulk: [f64; 2],
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let mut rounds: [Vec<Round>; SERVERS.len()] = Default::default();
    for run in 0..settings.runs.unwrap_or(RUNS) {
        let load = quiet::wait_for_quiet(QUIET, LOOK, LOOKS);
        let busy = if load < QUIET { "" } else { "; others are busy, these figures are disturbed" };
        progress(&format!(
            "round {}: {:.0}% of the machine busy with other work{busy}",
            run + 1,
            load * 100.0
        ));
        // In turns: who comes first changes with every round.
        for place in 0..SERVERS.len() {
            let which = (place + run) % SERVERS.len();
            let round = measured(SERVERS[which])?;
            progress(&format!("  {}: {}", SERVERS[which].name(), said(&round)));
            rounds[which].push(round);
        }
    }
    Ok(figures(&rounds))
}

fn said(round: &Round) -> String {
    let two = |values: [f64; 2], scale: f64| format!("{:.1}/{:.1}", values[0] * scale, values[1] * scale);
    if round.many == [0.0; 2] {
        return format!("halting/spinning: bulk {} MB/s", two(round.bulk, 1e-6));
    }
    format!(
        "halting/spinning: {MANY} connections {} k/s at {} us of CPU, one connection {} us, bulk {} MB/s",
        two(round.many, 1e-3),
        two(round.cpu_ns, 1e-3),
        two(round.single.map(|rate| 1e6 / rate), 1.0),
        two(round.bulk, 1e-6),
    )
}

fn measured(server: Server) -> Outcome<Round> {
    let mut round = Round::default();
    for (way, spinning) in [false, true].into_iter().enumerate() {
        let place = Place::start(server, spinning)?;
        let rate = |answered: Answered| answered.rate();
        round.bulk[way] = rate(place.stream(WARM_UP, TIME)?);
        if SERVERS[STACKS..].contains(&server) {
            place.end()?;
            continue;
        }
        let (many, used_ns) = place.ask(MANY, MESSAGE_LEN, WARM_UP, TIME)?;
        round.many[way] = rate(many);
        round.cpu_ns[way] = used_ns as f64 / many.count.max(1) as f64;
        round.single[way] = rate(place.ask(1, MESSAGE_LEN, WARM_UP, TIME)?.0);
        place.end()?;
    }
    Ok(round)
}

fn figures(rounds: &[Vec<Round>; SERVERS.len()]) -> Vec<Figure> {
    let [linux, ours @ .., tap_floor, xdp_floor] = rounds;
    let best = |values: [f64; 2]| values[0].max(values[1]);
    let mut figures = Vec::new();
    let mut add = |name: String, goal: Option<&'static str>, runs: Vec<f64>| {
        figures.extend(
            Figure::of(&name, "x", goal, &runs).map(|figure| figure.against("Linux's sockets, epoll")),
        );
    };
    for (server, rounds) in SERVERS[1..STACKS].iter().zip(ours) {
        let name = |figure: &str| format!("link.{}_{figure}", server.name());
        let ratio = |of: fn(&Round, &Round) -> f64| -> Vec<f64> {
            rounds.iter().zip(linux).map(|(ours, theirs)| of(ours, theirs)).collect()
        };
        let goal = |xdp, tap| match server {
            Server::Xdp => xdp,
            Server::Tap => tap,
            _ => None,
        };
        let many =
            rounds.iter().zip(linux).map(|(ours, theirs)| best(ours.many) / best(theirs.many)).collect();
        add(name("many_ratio"), goal(Some(">=1.15"), Some(">=1.35")), many);
        add(
            name("cpu_ratio"),
            goal(Some(">=1.33"), None),
            ratio(|ours, theirs| theirs.cpu_ns[0] / ours.cpu_ns[0]),
        );
        add(
            name("single_ratio"),
            goal(Some(">=2.5"), None),
            ratio(|ours, theirs| ours.single[1] / theirs.single[0]),
        );
        add(
            name("single_spinning_ratio"),
            goal(Some(">=1"), None),
            ratio(|ours, theirs| ours.single[1] / theirs.single[1]),
        );
        add(
            name("single_blocking_ratio"),
            goal(Some(">=0.95"), None),
            ratio(|ours, theirs| ours.single[0] / theirs.single[0]),
        );
        let bulk =
            rounds.iter().zip(linux).map(|(ours, theirs)| best(ours.bulk) / best(theirs.bulk)).collect();
        add(name("bulk_ratio"), None, bulk);
    }
    let bulk = |round: usize| ours.iter().map(|rounds| best(rounds[round].bulk)).fold(0.0, f64::max);
    let bulk = (0..linux.len()).map(|round| bulk(round) / best(linux[round].bulk)).collect();
    add("link.bulk_ratio".into(), Some(">=1"), bulk);
    for (server, rounds) in SERVERS[STACKS..].iter().zip([tap_floor, xdp_floor]) {
        let bulk =
            rounds.iter().zip(linux).map(|(least, linux)| best(least.bulk) / best(linux.bulk)).collect();
        add(format!("link.{}_bulk_ratio", server.name()), None, bulk);
    }
    let plain = |name: &str, unit, of: fn(&Round) -> f64| {
        Figure::of(name, unit, None, &linux.iter().map(of).collect::<Vec<_>>())
    };
    figures.extend(plain("link.linux_many_per_s", "1/s", |round| round.many[0].max(round.many[1])));
    figures.extend(plain("link.linux_single_blocking_us", "us", |round| 1e6 / round.single[0]));
    figures.extend(plain("link.linux_single_spinning_us", "us", |round| 1e6 / round.single[1]));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_answers_and_every_figure_has_its_name() {
        let mut rounds: [Vec<Round>; SERVERS.len()] = Default::default();
        for (which, server) in SERVERS.into_iter().enumerate().take(STACKS) {
            let place = match Place::start(server, which % 2 == 1) {
                Ok(place) => place,
                Err(trouble) => return println!("SKIPPED: {trouble}"),
            };
            let brief = Duration::from_millis(20);
            let (many, used_ns) = place.ask(8, MESSAGE_LEN, brief, brief).unwrap();
            let one = place.ask(1, MESSAGE_LEN, brief, brief).unwrap().0;
            let bulk = place.stream(brief, brief).unwrap();
            place.end().unwrap();
            let cpu_ns = used_ns as f64 / many.count.max(1) as f64;
            rounds[which].push(Round {
                many: [many.rate(); 2],
                cpu_ns: [cpu_ns; 2],
                single: [one.rate(); 2],
                bulk: [bulk.rate(); 2],
            });
        }
        // The mirrors know bulk alone.
        for place in &mut rounds[STACKS..] {
            place.push(Round { bulk: [1.0; 2], ..Round::default() });
        }
        let names: Vec<String> = figures(&rounds).into_iter().map(|figure| figure.name).collect();
        for name in [
            "link.xdp_many_ratio",
            "link.tap_many_ratio",
            "link.xdp_cpu_ratio",
            "link.xdp_single_ratio",
            "link.bulk_ratio",
            "link.tap_floor_bulk_ratio",
            "link.xdp_floor_bulk_ratio",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
