//! The live line that a person watches: price, throughput, latency, knob, profit.
//!
//! In a terminal one line is redrawn in place and events scroll above it; anywhere else (a pipe, a log) a plain
//! line is printed once in a while. The text is made by pure functions, so that tests see what a person sees.

#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often a plain line is printed where nothing can be redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(2);
/// Columns that are used when the terminal does not say how many it has.
const COLUMNS: usize = 80;

/// What the line shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Now {
    /// Since the service was ready.
    pub elapsed: Duration,
    /// Prices in force, as a person writes them; empty ones are left out.
    pub prices: Vec<String>,
    /// Accepted operations a second.
    pub operations_per_s: f64,
    /// Median latency in nanoseconds as the service sees it; 0 when nothing was answered.
    pub latency_p50_ns: u64,
    /// 99th percentile.
    pub latency_p99_ns: u64,
    /// The setting of the knobs.
    pub setting: String,
    /// Profit of the last second or so, as dollars an hour; `None` before the first window is settled.
    pub profit_per_hour: Option<f64>,
}

/// The line of text for these figures.
pub fn line(now: &Now) -> String {
    let prices = if now.prices.is_empty() { "no prices".into() } else { now.prices.join(", ") };
    let latency = match now.latency_p50_ns {
        0 => "-".into(),
        median => format!("{} (p99 {})", duration(median), duration(now.latency_p99_ns)),
    };
    let profit =
        now.profit_per_hour.map_or_else(|| "profit ...".into(), |rate| format!("profit {}", dollars(rate)));
    // What a narrow terminal cuts off is what changes least.
    format!(
        "{:>5.1} s | {profit} | {}/s | {latency} | {} | {prices}",
        now.elapsed.as_secs_f64(),
        grouped(now.operations_per_s.round() as u64),
        if now.setting.is_empty() { "no setting" } else { &now.setting },
    )
}

/// Nanoseconds as a person reads them.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..10_000_000 => format!("{} us", grouped(ns / 1_000)),
        10_000_000..10_000_000_000 => format!("{} ms", grouped(ns / 1_000_000)),
        _ => format!("{} s", grouped(ns / 1_000_000_000)),
    }
}

/// A whole number with a comma after every three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Dollars an hour with four digits that mean something.
pub fn dollars(per_hour: f64) -> String {
    let digits = (3 - per_hour.abs().max(1e-6).log10().floor() as i32).clamp(2, 8) as usize;
    format!("{per_hour:+.digits$} $/h")
}

/// How many columns a terminal has; `None` when the stream is no terminal.
pub fn columns(stream: impl AsFd) -> Option<usize> {
    if !rustix::termios::isatty(&stream) {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stream).ok().map(|size| usize::from(size.ws_col));
    Some(size.filter(|columns| *columns > 0).unwrap_or(COLUMNS))
}

/// Shows lines on a stream.
#[derive(Debug)]
pub struct View<W: Write> {
    out: W,
    redraws: bool,
    columns: usize,
    drawn: bool,
    printed: Option<Instant>,
}

impl<W: Write> View<W> {
    /// `columns` are those of a terminal; `None` says that the stream is none.
    pub fn new(out: W, columns: Option<usize>) -> Self {
        let redraws = columns.is_some();
        Self { out, redraws, columns: columns.unwrap_or(COLUMNS), drawn: false, printed: None }
    }

    /// Shows the figures of this moment. A stream that is gone is no reason to stop serving: errors are dropped.
    pub fn show(&mut self, now: &Now) {
        let text = line(now);
        if self.redraws {
            let text: String = text.chars().take(self.columns.saturating_sub(1)).collect();
            let _ = write!(self.out, "\r{text}\x1b[K");
            self.drawn = true;
        } else if self.printed.is_none_or(|printed| printed.elapsed() >= PLAIN_EVERY) {
            let _ = writeln!(self.out, "{text}");
            self.printed = Some(Instant::now());
        }
        let _ = self.out.flush();
    }

    /// Prints something that stays: it scrolls above the live line.
    pub fn say(&mut self, text: &str) {
        let start = if self.drawn { "\r\x1b[K" } else { "" };
        let _ = writeln!(self.out, "{start}{text}");
        let _ = self.out.flush();
        self.drawn = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now {
            elapsed: Duration::from_millis(12_340),
            prices: vec!["core 3 $/core/h".into(), "bandwidth 0.09 $/GB".into()],
            operations_per_s: 2_001.4,
            latency_p50_ns: 120_400,
            latency_p99_ns: 1_310_000,
            setting: "wait halt".into(),
            profit_per_hour: Some(1.234_567),
        }
    }

    #[test]
    fn the_line_says_all_five_things() {
        assert_eq!(
            line(&now()),
            " 12.3 s | profit +1.235 $/h | 2,001/s | 120 us (p99 1,310 us) | wait halt | core 3 $/core/h, \
             bandwidth 0.09 $/GB"
        );
        assert_eq!(line(&Now::default()), "  0.0 s | profit ... | 0/s | - | no setting | no prices");
    }

    #[test]
    fn small_and_large_numbers_are_readable() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!((duration(999), duration(25_000_000)), ("999 ns".into(), "25 ms".into()));
        assert_eq!((dollars(-0.001_234_5), dollars(123.4)), ("-0.001234 $/h".into(), "+123.40 $/h".into()));
    }

    #[test]
    fn a_terminal_is_redrawn_and_a_pipe_is_not() {
        let mut terminal = View::new(Vec::new(), Some(40));
        terminal.show(&now());
        terminal.say("event");
        let text = String::from_utf8(terminal.out).unwrap();
        assert!(text.starts_with("\r 12.3 s") && text.ends_with("\r\x1b[Kevent\n"));
        assert!(text.split('\r').nth(1).unwrap().chars().count() < 40 + "\x1b[K".len(), "{text}");

        let mut pipe = View::new(Vec::new(), None);
        pipe.show(&now());
        pipe.show(&now());
        pipe.say("event");
        let text = String::from_utf8(pipe.out).unwrap();
        assert!(!text.contains('\x1b') && text.lines().count() == 2, "{text}");
    }
}
