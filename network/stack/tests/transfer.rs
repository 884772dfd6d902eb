//! Bytes arrive exactly once and in order, whatever the link does, and everything that was used comes back.

mod common;

use common::{Faults, Pair, Talker, address};
use nom_stack::application::Ended;

const SECOND: u64 = 1_000_000_000;

fn check_done(pair: &Pair<Talker>, goal: u64, what: &str) {
    for (which, host) in pair.hosts.iter().enumerate() {
        let talker = host.engine.application();
        assert_eq!(talker.flows.len(), 1, "{what}: host {which} opened");
        let flow = talker.flows.values().next().expect("one");
        assert_eq!(flow.read, goal, "{what}: host {which} {:?} {:?}", talker.ended, host.engine.counters());
        assert!(flow.finished, "{what}: host {which} heard the end");
        assert_eq!(talker.ended.len(), 1, "{what}: host {which}");
        assert_eq!(talker.ended[0].1, Ended::Closed, "{what}: host {which}");
        assert!(talker.pins.is_empty(), "{what}: host {which} released all pins");
        assert!(host.engine.is_unused(), "{what}: host {which} holds nothing");
        assert_eq!(host.engine.open_connections(), 0);
    }
}

#[test]
fn a_clean_link() {
    let mut pair = Pair::talkers(1, 300_000);
    let now = pair.now_ns;
    pair.hosts[0].engine.connect(address(2), 80, now).expect("a route");
    pair.run_until(120 * SECOND);
    check_done(&pair, 300_000, "clean");
    for host in &pair.hosts {
        assert_eq!(host.engine.counters().retransmitted_segments, 0);
        assert_eq!(host.engine.counters().timeouts, 0);
        assert_eq!(host.deadline_ns, None, "nothing is left to do");
    }
}

#[test]
fn faults_of_every_kind() {
    for seed in 0..200 {
        let mut pair = Pair::talkers(seed, 60_000);
        pair.faults = Faults {
            loss: [0, 1, 5, 10][seed as usize % 4],
            duplication: [0, 10][seed as usize / 4 % 2],
            reordering: [0, 20][seed as usize / 8 % 2],
            corruption: [0, 5][seed as usize / 16 % 2],
        };
        for host in &mut pair.hosts {
            host.engine.application_mut().lazy = [0, 50][seed as usize / 2 % 2];
            host.engine.application_mut().close_first = seed % 3 != 0;
            host.ring.borrow_mut().lag = [0, 3][seed as usize / 3 % 2];
        }
        // Somebody has to close first.
        pair.hosts[0].engine.application_mut().close_first = true;
        let now = pair.now_ns;
        pair.hosts[0].engine.connect(address(2), 80, now).expect("a route");
        pair.run_until(900 * SECOND);
        check_done(&pair, 60_000, &format!("seed {seed}"));
    }
}
