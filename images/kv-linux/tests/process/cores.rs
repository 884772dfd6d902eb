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

/// The same with another number of cores, or none named.
fn on(cores: usize) -> String {
    CONFIGURATION.to_string() + &format!("kv.cores = {cores}\nmemory.items.max = 64 MiB\n")
}

#[test]
fn contents_go_from_any_number_of_cores_to_any_other() {
    let value = |key: usize, round: usize| format!("{}", key * 1_000 + round);
    let keys = 200;
    let kept = Place::new("kept-contents", "");
    let file = kept.0.join("contents");
    for (round, cores) in [2, 3, 1, 2].into_iter().enumerate() {
        let place = Place::new("moved-contents", &on(cores));
        let arguments = ["--contents", &file.to_string_lossy()];
        let Some(mut process) = Process::start_with(place, &arguments) else { return };
        let mut stream = TcpStream::connect(process.address).unwrap();
        for key in (0..keys).filter(|_| round > 0) {
            let value = value(key, round - 1);
            let expected = format!("VALUE k{key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
            assert_eq!(
                ask(&mut stream, &format!("get k{key}\r\n")),
                expected,
                "round {round}, {cores} cores"
            );
        }
        for core in 0..4 {
            assert!(!beside(&file, core).exists(), "they are taken, whoever left them");
        }
        for key in 0..keys {
            let value = value(key, round);
            stream
                .write_all(format!("set k{key} 0 0 {} noreply\r\n{value}\r\n", value.len()).as_bytes())
                .unwrap();
        }
        assert_eq!(ask(&mut stream, "get k0\r\n"), format!("VALUE k0 0 1\r\n{round}\r\nEND\r\n"));
        drop(stream);
        process.terminate();
        assert!(process.child.wait().unwrap().success());
        for core in 0..4 {
            assert_eq!(beside(&file, core).exists(), core < cores, "core {core} of {cores}");
        }
    }
}

fn beside(file: &std::path::Path, core: usize) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_os_string();
    if core > 0 {
        name.push(format!(".{core}"));
    }
    name.into()
}

#[test]
fn memory_is_changed_on_all_cores() {
    let Some(process) = Process::start_in(Place::new("two-sized", &on(2))) else { return };
    let mut stream = TcpStream::connect(process.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mebibytes = |stream: &mut TcpStream| counted(&ask(stream, "stats\r\n"), "limit_maxbytes") >> 20;
    assert_eq!(mebibytes(&mut stream), 8);
    for (line, answer, after) in
        [("cache_memlimit 32\r\n", "OK\r\n", 32), ("cache_memlimit 65\r\n", "MEMLIMIT_ADJUST_FAILED", 32)]
    {
        stream.write_all(line.as_bytes()).unwrap();
        let mut said = vec![0; answer.len()];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), answer);
        if !answer.ends_with('\n') {
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        }
        // The other core hears of it a moment later.
        while mebibytes(&mut stream) != after {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
