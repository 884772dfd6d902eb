//! Recorded prices as tables and JSON, to be replayed as a [`Schedule`].
//!
//! ```text
//! seconds,bandwidth $/GB,core $/core/h        {"loop_s":86400,"steps":[
//! 0,0.09,0.04                                   {"at_s":0,"prices":{"core":"0.04 $/core/h"}},
//! 3600,,0.12                                    {"at_s":3600,"prices":{"core":"0.12 $/core/h"}}]}
//! ```
//!
//! A table says its units in the first line; with `unix_seconds` or `time` (2026-03-29T11:30Z) in the place of
//! `seconds` the first row is the begin. An empty field leaves a price as it was. [`Schedule::faster`] replays a day in
//! minutes, [`Schedule::looped`] over and over.

use crate::json::{Value, parse_large};
use crate::offer::{Plan, Trouble};
use crate::schedule::{BYTES_MAX, STEPS_MAX, Schedule, ScheduleError};
use crate::time::parse_unix_ns;
use alloc::string::String;
use alloc::vec::Vec;
use nom_money::{Decimal, Prices};

/// Most values in the JSON.
const VALUES_MAX: usize = 8 * STEPS_MAX;
const S: u64 = 1_000_000_000;

/// Reads a schedule, a table or JSON: whichever it is by its first letters.
pub fn read(text: &str) -> Result<Schedule, ScheduleError> {
    let begin = text.trim_start();
    if begin.starts_with('{') {
        json(text)
    } else if ["seconds,", "unix_seconds,", "time,"].iter().any(|name| begin.starts_with(name)) {
        table(text)
    } else {
        Schedule::parse(text)
    }
}

fn refuse<T>(line: usize, message: impl Into<String>) -> Result<T, ScheduleError> {
    Err(ScheduleError { line, message: message.into() })
}

fn large(text: &str) -> Result<(), ScheduleError> {
    if text.len() > BYTES_MAX { refuse(1, "the trace is larger than 256 KiB") } else { Ok(()) }
}

/// Reads a table with commas. Fields have no quotes: there is nothing to quote in numbers.
pub fn table(text: &str) -> Result<Schedule, ScheduleError> {
    large(text)?;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let Some((first, header)) = lines.next() else { return refuse(1, "the table is empty") };
    let mut columns = header.split(',').map(str::trim);
    let clock = columns.next().unwrap_or("");
    let columns: Vec<&str> = columns.collect();
    if columns.is_empty() || columns.len() > 3 {
        return refuse(first, "expected one to three columns of prices, such as core $/core/h");
    }
    let mut steps: Vec<(u64, Prices)> = Vec::new();
    let mut begin_ns = None;
    for (line, row) in lines {
        let mut fields = row.split(',').map(str::trim);
        let time = fields.next().unwrap_or("");
        let at_ns = match clock {
            "time" => parse_unix_ns(time),
            "seconds" | "unix_seconds" => nanoseconds(time),
            _ => return refuse(first, "the first column must be seconds, unix_seconds or time"),
        };
        let Some(at_ns) = at_ns else {
            return refuse(line, Trouble::about("the time is none", time).0);
        };
        let begin_ns = *begin_ns.get_or_insert(if clock == "seconds" { 0 } else { at_ns });
        let mut prices = steps.last().map_or(Prices::NONE, |(_, prices)| *prices);
        let fields: Vec<&str> = fields.collect();
        if fields.len() != columns.len() {
            return refuse(line, "the row has not as many fields as the first line");
        }
        for (column, field) in columns.iter().zip(fields).filter(|(_, field)| !field.is_empty()) {
            let (name, unit) = column.split_once(' ').unwrap_or((column, ""));
            price(&mut prices, name, &alloc::format!("{field} {unit}"))
                .or_else(|message| refuse(line, message))?;
        }
        push(&mut steps, at_ns.checked_sub(begin_ns), prices, line)?;
    }
    Schedule::new(steps, None).or_else(|message| refuse(first, message))
}

fn nanoseconds(text: &str) -> Option<u64> {
    let seconds: Decimal = text.parse().ok()?;
    u64::try_from(seconds.scaled(u128::from(S), 1)?).ok()
}

fn price(prices: &mut Prices, name: &str, text: &str) -> Result<(), String> {
    let wrong = |error: nom_money::TextError| alloc::format!("{error}");
    match name {
        "bandwidth" => prices.bandwidth = Some(text.parse().map_err(wrong)?),
        "core" => prices.core = Some(text.parse().map_err(wrong)?),
        "memory" => prices.memory = Some(text.parse().map_err(wrong)?),
        _ => return Err(Trouble::about("expected bandwidth, core or memory instead of", name).0),
    }
    Ok(())
}

fn push(
    steps: &mut Vec<(u64, Prices)>,
    at_ns: Option<u64>,
    prices: Prices,
    line: usize,
) -> Result<(), ScheduleError> {
    let before = steps.last().map(|(before, _)| *before);
    match at_ns {
        Some(0) if before.is_none() => {}
        Some(at_ns) if before.is_some_and(|before| before < at_ns) => {}
        _ if before.is_none() => return refuse(line, "the first row must be at 0"),
        _ => return refuse(line, "times must rise"),
    }
    if steps.len() == STEPS_MAX {
        return refuse(line, "more than 10000 steps");
    }
    steps.extend(at_ns.map(|at_ns| (at_ns, prices)));
    Ok(())
}

/// Reads JSON. The line of an error is that of the step, counted from 1.
pub fn json(text: &str) -> Result<Schedule, ScheduleError> {
    large(text)?;
    let value =
        parse_large(text, VALUES_MAX).or_else(|error| refuse(1, alloc::format!("no JSON: {error}")))?;
    let Some(list) = value.get("steps").and_then(Value::as_list) else {
        return refuse(1, "the list of steps is missing");
    };
    let seconds = |value: &Value| match value {
        Value::Number(number) => nanoseconds(number),
        _ => None,
    };
    let mut steps: Vec<(u64, Prices)> = Vec::new();
    for (index, step) in list.iter().enumerate() {
        let line = index + 1;
        let Some(at_ns) = step.get("at_s").and_then(seconds) else {
            return refuse(line, "at_s is missing or no time");
        };
        let mut prices = steps.last().map_or(Prices::NONE, |(_, prices)| *prices);
        let Some(Value::Object(members)) = step.get("prices") else {
            return refuse(line, "prices is missing or no object");
        };
        for (name, value) in members {
            let Some(text) = value.as_text() else { return refuse(line, "a price is no text") };
            price(&mut prices, name, text).or_else(|message| refuse(line, message))?;
        }
        push(&mut steps, Some(at_ns), prices, line)?;
    }
    let loop_ns = match value.get("loop_s") {
        None | Some(Value::Null) => None,
        Some(value) => match seconds(value) {
            Some(loop_ns) => Some(loop_ns),
            None => return refuse(1, "loop_s is no time"),
        },
    };
    Schedule::new(steps, loop_ns).or_else(|message| refuse(1, message))
}

/// A provider's prices from a moment on, to be replayed. An open end stays open, a known one is the loop's.
pub fn record(plan: &Plan) -> Result<Schedule, String> {
    let begin_ns = plan.now.begin_unix_ns;
    let steps = core::iter::once(&plan.now).chain(&plan.next);
    let steps = steps.map(|change| (change.begin_unix_ns.saturating_sub(begin_ns), change.prices)).collect();
    let loop_ns = (plan.end_unix_ns != u64::MAX).then(|| plan.end_unix_ns.saturating_sub(begin_ns));
    Schedule::new(steps, loop_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{Change, Rates};
    use alloc::string::ToString;

    const TABLE: &str =
        "seconds,bandwidth $/GB,core $/core/h\n0,0.09,0.04\n3600,,0.12\n\n# noon\n7200.5,0.05,\n";
    const JSON: &str = r#"{"loop_s":86400,"steps":[{"at_s":0,"prices":{"bandwidth":"0.09 $/GB","core":"0.04 $/core/h"}},{"at_s":3600,"prices":{"core":"0.12 $/core/h"}},{"at_s":7200.5,"prices":{"bandwidth":"0.05 $/GB"}}]}"#;

    #[test]
    fn tables_and_json_are_schedules() {
        let table = read(TABLE).unwrap();
        assert_eq!(
            read(JSON),
            table.clone().looped(86_400 * S).ok_or(ScheduleError { line: 0, message: "".into() })
        );
        assert_eq!(
            table.to_string(),
            "at 0ns: bandwidth 0.09 $/GB, core 0.04 $/core/h\nat 3600s: bandwidth 0.09 $/GB, core 0.12 $/core/h\n\
             at 7200.5s: bandwidth 0.05 $/GB, core 0.12 $/core/h\n"
        );
        assert_eq!(read(&table.to_string()), Ok(table.clone()));
        let unix = TABLE.replace("seconds,", "unix_seconds,").replace("\n0,", "\n1700000000,");
        let unix = unix.replace("3600,", "1700003600,").replace("7200.5,", "1700007200.5,");
        assert_eq!(read(&unix), Ok(table.clone()));
        let time = TABLE.replace("seconds,", "time,").replace("\n0,", "\n2026-03-28T23:00Z,");
        let time = time.replace("3600,", "2026-03-29T00:00Z,").replace("7200.5,", "2026-03-29T01:00:00.5Z,");
        assert_eq!(read(&time), Ok(table));
    }

    #[test]
    fn a_day_is_replayed_a_hundred_times_faster() {
        let day = read(JSON).unwrap();
        let fast = day.clone().faster(100).unwrap();
        for second in 0..864 {
            let (slow, quick) = (day.at(second * 100 * S), fast.at(second * S));
            assert_eq!((slow.generation, slow.prices), (quick.generation, quick.prices));
        }
        assert!(day.clone().faster(0).is_none());
        assert!(day.faster(u32::MAX).is_some_and(|fast| fast.at(0).generation == 1));
        let close = read("seconds,core $/core/h\n0,1\n0.000000001,2\n").unwrap();
        assert_eq!(close.faster(2), None, "two steps may not become one");
    }

    #[test]
    fn what_a_provider_says_can_be_recorded() {
        let core = |text: &str| Prices { core: Some(text.parse().unwrap()), ..Prices::NONE };
        let change = |begin_unix_ns, prices| Change { begin_unix_ns, prices };
        let plan = Plan {
            now: change(500 * S, core("1 $/core/h")),
            next: Vec::from([change(510 * S, core("-2 $/core/h"))]),
            end_unix_ns: 530 * S,
        };
        let schedule = record(&plan).unwrap();
        assert_eq!(schedule.to_string(), "at 0ns: core 1 $/core/h\nat 10s: core -2 $/core/h\nloop 30s\n");
        let spot = crate::spot::Instance {
            kind: "m1.xlarge".into(),
            zone: "us-west-1b".into(),
            product: "SUSE Linux".into(),
            cores: 4,
        };
        let offers = crate::spot::read(include_str!("../fixtures/spot.xml"), &spot).unwrap();
        let begin = offers[0].slots()[0].begin_unix_ns;
        let plan = Plan::new(&offers, &Rates::default(), &Prices::NONE, begin).unwrap();
        let schedule = record(&plan).unwrap();
        assert_eq!(schedule.to_string().lines().count(), 3, "{schedule}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line) in [
            ("seconds,core $/core/h\n1,1\n", 2),
            ("seconds,core $/core/h\n0,1\n0,2\n", 3),
            ("seconds,core $/core/h\n0,1,2\n", 2),
            ("seconds,core\n0,1\n", 2),
            ("seconds,core $/GB\n0,1\n", 2),
            ("seconds,disk $/GB\n0,1\n", 2),
            ("seconds,core $/core/h\n-1,1\n", 2),
            ("seconds,core $/core/h\nx,1\n", 2),
            ("seconds,core $/core/h\n0,\n", 1),
            ("seconds,core $/core/h\n", 1),
            ("seconds,\n0,1\n", 2),
            ("time,core $/core/h\n0,1\n", 2),
            ("{}", 1),
            ("{\"steps\":[]}", 1),
            ("{\"steps\":[{\"at_s\":0,\"prices\":{\"core\":1}}]}", 1),
            ("{\"steps\":[{\"at_s\":0,\"prices\":{\"core\":\"1 $/core/h\"}},{\"at_s\":0,\"prices\":{}}]}", 2),
            ("{\"loop_s\":0,\"steps\":[{\"at_s\":0,\"prices\":{\"core\":\"1 $/core/h\"}}]}", 1),
        ] {
            assert_eq!(read(text).map_err(|error| error.line), Err(line), "{text}");
        }
    }

    #[test]
    fn noise_never_breaks_the_readers() {
        let mut random = crate::json::tests::Random(23);
        let mut good = 0;
        for turn in 0..20_000 {
            let Some(text) = random.mutate(if turn % 2 == 0 { TABLE } else { JSON }) else { continue };
            if let Ok(schedule) = read(&text) {
                good += 1;
                assert_eq!(Schedule::parse(&schedule.to_string()).as_ref(), Ok(&schedule), "{text}");
            }
        }
        assert!(good > 1_000, "{good}");
    }
}
