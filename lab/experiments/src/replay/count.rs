//! What the client counts: operations, read from the answers alone.
//!
//! Answers tell their own length, so they are read without knowing what was asked. Only operations that asked for
//! silence are counted from the requests: the client knows that it sent them.

use nom_load::Recording;
use nom_load::recording::{Answers, escape};
use nom_machine::trouble::{Outcome, Trouble};

/// Operations by the client's count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Accepted.
    pub accepted: u64,
    /// Refused by an error line.
    pub refused: u64,
}

/// Answers that end an accepted operation, without their line ends.
const ACCEPTED: &[&[u8]] =
    &[b"END", b"STORED", b"NOT_STORED", b"EXISTS", b"DELETED", b"NOT_FOUND", b"TOUCHED", b"OK"];

/// Counts a replay.
pub fn count(recording: &Recording, answers: &Answers) -> Outcome<Counted> {
    let mut counted = Counted::default();
    let mut requests = vec![Vec::new(); recording.connections() as usize];
    for arrival in &recording.arrivals {
        requests[arrival.connection as usize].extend_from_slice(&arrival.request);
    }
    for (name, answered) in &answers.connections {
        let connection = connection(&answered.bytes)
            .map_err(|what| Trouble::new(format!("the answers of connection {name}: {what}")))?;
        counted.accepted += connection.accepted;
        counted.refused += connection.refused;
    }
    counted.accepted += requests.iter().map(|bytes| silent(bytes)).sum::<u64>();
    Ok(counted)
}

fn connection(bytes: &[u8]) -> Result<Counted, String> {
    let mut counted = Counted::default();
    let mut rest = bytes;
    while let Some((line, behind)) = split_line(rest) {
        rest = behind;
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if word == b"VALUE" {
            let len = data_len(line, 3).ok_or_else(|| format!("a value without length: {}", escape(line)))?;
            rest = rest.get(len + 2..).ok_or("a value is cut off")?;
        } else if ACCEPTED.contains(&word) || (!word.is_empty() && word.iter().all(u8::is_ascii_digit)) {
            counted.accepted += 1;
        } else if [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR"].contains(&word) {
            counted.refused += 1;
        } else if word != b"VERSION" {
            return Err(format!("the client does not know the answer \"{}\"", escape(line)));
        }
    }
    if rest.is_empty() { Ok(counted) } else { Err("the last line is cut off".into()) }
}

/// Commands that are followed by data.
const STORES: &[&[u8]] = &[b"set", b"add", b"replace", b"append", b"prepend", b"cas"];
/// Other commands that may ask for silence behind their key.
const QUIET: &[&[u8]] = &[b"delete", b"incr", b"decr", b"touch"];

/// Longest data that the protocol can announce.
const LEN_MAX: usize = i32::MAX as usize;

/// Operations among requests that asked for no answer. A recording that lets them fail counts them wrongly: an error
/// that is not said is known to nobody.
fn silent(requests: &[u8]) -> u64 {
    let (mut rest, mut count) = (requests, 0);
    while let Some((line, behind)) = split_line(rest) {
        rest = behind;
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        let command = words.first().copied().unwrap_or_default();
        let stores = STORES.contains(&command);
        let mut whole = true;
        // A line whose numbers are wrong is refused without its data.
        let good = data_len(line, 2).is_some() && data_len(line, 4).is_some_and(|len| len <= LEN_MAX);
        if stores
            && good
            && let Some(len) = data_len(line, 4)
        {
            whole = rest.len() >= len + 2;
            rest = rest.get(len + 2..).unwrap_or_default();
        }
        let asks = words.len() > 2 && words.last() == Some(&&b"noreply"[..]);
        count += u64::from(whole && asks && (stores || QUIET.contains(&command)));
    }
    count
}

/// The number in this word of a line.
fn data_len(line: &[u8], word: usize) -> Option<usize> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    std::str::from_utf8(words.nth(word)?).ok()?.parse().ok()
}

/// A line without its end, and what is behind it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_whatever_values_contain() {
        let bytes = b"VALUE k 0 12\r\nEND\r\nERROR\r\n\r\nVALUE l 0 0\r\n\r\nEND\r\nSTORED\r\nERROR\r\n\
                      VERSION 1\r\nCLIENT_ERROR x y\r\nNOT_FOUND\r\n7\r\n";
        assert_eq!(connection(bytes), Ok(Counted { accepted: 4, refused: 2 }));
        assert!(connection(b"END").unwrap_err().contains("cut off"));
        assert!(connection(b"VALUE k 0 9\r\nabc\r\n").unwrap_err().contains("cut off"));
        assert!(connection(b"STAT pid 1\r\n").unwrap_err().contains("STAT pid 1"));
    }

    #[test]
    fn silent_operations_are_counted_where_they_are_requests() {
        let requests = b"set a 0 0 9 noreply\r\n noreply\n\r\ndelete b noreply\r\nset c 0 0 2\r\nxx\r\nget noreply\r\n\
                         set e -1 0 9\r\nset f 0 0 99999999999\r\ndelete g 0 noreply\r\nset d 0 0 9 noreply\r\ncut";
        // `get noreply` asks for a key of that name and is answered.
        assert_eq!(silent(requests), 3);
    }
}
