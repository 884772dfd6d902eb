//! Parses what a person types, and calls.
//!
//! Every command ends with 0 when it did what was asked, with 2 when it was typed wrongly, and with 1 otherwise,
//! after one line that says what happened, where, and what to do.

#![forbid(unsafe_code)]

mod arguments;
mod attach;
mod bench;
mod capture;
mod connections;
mod fuzz;
mod image;
mod interrupted;
mod ledger;
mod log;
mod order;
mod points;
mod prices;
mod run;
mod service;
mod shared;
mod test;
mod top;
mod verbs;
mod worth;

use arguments::{help, nearest, read};
use nom_machine::trouble::{Outcome, Trouble};
use std::ffi::OsString;
use std::process::ExitCode;

/// How a process ends whose reader has left, as a shell says it.
const NOBODY_READS: i32 = 141;

fn main() -> ExitCode {
    mind_the_reader();
    let mut words = std::env::args_os().skip(1);
    let Some(first) = words.next() else {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    };
    match called(&first.to_string_lossy(), words.collect()) {
        Called::Done(Ok(code)) => code,
        Called::Done(Err(trouble)) => complain(&trouble, 1),
        Called::Mistyped(trouble) => complain(&trouble, 2),
    }
}

fn complain(trouble: &Trouble, code: u8) -> ExitCode {
    eprintln!("nom: {trouble}");
    ExitCode::from(code)
}

/// Rust panics where standard output takes nothing any more. A reader who has enough (`nom bench | head`) is no failure,
/// and a full disk is one line.
fn mind_the_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let refused = info.payload_as_str().and_then(|said| said.strip_prefix("failed printing to stdout: "));
        match refused {
            Some(why) if why.starts_with("Broken pipe") => std::process::exit(NOBODY_READS),
            Some(why) => {
                eprintln!("nom: cannot write to standard output: {why}");
                std::process::exit(1);
            }
            None => otherwise(info),
        }
    }));
}

enum Called {
    Done(Outcome<ExitCode>),
    Mistyped(Trouble),
}

fn called(name: &str, words: Vec<OsString>) -> Called {
    if matches!(name, "help" | "--help" | "-h") {
        return match words.first().map(|word| word.to_string_lossy().into_owned()) {
            None => {
                print!("{}", overview());
                Called::Done(Ok(ExitCode::SUCCESS))
            }
            Some(topic) => help_on(&topic),
        };
    }
    let Some((verb, act)) = verbs::find(name) else { return Called::Mistyped(unknown(name)) };
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{}", help(verb));
        return Called::Done(Ok(ExitCode::SUCCESS));
    }
    match read(verb, words) {
        Ok(typed) => Called::Done(act(&typed)),
        Err(trouble) => Called::Mistyped(trouble),
    }
}

fn help_on(topic: &str) -> Called {
    match (verbs::find(topic), topic) {
        (Some((verb, _)), _) => print!("{}", help(verb)),
        (None, "configuration") => print!("{}", verbs::configuration_help()),
        (None, _) => return Called::Mistyped(unknown(topic)),
    }
    Called::Done(Ok(ExitCode::SUCCESS))
}

fn unknown(name: &str) -> Trouble {
    let names = verbs::VERBS.iter().map(|(verb, _)| verb.name).chain(["help"]);
    Trouble::new(match nearest(name, names) {
        Some(near) => format!("no command {name:?}; did you mean `nom {near}`?"),
        None => format!("no command {name:?}; `nom` alone lists them"),
    })
}

fn overview() -> String {
    let mut text = String::from(
        "nom runs network services so that they earn the most: it sees what bandwidth, cores and memory cost now,\n\
         and moves each service along its throughput and latency frontier as prices and load change.\n\n",
    );
    for (verb, _) in verbs::VERBS {
        text.push_str(&format!("  nom {:<26} {}\n", format!("{} {}", verb.name, verb.words), verb.help));
    }
    text.push_str(
        "  nom help [COMMAND]         all options of a command; `nom help configuration` lists every setting\n\n\
         Start with: ./nom run --seconds 20\n",
    );
    text
}
