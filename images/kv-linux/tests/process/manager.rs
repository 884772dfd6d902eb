//! What a service manager asks of the process: signs of life, and nothing that it does not need.

use crate::started::{CONFIGURATION, Place, Process};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Everybody's nobody.
const NOBODY: &str = "65534:65534";

/// A process with these words and this environment; `None` when this machine does not let us.
fn start(place: Place, words: &[&str], environment: &[(&str, String)]) -> Option<Process> {
    let mut command = place.command(0);
    command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
    started(command, place)
}

/// The same of a whole command.
fn started(mut command: Command, place: Place) -> Option<Process> {
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Some(port) = line.trim().strip_prefix("ready port=") else {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let _ = child.wait();
        let why = ["namespace", "/dev/net/tun", "start as root"].iter().any(|why| said.contains(why));
        assert!(why, "{line} {said}");
        println!("SKIPPED: {said}");
        return None;
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
    Some(Process { child, address, place })
}

fn is_served(process: &Process) {
    let mut client = std::net::TcpStream::connect(process.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.write_all(b"set k 0 0 1\r\nx\r\n").unwrap();
    let mut answer = [0; 8];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"STORED\r\n");
}

#[test]
fn every_thread_is_nobody_and_may_do_nothing() {
    let Some(process) = start(Place::new("nobody", CONFIGURATION), &["--user", NOBODY], &[]) else { return };
    is_served(&process);
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", process.child.id())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            (field("Uid"), field("Gid")),
            ("65534 65534 65534 65534".into(), "65534 65534 65534 65534".into())
        );
        assert_eq!((field("Groups"), field("NoNewPrivs")), (String::new(), "1".into()));
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
        }
        threads += 1;
    }
    assert!(threads >= 2, "the one that serves and the porch");
}

#[test]
fn signs_of_life_come_while_nobody_asks_and_contents_need_a_place() {
    let place = Place::new("watchdog", CONFIGURATION);
    let manager = UnixDatagram::bind(place.0.join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let environment = [
        ("NOTIFY_SOCKET", place.0.join("notify").to_string_lossy().into_owned()),
        ("WATCHDOG_USEC", "400000".to_owned()),
    ];
    let nowhere = place.0.join("nowhere/contents").to_string_lossy().into_owned();
    let refused = place.command(0).args(["--contents", &nowhere]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    if !said.contains("namespace") && !said.contains("/dev/net/tun") {
        assert!(said.contains("nowhere/contents.new cannot be written"), "{said}");
    }
    let Some(mut process) = start(place, &[], &environment) else { return };
    let heard = || {
        let mut state = [0; 64];
        let len = manager.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..len]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1");
    }
    is_served(&process);
    process.terminate();
    while heard() != "STOPPING=1" {}
    assert!(process.child.wait().unwrap().success());
}

/// The line of a unit that says this, with the lines that it goes on in.
fn said(unit: &str, key: &str) -> String {
    let unit = unit.replace("\\\n", " ");
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
}

/// What the example says is what can be done: with its words and no more than its capabilities it starts as another user,
/// keeps ledger and contents where it was told to, hears that it is to read its configuration again, and ends.
#[test]
fn the_example_of_a_unit_starts_it_with_its_rights_alone() {
    let unit = include_str!("../../../../examples/nom-kv.service");
    let setpriv = Command::new("setpriv").arg("--version").output();
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root || setpriv.is_err() {
        println!("SKIPPED: it needs root and setpriv");
        return;
    }
    let place = Place::new("unit", CONFIGURATION);
    let at = |name: &str| place.0.join(name).to_string_lossy().into_owned();
    let state = at("state");
    // As StateDirectory and ExecStartPre make them.
    fs::create_dir_all(place.0.join("state/left")).unwrap();
    chown(place.0.join("state/left"), Some(65534), Some(65534)).unwrap();
    let words: Vec<String> = said(unit, "ExecStart")
        .split_whitespace()
        .map(|word| match word {
            "/etc/nom/kv.conf" => at("kv.conf"),
            "/run/nom-kv" => at(""),
            "/run/nom/board" => at("board"),
            "nom" => NOBODY.into(),
            "11211" => "0".into(),
            word => word.replace("/var/lib/nom-kv", &state),
        })
        .collect();
    let (program, words) = words.split_first().unwrap();
    assert!(program.ends_with("/nom-kv-linux"), "{program}");
    let rights = said(unit, "CapabilityBoundingSet").to_lowercase().replace("cap_", "+");
    let rights = format!("-all,{}", rights.split_whitespace().collect::<Vec<_>>().join(","));
    let bound = ["--bounding-set", &rights, "--inh-caps=-all", "--no-new-privs", "--"];
    let mut command = Command::new("setpriv");
    command.args(bound).arg(env!("CARGO_BIN_EXE_nom-kv-linux")).args(words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Some(mut process) = started(command, place) else { return };
    is_served(&process);
    // The unit's own way to say it: `+` is with all rights, which it takes to reach another user.
    let reload = said(unit, "ExecReload").replace("$MAINPID", &process.child.id().to_string());
    let words: Vec<&str> = reload.strip_prefix('+').expect("all rights").split_whitespace().collect();
    assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
    let mut heard = BufReader::new(process.child.stderr.take().unwrap()).lines();
    let told = heard.find(|line| line.as_ref().is_ok_and(|line| line.contains("reload:")));
    assert!(told.is_some(), "SIGHUP is not heard");
    process.terminate();
    assert!(process.child.wait().unwrap().success());
    for left in ["state/money.ledger", "state/left/contents"] {
        assert!(fs::metadata(process.place.0.join(left)).unwrap().len() > 0, "{left}");
    }
}
