//! `nom bench`: lists what can be measured and what each claims, or measures it.

use crate::arguments::{Typed, nearest};
use crate::service::progress;
use nom_experiments::figures::{Figure, table};
use nom_experiments::{BENCHES, Bench, Settings};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, file, packages, qemu};
use std::path::Path;
use std::process::ExitCode;

/// Options that only these benches understand: for any other one they would change nothing, and say nothing of it.
const ABOUT: &[(&str, &[&str])] = &[
    ("cost", &["kv", "httpd"]),
    ("cycles", &["kv"]),
    ("hits", &["kv"]),
    ("soak", &["kv"]),
    ("overload", &["kv"]),
    ("bytes", &["httpd"]),
    ("peer", &["memcached-suite", "conformance", "packetdrill"]),
    ("on", &["kv", "httpd", "netpipe", "knobs"]),
    ("quick", &["paper", "knobs"]),
    ("claim", &["paper"]),
    ("resume", &["paper"]),
    ("out", &["paper"]),
    ("recording", &["replay"]),
    ("prices", &["replay"]),
    ("kvm", &["boot", "kernel", "kv", "httpd", "netpipe", "paper"]),
];

/// The command.
pub fn bench(typed: &Typed) -> Outcome<ExitCode> {
    let Some(name) = typed.words.first() else {
        for bench in BENCHES {
            println!("  nom bench {:<10} {}", bench.name, bench.claim);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let names = BENCHES.iter().map(|bench| bench.name);
        return Err(Trouble::new(match nearest(name, names) {
            Some(near) => format!("no bench {name:?}; did you mean `nom bench {near}`?"),
            None => format!("no bench {name:?}; `nom bench` lists them"),
        }));
    };
    let strange = ABOUT.iter().find(|(option, benches)| typed.has(option) && !benches.contains(&bench.name));
    match strange {
        Some((option, benches)) => Err(Trouble::new(format!(
            "--{option} is for {}: leave it out of `nom bench {}`",
            benches.join(", "),
            bench.name
        ))),
        None => measure(bench, typed),
    }
}

fn measure(bench: &Bench, typed: &Typed) -> Outcome<ExitCode> {
    if let Some(out) = typed.text("json").filter(|file| *file != "-") {
        file::try_writing(Path::new(out)).context(|| "--json".into())?;
    }
    packages::ensure(qemu::PROGRAM, qemu::PACKAGE, &mut progress)?;
    let settings = Settings {
        runs: typed.number("runs", 1, 1000)?,
        cache: artefacts::root()?.join(".cache"),
        question: ["cycles", "hits", "soak", "overload", "bytes"]
            .into_iter()
            .find(|name| typed.has(name))
            .unwrap_or_default(),
        on: typed.text("on").map(Into::into),
        quick: typed.has("quick"),
        kvm: typed.has("kvm"),
        peer: typed.text("peer").map(nom_experiments::memcached_suite::peer),
        recording: typed.text("recording").map(Into::into),
        prices: typed.text("prices").map(Into::into),
        claim: typed.text("claim").map(Into::into),
        out: typed.text("out").map(Into::into),
        resume: typed.has("resume"),
        until: None,
    };
    let figures = (bench.measure)(&settings, &mut progress)?;
    let json: String = figures.iter().map(|figure| figure.json() + "\n").collect();
    match typed.text("json") {
        Some("-") => print!("{json}"),
        Some(file) => {
            std::fs::write(file, &json).context(|| format!("cannot write {file}"))?;
            print!("{}", table(&figures));
        }
        None => print!("{}", table(&figures)),
    }
    let missed = figures.iter().filter(|figure: &&Figure| figure.met() == Some(false)).count();
    if missed > 0 {
        progress(&format!("{missed} of the goals are missed"));
    }
    Ok(ExitCode::SUCCESS)
}
