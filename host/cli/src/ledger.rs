//! `nom ledger`: what is in a file of sealed windows, checked, added up again, and in other forms.
//!
//! The file is what `nom run --ledger`, `nom-kv-linux --ledger` or `nom run --json` wrote. A file that a crash cut off is
//! no mistake: all sealed windows are there, and it says that the rest is unsettled. Anything else that does not hold is
//! damage, and nothing is made of it.

use crate::arguments::{Typed, nearest};
use crate::service::{file_or_example, read_text};
use nom_ledger::{CSV_HEADER, Recovered, Window, closing, recover};
use nom_machine::file;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::configuration::Configuration;
use nom_utility::Contract;
use nom_view::grouped;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Longest file that is read: some two weeks of windows of a second.
const FILE_LEN_MAX: u64 = 1 << 30;
/// What can be done.
const DEEDS: [&str; 4] = ["verify", "csv", "json", "recover"];

/// The command.
pub fn ledger(typed: &Typed) -> Outcome<ExitCode> {
    let [deed, file] = typed.words.as_slice() else {
        return Err(Trouble::new("nom ledger verify|csv|json|recover FILE: say what to do with which file"));
    };
    if !DEEDS.contains(&deed.as_str()) {
        let hint = nearest(deed, DEEDS.into_iter()).map_or_else(
            || format!("there are {}", DEEDS.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        return Err(Trouble::new(format!("nom ledger: no {deed:?}; {hint}")));
    }
    let contract = contract(typed)?;
    let read = read(Path::new(file))?;
    let left = recover(&exported(&read), contract.as_ref()).context(|| file.clone())?;
    if left.windows.is_empty() {
        return Err(Trouble::new(format!("{file}: there is no sealed window in it{}", torn(&left))));
    }
    match deed.as_str() {
        "csv" => put(typed, &table(&left))?,
        "json" => put(typed, &(lines(&left) + &totals(&left) + "\n"))?,
        "recover" => {
            let Some(out) = typed.text("out") else {
                return Err(Trouble::new("nom ledger recover: say where to put it with --out FILE"));
            };
            if Path::new(out) == Path::new(file) {
                return Err(Trouble::new(
                    "nom ledger recover: --out must be another file, what was left is evidence",
                ));
            }
            put(typed, &whole(&left))?;
            println!("{}", said(&left));
        }
        _ => println!("{}", said(&left)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The contract of a configuration, when one is named: then revenue is computed again too.
fn contract(typed: &Typed) -> Outcome<Option<Contract>> {
    if !typed.has("config") {
        return Ok(None);
    }
    let path = file_or_example(typed, "config", "")?;
    let configuration = Configuration::parse(&read_text(&path)?).context(|| path.display().to_string())?;
    match configuration.contract {
        Some(contract) => Ok(Some(contract)),
        None => Err(Trouble::new(format!("{}: it says no utility and value", path.display()))),
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    file::bytes(path, FILE_LEN_MAX)
}

/// The windows among the lines of `nom run --json`, as an export; an export stays as it is.
fn exported(bytes: &[u8]) -> Vec<u8> {
    const WINDOW: &[u8] = b"{\"window\":{";
    const BYE: &[u8] = b"{\"bye\":{";
    let lines = || bytes.split_inclusive(|byte| *byte == b'\n');
    if !lines().any(|line| line.starts_with(WINDOW) || line.starts_with(b"{\"hello\":{")) {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    for line in lines() {
        let whole = line.strip_suffix(b"}\n");
        if line.starts_with(WINDOW) {
            // A line that was cut off stays one, unless all that is missing is its end.
            let complete = |line: &&[u8]| parsed(&line[WINDOW.len() - 1..]).is_some();
            let inner = whole.or(line.strip_suffix(b"}").filter(complete)).unwrap_or(line);
            out.extend_from_slice(&inner[WINDOW.len() - 1..]);
            if whole.is_some() {
                out.push(b'\n');
            }
        } else if line.starts_with(BYE) && whole.is_some() {
            // The service settled and closed its ledger.
            let last = out.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            if let Some(window) = parsed(last) {
                out.extend_from_slice(closing(&window).as_bytes());
                out.push(b'\n');
            }
        }
    }
    out
}

fn parsed(line: &[u8]) -> Option<Window> {
    Window::parse(std::str::from_utf8(line).ok()?).ok()
}

fn put(typed: &Typed, text: &str) -> Outcome<()> {
    match typed.text("out") {
        None | Some("-") => print!("{text}"),
        Some(file) => std::fs::write(file, text).context(|| format!("cannot write {file}"))?,
    }
    Ok(())
}

fn table(left: &Recovered) -> String {
    let mut out = format!("{CSV_HEADER}\n");
    for window in left.windows.iter().chain(&left.open) {
        out.push_str(&window.to_csv());
        out.push('\n');
    }
    out
}

fn lines(left: &Recovered) -> String {
    left.windows.iter().map(|window| window.to_json() + "\n").collect()
}

/// What can be trusted, as an export again. It is closed only when it was: what is lost stays visible.
fn whole(left: &Recovered) -> String {
    let mut out = lines(left);
    if let (true, Some(last)) = (left.closed, left.windows.last()) {
        out.push_str(&closing(last));
        out.push('\n');
    }
    out
}

fn totals(left: &Recovered) -> String {
    let totals = &left.totals;
    format!(
        "{{\"totals\":{{\"windows\":{},\"unsettled\":{},\"accepted\":{},\"refused\":{},\"useful_bytes\":{},\
         \"wire_bytes\":{},\"core_ns\":{},\"revenue_pico\":{},\"bandwidth_pico\":{},\"core_pico\":{},\
         \"memory_pico\":{},\"profit_pico\":{}}}}}",
        totals.windows,
        totals.unsettled,
        totals.accepted,
        totals.refused,
        totals.useful_bytes,
        totals.wire_bytes,
        totals.core_ns,
        totals.revenue.0,
        totals.bandwidth.0,
        totals.core.0,
        totals.memory.0,
        totals.profit().0,
    )
}

/// What is known, for a person.
fn said(left: &Recovered) -> String {
    let totals = &left.totals;
    let mut out = format!("{} windows are whole, follow each other and add up\n", grouped(totals.windows));
    let mut line = |name: &str, picodollars: i128, what: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<9} {:>16}  {what}", crate::run::ledger::money(picodollars));
    };
    let operations = format!("{} accepted, {} refused", grouped(totals.accepted), grouped(totals.refused));
    line("revenue", totals.revenue.0, operations);
    line("bandwidth", -totals.bandwidth.0, format!("{} bytes on the wire", grouped(totals.wire_bytes)));
    line("core", -totals.core.0, format!("{:.3} core-seconds", totals.core_ns as f64 / 1e9));
    line("memory", -totals.memory.0, String::new());
    line("profit", totals.profit().0, String::new());
    let next = left.windows.last().map_or(1, |last| last.number + 1);
    out.push_str(&match left.closed {
        true => "settled: the ledger was closed behind its last window".into(),
        false => format!(
            "UNSETTLED: the ledger was not closed; what was done in window {next} is in no sum{}",
            torn(left)
        ),
    });
    out
}

fn torn(left: &Recovered) -> String {
    match left.torn_bytes {
        0 => String::new(),
        bytes => format!(" ({bytes} bytes of a line that was cut off)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_ledger::{Ledger, Reading};
    use nom_money::PerOperation;
    use nom_utility::LimitKind;

    fn windows() -> Vec<Window> {
        let contract = Contract::per_operation(PerOperation(7), LimitKind::Simple { limit_ns: 1_000 });
        let mut ledger = Ledger::new(contract, 10, 0, Reading::default());
        let mut reading = Reading::default();
        (1..=3)
            .map(|number| {
                reading.accepted += 5;
                ledger.settle(number * 10, &reading).unwrap().unwrap()
            })
            .collect()
    }

    #[test]
    fn the_lines_of_a_run_are_an_export() {
        let windows = windows();
        let mut run = String::from("{\"hello\":{\"application\":\"kv\"}}\n");
        for window in &windows {
            let _ = writeln!(run, "{{\"window\":{}}}\n{{\"stats\":{{}}}}", window.to_json());
        }
        let left = recover(&exported(run.as_bytes()), None).unwrap();
        assert!(left.windows == windows && left.totals.unsettled);
        assert!(said(&left).contains("UNSETTLED") && said(&left).contains("window 4"));
        let closed = format!("{run}{{\"bye\":{{}}}}\n{{\"summary\":{{}}}}\n");
        let left = recover(&exported(closed.as_bytes()), None).unwrap();
        assert!(left.closed && said(&left).contains("settled: "), "{}", said(&left));
        // What is put in order is an export of the same.
        let again = recover(&exported(whole(&left).as_bytes()), None).unwrap();
        assert_eq!(again, left);
        // Wherever the run was cut off, nothing sealed before is lost and nothing is called damage.
        for cut in 0..closed.len() {
            let left = recover(&exported(&closed.as_bytes()[..cut]), None).unwrap();
            let before = windows.iter().filter(|window| closed[..cut].contains(&window.to_json()));
            assert_eq!(left.windows.len(), before.count(), "{cut}");
        }
    }

    #[test]
    fn every_form_says_the_same() {
        let mut text: String = windows().iter().map(|window| window.to_json() + "\n").collect();
        text.push_str("{\"window\":4,\"sea");
        let left = recover(&exported(text.as_bytes()), None).unwrap();
        assert_eq!(table(&left).lines().count(), 4);
        assert!(totals(&left).contains("\"windows\":3,\"unsettled\":true,\"accepted\":15,"));
        assert!(said(&left).ends_with("(16 bytes of a line that was cut off)"));
        assert!(!whole(&left).contains("closed"));
    }
}
