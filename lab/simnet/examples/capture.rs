//! `capture FILE [SEED]`: two stacks exchange 100 kB over a bad link in virtual time; the frames go to a pcapng file.

use nom_simnet::port::Device;
use nom_simnet::stream::{Plan, Stream};
use nom_simnet::{Capture, Cost, End, Host, Link, Simulation};
use nom_stack::Config;
use std::net::Ipv4Addr;

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(path), seed) = (words.next(), words.next().map_or(Ok(1), |word| word.parse())) else {
        eprintln!("usage: capture FILE [SEED]");
        std::process::exit(2);
    };
    let Ok(seed) = seed else {
        eprintln!("capture: the seed is a number");
        std::process::exit(2);
    };
    let link =
        Link { loss: 0.02, duplication: 0.01, reordering: 0.02, reordering_ns: 200_000, ..Link::gigabit() };
    let host = |number: u8, plan| {
        let address = Ipv4Addr::new(10, 9, 0, number);
        let config = Config::new([2, 0, 0, 0, 0, number], address, 24);
        Host::new(config, Device::default(), Cost::default(), Stream::new(plan), seed + u64::from(number))
    };
    let plan = Plan { send: 100_000, expect: 100_000, seed: 1, expect_seed: 1, record: 1, pins: true };
    let mut simulation = Simulation::new(seed);
    let (left, client) = simulation.add(host(1, plan));
    let (right, server) = simulation.add(host(2, plan));
    simulation.connect(End { node: left, port: 0 }, End { node: right, port: 0 }, link);
    simulation.capture(Capture::new());
    server.borrow_mut().engine_mut().listen(7);
    if client.borrow_mut().engine_mut().connect(Ipv4Addr::new(10, 9, 0, 2), 7, 0).is_err() {
        unreachable!("an empty table has room");
    }
    simulation.touch(left);
    simulation.run_until(60_000_000_000);
    let capture = simulation.take_capture().unwrap_or_default();
    if let Err(error) = std::fs::File::create(&path).and_then(|file| capture.write(file)) {
        eprintln!("capture: {path}: {error}");
        std::process::exit(1);
    }
    println!("{path}: {} events, trace {:016x}", simulation.events(), simulation.trace_hash());
}
