//! `nom run --tap`: a guest that the host's own kernel reaches without the emulator's network, in a network namespace of the
//! test's own; where that is not allowed, it is skipped.

use super::client::{converse_at, large_at};
use super::services::{TWO_CORES, ended_well, number};
use super::started::{Started, command};
use super::{Cases, Verdict};
use nom_linux_interface::Interface;
use nom_machine::packages;
use nom_machine::trouble::{Outcome, Trouble};
use nom_tap::namespace;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

const INTERFACE: &str = "nom-tap0";
const PORT: u16 = 11_211;
/// How long the first prices may take to be in force.
const PRICE_PATIENCE: Duration = Duration::from_secs(40);

/// Large values that two cores behind a queue are asked for. When what one of them answered the other one could stall, 31 were
/// enough to see it.
const LARGE_TIMES: u32 = 60;
/// How often two cores share a queue, and have one each.
const SHARED_TIMES: u32 = 10;
/// What a guest says of its queues.
const SHARED: &str = "2 cores share a pair of queues";
const PAIRS: &str = "2 cores have a pair of queues each";
/// What a service says when its connection to the price service was reset.
const REFUSED: &str = "the connection to the price service failed";

/// One guest on a device.
#[derive(Debug, Clone, Copy)]
struct Guest<'a> {
    address: Ipv4Addr,
    /// Its device was there before.
    ready: bool,
    /// What it is started with besides.
    more: &'a [&'a str],
    /// What it says of its queues.
    says: &'a str,
    /// Large values that it is asked for.
    large_times: u32,
}

/// On a device that the emulator makes, with as many pairs of queues as the guest has cores.
const MADE: Guest<'static> = Guest {
    address: Ipv4Addr::new(10, 77, 0, 2),
    ready: false,
    more: &[],
    says: "kv: serving on port",
    large_times: 0,
};
/// On one that was there, with one pair of queues. The host is at the upper end of its network: the guest is before it.
const FOUND: Guest<'static> = Guest { address: Ipv4Addr::new(10, 88, 1, 253), ready: true, ..MADE };

/// Both kinds of devices.
pub fn tap(cases: &mut Cases) -> Outcome<()> {
    let two = [&["--machine", "q35"], TWO_CORES].concat();
    let pairs = Guest { more: &two, says: PAIRS, ..MADE };
    case(cases, "one that the emulator makes is gone with it", MADE);
    case(cases, "one that was there stays, with its address", FOUND);
    case(cases, "two cores with a pair of queues each hear of all prices", pairs);
    Ok(())
}

/// Two cores behind one queue, and with one each, again and again. By itself, because it takes minutes, and because on a machine
/// with twice as many of these guests as processors the load could once not store its keys within its 10 s.
pub fn shared(cases: &mut Cases) -> Outcome<()> {
    let two = [&["--machine", "q35"], TWO_CORES].concat();
    let large_times = LARGE_TIMES;
    for _ in 0..SHARED_TIMES {
        let shared = Guest { more: &two, says: SHARED, large_times, ..FOUND };
        case(cases, "two cores share the one queue of a device that was there", shared);
        let pairs = Guest { more: &two, says: PAIRS, large_times, ..MADE };
        case(cases, "two cores with a pair of queues each", pairs);
    }
    Ok(())
}

fn case(cases: &mut Cases, name: &str, guest: Guest<'_>) {
    // A thread, because there is no way back from a namespace; whatever it starts is there too.
    let verdict = std::thread::scope(|scope| {
        let ran = scope.spawn(|| match namespace::enter() {
            Err(error) => Verdict::Skipped(format!("no network of its own: {error}")),
            Ok(()) if guest.ready && packages::find("ip").is_none() => {
                Verdict::Skipped("ip is absent (Debian: iproute2)".into())
            }
            Ok(()) => one(guest).into(),
        });
        ran.join().unwrap_or_else(|_| Verdict::Failed("the test's thread ended in a panic".into()))
    });
    cases.note(&format!("guest on a TAP device: {name}"), verdict);
}

fn one(guest: Guest<'_>) -> Outcome<()> {
    let Guest { ready, says, .. } = guest;
    if ready {
        ip(&["link", "set", "lo", "up"])?;
        ip(&["tuntap", "add", "dev", INTERFACE, "mode", "tap"])?;
        ip(&["addr", "add", "10.88.1.254/23", "dev", INTERFACE])?;
        ip(&["link", "set", INTERFACE, "up"])?;
    }
    let mut started = Started::elsewhere(
        &[&["--tap", INTERFACE, "--rate", "200", "--set", "value=1 $/Mop"], guest.more].concat(),
    )?;
    let address = (guest.address, PORT).into();
    let asked =
        converse_at(address).and_then(|accepted| Ok(accepted + large_at(address, guest.large_times)?));
    let accepted = asked.map_err(|trouble| told(&started, &trouble))?;
    // The first price that changes comes when the host has long forgotten where it was asked for.
    let priced = |line: &str| {
        line.starts_with("{\"stats\":")
            && !["0", "1"].iter().any(|few| line.contains(&format!("\"price_generation\":{few},")))
    };
    let priced = started.json.wait_for(PRICE_PATIENCE, priced).is_some();
    let log = command(&["log", &started.id().to_string()], |_| {})?;
    let refused = started.words.lines().into_iter().find(|line| line.text.contains(REFUSED));
    started.signal("TERM")?;
    ended_well(&mut started)?;
    if !priced {
        return Err(Trouble::new("the guest did not hear of two prices"));
    }
    if let Some(line) = refused {
        return Err(Trouble::new(line.text));
    }
    if !log.out.contains(says) {
        return Err(Trouble::new(format!("the guest's log does not say {says:?}: {}{}", log.out, log.words)));
    }
    // A request whose answer the load did not live to see may have been served: it is nobody else's.
    let (others, lost) = (number(&started, "others_accepted")?, number(&started, "load_lost")?);
    if !(0..=lost).contains(&(others - accepted as i128)) {
        return Err(Trouble::new(format!(
            "the client did {accepted} operations beside the load, which lost {lost}; the ledger has {others}"
        )));
    }
    match (Interface::find(INTERFACE).is_ok(), ready) {
        (true, false) => Err(Trouble::new("the device is left")),
        (false, true) => Err(Trouble::new("the device is gone that was there before")),
        _ => Ok(()),
    }
}

/// What the service says of itself where a client was not served well.
fn told(started: &Started, trouble: &Trouble) -> Trouble {
    let connections = match command(&["connections", &started.id().to_string()], |_| {}) {
        Ok(ended) => ended.out + &ended.words,
        Err(trouble) => trouble.to_string(),
    };
    let lines = started.json.lines();
    let figures = lines.iter().rev().find(|line| line.text.starts_with("{\"stats\":"));
    let figures = figures.map_or("none", |line| &line.text);
    Trouble::new(format!("{trouble}\nconnections of the first core:\n{connections}last figures: {figures}"))
}

fn ip(arguments: &[&str]) -> Outcome<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(Trouble::new(format!("ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
        }
        Err(error) => Err(Trouble::new(format!("ip: {error}"))),
    }
}
