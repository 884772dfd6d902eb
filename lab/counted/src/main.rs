//! The program whose instructions are counted: requests through the stack, and through an application on it.
//!
//! It runs under valgrind's callgrind, which collects only inside of the functions named `counted`; what the other
//! side does, opening connections, and start-up lie outside. The experiment that starts it divides what was collected
//! by the number of requests. It is built with the profile of guests, so that what is counted is what ships.
//!
//! ```text
//! nom-counted PROGRAM CONNECTIONS BATCH ROUNDS [checksum]
//! nom-counted tuner-CONTRACT POINTS 1 DECISIONS
//! nom-counted estimators 1 BATCH ROUNDS
//! nom-counted switch FRAME_LEN BATCH ROUNDS
//! ```

#![forbid(unsafe_code)]

mod client;
mod device;
mod driver;
mod httpd;
mod kv;
mod ours;
mod smoltcp;
mod switch;
mod tuner;

use std::process::ExitCode;

/// Time between two batches: 10,000 connections that ask one after the other come again, and acknowledge what they were
/// answered, before a time-out.
const STEP_NS: u64 = 10_000;
/// What the stack's own bench sends and gets.
const REQUEST_LEN: usize = 64;
const ANSWER_LEN: usize = 1024;
/// Consecutive requests come from connections that are this far apart, so that no memory is near by chance.
const STRIDE: usize = 7_919;

/// How many, and how.
pub struct Load {
    connections: usize,
    batch: usize,
    rounds: usize,
    /// The device does nothing about checksums.
    checksum: bool,
}

impl Load {
    /// Batches before the count, in which every connection is asked once.
    fn warm_up(&self) -> usize {
        self.connections.div_ceil(self.batch)
    }

    /// The connections in the order in which they ask.
    fn walk(&self) -> Walk {
        Walk { at: 0, connections: self.connections }
    }
}

struct Walk {
    at: usize,
    connections: usize,
}

impl Walk {
    fn next(&mut self) -> usize {
        let at = self.at;
        self.at = (at + STRIDE) % self.connections;
        at
    }
}

/// What is asked.
pub struct Script<'a> {
    /// Requests before those that are counted, with the length of their answers.
    before: &'a [(&'a [u8], usize)],
    request: &'a [u8],
    answer_len: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((program, load)) = parse(&words) else {
        eprintln!(
            "usage: nom-counted stack|smoltcp|kv|httpd|driver|least|tuner-*|estimators|switch CONNECTIONS BATCH ROUNDS [checksum]"
        );
        return ExitCode::FAILURE;
    };
    let script = Script { before: &[], request: &[b'q'; REQUEST_LEN], answer_len: ANSWER_LEN };
    match program {
        "stack" => ours::play(&load, &script, ours::Replies::new(ANSWER_LEN)),
        "smoltcp" => smoltcp::play(&load, &script),
        "kv" => kv::play(&load),
        "driver" => driver::play(&load),
        "least" => driver::play_least(&load),
        "switch" if (60..=1514).contains(&load.connections) => {
            println!("notifications {}", switch::play(load.connections, load.batch, load.rounds));
        }
        _ if program.strip_prefix("httpd").is_some_and(|variant| httpd::play(&load, variant)) => {}
        "estimators" => tuner::estimate(&load),
        _ if program.strip_prefix("tuner-").is_some_and(|contract| tuner::play(contract, &load)) => {}
        _ => {
            eprintln!("nom-counted: no program {program:?}");
            return ExitCode::FAILURE;
        }
    }
    println!("requests {}", load.batch * load.rounds);
    ExitCode::SUCCESS
}

fn parse(words: &[String]) -> Option<(&str, Load)> {
    let [program, connections, batch, rounds, rest @ ..] = words else { return None };
    let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number > 0);
    let checksum = match rest {
        [] => false,
        [word] if word == "checksum" => true,
        _ => return None,
    };
    let (connections, batch, rounds) = (number(connections)?, number(batch)?, number(rounds)?);
    let fits = batch <= device::RING / 2 && connections <= 10_000;
    fits.then_some((program, Load { connections, batch, rounds, checksum }))
}
