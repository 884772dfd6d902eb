//! One cache on two cores: two queues of the device, two stacks, and each key on one of them.

use crate::number;
use crate::started::{CONFIGURATION, Place, Process, TOKEN};
use nom_ledger::recover;
use nom_load::{Mix, Plan, Stop, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const OPERATIONS: u64 = 10_000;
const KEYS: u64 = 300;

/// The configuration of the other tests, on two cores.
pub fn configuration() -> String {
    CONFIGURATION.to_string() + "kv.cores = 2\n"
}

fn ask(stream: &mut TcpStream, line: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"END\r\n") {
        let mut part = [0; 4096];
        let len = stream.read(&mut part).unwrap();
        assert!(len > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&part[..len]);
    }
    String::from_utf8(text).unwrap()
}

fn counted(report: &str, name: &str) -> u64 {
    let line =
        report.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {report}")).parse().unwrap()
}

#[test]
fn two_cores_answer_as_one_and_count_together() {
    let Some(mut process) = Process::start_in(Place::new("cores", &configuration())) else { return };
    let management = process.management();
    writeln!(&management, "hello {TOKEN}").unwrap();
    let plan = Plan {
        connections: 40,
        operations_max: OPERATIONS,
        duration: PATIENCE,
        grace: PATIENCE,
        mix: Mix { keys: KEYS as _, value_len_max: 3_000, ..Mix::default() },
        ..Plan::new(process.address)
    };
    let report = run(&plan, &Stop::default(), |_| {}).unwrap();
    let tally = &report.tally;
    assert_eq!((tally.answered, tally.wrong, tally.refused, tally.lost), (OPERATIONS, 0, 0, 0));
    assert_eq!((tally.misses, tally.closed, tally.reconnects), (0, 0, 0));
    let mut stream = TcpStream::connect(process.address).unwrap();
    let stats = ask(&mut stream, "stats\r\n");
    assert_eq!((counted(&stats, "threads"), counted(&stats, "curr_items")), (2, KEYS));
    assert_eq!(counted(&stats, "cmd_get") + counted(&stats, "cmd_set"), report.accepted());
    let exchanged = ask(&mut stream, "stats memory\r\n");
    assert!(counted(&exchanged, "shard_sent") > 0, "{exchanged}");
    assert!(counted(&exchanged, "shard_served") > 0, "the other core has clients too: {exchanged}");
    drop(stream);
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    assert!(process.child.wait().unwrap().success());
    let bye = lines.iter().find(|line| line.starts_with("{\"bye\":")).expect("a bye");
    assert_eq!((number(bye, "accepted"), number(bye, "connections_cut")), (report.accepted(), 0));
    let windows = lines.iter().filter(|line| line.starts_with("{\"window\":"));
    assert_eq!(windows.map(|line| number(line, "accepted")).sum::<u64>(), report.accepted());
    let kept = recover(&std::fs::read(process.place.0.join("ledger")).unwrap(), None).unwrap();
    assert!(kept.closed && kept.totals.accepted == report.accepted());
}

#[test]
fn a_reload_and_a_drain_reach_both_cores() {
    let Some(mut process) = Process::start_in(Place::new("two-reload", &configuration())) else { return };
    let management = process.management();
    writeln!(&management, "hello {TOKEN}").unwrap();
    let mut lines = BufReader::new(&management).lines().map(Result::unwrap);
    let mut clients: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(process.address).unwrap()).collect();
    for (place, client) in clients.iter_mut().enumerate() {
        client.set_nodelay(true).unwrap();
        client.write_all(format!("set k{place} 0 0 2 noreply\r\nxx\r\n").as_bytes()).unwrap();
        assert_eq!(ask(client, &format!("get k{place}\r\n")), format!("VALUE k{place} 0 2\r\nxx\r\nEND\r\n"));
    }
    std::fs::write(process.place.0.join("kv.conf"), configuration() + "batch = 2 ms\n").unwrap();
    Command::new("kill").args(["-HUP", &process.child.id().to_string()]).status().unwrap();
    let said = lines.find(|line| line.starts_with("{\"log\":") && line.contains("reload")).unwrap();
    assert!(said.contains("batch: absent -> 2 ms"), "{said}");
    for (place, client) in clients.iter_mut().enumerate() {
        let other = (place + 5) % 16;
        assert_eq!(ask(client, &format!("get k{other}\r\n")), format!("VALUE k{other} 0 2\r\nxx\r\nEND\r\n"));
    }
    process.terminate();
    for mut client in clients {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "it is closed in order");
    }
    let bye = lines.find(|line| line.starts_with("{\"bye\":")).expect("a bye");
    assert_eq!((number(&bye, "accepted"), number(&bye, "connections_cut")), (48, 0));
    assert!(process.child.wait().unwrap().success());
}
