//! The drivers alone, on a machine's devices.
//!
//! Without further words in the configuration it runs its cases: each prints `case NAME ok`, `case NAME FAILED why` or
//! `case NAME skipped why`. With `# reflect = ...` it is the reflector that `nom bench virtio` measures ([`reflect`]), with
//! `# pairs = 2` it tries several pairs of queues ([`pairs`]), with `# lie = ...` a card that lies ([`lie`]).

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod disk;
mod entropy;
mod frames;
mod lie;
mod network;
mod pairs;
mod reflect;

use alloc::string::String;
use nom_runtime::log;

nom_runtime::entry!(main);

/// How a case went when it was not fine.
enum NotOk {
    /// Something was wrong.
    Failed(String),
    /// The machine lacks what the case wants.
    Skipped(&'static str),
}

impl From<String> for NotOk {
    fn from(why: String) -> Self {
        NotOk::Failed(why)
    }
}

/// How a case went.
type Outcome = Result<(), NotOk>;

/// A case: its name, and what it does.
type Case = (&'static str, fn() -> Outcome);

/// Ends a case as failed unless something holds.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(alloc::format!($($why)*).into());
        }
    };
}

fn main() -> u8 {
    if let Some(words) = setting("reflect") {
        return match reflect::run(words) {
            Ok(()) => 0,
            Err(why) => {
                log!("reflector: {why}");
                1
            }
        };
    }
    if let Some(expected) = setting("lie") {
        return u8::from(!lie::run(expected));
    }
    if setting("pairs").is_some() {
        return match pairs::run() {
            Ok(well) => u8::from(!well),
            Err(why) => {
                log!("pairs: {why}");
                1
            }
        };
    }
    let mut well = true;
    for (name, case) in [&entropy::CASES[..], &disk::CASES, &network::CASES].concat() {
        well &= report(name, case());
    }
    u8::from(!well)
}

/// Prints how a case went; false when it failed.
fn report(name: &str, outcome: Outcome) -> bool {
    match outcome {
        Ok(()) => log!("case {name} ok"),
        Err(NotOk::Skipped(why)) => log!("case {name} skipped {why}"),
        Err(NotOk::Failed(why)) => {
            log!("case {name} FAILED {why}");
            return false;
        }
    }
    true
}

/// What stands behind `# NAME = ` in the configuration: a comment for everybody else.
fn setting(name: &str) -> Option<&'static str> {
    nom_runtime::configuration()
        .lines()
        .find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(" = "))
        .map(str::trim)
}
