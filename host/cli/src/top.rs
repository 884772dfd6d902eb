//! `nom top`: what a running service has and does, again and again.
//!
//! In a terminal each look replaces the one before; anywhere else they follow each other with an empty line between.

use crate::arguments::Typed;
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::watch::{all, choose};
use nom_view::{duration, grouped};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Moves to the upper left and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// The command.
pub fn top(typed: &Typed) -> Outcome<ExitCode> {
    let interval = typed.number::<u64>("interval", 100, 3_600_000)?.unwrap_or(1000);
    let mut watched = choose(all(), typed.words.first().map(String::as_str))?;
    let (once, json) = (typed.has("once"), typed.has("json"));
    let mut out = std::io::stdout();
    let clear = if out.is_terminal() && !once && !json { CLEAR } else { "" };
    let mut before = Value::Null;
    loop {
        watched.ask("top")?;
        let Some(now) = watched.line()? else {
            return Err(Trouble::new("the service has ended"));
        };
        let text = if json { format!("{now}\n") } else { format!("{clear}{}", page(&now, &before)) };
        let gap = if clear.is_empty() && !json && !once { "\n" } else { "" };
        // Nobody reads any more: that is an end too.
        if write!(out, "{text}{gap}").and_then(|()| out.flush()).is_err() || once {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
        std::thread::sleep(Duration::from_millis(interval));
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn kib(value: &Value, key: &str) -> String {
    format!("{} KiB", grouped(number(value, key)))
}

/// Two looks at something that counts on a clock.
struct Pace<'a> {
    now: &'a Value,
    before: &'a Value,
    passed_ns: u64,
}

impl<'a> Pace<'a> {
    fn new(now: &'a Value, before: &'a Value, clock: &str, ns: u64) -> Self {
        let known = before[clock].as_u64().filter(|_| before.is_object());
        let passed = known.map_or(0, |then| number(now, clock).saturating_sub(then));
        Self { now, before, passed_ns: passed.saturating_mul(ns) }
    }

    /// `calls 1,234 (56/s)`, without the rate at the first look.
    fn count(&self, group: &str, key: &str) -> String {
        let pick =
            |from: &Value| if group.is_empty() { number(from, key) } else { number(&from[group], key) };
        let count = pick(self.now);
        let name = key.replace('_', " ");
        if self.passed_ns == 0 {
            return format!("{name} {}", grouped(count));
        }
        let per_s = count.saturating_sub(pick(self.before)) as f64 * 1e9 / self.passed_ns as f64;
        format!("{name} {} ({}/s)", grouped(count), grouped(per_s.round() as u64))
    }

    /// How much of the time between was not idle.
    fn busy(&self, idle_now_ns: u64, idle_before_ns: u64) -> String {
        if self.passed_ns == 0 {
            return String::new();
        }
        let idle = idle_now_ns.saturating_sub(idle_before_ns).min(self.passed_ns) as f64;
        format!("{:>4.0} % busy", 100.0 - 100.0 * idle / self.passed_ns as f64)
    }
}

/// A look as a page of text; with one before it, rates too.
fn page(now: &Value, before: &Value) -> String {
    let about = &now["about"];
    let mut page = format!(
        "{} on {}, port {}, process {}, up {}\n",
        text(about, "application"),
        text(about, "home"),
        number(about, "port"),
        number(about, "pid"),
        duration(number(about, "up_ms").saturating_mul(1_000_000)),
    );
    if now["machine"].is_object() {
        machine(&mut page, &now["machine"], &before["machine"]);
    } else {
        page.push_str("kernel     this is a Linux process: it has no kernel of ours to look at\n");
    }
    for process in list(&now["processes"]) {
        let named = |other: &&Value| other["pid"] == process["pid"];
        let earlier = list(&before["processes"]).iter().find(named).unwrap_or(&Value::Null);
        let pace = Pace::new(about, &before["about"], "up_ms", 1_000_000);
        let used_ms = number(process, "cpu_ms");
        let share = match pace.passed_ns {
            0 => String::new(),
            passed => {
                let used = used_ms.saturating_sub(number(earlier, "cpu_ms")) as f64;
                format!(", {:.0} % of a core", used * 1e8 / passed as f64)
            }
        };
        let _ = writeln!(
            page,
            "process    {} ({}): {} resident, {} threads, {} used{share}",
            text(process, "name"),
            number(process, "pid"),
            kib(process, "resident_kib"),
            number(process, "threads"),
            duration(used_ms.saturating_mul(1_000_000)),
        );
    }
    if now["service"].is_object() {
        let pace = Pace::new(&now["service"], &before["service"], "at_ns", 1);
        let counts = ["accepted", "refused", "frames_in", "frames_out", "frames_lost", "kicks", "sleeps"];
        let counts = counts.map(|key| pace.count("", key)).join(", ");
        let latency = |key| duration(number(&now["service"], key));
        let _ = writeln!(page, "service    {counts}");
        let _ = writeln!(
            page,
            "           {} connections, median {}, p99 {}, {}",
            number(&now["service"], "connections"),
            latency("latency_p50_ns"),
            latency("latency_p99_ns"),
            text(&now["service"], "setting"),
        );
    }
    page
}

fn machine(page: &mut String, now: &Value, before: &Value) {
    if let Some(why) = now["error"].as_str() {
        let _ = writeln!(page, "kernel     {why}");
        return;
    }
    let pace = Pace::new(now, before, "at_ns", 1);
    let _ = writeln!(
        page,
        "memory     {}: free {}, kernel {}",
        kib(now, "memory_kib"),
        kib(now, "free_kib"),
        kib(now, "kernel_kib")
    );
    for (place, core) in list(&now["cores"]).iter().enumerate() {
        let busy = pace.busy(number(core, "halted_ns"), number(&before["cores"][place], "halted_ns"));
        let owner = core["owner"].as_str().unwrap_or("free");
        let _ = writeln!(page, "core {:<5} {owner:<16}{busy}", number(core, "core"));
    }
    for one in list(&now["applications"]) {
        let code = match text(one, "phase") {
            "ended" => format!(" with code {}", number(one, "code")),
            _ => String::new(),
        };
        let (name, phase, starts) = (text(one, "name"), text(one, "phase"), number(one, "starts"));
        let memory = kib(one, "memory_kib");
        let _ = writeln!(page, "app        {name:<16}{phase}{code}, {memory}, started {starts} times");
    }
    for one in list(&now["channels"]) {
        let ends = list(&one["ends"]).iter().map(|end| end.as_str().unwrap_or("nobody"));
        let ends = ends.collect::<Vec<_>>().join(" - ");
        let _ = writeln!(page, "channel    {:<16}{ends}, {}", text(one, "name"), kib(one, "memory_kib"));
    }
    let kinds = now["calls"].as_object().into_iter().flatten().map(|(kind, _)| pace.count("calls", kind));
    let _ = writeln!(page, "calls      {}", kinds.collect::<Vec<_>>().join(", "));
    let group =
        |keys: &[&str]| keys.iter().map(|key| pace.count("counters", key)).collect::<Vec<_>>().join(", ");
    let interrupts = ["device_interrupts", "timer_interrupts", "core_interrupts", "spurious_interrupts"];
    let _ = writeln!(page, "interrupts {}", group(&interrupts).replace(" interrupts", ""));
    let upcalls = ["event_upcalls", "fault_upcalls", "upcall_restarts"];
    let _ = writeln!(page, "upcalls    {}", group(&upcalls).replace(" upcalls", ""));
    let _ = writeln!(page, "cores      {}", group(&["halts", "switches"]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(at_s: u64, calls: u64) -> Value {
        json!({
            "about": { "application": "kv", "home": "guest", "port": 7, "pid": 8, "up_ms": at_s * 1000 },
            "machine": {
                "at_ns": at_s * 1_000_000_000, "memory_kib": 65536, "free_kib": 1000, "kernel_kib": 400,
                "cores": [{ "core": 0, "owner": "kv", "halted_ns": at_s * 250_000_000 }, { "core": 1, "owner": null }],
                "applications": [{ "name": "kv", "phase": "ended", "code": 102, "starts": 3, "memory_kib": 12 }],
                "channels": [{ "name": "lines", "ends": ["kv", null], "memory_kib": 8 }],
                "calls": { "Wait": calls },
                "counters": { "timer_interrupts": 5 },
            },
            "processes": [{ "name": "emulator", "pid": 9, "resident_kib": 1234, "threads": 3, "cpu_ms": at_s * 10 }],
            "service": { "at_ns": at_s * 1_000_000_000, "accepted": 5000, "setting": "wait=halt" },
        })
    }

    #[test]
    fn the_first_look_has_no_rates() {
        let page = page(&look(2, 30), &Value::Null);
        for line in [
            "kv on guest, port 7, process 8, up 2,000 ms",
            "memory     65,536 KiB: free 1,000 KiB, kernel 400 KiB",
            "app        kv              ended with code 102, 12 KiB, started 3 times",
            "channel    lines           kv - nobody, 8 KiB",
            "calls      Wait 30",
        ] {
            assert!(page.lines().any(|found| found.trim_end() == line), "{line}\n{page}");
        }
        assert!(!page.contains("/s)") && !page.contains("busy"), "{page}");
    }

    #[test]
    fn two_looks_have_rates() {
        let page = page(&look(4, 50), &look(2, 30));
        for part in ["Wait 50 (10/s)", "core 0     kv                75 % busy", "free", "1 % of a core"] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let linux = page(&json!({ "about": { "home": "linux" } }), &Value::Null);
        assert!(linux.contains("Linux process"), "{linux}");
        let silent = json!({ "about": {}, "machine": { "error": "the service did not answer in time" } });
        assert!(page(&silent, &Value::Null).contains("did not answer"));
        // Whatever comes, it is a page.
        page(&json!({ "machine": { "cores": 7, "calls": [], "applications": [{}] } }), &json!(5));
    }
}
