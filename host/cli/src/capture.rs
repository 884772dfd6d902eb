//! `nom capture`: what a running service sends and gets, as pcapng.
//!
//! The host's tools see nothing of a private stack, so the service keeps copies while somebody looks and the run passes
//! them on. Each frame is cut to what a line of the management channel carries; its true length is in the file.

use crate::arguments::Typed;
use crate::interrupted::interrupts;
use nom_machine::pcapng::Writer;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::{all, choose};
use nom_service::management::SNAP_MAX;
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The command.
pub fn capture(typed: &Typed) -> Outcome<ExitCode> {
    let most = typed.number::<u64>("frames", 1, u64::MAX)?.unwrap_or(u64::MAX);
    let seconds = typed.number::<u64>("seconds", 1, 1_000_000)?.map(Duration::from_secs);
    let mut watched = choose(all(), typed.words.first().map(String::as_str))?;
    let out: Box<dyn Write> = match typed.text("out").filter(|file| *file != "-") {
        Some(file) => Box::new(File::create(file).context(|| format!("cannot write {file}"))?),
        None if std::io::stdout().is_terminal() => {
            let hint = "say --out FILE, or pipe it: nom capture | tcpdump -r -";
            return Err(Trouble::new(format!("a capture is nothing to read on a terminal; {hint}")));
        }
        None => Box::new(std::io::stdout()),
    };
    let interrupted = interrupts()?;
    watched.ask("capture")?;
    let Some(clock) = watched.line()? else { return Err(Trouble::new("the service has ended")) };
    let clock = Clock::read(&clock)?;
    let name = typed.words.first().map_or("nom", String::as_str);
    let mut kept = Kept { lost: 0, last_ns: clock.unix_ns, count: 0 };
    let started = Instant::now();
    let written = (|| -> Outcome<u64> {
        let words = || "cannot write the capture".to_string();
        let mut writer = Writer::new(BufWriter::new(out), name, SNAP_MAX).context(words)?;
        writer.flush().context(words)?;
        let over = |count| {
            count >= most
                || seconds.is_some_and(|time| started.elapsed() >= time)
                || interrupted.load(Ordering::SeqCst)
        };
        while !over(kept.count) {
            let Some(line) = watched.line()? else { break };
            match line["lost"].as_u64() {
                // Nothing is there now: whoever reads gets what there was.
                Some(lost) => {
                    kept.lost = lost;
                    writer.flush().context(words)?;
                }
                None => {
                    let frame = Seen::read(&line)?;
                    kept.count += 1;
                    kept.last_ns = clock.unix_of(frame.at_ns);
                    writer.frame(kept.last_ns, frame.out, frame.len, &frame.bytes).context(words)?;
                }
            }
        }
        writer.end(kept.last_ns, kept.lost).context(words)
    })();
    match written {
        Ok(count) => eprintln!("{count} frames, {} lost because too many waited", kept.lost),
        // Nobody reads any more: that is an end too.
        Err(trouble) if trouble.to_string().contains(&ErrorKind::BrokenPipe.to_string()) => {}
        Err(trouble) => return Err(trouble),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known at the end.
struct Kept {
    lost: u64,
    last_ns: u64,
    count: u64,
}

/// The service's clock beside the time of day.
struct Clock {
    at_ns: u64,
    unix_ns: u64,
}

impl Clock {
    fn read(line: &Value) -> Outcome<Self> {
        match (line["at_ns"].as_u64(), line["unix_ns"].as_u64()) {
            (Some(at_ns), Some(unix_ns)) => Ok(Self { at_ns, unix_ns }),
            _ => Err(Trouble::new("the run tells no clock; is it older?")),
        }
    }

    fn unix_of(&self, at_ns: u64) -> u64 {
        self.unix_ns.wrapping_add(at_ns).wrapping_sub(self.at_ns)
    }
}

/// A frame as the run tells it.
struct Seen {
    at_ns: u64,
    out: bool,
    len: u32,
    bytes: Vec<u8>,
}

impl Seen {
    fn read(line: &Value) -> Outcome<Self> {
        let read = || {
            let digits = line["bytes"].as_str()?;
            let bytes = digits.as_bytes().chunks(2).map(|pair| {
                u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
            });
            Some(Self {
                at_ns: line["at_ns"].as_u64()?,
                out: line["out"].as_bool()?,
                len: line["len"].as_u64()?.try_into().ok()?,
                bytes: bytes.collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| Trouble::new("the run tells what is no frame; is it older?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn frames_are_read_strictly() {
        let good = json!({ "at_ns": 7, "out": true, "len": 60, "bytes": "00ff7a" });
        let seen = Seen::read(&good).unwrap();
        assert_eq!((seen.at_ns, seen.out, seen.len, seen.bytes), (7, true, 60, vec![0, 255, 0x7a]));
        for (key, wrong) in
            [("bytes", json!("0")), ("bytes", json!("0g")), ("len", json!(1u64 << 32)), ("out", json!(1))]
        {
            let mut line = good.clone();
            line[key] = wrong;
            assert!(Seen::read(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_clock_turns_into_the_time_of_day() {
        let clock = Clock::read(&json!({ "at_ns": 1000, "unix_ns": 5_000_000 })).unwrap();
        assert_eq!(clock.unix_of(900), 4_999_900);
        // A service that does not know the day counts from its own beginning.
        let clock = Clock::read(&json!({ "at_ns": 0, "unix_ns": 0 })).unwrap();
        assert_eq!(clock.unix_of(900), 900);
        assert!(Clock::read(&json!({ "lost": 0 })).is_err());
    }
}
