//! The generator against small servers on loopback: one that is right, and some that are not.

use nom_load::{Keys, LoadError, Mix, Pace, Plan, Recording, Stop, Web, replay, run};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Store = Arc<Mutex<HashMap<String, (String, Vec<u8>)>>>;

/// How the small server misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Right,
    /// Every hundredth value has a wrong last byte.
    Corrupt,
    /// Every hundredth answer is a refusal.
    Refuse,
    /// Never answers a get.
    Mute,
}

fn serve(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let store = Store::default();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let store = Arc::clone(&store);
            std::thread::spawn(move || speak(stream.unwrap(), &store, manner));
        }
    });
    address
}

fn speak(stream: TcpStream, store: &Store, manner: Manner) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    for count in 1.. {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut answer = Vec::new();
        if words[0] == "get" {
            if manner == Manner::Mute {
                continue;
            }
            if let Some((flags, value)) = store.lock().unwrap().get(words[1]) {
                answer = format!("VALUE {} {flags} {}\r\n", words[1], value.len()).into_bytes();
                answer.extend_from_slice(value);
                if manner == Manner::Corrupt && count % 100 == 0 {
                    *answer.last_mut().unwrap() ^= 1;
                }
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"END\r\n");
        } else {
            let mut value = vec![0; words[4].parse::<usize>().unwrap() + 2];
            lines.read_exact(&mut value).ok()?;
            value.truncate(value.len() - 2);
            store.lock().unwrap().insert(words[1].into(), (words[2].into(), value));
            answer.extend_from_slice(b"STORED\r\n");
        }
        if manner == Manner::Refuse && count % 100 == 0 {
            answer = b"SERVER_ERROR busy\r\n".to_vec();
        }
        out.write_all(&answer).ok()?;
    }
    None
}

fn plan(manner: Manner) -> Plan {
    Plan {
        mix: Mix { keys: 50, ..Mix::default() },
        connections: 3,
        threads: 2,
        operations_max: 3_000,
        grace: Duration::from_secs(20),
        duration: Duration::from_secs(60),
        ..Plan::new(serve(manner))
    }
}

#[test]
fn a_closed_loop_adds_up() {
    let mut seen = 0;
    let report = run(&plan(Manner::Right), &Stop::default(), |progress| {
        seen += progress.recent.answered;
        assert_eq!(progress.total.answered, seen);
    })
    .unwrap();
    let tally = &report.tally;
    assert_eq!((tally.sent, tally.answered, report.preloaded), (3_000, 3_000, 50));
    assert_eq!(tally.hits + tally.stored, 3_000, "every key was stored before");
    assert_eq!((tally.wrong, tally.lost, tally.shed, tally.closed, tally.misses), (0, 0, 0, 0, 0));
    assert_eq!(tally.latency_ns.len(), 3_000);
    assert_eq!(seen, 3_000);
    assert!((200..400).contains(&tally.stored), "the mix is 90/10: {}", tally.stored);
}

#[test]
fn an_open_loop_sends_its_rate_whatever_comes_back() {
    let mut plan = plan(Manner::Mute);
    plan.pace = Pace::Fixed { per_s: 10_000.0 };
    plan.grace = Duration::from_millis(100);
    plan.mix.get_percent = 100;
    let report = run(&plan, &Stop::default(), |_| {}).unwrap();
    assert_eq!(report.tally.sent, 3_000);
    assert_eq!(report.tally.answered, 0);
    assert_eq!(report.tally.lost + report.tally.shed, 3_000);
}

#[test]
fn what_is_due_just_before_the_end_is_sent_however_late_one_wakes() {
    let mut plan = plan(Manner::Right);
    plan.pace = Pace::Fixed { per_s: 1_000.0 };
    // The last arrival is due at 99 ms, a microsecond before the end.
    plan.duration = Duration::from_micros(99_001);
    let report = run(&plan, &Stop::default(), |_| {}).unwrap();
    assert_eq!((report.tally.sent, report.tally.answered), (100, 100));
}

#[test]
fn wrong_bytes_are_found_and_cost_the_connection() {
    let report = run(&plan(Manner::Corrupt), &Stop::default(), |_| {}).unwrap();
    let tally = &report.tally;
    assert!(tally.wrong > 0 && tally.closed >= tally.wrong, "{tally:?}");
    assert_eq!(tally.sent, tally.answered + tally.wrong + tally.lost + tally.shed);
}

#[test]
fn refusals_are_counted_apart() {
    let mut plan = plan(Manner::Refuse);
    plan.mix.preload = false;
    let report = run(&plan, &Stop::default(), |_| {}).unwrap();
    let tally = &report.tally;
    assert_eq!(tally.sent, tally.answered + tally.refused);
    assert!((27..=30).contains(&tally.refused), "{}", tally.refused);
    assert_eq!(tally.wrong, 0);
}

#[test]
fn a_stop_ends_a_run_and_a_closed_port_is_named() {
    let mut endless = plan(Manner::Right);
    endless.operations_max = nom_load::bounds::OPERATIONS_MAX;
    let stop = Stop::default();
    let report = run(&endless, &stop, |progress| {
        if progress.total.answered > 100 {
            stop.stop();
        }
    })
    .unwrap();
    assert_eq!(report.tally.sent, report.tally.answered);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = run(&Plan::new(free), &Stop::default(), |_| {}).unwrap_err().to_string();
    assert!(error.contains(&free.to_string()) && error.contains("is the server up?"), "{error}");
}

#[test]
fn a_replay_gives_what_the_run_got() {
    let mut plan = plan(Manner::Right);
    plan.mix.whose = Keys::Own;
    plan.record = true;
    plan.operations_max = 500;
    let report = run(&plan, &Stop::default(), |_| {}).unwrap();
    let recording = report.recording.unwrap();
    assert_eq!(recording.arrivals.len(), 500);
    let again = Recording::parse(&recording.to_text()).unwrap();
    let answers = || replay(&again, serve(Manner::Right), Duration::from_secs(20)).unwrap();
    let first = answers();
    assert_eq!(first.difference(&answers()), None);
    assert!(first.connections.values().all(|answered| answered.complete));
    let bytes: usize = first.connections.values().map(|answered| answered.bytes.len()).sum();
    assert_eq!(bytes as u64, report.tally.bytes_in);
    let worse = replay(&again, serve(Manner::Refuse), Duration::from_secs(20)).unwrap();
    assert!(first.difference(&worse).unwrap().contains("ERROR busy"));
}

/// A web server with two pages; the second one is not always the same.
fn serve_pages() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut out = stream.unwrap();
                let mut lines = BufReader::new(out.try_clone().unwrap()).lines();
                let mut count = 0;
                while let Some(Ok(line)) = lines.next() {
                    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                    count += 1;
                    let content = match line.split(' ').nth(1) {
                        Some("/steady") => "x".repeat(1_000),
                        Some("/none") => String::new(),
                        _ => format!("{}", count / 100),
                    };
                    let status = if content.is_empty() { "404 Not Found" } else { "200 OK" };
                    let len = content.len();
                    if write!(out, "HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n{content}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn pages_are_asked_for_in_both_loops_and_compared_with_what_was_there() {
    let target = serve_pages();
    let ask = |paths: &[&str], pace| {
        let mix = Mix { web: Some(Web::new(paths, "Accept: */*\r\n")), ..Mix::default() };
        run(&Plan { mix, pace, operations_max: 400, ..Plan::new(target) }, &Stop::default(), |_| {})
    };
    for pace in [Pace::Closed, Pace::Poisson { per_s: 2_000.0 }] {
        let report = ask(&["/steady"], pace).unwrap();
        let tally = &report.tally;
        assert_eq!((tally.answered, tally.wrong, tally.lost, report.preloaded), (400, 0, 0, 1), "{pace:?}");
        assert_eq!(tally.latency_ns.len(), 400);
    }
    let report = ask(&["/steady", "/counts"], Pace::Closed).unwrap();
    assert!(report.tally.wrong > 0, "other content is noticed");
    let refused = ask(&["/none"], Pace::Closed).unwrap_err().to_string();
    assert!(refused.contains("the server answers 404, not 200 alone"), "{refused}");
}

#[test]
fn a_server_that_does_not_go_on_is_told_in_words() {
    let error = LoadError::System("storing the keys before the run", std::io::ErrorKind::WouldBlock.into());
    let told = error.to_string();
    assert_eq!(told, "load: storing the keys before the run: the server did not go on for 10 s");
}
