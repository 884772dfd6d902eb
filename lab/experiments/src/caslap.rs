//! memcaslap, the load that nobody here wrote.

use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

/// How long one load lasts.
const SECONDS: u32 = 3;

/// The program.
#[derive(Debug, Clone)]
pub struct Caslap(PathBuf);

/// What it does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections, each with one request on its way.
    pub connections: u32,
    /// Bytes of a value; `None`: its own choice, 1 KiB.
    pub value_len: Option<u32>,
}

/// What it saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Operations in all.
    pub operations: f64,
    /// Operations in a second.
    pub rate: f64,
    /// Mean latency.
    pub mean_us: f64,
    /// Its standard deviation.
    pub deviation_us: f64,
    /// Keys that it had stored and did not find.
    pub misses: u64,
    /// The part of the operations that took longer than [`LIMIT_US`], where the client says it.
    pub late: Option<f64>,
}

/// The nom paper's limit of latency.
pub const LIMIT_US: u32 = 750;

impl Caslap {
    /// Finds it, or installs it where that is allowed.
    pub fn new(progress: &mut dyn FnMut(&str)) -> Outcome<Self> {
        Ok(Self(packages::ensure("memcaslap", "libmemcached-tools", progress)?))
    }

    /// Loads a server from the calling thread's network and processor: its own mix, nine GETs to one SET.
    pub fn run(&self, target: SocketAddr, load: Load) -> Outcome<Seen> {
        let seconds = format!("{SECONDS}s");
        let mut command = dying_with_us(&self.0);
        command.args(["-s", &target.to_string(), "-T", "1", "-c", &load.connections.to_string()]);
        if let Some(len) = load.value_len {
            command.args(["-X", &len.to_string()]);
        }
        let output = command
            .args(["-t", &seconds, "-S", &seconds])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .output()
            .context(|| "cannot start memcaslap".into())?;
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text).ok_or_else(|| Trouble::new(format!("memcaslap did not say what it saw: {}", last(&text))))
    }
}

fn last(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing")
}

/// The last line `Global` is that of all operations together: time, operations, operations a second, megabytes a second,
/// misses, least, most, mean, deviation, geometric mean.
fn read(text: &str) -> Option<Seen> {
    let line = text.lines().rfind(|line| line.starts_with("Global"))?;
    let numbers: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [_, operations, rate, _, _, _, _, mean_us, deviation_us, _] = numbers[..] else { return None };
    let misses = text.lines().rev().find_map(|line| line.strip_prefix("get_misses:")?.trim().parse().ok())?;
    let late = late(text);
    (operations > 0.0).then_some(Seen { operations, rate, mean_us, deviation_us, misses, late })
}

/// From the last table of latencies, which counts them by the power of two below: four to a line, after the first one's
/// exponent. Those of the power that holds the limit are taken to be spread evenly over it.
fn late(text: &str) -> Option<f64> {
    let (_, table) = text.rsplit_once("Log2 Dist:")?;
    let lines = table.lines().skip(1).map_while(|line| line.trim().split_once(':'));
    let (mut all, mut late) = (0.0, 0.0);
    for (exponent, counts) in lines {
        let first: i32 = exponent.trim().parse().ok()?;
        for (place, count) in counts.split_whitespace().enumerate() {
            let count: f64 = count.parse().ok()?;
            let from = 2f64.powi(first + i32::try_from(place).ok()?);
            let beyond = ((2.0 * from - f64::from(LIMIT_US)) / from).clamp(0.0, 1.0);
            all += count;
            late += count * beyond;
        }
    }
    (all > 0.0).then(|| late / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_table_is_read() {
        let text = "Get Statistics\nGlobal   2  4 2 22.2 0 12 16427 168 811.89 44.65\n\nTotal Statistics\n\
                    Period   2        47613        23806        24.7       0          12  9  9  9.0 9.0\n\
                    Global   2        47613        23806        24.7       0          12       16427      167        811.84     44.56\n\
                    cmd_get: 42852\ncmd_set: 4761\nget_misses: 7\n";
        let expected = Seen {
            operations: 47_613.0,
            rate: 23_806.0,
            mean_us: 167.0,
            deviation_us: 811.84,
            misses: 7,
            late: None,
        };
        assert_eq!(read(text), Some(expected));
        assert_eq!(read("Global 1 2"), None);
        let table = "Total Statistics (100 events)\n   Log2 Dist:\n       4:        0        2       12       40\n       \
                     8:       30       14        2\n\n   Avg: 1\n";
        // 14 between 512 and 1,023 us, of which 274 of 512 parts lie beyond 750 us, and 2 above.
        assert_eq!(late(table), Some((14.0 * 274.0 / 512.0 + 2.0) / 100.0));
        assert_eq!((late("Log2 Dist:\n 4: x"), late("nothing")), (None, None));
    }
}
