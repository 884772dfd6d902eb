//! The process against a small metadata service on loopback: prices reach the board, bad ones do not, and SIGTERM
//! ends it.

mod common;

use common::Daemon;
use nom_linux_board::Reader;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// The answer of a service to its `count`th question, from 0.
fn answer(count: usize) -> String {
    let unix_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let price = ["1 $/Gbit", "as much as you like", "2 $/Gbit"][count.min(2)];
    format!(
        r#"{{"generation":{},"provider_unix_ns":{unix_ns},"prices":{{"bandwidth":"{price}"}},"valid_s":60}}"#,
        count + 1
    )
}

/// Answers three questions, one connection each, and then holds the next for ever.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            if count > 2 {
                held.push(stream);
                continue;
            }
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = answer(count);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    port
}

#[test]
fn good_prices_reach_the_board_and_bad_ones_do_not() {
    let url = format!("http://127.0.0.1:{}/prices", serve());
    let mut daemon = Daemon::start("one", &["--url", &url]);
    let board = daemon.board();
    let start = Instant::now();
    let wait = |what: &str, mut done: Box<dyn FnMut() -> bool>| {
        while !done() {
            assert!(start.elapsed() < DEADLINE, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    };
    let path = board.clone();
    wait(
        "two publications",
        Box::new(move || {
            Reader::open(&path).is_ok_and(|reader| reader.read().is_ok_and(|prices| prices.generation == 2))
        }),
    );
    let prices = Reader::open(&board).unwrap().read().unwrap();
    // 2 $/Gbit: 2 * 10^18 attodollars for 125,000,000 bytes.
    assert_eq!(prices.rates[0].unwrap().atto_per_unit, 16_000_000_000);
    assert_eq!((prices.rates[1], prices.rates[2]), (None, None));
    assert!(prices.provider_unix_ns > 0 && prices.published_ns > 0);
    Command::new("kill").arg(daemon.child.id().to_string()).status().unwrap();
    let status = daemon.child.wait().unwrap();
    assert!(status.success(), "{status}");
    let mut said = String::new();
    daemon.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("a price is refused and not published"), "{said}");
}

#[test]
fn wrong_arguments_are_one_line_and_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_nom-priced-linux")).arg("--prices").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("nom-priced-linux: unknown option --prices; usage:") && said.lines().count() == 1
    );
}
