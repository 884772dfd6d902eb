//! Flow control: nobody sends what the other side cannot hold, and nobody waits for ever.

mod common;

use std::collections::BTreeMap;

use common::{Faults, Pair, Talker, address};
use nom_stack::application::Ended;

const SECOND: u64 = 1_000_000_000;

/// The right edge that a host told must never move left. The window shift is read from its SYN.
fn edges_never_shrink(pair: &Pair<Talker>, which: usize) {
    let mut shifts: BTreeMap<u16, u8> = BTreeMap::new();
    let mut edges: BTreeMap<u16, u32> = BTreeMap::new();
    let mut checked = 0;
    for (_, frame) in &pair.wires[which].log {
        if frame.len() < 54 || frame[23] != 6 {
            continue;
        }
        let ports = if which == 0 { 34 } else { 36 };
        let port = u16::from_be_bytes([frame[ports], frame[ports + 1]]);
        let options = &frame[54..34 + usize::from(frame[46] >> 4) * 4];
        if frame[47] & 2 != 0 {
            let shift = options.windows(3).find(|kind| kind[..2] == [3, 3]).map_or(0, |kind| kind[2]);
            shifts.insert(port, shift);
            continue;
        }
        let acknowledgement = u32::from_be_bytes([frame[42], frame[43], frame[44], frame[45]]);
        let window = u32::from(u16::from_be_bytes([frame[48], frame[49]])) << shifts[&port];
        let edge = acknowledgement.wrapping_add(window);
        if let Some(before) = edges.insert(port, edge) {
            assert!(edge.wrapping_sub(before) as i32 >= 0, "the edge moved left");
            checked += 1;
        }
    }
    assert!(checked > 10);
}

#[test]
fn a_deaf_application_closes_the_window_and_probes_open_it_again() {
    for (seed, window) in [(1, 65_535), (2, 300_000), (3, 4_000)] {
        let mut pair = Pair::talkers_with(seed, 400_000, |config| config.receive_window_bytes = window);
        pair.hosts[1].engine.application_mut().deaf = true;
        pair.hosts[1].engine.application_mut().close_first = false;
        let now_ns = pair.now_ns;
        pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
        pair.run_until(60 * SECOND);
        let probes = pair.hosts[0].engine.counters().window_probes;
        assert!((3..30).contains(&probes), "{probes} probes in a minute");
        assert_eq!(pair.hosts[1].engine.application().flows.values().next().expect("one").read, 0);
        let events = pair.events;
        assert!(events < 3_000, "a closed window costs nearly nothing: {events} events");
        pair.hosts[1].engine.application_mut().deaf = false;
        let id = pair.hosts[1].engine.application().opened[0].0;
        let now_ns = pair.now_ns;
        pair.hosts[1].engine.with_connection(id, now_ns, |_, _| ()).expect("it is open");
        pair.run_until(2_000 * SECOND);
        for (which, host) in pair.hosts.iter().enumerate() {
            let talker = host.engine.application();
            assert_eq!(talker.flows.values().next().expect("one").read, 400_000, "host {which}");
            assert_eq!(talker.ended[0].1, Ended::Closed);
            assert!(host.engine.is_unused());
        }
        edges_never_shrink(&pair, 0);
        edges_never_shrink(&pair, 1);
    }
}

#[test]
fn windows_never_shrink_under_faults_and_lazy_readers() {
    for seed in 0..30 {
        let window = [3_000, 65_535, 200_000][seed as usize % 3];
        let mut pair = Pair::talkers_with(seed, 150_000, |config| config.receive_window_bytes = window);
        pair.faults = Faults { loss: 2, duplication: 2, reordering: 10, corruption: 0 };
        for host in &mut pair.hosts {
            host.engine.application_mut().lazy = 70;
        }
        let now_ns = pair.now_ns;
        pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
        pair.run_until(600 * SECOND);
        edges_never_shrink(&pair, 0);
        edges_never_shrink(&pair, 1);
        for host in &pair.hosts {
            assert_eq!(host.engine.application().flows.values().next().expect("one").read, 150_000, "{seed}");
        }
    }
}

#[test]
fn many_connections_share_little_memory_and_all_finish() {
    let mut pair = Pair::talkers_with(5, 20_000, |config| {
        config.send_memory_bytes = 64 << 10;
        config.receive_memory_bytes = 32 << 10;
    });
    pair.faults.loss = 1;
    for _ in 0..100 {
        let now_ns = pair.now_ns;
        pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    }
    pair.run_until(600 * SECOND);
    for host in &pair.hosts {
        let talker = host.engine.application();
        assert_eq!(talker.flows.len(), 100);
        assert!(talker.flows.values().all(|flow| flow.read == 20_000));
        assert!(host.engine.is_unused());
    }
}
