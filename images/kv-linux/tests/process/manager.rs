//! What a service manager asks of the process: signs of life, and nothing that it does not need.

use crate::started::{CONFIGURATION, Place, Process};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Everybody's nobody.
const NOBODY: &str = "65534:65534";

/// A process with these words and this environment; `None` when this machine does not let us.
fn start(place: Place, words: &[&str], environment: &[(&str, String)]) -> Option<Process> {
    let mut command = place.command(0);
    command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
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
