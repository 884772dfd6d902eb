//! Openings that fail and ends of all kinds.

mod common;

use std::net::Ipv4Addr;

use common::{Pair, Random, Talker, address};
use nom_stack::ConnectError;
use nom_stack::application::{Ended, Io};
use nom_stack::knobs::Knobs;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn reasons(pair: &Pair<Talker>, which: usize) -> Vec<Ended> {
    pair.hosts[which].engine.application().ended.iter().map(|end| end.1).collect()
}

fn connect(pair: &mut Pair<Talker>, port: u16) -> nom_stack::application::ConnectionId {
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.connect(address(2), port, now_ns).expect("a route and a record")
}

#[test]
fn one_direction_stays_open_after_the_other_ended() {
    let mut pair = Pair::talkers(1, 0);
    pair.hosts[1].engine.application_mut().goal = 200_000;
    connect(&mut pair, 80);
    pair.run_until(200 * SECOND);
    let flow = pair.hosts[0].engine.application().flows.values().next().expect("one").clone();
    assert!(flow.closed && flow.finished);
    assert_eq!(flow.read, 200_000);
    assert_eq!((reasons(&pair, 0), reasons(&pair, 1)), (vec![Ended::Closed], vec![Ended::Closed]));
    assert!(pair.hosts.iter().all(|host| host.engine.is_unused()));
}

#[test]
fn both_close_at_the_same_time() {
    let mut pair = Pair::talkers(1, 1_000);
    for host in &mut pair.hosts {
        host.engine.application_mut().goal = 100_000_000;
    }
    let id = connect(&mut pair, 80);
    pair.run_until(pair.now_ns + 2 * MILLISECOND);
    let now_ns = pair.now_ns;
    let other = pair.hosts[1].engine.application().opened[0].0;
    for (which, id) in [(0, id), (1, other)] {
        pair.hosts[which]
            .engine
            .with_connection(id, now_ns, |application, io| {
                let flow = application.flows.get_mut(&id).expect("open");
                flow.goal = flow.written;
                flow.closed = true;
                io.close();
            })
            .expect("open");
    }
    pair.run_until(200 * SECOND);
    assert_eq!((reasons(&pair, 0), reasons(&pair, 1)), (vec![Ended::Closed], vec![Ended::Closed]));
    assert!(pair.hosts.iter().all(|host| host.engine.is_unused()));
    let [one, other] = &pair.hosts;
    let [one, other] = [one, other].map(|host| host.engine.application().flows.values().next().expect("one"));
    assert_eq!((one.read, other.read), (other.written, one.written));
}

#[test]
fn an_abort_resets_the_other_side_and_returns_every_pin() {
    let mut pair = Pair::talkers(3, 100_000_000);
    let id = connect(&mut pair, 80);
    pair.run_until(pair.now_ns + 2 * MILLISECOND);
    let now_ns = pair.now_ns;
    assert!(!pair.hosts[0].engine.application().pins.is_empty(), "something was on its way");
    pair.hosts[0].engine.with_connection(id, now_ns, |_, io| io.abort());
    assert_eq!(reasons(&pair, 0), [Ended::Aborted]);
    assert_eq!(pair.hosts[0].engine.with_connection(id, now_ns, |_, _| ()), None, "the name is stale");
    pair.run_until(now_ns + SECOND);
    assert_eq!(reasons(&pair, 1), [Ended::Reset]);
    assert!(pair.hosts.iter().all(|host| host.engine.is_unused()));
    assert!(pair.hosts.iter().all(|host| host.engine.application().pins.is_empty()));
}

#[test]
fn openings_that_cannot_succeed_say_why() {
    let mut pair = Pair::talkers(1, 10);
    let now_ns = pair.now_ns;
    assert_eq!(
        pair.hosts[0].engine.connect(Ipv4Addr::new(192, 0, 2, 1), 80, now_ns),
        Err(ConnectError::NoRoute)
    );
    connect(&mut pair, 81);
    pair.run_until(now_ns + SECOND);
    assert_eq!(reasons(&pair, 0), [Ended::Refused]);
    pair.hosts[0].engine.connect(address(77), 80, now_ns).expect("a route");
    pair.run_until(now_ns + 200 * SECOND);
    assert_eq!(reasons(&pair, 0), [Ended::Refused, Ended::TimedOut]);
    assert!(pair.hosts.iter().all(|host| host.engine.is_unused() && host.deadline_ns.is_none()));
}

#[test]
fn the_limit_on_connections_refuses_the_next_one_and_spares_the_others() {
    let mut pair = Pair::talkers(1, 100_000_000);
    let now_ns = pair.now_ns;
    pair.hosts[1].engine.set_knobs(Knobs { connections_max: 3, ..Knobs::default() }, now_ns);
    for _ in 0..5 {
        connect(&mut pair, 80);
        pair.run_until(pair.now_ns + MILLISECOND);
    }
    assert_eq!(reasons(&pair, 0), [Ended::Refused, Ended::Refused]);
    assert_eq!(pair.hosts[1].engine.open_connections(), 3);
}

#[test]
fn a_silent_peer_is_given_up_after_a_while() {
    let mut pair = Pair::talkers(1, 100_000_000);
    connect(&mut pair, 80);
    pair.run_until(pair.now_ns + 2 * MILLISECOND);
    pair.faults.loss = 100;
    pair.run_until(1_000 * SECOND);
    assert_eq!((reasons(&pair, 0), reasons(&pair, 1)), (vec![Ended::TimedOut], vec![Ended::TimedOut]));
    assert!(pair.hosts.iter().all(|host| host.engine.is_unused()));
}

/// Rewrites sequence number and flags of a captured segment, as somebody would who saw the ports.
fn forge(captured: &[u8], sequence: u32, flags: u8) -> Vec<u8> {
    let mut frame = captured[..54].to_vec();
    frame[16..18].copy_from_slice(&40u16.to_be_bytes());
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = |bytes: &[u8], start: u32| {
        let mut sum = start;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    };
    let header = sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame[38..42].copy_from_slice(&sequence.to_be_bytes());
    frame[46] = 5 << 4;
    frame[47] = flags;
    frame[50..52].copy_from_slice(&[0, 0]);
    let addresses: u32 =
        frame[26..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let segment = sum(&frame[34..54], addresses + 6 + 20);
    frame[50..52].copy_from_slice(&segment.to_be_bytes());
    frame
}

#[test]
fn guessed_resets_and_openings_are_challenged_and_exact_resets_obeyed() {
    let mut pair = Pair::talkers(1, 1_000);
    for host in &mut pair.hosts {
        host.engine.application_mut().close_first = false;
    }
    connect(&mut pair, 80);
    pair.run_until(pair.now_ns + SECOND);
    let (_, last) = pair.wires[0].log.last().expect("it talked").clone();
    let len = u32::from(u16::from_be_bytes([last[16], last[17]])) - 20 - u32::from(last[46] >> 4) * 4;
    let next = u32::from_be_bytes([last[38], last[39], last[40], last[41]]).wrapping_add(len);
    let mut random = Random::new(1);
    let forge_and_give = |pair: &mut Pair<Talker>, offset: u32, flags: u8| {
        let now_ns = pair.now_ns;
        pair.hosts[1].give(forge(&last, next.wrapping_add(offset), flags), now_ns);
        pair.hosts[1].step(now_ns);
    };
    for _ in 0..50 {
        forge_and_give(&mut pair, 1_000_000 + random.below(1 << 30) as u32, 4);
        forge_and_give(&mut pair, 1 + random.below(60_000) as u32, 4);
        forge_and_give(&mut pair, random.below(60_000) as u32, 2);
    }
    assert_eq!(pair.hosts[1].engine.open_connections(), 1, "guesses do nothing");
    assert_eq!(pair.hosts[1].engine.counters().challenges, 100, "those in the window are challenged");
    forge_and_give(&mut pair, 0, 4);
    assert_eq!(reasons(&pair, 1), [Ended::Reset]);
}

/// The last frame that host 0 sent, with another acknowledgement by so much, right where the next one is expected.
fn acknowledging(pair: &Pair<Talker>, by: u32) -> Vec<u8> {
    let (_, last) = pair.wires[0].log.last().expect("it talked").clone();
    let len = u32::from(u16::from_be_bytes([last[16], last[17]])) - 20 - u32::from(last[46] >> 4) * 4;
    let word = |at: usize| u32::from_be_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
    let mut changed = last.clone();
    changed[42..46].copy_from_slice(&word(42).wrapping_add(by).to_be_bytes());
    forge(&changed, word(38).wrapping_add(len), 16)
}

#[test]
fn acknowledgements_of_what_was_never_sent_or_long_ago_are_challenged() {
    let mut pair = Pair::talkers(1, 1_000);
    for host in &mut pair.hosts {
        host.engine.application_mut().close_first = false;
    }
    connect(&mut pair, 80);
    pair.run_until(pair.now_ns + SECOND);
    for (by, challenges) in [(0, 0), (1, 1), (1 << 30, 2), (0_u32.wrapping_sub(1 << 30), 3)] {
        let now_ns = pair.now_ns;
        let frame = acknowledging(&pair, by);
        pair.hosts[1].give(frame, now_ns);
        pair.hosts[1].step(now_ns);
        assert_eq!(pair.hosts[1].engine.counters().challenges, challenges, "{by}");
    }
    assert_eq!(pair.hosts[1].engine.open_connections(), 1);
}

#[test]
fn whoever_answers_after_a_silence_is_where_the_next_frames_go() {
    const ELSEWHERE: [u8; 6] = [2, 7, 7, 7, 7, 7];
    for silent in [false, true] {
        let mut pair = Pair::talkers(1, 3_000_000);
        connect(&mut pair, 80);
        pair.run_until(pair.now_ns + 2_000_000);
        let mut frame = acknowledging(&pair, 0);
        frame[6..12].copy_from_slice(&ELSEWHERE);
        if silent {
            // Nothing comes through for two seconds, so it is sent again.
            let end_ns = pair.now_ns + 2 * SECOND;
            while let Some(at_ns) = pair.hosts[1].deadline_ns.filter(|at_ns| *at_ns < end_ns) {
                pair.now_ns = pair.now_ns.max(at_ns);
                pair.hosts[1].step(pair.now_ns);
                pair.hosts[1].take_shown();
            }
            assert!(pair.hosts[1].engine.counters().timeouts > 0);
        }
        let now_ns = pair.now_ns;
        pair.hosts[1].give(frame, now_ns);
        pair.hosts[1].step(now_ns);
        pair.hosts[1].take_shown();
        pair.hosts[1].step(now_ns + 10 * SECOND);
        let shown = pair.hosts[1].take_shown();
        assert!(!shown.is_empty());
        let to = if silent { ELSEWHERE } else { [2, 0, 0, 0, 0, 1] };
        assert!(shown.iter().all(|frame| frame[..6] == to), "after a silence: {silent}");
    }
}

#[test]
fn a_lingering_connection_makes_room_for_the_same_peer_and_goes_in_the_end() {
    let mut pair = Pair::talkers_with(1, 100, |config| {
        config.connections = 2;
        config.time_wait = 2;
    });
    for round in 0..10 {
        connect(&mut pair, 80);
        pair.run_until(pair.now_ns + SECOND);
        assert_eq!(reasons(&pair, 0).len(), round + 1, "lingering ones make room");
    }
    assert!(!pair.hosts.iter().all(|host| host.engine.is_unused()), "somebody lingers");
    pair.run_until(pair.now_ns + 100 * SECOND);
    assert!(pair.hosts.iter().all(|host| host.engine.is_unused() && host.deadline_ns.is_none()));
}
