//! `nom run --tap`: a guest that the host's own kernel reaches without the emulator's network, in a network namespace of the
//! test's own; where that is not allowed, it is skipped.

use super::client::converse_at;
use super::services::{TWO_CORES, ended_well, number};
use super::started::Started;
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

/// Where a guest on a device that was there is.
const FOUND: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 253);
/// How often two cores share a queue.
const SHARED_TIMES: u32 = 10;

/// Both kinds of devices.
pub fn tap(cases: &mut Cases) -> Outcome<()> {
    let two = [&["--machine", "q35"], TWO_CORES].concat();
    let made = Ipv4Addr::new(10, 77, 0, 2);
    case(cases, "one that the emulator makes is gone with it", made, false, &[]);
    case(cases, "one that was there stays, with its address", FOUND, true, &[]);
    case(cases, "two cores have a pair of queues each", made, false, &two);
    Ok(())
}

/// Two cores behind one queue. By itself, because it has been seen to fail: an answer of 300,000 bytes began and did not end.
pub fn shared(cases: &mut Cases) -> Outcome<()> {
    let two = [&["--machine", "q35"], TWO_CORES].concat();
    for _ in 0..SHARED_TIMES {
        case(cases, "two cores share the one queue of a device that was there", FOUND, true, &two);
    }
    Ok(())
}

fn case(cases: &mut Cases, name: &str, guest: Ipv4Addr, ready: bool, more: &[&str]) {
    // A thread, because there is no way back from a namespace; whatever it starts is there too.
    let verdict = std::thread::scope(|scope| {
        let ran = scope.spawn(|| match namespace::enter() {
            Err(error) => Verdict::Skipped(format!("no network of its own: {error}")),
            Ok(()) if ready && packages::find("ip").is_none() => {
                Verdict::Skipped("ip is absent (Debian: iproute2)".into())
            }
            Ok(()) => one(guest, ready, more).into(),
        });
        ran.join().unwrap_or_else(|_| Verdict::Failed("the test's thread ended in a panic".into()))
    });
    cases.note(&format!("guest on a TAP device: {name}"), verdict);
}

fn one(guest: Ipv4Addr, ready: bool, more: &[&str]) -> Outcome<()> {
    if ready {
        // A host at the upper end of its network: the guest is before it.
        ip(&["link", "set", "lo", "up"])?;
        ip(&["tuntap", "add", "dev", INTERFACE, "mode", "tap"])?;
        ip(&["addr", "add", "10.88.1.254/23", "dev", INTERFACE])?;
        ip(&["link", "set", INTERFACE, "up"])?;
    }
    let mut started = Started::elsewhere(
        &[&["--tap", INTERFACE, "--rate", "200", "--set", "value=1 $/Mop"], more].concat(),
    )?;
    let accepted = converse_at((guest, PORT).into())?;
    let priced = |line: &str| line.starts_with("{\"stats\":") && !line.contains("\"price_generation\":0,");
    let priced = started.json.wait_for(PRICE_PATIENCE, priced).is_some();
    started.signal("TERM")?;
    ended_well(&mut started)?;
    if !priced {
        return Err(Trouble::new("the guest did not hear of prices"));
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
