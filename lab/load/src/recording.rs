//! Recorded arrivals and recorded answers, as text that a person can read.
//!
//! ```text
//! # nom arrivals 1
//! 1500 0 get k00000001xxxxxxx\r\n
//! 1720 3 set k00000002xxxxxxx 2 0 3\r\nabc\r\n
//! ```
//! Microseconds from the start, number of the connection, the request with `\r`, `\n`, `\\` and `\xNN` escaped.
//! The same file is played over sockets ([`crate::replay()`]) and in virtual time (the simulator).

use crate::bounds;
use crate::mix::{Mix, Speaker};
use crate::pace::{Pace, Schedule};
use crate::plan::LoadError;
use std::collections::BTreeMap;
use std::fmt::Write;

/// First line of a recording.
pub const HEADER: &str = "# nom arrivals 1";

/// One request that became due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Microseconds from the start of the recording.
    pub time_us: u64,
    /// Which connection it is sent on.
    pub connection: u32,
    /// The request as it is sent.
    pub request: Vec<u8>,
}

/// Arrivals in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// The arrivals; times never go back.
    pub arrivals: Vec<Arrival>,
}

impl Recording {
    /// Brings arrivals into order; those of one connection and one time keep theirs.
    pub fn new(mut arrivals: Vec<Arrival>) -> Self {
        arrivals.sort_by_key(|arrival| (arrival.time_us, arrival.connection));
        Self { arrivals }
    }

    /// Draws an open loop without sending it: what a run of the same plan would have recorded.
    pub fn draw(mix: &Mix, pace: Pace, connections: u32, seed: u64, duration_us: u64) -> Self {
        let mut speakers: Vec<Speaker> =
            (0..connections).map(|connection| Speaker::new(mix.clone(), seed, connection)).collect();
        let mut schedule = Schedule::new(pace, 0, 1, seed);
        let mut arrivals = Vec::new();
        while let Some(due_ns) = schedule.due_ns() {
            if due_ns / 1000 >= duration_us || arrivals.len() >= bounds::ARRIVALS_MAX || speakers.is_empty() {
                break;
            }
            let connection = arrivals.len() % speakers.len();
            let mut request = Vec::new();
            let operation = speakers[connection].draw();
            speakers[connection].request(operation, &mut request);
            arrivals.push(Arrival { time_us: due_ns / 1000, connection: connection as u32, request });
            schedule.advance();
        }
        Self { arrivals }
    }

    /// How many connections it needs.
    pub fn connections(&self) -> u32 {
        self.arrivals.iter().map(|arrival| arrival.connection + 1).max().unwrap_or(0)
    }

    /// The file.
    pub fn to_text(&self) -> String {
        let mut text = String::from(HEADER);
        text.push('\n');
        for Arrival { time_us, connection, request } in &self.arrivals {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{time_us} {connection} {}", escape(request));
        }
        text
    }

    /// Reads the file, strictly.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(wrong(1, format!("expected \"{HEADER}\"")));
        }
        let mut recording = Self::default();
        let (mut last_us, mut bytes) = (0, 0);
        for (place, line) in lines.enumerate() {
            let number = place + 2;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let mut word = |what: &str| {
                words
                    .next()
                    .filter(|word| !word.is_empty())
                    .ok_or_else(|| wrong(number, format!("no {what}")))
            };
            let time_us = count(word("time")?, number, "a time in microseconds")?;
            let connection = count(word("connection")?, number, "the number of a connection")?;
            let request = unescape(word("request")?)
                .map_err(|at| wrong(number, format!("bad escape at byte {at} of the request")))?;
            if time_us < last_us {
                return Err(wrong(
                    number,
                    format!("time {time_us} is before the {last_us} of the line above"),
                ));
            }
            if connection >= bounds::CONNECTIONS_MAX as u64 {
                return Err(wrong(number, format!("connections are 0 to {}", bounds::CONNECTIONS_MAX - 1)));
            }
            last_us = time_us;
            bytes += request.len();
            if recording.arrivals.len() == bounds::ARRIVALS_MAX || bytes > bounds::RECORDED_BYTES_MAX {
                let (arrivals, bytes) = (bounds::ARRIVALS_MAX, bounds::RECORDED_BYTES_MAX);
                return Err(wrong(
                    number,
                    format!("a recording has at most {arrivals} arrivals, {bytes} bytes"),
                ));
            }
            recording.arrivals.push(Arrival { time_us, connection: connection as u32, request });
        }
        Ok(recording)
    }
}

/// What one connection answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// The bytes in order.
    pub bytes: Vec<u8>,
    /// The other side closed in order after the last request.
    pub complete: bool,
}

/// What every connection of a replay answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// By the number of the connection.
    pub connections: BTreeMap<u32, Answered>,
}

impl Answers {
    /// One line a connection: number, `complete` or `cut`, the escaped bytes.
    pub fn to_text(&self) -> String {
        let mut text = String::from("# nom answers 1\n");
        for (connection, Answered { bytes, complete }) in &self.connections {
            let state = if *complete { "complete" } else { "cut" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{connection} {state} {}", escape(bytes));
        }
        text
    }

    /// The first difference to another replay, for a person; `None` when all bytes are the same.
    pub fn difference(&self, other: &Answers) -> Option<String> {
        let empty = Answered::default();
        let names = self.connections.keys().chain(other.connections.keys());
        for &connection in names {
            let ours = self.connections.get(&connection).unwrap_or(&empty);
            let theirs = other.connections.get(&connection).unwrap_or(&empty);
            if ours == theirs {
                continue;
            }
            let same = ours.bytes.iter().zip(&theirs.bytes).take_while(|(left, right)| left == right).count();
            let show =
                |answered: &Answered| escape(&answered.bytes[same..answered.bytes.len().min(same + 40)]);
            return Some(format!(
                "connection {connection} differs from byte {same} on: \"{}\" ({} bytes, complete: {}) against \"{}\" ({} bytes, complete: {})",
                show(ours),
                ours.bytes.len(),
                ours.complete,
                show(theirs),
                theirs.bytes.len(),
                theirs.complete
            ));
        }
        None
    }
}

fn wrong(line: usize, what: String) -> LoadError {
    LoadError::Recording { line, what }
}

fn count(word: &str, line: usize, what: &str) -> Result<u64, LoadError> {
    word.parse().map_err(|_| wrong(line, format!("\"{word}\" is not {what}")))
}

/// Printable ASCII as it is, the rest as `\r`, `\n`, `\\` or `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

/// The bytes that were escaped, or the place of what is no escape.
pub fn unescape(text: &str) -> Result<Vec<u8>, usize> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if !(b' '..=b'~').contains(&byte) {
            return Err(at);
        }
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let (value, len) = match bytes.get(at + 1) {
            Some(b'r') => (b'\r', 2),
            Some(b'n') => (b'\n', 2),
            Some(b'\\') => (b'\\', 2),
            Some(b'x') => {
                let digits = text.get(at + 2..at + 4).filter(|digits| !digits.starts_with('+')).ok_or(at)?;
                (u8::from_str_radix(digits, 16).map_err(|_| at)?, 4)
            }
            _ => return Err(at),
        };
        out.push(value);
        at += len;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), Ok(all.clone()));
        let recording = Recording::new(vec![
            Arrival { time_us: 7, connection: 1, request: all },
            Arrival { time_us: 3, connection: 0, request: b" get x\r\n".to_vec() },
        ]);
        assert_eq!(recording.arrivals[0].time_us, 3);
        assert_eq!(Recording::parse(&recording.to_text()).unwrap(), recording);
        assert_eq!(recording.connections(), 2);
    }

    #[test]
    fn what_is_malformed_is_refused_by_line() {
        for (text, line) in [
            ("", 1),
            ("# nom arrivals 2\n", 1),
            ("# nom arrivals 1\n\nx 0 get", 3),
            ("# nom arrivals 1\n1 0", 2),
            ("# nom arrivals 1\n5 0 a\n4 0 a", 3),
            ("# nom arrivals 1\n5 99999999 a", 2),
            ("# nom arrivals 1\n5 0 a\\q", 2),
            ("# nom arrivals 1\n5 0 a\\x4", 2),
            ("# nom arrivals 1\n5 0 a\\x+4", 2),
            ("# nom arrivals 1\n5 0 a\\xé", 2),
        ] {
            let Err(LoadError::Recording { line: at, .. }) = Recording::parse(text) else {
                panic!("accepted {text:?}");
            };
            assert_eq!(at, line, "{text:?}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_recording() {
        let draw =
            |seed| Recording::draw(&Mix::default(), Pace::Poisson { per_s: 1e4 }, 3, seed, 50_000).to_text();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
