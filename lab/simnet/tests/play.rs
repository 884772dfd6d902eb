//! Recordings against kv in virtual time: the answers are those of the protocol, whatever the links and the knobs
//! are, and the same seed gives the same world.

use nom_kv::Kv;
use nom_load::recording::Answers;
use nom_load::{Keys, Mix, Pace, Recording};
use nom_simnet::port::Device;
use nom_simnet::{Cost, End, Host, Link, Player, Simulation};
use nom_stack::Config;
use nom_stack::knobs::{Batching, Knobs};
use std::net::Ipv4Addr;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SECOND_NS: u64 = 1_000_000_000;

fn recording() -> Recording {
    let mix = Mix { keys: 20, whose: Keys::Own, value_len_max: 3_000, get_percent: 70, ..Mix::default() };
    Recording::draw(&mix, Pace::Poisson { per_s: 5_000.0 }, 8, 11, 500_000)
}

fn config(number: u8) -> Config {
    Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 9, 0, number), 24)
}

struct Outcome {
    answers: Answers,
    hash: u64,
    accepted: u64,
    kicks: u64,
}

fn play(link: Link, knobs: Knobs, seed: u64) -> Outcome {
    let mut simulation = Simulation::new(seed);
    let kv = Kv::new(nom_kv::Config::new(8 << 20, [3; 16], 0));
    let mut server = Host::new(config(1), Device::default(), Cost::default(), kv, seed);
    server.engine_mut().listen(11211);
    server.engine_mut().set_knobs(knobs, 0);
    let (server_id, server) = simulation.add(server);
    let player = Player::new(config(2), Device::default(), recording(), (SERVER, 11211), seed + 1);
    let (client_id, player) = simulation.add(player);
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, link);
    let waiting = std::rc::Rc::clone(&player);
    assert!(simulation.run_while(300 * SECOND_NS, || !waiting.borrow().is_done()), "the player does not end");
    let answers = player.borrow().answers();
    assert!(answers.connections.values().all(|answered| answered.complete));
    let server = server.borrow();
    Outcome {
        answers,
        hash: simulation.trace_hash(),
        accepted: server.engine().meter().accepted(),
        kicks: server.engine().counters().kicks,
    }
}

#[test]
fn links_and_knobs_change_the_world_but_not_the_answers() {
    let clean = play(Link::gigabit(), Knobs::default(), 1);
    assert_eq!(clean.accepted, recording().arrivals.len() as u64, "every request is one accepted operation");
    let bytes: usize = clean.answers.connections.values().map(|answered| answered.bytes.len()).sum();
    assert!(bytes > 100_000, "many values were found: {bytes}");
    let bad =
        Link { loss: 0.02, duplication: 0.01, reordering: 0.05, reordering_ns: 300_000, ..Link::gigabit() };
    let faulty = play(bad, Knobs::default(), 2);
    assert_eq!(clean.answers.difference(&faulty.answers), None);
    assert_eq!(faulty.accepted, clean.accepted);
    let held = Knobs { batching: Batching::Hold { delay_ns: 500_000 }, ..Knobs::default() };
    let batched = play(Link::gigabit(), held, 1);
    assert_eq!(clean.answers.difference(&batched.answers), None);
    assert!(batched.kicks < clean.kicks, "{} kicks against {}", batched.kicks, clean.kicks);
    assert_ne!(clean.hash, batched.hash);
}

#[test]
fn the_same_seed_plays_the_same_world() {
    let link = Link { loss: 0.05, ..Link::gigabit() };
    let (first, again) = (play(link, Knobs::default(), 5), play(link, Knobs::default(), 5));
    assert_eq!(first.hash, again.hash);
    assert_eq!(first.answers, again.answers);
    assert_ne!(first.hash, play(link, Knobs::default(), 6).hash);
}
