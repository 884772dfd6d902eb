//! `nom fuzz`: hostile bytes for everything that takes bytes from outside.

use crate::arguments::{Typed, nearest};
use crate::service::progress;
use nom_fuzz::targets::{TARGETS, find};
use nom_fuzz::{Target, attempt, memcached};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, file as files};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// How long each target is tried unless somebody asks otherwise.
const SECONDS: u64 = 10;

/// Not a target like the others: what it tries is whether two servers answer the same.
const BESIDE: &str = "memcached";

/// Longest input that is tried again.
const INPUT_LEN_MAX: u64 = 16 << 20;

/// The command.
pub fn fuzz(typed: &Typed) -> Outcome<ExitCode> {
    if typed.words.first().is_some_and(|name| name == BESIDE) {
        return beside(typed);
    }
    let targets: Vec<&Target> = match typed.words.first() {
        None => TARGETS.iter().collect(),
        Some(name) => match find(name) {
            Some(target) => vec![target],
            None => return Err(unknown(name)),
        },
    };
    if let Some(file) = typed.text("input") {
        return replay(&targets, file);
    }
    let seed = typed.number("seed", 0, u64::MAX)?.unwrap_or(1);
    let seconds = typed.number("seconds", 1, 1_000_000)?.unwrap_or(SECONDS);
    if typed.has("guided") {
        return guided(&targets, seed, seconds);
    }
    let mut found = 0;
    // A panic is a finding here, and is told once, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    for target in targets {
        let outcome = nom_fuzz::run(target, seed, Duration::from_secs(seconds), u64::MAX);
        match outcome.finding {
            None => println!("{:<14} {} inputs, nothing found (seed {seed})", target.name, outcome.inputs),
            Some(finding) => {
                found += 1;
                println!(
                    "{:<14} FOUND with seed {seed}, input {}: {}",
                    target.name, finding.number, finding.what
                );
                keep(target, &format!("{seed}-{}", finding.number), &finding.input)?;
            }
        }
    }
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Keeps what was found, and says how it is tried again.
fn keep(target: &Target, name: &str, input: &[u8]) -> Outcome<()> {
    let folder = artefacts::root()?.join(".cache/fuzz");
    std::fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{}-{name}", target.name));
    std::fs::write(&file, input).context(|| format!("cannot write {}", file.display()))?;
    println!("{:<14} nom fuzz {} --input {}", "", target.name, file.display());
    Ok(())
}

/// The same targets in a program that sees where its inputs go, each in a process of its own: one that ends with a
/// signal says so too.
fn guided(targets: &[&Target], seed: u64, seconds: u64) -> Outcome<ExitCode> {
    let program = artefacts::watched("nom-guided", &mut |line| progress(line))?;
    let corpus = artefacts::root()?.join(".cache/fuzz/corpus");
    let mut found = 0;
    for target in targets {
        let output = Command::new(&program)
            .args([target.name, &seed.to_string(), &seconds.to_string()])
            .arg(corpus.join(target.name))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context(|| format!("cannot start {}", program.display()))?;
        let mut parts = output.stdout.splitn(3, |byte| *byte == b'\n');
        let mut next = || parts.next().unwrap_or_default();
        let did = String::from_utf8_lossy(next());
        match output.status.code() {
            Some(0) => println!("{:<14} {did}, nothing found (seed {seed})", target.name),
            Some(1) => {
                found += 1;
                println!(
                    "{:<14} FOUND with seed {seed}, {did}: {}",
                    target.name,
                    String::from_utf8_lossy(next())
                );
                keep(target, &format!("guided-{seed}"), next())?;
            }
            _ => {
                found += 1;
                println!("{:<14} ENDED ITSELF with seed {seed}: {}", target.name, output.status);
            }
        }
    }
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same random lines to the cache and to memcached.
fn beside(typed: &Typed) -> Outcome<ExitCode> {
    if typed.has("guided") {
        return Err(Trouble::new("nom fuzz memcached takes no --guided: it compares two servers"));
    }
    if typed.text("input").is_some() {
        return Err(Trouble::new(
            "nom fuzz memcached takes no --input: its stories are told again by --seed",
        ));
    }
    let seed = typed.number("seed", 0, u64::MAX)?.unwrap_or(1);
    let seconds = typed.number("seconds", 1, 1_000_000)?.unwrap_or(SECONDS);
    let outcome =
        memcached::run(seed, Duration::from_secs(seconds), u64::MAX).map_err(|memcached::Absent| {
            Trouble::new(
                "SKIPPED: memcached is not installed or does not start; install the package memcached",
            )
        })?;
    println!(
        "{BESIDE:<14} {} stories, {} bytes of answers equal (from seed {seed})",
        outcome.stories, outcome.bytes
    );
    let Some(memcached::Difference { seed, lines, what }) = outcome.difference else {
        return Ok(ExitCode::SUCCESS);
    };
    println!("{BESIDE:<14} DIFFERENT with seed {seed}: {what}");
    for line in lines {
        println!("{:<14} {:?}", "", String::from_utf8_lossy(&line));
    }
    Ok(ExitCode::FAILURE)
}

fn replay(targets: &[&Target], file: &str) -> Outcome<ExitCode> {
    let [target] = targets else { return Err(Trouble::new("nom fuzz --input FILE: for which TARGET?")) };
    let input = files::bytes(Path::new(file), INPUT_LEN_MAX)?;
    match attempt(target, &input) {
        None => println!("{}: {} bytes, nothing wrong", target.name, input.len()),
        Some(what) => {
            println!("{}: {what}", target.name);
            return Ok(ExitCode::FAILURE);
        }
    }
    progress("done");
    Ok(ExitCode::SUCCESS)
}

fn unknown(name: &str) -> Trouble {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).chain([BESIDE]).collect();
    Trouble::new(match nearest(name, names.iter().copied()) {
        Some(near) => format!("no target {name:?}; did you mean {near}?"),
        None => format!("no target {name:?}; there are {}", names.join(", ")),
    })
}
