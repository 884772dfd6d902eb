//! The cache as a Linux process beside Debian's memcached with one thread: the same client, memcaslap, one processor for
//! each side, over AF_XDP on a `veth` cable and over TAP; memcached over the cable.
//!
//! - `kv.linux_many_ratio`: operations in a second with 64 connections, the best platform and way of waiting of ours;
//!   `kv.linux_xdp_many_ratio` and `kv.linux_tap_many_ratio` are those of one platform;
//! - `kv.linux_cpu_ratio`: processor time of the server for one of them, halting;
//! - `kv.linux_single_ratio`: operations in a second with one connection, ours spinning; `kv.linux_single_blocking_ratio`
//!   where ours sleeps as memcached does;
//! - `kv.linux_jitter_ratio`: standard deviation of the latency with one connection, as memcaslap sees it, ours spinning;
//!   `kv.linux_many_jitter_ratio` with 64.

use crate::beside::{Place, Way};
use crate::caslap::{Caslap, Load, Seen};
use crate::figures::Figure;
use crate::{Settings, quiet};
use nom_cable::{ADDRESS, PREFIX_LEN, SERVER, SERVER_KERNEL};
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const PORT: u16 = 11211;
/// Memory for items on both sides.
const ITEMS_MIB: u32 = 256;
const RUNS: usize = 3;
const MANY: u32 = 64;
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Memcached,
    Ours { platform: &'static str, wait: &'static str },
}

const XDP: &str = "xdp";
const TAP: &str = "tap";
const HALT: &str = "halt";
const POLL: &str = "poll";
const SERVERS: [Server; 5] = [
    Server::Memcached,
    Server::Ours { platform: XDP, wait: HALT },
    Server::Ours { platform: XDP, wait: POLL },
    Server::Ours { platform: TAP, wait: HALT },
    Server::Ours { platform: TAP, wait: POLL },
];

impl Server {
    fn name(self) -> String {
        match self {
            Self::Memcached => "memcached".into(),
            Self::Ours { platform, wait } => format!("kv, {platform}, {wait}"),
        }
    }
}

/// What is run.
struct Programs {
    memcached: PathBuf,
    kv: PathBuf,
}

/// What one server did in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    server: Server,
    many: Seen,
    /// Processor time of the server for one operation.
    cpu_us: f64,
    single: Seen,
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let caslap = Caslap::new(progress)?;
    let memcached = packages::ensure("memcached", "memcached", progress)?;
    let kv = artefacts::linux(&["nom-kv-linux"], progress)?.remove(0);
    let programs = Programs { memcached, kv };
    let mut rounds = Vec::new();
    for run in 0..settings.runs.unwrap_or(RUNS) {
        let load = quiet::wait_for_quiet(QUIET, LOOK, LOOKS);
        let busy = if load < QUIET { "" } else { "; others are busy, these figures are disturbed" };
        progress(&format!(
            "round {}: {:.0}% of the machine busy with other work{busy}",
            run + 1,
            load * 100.0
        ));
        let mut round = Vec::new();
        // In turns: who comes first changes with every round.
        for place in 0..SERVERS.len() {
            let server = SERVERS[(place + run) % SERVERS.len()];
            let seen = measured(server, &programs, &caslap)?;
            progress(&format!(
                "  {}: {MANY} connections {:.0}/s at {:.2} us of CPU, one {:.0}/s, {:.0} us, deviation {:.1} us",
                server.name(),
                seen.many.rate,
                seen.cpu_us,
                seen.single.rate,
                seen.single.mean_us,
                seen.single.deviation_us,
            ));
            round.push(seen);
        }
        rounds.push(round);
    }
    Ok(figures(&rounds))
}

fn measured(server: Server, programs: &Programs, caslap: &Caslap) -> Outcome<Round> {
    let place = match server {
        Server::Memcached => Place::start(Way::Cable, (SERVER_KERNEL, PORT), |_| Ok(memcached(programs)))?,
        Server::Ours { platform, wait } => {
            let way = if platform == TAP { Way::Tap } else { Way::Cable };
            Place::start(way, (ADDRESS, PORT), |folder| {
                let file = folder.file("configuration");
                fs::write(&file, configuration(platform, wait)).context(|| "a configuration".into())?;
                let mut command = dying_with_us(&programs.kv);
                command.arg("--config").arg(file).arg("--run").arg(folder.path()).args(["--port", "0"]);
                Ok(command)
            })?
        }
    };
    let ask = |connections| {
        let caslap = caslap.clone();
        place.ask(move |target| caslap.run(target, Load { connections, value_len: None }))
    };
    let before = place.used_us()?;
    let many = ask(MANY)?;
    let cpu_us = (place.used_us()? - before) / many.operations;
    let single = ask(1)?;
    Ok(Round { server, many, cpu_us, single })
}

fn memcached(programs: &Programs) -> Command {
    let mut command = dying_with_us(&programs.memcached);
    let memory = ITEMS_MIB.to_string();
    command.args(["-u", "nobody", "-t", "1", "-U", "0", "-m", &memory, "-l", "0.0.0.0"]);
    command.args(["-p", &PORT.to_string()]);
    command
}

fn configuration(platform: &str, wait: &str) -> String {
    let interface = if platform == TAP { "nom0" } else { SERVER };
    format!(
        "listen = {PORT}\naddress = {ADDRESS}/{PREFIX_LEN}\nnetwork = {platform}\nnetwork.interface = {interface}\n\
         memory.items = {ITEMS_MIB} MiB\nmemory.send = 16 MiB\nmemory.receive = 16 MiB\nwait = {wait}\n\
         batch = queued\ntuner = off\nmanagement.token = 00112233445566778899aabbccddeeff\n"
    )
}

fn figures(rounds: &[Vec<Round>]) -> Vec<Figure> {
    // The best of those of ours that fit, against memcached, in each round; larger is better.
    let ratio = |platform: Option<&str>, wait: Option<&str>, of: fn(&Round) -> f64| -> Vec<f64> {
        let fits = |round: &&Round| match round.server {
            Server::Memcached => false,
            Server::Ours { platform: ours, wait: way } => {
                platform.is_none_or(|name| name == ours) && wait.is_none_or(|name| name == way)
            }
        };
        let against = |round: &Vec<Round>| -> Option<f64> {
            let theirs = round.iter().find(|round| round.server == Server::Memcached)?;
            Some(round.iter().filter(fits).map(of).fold(0.0, f64::max) / of(theirs))
        };
        rounds.iter().filter_map(against).collect()
    };
    let many = |round: &Round| round.many.rate;
    let single = |round: &Round| round.single.rate;
    let cheapness = |round: &Round| 1.0 / round.cpu_us;
    let steadiness = |round: &Round| 1.0 / round.single.deviation_us;
    let many_steadiness = |round: &Round| 1.0 / round.many.deviation_us;
    let add = |name: &str, goal, runs: Vec<f64>| {
        Figure::of(name, "x", goal, &runs).map(|figure| figure.against("memcached, one thread"))
    };
    let plain = |name: &str, unit, of: fn(&Round) -> f64| {
        let theirs: Vec<f64> =
            rounds.iter().flatten().filter(|round| round.server == Server::Memcached).map(of).collect();
        Figure::of(name, unit, None, &theirs)
    };
    [
        add("kv.linux_many_ratio", Some(">=1.3"), ratio(None, None, many)),
        add("kv.linux_cpu_ratio", Some(">=1.5"), ratio(None, Some(HALT), cheapness)),
        add("kv.linux_single_ratio", Some(">=2.5"), ratio(None, Some(POLL), single)),
        add("kv.linux_single_blocking_ratio", Some(">=1"), ratio(None, Some(HALT), single)),
        add("kv.linux_jitter_ratio", Some(">=4"), ratio(None, Some(POLL), steadiness)),
        add("kv.linux_many_jitter_ratio", None, ratio(None, Some(POLL), many_steadiness)),
        add("kv.linux_xdp_many_ratio", None, ratio(Some(XDP), None, many)),
        add("kv.linux_tap_many_ratio", None, ratio(Some(TAP), None, many)),
        add("kv.linux_xdp_cpu_ratio", None, ratio(Some(XDP), Some(HALT), cheapness)),
        add("kv.linux_tap_cpu_ratio", None, ratio(Some(TAP), Some(HALT), cheapness)),
        add("kv.linux_xdp_single_ratio", None, ratio(Some(XDP), Some(POLL), single)),
        add("kv.linux_tap_single_ratio", None, ratio(Some(TAP), Some(POLL), single)),
        plain("kv.linux_memcached_many_per_s", "1/s", |round| round.many.rate),
        plain("kv.linux_memcached_single_us", "us", |round| round.single.mean_us),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_ours_stands_against_memcached() {
        let round = |server, rate, cpu_us| {
            let seen = Seen { operations: 1.0, rate, mean_us: 1.0, deviation_us: cpu_us, misses: 0 };
            Round { server, many: seen, cpu_us, single: seen }
        };
        let all = [
            round(SERVERS[0], 100.0, 5.0),
            round(SERVERS[1], 120.0, 2.5),
            round(SERVERS[2], 150.0, 9.0),
            round(SERVERS[3], 90.0, 4.0),
            round(SERVERS[4], 300.0, 8.0),
        ];
        let figures = figures(&[all.to_vec()]);
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(value("kv.linux_many_ratio"), 3.0);
        assert_eq!(value("kv.linux_xdp_many_ratio"), 1.5);
        assert_eq!(value("kv.linux_cpu_ratio"), 2.0);
        assert_eq!(value("kv.linux_single_blocking_ratio"), 1.2);
        assert_eq!(value("kv.linux_jitter_ratio"), 5.0 / 8.0);
    }
}
