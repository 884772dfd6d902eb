//! What 64 MiB are good for: how many items they hold, and how many requests find theirs, ours and memcached's driven
//! by the same bytes.
//!
//! A client that fills the cache itself: it asks for a batch of keys in one write and stores what it missed in the
//! next. Sizes hang on the key, so both sides store the same. Half of a trace warms up, the other half counts. Our side
//! has no network and no clock: the same program gives the same figures. memcached moves items in the background, so
//! its figures differ a little from run to run.
//!
//! - *Zipf*: keys by popularity with exponent 0.99, three times as many as fit.
//! - *Scan*: the same, but three of ten requests are for keys that never come again, in runs of a thousand.

use crate::Settings;
use crate::figures::Figure;
use nom_kv::script::{self, Script};
use nom_load::random::Random;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str =
    "64 MiB hold as many items as memcached's and find as many on Zipf and scan-mixed traces";

const MEMORY_MIB: usize = 64;
/// The peer, and its Debian package.
const PEER: &str = "memcached";
/// How long the peer may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of a trace.
const REQUESTS: usize = 2_000_000;
/// Keys asked for in one write.
const BATCH: usize = 64;
/// Keys that are popular in the order of their numbers.
const KEYS: u64 = 1_000_000;
const EXPONENT: f64 = 0.99;
/// Requests of a scan.
const SCAN_LEN: usize = 1_000;
/// Share of scanned requests.
const SCAN_SHARE: f64 = 0.3;
/// Items offered to see how many are held.
const OFFERED: u64 = 700_000;

/// Somebody who speaks the text protocol.
trait Cache {
    /// Sends bytes and returns all that is answered up to and with `last`.
    fn ask(&mut self, bytes: &[u8], last: &str) -> Outcome<Vec<u8>>;
}

impl Cache for Script {
    fn ask(&mut self, bytes: &[u8], _last: &str) -> Outcome<Vec<u8>> {
        self.send(bytes);
        self.settle();
        Ok(std::mem::take(&mut self.output))
    }
}

/// Debian's memcached, gone with this.
struct Peer {
    child: Child,
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cache for Peer {
    fn ask(&mut self, bytes: &[u8], last: &str) -> Outcome<Vec<u8>> {
        let failed = || format!("{PEER} does not answer");
        self.writer.write_all(bytes).context(failed)?;
        let mut answer = Vec::new();
        loop {
            let start = answer.len();
            if self.reader.read_until(b'\n', &mut answer).context(failed)? == 0 {
                return Err(Trouble::new(failed()));
            }
            if answer[start..] == *last.as_bytes() {
                return Ok(answer);
            }
        }
    }
}

impl Peer {
    fn start(progress: &mut dyn FnMut(&str)) -> Outcome<Self> {
        let program = packages::ensure(PEER, PEER, progress)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context(|| "no free port".into())?
            .port();
        let mut child = dying_with_us(&program)
            .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-u", "nobody", "-p", &port.to_string()])
            .args(["-m", &MEMORY_MIB.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context(|| format!("cannot start {PEER}"))?;
        let deadline = Instant::now() + PATIENCE;
        let failed = || format!("{PEER} does not listen");
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(writer) => {
                    writer.set_nodelay(true).context(failed)?;
                    writer.set_read_timeout(Some(PATIENCE)).context(failed)?;
                    let reader = BufReader::with_capacity(1 << 16, writer.try_clone().context(failed)?);
                    return Ok(Self { child, reader, writer });
                }
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Trouble::new(format!("{}: {error}", failed())));
                }
            }
        }
    }
}

/// Ours, with the same limits: memcached does not count its index either.
fn ours() -> Script {
    script::open(nom_kv::Config::new(MEMORY_MIB << 20, [7; 16], 0), usize::MAX)
}

/// The keys of a trace, one after the other.
struct Trace {
    random: Random,
    /// Up to which share of requests each popular key comes.
    shares: Vec<f64>,
    scan_share: f64,
    scan_left: usize,
    scanned: u64,
}

impl Trace {
    fn new(scan_share: f64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=KEYS)
            .map(|rank| {
                sum += (rank as f64).powf(-EXPONENT);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self { random: Random::new(11), shares, scan_share, scan_left: 0, scanned: 0 }
    }

    fn next(&mut self) -> u64 {
        if self.scan_left == 0 {
            // One run of a scan for so many other requests that its share comes out.
            let others = SCAN_LEN as f64 * (1.0 - self.scan_share) / self.scan_share;
            if self.scan_share > 0.0 && self.random.chance(1.0 / others) {
                self.scan_left = SCAN_LEN;
            }
        }
        if self.scan_left > 0 {
            self.scan_left -= 1;
            self.scanned += 1;
            return KEYS + self.scanned;
        }
        let share = self.random.unit();
        self.shares.partition_point(|up_to| *up_to < share) as u64
    }
}

/// Bytes of a key's value, from 60 to 339.
fn value_len(key: u64) -> usize {
    60 + (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % 280
}

fn set(out: &mut String, key: u64) {
    let len = value_len(key);
    let _ = write!(out, "set key:{key:012} 0 0 {len} noreply\r\n{:v>len$}\r\n", "");
}

/// Which of the keys are not answered.
fn missed(keys: &BTreeSet<u64>, answer: &[u8]) -> Outcome<BTreeSet<u64>> {
    let mut missed = keys.clone();
    for line in answer.split(|byte| *byte == b'\n') {
        let Some(rest) = line.strip_prefix(b"HD kkey:") else { continue };
        let key = std::str::from_utf8(rest).ok().and_then(|text| text.trim().parse().ok());
        let known = key.is_some_and(|key: u64| missed.remove(&key));
        if !known {
            return Err(Trouble::new("a key was answered that nobody asked for"));
        }
    }
    Ok(missed)
}

/// Plays a trace; the hit ratio of its second half.
fn hit_ratio(cache: &mut impl Cache, mut trace: Trace) -> Outcome<f64> {
    let (mut hits, mut asked) = (0u64, 0u64);
    let mut out = String::new();
    for batch in 0..REQUESTS / BATCH {
        // A key that comes twice in a batch is asked for twice, and hit or missed twice.
        let keys: Vec<u64> = (0..BATCH).map(|_| trace.next()).collect();
        let distinct: BTreeSet<u64> = keys.iter().copied().collect();
        out.clear();
        for key in &distinct {
            let _ = write!(out, "mg key:{key:012} k q\r\n");
        }
        out.push_str("mn\r\n");
        let missed = missed(&distinct, &cache.ask(out.as_bytes(), "MN\r\n")?)?;
        out.clear();
        for key in &missed {
            set(&mut out, *key);
        }
        out.push_str("mn\r\n");
        cache.ask(out.as_bytes(), "MN\r\n")?;
        if batch >= REQUESTS / BATCH / 2 {
            asked += keys.len() as u64;
            hits += keys.iter().filter(|key| !missed.contains(key)).count() as u64;
        }
    }
    Ok(hits as f64 / asked as f64)
}

/// Offers more items than fit; how many are there in the end.
fn items(cache: &mut impl Cache) -> Outcome<f64> {
    let mut out = String::new();
    for first in (0..OFFERED).step_by(BATCH) {
        out.clear();
        (first..first + BATCH as u64).for_each(|key| set(&mut out, key));
        out.push_str("mn\r\n");
        cache.ask(out.as_bytes(), "MN\r\n")?;
    }
    let answer = cache.ask(b"stats\r\n", "END\r\n")?;
    let text = String::from_utf8_lossy(&answer);
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name))?;
        line.trim().parse::<f64>().ok()
    };
    match (number("curr_items "), number("evictions ")) {
        (Some(items), Some(evicted)) if evicted > 0.0 => Ok(items),
        _ => Err(Trouble::new("the memory was not filled")),
    }
}

/// Measures.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut note = |name: &str, ours: f64, theirs: f64, progress: &mut dyn FnMut(&str)| {
        progress(&format!("{name}: ours {ours:.4}, {PEER} {theirs:.4}"));
        let ratio = Figure::of(&format!("kv.{name}_ratio"), "x", Some(">=1"), &[ours / theirs]);
        figures.extend(ratio.map(|figure| figure.against(PEER)));
        if name != "items" {
            figures.extend(Figure::of(&format!("kv.{name}"), "", None, &[ours]));
            let theirs = Figure::of(&format!("kv.{name}_memcached"), "", None, &[theirs]);
            figures.extend(theirs.map(|figure| figure.against(PEER)));
        }
    };
    let (held, theirs) = (items(&mut ours())?, items(&mut Peer::start(progress)?)?);
    note("items", held, theirs, progress);
    for (name, scan_share) in [("hit_ratio_zipf", 0.0), ("hit_ratio_scan", SCAN_SHARE)] {
        let ours = hit_ratio(&mut ours(), Trace::new(scan_share))?;
        let theirs = hit_ratio(&mut Peer::start(progress)?, Trace::new(scan_share))?;
        note(name, ours, theirs, progress);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_their_shares() {
        let mut trace = Trace::new(SCAN_SHARE);
        let scanned = (0..200_000).filter(|_| trace.next() > KEYS).count();
        assert!((50_000..70_000).contains(&scanned), "{scanned}");
        let mut trace = Trace::new(0.0);
        let first = (0..100_000).filter(|_| trace.next() == 0).count();
        assert!(
            (6_000..8_000).contains(&first),
            "the most popular of a million has one request in 15: {first}"
        );
    }

    #[test]
    fn what_is_missed_is_what_was_not_answered() {
        let keys = BTreeSet::from([1, 2, 3]);
        let answer = b"HD kkey:000000000002\r\nMN\r\n";
        assert_eq!(missed(&keys, answer).unwrap(), BTreeSet::from([1, 3]));
        assert!(missed(&keys, b"HD kkey:000000000009\r\n").is_err());
    }
}
