//! More is asked than can be served, on a real wire: `nom-kv-linux` over TAP on one processor, `nom-load` on the other.
//!
//! The capacity is what 64 connections are answered when far more is asked than anybody could serve. Then arrivals come at a half, once, twice and three times that
//! rate whether or not they are answered; what finds its connection's 1,024 places taken is shed by the generator, as a client
//! with a bounded queue would. Goodput is right answers in a second, until the last one came.
//!
//! - `kv.overload_goodput_ratio`: goodput at three times the capacity over that at once; `kv.overload_twice_ratio` at twice;
//! - `kv.overload_half_p99_us`: latency at half the capacity, from when a request was due;
//! - `kv.overload_troubled`: answers that were wrong, refused or lost, and connections that ended: nobody who is let in is
//!   refused later;
//! - `kv.overload_door_ratio`: goodput of as many connections as are let in (`connections`), while twice as many others knock
//!   and are refused by a reset, over that without them. Refusing is done where the clients are, too: their processor is shared.

use crate::beside::{Place, Way};
use crate::figures::Figure;
use crate::{Settings, quiet};
use nom_cable::{ADDRESS, PREFIX_LEN};
use nom_load::{Mix, Pace, Plan, Report, Stop, run};
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PORT: u16 = 11211;
const CONNECTIONS: usize = 64;
const KNOCKERS: usize = 2 * CONNECTIONS;
/// Who was refused tries again after this long.
const AGAIN: Duration = Duration::from_millis(100);
const DURATION: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(60);
const RUNS: usize = 3;
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;
/// More than a processor can serve.
const SATURATING_PER_S: f64 = 2_000_000.0;
/// Parts of the capacity that are asked for.
const PARTS: [f64; 4] = [0.5, 1.0, 2.0, 3.0];

/// What one run saw.
#[derive(Debug, Default, Clone)]
struct Seen {
    capacity: f64,
    /// Right answers a second for each of [`PARTS`].
    goodput: Vec<f64>,
    half_p99_us: f64,
    troubled: u64,
    door_ratio: f64,
    refused: u64,
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Trouble::new("one processor for each side is needed: run this where there are two"));
    }
    let kv = artefacts::linux(&["nom-kv-linux"], progress)?.remove(0);
    let mut all = Vec::new();
    for number in 0..settings.runs.unwrap_or(RUNS) {
        let load = quiet::wait_for_quiet(QUIET, LOOK, LOOKS);
        let busy = if load < QUIET { "" } else { "; others are busy, these figures are disturbed" };
        progress(&format!(
            "run {}: {:.0}% of the machine busy with other work{busy}",
            number + 1,
            load * 100.0
        ));
        all.push(seen(&kv, progress)?);
    }
    Ok(figures(&all))
}

fn seen(kv: &Path, progress: &mut dyn FnMut(&str)) -> Outcome<Seen> {
    let place = start(kv, 10_000)?;
    let saturated = asked(&place, Pace::Poisson { per_s: SATURATING_PER_S })?;
    let mut seen = Seen { capacity: goodput(&saturated), ..Seen::default() };
    progress(&format!("  {CONNECTIONS} connections that ask for far more: {:.0}/s", seen.capacity));
    for part in PARTS {
        let report = asked(&place, Pace::Poisson { per_s: part * seen.capacity })?;
        let tally = &report.tally;
        let good = goodput(&report);
        progress(&format!(
            "  {part} times that: {good:.0}/s answered, {:.0}% shed by the clients, p99 {:.0} us",
            100.0 * tally.shed as f64 / tally.sent.max(1) as f64,
            tally.quantile_ns(0.99) as f64 / 1e3
        ));
        if seen.goodput.is_empty() {
            seen.half_p99_us = tally.quantile_ns(0.99) as f64 / 1e3;
        }
        seen.goodput.push(good);
        seen.troubled += tally.wrong + tally.refused + tally.closed + tally.reconnects;
        // What was shed was never sent.
        seen.troubled += tally.sent - tally.shed - tally.answered;
    }
    drop(place);
    let place = start(kv, CONNECTIONS as u32)?;
    let alone = goodput(&asked(&place, Pace::Closed)?);
    let (crowded, refused) = place.ask(|target| {
        let stop = Stop::default();
        let until = stop.clone();
        // They begin once all places are taken.
        let (say, heard) = mpsc::channel();
        let knocking = thread::spawn(move || {
            let _ = heard.recv();
            knock(target, &until)
        });
        let report = run(&plan(target, Pace::Closed), &Stop::default(), |_| _ = say.send(()));
        drop(say);
        stop.stop();
        let refused = knocking.join().map_err(|_| Trouble::new("who knocked failed"))?;
        Ok((report.map_err(|error| Trouble::new(error.to_string()))?, refused))
    })?;
    let tally = &crowded.tally;
    seen.troubled += tally.wrong + tally.refused + tally.lost + tally.closed + tally.reconnects;
    (seen.door_ratio, seen.refused) = (goodput(&crowded) / alone, refused);
    progress(&format!(
        "  as many as are let in: {alone:.0}/s; {:.0}/s while {refused} others were refused",
        goodput(&crowded)
    ));
    Ok(seen)
}

fn plan(target: SocketAddr, pace: Pace) -> Plan {
    Plan {
        connections: CONNECTIONS,
        pace,
        duration: DURATION,
        grace: GRACE,
        mix: Mix { keys: 5_000, ..Mix::default() },
        ..Plan::new(target)
    }
}

fn asked(place: &Place, pace: Pace) -> Outcome<Report> {
    place.ask(move |target| {
        run(&plan(target, pace), &Stop::default(), |_| {}).map_err(|error| Trouble::new(error.to_string()))
    })
}

/// Right answers a second, until the last one came.
fn goodput(report: &Report) -> f64 {
    report.tally.answered as f64 / (report.tally.last_answer_ns.max(1) as f64 / 1e9)
}

/// Comes as [`KNOCKERS`] clients who try again and again, and says how often one was refused.
fn knock(target: SocketAddr, stop: &Stop) -> u64 {
    let mut refused = 0;
    while !stop.is_stopped() {
        let refusal = TcpStream::connect_timeout(&target, AGAIN).map_err(|error| error.kind());
        refused += u64::from(refusal.is_err_and(|kind| kind == ErrorKind::ConnectionRefused));
        thread::sleep(AGAIN / KNOCKERS as u32);
    }
    refused
}

fn start(kv: &Path, connections: u32) -> Outcome<Place> {
    Place::start(Way::Tap, (ADDRESS, PORT), |folder| {
        let file = folder.file("configuration");
        let text = format!(
            "listen = {PORT}\naddress = {ADDRESS}/{PREFIX_LEN}\nnetwork = tap\nnetwork.interface = nom0\n\
             memory.items = 64 MiB\nmemory.send = 16 MiB\nmemory.receive = 16 MiB\nwait = halt\nbatch = queued\n\
             connections = {connections}\ntuner = off\nmanagement.token = 00112233445566778899aabbccddeeff\n"
        );
        fs::write(&file, text).context(|| "a configuration".into())?;
        let mut command = dying_with_us(kv);
        command.arg("--config").arg(file).arg("--run").arg(folder.path()).args(["--port", "0"]);
        Ok(command)
    })
}

fn figures(all: &[Seen]) -> Vec<Figure> {
    let add = |name: &str, unit, goal, of: &dyn Fn(&Seen) -> f64| {
        Figure::of(name, unit, goal, &all.iter().map(of).collect::<Vec<_>>())
    };
    [
        add("kv.overload_goodput_ratio", "x", Some(">=0.9"), &|seen| seen.goodput[3] / seen.goodput[1]),
        add("kv.overload_twice_ratio", "x", Some(">=0.9"), &|seen| seen.goodput[2] / seen.goodput[1]),
        add("kv.overload_door_ratio", "x", Some(">=0.9"), &|seen| seen.door_ratio),
        add("kv.overload_troubled", "operations", Some("<=0"), &|seen| seen.troubled as f64),
        add("kv.overload_half_p99_us", "us", None, &|seen| seen.half_p99_us),
        add("kv.overload_capacity_per_s", "1/s", None, &|seen| seen.capacity),
        add("kv.overload_refused", "connections", None, &|seen| seen.refused as f64),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_that_falls_is_seen() {
        let seen = Seen { goodput: vec![50.0, 100.0, 95.0, 80.0], door_ratio: 1.0, ..Seen::default() };
        let figures = figures(&[seen]);
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        assert_eq!(value("kv.overload_goodput_ratio"), Some(0.8));
        assert_eq!(value("kv.overload_twice_ratio"), Some(0.95));
    }
}
