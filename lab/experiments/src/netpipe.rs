//! NetPIPE over a cable, one processor each side: Debian's `NPtcp` measures our receiver on a private stack, and itself
//! on Linux's own sockets, which sleep.
//!
//! - `netpipe.linux_latency_ratio`: how long a message of 1,024 bytes takes one way to Linux's sockets, against ours on
//!   AF_XDP that never sleeps; `netpipe.linux_latency_halting_ratio` where ours sleeps as well;
//! - `netpipe.linux_throughput_ratio`: messages of 64 KiB, the better of our platforms and ways of waiting;
//! - `netpipe.linux_one_way_us`, `netpipe.linux_mbit_per_s`: Linux's own figures for these.

use crate::figures::Figure;
use crate::link::opening;
use crate::{Settings, netpipe_vm};
use nom_cable::{ADDRESS, Cable, End, Opened, Refused, Running, SERVER_KERNEL};
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_netpipe::schedule::Schedule;
use nom_netpipe::{Netpipe, PORT, Plan};
use nom_stack::Engine;
use nom_stack::knobs::{Batching, Knobs, Wait};
use nom_stack::port::{Egress, Ingress};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str = "a message to a private stack takes less time one way than to Linux's sockets, by NPtcp's own clock; in a guest half as \
     long as in one of Linux (--on vm)";

const RUNS: usize = 5;
const SERVERS_PROCESSOR: usize = 0;
const CLIENTS_PROCESSOR: usize = 1;
const LATENCY_LEN: u32 = 1_024;
const THROUGHPUT_LEN: u32 = 65_536;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// The share of the machine that others may use, how long to look, and how often.
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    Linux,
    Xdp { spins: bool },
    Packet { spins: bool },
    Tap { spins: bool },
}

const RECEIVERS: [Receiver; 7] = [
    Receiver::Linux,
    Receiver::Xdp { spins: false },
    Receiver::Xdp { spins: true },
    Receiver::Packet { spins: false },
    Receiver::Packet { spins: true },
    Receiver::Tap { spins: false },
    Receiver::Tap { spins: true },
];

/// How long one message took one way, the short one and the long one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Taken {
    short_s: f64,
    long_s: f64,
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    match settings.on.as_deref() {
        Some("vm") => return netpipe_vm::measure(settings, progress),
        Some("paper") => return netpipe_vm::scenarios(settings, progress),
        Some("linux") | None => {}
        Some(other) => return Err(Trouble::new(format!("--on {other}: linux, vm or paper is expected"))),
    }
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let program = packages::ensure("NPtcp", "netpipe-tcp", progress)?;
    let mut rounds: [Vec<Taken>; RECEIVERS.len()] = Default::default();
    for run in 0..settings.runs.unwrap_or(RUNS) {
        let _ = settings.quiet(QUIET, LOOK, LOOKS, run, progress);
        // In turns: who comes first changes with every round.
        for place in 0..RECEIVERS.len() {
            let which = (place + run) % RECEIVERS.len();
            let taken = Taken {
                short_s: one_way(&program, RECEIVERS[which], LATENCY_LEN)?,
                long_s: one_way(&program, RECEIVERS[which], THROUGHPUT_LEN)?,
            };
            let (us, mbit) = (taken.short_s * 1e6, mbit_per_s(taken));
            progress(&format!("  {:?}: {us:.1} us one way, {mbit:.0} Mbit/s", RECEIVERS[which]));
            rounds[which].push(taken);
        }
    }
    Ok(figures(&rounds))
}

fn mbit_per_s(taken: Taken) -> f64 {
    f64::from(THROUGHPUT_LEN) * 8.0 / taken.long_s / 1e6
}

fn figures(rounds: &[Vec<Taken>; RECEIVERS.len()]) -> Vec<Figure> {
    let [linux, ours @ ..] = rounds;
    let of = |receiver: Receiver| {
        let which = RECEIVERS.iter().position(|known| *known == receiver);
        which.map_or(&[][..], |which| &rounds[which])
    };
    let latency = |ours: &[Taken]| -> Vec<f64> {
        linux.iter().zip(ours).map(|(linux, ours)| linux.short_s / ours.short_s).collect()
    };
    let best = |run: usize| ours.iter().map(|rounds| rounds[run].long_s).fold(f64::INFINITY, f64::min);
    let throughput: Vec<f64> =
        linux.iter().enumerate().map(|(run, linux)| linux.long_s / best(run)).collect();
    let ratio = |name: &str, runs: &[f64]| {
        Figure::of(name, "x", None, runs).map(|figure| figure.against("NPtcp on Linux's sockets"))
    };
    let plain = |name, unit, of: fn(&Taken) -> f64| {
        Figure::of(name, unit, None, &linux.iter().map(of).collect::<Vec<_>>())
    };
    [
        ratio("netpipe.linux_latency_ratio", &latency(of(Receiver::Xdp { spins: true }))),
        ratio("netpipe.linux_latency_halting_ratio", &latency(of(Receiver::Xdp { spins: false }))),
        ratio("netpipe.linux_throughput_ratio", &throughput),
        plain("netpipe.linux_one_way_us", "us", |taken| taken.short_s * 1e6),
        plain("netpipe.linux_mbit_per_s", "Mbit/s", |taken| mbit_per_s(*taken)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How long one message of this length takes to the receiver, by the transmitter's clock.
fn one_way(program: &Path, receiver: Receiver, len: u32) -> Outcome<f64> {
    let cable = match receiver {
        Receiver::Tap { .. } => Cable::without(),
        _ => Cable::lay(),
    };
    let cable = cable.map_err(Trouble::new)?;
    match receiver {
        Receiver::Linux => to_linux(&cable, program, len),
        Receiver::Xdp { spins } => to_ours(&cable, program, len, spins, opening::xdp),
        Receiver::Packet { spins } => to_ours(&cable, program, len, spins, opening::packet),
        Receiver::Tap { spins } => {
            let copy = cable.copy().map_err(Trouble::new)?;
            to_ours(&cable, program, len, spins, move || opening::tap(&copy))
        }
    }
}

fn to_ours<I: Ingress, E: Egress>(
    cable: &Cable,
    program: &Path,
    len: u32,
    spins: bool,
    open: impl FnOnce() -> Result<Opened<I, E>, Refused> + Send + 'static,
) -> Outcome<f64> {
    let schedule = Schedule { start: len, end: len, perturbation: 0 };
    let application = Netpipe::new(Plan { schedule, ..Plan::default() });
    let wait = if spins { Wait::Poll } else { Wait::Halt };
    let knobs = Knobs { wait, batching: Batching::TakeQueued, ..Knobs::default() };
    let mut begun = false;
    let turn = move |engine: &mut Engine<I, E, Netpipe>, _| {
        if !std::mem::replace(&mut begun, true) {
            engine.listen(PORT);
        }
    };
    let running = Running::application(cable, Some(SERVERS_PROCESSOR), knobs, open, (application, turn))
        .map_err(|refused| Trouble::new(refused.text))?;
    let taken = transmit(cable, program, ADDRESS, len);
    running.end();
    taken
}

fn to_linux(cable: &Cable, program: &Path, len: u32) -> Outcome<f64> {
    let mut receiver = dying_with_us(program);
    receiver.args(["-l", &len.to_string(), "-u", &len.to_string(), "-p", "0"]);
    let run = move || receiver.output();
    let server = cable.spawn(End::Server, Some(SERVERS_PROCESSOR), run).map_err(Trouble::new)?;
    // Somebody has the port as soon as it cannot be had.
    let start = Instant::now();
    let taken = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).is_err();
    while !cable.spawn(End::Server, None, taken).map_err(Trouble::new)?.join().unwrap_or(false) {
        if start.elapsed() > PATIENCE {
            return Err(Trouble::new("NPtcp does not listen"));
        }
        thread::sleep(PAUSE);
    }
    let taken = transmit(cable, program, SERVER_KERNEL, len)?;
    let ended = server.join().map_err(|_| Trouble::new("the receiver failed"))?;
    ended.context(|| "cannot start NPtcp".into())?;
    Ok(taken)
}

/// Runs a transmitter at the client's end to its end.
fn transmit(cable: &Cable, program: &Path, target: Ipv4Addr, len: u32) -> Outcome<f64> {
    let folder = Scratch::new()?;
    let file = folder.file("netpipe");
    let mut command = dying_with_us(program);
    command.args(["-h", &target.to_string(), "-l", &len.to_string(), "-u", &len.to_string(), "-p", "0"]);
    command.arg("-o").arg(&file);
    let run = move || command.output();
    let client = cable.spawn(End::Client, Some(CLIENTS_PROCESSOR), run).map_err(Trouble::new)?;
    let output = client.join().map_err(|_| Trouble::new("the transmitter failed"))?;
    let output = output.context(|| "cannot start NPtcp".into())?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    read(&text, len).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        Trouble::new(format!("NPtcp measured nothing: {said}"))
    })
}

/// Its file: length, megabits a second, seconds.
fn read(text: &str, len: u32) -> Option<f64> {
    let words: Vec<f64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    match words[..] {
        [bytes, _, seconds] if bytes == f64::from(len) && seconds > 0.0 => Some(seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nptcp_writes_is_read() {
        assert_eq!(read("    1024 1070.849673   0.00000730\n", 1024), Some(7.3e-6));
        for text in ["", "1024 1 0", "2048 1 0.1", "1024 x 0.1", "1024 1 0.1 1024 1 0.1"] {
            assert_eq!(read(text, 1024), None, "{text}");
        }
    }

    #[test]
    fn figures_have_their_names_and_the_better_platform_counts() {
        let taken = |short_s, long_s| vec![Taken { short_s, long_s }];
        let mut rounds: [Vec<Taken>; RECEIVERS.len()] = std::array::from_fn(|_| taken(2e-5, 4e-4));
        rounds[0] = taken(4e-5, 1e-4);
        rounds[2] = taken(1e-5, 4e-4);
        rounds[6] = taken(2e-5, 5e-5);
        let figures = figures(&rounds);
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        let near = |left: f64, right: f64| (left - right).abs() < 1e-9;
        assert!(near(of("netpipe.linux_latency_ratio"), 4.0));
        assert!(near(of("netpipe.linux_latency_halting_ratio"), 2.0));
        assert!(near(of("netpipe.linux_throughput_ratio"), 2.0));
        assert!(near(of("netpipe.linux_one_way_us"), 40.0));
    }
}
