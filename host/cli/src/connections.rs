//! `nom connections`: who is connected to a running service, and how it goes.

use crate::arguments::Typed;
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::watch::{all, choose};
use nom_view::{duration, grouped};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

/// The command.
pub fn connections(typed: &Typed) -> Outcome<ExitCode> {
    let mut watched = choose(all(), typed.words.first().map(String::as_str))?;
    watched.ask("connections")?;
    let now = gathered(|| watched.line())?;
    let text = if typed.has("json") { format!("{now}\n") } else { table(&now) };
    // Nobody reads any more: that is an end too.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// All connections, from lines that have some of them each.
fn gathered(mut line: impl FnMut() -> Outcome<Option<Value>>) -> Outcome<Value> {
    let mut next = || line()?.ok_or_else(|| Trouble::new("the service has ended"));
    let mut all = next()?;
    while all["more"] == true {
        let mut some = next()?;
        if let (Some(all), Some(some)) =
            (all["connections"].as_array_mut(), some["connections"].as_array_mut())
        {
            all.append(some);
        }
        all["more"] = some["more"].take();
    }
    if let Some(all) = all.as_object_mut() {
        all.remove("more");
    }
    Ok(all)
}

const HEAD: [&str; 9] =
    ["peer", "port", "state", "round trip", "window", "in flight", "queued", "unread", "sent"];

fn table(now: &Value) -> String {
    let all = now["connections"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<[String; HEAD.len()]> = all.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in [HEAD.map(String::from)].iter().chain(&rows) {
        let mut line = String::new();
        for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Words stand left, numbers right.
            let _ = match place {
                0 | 2 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let _ = writeln!(text, "{} connections", grouped(rows.len() as u64));
    text
}

fn row(one: &Value) -> [String; HEAD.len()] {
    let number = |key: &str| one[key].as_u64().unwrap_or(0);
    let word = |key: &str| one[key].as_str().unwrap_or("-").to_string();
    let peer = match word("peer") {
        address if address.contains(':') => format!("[{address}]:{}", number("peer_port")),
        address => format!("{address}:{}", number("peer_port")),
    };
    let round_trip = match number("round_trip_ns") {
        0 => "-".into(),
        ns => duration(ns),
    };
    let state = match number("retries") {
        0 => word("state"),
        retries => format!("{}, {retries} time-outs", word("state")),
    };
    let bytes = |key| grouped(number(key));
    [
        peer,
        number("port").to_string(),
        state,
        round_trip,
        bytes("congestion_window"),
        bytes("in_flight"),
        bytes("queued"),
        bytes("unread"),
        bytes("sent"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_comes_in_several_lines_is_one_list() {
        let lines = [
            json!({ "at_ns": 7, "connections": [1, 2], "more": true }),
            json!({ "at_ns": 7, "connections": [3], "more": true }),
            json!({ "at_ns": 7, "connections": [4], "more": false }),
            json!({ "at_ns": 8, "connections": [5], "more": false }),
        ];
        let mut coming = lines.into_iter();
        let one = gathered(|| Ok(coming.next())).unwrap();
        assert_eq!(one, json!({ "at_ns": 7, "connections": [1, 2, 3, 4] }));
        assert_eq!(gathered(|| Ok(coming.next())).unwrap(), json!({ "at_ns": 8, "connections": [5] }));
        assert!(gathered(|| Ok(None)).is_err());
        let mut cut = Some(json!({ "at_ns": 7, "connections": [1], "more": true }));
        assert!(gathered(|| Ok(cut.take())).is_err(), "half of it is not all of it");
    }

    #[test]
    fn a_connection_is_a_line() {
        let now = json!({ "connections": [
            { "peer": "10.0.2.2", "peer_port": 40000, "port": 11211, "state": "established", "round_trip_ns": 1_200_000,
              "congestion_window": 14600, "in_flight": 5, "queued": 7, "unread": 0, "sent": 123_456 },
            { "peer": "fd00::1", "peer_port": 7, "port": 11211, "state": "syn-received", "retries": 2 },
        ]});
        let text = table(&now);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("peer "), "{text}");
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(words[..3], ["10.0.2.2:40000", "11211", "established"], "{text}");
        assert_eq!(words[words.len() - 5..], ["14,600", "5", "7", "0", "123,456"], "{text}");
        assert!(lines[2].contains("[fd00::1]:7") && lines[2].contains("syn-received, 2 time-outs"), "{text}");
        assert_eq!(lines[3], "2 connections");
        assert!(table(&json!({})).ends_with("0 connections\n"));
    }
}
