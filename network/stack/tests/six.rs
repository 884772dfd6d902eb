//! IPv6 seen from the wire: our addresses, neighbours, routers, and connections, in virtual time.

mod common;

use common::{Faults, Host, Pair, Ring, Talker, config};
use nom_stack::Config;
use nom_stack::admission::Prefix;
use nom_stack::config::{Address6, Config6};
use nom_stack::counters::Drop;
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ethernet::{Ethernet, TYPE_IPV6};
use nom_stack::wire::icmpv6::{self, Message};
use nom_stack::wire::ipv6::{self, Ipv6, PROTOCOL_ICMP, group_mac, solicited_node};
use nom_stack::wire::tcp::{ACK, Header, Options, RST, SYN, Segment};
use nom_stack::{ConnectError, Seq};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// The test's own station.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn ula(which: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, which)
}

fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    ipv6::of_interface("fe80::".parse().unwrap(), mac)
}

fn speak(config: &mut Config) {
    let address = Address6::Static { address: ula(u16::from(config.mac[5])), prefix_len: 64 };
    config.ipv6 = Some(Config6 { address, gateway: None });
}

fn host(change: impl FnOnce(&mut Config)) -> Host<Talker> {
    let mut config = config(2);
    speak(&mut config);
    change(&mut config);
    let mut host = Host::new(config, |ring: Rc<RefCell<Ring>>| {
        let mut talker = Talker::new(1, 0, ring);
        talker.close_first = false;
        talker
    });
    host.engine.listen(80);
    host
}

/// A host whose addresses are its own, and what it said until then.
fn settled(change: impl FnOnce(&mut Config)) -> (Host<Talker>, Vec<Vec<u8>>) {
    let mut host = host(change);
    host.step(1);
    host.step(1 + SECOND);
    let said = host.take_shown();
    (host, said)
}

fn packet(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, hop_limit: u8, content: &[u8]) -> Vec<u8> {
    let mac = if destination.is_multicast() { group_mac(destination) } else { [2, 0, 0, 0, 0, 2] };
    let mut frame = vec![0; 54];
    Ethernet { destination: mac, source: MAC, ethertype: TYPE_IPV6 }.emit(&mut frame);
    Ipv6 { source, destination, protocol, hop_limit }.emit(&mut frame[14..], content.len());
    frame.extend_from_slice(content);
    frame
}

fn icmp(source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].copy_from_slice(&[0, 0]);
    let mut sum = Sum::new();
    sum.add_pseudo_header6(source, destination, PROTOCOL_ICMP, message.len());
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.finish());
    packet(source, destination, PROTOCOL_ICMP, 255, &message)
}

fn segment(source: Ipv6Addr, header: Header, options: &Options) -> Vec<u8> {
    let mut content = vec![0; 60];
    let len = header.emit(&mut content, options);
    content.truncate(len);
    let mut sum = Sum::new();
    sum.add_pseudo_header6(source, ula(2), 6, content.len());
    sum.add(&content);
    content[16..18].copy_from_slice(&sum.finish());
    packet(source, ula(2), 6, 64, &content)
}

fn syn(port: u16) -> Header {
    Header {
        source_port: port,
        destination_port: 80,
        sequence: Seq(1_000),
        acknowledgement: Seq(0),
        flags: SYN,
        window: 60_000,
    }
}

/// A frame's packet and what is in it, with a checksum that is right.
fn hear(frame: &[u8]) -> (Ethernet, Ipv6, Vec<u8>) {
    let (ethernet, content) = Ethernet::parse(frame).expect("a frame");
    let (packet, content) = Ipv6::parse(content).expect("a packet");
    let mut sum = Sum::new();
    sum.add_pseudo_header6(packet.source, packet.destination, packet.protocol, content.len());
    sum.add(content);
    assert!(sum.is_good(), "{frame:02x?}");
    (ethernet, packet, content.to_vec())
}

fn message(frame: &[u8]) -> Message<'_> {
    let (_, content) = Ethernet::parse(frame).expect("a frame");
    let (packet, content) = Ipv6::parse(content).expect("a packet");
    icmpv6::parse(packet.source, packet.destination, packet.hop_limit, content).expect("a message")
}

fn question(target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let (message, len) = icmpv6::solicitation(ula(9), group, target, MAC);
    icmp(ula(9), group, message[..len].to_vec())
}

#[test]
fn an_address_is_ours_once_nobody_objected_for_a_second() {
    let mut host = host(|_| {});
    host.step(1);
    let said = host.take_shown();
    let local = link_local([2, 0, 0, 0, 0, 2]);
    let asked: Vec<_> = said.iter().map(|frame| message(frame)).collect();
    assert_eq!(asked, [local, ula(2)].map(|target| Message::Solicitation { target, mac: None }));
    assert!(said.iter().all(|frame| hear(frame).1.source.is_unspecified()));
    host.give(question(ula(2)), SECOND / 2);
    host.step(SECOND / 2);
    assert!(host.take_shown().is_empty(), "not ours yet");
    assert_eq!(host.deadline_ns, Some(1 + SECOND), "it wakes by itself");
    host.step(1 + SECOND);
    assert_eq!(host.engine.addresses6().collect::<Vec<_>>(), [local, ula(2)]);
    host.give(question(ula(2)), 2 * SECOND);
    host.step(2 * SECOND);
    let said = host.take_shown();
    assert_eq!(said.len(), 1);
    let mac = Some([2, 0, 0, 0, 0, 2]);
    assert_eq!(message(&said[0]), Message::Answer { target: ula(2), mac, solicited: true });
    let (ethernet, packet, _) = hear(&said[0]);
    assert_eq!((ethernet.destination, packet.destination, packet.hop_limit), (MAC, ula(9), 255));
    assert_eq!(host.deadline_ns, None, "nothing more to do");
}

#[test]
fn an_address_that_somebody_has_or_wants_is_not_used() {
    let group = solicited_node(ula(2));
    let wants = icmpv6::solicitation(Ipv6Addr::UNSPECIFIED, group, ula(2), MAC);
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let has = icmpv6::answer(ula(2), all, ula(2), MAC, false);
    for objection in
        [icmp(Ipv6Addr::UNSPECIFIED, group, wants.0[..wants.1].to_vec()), icmp(ula(2), all, has.to_vec())]
    {
        let mut host = host(|_| {});
        host.step(1);
        host.take_shown();
        host.give(objection, 1000);
        host.step(1000);
        host.step(5 * SECOND);
        assert_eq!(host.engine.counters().addresses_taken, 1);
        assert_eq!(host.engine.addresses6().collect::<Vec<_>>(), [link_local([2, 0, 0, 0, 0, 2])]);
        host.give(question(ula(2)), 6 * SECOND);
        host.step(6 * SECOND);
        assert!(host.take_shown().is_empty());
    }
}

#[test]
fn an_objection_from_beyond_the_link_or_after_the_time_changes_nothing() {
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let has = icmpv6::answer(ula(2), all, ula(2), MAC, false);
    let mut host = host(|_| {});
    host.step(1);
    let mut forwarded = icmp(ula(2), all, has.to_vec());
    forwarded[14 + 7] = 254;
    host.give(forwarded, 1000);
    host.step(1000);
    host.step(1 + SECOND);
    host.give(icmp(ula(2), all, has.to_vec()), 2 * SECOND);
    host.step(2 * SECOND);
    assert_eq!(host.engine.addresses6().count(), 2);
    assert_eq!(host.engine.counters().addresses_taken, 0);
}

fn advertisement(lifetime_s: u16, prefix: &str, valid_s: u32) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend_from_slice(&lifetime_s.to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[&[1, 1][..], &MAC].concat());
    message.extend_from_slice(&[3, 4, 64, 0xc0]);
    message.extend_from_slice(&valid_s.to_be_bytes());
    message.extend_from_slice(&valid_s.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&prefix.parse::<Ipv6Addr>().unwrap().octets());
    icmp(link_local(MAC), "ff02::1".parse().unwrap(), message)
}

#[test]
fn a_router_is_asked_for_and_gives_an_address_as_long_as_it_says() {
    let automatic =
        |config: &mut Config| config.ipv6 = Some(Config6 { address: Address6::Automatic, gateway: None });
    // Nobody there: three questions, and no more.
    let (mut host, said) = settled(automatic);
    let mut asked = said.len() - 1;
    for second in 2..60 {
        host.step(second * SECOND);
        asked += host.take_shown().len();
    }
    assert_eq!((asked, host.deadline_ns), (3, None));
    assert_eq!(host.engine.connect(ula(9), 80, 60 * SECOND), Err(ConnectError::NoRoute));

    let (mut host, _) = settled(automatic);
    let now_ns = 2 * SECOND;
    host.give(advertisement(1800, "fd00:0:0:7::", 3600), now_ns);
    host.step(now_ns);
    host.step(now_ns + SECOND);
    let ours: Ipv6Addr = "fd00:0:0:7::ff:fe00:2".parse().unwrap();
    assert_eq!(host.engine.addresses6().last(), Some(ours));
    host.take_shown();
    // What is not on the link goes through the router, whose Ethernet address is known already.
    host.engine.connect("2001:db8::1".parse::<Ipv6Addr>().unwrap(), 80, now_ns + SECOND).expect("a route");
    host.step(now_ns + SECOND);
    let said = host.take_shown();
    let (ethernet, packet, _) = hear(said.last().expect("an opening"));
    assert_eq!((ethernet.destination, packet.source), (MAC, ours));
    // A forged advertisement cannot take the address away at once.
    host.give(advertisement(0, "fd00:0:0:7::", 0), now_ns + 2 * SECOND);
    host.step(now_ns + 2 * SECOND);
    assert_eq!(host.engine.addresses6().last(), Some(ours));
    assert_eq!(
        host.engine.connect("2001:db8::1".parse::<Ipv6Addr>().unwrap(), 80, now_ns + 2 * SECOND),
        Err(ConnectError::NoRoute),
        "but it forwards no more"
    );
    host.step(now_ns + 3601 * SECOND);
    assert_eq!(host.engine.addresses6().count(), 1, "its time is over");
    assert!(host.engine.counters().addresses_taken == 0);

    // A static configuration believes no router.
    let (mut host, _) = settled(|_| {});
    host.give(advertisement(1800, "fd00:0:0:7::", 3600), now_ns);
    host.step(now_ns);
    host.step(now_ns + SECOND);
    assert_eq!(host.engine.addresses6().last(), Some(ula(2)));
}

#[test]
fn an_echo_comes_back_and_one_to_a_group_does_not() {
    let (mut host, _) = settled(|_| {});
    let mut ping = vec![128, 0, 0, 0, 1, 2, 3, 4];
    ping.extend((0..100).map(|byte| byte as u8));
    host.give(icmp(ula(9), ula(2), ping.clone()), 2 * SECOND);
    host.give(icmp(ula(9), "ff02::1".parse().unwrap(), ping.clone()), 2 * SECOND);
    host.step(2 * SECOND);
    let said = host.take_shown();
    assert_eq!(said.len(), 1);
    let (ethernet, packet, content) = hear(&said[0]);
    assert_eq!((ethernet.destination, packet.source, packet.destination), (MAC, ula(2), ula(9)));
    assert_eq!((content[0], &content[4..]), (129, &ping[4..]));
    host.step(3 * SECOND);
    assert!(host.engine.is_unused());
}

#[test]
fn streams_cross_whole_whatever_the_link_does_to_them() {
    for (seed, faults) in [
        (1, Faults::default()),
        (2, Faults { loss: 3, duplication: 3, reordering: 20, corruption: 3 }),
        (3, Faults { loss: 10, reordering: 5, ..Faults::default() }),
    ] {
        let mut pair = Pair::talkers_with(seed, 200_000, speak);
        // No fault while addresses are made: an address that is doubted for ever is right, too.
        pair.run_until(2 * SECOND);
        pair.faults = faults;
        let now_ns = pair.now_ns;
        for _ in 0..3 {
            pair.hosts[0].engine.connect(ula(2), 80, now_ns).expect("a route");
        }
        pair.run_until(now_ns + 30 * SECOND);
        let view = pair.hosts[1].engine.view(0).expect("one is there");
        assert_eq!(view.peer, IpAddr::V6(ula(1)));
        pair.run_until(now_ns + 4_000 * SECOND);
        for host in &pair.hosts {
            let talker = host.engine.application();
            assert_eq!(talker.flows.len(), 3);
            assert!(talker.flows.values().all(|flow| flow.read == 200_000), "seed {seed}");
            assert!(host.engine.is_unused(), "seed {seed}");
        }
    }
}

#[test]
fn openings_are_answered_also_by_cookies_and_denied_ones_are_not() {
    for half_open in [8, 0] {
        let (mut host, _) = settled(|config| {
            config.half_open = half_open;
            config.admission.denied.push(Prefix::parse("fd00::7").unwrap());
        });
        let now_ns = 2 * SECOND;
        let options = Options { segment_max: Some(9_000), ..Options::default() };
        host.give(segment(ula(7), syn(7), &options), now_ns);
        host.step(now_ns);
        assert_eq!((host.take_shown().len(), host.engine.counters().dropped(Drop::Denied)), (0, 1));
        host.give(segment(ula(9), syn(7), &options), now_ns);
        host.step(now_ns);
        let said = host.take_shown();
        let (_, _, content) = hear(&said[0]);
        let answer = Segment::parse(&content).expect("a segment");
        assert_eq!(answer.flags, SYN | ACK);
        assert_eq!(Options::parse(answer.options).segment_max, Some(1440), "headers are longer");
        assert_eq!(host.engine.counters().cookies_sent, u64::from(half_open == 0));
        let third =
            Header { flags: ACK, sequence: Seq(1_001), acknowledgement: answer.sequence.plus(1), ..syn(7) };
        // The same segment from somebody else, whose name is another one, opens nothing.
        host.give(segment(ula(10), third, &Options::default()), now_ns);
        host.step(now_ns);
        assert_eq!(host.engine.open_connections(), 0);
        host.give(segment(ula(9), third, &Options::default()), now_ns);
        host.step(now_ns);
        assert_eq!(host.engine.open_connections(), 1);
        let id = host.engine.view(0).expect("it is open").id;
        assert!(host.engine.export(id, now_ns).is_none(), "it cannot go elsewhere yet");
        let reset = Header { flags: RST | ACK, ..third };
        host.give(segment(ula(9), reset, &Options::default()), now_ns);
        host.step(now_ns);
        assert!(host.engine.is_unused(), "its name is forgotten with it");
    }
}

#[test]
fn a_path_that_is_narrower_is_believed_from_whoever_quotes_what_is_on_its_way() {
    let mut pair = Pair::talkers_with(5, 2_000_000, speak);
    pair.delay_ns = 10 * MILLISECOND;
    pair.run_until(2 * SECOND);
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.connect(ula(2), 80, now_ns).expect("a route");
    pair.run_until(now_ns + 70 * MILLISECOND);
    let longest = |pair: &Pair<Talker>, from: usize| {
        pair.wires[1].log[from..].iter().map(|(_, frame)| frame.len()).max().unwrap_or(0)
    };
    assert_eq!(longest(&pair, 0), 1514);
    let newest = |pair: &Pair<Talker>| {
        let mut frames = pair.wires[1].log.iter().rev().map(|(_, frame)| frame);
        frames.find(|frame| frame.len() == 1514).expect("it speaks").clone()
    };
    let told = |mtu: u32, quoted: &[u8]| {
        let mut message = vec![2, 0, 0, 0];
        message.extend_from_slice(&mtu.to_be_bytes());
        message.extend_from_slice(&quoted[14..14 + 60]);
        let mut frame = icmp(ula(9), ula(2), message);
        frame[14 + 7] = 60;
        frame
    };
    let sent = newest(&pair);
    let mut foreign = sent.clone();
    foreign[14 + 40 + 4] ^= 0x80;
    let now_ns = pair.now_ns;
    pair.hosts[1].give(told(1280, &foreign), now_ns);
    pair.run_until(now_ns + MILLISECOND);
    let place = pair.wires[1].log.len();
    pair.run_until(now_ns + 30 * MILLISECOND);
    assert_eq!(longest(&pair, place), 1514, "a sequence number that is not on its way is not believed");
    let sent = newest(&pair);
    let now_ns = pair.now_ns;
    pair.hosts[1].give(told(1000, &sent), now_ns);
    pair.run_until(now_ns + 100_000);
    let place = pair.wires[1].log.len();
    pair.run_until(now_ns + 1_000 * SECOND);
    assert_eq!(longest(&pair, place), 14 + 1280, "no path of IPv6 is narrower than that");
    let talker = pair.hosts[0].engine.application();
    assert!(talker.flows.values().all(|flow| flow.read == 2_000_000));
}

#[test]
fn who_does_not_speak_it_drops_and_counts_it() {
    let mut host = Host::new(config(2), |ring: Rc<RefCell<Ring>>| Talker::new(1, 0, ring));
    host.give(question(ula(2)), 1);
    host.give(segment(ula(9), syn(7), &Options::default()), 1);
    host.step(1);
    assert_eq!(host.engine.counters().dropped(Drop::Protocol), 2);
    assert_eq!(host.engine.connect(ula(9), 80, 1), Err(ConnectError::NoRoute));
    assert!(host.take_shown().is_empty());
}
