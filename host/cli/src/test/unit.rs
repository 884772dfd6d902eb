//! Format, lints and the tests of every crate, by cargo.

use super::{Cases, Verdict};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use std::process::{Command, Stdio};

/// Packages that run without an operating system, which an ordinary build leaves out.
const BARE: &[&str] = &[
    "nom-kernel",
    "nom-runtime",
    "nom-trial-guest",
    "nom-kv-guest",
    "nom-drivers-guest",
    "nom-switch-guest",
];
/// Lines of a failed command that are shown.
const LINES_SHOWN: usize = 60;

/// Format and lints; a tool that is not installed is skipped.
pub fn style(cases: &mut Cases) -> Outcome<()> {
    let case = |name: &str, tool: &str, arguments: &[&str]| -> Outcome<Verdict> {
        if packages::find(tool).is_none() && !cargo(&[name, "--version"])?.0 {
            return Ok(Verdict::Skipped(format!("{tool} is absent (rustup component add {name})")));
        }
        let (good, output) = cargo(arguments)?;
        if !good {
            show(&output);
        }
        Ok(if good { Verdict::Passed } else { Verdict::Failed(format!("cargo {}", arguments.join(" "))) })
    };
    cases.note(
        "format",
        case("fmt", "rustfmt", &["fmt", "--all", "--check", "--", "--color", "never", "-l"])?,
    );
    let lints = ["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"];
    cases.note("lints", case("clippy", "cargo-clippy", &lints)?);
    let mut bare = vec!["clippy", "--quiet", "--profile", "guest"];
    bare.extend(BARE.iter().flat_map(|package| ["-p", package]));
    bare.extend(["--", "-D", "warnings"]);
    cases.note("lints in guests", case("clippy", "cargo-clippy", &bare)?);
    Ok(())
}

/// The laws alone.
pub fn laws(cases: &mut Cases) -> Outcome<()> {
    tests(cases, &["-p", "nom-laws"])
}

/// All tests of everything that runs on Linux.
pub fn unit(cases: &mut Cases) -> Outcome<()> {
    tests(cases, &[])
}

fn tests(cases: &mut Cases, which: &[&str]) -> Outcome<()> {
    let nextest = packages::find("cargo-nextest").is_some();
    let mut arguments = if nextest {
        vec!["nextest", "run", "--no-fail-fast"]
    } else {
        vec!["test", "--quiet", "--no-fail-fast"]
    };
    arguments.extend(which);
    let (good, output) = cargo(&arguments)?;
    let (passed, failed) = counts(&output);
    cases.passed(passed);
    for name in &failed {
        cases.note(name, Verdict::Failed("see above".into()));
    }
    if !good {
        show(&output);
        if failed.is_empty() {
            return Err(Trouble::new(format!("cargo {} failed (see above)", arguments.join(" "))));
        }
    }
    if passed == 0 {
        return Err(Trouble::new("no test ran at all"));
    }
    Ok(())
}

/// How many passed, and the names of those that failed, from the words of either runner.
fn counts(output: &str) -> (u64, Vec<String>) {
    let mut passed = 0;
    let mut failed: Vec<String> = Vec::new();
    for line in output.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            passed += rest.split(';').next().and_then(number_before_passed).unwrap_or(0);
        } else if line.starts_with("Summary [") {
            passed += line
                .split(':')
                .next_back()
                .into_iter()
                .flat_map(|rest| rest.split(','))
                .find_map(number_before_passed)
                .unwrap_or(0);
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            failed.push(name.into());
        } else if let Some((_, name)) = line.strip_prefix("FAIL [").and_then(|rest| rest.split_once("] ")) {
            // Nextest counts in parentheses before the name, differently aligned in its two lists.
            failed.push(name.rsplit(") ").next().unwrap_or(name).trim().into());
        }
    }
    failed.sort();
    failed.dedup();
    (passed, failed)
}

/// `ok. 12 passed` and `12 passed (1 slow)`.
fn number_before_passed(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "passed")?;
    words.get(place.checked_sub(1)?)?.parse().ok()
}

fn show(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
        println!("    {line}");
    }
}

fn cargo(arguments: &[&str]) -> Outcome<(bool, String)> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(artefacts::root()?)
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .output()
        .context(|| "cannot start cargo".into())?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_counted() {
        let cargo = "test a::b ... ok\ntest a::c ... FAILED\n\ntest result: FAILED. 12 passed; 1 failed; 0 ignored\n\
                     test result: ok. 3 passed; 0 failed; 0 ignored";
        assert_eq!(counts(cargo), (15, vec!["a::c".to_string()]));
        let nextest = "        PASS [   0.006s] nom-x a::b\n        FAIL [   0.011s] (1/2) nom-x a::c\n\
                       ------------\n     Summary [   1.066s] 17 tests run: 16 passed (1 slow), 1 failed, 0 skipped\n\
                       FAIL [   0.011s] (1/2) nom-x a::c";
        assert_eq!(counts(nextest), (16, vec!["nom-x a::c".to_string()]));
    }
}
