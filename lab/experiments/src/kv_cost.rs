//! What a GET costs: instructions from the device's ring to the device's ring, stack and cache together, for a key of
//! 32 bytes and a value of 100.
//!
//! Beside it memcached: all instructions that its process executes in user space for a GET of the same length, one
//! connection, one request at a time; the difference of two run lengths, so that start and end fall out. Its TCP runs
//! in the kernel and is not in its figure; ours is in ours.

use crate::Settings;
use crate::figures::Figure;
use crate::instructions::{Counter, Play, collected};
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BATCH: usize = 32;
/// The peer, and its Debian package.
const PEER: &str = "memcached";
/// GETs of the two runs against the peer.
const SHORT: u32 = 1_000;
const LONG: u32 = 6_000;
/// Files that the peer may have open, and the system's bound above that.
const PEER_FILES: u32 = 64;
const PEER_FILES_MAX: u32 = 4096;
/// How long the peer may take to listen, to answer and to end: it runs under the counter.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "a-key-of-32-bytes-for-the-count!";
const VALUE_LEN: usize = 100;

/// Counts.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counter = Counter::new(progress)?;
    let single = counter.per_request(Play::new("kv", 64, 1), progress)?;
    let batched = counter.per_request(Play::new("kv", 64, BATCH), progress)?;
    let peer = packages::ensure(PEER, PEER, progress)?;
    let short = peer_instructions(&counter.valgrind, &peer, SHORT)?;
    let long = peer_instructions(&counter.valgrind, &peer, LONG)?;
    let theirs = (long - short) / f64::from(LONG - SHORT);
    progress(&format!("{PEER}: {theirs:.0} instructions a GET in user space, without its TCP"));
    let plain = |name, value, goal| Figure::of(name, "", goal, &[value]);
    let figures = [
        plain("kv.instructions_batched", batched, Some("<=2000")),
        plain("kv.instructions_single", single, Some("<=3000")),
        plain("kv.instructions_memcached_user", theirs, None).map(|figure| figure.against(PEER)),
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// A process that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All instructions of a peer's life in which it answers this many GETs.
fn peer_instructions(valgrind: &Path, peer: &Path, gets: u32) -> Outcome<f64> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context(|| "no free port".into())?
        .port();
    // memcached sets the bound of its files to its connections, and valgrind forbids any other than the present one.
    let bound = packages::find("prlimit").ok_or_else(|| Trouble::new("prlimit (util-linux) is missing"))?;
    let mut command = dying_with_us(&bound);
    command
        .arg(format!("--nofile={PEER_FILES}:{PEER_FILES_MAX}"))
        .arg(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--vgdb=no"])
        .arg(peer)
        .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-u", "nobody", "-p", &port.to_string()])
        .args(["-c", &PEER_FILES.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut running = Running(command.spawn().context(|| "cannot start valgrind".into())?);
    let asked = ask(port, gets);
    // memcached ends in order at SIGTERM, and callgrind then says its count.
    let _ = Command::new("kill").args(["-s", "TERM", &running.0.id().to_string()]).status();
    let words = running.0.stderr.take().map(BufReader::new);
    let deadline = Instant::now() + PATIENCE;
    while running.0.try_wait().context(|| "cannot wait for valgrind".into())?.is_none() {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("{PEER} did not end")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    asked?;
    let words: Vec<String> =
        words.into_iter().flat_map(|words| words.lines().map_while(Result::ok)).collect();
    collected(&words.join("\n")).ok_or_else(|| Trouble::new(format!("callgrind said no count for {PEER}")))
}

fn ask(port: u16, gets: u32) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(Trouble::new(format!("{PEER} does not listen: {error}"))),
        }
    };
    let failed = || format!("{PEER} does not answer");
    stream.set_nodelay(true).context(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).context(failed)?;
    let mut reader = BufReader::new(stream.try_clone().context(failed)?);
    let mut writer = stream;
    let mut line = String::new();
    let value = "v".repeat(VALUE_LEN);
    writer.write_all(format!("set {KEY} 0 0 {VALUE_LEN}\r\n{value}\r\n").as_bytes()).context(failed)?;
    reader.read_line(&mut line).context(failed)?;
    for _ in 0..gets {
        writer.write_all(format!("get {KEY}\r\n").as_bytes()).context(failed)?;
        while {
            line.clear();
            reader.read_line(&mut line).context(failed)? > 0
        } && line != "END\r\n"
        {}
        if line.is_empty() {
            return Err(Trouble::new(failed()));
        }
    }
    Ok(())
}
