//! The cases that only a ring-3 application in a guest can try.
//!
//! Each prints `case NAME ok`, `case NAME FAILED why`, or `case NAME skipped why` where the machine lacks what it wants;
//! the last line is `N passed, N failed, N skipped`, and the exit code is 0 when none failed. With `# ending = NAME` in the configuration it ends in that way instead of running the cases,
//! so that a host can see how the kernel ends an application.
//!
//! In an image that holds it several times it goes by its name there: `many` tries what several applications do to each
//! other, and starts the others, which do what it orders ([`orders`]); `devices` tries what devices may reach; `rogue`
//! and `keeper` live beside services that are tried from outside ([`rogue`]).

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod board;
mod calls;
mod cores;
mod device;
mod dma;
mod endings;
mod extremes;
mod faults;
mod flight;
mod foreign;
mod frames;
mod large_dma;
mod many;
mod measured;
mod memory;
mod neighbour;
mod orders;
mod paging;
mod plug;
mod ports;
mod rogue;
mod rows;
mod steering;
mod threads;
mod time;
mod upcalls;
mod vectors;

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

const CASES: [&[Case]; 11] = [
    &calls::CASES,
    &memory::CASES,
    &frames::CASES,
    &faults::CASES,
    &paging::CASES,
    &upcalls::CASES,
    &vectors::CASES,
    &time::CASES,
    &board::CASES,
    &device::CASES,
    &foreign::CASES,
];

fn main() -> u8 {
    // The first deed, before anything else: the host stamps it to tell how soon an application runs.
    log!("the application runs");
    if let Some(ending) = endings::wanted() {
        return endings::run(ending);
    }
    if let Some(seconds) = measured::wanted() {
        return measured::run(seconds);
    }
    if rows::wanted() {
        return rows::run();
    }
    match nom_runtime::name() {
        "many" => {
            let code = run(&[&many::CASES, &cores::CASES, &threads::CASES]);
            let _ = nom_runtime::call::end_application("peer");
            code
        }
        "devices" => {
            let code = match dma::may_be_had() {
                true if plug::wanted() => run(&[&plug::CASES]),
                true if nom_runtime::trusted() => {
                    run(&[&device::CASES, &steering::CASES, &ports::CASES, &dma::CASES])
                }
                true => run(&[
                    &device::CASES,
                    &steering::CASES,
                    &ports::CASES,
                    &dma::CASES,
                    &dma::CONFINED_CASES,
                    &large_dma::CASES,
                ]),
                false => run(&[&dma::REFUSED]),
            };
            let _ = nom_runtime::call::end_application("peer");
            code
        }
        "peer" | "other" | "again" => orders::obey(),
        "extremes" => run(&[&extremes::CASES]),
        "victim" => run(&[&neighbour::CASES]),
        "hostile" => neighbour::attack(),
        "rogue" => rogue::attack(),
        "keeper" => rogue::keep(),
        _ => run(&CASES),
    }
}

fn run(cases: &[&[Case]]) -> u8 {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, case) in cases.iter().copied().flatten() {
        match case() {
            Ok(()) => {
                passed += 1;
                log!("case {name} ok");
            }
            Err(NotOk::Skipped(why)) => {
                skipped += 1;
                log!("case {name} skipped {why}");
            }
            Err(NotOk::Failed(why)) => {
                failed += 1;
                log!("case {name} FAILED {why}");
            }
        }
    }
    log!("{passed} passed, {failed} failed, {skipped} skipped");
    u8::from(failed > 0)
}
