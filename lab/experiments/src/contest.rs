//! A server of ours as a Linux process, over AF_XDP on a `veth` cable and over TAP, halting and spinning, beside a peer on
//! Linux's own stack over the cable: the same client, one processor for each side, in turns.
//!
//! Of each question two loads: many connections, and one. The figures, each with its name behind a prefix:
//!
//! - `many_ratio`: operations in a second with many connections, the best platform and way of waiting of ours; `xdp_` and
//!   `tap_` before it: those of one platform;
//! - `cpu_ratio`: processor time of the server for one of them, halting;
//! - `single_ratio`: operations in a second over one connection, ours spinning; `single_blocking_ratio` where ours sleeps as
//!   the peer does;
//! - `jitter_ratio`: standard deviation of the latency over one connection, as the client sees it, ours spinning;
//!   `many_jitter_ratio` with many.

use crate::Settings;
use crate::beside::{Place, Way};
use crate::figures::Figure;
use nom_cable::{ADDRESS, PREFIX_LEN, SERVER, SERVER_KERNEL};
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Connections of the larger load.
pub const MANY: u32 = 64;
const RUNS: usize = 3;
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;

const XDP: &str = "xdp";
const TAP: &str = "tap";
const HALT: &str = "halt";
const POLL: &str = "poll";

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Somebody else's.
    Peer,
    /// Ours, over a platform, with a way of waiting.
    Ours {
        /// The platform.
        platform: &'static str,
        /// The way of waiting.
        wait: &'static str,
    },
}

/// All of them.
pub const SERVERS: [Server; 5] = [
    Server::Peer,
    Server::Ours { platform: XDP, wait: HALT },
    Server::Ours { platform: XDP, wait: POLL },
    Server::Ours { platform: TAP, wait: HALT },
    Server::Ours { platform: TAP, wait: POLL },
];

/// What a client heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// Operations in all.
    pub operations: f64,
    /// In a second.
    pub rate: f64,
    /// Mean latency.
    pub mean_us: f64,
    /// Its standard deviation.
    pub deviation_us: f64,
}

/// What one server did for one question.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Who.
    pub server: Server,
    /// With many connections.
    pub many: Heard,
    /// Processor time of the server for one operation of these.
    pub cpu_us: f64,
    /// With one.
    pub single: Heard,
}

/// Two servers that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Contest {
    /// What ours is called.
    pub ours: &'static str,
    /// What the other one is called.
    pub peer: &'static str,
    /// Where both serve.
    pub port: u16,
}

impl Contest {
    /// All servers in turns, as often as was asked for. `start` starts one in a folder of its own, `ask` asks it a question
    /// over so many connections.
    pub fn hold<Q: Copy + Send + 'static>(
        &self,
        settings: &Settings,
        questions: &[(Q, &str)],
        start: impl Fn(Server, &Scratch) -> Outcome<Command>,
        ask: impl Fn(SocketAddr, Q, u32) -> Outcome<Heard> + Clone + Send + 'static,
        progress: &mut dyn FnMut(&str),
    ) -> Outcome<Vec<Vec<Vec<Round>>>> {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
        }
        let mut rounds: Vec<Vec<Vec<Round>>> = questions.iter().map(|_| Vec::new()).collect();
        for run in 0..settings.runs.unwrap_or(RUNS) {
            let _ = settings.quiet(QUIET, LOOK, LOOKS, run, progress);
            rounds.iter_mut().for_each(|all| all.push(Vec::new()));
            // In turns: who comes first changes with every round.
            for place in 0..SERVERS.len() {
                let server = SERVERS[(place + run) % SERVERS.len()];
                let place = self.place(server, &start)?;
                for ((question, name), all) in questions.iter().zip(&mut rounds) {
                    let asked = |connections| {
                        let (ask, question) = (ask.clone(), *question);
                        place.ask(move |target| ask(target, question, connections))
                    };
                    let before = place.used_us()?;
                    let many = asked(MANY)?;
                    let cpu_us = (place.used_us()? - before) / many.operations;
                    let single = asked(1)?;
                    progress(&format!(
                        "  {}{name}: {MANY} connections {:.0}/s at {cpu_us:.2} us of CPU, one {:.0}/s, {:.0} us, \
                         deviation {:.1} us",
                        self.name(server),
                        many.rate,
                        single.rate,
                        single.mean_us,
                        single.deviation_us,
                    ));
                    all[run].push(Round { server, many, cpu_us, single });
                }
            }
        }
        Ok(rounds)
    }

    fn place(&self, server: Server, start: impl Fn(Server, &Scratch) -> Outcome<Command>) -> Outcome<Place> {
        let (way, address) = match server {
            Server::Peer => (Way::Cable, SERVER_KERNEL),
            Server::Ours { platform: TAP, .. } => (Way::Tap, ADDRESS),
            Server::Ours { .. } => (Way::Cable, ADDRESS),
        };
        Place::start(way, (address, self.port), |folder| start(server, folder))
    }

    fn name(&self, server: Server) -> String {
        match server {
            Server::Peer => self.peer.into(),
            Server::Ours { platform, wait } => format!("{}, {platform}, {wait}", self.ours),
        }
    }

    /// The figures of one question. `goals` are those of the first six, as the module's words have them.
    pub fn figures(
        &self,
        prefix: &str,
        against: &'static str,
        goals: [Option<&'static str>; 6],
        rounds: &[Vec<Round>],
    ) -> Vec<Figure> {
        // The best of those of ours that fit, against the peer, in each round; larger is better.
        let ratio = |platform: Option<&str>, wait: Option<&str>, of: fn(&Round) -> f64| -> Vec<f64> {
            let fits = |round: &&Round| match round.server {
                Server::Peer => false,
                Server::Ours { platform: ours, wait: way } => {
                    platform.is_none_or(|name| name == ours) && wait.is_none_or(|name| name == way)
                }
            };
            let best = |round: &Vec<Round>| -> Option<f64> {
                let theirs = round.iter().find(|round| round.server == Server::Peer)?;
                Some(round.iter().filter(fits).map(of).fold(0.0, f64::max) / of(theirs))
            };
            rounds.iter().filter_map(best).collect()
        };
        let many = |round: &Round| round.many.rate;
        let single = |round: &Round| round.single.rate;
        let cheapness = |round: &Round| 1.0 / round.cpu_us;
        let steadiness = |round: &Round| 1.0 / round.single.deviation_us;
        let many_steadiness = |round: &Round| 1.0 / round.many.deviation_us;
        let add = |what: &str, goal, runs: Vec<f64>| {
            Figure::of(&format!("{prefix}_{what}"), "x", goal, &runs).map(|figure| figure.against(against))
        };
        let plain = |what: &str, unit, of: fn(&Round) -> f64| {
            let theirs: Vec<f64> =
                rounds.iter().flatten().filter(|round| round.server == Server::Peer).map(of).collect();
            Figure::of(&format!("{prefix}_{}_{what}", self.peer), unit, None, &theirs)
        };
        let [many_goal, cpu_goal, single_goal, blocking_goal, jitter_goal, many_jitter_goal] = goals;
        [
            add("many_ratio", many_goal, ratio(None, None, many)),
            add("cpu_ratio", cpu_goal, ratio(None, Some(HALT), cheapness)),
            add("single_ratio", single_goal, ratio(None, Some(POLL), single)),
            add("single_blocking_ratio", blocking_goal, ratio(None, Some(HALT), single)),
            add("jitter_ratio", jitter_goal, ratio(None, Some(POLL), steadiness)),
            add("many_jitter_ratio", many_jitter_goal, ratio(None, Some(POLL), many_steadiness)),
            add("xdp_many_ratio", None, ratio(Some(XDP), None, many)),
            add("tap_many_ratio", None, ratio(Some(TAP), None, many)),
            add("xdp_cpu_ratio", None, ratio(Some(XDP), Some(HALT), cheapness)),
            add("tap_cpu_ratio", None, ratio(Some(TAP), Some(HALT), cheapness)),
            add("xdp_single_ratio", None, ratio(Some(XDP), Some(POLL), single)),
            add("tap_single_ratio", None, ratio(Some(TAP), Some(POLL), single)),
            plain("many_per_s", "1/s", |round| round.many.rate),
            plain("single_us", "us", |round| round.single.mean_us),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// A program of ours that serves alone, with these lines besides.
    pub fn process(
        &self,
        program: &Path,
        folder: &Scratch,
        (platform, wait): (&str, &str),
        lines: &str,
    ) -> Outcome<Command> {
        let interface = if platform == TAP { "nom0" } else { SERVER };
        let file = folder.file("configuration");
        let text = format!(
            "listen = {}\naddress = {ADDRESS}/{PREFIX_LEN}\nnetwork = {platform}\nnetwork.interface = {interface}\n\
             memory.send = 16 MiB\nmemory.receive = 16 MiB\nwait = {wait}\nbatch = queued\ntuner = off\n\
             management.token = 00112233445566778899aabbccddeeff\n{lines}",
            self.port
        );
        fs::write(&file, text).context(|| "a configuration".into())?;
        let mut command = dying_with_us(program);
        command.arg("--config").arg(file).arg("--run").arg(folder.path()).args(["--port", "0"]);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_ours_stands_against_the_peer() {
        let round = |server, rate, cpu_us| {
            let heard = Heard { operations: 1.0, rate, mean_us: 1.0, deviation_us: cpu_us };
            Round { server, many: heard, cpu_us, single: heard }
        };
        let all = [
            round(SERVERS[0], 100.0, 5.0),
            round(SERVERS[1], 120.0, 2.5),
            round(SERVERS[2], 150.0, 9.0),
            round(SERVERS[3], 90.0, 4.0),
            round(SERVERS[4], 300.0, 8.0),
        ];
        let contest = Contest { ours: "kv", peer: "memcached", port: 1 };
        let figures = contest.figures("kv.linux", "memcached, one thread", [None; 6], &[all.to_vec()]);
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(value("kv.linux_many_ratio"), 3.0);
        assert_eq!(value("kv.linux_xdp_many_ratio"), 1.5);
        assert_eq!(value("kv.linux_cpu_ratio"), 2.0);
        assert_eq!(value("kv.linux_single_blocking_ratio"), 1.2);
        assert_eq!(value("kv.linux_jitter_ratio"), 5.0 / 8.0);
        assert_eq!(value("kv.linux_memcached_many_per_s"), 100.0);
    }
}
