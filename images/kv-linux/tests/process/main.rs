//! The process as a person starts it: served, counted, drained, and refused with one line where it cannot start.

mod abuse;
mod clients;
mod cores;
mod manager;
mod started;

use nom_kv::Kv;
use nom_ledger::recover;
use nom_load::recording::Answers;
use nom_load::{Keys, Mix, Pace, Plan, Recording, Stop, replay, run};
use nom_simnet::port::Device;
use nom_simnet::{Cost, End, Host, Link, Player, Simulation};
use nom_stack::Config;
use started::{CONFIGURATION, Place, Process, TOKEN};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

/// The number behind a name in a flat JSON line.
fn number(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn what_clients_count_is_what_the_ledger_counts_and_a_signal_ends_it_cleanly() {
    let Some(mut process) = Process::start("count") else { return };
    let mut management = process.management();
    writeln!(management, "hello {TOKEN}").unwrap();
    let plan = Plan {
        operations_max: 5_000,
        duration: Duration::from_secs(60),
        grace: Duration::from_secs(20),
        mix: Mix { keys: 100, ..Mix::default() },
        ..Plan::new(process.address)
    };
    let report = run(&plan, &Stop::default(), |_| {}).unwrap();
    let tally = &report.tally;
    assert_eq!((tally.answered, tally.wrong, tally.refused, tally.lost, tally.misses), (5_000, 0, 0, 0, 0));
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    assert!(process.child.wait().unwrap().success());
    assert!(lines.iter().any(|line| line.starts_with("{\"hello\":")), "{}", lines[0]);
    let bye = lines.iter().find(|line| line.starts_with("{\"bye\":")).expect("a bye");
    assert_eq!(number(bye, "accepted"), report.accepted());
    let windows: Vec<&String> = lines.iter().filter(|line| line.starts_with("{\"window\":")).collect();
    assert_eq!(windows.len() as u64, number(bye, "windows"));
    let settled: u64 = windows.iter().map(|line| number(line, "accepted")).sum();
    assert_eq!(settled, report.accepted(), "the last window is sealed and sent");
    let kept = recover(&std::fs::read(process.place.0.join("ledger")).unwrap(), None).unwrap();
    assert!(kept.closed && !kept.totals.unsettled);
    assert_eq!((kept.totals.windows, kept.totals.accepted), (windows.len() as u64, report.accepted()));
}

#[test]
fn killed_while_it_serves_it_leaves_all_sealed_windows() {
    let configuration = CONFIGURATION.replace("window = 100 ms", "window = 10 ms");
    for turn in 0..3u64 {
        let place = Place::new("killed", &configuration);
        let Some(mut process) = Process::start_in(place) else { return };
        let stop = Stop::default();
        let plan = Plan { duration: Duration::from_secs(60), ..Plan::new(process.address) };
        let loaded = stop.clone();
        let (say, heard) = std::sync::mpsc::channel();
        let load = std::thread::spawn(move || {
            run(&plan, &loaded, |progress| {
                let _ = say.send(progress.total.answered);
            })
        });
        while heard.recv_timeout(Duration::from_secs(60)).expect("somebody is answered") == 0 {}
        let path = process.place.0.join("ledger");
        let len = || std::fs::metadata(&path).map_or(0, |known| known.len());
        // Until some windows are there in which somebody was answered: then at any moment.
        let before = len();
        while len() < before + 20_000 {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_micros(3_700 * turn));
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        stop.stop();
        let _ = load.join().unwrap();
        let kept = recover(&std::fs::read(&path).unwrap(), None).unwrap();
        assert!(!kept.closed && kept.totals.unsettled && kept.totals.windows > 10);
        let last = kept.windows.last().unwrap();
        assert_eq!(kept.totals.profit(), last.profit_total());
        assert!(kept.totals.accepted > 0);
    }
}

#[test]
fn a_drain_lets_open_requests_finish_and_needs_the_token() {
    let Some(mut process) = Process::start("drain") else { return };
    let mut management = process.management();
    writeln!(management, "hello 0123\ndrain").unwrap();
    let mut refused = String::new();
    BufReader::new(&management).read_line(&mut refused).unwrap();
    assert!(refused.starts_with("{\"refused\":"), "{refused}");
    let mut client = std::net::TcpStream::connect(process.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.write_all(b"set k 0 0 5\r\nvalue\r\n").unwrap();
    let mut answer = [0; 8];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"STORED\r\n");
    write!(management, "hello {TOKEN}\ndrain\n").unwrap();
    client.write_all(b"get k\r\n").unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    drop(client);
    assert_eq!(rest, b"VALUE k 0 5\r\nvalue\r\nEND\r\n");
    assert!(process.child.wait().unwrap().success());
}

#[test]
fn a_successor_has_the_contents_and_the_manager_hears_of_both() {
    let place = Place::new("successor", CONFIGURATION);
    let manager = std::os::unix::net::UnixDatagram::bind(place.0.join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut state = [0; 64];
        let len = manager.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..len]).into_owned()
    };
    for (turn, request, expected) in [
        (0, &b"set k 5 0 5\r\nvalue\r\nset gone 0 1 1\r\nx\r\n"[..], &b"STORED\r\nSTORED\r\n"[..]),
        (1, b"get k\r\n", b"VALUE k 5 5\r\nvalue\r\nEND\r\n"),
    ] {
        let mut command = place.command(0);
        command.arg("--contents").arg(place.0.join("contents")).env("NOTIFY_SOCKET", place.0.join("notify"));
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(port) = line.trim().strip_prefix("ready port=") else {
            let _ = child.wait();
            assert_eq!(turn, 0, "the second starts where the first did");
            println!("SKIPPED: no network of our own here");
            return;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
        let mut process = Process { child, address, place: Place(place.0.join("none")) };
        assert_eq!(heard(), "READY=1");
        assert!(!place.0.join("contents").exists(), "they are taken before anybody is served");
        let mut client = std::net::TcpStream::connect(process.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        client.write_all(request).unwrap();
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), String::from_utf8_lossy(expected));
        drop(client);
        process.terminate();
        assert_eq!(heard(), "STOPPING=1");
        assert!(process.child.wait().unwrap().success());
        assert!(place.0.join("contents").exists());
    }
}

#[test]
fn a_hangup_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let Some(mut process) = Process::start("reload") else { return };
    let management = process.management();
    writeln!(&management, "hello {TOKEN}").unwrap();
    let mut lines = BufReader::new(&management).lines().map(Result::unwrap);
    let mut said = |text: &str| {
        std::fs::write(process.place.0.join("kv.conf"), text).unwrap();
        Command::new("kill").args(["-HUP", &process.child.id().to_string()]).status().unwrap();
        lines.find(|line| line.starts_with("{\"log\":") && line.contains("reload")).unwrap()
    };
    let bad = said(&CONFIGURATION.replace("window =", "widnow ="));
    assert!(bad.contains("nothing has changed") && bad.contains("did you mean 'window'?"), "{bad}");
    let good = said(&(CONFIGURATION.replace("window = 100 ms", "window = 1 s") + "batch = 2 ms\n"));
    assert!(good.contains("batch: absent -> 2 ms"), "{good}");
    assert!(good.contains("after a restart: window: 100 ms -> 1 s"), "{good}");
    let moved = lines.find(|line| line.contains("\"setting\":")).unwrap();
    assert!(moved.contains("batch=2ms"), "{moved}");
    process.terminate();
    assert!(process.child.wait().unwrap().success());
    // Who sends a signal does not listen at the channel: it stands where he looks.
    let mut words = String::new();
    process.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    let [refused, taken] = ["reload is refused, nothing has changed: ", "reload: batch: absent -> 2 ms"];
    assert!(words.contains(refused) && words.contains(taken), "{words}");
}

/// The recording's answers in virtual time.
fn in_virtual_time(recording: &Recording) -> Answers {
    let mut simulation = Simulation::new(1);
    let config = |number| Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 77, 0, number), 24);
    let kv = Kv::new(nom_kv::Config::new(8 << 20, [3; 16], 0));
    let mut server = Host::new(config(2), Device::default(), Cost::default(), kv, 1);
    server.engine_mut().listen(11211);
    let (server, _) = simulation.add(server);
    let target = (Ipv4Addr::new(10, 77, 0, 2), 11211);
    let (client, player) =
        simulation.add(Player::new(config(1), Device::default(), recording.clone(), target, 2));
    simulation.connect(End { node: server, port: 0 }, End { node: client, port: 0 }, Link::gigabit());
    let waiting = std::rc::Rc::clone(&player);
    assert!(simulation.run_while(60_000_000_000, || !waiting.borrow().is_done()));
    player.borrow().answers()
}

#[test]
fn the_same_arrivals_give_the_same_answers_here_and_in_virtual_time() {
    let Some(process) = Process::start("replay") else { return };
    let mix = Mix { keys: 30, whose: Keys::Own, get_percent: 70, value_len_max: 4_000, ..Mix::default() };
    let recording = Recording::draw(&mix, Pace::Poisson { per_s: 3_000.0 }, 6, 21, 400_000);
    let here = replay(&recording, process.address, Duration::from_secs(30)).unwrap();
    assert!(here.connections.values().all(|answered| answered.complete));
    assert_eq!(here.difference(&in_virtual_time(&recording)), None);
}

fn refused(place: &Place, port: u16) -> String {
    let Output { status, stdout, stderr } = place.command(port).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len(), said.lines().count()), (Some(1), 0, 1), "{said}");
    said
}

#[test]
fn what_cannot_start_says_why_in_one_line() {
    let place = Place::new("refuse", "listn = 11211\n");
    let said = refused(&place, 0);
    assert!(said.contains("line 1") && said.contains("did you mean 'listen'?"), "{said}");
    std::fs::write(place.0.join("kv.conf"), CONFIGURATION).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = refused(&place, port);
    assert!(said.contains(&format!("port {port} of 127.0.0.1 is in use")), "{said}");
    std::fs::remove_file(place.0.join("kv.conf")).unwrap();
    let said = refused(&place, 0);
    assert!(said.contains("kv.conf: No such file"), "{said}");
    let output = Command::new(env!("CARGO_BIN_EXE_nom-kv-linux")).arg("--prot").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
