//! What a person watches of a running service: prices, load, throughput, latency, the frontier, decisions, money.
//!
//! A [`Snapshot`] is all that is known at one moment. In a terminal it is a [page](page()) on a screen of its own, as large
//! as the terminal is; anywhere else (a pipe, a log) a plain [line](line()) is printed once in a while. Both are made by pure
//! functions, so that tests see what a person sees.

#![forbid(unsafe_code)]

mod page;
mod paint;
mod plot;
mod screen;
mod snapshot;

pub use page::page;
pub use paint::{Line, Paint, ascii, escape, svg};
pub use screen::{GIVE, Looks, Screen};
pub use snapshot::{
    COURSE_MAX, DECISIONS_MAX, Decision, Fixed, Latency, Money, Price, Request, Snapshot, push,
};

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often a plain line is printed where nothing can be redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// The line of text for these figures.
pub fn line(now: &Snapshot) -> String {
    let prices: Vec<String> =
        now.prices.iter().map(|price| format!("{} {}", price.name, price.text)).collect();
    let prices = if prices.is_empty() { "no prices".into() } else { prices.join(", ") };
    let latency = now.latency.as_ref().map_or_else(
        || "-".into(),
        |latency| format!("{} (p99 {})", duration(latency.p50_ns), duration(latency.p99_ns)),
    );
    let profit =
        now.rates.map_or_else(|| "profit ...".into(), |rates| format!("profit {}", dollars(rates.profit())));
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

/// A figure with three digits that mean something.
pub fn short(figure: f64) -> String {
    let digits = (2 - figure.abs().max(1e-9).log10().floor() as i32).clamp(0, 9) as usize;
    format!("{figure:.digits$}")
}

/// Dollars an hour with four digits that mean something.
pub fn dollars(per_hour: f64) -> String {
    let digits = (3 - per_hour.abs().max(1e-6).log10().floor() as i32).clamp(2, 8) as usize;
    format!("{per_hour:+.digits$} $/h")
}

/// Whether a stream is a terminal.
pub fn is_terminal(stream: impl AsFd) -> bool {
    rustix::termios::isatty(stream)
}

/// Prints plain lines, not too many of them.
#[derive(Debug)]
pub struct Plain<W: Write> {
    out: W,
    printed: Option<Instant>,
}

impl<W: Write> Plain<W> {
    /// Prints to a stream.
    pub fn new(out: W) -> Self {
        Self { out, printed: None }
    }

    /// Prints the figures of this moment, if the last ones are old enough. A stream that is gone is no reason to stop
    /// serving: errors are dropped.
    pub fn show(&mut self, now: &Snapshot) {
        if self.printed.is_none_or(|printed| printed.elapsed() >= PLAIN_EVERY) {
            self.say(&line(now));
            self.printed = Some(Instant::now());
        }
    }

    /// Prints something else.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Snapshot {
        let price = |name, text: &str| Price { name, text: text.into(), course: Vec::new() };
        Snapshot {
            elapsed: Duration::from_millis(12_340),
            prices: vec![price("core", "3 $/core/h"), price("bandwidth", "0.09 $/GB")],
            operations_per_s: 2_001.4,
            latency: Some(Latency { p50_ns: 120_400, p99_ns: 1_310_000, ..Latency::default() }),
            setting: "wait halt".into(),
            rates: Some(Money { revenue: 1.5, core: 0.265_433, ..Money::default() }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_line_says_all_five_things() {
        assert_eq!(
            line(&now()),
            " 12.3 s | profit +1.235 $/h | 2,001/s | 120 us (p99 1,310 us) | wait halt | core 3 $/core/h, \
             bandwidth 0.09 $/GB"
        );
        assert_eq!(line(&Snapshot::default()), "  0.0 s | profit ... | 0/s | - | no setting | no prices");
    }

    #[test]
    fn small_and_large_numbers_are_readable() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!((duration(999), duration(25_000_000)), ("999 ns".into(), "25 ms".into()));
        assert_eq!(
            (short(0.017_26), short(12.34), short(0.0)),
            ("0.0173".into(), "12.3".into(), "0.000000000".into())
        );
        assert_eq!((dollars(-0.001_234_5), dollars(123.4)), ("-0.001234 $/h".into(), "+123.40 $/h".into()));
    }

    #[test]
    fn a_pipe_gets_few_lines_and_all_words() {
        let mut pipe = Plain::new(Vec::new());
        pipe.show(&now());
        pipe.show(&now());
        pipe.say("event");
        let text = String::from_utf8(pipe.out).unwrap();
        assert!(!text.contains('\x1b') && text.lines().count() == 2 && text.ends_with("event\n"), "{text}");
    }
}
