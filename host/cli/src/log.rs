//! `nom log`: what a running service, its kernel and its emulator have said.

use crate::arguments::Typed;
use nom_machine::trouble::Outcome;
use nom_machine::watch::{all, choose};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// The command.
pub fn log(typed: &Typed) -> Outcome<ExitCode> {
    let mut watched = choose(all(), typed.words.first().map(String::as_str))?;
    let follow = typed.has("follow");
    watched.ask(if follow { "follow" } else { "log" })?;
    if follow {
        watched.wait_for_ever()?;
    }
    let mut out = std::io::stdout();
    while let Some(line) = watched.line()? {
        let text = if typed.has("json") { line.to_string() } else { plain(&line) };
        // Nobody reads any more: that is an end too.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `  1.234 s guest    the text`.
fn plain(line: &Value) -> String {
    if let Some(missed) = line["missed"].as_u64() {
        return format!("... {missed} lines are not kept any more");
    }
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let at_s = line["at_ms"].as_u64().unwrap_or(0) as f64 / 1000.0;
    let level = match text("level") {
        "" | "info" => String::new(),
        level => format!("{level}: "),
    };
    format!("{at_s:>9.3} s {:<8} {level}{}", text("from"), text("text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_have_their_time_and_who_spoke() {
        let line = json!({ "at_ms": 1234, "from": "guest", "text": "kernel: hello" });
        assert_eq!(plain(&line), "    1.234 s guest    kernel: hello");
        let line = json!({ "at_ms": 0, "from": "service", "level": "warning", "text": "odd" });
        assert_eq!(plain(&line), "    0.000 s service  warning: odd");
        assert_eq!(plain(&json!({ "missed": 3 })), "... 3 lines are not kept any more");
    }
}
