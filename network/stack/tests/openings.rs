//! Openings seen from the wire: floods, cookies, both sides at once, and the neighbours' questions.

mod common;

use common::peer::{Heard, MAC, hear, packet, segment, server, syn};
use common::{Host, Pair, Random, Talker, address, config};
use nom_stack::Seq;
use nom_stack::admission::Prefix;
use nom_stack::counters::Drop;
use nom_stack::knobs::{Batching, Early};
use nom_stack::wire::arp::{Arp, Operation};
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ethernet::{BROADCAST, Ethernet, TYPE_ARP};
use nom_stack::wire::ipv4::{Ipv4, PROTOCOL_ICMP};
use nom_stack::wire::tcp::{ACK, FIN, Header, Options, PSH, RST, SYN};
use std::net::Ipv4Addr;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

#[test]
fn a_flood_of_openings_leaves_open_connections_undisturbed_and_new_ones_possible() {
    let mut pair = Pair::talkers_with(1, 3_000_000, |config| {
        config.half_open = 16;
        config.connections = 64;
    });
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    pair.run_until(now_ns + MILLISECOND);
    let mut random = Random::new(7);
    let options = Options { segment_max: Some(1460), ..Options::default() };
    for round in 0..200 {
        let now_ns = pair.now_ns;
        for _ in 0..500 {
            let source = Ipv4Addr::from_bits(0x0b00_0000 + random.below(1 << 24) as u32);
            let header = syn(random.next() as u16 | 1, random.next() as u32);
            pair.hosts[1].give(segment(source, header, &options, &[]), now_ns);
        }
        if round == 100 {
            pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
        }
        pair.run_until(now_ns + 5 * MILLISECOND);
    }
    pair.run_until(pair.now_ns + 300 * SECOND);
    let counters = pair.hosts[1].engine.counters();
    assert!(counters.cookies_sent > 99_000, "{}", counters.cookies_sent);
    assert_eq!(counters.cookies_accepted, 1, "a real client came in by its cookie");
    for host in &pair.hosts {
        let talker = host.engine.application();
        assert_eq!(talker.flows.len(), 2);
        assert!(talker.flows.values().all(|flow| flow.read == 3_000_000));
        assert!(host.engine.is_unused());
    }
}

#[test]
fn a_guessed_cookie_opens_nothing() {
    let mut host = server(1);
    let mut random = Random::new(3);
    for port in 1..3 {
        host.give(segment(address(9), syn(port, 5), &Options::default(), &[]), SECOND);
    }
    host.step(SECOND);
    assert_eq!(host.engine.counters().cookies_sent, 1);
    for port in 1_000..6_000 {
        let guess = Header {
            flags: ACK,
            sequence: Seq(random.next() as u32),
            acknowledgement: Seq(random.next() as u32),
            ..syn(port, 0)
        };
        host.give(segment(address(9), guess, &Options::default(), b"hello"), SECOND);
        host.step(SECOND);
    }
    assert_eq!(host.engine.open_connections(), 0);
    assert_eq!(host.engine.counters().cookies_accepted, 0);
    assert_eq!(host.engine.counters().resets_out, 2_000, "and resets are bounded");
}

#[test]
fn both_sides_open_at_once() {
    let mut host = server(8);
    let now_ns = SECOND;
    // It learns where we are from our own question.
    let mut frame = vec![0; 42];
    Ethernet { destination: BROADCAST, source: MAC, ethertype: TYPE_ARP }.emit(&mut frame);
    let question = Arp {
        operation: Operation::Request,
        sender_mac: MAC,
        sender: address(9),
        target_mac: [0; 6],
        target: address(2),
    };
    question.emit(&mut frame[14..]);
    host.give(frame, now_ns);
    host.step(now_ns);
    let answer = host.take_shown().pop().expect("an answer");
    let arp = Arp::parse(&answer[14..]).expect("of this kind");
    assert_eq!((arp.operation, arp.sender, arp.target_mac), (Operation::Reply, address(2), MAC));

    host.engine.connect(address(9), 7, now_ns).expect("a route");
    let first = hear(&host.take_shown().pop().expect("a SYN")).header;
    assert_eq!(first.flags, SYN);
    let ours = Header { source_port: 7, destination_port: first.source_port, ..syn(7, 1_000) };
    let options = Options { segment_max: Some(1_000), ..Options::default() };
    host.give(segment(address(9), ours, &options, &[]), now_ns);
    host.step(now_ns);
    let second = hear(&host.take_shown().pop().expect("a SYN-ACK"));
    assert_eq!((second.header.flags, second.header.sequence), (SYN | ACK, first.sequence));
    assert_eq!(second.header.acknowledgement, Seq(1_001));
    let last = Header { flags: ACK | SYN, acknowledgement: first.sequence.plus(1), ..ours };
    host.give(segment(address(9), last, &options, &[]), now_ns);
    host.step(now_ns);
    assert_eq!(host.engine.open_connections(), 1);
    assert!(host.engine.application().opened[0].2, "it was us who opened it");
}

#[test]
fn a_late_answer_counts_although_the_neighbour_is_doubted_by_then() {
    let mut host = server(8);
    let mut now_ns = SECOND;
    host.engine.connect(address(9), 7, now_ns).expect("a route");
    // The first question for the neighbour's address is answered, the one after two time-outs is not.
    let mut syns = Vec::new();
    let mut questions = 0;
    while questions < 2 {
        for frame in host.take_shown() {
            if Arp::parse(&frame[14..]).is_none() {
                syns.push(hear(&frame).header);
                continue;
            }
            questions += 1;
            if questions == 1 {
                let mut frame = vec![0; 42];
                Ethernet { destination: BROADCAST, source: MAC, ethertype: TYPE_ARP }.emit(&mut frame);
                let answer = Arp {
                    operation: Operation::Reply,
                    sender_mac: MAC,
                    sender: address(9),
                    target_mac: [2, 0, 0, 0, 0, 2],
                    target: address(2),
                };
                answer.emit(&mut frame[14..]);
                host.give(frame, now_ns);
            }
        }
        host.step(now_ns);
        if questions < 2 {
            now_ns = host.deadline_ns.expect("it is tried again").max(now_ns);
        }
    }
    assert!(!syns.is_empty() && syns.iter().all(|header| header.flags == SYN));
    let answer = Header {
        source_port: 7,
        destination_port: syns[0].source_port,
        flags: SYN | ACK,
        acknowledgement: syns[0].sequence.plus(1),
        ..syn(7, 1_000)
    };
    host.give(segment(address(9), answer, &Options::default(), &[]), now_ns);
    host.step(now_ns);
    assert_eq!(host.engine.open_connections(), 1);
    assert_eq!(host.engine.counters().resets_out, 0);
    let last = hear(&host.take_shown().pop().expect("an acknowledgement")).header;
    assert_eq!((last.flags & (SYN | ACK | RST), last.sequence), (ACK, syns[0].sequence.plus(1)));
}

#[test]
fn who_is_half_open_does_not_end_a_hold_for_those_who_are_open() {
    let mut host = server(8);
    let mut now_ns = SECOND;
    host.give(segment(address(9), syn(7, 1_000), &Options::default(), &[]), now_ns);
    host.step(now_ns);
    let answer = hear(&host.take_shown().pop().expect("a SYN-ACK"));
    let acknowledgement = answer.header.sequence.plus(1);
    let last = Header { flags: ACK, sequence: Seq(1_001), acknowledgement, ..syn(7, 0) };
    host.give(segment(address(9), last, &Options::default(), &[]), now_ns);
    host.give(segment(address(9), syn(8, 2_000), &Options::default(), &[]), now_ns);
    host.step(now_ns);
    assert_eq!(host.engine.open_connections(), 1);
    host.batch(Batching::Hold { delay_ns: MILLISECOND }, Early::EveryConnectionHeard, now_ns);
    let before = host.engine.counters().frames_in;
    // The half-open one says again what it said. The open one may still say something, so this waits for it.
    now_ns += 1;
    host.give(segment(address(9), syn(8, 2_000), &Options::default(), &[]), now_ns);
    host.step(now_ns);
    assert_eq!(host.engine.counters().frames_in, before, "held");
    host.step(now_ns + MILLISECOND);
    assert_eq!(host.engine.counters().frames_in, before + 1);
}

#[test]
fn options_are_agreed_upon_and_segments_obey_them() {
    let mut host = server(8);
    let offered =
        Options { segment_max: Some(700), window_shift: Some(5), sack_permitted: true, ..Options::default() };
    host.give(segment(address(9), syn(7, 1_000), &offered, &[]), SECOND);
    host.step(SECOND);
    let answer = hear(&host.take_shown().pop().expect("a SYN-ACK"));
    assert_eq!(answer.options.segment_max, Some(1460));
    assert_eq!(answer.options.window_shift, Some(0));
    assert!(answer.options.sack_permitted);
    host.engine.application_mut().goal = 20_000;
    let ack = Header {
        flags: ACK,
        sequence: Seq(1_001),
        acknowledgement: answer.header.sequence.plus(1),
        window: 100,
        ..syn(7, 0)
    };
    host.give(segment(address(9), ack, &Options::default(), &[]), SECOND);
    host.step(SECOND);
    let data: Vec<Heard> = host.take_shown().iter().map(|frame| hear(frame)).collect();
    assert!(data.iter().all(|heard| heard.payload.len() <= 700));
    let sum: usize = data.iter().map(|heard| heard.payload.len()).sum();
    assert!((2_800..=3_200).contains(&sum), "{sum} bytes in a window of 100 << 5");
}

#[test]
fn a_plain_opening_gets_a_plain_answer() {
    let mut host = server(8);
    host.give(segment(address(9), syn(7, 1_000), &Options::default(), &[]), SECOND);
    host.step(SECOND);
    let answer = hear(&host.take_shown().pop().expect("a SYN-ACK"));
    assert_eq!(answer.options, Options { segment_max: Some(1460), ..Options::default() });
    // The same again: the answer again, with the same number.
    host.give(segment(address(9), syn(7, 1_000), &Options::default(), &[]), SECOND);
    host.step(SECOND);
    let again = hear(&host.take_shown().pop().expect("a SYN-ACK"));
    assert_eq!(again.header.sequence, answer.header.sequence);
    // And it is sent again by itself, a few times, and then forgotten.
    let mut shown = 0;
    let mut now_ns = SECOND;
    while let Some(deadline_ns) = host.deadline_ns {
        now_ns = deadline_ns;
        host.step(now_ns);
        shown += host.take_shown().len();
    }
    assert_eq!(shown, 5);
    assert!(now_ns < 80 * SECOND);
    assert!(host.engine.is_unused());
}

#[test]
fn segments_of_nobody_are_reset_and_resets_are_not_answered() {
    let mut host = server(8);
    let stray = Header { flags: ACK | PSH, acknowledgement: Seq(77), ..syn(7, 1_000) };
    host.give(segment(address(9), stray, &Options::default(), b"abc"), SECOND);
    let closed = Header { destination_port: 81, ..syn(8, 500) };
    host.give(segment(address(9), closed, &Options::default(), &[]), SECOND);
    let reset = Header { flags: RST, ..syn(7, 1_000) };
    host.give(segment(address(9), reset, &Options::default(), &[]), SECOND);
    let odd = Header { flags: FIN, ..syn(7, 1_000) };
    host.give(segment(address(9), odd, &Options::default(), &[]), SECOND);
    host.step(SECOND);
    let answers: Vec<_> = host.take_shown().iter().map(|frame| hear(frame).header).collect();
    assert_eq!(answers.len(), 3);
    assert_eq!((answers[0].flags, answers[0].sequence), (RST, Seq(77)));
    assert_eq!((answers[1].flags, answers[1].acknowledgement), (RST | ACK, Seq(501)));
    assert_eq!((answers[2].flags, answers[2].acknowledgement), (RST | ACK, Seq(1_001)));
}

#[test]
fn echoes_come_back_whole_and_the_rest_is_dropped_by_reason() {
    let mut host = server(8);
    for len in [0usize, 1, 56, 1_001, 1_472] {
        let mut content = vec![8, 0, 0, 0, 1, 2, 3, 4];
        content.extend((0..len).map(|place| place as u8));
        let mut sum = Sum::new();
        sum.add(&content);
        content[2..4].copy_from_slice(&sum.finish());
        host.give(packet(address(9), PROTOCOL_ICMP, &content), SECOND);
        host.step(SECOND);
        let answer = host.take_shown().pop().expect("an answer");
        let (_, ip) = Ethernet::parse(&answer).expect("a frame");
        let (_, reply) = Ipv4::parse(ip).expect("a packet");
        let mut sum = Sum::new();
        sum.add(reply);
        assert!(sum.is_good());
        assert_eq!(reply[..2], [0, 0]);
        assert_eq!(reply[4..], content[4..]);
    }
    let dropped = |host: &Host<Talker>, reason: Drop| host.engine.counters().dropped(reason);
    let good = packet(address(9), 99, &[0; 20]);
    let mut cases: Vec<(Vec<u8>, Drop)> = vec![(good.clone(), Drop::Protocol), (vec![1; 9], Drop::Malformed)];
    let mut elsewhere = good.clone();
    elsewhere[5] = 77;
    cases.push((elsewhere, Drop::NotForUs));
    let mut broken = good.clone();
    broken[30] ^= 1;
    cases.push((broken, Drop::Checksum));
    let mut piece = good.clone();
    piece[20] = 0x20;
    piece[24..26].copy_from_slice(&[0, 0]);
    let mut sum = Sum::new();
    sum.add(&piece[14..34]);
    piece[24..26].copy_from_slice(&sum.finish());
    cases.push((piece, Drop::Fragment));
    for (frame, reason) in cases {
        let before = dropped(&host, reason);
        host.give(frame, SECOND);
        host.step(SECOND);
        assert_eq!(dropped(&host, reason), before + 1, "{reason:?}");
        assert!(host.take_shown().is_empty(), "silently");
    }
    host.step(2 * SECOND);
    assert!(host.engine.is_unused());
}

#[test]
fn whoever_is_denied_is_not_answered_not_even_by_a_cookie() {
    for half_open in [0, 8] {
        let mut config = config(2);
        config.half_open = half_open;
        config.admission.denied.push(Prefix::parse("10.0.0.9").expect("a prefix"));
        config.admission.allowed.push(Prefix::parse("10.0.0.0/24").expect("a prefix"));
        let mut host = Host::new(config, |ring| Talker::new(1, 0, ring));
        host.engine.listen(80);
        for (port, source) in [(1, address(9)), (2, Ipv4Addr::new(10, 0, 1, 1))] {
            host.give(segment(source, syn(port, 5), &Options::default(), &[]), SECOND);
        }
        host.step(SECOND);
        assert_eq!((host.take_shown().len(), host.engine.counters().dropped(Drop::Denied)), (0, 2));
        assert!(host.engine.is_unused(), "nothing is remembered of them");
        host.give(segment(address(8), syn(3, 5), &Options::default(), &[]), SECOND);
        host.step(SECOND);
        assert_eq!(hear(&host.take_shown().pop().expect("an answer")).header.flags, SYN | ACK);
    }
}
