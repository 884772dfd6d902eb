//! Services as a person starts them, asked by real clients, ended in every way.

use super::client::converse;
use super::guest::free_port;
use super::started::{Started, runs};
use super::{Cases, Verdict, eyes, per_request, tap, watching, web};
use nom_machine::packages;
use nom_machine::trouble::{Outcome, Trouble};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a service may take to settle and end.
pub const END: Duration = Duration::from_secs(40);
/// How long prices may take to move a knob: more than a turn of the example's schedule.
const PRICE_PATIENCE: Duration = Duration::from_secs(40);
/// The homes that are tried.
const HOMES: &[(&str, &[&str])] = &[
    ("guest on microvm", &["--on", "guest"]),
    ("guest on q35", &["--on", "guest", "--machine", "q35"]),
    ("linux", &["--on", "linux"]),
];

/// As many cores, of which each has a part of the items.
pub const TWO_CORES: &[&str] = &["--set", "kv.cores=2"];

/// All homes, one after the other.
pub fn services(cases: &mut Cases) -> Outcome<()> {
    for (home, arguments) in HOMES {
        let mut case = |name: &str, verdict: Verdict| cases.note(&format!("{home}: {name}"), verdict);
        case("a client is answered byte for byte and the ledger counts it", alone(arguments).into());
        case("prices move a knob, load and others add up, Ctrl-C settles", priced(arguments).into());
        case("memcstat", tool(arguments, "memcstat", |port| vec![format!("--servers=127.0.0.1:{port}")]));
        case("memcaslap", tool(arguments, "memcaslap", caslap));
        let two = [arguments, TWO_CORES].concat();
        case("on two cores a client is answered byte for byte and the ledger counts it", alone(&two).into());
        case("on two cores memcaslap", tool(&two, "memcaslap", caslap));
        case("nom top and nom log show it and disturb nobody", watching::watched(arguments).into());
        eyes::eyes(cases, home, arguments);
        let mut case = |name: &str, verdict: Verdict| cases.note(&format!("{home}: {name}"), verdict);
        case("a killed command leaves nothing running", killed(arguments).into());
    }
    tap::tap(cases)?;
    per_request::per_request(cases)?;
    web::web(cases)
}

/// So many operations of four clients.
fn caslap(port: u16) -> Vec<String> {
    let server = format!("127.0.0.1:{port}");
    ["-s", &server, "-T", "1", "-c", "4", "-x", "4000"].map(String::from).to_vec()
}

/// Without a load, the ledger holds exactly what our client did.
fn alone(arguments: &[&str]) -> Outcome<()> {
    let mut started = Started::new(free_port()?, &[arguments, &["--rate", "0"]].concat())?;
    let accepted = converse(started.port)?;
    started.signal("TERM")?;
    ended_well(&mut started)?;
    let counted = number(&started, "accepted")?;
    if counted != accepted as i128 {
        return Err(Trouble::new(format!("the client did {accepted} operations, the ledger has {counted}")));
    }
    Ok(())
}

/// With load and prices: a knob moves, and what is not the load's is the client's.
fn priced(arguments: &[&str]) -> Outcome<()> {
    let mut started = Started::new(free_port()?, arguments)?;
    let accepted = converse(started.port)?;
    let moved = started.json.wait_for(PRICE_PATIENCE, moved_by_a_new_price);
    started.signal("INT")?;
    ended_well(&mut started)?;
    if moved.is_none() {
        return Err(Trouble::new("no knob moved although prices changed"));
    }
    // A request whose answer the load did not live to see may have been served: it is nobody else's.
    let (others, lost) = (number(&started, "others_accepted")?, number(&started, "load_lost")?);
    if !(0..=lost).contains(&(others - accepted as i128)) {
        return Err(Trouble::new(format!(
            "the client did {accepted} operations beside the load, which lost {lost}; the ledger has {others}"
        )));
    }
    Ok(())
}

/// A knob that moved under other prices than the first ones.
fn moved_by_a_new_price(line: &str) -> bool {
    line.starts_with("{\"knobs\":")
        && !["0", "1"].iter().any(|first| line.contains(&format!("\"price_generation\":{first},")))
}

/// A tool that nobody here wrote.
fn tool(arguments: &[&str], name: &str, options: fn(u16) -> Vec<String>) -> Verdict {
    if packages::find(name).is_none() {
        return Verdict::Skipped(format!("{name} is absent (Debian: libmemcached-tools)"));
    }
    let run = || -> Outcome<()> {
        let mut started = Started::new(free_port()?, &[arguments, &["--rate", "0"]].concat())?;
        let output = Command::new("timeout")
            .args(["60", name])
            .args(options(started.port))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Trouble::new(format!("{name}: {error}")))?;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || text.trim().is_empty() || text.contains("ERROR") {
            let last = text.lines().last().unwrap_or_default();
            return Err(Trouble::new(format!("{name} ended with {:?}: {last}", output.status.code())));
        }
        started.signal("INT")?;
        ended_well(&mut started)
    };
    run().into()
}

/// A command that is killed outright: the service goes with it, and its port is free again.
fn killed(arguments: &[&str]) -> Outcome<()> {
    let mut started = Started::new(free_port()?, &[arguments, &["--rate", "100"]].concat())?;
    let children = started.children();
    if children.is_empty() {
        return Err(Trouble::new("no process serves"));
    }
    let folder = format!("nom-{}-", started.id());
    started.signal("KILL")?;
    let _ = started.wait(END);
    // A Linux process that loses its parent drains first, and the guard of a folder needs its turn too: what is left
    // counts only when there has been time to clean up.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let Err(left) = nothing_left(&children, &folder, started.port) else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(left);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nothing of a service is there any more: no process, no private folder, no listener.
fn nothing_left(children: &[u32], folder: &str, port: u16) -> Outcome<()> {
    if let Some(child) = children.iter().find(|child| runs(**child)) {
        return Err(Trouble::new(format!("process {child} of the service still runs")));
    }
    if folder_exists(folder) {
        return Err(Trouble::new(format!("a folder {folder}... is left")));
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Trouble::new(format!("the port is not free again: {error}"))),
    }
}

fn folder_exists(beginning: &str) -> bool {
    let Ok(all) = std::fs::read_dir(std::env::temp_dir()) else { return false };
    all.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
}

/// The command ended with 0, the ledger added up, and no process is left.
pub fn ended_well(started: &mut Started) -> Outcome<()> {
    let children = started.children();
    let code = started.wait(END)?;
    if code != 0 {
        let last = started.words.last_words().unwrap_or_default();
        return Err(Trouble::new(format!("nom run ended with {code}: {last}")));
    }
    if let Some(child) = children.into_iter().find(|child| runs(*child)) {
        return Err(Trouble::new(format!("process {child} is left")));
    }
    match started.line("summary") {
        Some(line) if line.contains("\"adds_up\":true") => Ok(()),
        Some(line) => Err(Trouble::new(format!("the ledger does not add up: {line}"))),
        None => Err(Trouble::new("there is no summary")),
    }
}

/// A number of the summary.
pub fn number(started: &Started, key: &str) -> Outcome<i128> {
    let line = started.line("summary").unwrap_or_default();
    line.split_once(&format!("\"{key}\":"))
        .and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok())
        .ok_or_else(|| Trouble::new(format!("the summary has no {key}")))
}
