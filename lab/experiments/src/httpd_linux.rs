//! The web server as a Linux process beside Debian's nginx with one worker: the same client, wrk, one processor for each
//! side, over AF_XDP on a `veth` cable and over TAP; nginx over the cable. The content is nginx's own first page, 612 bytes;
//! further rounds ask for 175 bytes.
//!
//! - `httpd.linux_many_ratio`: answers in a second with 64 connections, the best platform and way of waiting of ours;
//!   `httpd.linux_xdp_many_ratio` and `httpd.linux_tap_many_ratio` are those of one platform;
//! - `httpd.linux_cpu_ratio`: processor time of the server for one of them, halting;
//! - `httpd.linux_single_ratio`: answers in a second over one connection, ours spinning;
//!   `httpd.linux_single_blocking_ratio` where ours sleeps as nginx does;
//! - the same with `_175` behind `linux` for the smaller content.

use crate::beside::{Place, Way};
use crate::figures::Figure;
use crate::wrk::{Seen, Wrk};
use crate::{Settings, quiet};
use nom_cable::{ADDRESS, PREFIX_LEN, SERVER, SERVER_KERNEL};
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PORT: u16 = 8080;
const RUNS: usize = 3;
const MANY: u32 = 64;
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;
/// Bytes of the content, and how figures about it are called.
const SIZES: [(usize, &str); 2] = [(612, "linux"), (175, "linux_175")];

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Nginx,
    Ours { platform: &'static str, wait: &'static str },
}

const XDP: &str = "xdp";
const TAP: &str = "tap";
const HALT: &str = "halt";
const POLL: &str = "poll";
const SERVERS: [Server; 5] = [
    Server::Nginx,
    Server::Ours { platform: XDP, wait: HALT },
    Server::Ours { platform: XDP, wait: POLL },
    Server::Ours { platform: TAP, wait: HALT },
    Server::Ours { platform: TAP, wait: POLL },
];

impl Server {
    fn name(self) -> String {
        match self {
            Self::Nginx => "nginx".into(),
            Self::Ours { platform, wait } => format!("httpd, {platform}, {wait}"),
        }
    }
}

/// What is run.
struct Programs {
    nginx: PathBuf,
    httpd: PathBuf,
}

/// What one server did in one round, for one size.
#[derive(Debug, Clone, Copy)]
struct Round {
    server: Server,
    size: usize,
    many: Seen,
    /// Processor time of the server for one answer.
    cpu_us: f64,
    single: Seen,
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let wrk = Wrk::new(progress)?;
    let nginx = packages::ensure("nginx", "nginx-core", progress)?;
    let httpd = artefacts::linux(&["nom-httpd-linux"], progress)?.remove(0);
    let programs = Programs { nginx, httpd };
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
            for seen in measured(server, &programs, &wrk)? {
                progress(&format!(
                    "  {}, {} bytes: {MANY} connections {:.0}/s at {:.2} us of CPU, one {:.0}/s, {:.0} us, deviation {:.1} us",
                    server.name(),
                    seen.size,
                    seen.many.rate,
                    seen.cpu_us,
                    seen.single.rate,
                    seen.single.mean_us,
                    seen.single.deviation_us,
                ));
                round.push(seen);
            }
        }
        rounds.push(round);
    }
    Ok(figures(&rounds))
}

fn measured(server: Server, programs: &Programs, wrk: &Wrk) -> Outcome<Vec<Round>> {
    let place = match server {
        Server::Nginx => {
            Place::start(Way::Cable, (SERVER_KERNEL, PORT), |folder| nginx(&programs.nginx, folder))?
        }
        Server::Ours { platform, wait } => {
            let way = if platform == TAP { Way::Tap } else { Way::Cable };
            Place::start(way, (ADDRESS, PORT), |folder| ours(&programs.httpd, folder, platform, wait))?
        }
    };
    let mut rounds = Vec::new();
    for (size, _) in SIZES {
        let ask = |connections| {
            let wrk = wrk.clone();
            place.ask(move |target| wrk.run(target, &path(size), connections))
        };
        let before = place.used_us()?;
        let many = ask(MANY)?;
        let cpu_us = (place.used_us()? - before) / many.requests;
        let single = ask(1)?;
        rounds.push(Round { server, size, many, cpu_us, single });
    }
    Ok(rounds)
}

fn path(size: usize) -> String {
    format!("/{size}.html")
}

/// The same files for both.
fn content(folder: &Scratch) -> Outcome<PathBuf> {
    let root = folder.file("content");
    fs::create_dir(&root).context(|| "a folder for content".into())?;
    for (size, _) in SIZES {
        fs::write(folder.file(&format!("content{}", path(size))), "x".repeat(size))
            .context(|| "content".into())?;
    }
    Ok(root)
}

/// One worker, which is the process itself, with what its handbook advises for small files.
fn nginx(program: &Path, folder: &Scratch) -> Outcome<Command> {
    let root = content(folder)?;
    let file = folder.file("nginx.conf");
    let own = folder.path().display();
    let text = format!(
        "daemon off; master_process off; worker_processes 1; user root; pid {own}/nginx.pid; error_log {own}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ default_type text/html; access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;\n\
         keepalive_timeout 65; keepalive_requests 1000000000; open_file_cache max=1000; open_file_cache_valid 60s;\n\
         client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c; uwsgi_temp_path {own}/d;\n\
         scgi_temp_path {own}/e; server {{ listen {SERVER_KERNEL}:{PORT}; root {}; }} }}\n",
        root.display()
    );
    fs::write(&file, text).context(|| "a configuration".into())?;
    let mut command = dying_with_us(program);
    command.arg("-c").arg(file).arg("-p").arg(folder.path());
    Ok(command)
}

fn ours(program: &Path, folder: &Scratch, platform: &str, wait: &str) -> Outcome<Command> {
    let root = content(folder)?;
    let file = folder.file("configuration");
    let interface = if platform == TAP { "nom0" } else { SERVER };
    let text = format!(
        "listen = {PORT}\naddress = {ADDRESS}/{PREFIX_LEN}\nnetwork = {platform}\nnetwork.interface = {interface}\n\
         web.content = {}\nmemory.send = 16 MiB\nmemory.receive = 16 MiB\nwait = {wait}\nbatch = queued\n\
         tuner = off\nmanagement.token = 00112233445566778899aabbccddeeff\n",
        root.display()
    );
    fs::write(&file, text).context(|| "a configuration".into())?;
    let mut command = dying_with_us(program);
    command.arg("--config").arg(file).arg("--run").arg(folder.path()).args(["--port", "0"]);
    Ok(command)
}

fn figures(rounds: &[Vec<Round>]) -> Vec<Figure> {
    let mut all = Vec::new();
    for (size, name) in SIZES {
        let rounds: Vec<Vec<Round>> = rounds
            .iter()
            .map(|round| round.iter().copied().filter(|seen| seen.size == size).collect())
            .collect();
        all.extend(figures_of(&rounds, name));
    }
    all
}

fn figures_of(rounds: &[Vec<Round>], name: &str) -> Vec<Figure> {
    // The best of those of ours that fit, against nginx, in each round; larger is better.
    let ratio = |platform: Option<&str>, wait: Option<&str>, of: fn(&Round) -> f64| -> Vec<f64> {
        let fits = |round: &&Round| match round.server {
            Server::Nginx => false,
            Server::Ours { platform: ours, wait: way } => {
                platform.is_none_or(|name| name == ours) && wait.is_none_or(|name| name == way)
            }
        };
        let against = |round: &Vec<Round>| -> Option<f64> {
            let theirs = round.iter().find(|round| round.server == Server::Nginx)?;
            Some(round.iter().filter(fits).map(of).fold(0.0, f64::max) / of(theirs))
        };
        rounds.iter().filter_map(against).collect()
    };
    let many = |round: &Round| round.many.rate;
    let single = |round: &Round| round.single.rate;
    let cheapness = |round: &Round| 1.0 / round.cpu_us;
    let steadiness = |round: &Round| 1.0 / round.single.deviation_us;
    let add = |what: &str, goal, runs: Vec<f64>| {
        Figure::of(&format!("httpd.{name}_{what}"), "x", goal, &runs)
            .map(|figure| figure.against("nginx, one worker"))
    };
    let plain = |what: &str, unit, of: fn(&Round) -> f64| {
        let theirs: Vec<f64> =
            rounds.iter().flatten().filter(|round| round.server == Server::Nginx).map(of).collect();
        Figure::of(&format!("httpd.{name}_{what}"), unit, None, &theirs)
    };
    [
        add("many_ratio", Some(">=1.3"), ratio(None, None, many)),
        add("cpu_ratio", Some(">=1.5"), ratio(None, Some(HALT), cheapness)),
        add("single_ratio", Some(">=2.5"), ratio(None, Some(POLL), single)),
        add("single_blocking_ratio", None, ratio(None, Some(HALT), single)),
        add("jitter_ratio", None, ratio(None, Some(POLL), steadiness)),
        add("xdp_many_ratio", None, ratio(Some(XDP), None, many)),
        add("tap_many_ratio", None, ratio(Some(TAP), None, many)),
        add("xdp_cpu_ratio", None, ratio(Some(XDP), Some(HALT), cheapness)),
        add("tap_cpu_ratio", None, ratio(Some(TAP), Some(HALT), cheapness)),
        add("xdp_single_ratio", None, ratio(Some(XDP), Some(POLL), single)),
        add("tap_single_ratio", None, ratio(Some(TAP), Some(POLL), single)),
        plain("nginx_many_per_s", "1/s", |round| round.many.rate),
        plain("nginx_single_us", "us", |round| round.single.mean_us),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_ours_stands_against_nginx() {
        let round = |server, size, rate, cpu_us| {
            let seen = Seen { requests: 1.0, rate, mean_us: 1.0, deviation_us: cpu_us };
            Round { server, size, many: seen, cpu_us, single: seen }
        };
        let all = [
            round(SERVERS[0], 612, 100.0, 5.0),
            round(SERVERS[1], 612, 120.0, 2.5),
            round(SERVERS[4], 612, 300.0, 8.0),
            round(SERVERS[0], 175, 100.0, 5.0),
            round(SERVERS[3], 175, 50.0, 10.0),
        ];
        let figures = figures(&[all.to_vec()]);
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(value("httpd.linux_many_ratio"), 3.0);
        assert_eq!(value("httpd.linux_cpu_ratio"), 2.0);
        assert_eq!(value("httpd.linux_xdp_many_ratio"), 3.0f64.min(1.2));
        assert_eq!(value("httpd.linux_175_cpu_ratio"), 0.5);
    }
}
