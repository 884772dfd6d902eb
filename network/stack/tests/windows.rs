//! Flow control: nobody sends what the other side cannot hold, and nobody waits for ever.

mod common;

use std::collections::BTreeMap;

use common::peer::{hear, segment, syn};
use common::{Faults, Host, Pair, Talker, address, config, stream_byte};
use nom_stack::Seq;
use nom_stack::application::Ended;
use nom_stack::knobs::Knobs;
use nom_stack::wire::tcp::{ACK, Header, Options};

const SECOND: u64 = 1_000_000_000;

/// A segment of TCP as a host told it: what it acknowledges plus its window, and where its bytes end. The window shift is
/// read from its SYN.
struct Told {
    at_ns: u64,
    /// Our port of the connection's two: the same for both directions.
    port: u16,
    edge: u32,
    end: u32,
}

fn told(pair: &Pair<Talker>, which: usize) -> Vec<Told> {
    let mut shifts: BTreeMap<u16, u8> = BTreeMap::new();
    let mut all = Vec::new();
    for (at_ns, frame) in &pair.wires[which].log {
        if frame.len() < 54 || frame[23] != 6 {
            continue;
        }
        let ports = if which == 0 { 34 } else { 36 };
        let port = u16::from_be_bytes([frame[ports], frame[ports + 1]]);
        let header_end = 34 + usize::from(frame[46] >> 4) * 4;
        let options = &frame[54..header_end];
        if frame[47] & 2 != 0 {
            let shift = options.windows(3).find(|kind| kind[..2] == [3, 3]).map_or(0, |kind| kind[2]);
            shifts.insert(port, shift);
            continue;
        }
        let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let window = u32::from(u16::from_be_bytes([frame[48], frame[49]])) << shifts[&port];
        let edge = word(42).wrapping_add(window);
        let end = word(38).wrapping_add((frame.len() - header_end) as u32);
        all.push(Told { at_ns: *at_ns, port, edge, end });
    }
    all
}

/// The right edge that a host told must never move left.
fn edges_never_shrink(pair: &Pair<Talker>, which: usize) {
    let mut edges: BTreeMap<u16, u32> = BTreeMap::new();
    let mut checked = 0;
    for Told { port, edge, .. } in told(pair, which) {
        if let Some(before) = edges.insert(port, edge) {
            assert!(edge.wrapping_sub(before) as i32 >= 0, "the edge moved left");
            checked += 1;
        }
    }
    assert!(checked > 10);
}

/// A host sends nothing beyond what the other one has told until then, but the one byte that asks about a closed window.
fn edges_are_kept(pair: &Pair<Talker>, which: usize) {
    let mut heard = told(pair, 1 - which).into_iter().peekable();
    let mut edges: BTreeMap<u16, u32> = BTreeMap::new();
    for Told { at_ns, port, end, .. } in told(pair, which) {
        while let Some(other) = heard.next_if(|other| other.at_ns <= at_ns) {
            edges.insert(other.port, other.edge);
        }
        let beyond = edges.get(&port).map_or(0, |edge| end.wrapping_sub(*edge) as i32);
        assert!(beyond <= 1, "{beyond} bytes beyond the window");
    }
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
        for which in 0..2 {
            edges_never_shrink(&pair, which);
            edges_are_kept(&pair, which);
        }
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

/// A byte at a time to an application that reads nothing, each acknowledged by itself: what is rounded up to whole units of the
/// window must not let the edge run ahead of the bytes for ever.
#[test]
fn single_bytes_to_a_deaf_application_close_the_window_as_well() {
    const LIMIT: u32 = 70_000;
    let mut config = config(2);
    config.receive_window_bytes = LIMIT;
    config.receive_memory_bytes = 1 << 20;
    let mut host = Host::new(config, |ring| Talker::new(1, 0, ring));
    host.engine.application_mut().deaf = true;
    host.engine.application_mut().close_first = false;
    host.engine.listen(80);
    host.engine.set_knobs(Knobs { ack_delay_ns: 0, ..Knobs::default() }, 0);
    let client = address(9);
    let mut now_ns = 1_000_000;
    let mut ask = |host: &mut Host<Talker>, header: Header, options: &Options, payload: &[u8]| {
        now_ns += 1_000;
        host.give(segment(client, header, options, payload), now_ns);
        host.step(now_ns);
        let frames = host.take_shown();
        frames.iter().filter(|frame| frame[23] == 6).map(|frame| hear(frame)).collect::<Vec<_>>()
    };
    let shift = Options { window_shift: Some(0), ..Options::default() };
    let answered = ask(&mut host, syn(4_000, 99), &shift, &[]);
    let unit = 1u32 << answered[0].options.window_shift.expect("it is larger than the field");
    assert!(unit > 1);
    let first = answered[0].header.sequence.plus(1);
    let header = |sequence| Header { flags: ACK, acknowledgement: first, sequence, ..syn(4_000, 0) };
    let (mut next, mut edge, mut shrunk) = (Seq(100), Seq(100), 0);
    for place in 0.. {
        let byte = stream_byte(1, place);
        let heard = ask(&mut host, header(next), &Options::default(), &[byte]);
        let told = heard.last().expect("each byte is acknowledged").header;
        let now_edge = told.acknowledgement.plus(u32::from(told.window) * unit);
        let left = edge.since(now_edge) as i32;
        assert!(left < unit as i32, "the edge moved left by {left} at byte {place}");
        shrunk += u32::from(left > 0);
        edge = now_edge;
        next = next.plus(1);
        assert_eq!(told.acknowledgement, next, "byte {place}");
        if told.window == 0 {
            break;
        }
        assert!(place < u64::from(2 * LIMIT), "the window never closes");
    }
    let view = host.engine.view(0).expect("it is open");
    let over = view.unread.checked_sub(LIMIT).expect("a window is used up");
    assert!(over <= LIMIT / 32, "{over} bytes beyond the window");
    // Its edge moves left by a single byte and only once it had run ahead far enough.
    assert!(over > LIMIT / 64 && shrunk > 0);
    // What was taken is all there.
    host.engine.application_mut().deaf = false;
    let id = host.engine.application().opened[0].0;
    host.engine.with_connection(id, 1_000_000_000, |_, _| ()).expect("it is open");
    assert_eq!(host.engine.application().flows[&id].read, u64::from(view.unread));
}
