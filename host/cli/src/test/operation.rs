//! What a person does with a service that runs: orders, figures for collectors, the ledger's file, prices that are
//! played. Each is typed as a person types it, and what it says is compared with what a client did.

use super::client::{Client, converse};
use super::guest::free_port;
use super::services::{END, ended_well, number};
use super::started::{Ended, Started, command, ourselves};
use super::{Cases, Verdict};
use nom_feeds::Schedule;
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The homes that are tried.
const HOMES: &[(&str, &[&str])] = &[("guest", &["--on", "guest"]), ("linux", &["--on", "linux"])];
/// A value so large, asked for so often, that no buffer on the way holds the answers.
const LARGE: usize = 1_000_000;
const LARGE_GETS: usize = 40;
/// Lines that are echoed, each after the one before it.
const ECHOES: u64 = 20;
/// The parser of those who made the format: a line for each sample.
const PARSE: &str = "\
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(sample.name, sorted(sample.labels.items()), float(sample.value))
";

/// All of it.
pub fn operation(cases: &mut Cases) -> Outcome<()> {
    for (home, arguments) in HOMES {
        let verdict = operated(arguments, *home == "linux").map(|page| {
            cases.note(&format!("{home}: prometheus reads the figures"), prometheus(&page));
        });
        cases.note(&format!("{home}: orders, readiness, drain and the ledger's file"), verdict);
    }
    for (home, arguments) in HOMES {
        let verdict = echoed(arguments, *home == "linux");
        cases.note(&format!("{home}: echo's orders, figures, drain and ledger"), verdict);
    }
    cases.note("linux: a process that nobody here runs is attached to", super::attached::attached());
    cases.note("prices are shown, played and written down", prices());
    Ok(())
}

/// A service from its start to its ledger. The page of figures, with what it must say.
fn operated(arguments: &[&str], has_file: bool) -> Outcome<(String, u64)> {
    let scratch = Scratch::new()?;
    let file = scratch.file("windows").to_string_lossy().into_owned();
    let metrics = free_port()?;
    let shown = metrics.to_string();
    // A drain that somebody keeps from ending lasts long enough to be seen.
    let more = ["--rate", "0", "--ledger", &file, "--metrics", &shown, "--set", "drain.limit=12 s"];
    let mut started = Started::new(free_port()?, &[arguments, &more].concat())?;
    let port = started.port.to_string();
    let accepted = converse(started.port)?;
    orders(&port, has_file)?;
    let page = counted(metrics, accepted)?;
    let page = (page, accepted);
    let least = accepted + drained(&mut started, metrics)?.accepted;
    ended_well(&mut started)?;
    // Whoever left was owed answers, and not all of his questions may have been looked at.
    let counted = number(&started, "others_accepted")?;
    if !(least as i128..least as i128 + LARGE_GETS as i128).contains(&counted) {
        return Err(Trouble::new(format!("at least {least} operations were done, the ledger has {counted}")));
    }
    kept(&scratch, &file, counted as u64)?;
    Ok(page)
}

/// The smallest application is operated like any other.
fn echoed(arguments: &[&str], has_file: bool) -> Outcome<()> {
    let scratch = Scratch::new()?;
    let file = scratch.file("windows").to_string_lossy().into_owned();
    let metrics = free_port()?;
    let shown = metrics.to_string();
    let more = ["--ledger", &file, "--metrics", &shown];
    let mut started = Started::new(free_port()?, &[&["echo"], arguments, &more].concat())?;
    let mut client = Client::connect(started.port)?;
    for number in 0..ECHOES {
        let line = format!("this is line {number}\n");
        client.ask(line.as_bytes(), line.as_bytes(), 1)?;
    }
    orders(&started.port.to_string(), has_file)?;
    counted(metrics, ECHOES)?;
    started.signal("TERM")?;
    client.expect_close()?;
    ended_well(&mut started)?;
    let counted = number(&started, "others_accepted")?;
    if counted != i128::from(ECHOES) {
        return Err(Trouble::new(format!("{ECHOES} lines were echoed, the ledger has {counted}")));
    }
    kept(&scratch, &file, ECHOES)
}

/// A command of ours must end like this, and say this.
pub fn told(words: &[&str], code: i32, said: &str) -> Outcome<Ended> {
    let ended = command(words, |_| {})?;
    let heard = if code == 0 { &ended.out } else { &ended.words };
    if ended.code != Some(code) || !heard.contains(said) || ended.words.contains("panicked") {
        return Err(Trouble::new(format!(
            "nom {} ended with {:?}, {:?} and {:?}; {code} and {said:?} are right",
            words.join(" "),
            ended.code,
            ended.out,
            ended.words
        )));
    }
    if code != 0 && ended.words.lines().count() != 1 {
        return Err(Trouble::new(format!(
            "nom {} said more than one line: {}",
            words.join(" "),
            ended.words
        )));
    }
    Ok(ended)
}

/// Freezing and thawing, keys that change, keys that are wrong, and the configuration read again.
pub fn orders(port: &str, has_file: bool) -> Outcome<()> {
    told(&["freeze", port], 0, "frozen at wait=")?;
    told(&["freeze", port], 1, "it is frozen already")?;
    told(&["thaw", port], 0, "thawed: the tuner changes knobs again")?;
    told(&["thaw", port], 1, "it is not frozen")?;
    told(&["set", "tuner=off", port], 0, "tuner: on -> off")?;
    told(&["set", "batch=2 ms", port], 0, "-> 2 ms")?;
    let deadline = Instant::now() + END;
    while !setting(port)?.contains("batch=2ms") {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("batch is not 2 ms: {}", setting(port)?)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = setting(port)?;
    for (wrong, said) in [
        ("bacth=3 ms", "did you mean 'batch'?"),
        ("batch=soon", "batch"),
        ("value=1 EUR", "value"),
        ("utility=own", "refused, nothing has changed"),
    ] {
        told(&["set", wrong, port], 1, said)?;
    }
    told(&["set", "memory.send=2 MiB", port], 0, "nothing changes now; after a restart: ")?;
    if setting(port)? != before {
        return Err(Trouble::new(format!("what was refused has changed {before} to {}", setting(port)?)));
    }
    match has_file {
        // The file still says what it said at the start.
        true => told(&["reload", port], 0, "tuner: off -> on")?,
        false => told(&["reload", port], 1, "there is no file to read again here")?,
    };
    Ok(())
}

fn setting(port: &str) -> Outcome<String> {
    let ended = told(&["top", port, "--once", "--json"], 0, "service")?;
    let all: Value = serde_json::from_str(&ended.out).context(|| ended.out.clone())?;
    Ok(all["service"]["setting"].as_str().unwrap_or_default().into())
}

/// The status and the body at a path of the figures' port.
fn get(port: u16, path: &str) -> Outcome<(u16, String)> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context(|| "the figures' port".into())?;
    stream.set_read_timeout(Some(END)).context(|| "cannot bound the waiting".into())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).context(|| "asking for figures".into())?;
    let mut said = String::new();
    stream.read_to_string(&mut said).context(|| "reading figures".into())?;
    let status = said.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = said.split_once("\r\n\r\n").unwrap_or_default();
    status.map(|status| (status, body.into())).ok_or_else(|| Trouble::new(format!("{path}: {said:?}")))
}

/// It is well and ready, and in time its figures are what the client did. The page.
fn counted(metrics: u16, accepted: u64) -> Outcome<String> {
    for path in ["/health", "/ready"] {
        let (status, body) = get(metrics, path)?;
        if status != 200 {
            return Err(Trouble::new(format!("{path} is {status}: {body}")));
        }
    }
    let line = format!("nom_operations_total{{outcome=\"accepted\"}} {accepted}");
    let deadline = Instant::now() + END;
    loop {
        let (_, page) = get(metrics, "/metrics")?;
        if page.lines().any(|shown| shown == line) {
            return Ok(page);
        }
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("the figures never said {line:?}: {page}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn prometheus((page, accepted): &(String, u64)) -> Verdict {
    let has = |python: &&str| {
        let import = ["-c", "import prometheus_client.openmetrics.parser"];
        Command::new(python).args(import).output().is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has) else {
        return Verdict::Skipped("no prometheus_client (Debian: python3-prometheus-client)".into());
    };
    let read = || -> Outcome<()> {
        let mut command = Command::new(python);
        command.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut parser = command.spawn().context(|| python.into())?;
        let mut input = parser.stdin.take().expect("stdin is a pipe");
        input.write_all(page.as_bytes()).context(|| "the parser's input".into())?;
        drop(input);
        let output = parser.wait_with_output().context(|| python.into())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for expected in [
            format!("nom_operations_total [('outcome', 'accepted')] {accepted}.0"),
            format!("nom_latency_seconds_count [] {accepted}.0"),
            "nom_ready [] 1.0".into(),
        ] {
            if !output.status.success() || !said.lines().any(|line| line == expected) {
                let words = String::from_utf8_lossy(&output.stderr);
                return Err(Trouble::new(format!("{expected} is missing: {said}{words}")));
            }
        }
        Ok(())
    };
    read().into()
}

/// Somebody is owed answers and does not read them: the service drains, says so, and waits for him until he leaves.
pub fn drained(started: &mut Started, metrics: u16) -> Outcome<Client> {
    let mut client = Client::connect(started.port)?;
    let value = vec![b'v'; LARGE];
    let set = [format!("set owed 0 0 {LARGE}\r\n").as_bytes(), &value, b"\r\n"].concat();
    client.ask(&set, b"STORED\r\n", 1)?;
    client.send(&b"get owed\r\n".repeat(LARGE_GETS))?;
    // It has begun to answer.
    let answer = [format!("VALUE owed 0 {LARGE}\r\n").as_bytes(), &value, b"\r\nEND\r\n"].concat();
    client.expect(&answer)?;
    client.accepted += 1;
    started.signal("TERM")?;
    let deadline = Instant::now() + END;
    loop {
        match get(metrics, "/ready") {
            Ok((503, body)) if body.contains("it drains") => return Ok(client),
            Ok((200, _)) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            other => return Err(Trouble::new(format!("/ready is {other:?} while it drains"))),
        }
    }
}

/// The ledger's file in every form; cut off it is unsettled, changed it is damage.
fn kept(scratch: &Scratch, file: &str, accepted: u64) -> Outcome<()> {
    told(&["ledger", "verify", file], 0, "settled: the ledger was closed")?;
    let table = told(&["ledger", "csv", file], 0, "window,sealed,")?.out;
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = rows.next().and_then(|names| names.iter().position(|name| *name == "accepted"));
    let place = place.ok_or_else(|| Trouble::new("the table has no column accepted"))?;
    let sum: u64 = rows.filter_map(|row| row.get(place)?.parse::<u64>().ok()).sum();
    let lines = told(&["ledger", "json", file], 0, "\"accepted\":")?.out;
    let totals: Value = serde_json::from_str(lines.lines().last().unwrap_or_default())
        .context(|| "the last line of nom ledger json".into())?;
    let total = find(&totals, "accepted").and_then(Value::as_u64);
    if sum != accepted || total != Some(accepted) {
        return Err(Trouble::new(format!("{accepted} operations: the table has {sum}, the sums {total:?}")));
    }
    let whole = std::fs::read(file).context(|| file.into())?;
    let write = |name: &str, bytes: &[u8]| -> Outcome<String> {
        let path = scratch.file(name);
        std::fs::write(&path, bytes).context(|| name.into())?;
        Ok(path.to_string_lossy().into_owned())
    };
    // Without its closing line and the end of the last window: what a crash leaves.
    let end = whole.trim_ascii_end().iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let cut = write("cut", &whole[..end.saturating_sub(10)])?;
    told(&["ledger", "verify", &cut], 0, "UNSETTLED")?;
    told(&["ledger", "recover", &cut], 1, "--out FILE")?;
    told(&["ledger", "recover", &cut, "--out", &cut], 1, "evidence")?;
    let saved = scratch.file("saved").to_string_lossy().into_owned();
    told(&["ledger", "recover", &cut, "--out", &saved], 0, "UNSETTLED")?;
    told(&["ledger", "verify", &saved], 0, "UNSETTLED")?;
    let mut changed = whole.clone();
    let digit = changed.windows(11).position(|seen| seen == b"\"accepted\":").map_or(0, |at| at + 11);
    changed[digit] = if changed[digit] == b'9' { b'8' } else { changed[digit] + 1 };
    let changed = write("changed", &changed)?;
    for deed in ["verify", "csv", "json"] {
        told(&["ledger", deed, &changed], 1, "changed")?;
    }
    Ok(())
}

/// A key wherever it is.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let inner = || value.as_object()?.values().find_map(|inner| find(inner, key));
    value.get(key).or_else(inner)
}

/// A day of hours is shown a hundred times faster, played as fast as a test needs it, asked like any feed, and written down.
fn prices() -> Outcome<()> {
    let scratch = Scratch::new()?;
    let (day, copy) = (scratch.file("day.prices"), scratch.file("copy.prices"));
    let hours: String = (0..24)
        .map(|hour| format!("at {} s: core 0.{:02} $/core/h\n", hour * 3600, 10 + (hour * 7) % 24))
        .collect();
    std::fs::write(&day, &hours).context(|| "the day".into())?;
    let (day, copy) = (day.to_string_lossy().into_owned(), copy.to_string_lossy().into_owned());
    let shown = told(&["prices", "show", &day, "--speed", "100"], 0, "at 36s: core 0.17 $/core/h")?.out;
    if shown.lines().count() != 24 || !shown.contains("at 828s: ") {
        return Err(Trouble::new(format!("a day is not shown in 864 s: {shown}")));
    }
    let mut replay = dying_with_us(&ourselves()?)
        .args(["prices", "replay", &day, "--speed", "5000", "--seconds", "120"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context(|| "cannot start nom prices".into())?;
    let said = Serial::read(replay.stdout.take().expect("stdout is a pipe"));
    let recorded = recorded(&said, &copy);
    let _ = replay.kill();
    let _ = replay.wait();
    let recorded = recorded?;
    let schedule = Schedule::parse(&hours).context(|| "the day".into())?;
    let mut rest = (0..24).map(|hour| schedule.at(hour * 3_600_000_000_000).prices);
    // A machine that stalls misses hours that are over, but hears none twice and none out of order.
    if !recorded.iter().all(|prices| rest.any(|hour| hour == *prices)) {
        return Err(Trouble::new(format!("{recorded:?} is no part of the day {hours}")));
    }
    silent_feed(&scratch.file("silent.prices"))
}

/// Of a feed that takes connections and says nothing no file is left.
fn silent_feed(file: &Path) -> Outcome<()> {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "a silent feed".into())?;
    let port = silent.local_addr().context(|| "a silent feed".into())?.port();
    let (feed, out) = (format!("http://127.0.0.1:{port}/prices"), file.to_string_lossy());
    told(&["prices", "record", &feed, "--out", &out, "--seconds", "1"], 1, "no price came")?;
    match file.exists() {
        true => Err(Trouble::new(format!("a silent feed left {out} behind"))),
        false => Ok(()),
    }
}

/// What a feed says that a replay serves, written down and read again.
fn recorded(said: &Serial, copy: &str) -> Outcome<Vec<nom_money::Prices>> {
    let line = said.wait_for(END, |line| line.starts_with("prices on http://"));
    let line = line.ok_or_else(|| Trouble::new("nom prices replay does not say where"))?;
    let url = line.text.trim_start_matches("prices on ").split(';').next().unwrap_or_default().to_string();
    told(&["prices", "show", &url], 0, "now: core 0.")?;
    told(
        &["prices", "record", &url, "--out", copy, "--changes", "3", "--seconds", "60"],
        0,
        "at 0 ms: core 0.",
    )?;
    let shown = told(&["prices", "show", copy], 0, "core 0.")?.out;
    let schedule = Schedule::parse(&shown).context(|| "what was written down".into())?;
    let times = shown.lines().filter_map(|line| line.strip_prefix("at ")?.split_once(": "));
    let times: Vec<u64> = times.filter_map(|(at, _)| nom_money::parse_duration_ns(at).ok()).collect();
    if times.is_empty() || times.len() > 3 {
        return Err(Trouble::new(format!("3 prices at most are written down: {shown}")));
    }
    Ok(times.into_iter().map(|at_ns| schedule.at(at_ns).prices).collect())
}
