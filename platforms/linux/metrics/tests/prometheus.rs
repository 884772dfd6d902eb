//! The page as it is served, read by the parser of those who made the format.

use nom_linux_metrics::{Figures, Server, listen};
use nom_service::management::{Stats, Words};
use nom_service::metrics::Who;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names and values as the parser sees them, a line each.
const PARSE: &str = "\
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(family.type, sample.name, sorted(sample.labels.items()), float(sample.value))
";

/// A Python that has the parser, if there is one.
fn python() -> Option<&'static str> {
    let has = |python: &&str| {
        let found = Command::new(python).args(["-c", "import prometheus_client.openmetrics.parser"]).output();
        found.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(has)
}

fn page() -> String {
    let who = Who { application: "k\"v\\".into(), version: "0.1.0".into(), home: "linux".into() };
    let figures = Figures::of(who, Duration::from_millis(200));
    let server = Server::start(listen(0).unwrap(), figures.clone()).unwrap();
    figures.tell(&Stats {
        accepted: 12_345,
        refused: 2,
        latency_sum_ns: 2_500_000_000,
        latency_counts: Words::new((1..=23).collect::<Vec<u64>>()),
        price_core: "0.04 $/core/h".into(),
        setting: "wait=halt batch=0".into(),
        profit_picodollars: -5,
        serving: 1,
        ..Stats::default()
    });
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    body.into()
}

#[test]
fn the_parser_of_prometheus_reads_the_page() {
    let Some(python) = python() else {
        println!("SKIPPED: no prometheus_client (Debian: python3-prometheus-client)");
        return;
    };
    let mut parser = Command::new(python)
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(page().as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "counter nom_operations_total [('outcome', 'accepted')] 12345.0",
        "histogram nom_latency_seconds_bucket [('le', '0.000008192')] 3.0",
        "histogram nom_latency_seconds_count [] 276.0",
        "histogram nom_latency_seconds_sum [] 2.5",
        "gauge nom_profit_dollars [] -5e-12",
        "gauge nom_ready [] 1.0",
        "info nom_info [('application', 'k\"v\\\\'), ('home', 'linux'), ('version', '0.1.0')] 1.0",
    ] {
        assert!(read.lines().any(|line| line == expected), "{expected} is missing:\n{read}");
    }
}
