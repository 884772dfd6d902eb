//! The process with two feeds: nobody is at the first, so the prices of the second, electricity a day ahead from a small
//! server on loopback, reach the board.

mod common;

use common::Daemon;
use nom_linux_board::Reader;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

const DEADLINE: Duration = Duration::from_secs(30);

/// Six hours around now, always the same price.
fn hours(now_s: u64) -> String {
    let hour = now_s - now_s % 3600;
    let times: Vec<String> = (0..6).map(|place| (hour - 7200 + place * 3600).to_string()).collect();
    let price = "100.0,".repeat(6);
    let (times, price) = (times.join(","), price.trim_end_matches(','));
    format!(r#"{{"unix_seconds":[{times}],"price":[{price}],"unit":"EUR / MWh","deprecated":false}}"#)
}

/// Answers every question with them.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let body = hours(UNIX_EPOCH.elapsed().unwrap().as_secs());
            write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    port
}

/// A port at which nobody listens: it was ours a moment ago.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_second_feed_is_used_when_nobody_is_at_the_first() {
    let day = format!(
        "day-ahead http://127.0.0.1:{}/ watts=1000 convert=EUR:1.2 core=0.036$/core/h memory=0.005$/GiB/h",
        serve()
    );
    let first = format!("http://127.0.0.1:{}/prices", nobody());
    let mut daemon = Daemon::start("two", &["--feed", &first, "--feed", &day]);
    let board = daemon.board();
    let start = Instant::now();
    let prices = loop {
        assert!(start.elapsed() < DEADLINE, "nothing was published");
        let prices = Reader::open(&board).ok().and_then(|reader| reader.read().ok());
        if let Some(prices) = prices.filter(|prices| prices.generation > 0) {
            break prices;
        }
        thread::sleep(Duration::from_millis(5));
    };
    // 1 kW for an hour at 100 EUR/MWh is 0.12 $, beside the core's own 0.036 $.
    let rate = |place: usize| prices.rates[place].map(|rate| rate.atto_per_unit);
    assert_eq!((rate(0), rate(1), rate(2)), (None, Some(33_333 + 10_000), Some(1_294)));
    assert!(prices.rates[1].is_some_and(|rate| rate.valid_until_ns > prices.published_ns));
    daemon.child.kill().unwrap();
    let mut said = String::new();
    daemon.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("cannot be reached") && said.contains("prices are those of day-ahead"), "{said}");
}
