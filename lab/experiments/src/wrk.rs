//! wrk, the load over HTTP that nobody here wrote.

use crate::caslap::LIMIT_US;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

/// How long one load lasts.
const SECONDS: u32 = 3;
/// One connection is looked at in so many loads of a second.
const LOOKS: usize = 3;

/// The program.
#[derive(Debug, Clone)]
pub struct Wrk(PathBuf);

/// What it saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Answers.
    pub requests: f64,
    /// Answers in a second.
    pub rate: f64,
    /// Mean latency.
    pub mean_us: f64,
    /// Its standard deviation.
    pub deviation_us: f64,
    /// The part of the answers that took longer than [`LIMIT_US`].
    pub late: f64,
}

/// What is said at the end: which part was late, found between the percentiles. It has no word about requests, so that wrk
/// does not ask it for each.
fn script() -> String {
    format!(
        "function done(summary, latency, requests)\n  local low, high = 0, 100\n  for _ = 1, 40 do\n    local middle = (low + high) / 2\n    \
         if latency:percentile(middle) > {LIMIT_US} then high = middle else low = middle end\n  end\n  \
         io.write(string.format('Late: %.8f\\n', 1 - high / 100))\nend\n"
    )
}

impl Wrk {
    /// Finds it.
    pub fn new(progress: &mut dyn FnMut(&str)) -> Outcome<Self> {
        Ok(Self(packages::ensure("wrk", "wrk", progress)?))
    }

    /// Asks for one path over so many connections, from the calling thread's network and processor.
    pub fn run(&self, target: SocketAddr, path: &str, connections: u32) -> Outcome<Seen> {
        self.load(target, path, connections, SECONDS)
    }

    /// Asks over one connection, in several loads of a second: the middle one by its deviation counts.
    ///
    /// wrk adds to what it saw what it would have seen had it gone on asking while an answer was late (`stats_correct`): for
    /// each that took more than twice the mean interval between two, one for each interval of its time. A stall that lasts D
    /// so adds D^3/3T to the variance of a load that lasts T, whoever serves and however fast: some milliseconds in which the
    /// host had something else to do decide what is seen of one connection in all of a load.
    pub fn alone(&self, target: SocketAddr, path: &str) -> Outcome<Seen> {
        let seen = (0..LOOKS).map(|_| self.load(target, path, 1, 1));
        Ok(middle(seen.collect::<Outcome<_>>()?))
    }

    fn load(&self, target: SocketAddr, path: &str, connections: u32, seconds: u32) -> Outcome<Seen> {
        let folder = Scratch::new()?;
        let told = folder.file("late.lua");
        std::fs::write(&told, script()).context(|| "wrk's script".into())?;
        let output = dying_with_us(&self.0)
            .args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "-s"])
            .arg(&told)
            .arg(format!("http://{target}{path}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .context(|| "cannot start wrk".into())?;
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text).map_err(|what| Trouble::new(format!("wrk: {what}: {}", text.trim())))
    }
}

/// The one in the middle by its deviation, with the answers of all.
fn middle(mut seen: Vec<Seen>) -> Seen {
    seen.sort_unstable_by(|one, other| one.deviation_us.total_cmp(&other.deviation_us));
    Seen { requests: seen.iter().map(|one| one.requests).sum(), ..seen[seen.len() / 2] }
}

/// Reads its report. Answers that are none, or others than expected, are an error.
fn read(text: &str) -> Result<Seen, &'static str> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err("not every request was answered");
    }
    let words = |begin: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(begin))?;
        Some(line.split_whitespace().collect::<Vec<_>>())
    };
    let report = || {
        let latency = words("Latency")?;
        let rate = words("Requests/sec:")?.get(1)?.parse().ok()?;
        let requests: f64 = text
            .lines()
            .find(|line| line.contains(" requests in "))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        let (mean_us, deviation_us) = (time_us(latency.get(1)?)?, time_us(latency.get(2)?)?);
        let late = words("Late:")?.get(1)?.parse().ok()?;
        (requests > 0.0).then_some(Seen { requests, rate, mean_us, deviation_us, late })
    };
    report().ok_or("it did not say what it saw")
}

/// `12.34us`, `1.20ms` or `1.00s`.
fn time_us(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1e3)
    } else {
        (text.strip_suffix('s')?, 1e6)
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 3s test @ http://10.0.0.1/\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   546.07us  1.03ms  13.17ms   97.89%\n    \
        Req/Sec   113.09k     6.82k  120.33k    86.67%\n  337464 requests in 3.00s, 273.57MB read\n\
        Requests/sec: 112437.84\nTransfer/sec:     91.15MB\nLate: 0.01250000\n";

    #[test]
    fn a_report_is_read() {
        let expected = Seen {
            requests: 337_464.0,
            rate: 112_437.84,
            mean_us: 546.07,
            deviation_us: 1_030.0,
            late: 0.0125,
        };
        assert_eq!(read(REPORT), Ok(expected));
        assert!(read(&REPORT.replace("Transfer", "  Non-2xx or 3xx responses: 7\nTransfer")).is_err());
        assert!(read("").is_err());
    }

    #[test]
    fn one_stall_does_not_decide() {
        let seen = |rate, deviation_us| Seen { requests: rate, rate, mean_us: 1.0, deviation_us, late: 0.0 };
        let of = middle(vec![seen(7.0, 30.0), seen(3.0, 900.0), seen(8.0, 20.0)]);
        assert_eq!(of, Seen { requests: 18.0, ..seen(7.0, 30.0) });
    }
}
