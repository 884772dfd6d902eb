//! The figures of a service as OpenMetrics 1.0 text, for whoever collects such.
//!
//! Made of the same statistics that go through the management channel, so that a guest and a process show the same.
//! Names begin with `nom_` and carry their unit; counters never go back while the service lives.
//!
//! ```text
//! # TYPE nom_operations counter
//! nom_operations_total{outcome="accepted"} 12345
//! ```

#[cfg(test)]
mod strict;

use crate::management::{Stats, WORDS_MAX, Words};
use alloc::format;
use alloc::string::String;
use core::fmt::{Display, Write};
use nom_money::{PerByte, PerByteSecond, PerCoreNs};
use nom_stack::meter::{Meter, OCTAVE_BUCKETS};

/// What the answer of an HTTP server must say that the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Latencies are told in buckets that end at powers of two from this one, 4 us, ...
const FIRST_POWER: u32 = 12;
/// ... to this one, 8.6 s. The meter's own buckets end there as well, so that nothing is estimated.
const LAST_POWER: u32 = 33;

/// Measured operations by latency: one number a bucket, and behind them those beyond the last.
pub fn latency_counts(meter: &Meter) -> Words {
    let mut counts = [0; (LAST_POWER - FIRST_POWER) as usize + 2];
    for (octave, buckets) in meter.histogram().chunks(OCTAVE_BUCKETS).enumerate() {
        // Up to and with the power of two at which the octave ends; the shortest octave lies within the first power.
        let last = octave * OCTAVE_BUCKETS + buckets.len() - 1;
        let power = Meter::bucket_end_ns(last).next_power_of_two().trailing_zeros();
        counts[(power.clamp(FIRST_POWER, LAST_POWER + 1) - FIRST_POWER) as usize] +=
            buckets.iter().sum::<u64>();
    }
    const { assert!((LAST_POWER - FIRST_POWER) as usize + 2 <= WORDS_MAX) };
    Words::new(counts)
}

/// Ends of those buckets; the operations beyond the last are taken to lie in one more that is twice as long.
pub fn bucket_ends_ns() -> impl Iterator<Item = u64> {
    (FIRST_POWER..=LAST_POWER + 1).map(|power| 1 << power)
}

/// Who is measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// The application's name.
    pub application: String,
    /// Its version.
    pub version: String,
    /// Where it runs.
    pub home: String,
}

/// The page.
pub fn page(who: &Who, stats: &Stats) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    page.family("nom", "info", "", "What is measured.");
    let labels = [("application", &*who.application), ("version", &*who.version), ("home", &*who.home)];
    page.sample("nom_info", &labels, 1);
    page.family("nom_setting", "info", "", "The setting in force: how it waits, how frames gather.");
    page.sample("nom_setting_info", &[("setting", &*stats.setting)], 1);

    page.family("nom_operations", "counter", "", "Operations that were answered.");
    for (outcome, count) in [("accepted", stats.accepted), ("refused", stats.refused)] {
        page.sample("nom_operations_total", &[("outcome", outcome)], count);
    }
    latency(&mut page, stats);
    page.counter("nom_late_operations", "", "Operations that took longer than the promise.", stats.late);

    page.family("nom_wire_bytes", "counter", "bytes", "Bytes on the wire.");
    for (direction, count) in [("in", stats.wire_in_bytes), ("out", stats.wire_out_bytes)] {
        page.sample("nom_wire_bytes_total", &[("direction", direction)], count);
    }
    page.family("nom_frames", "counter", "", "Frames.");
    for (direction, count) in [("in", stats.frames_in), ("out", stats.frames_out)] {
        page.sample("nom_frames_total", &[("direction", direction)], count);
    }
    page.counter(
        "nom_frames_lost",
        "",
        "Frames for which there was no room between two cores.",
        stats.frames_lost,
    );
    page.counter("nom_device_notifications", "", "Notifications of the network device.", stats.kicks);
    page.counter("nom_sleeps", "", "Times that it slept.", stats.sleeps);
    page.counter("nom_retransmissions", "", "Segments that were sent again.", stats.retransmissions);
    page.counter("nom_core_seconds", "seconds", "Core time used.", Billionths(stats.core_ns.into()));
    page.gauge("nom_memory_bytes", "bytes", "Memory held.", stats.memory_bytes);
    page.gauge("nom_connections", "", "Open connections.", stats.connections);

    prices(&mut page, stats);
    page.counter(
        "nom_setting_changes",
        "",
        "Times that the tuner changed the setting.",
        stats.setting_changes,
    );
    page.counter("nom_windows", "", "Sealed windows of the ledger.", stats.windows);
    let money = |picodollars: i128| Scaled(picodollars, 12);
    page.gauge(
        "nom_profit_dollars",
        "dollars",
        "Profit of all sealed windows.",
        money(stats.profit_picodollars),
    );
    page.gauge(
        "nom_revenue_dollars",
        "dollars",
        "Revenue of all sealed windows.",
        money(stats.revenue_picodollars),
    );
    page.counter("nom_lines_dropped", "", "Lines that the host did not read.", stats.lines_dropped);
    page.counter(
        "nom_windows_dropped",
        "",
        "Sealed windows that the host did not read.",
        stats.windows_dropped,
    );
    page.gauge("nom_ready", "", "1 while new connections are served, 0 while it drains.", stats.serving);
    page.0.push_str("# EOF\n");
    page.0
}

fn latency(page: &mut Page, stats: &Stats) {
    let name = "nom_latency_seconds";
    page.family(
        name,
        "histogram",
        "seconds",
        "From the arrival of a request to its reply, as the stack sees it.",
    );
    let mut count = 0;
    for power in FIRST_POWER..=LAST_POWER {
        count += stats.latency_counts.get((power - FIRST_POWER) as usize);
        let end = format!("{}", Billionths(1 << power));
        page.sample("nom_latency_seconds_bucket", &[("le", &*end)], count);
    }
    count += stats.latency_counts.get((LAST_POWER - FIRST_POWER) as usize + 1);
    page.sample("nom_latency_seconds_bucket", &[("le", "+Inf")], count);
    page.sample("nom_latency_seconds_count", &[], count);
    page.sample("nom_latency_seconds_sum", &[], Billionths(stats.latency_sum_ns.into()));
}

/// Prices that are known, in dollars for what people buy.
fn prices(page: &mut Page, stats: &Stats) {
    page.gauge(
        "nom_price_generation",
        "",
        "Counts the prices in force; 0 without any.",
        stats.price_generation,
    );
    const GIB: i128 = 1 << 30;
    const HOUR: i128 = 3_600;
    let atto = [
        (
            "core",
            "core hour",
            stats.price_core.parse::<PerCoreNs>().ok().map(|it| (it.0, HOUR * 1_000_000_000)),
        ),
        ("bandwidth", "GB", stats.price_bandwidth.parse::<PerByte>().ok().map(|it| (it.0, 1_000_000_000))),
        ("memory", "GiB hour", stats.price_memory.parse::<PerByteSecond>().ok().map(|it| (it.0, GIB * HOUR))),
    ];
    if atto.iter().all(|(.., price)| price.is_none()) {
        return;
    }
    page.family("nom_price_dollars", "gauge", "dollars", "The price in force of one unit.");
    for (resource, unit, price) in atto {
        if let Some(dollars) = price.and_then(|(atto, units)| atto.checked_mul(units)) {
            page.sample("nom_price_dollars", &[("resource", resource), ("unit", unit)], Scaled(dollars, 18));
        }
    }
}

struct Page(String);

impl Page {
    /// Writing to a String cannot fail.
    fn put(&mut self, line: core::fmt::Arguments) {
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }

    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        self.put(format_args!("# TYPE {name} {kind}"));
        if !unit.is_empty() {
            self.put(format_args!("# UNIT {name} {unit}"));
        }
        self.put(format_args!("# HELP {name} {help}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    // Whoever names things so is shown that it was so, and breaks no line.
                    letter if letter.is_control() => self.0.push('?'),
                    letter => self.0.push(letter),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.put(format_args!(" {value}"));
    }

    fn counter(&mut self, name: &str, unit: &str, help: &str, value: impl Display) {
        self.family(name, "counter", unit, help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", unit, help);
        self.sample(name, &[], value);
    }
}

/// A whole number of billionths, exactly.
struct Billionths(u128);

impl Display for Billionths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        i128::try_from(self.0).map_or(Err(core::fmt::Error), |whole| Scaled(whole, 9).fmt(f))
    }
}

/// A whole number with so many places behind the point, exactly.
struct Scaled(i128, u32);

impl Display for Scaled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (size, unit) = (self.0.unsigned_abs(), 10u128.pow(self.1));
        let sign = if self.0 < 0 { "-" } else { "" };
        let rest = format!("{:0width$}", size % unit, width = self.1 as usize);
        let rest = rest.trim_end_matches('0');
        write!(f, "{sign}{}.{}", size / unit, if rest.is_empty() { "0" } else { rest })
    }
}
