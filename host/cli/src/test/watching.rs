//! `nom top` and `nom log` on services that run: they show what is so, and the run does not notice.

use super::client::converse;
use super::guest::free_port;
use super::services::{END, ended_well, number};
use super::started::{Started, command, ourselves};
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Those that watch at the same time.
const WATCHERS: usize = 6;

/// A service is watched by several while clients are served, and settles as if nobody had looked.
pub fn watched(arguments: &[&str]) -> Outcome<()> {
    let mut started = Started::new(free_port()?, &[arguments, &["--rate", "200"]].concat())?;
    let port = started.port.to_string();
    let mut follow = dying_with_us(&ourselves()?)
        .args(["log", &port, "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context(|| "cannot start nom log".into())?;
    let followed = Serial::read(follow.stdout.take().expect("stdout is a pipe"));
    let looks = std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..WATCHERS).map(|_| scope.spawn(|| look(&port))).collect();
        watchers.into_iter().map(|watcher| watcher.join().expect("a watcher panicked")).collect::<Vec<_>>()
    });
    let accepted = converse(started.port)?;
    // The first looks may come before anything has happened; in time everything has.
    let deadline = Instant::now() + END;
    let last = loop {
        let last = look(&port)?;
        match active(&last) {
            Ok(()) => break last,
            Err(trouble) if Instant::now() > deadline => return Err(trouble),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    for one in looks {
        right(&one?, &last)?;
    }
    let page = command(&["top", &port, "--once"], |_| {})?;
    if page.code != Some(0) || !page.out.contains("service ") || page.out.contains('\x1b') {
        return Err(Trouble::new(format!("nom top shows {:?} {}", page.out, page.words)));
    }
    let log = command(&["log", &port], |_| {})?;
    let told = !last["machine"].is_object() || log.out.contains("kernel: application kv starts on core 0");
    if log.code != Some(0) || !told {
        return Err(Trouble::new(format!("nom log shows {:?} {}", log.out, log.words)));
    }
    started.signal("TERM")?;
    ended_well(&mut started)?;
    let others = number(&started, "others_accepted")?;
    if others != accepted as i128 {
        return Err(Trouble::new(format!("{accepted} operations were done, the ledger has {others}")));
    }
    // Who follows the log hears it to the end, and ends then.
    let deadline = Instant::now() + END;
    let code = loop {
        match follow.try_wait().context(|| "cannot wait for nom log".into())? {
            Some(status) => break status.code(),
            None if Instant::now() > deadline => {
                let _ = follow.kill();
                let _ = follow.wait();
                return Err(Trouble::new("nom log --follow did not end with the service"));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    followed.wait_end(END);
    if code != Some(0) || log.out.lines().count() > followed.lines().len() {
        return Err(Trouble::new(format!(
            "nom log --follow ended with {code:?}: {:?}",
            followed.last_words()
        )));
    }
    Ok(())
}

fn look(port: &str) -> Outcome<Value> {
    let ended = command(&["top", port, "--once", "--json"], |_| {})?;
    match ended.code {
        Some(0) => serde_json::from_str(&ended.out).context(|| format!("{:?}", ended.out)),
        code => Err(Trouble::new(format!("nom top ended with {code:?}: {}", ended.words))),
    }
}

fn count(look: &Value, path: &str) -> u64 {
    look.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// What a service has done that served for a while, and sometimes had nothing to do.
fn active(look: &Value) -> Outcome<()> {
    let mut paths = vec!["/service/accepted"];
    if look["machine"].is_object() {
        paths.extend([
            "/machine/calls/Wait",
            "/machine/counters/device_interrupts",
            "/machine/counters/halts",
            "/machine/cores/0/halted_ns",
        ]);
    }
    match paths.into_iter().find(|path| count(look, path) == 0) {
        Some(path) => Err(Trouble::new(format!("{path} is still nothing: {look}"))),
        None => Ok(()),
    }
}

/// What must hold of a service that runs, and of two looks at it.
fn right(before: &Value, after: &Value) -> Outcome<()> {
    let mut paths = vec!["/processes/0/resident_kib", "/about/pid"];
    match before["about"]["home"].as_str() {
        Some("guest") => {
            paths.extend([
                "/machine/memory_kib",
                "/machine/free_kib",
                "/machine/kernel_kib",
                "/machine/applications/0/memory_kib",
                "/machine/calls/AcquireDevice",
            ]);
            if before["machine"]["cores"][0]["owner"] != "kv" {
                return Err(Trouble::new(format!("core 0 is not kv's: {before}")));
            }
            let kinds = before["machine"]["calls"].as_object().into_iter().flatten();
            let sum: u64 = kinds.filter_map(|(_, count)| count.as_u64()).sum();
            // Calls go on while the page is read.
            if sum.abs_diff(count(before, "/machine/counters/calls")) > 1000 {
                return Err(Trouble::new(format!("{sum} calls by kind: {before}")));
            }
        }
        _ if before["machine"].is_null() => paths.push("/processes/1/resident_kib"),
        _ => return Err(Trouble::new(format!("a Linux process has a machine: {before}"))),
    }
    for path in paths {
        if count(before, path) == 0 {
            return Err(Trouble::new(format!("{path} is nothing: {before}")));
        }
    }
    for path in ["/machine/counters/calls", "/machine/calls/Wait", "/about/up_ms", "/machine/at_ns"] {
        if count(after, path) < count(before, path) {
            return Err(Trouble::new(format!("{path} went back: {before} then {after}")));
        }
    }
    Ok(())
}

/// Nobody to watch: one line says so, and what to do.
pub fn nobody() -> Outcome<()> {
    let scratch = Scratch::new()?;
    for verb in ["top", "log"] {
        let ended = command(&[verb], |command| {
            command.env("TMPDIR", scratch.path());
        })?;
        if ended.code != Some(1) || !ended.words.contains("`nom run`") || ended.words.lines().count() != 1 {
            return Err(Trouble::new(format!("nom {verb} ended with {:?}: {}", ended.code, ended.words)));
        }
    }
    Ok(())
}
