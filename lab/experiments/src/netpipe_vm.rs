//! NetPIPE in a guest: Debian's `NPtcp` measures our receiver in a guest of 16 MiB, and itself in a guest of Debian's cloud
//! kernel with 96 MiB: the same machine type with one processor, the same card on a TAP device in a network of the bench's
//! own. The emulator with all its threads has one processor of the host, the transmitter the other one.
//!
//! - `netpipe.vm_latency_ratio`: how long a message of 1,024 bytes takes one way to Linux, against ours asleep between
//!   messages; `netpipe.vm_latency_polling_ratio` where ours polls while the guest's processor is demoted (nice 19);
//! - `netpipe.vm_throughput_ratio`: messages of 64 KiB, ours asleep between them;
//! - `netpipe.vm_SIDE_one_way_us`, and the curve, `netpipe.vm_SIDE_LENGTH_mbit_per_s`;
//! - the paper's two scenarios, with messages of 1,024 bytes that are sent back ([`scenarios`]): `paper.netpipe.vm_many_ratio` with
//!   several on their way at once, so that both directions are busy, `_single_ratio` with one; by a transmitter that notes
//!   how long each of them took ([`pinger`]).

mod pinger;

use crate::figures::Figure;
use crate::linux_guest::service::{self, Service};
use crate::tap_home::{GUEST, Guest, HOST, HOST_MAC, PREFIX_LEN, in_own_network};
use crate::{Settings, emulator_threads, linux_guest};
use nom_machine::machine::{Nameless, dying_with_us};
use nom_machine::qemu::{Accelerator, Kind, Plan};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, image, kvm, packages};
use nom_netpipe::PORT;
pub use nom_netpipe::schedule::Schedule;
use pinger::Both;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 5;
const SCHEDULE: Schedule = Schedule { start: 1_024, end: 65_536, perturbation: 0 };
const MEMORY_MIB: u32 = 16;
const LINUX_MEMORY_MIB: u32 = 96;
/// Nobody listens there, and says so as soon as there is a network.
const CLOSED_PORT: u16 = 9;
/// How long a guest may take to have a network, and its receiver to listen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one attempt waits: what nobody was there for is not sent again for a second.
const ATTEMPT: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(5);
/// How long a whole measurement may take.
const MEASUREMENT: Duration = Duration::from_secs(180);
const QUIET: f64 = 0.1;
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 8;
const SIDES: [&str; 3] = ["linux", "halting", "polling"];
/// Its place among the sides: that one's processor is demoted.
const POLLING: usize = 2;

/// Messages of the paper's scenarios.
const PAPER: Schedule = Schedule { start: 1_024, end: 1_024, perturbation: 0 };

/// Seconds that a message took one way, for each length.
type Curve = Vec<(u32, f64)>;

struct Side {
    plan: Plan,
    kernel: Nameless,
    initial: Option<Nameless>,
    demoted: bool,
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let program = packages::ensure("NPtcp", "netpipe-tcp", progress)?;
    let (sides, linux) = sides(settings, SCHEDULE, progress)?;
    let mut rounds: [Vec<Curve>; SIDES.len()] = Default::default();
    for run in 0..settings.runs.unwrap_or(RUNS) {
        let _ = settings.quiet(QUIET, LOOK, LOOKS, run, progress);
        // In turns: who comes first changes with every round.
        for place in 0..SIDES.len() {
            let which = (place + run) % SIDES.len();
            let curve = in_own_network(|| measured(&sides[which], || transmit(&program)))?;
            let (short, long) = (us(&curve), mbit_per_s(curve[curve.len() - 1]));
            progress(&format!("  {}: {short:.1} us one way, {long:.0} Mbit/s", SIDES[which]));
            rounds[which].push(curve);
        }
    }
    Ok(figures(&rounds, &linux).into_iter().map(|figure| figure.emulated(!settings.kvm)).collect())
}

/// The paper's two scenarios, in turns.
pub fn scenarios(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let (sides, linux) = sides(settings, PAPER, progress)?;
    let mut seen: [Vec<Both>; SIDES.len()] = Default::default();
    let mut disturbed = 0;
    for run in 0..settings.runs.unwrap_or(RUNS) {
        disturbed += settings.quiet(QUIET, LOOK, LOOKS, run, progress);
        for place in 0..SIDES.len() {
            let which = (place + run) % SIDES.len();
            let both = in_own_network(|| measured(&sides[which], || pinger::run(GUEST)))?;
            let Both { many, single } = both;
            progress(&format!(
                "  {}: {} on their way {:.0}/s, {:.0} us, deviation {:.1} us; one {:.0}/s, {:.0} us, deviation {:.1} us",
                SIDES[which],
                pinger::MANY,
                many.per_s,
                many.mean_us,
                many.deviation_us,
                single.per_s,
                single.mean_us,
                single.deviation_us
            ));
            seen[which].push(both);
        }
    }
    let figures = scenario_figures(&seen, &linux);
    let disturbed = Figure::of("paper.netpipe.vm_disturbed_rounds", "", None, &[disturbed as f64]);
    Ok(figures.into_iter().chain(disturbed).map(|figure| figure.emulated(!settings.kvm)).collect())
}

fn scenario_figures(seen: &[Vec<Both>; SIDES.len()], linux: &str) -> Vec<Figure> {
    type Of = fn(&Both) -> f64;
    let ratio = |name: &str, side: usize, better: Of| {
        let runs: Vec<f64> =
            seen[0].iter().zip(&seen[side]).map(|(linux, ours)| better(ours) / better(linux)).collect();
        Figure::of(&format!("paper.netpipe.vm_{name}"), "x", None, &runs).map(|figure| figure.against(linux))
    };
    const HALTING: usize = 1;
    let mut figures: Vec<Figure> = [
        ratio("many_ratio", HALTING, |both| both.many.per_s),
        ratio("many_polling_ratio", POLLING, |both| both.many.per_s),
        ratio("many_jitter_ratio", HALTING, |both| 1.0 / both.many.deviation_us),
        ratio("many_jitter_polling_ratio", POLLING, |both| 1.0 / both.many.deviation_us),
        ratio("single_ratio", HALTING, |both| both.single.per_s),
        ratio("single_polling_ratio", POLLING, |both| both.single.per_s),
        ratio("jitter_halting_ratio", HALTING, |both| 1.0 / both.single.deviation_us),
        ratio("jitter_polling_ratio", POLLING, |both| 1.0 / both.single.deviation_us),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (side, name) in SIDES.iter().enumerate() {
        let one = |what: &str, unit, of: Of| {
            let runs: Vec<f64> = seen[side].iter().map(of).collect();
            Figure::of(&format!("paper.netpipe.vm_{name}_{what}"), unit, None, &runs)
        };
        figures.extend(one("many_per_s", "1/s", |both| both.many.per_s));
        figures.extend(one("many_us", "us", |both| both.many.mean_us));
        figures.extend(one("many_deviation_us", "us", |both| both.many.deviation_us));
        figures.extend(one("many_late_part", "", |both| both.many.late));
        figures.extend(one("single_per_s", "1/s", |both| both.single.per_s));
        figures.extend(one("single_us", "us", |both| both.single.mean_us));
        figures.extend(one("single_deviation_us", "us", |both| both.single.deviation_us));
        figures.extend(one("single_late_part", "", |both| both.single.late));
    }
    figures
}

/// Builds the sides; the name of the Linux one.
fn sides(
    settings: &Settings,
    schedule: Schedule,
    progress: &mut dyn FnMut(&str),
) -> Outcome<(Vec<Side>, String)> {
    let programs = artefacts::guest(&["nom-kernel", "nom-netpipe-guest"], progress)?;
    let ours = |wait| {
        let applications = [("netpipe", programs[1].as_path())];
        Nameless::new(&image::assemble(&programs[0], &configuration(wait, schedule, None), &applications)?)
    };
    let (halting, polling) = (ours("halt")?, ours("poll")?);
    if settings.kvm {
        kvm::require(&halting, &settings.cache)?;
    }
    let accelerator = if settings.kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    let mask = Ipv4Addr::from(u32::MAX << (32 - u32::from(PREFIX_LEN)));
    let place = service::Place { address: GUEST, mask, neighbour: (HOST, HOST_MAC) };
    let receiver = Service {
        program: "NPtcp",
        package: "netpipe-tcp",
        arguments: lengths(schedule),
        // It asks the system which number TCP has.
        files: vec![
            ("/etc/protocols", "tcp 6 TCP\n".into()),
            ("/etc/nsswitch.conf", "protocols: files\n".into()),
        ],
        folders: &[],
    };
    let peer = service::prepare(&receiver, place, &settings.cache, progress)?;
    let plan = Plan { accelerator, memory_mib: MEMORY_MIB, ..Plan::new(Kind::Microvm) };
    let linux = Plan {
        foreign: true,
        memory_mib: LINUX_MEMORY_MIB,
        command_line: Some(linux_guest::command_line()),
        ..plan.clone()
    };
    let (kernel, initial) = (Nameless::new(&peer.kernel)?, Some(Nameless::new(&peer.initial)?));
    let sides = vec![
        Side { plan: linux, kernel, initial, demoted: false },
        Side { plan: plan.clone(), kernel: halting, initial: None, demoted: false },
        Side { plan, kernel: polling, initial: None, demoted: true },
    ];
    Ok((sides, peer.name))
}

/// The configuration of a guest on the wire: the receiver, or the transmitter to `target`.
pub fn configuration(wait: &str, schedule: Schedule, target: Option<(Ipv4Addr, u32)>) -> String {
    let Schedule { start, end, perturbation } = schedule;
    let target = target.map_or(String::new(), |(address, repeats)| {
        format!("netpipe.target = {address}:{PORT}\nnetpipe.repeats = {repeats}\n")
    });
    format!(
        "listen = {PORT}\naddress = {GUEST}/{PREFIX_LEN}\nconnections = 16\nwait = {wait}\nbatch = queued\n\
         netpipe.lengths = {start}-{end}\nnetpipe.apart = {perturbation}\n{target}\
         memory.send = 1 MiB\nmemory.receive = 1 MiB\ntuner = off\nkernel.heap = 7 MiB\nimage.trusted = yes\n"
    )
}

/// What NPtcp is told of the lengths, whichever side it is.
pub fn lengths(schedule: Schedule) -> Vec<String> {
    let Schedule { start, end, perturbation } = schedule;
    ["-l", &start.to_string(), "-u", &end.to_string(), "-p", &perturbation.to_string()]
        .map(String::from)
        .to_vec()
}

/// One guest from its start to its end.
fn measured<R>(side: &Side, ask: impl Fn() -> Outcome<R>) -> Outcome<R> {
    let mut guest = Guest::start_as(side.plan.clone(), &side.kernel, side.initial.as_ref())?;
    wait_for_network(&mut guest)?;
    let _apart = emulator_threads::apart(guest.id())?;
    if side.demoted {
        emulator_threads::demote_processors(guest.id())?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A receiver that does not listen yet refuses at once.
        match ask() {
            Ok(seen) => return Ok(seen),
            Err(_) if guest.ended() => return Err(guest.autopsy()),
            Err(trouble) if Instant::now() > deadline => {
                return Err(Trouble::new(format!("{trouble}; the guest said last: {}", guest.last_words())));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Waits until the guest says that nobody listens.
pub fn wait_for_network(guest: &mut Guest) -> Outcome<()> {
    let address = SocketAddr::from((GUEST, CLOSED_PORT));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !guest.ended() {
        match TcpStream::connect_timeout(&address, ATTEMPT) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            _ => std::thread::sleep(PAUSE),
        }
    }
    Err(guest.autopsy())
}

/// Runs a transmitter to its end, in the network and on the processor of the thread that calls.
fn transmit(program: &Path) -> Outcome<Curve> {
    let folder = Scratch::new()?;
    let file = folder.file("netpipe");
    let mut command = dying_with_us(program);
    command.args(["-h", &GUEST.to_string()]).args(lengths(SCHEDULE)).arg("-o").arg(&file);
    let said = to_its_end(&mut command, MEASUREMENT)?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    read(&text, SCHEDULE).ok_or_else(|| Trouble::new(format!("NPtcp measured nothing: {said}")))
}

/// Runs NPtcp; what it said.
pub fn to_its_end(command: &mut Command, patience: Duration) -> Outcome<String> {
    let cannot = || "cannot run NPtcp".to_string();
    let log = Scratch::new()?;
    let place = log.file("said");
    let said = std::fs::File::create(&place).context(cannot)?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().context(cannot)?;
    let deadline = Instant::now() + patience;
    while child.try_wait().context(cannot)?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Trouble::new(format!("NPtcp does not end within {} s", patience.as_secs())));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(std::fs::read_to_string(&place).unwrap_or_default().trim().to_string())
}

/// Its file: a line for each length, with megabits a second and seconds.
fn read(text: &str, schedule: Schedule) -> Option<Curve> {
    let row = |line: &str| {
        let words: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        match words[..] {
            [bytes, _, seconds] if seconds > 0.0 => Some((bytes as u32, seconds)),
            _ => None,
        }
    };
    let curve: Curve = text.lines().map(row).collect::<Option<_>>()?;
    schedule.lengths().eq(curve.iter().map(|(len, _)| *len)).then_some(curve)
}

fn us(curve: &Curve) -> f64 {
    curve[0].1 * 1e6
}

fn mbit_per_s((len, seconds): (u32, f64)) -> f64 {
    f64::from(len) * 8.0 / seconds / 1e6
}

fn figures(rounds: &[Vec<Curve>; SIDES.len()], linux: &str) -> Vec<Figure> {
    let ratio = |name: &str, goal, side: usize, place: usize| {
        let of = |curve: &Curve| curve[place].1;
        let runs: Vec<f64> =
            rounds[0].iter().zip(&rounds[side]).map(|(linux, ours)| of(linux) / of(ours)).collect();
        Figure::of(name, "x", goal, &runs).map(|figure| figure.against(linux))
    };
    let (first, last) = (0, SCHEDULE.lengths().count() - 1);
    let mut figures: Vec<Figure> = [
        ratio("netpipe.vm_latency_ratio", Some(">=2"), 1, first),
        ratio("netpipe.vm_latency_polling_ratio", None, POLLING, first),
        ratio("netpipe.vm_throughput_ratio", None, 1, last),
        ratio("netpipe.vm_throughput_polling_ratio", None, POLLING, last),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (side, curves) in SIDES.into_iter().zip(rounds) {
        let runs: Vec<f64> = curves.iter().map(us).collect();
        figures.extend(Figure::of(&format!("netpipe.vm_{side}_one_way_us"), "us", None, &runs));
        for (place, len) in SCHEDULE.lengths().enumerate() {
            let runs: Vec<f64> = curves.iter().map(|curve| mbit_per_s(curve[place])).collect();
            let name = format!("netpipe.vm_{side}_{len}_mbit_per_s");
            figures.extend(Figure::of(&name, "Mbit/s", None, &runs));
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::pinger::Pinged;
    use super::*;

    fn text(seconds: f64) -> String {
        SCHEDULE.lengths().map(|len| format!("{len:>8} 10.5 {seconds:.8}\n")).collect()
    }

    #[test]
    fn a_whole_curve_is_read_and_nothing_less() {
        let whole = text(1e-4);
        assert_eq!(read(&whole, SCHEDULE).unwrap().last(), Some(&(65_536, 1e-4)));
        let half = &whole[..whole.len() / 2];
        for text in ["", half, &whole.replace("10.5", "x"), &format!("{whole}1 1 1\n")] {
            assert_eq!(read(text, SCHEDULE), None, "{text}");
        }
    }

    #[test]
    fn ours_stands_against_linux_of_the_same_round() {
        let rounds = [2e-4, 1e-4, 5e-5].map(|seconds| vec![read(&text(seconds), SCHEDULE).unwrap()]);
        let figures = figures(&rounds, "Linux");
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        let near = |left: f64, right: f64| (left - right).abs() < 1e-6;
        assert!(near(of("netpipe.vm_latency_ratio"), 2.0));
        assert!(near(of("netpipe.vm_latency_polling_ratio"), 4.0));
        assert!(near(of("netpipe.vm_throughput_ratio"), 2.0));
        assert!(near(of("netpipe.vm_linux_one_way_us"), 200.0));
        assert!(near(of("netpipe.vm_halting_65536_mbit_per_s"), 65_536.0 * 8.0 / 100.0));
    }

    #[test]
    fn the_scenarios_stand_against_linux() {
        let seen = |us: f64, deviation_us| {
            let single = Pinged { per_s: 1e6 / us, mean_us: us, deviation_us, late: 0.0 };
            let many = Pinged { per_s: 16.0 * single.per_s, deviation_us: 2.0 * deviation_us, ..single };
            vec![Both { many, single }]
        };
        let figures = scenario_figures(&[seen(300.0, 30.0), seen(100.0, 10.0), seen(50.0, 60.0)], "Linux");
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert!((of("paper.netpipe.vm_many_ratio") - 3.0).abs() < 1e-9);
        assert!((of("paper.netpipe.vm_single_polling_ratio") - 6.0).abs() < 1e-9);
        assert!((of("paper.netpipe.vm_jitter_halting_ratio") - 3.0).abs() < 1e-9);
        assert!((of("paper.netpipe.vm_many_jitter_polling_ratio") - 0.5).abs() < 1e-9);
        assert!((of("paper.netpipe.vm_halting_many_per_s") - 1.6e5).abs() < 1e-6);
    }
}
