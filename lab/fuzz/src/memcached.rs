//! The same stories to us and to a real memcached over loopback: the answers must be the same bytes, and so must what
//! both have counted at the end.
//!
//! A story is a few hundred random lines of every text and meta command, right and wrong, some with a byte changed.
//! Ours reads it cut at random places and answers into little room; memcached reads what loopback brings. Each story
//! has a fresh memcached, so the numbers of items are comparable. Where the two differ on purpose is a table in
//! docs/memcached.md, and no story asks for it.

use crate::random::Random;
use nom_kv::Config;
use nom_kv::script;
use nom_kv::script::lines;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Lines of a story.
const LINES: usize = 300;
/// How long a memcached may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a story is tried without some of its lines.
const SHORTENINGS: usize = 400;

/// Ours says so before it closes.
const LINE_TOO_LONG: &[u8] = b"CLIENT_ERROR line too long\r\n";
/// What both count the same way.
const COUNTED: &[&str] = &[
    "cmd_get",
    "cmd_set",
    "cmd_touch",
    "cmd_meta",
    "get_hits",
    "get_misses",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "evictions",
];

/// Where the answers part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The story's seed.
    pub seed: u64,
    /// Its lines, as few of them as still show it.
    pub lines: Vec<Vec<u8>>,
    /// Both answers around the first different byte.
    pub what: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Stories told.
    pub stories: u64,
    /// Equal bytes of answers.
    pub bytes: u64,
    /// The run ends with the first one.
    pub difference: Option<Difference>,
}

/// Memcached is not installed or does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent;

/// Tells stories with seeds from this one on, until the time is over or so many were told.
pub fn run(seed: u64, time: Duration, stories_max: u64) -> Result<Outcome, Absent> {
    let started = Instant::now();
    let mut outcome = Outcome { stories: 0, bytes: 0, difference: None };
    while outcome.stories < stories_max && started.elapsed() < time {
        let seed = seed.wrapping_add(outcome.stories);
        let lines = story(seed);
        match told(seed, &lines)? {
            Ok(bytes) => outcome.bytes += bytes as u64,
            Err(what) => {
                let (lines, what) = shorten(seed, lines, what)?;
                outcome.difference = Some(Difference { seed, lines, what });
                break;
            }
        }
        outcome.stories += 1;
    }
    Ok(outcome)
}

/// The lines of a seed; those that carry data carry it with them.
fn story(seed: u64) -> Vec<Vec<u8>> {
    let mut random = lines::Random::new(seed);
    let mut told = Vec::new();
    let mut len = 0;
    for _ in 0..LINES {
        let line = lines::any(&mut random, len);
        if is_flush_later(&line) {
            continue;
        }
        len += line.len();
        told.push(line);
    }
    told
}

/// What a changed byte can make of an order to flush. Memcached then also loses what is stored later within that second.
fn is_flush_later(line: &[u8]) -> bool {
    let mut parts = line.split(|&byte| byte == b'\n').filter_map(|part| part.strip_prefix(b"flush_all "));
    parts.any(|rest| {
        let digits = rest.trim_ascii_start();
        digits.iter().take_while(|byte| byte.is_ascii_digit()).any(|&digit| digit != b'0')
    })
}

/// Tells both. How many bytes were equal, or where they part.
fn told(seed: u64, lines: &[Vec<u8>]) -> Result<Result<usize, String>, Absent> {
    let memcached = Memcached::start()?;
    // What ends every state that a changed byte may have left: an end of line, and of data that never came.
    let mut input = lines.concat();
    input.extend_from_slice(b"\r\nmn\r\nstats\r\nquit\r\n");
    let theirs = memcached.ask(&input);
    let ours = ask_ours(seed, &input);
    let ((ours, our_counts), (theirs, their_counts)) = (parted(&ours), parted(&theirs));
    // Whether a line is too long depends in memcached on how much of it comes at once. It closes without a word then,
    // and what it answered before may be lost with that.
    if let Some(before) = ours.strip_suffix(LINE_TOO_LONG)
        && (before.starts_with(theirs) || theirs.starts_with(before))
    {
        return Ok(Ok(theirs.len().min(before.len())));
    }
    // When the last lines went for the data of one before, memcached sees the end within it and closes with answers
    // that it had not sent.
    let is_cut = our_counts.iter().chain(&their_counts).all(Option::is_none);
    if is_cut && ours.starts_with(theirs) {
        return Ok(Ok(theirs.len()));
    }
    if ours != theirs {
        let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let around = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(60)..bytes.len().min(at + 80)]).into_owned()
        };
        return Ok(Err(format!("byte {at}\nours   {:?}\ntheirs {:?}", around(ours), around(theirs))));
    }
    for (name, (ours, theirs)) in COUNTED.iter().zip(our_counts.iter().zip(&their_counts)) {
        if ours != theirs {
            return Ok(Err(format!("stats: {name} is {ours:?}, theirs {theirs:?}")));
        }
    }
    Ok(Ok(ours.len()))
}

/// The answers without the final report, and what that says.
fn parted(answers: &[u8]) -> (&[u8], Vec<Option<u64>>) {
    const BEGINNING: &[u8] = b"STAT pid ";
    let place = answers.windows(BEGINNING.len()).rposition(|window| window == BEGINNING);
    let (answers, report) = answers.split_at(place.unwrap_or(answers.len()));
    let report = String::from_utf8_lossy(report);
    let count = |name: &&str| {
        let line = report
            .lines()
            .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(*name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    };
    (answers, COUNTED.iter().map(count).collect())
}

/// Leaves lines out, many at first, as long as the answers still differ.
fn shorten(seed: u64, mut lines: Vec<Vec<u8>>, mut what: String) -> Result<(Vec<Vec<u8>>, String), Absent> {
    let mut piece = lines.len() / 2;
    let mut tried = 0;
    while piece > 0 {
        let mut at = 0;
        while at < lines.len() && tried < SHORTENINGS {
            let mut fewer = lines.clone();
            fewer.drain(at..(at + piece).min(lines.len()));
            tried += 1;
            match told(seed, &fewer)? {
                Ok(_) => at += piece,
                Err(still) => (lines, what) = (fewer, still),
            }
        }
        piece /= 2;
    }
    Ok((lines, what))
}

fn ask_ours(seed: u64, input: &[u8]) -> Vec<u8> {
    let mut random = Random::new(seed);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let config =
        Config { start_unix_ns: unix.as_nanos() as u64, ..Config::new(64 << 20, [3; 16], 5_000_000_000) };
    let mut script = script::open(config, 2_048 + random.below(8_000) as usize);
    let mut rest = input;
    while !rest.is_empty() {
        let most = [40, 400, 4_000, 100_000][random.below(4) as usize];
        let (part, after) = rest.split_at((1 + random.below(most) as usize).min(rest.len()));
        script.send(part);
        script.settle();
        rest = after;
    }
    // Ours says whose it is behind the version that it follows.
    let answers = script.finish().0;
    let name = concat!("-nom-", env!("CARGO_PKG_VERSION")).as_bytes();
    let mut said = Vec::with_capacity(answers.len());
    let mut rest = &answers[..];
    while let Some((first, after)) = rest.split_first() {
        rest = rest.strip_prefix(name).unwrap_or_else(|| {
            said.push(*first);
            after
        });
    }
    said
}

/// Ends with its value.
struct Memcached {
    child: Child,
    port: u16,
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Memcached {
    fn start() -> Result<Self, Absent> {
        // A port that was free a moment ago; another try when somebody was quicker.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = free.map_err(|_| Absent)?.port();
            let child = Command::new("memcached")
                .args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-t", "1"])
                // Its helpers hold items now and then, which shows in the answers.
                .args(["-o", "no_lru_crawler,no_lru_maintainer", "-p", &port.to_string()])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|_| Absent)?;
            let mut memcached = Self { child, port };
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline && matches!(memcached.child.try_wait(), Ok(None)) {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Ok(memcached);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Err(Absent)
    }

    /// Sends everything from one thread while another reads until the server closes.
    fn ask(&self, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return output };
        let Ok(mut writer) = stream.try_clone() else { return output };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        std::thread::scope(|scope| {
            // It may have closed after an error; what it answered until then is compared, however the end came.
            scope.spawn(move || {
                let _ = writer.write_all(input);
                let _ = writer.shutdown(std::net::Shutdown::Write);
            });
            let _ = stream.read_to_end(&mut output);
        });
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice of what `nom fuzz memcached` does for as long as one likes.
    #[test]
    fn the_same_answers_and_counts_as_memcached() {
        let Ok(outcome) = run(1, Duration::MAX, 120) else {
            println!("SKIPPED: memcached is not installed or does not start; install the package memcached");
            return;
        };
        if let Some(Difference { seed, lines, what }) = outcome.difference {
            let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
            panic!("seed {seed}: {what}\n{lines:#?}");
        }
        assert_eq!(outcome.stories, 120);
        assert!(outcome.bytes > 500_000, "only {} bytes of answers", outcome.bytes);
    }
}
