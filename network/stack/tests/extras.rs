//! What few connections have: time stamps, marks of congestion, questions to silent peers, narrow paths.

mod common;

use common::peer::{Heard, hear, packet, segment, server, syn};
use common::{Host, Pair, Talker, address, config, stream_byte};
use nom_stack::application::Ended;
use nom_stack::config::Agreement;
use nom_stack::wire::checksum::Sum;
use nom_stack::wire::ipv4::{CAPABLE, CONGESTED, Ipv4, NOT_CAPABLE, PROTOCOL_ICMP, PROTOCOL_TCP};
use nom_stack::wire::tcp::{ACK, CWR, ECE, Header, Options, RST, SYN};
use nom_stack::{Config, KeepAlive, Seq, Terms};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// A host that sends so much on each connection, and a peer that has opened one by hand.
struct Opened {
    host: Host<Talker>,
    now_ns: u64,
    /// What the peer says next.
    next: Header,
    options: Options,
}

impl Opened {
    fn new(change: impl Fn(&mut Config), terms: Terms, goal: u64, flags: u8, options: Options) -> Self {
        let mut config = config(2);
        change(&mut config);
        let mut host = Host::new(config, |ring| Talker::new(1, goal, ring));
        host.engine.application_mut().close_first = false;
        assert_eq!(host.engine.listen_on(80, terms), Ok(()));
        let now_ns = SECOND;
        host.give(segment(address(9), Header { flags, ..syn(7, 1_000) }, &options, &[]), now_ns);
        host.step(now_ns);
        let answer = hear(&host.take_shown().pop().expect("a SYN-ACK"));
        assert_eq!(answer.header.flags & ECE != 0, flags & ECE != 0 && answer.header.flags & CWR == 0);
        let next = Header {
            sequence: Seq(1_001),
            acknowledgement: answer.header.sequence.plus(1),
            flags: ACK,
            ..syn(7, 0)
        };
        let options = Options {
            stamp: answer.options.stamp.map(|(theirs, _)| (options.stamp.expect("it was offered").0, theirs)),
            ..Options::default()
        };
        let mut opened = Self { host, now_ns, next, options };
        opened.say(0, ACK, 0, 0);
        opened
    }

    /// Lets the peer say something, and returns what comes back.
    fn say(&mut self, later_ns: u64, flags: u8, len: usize, congestion: u8) -> Vec<Heard> {
        self.now_ns += later_ns;
        let stream = self.host.engine.application().flows.values().next().map_or(0, |flow| flow.in_stream);
        let place = u64::from(self.next.sequence.since(Seq(1_001)));
        let payload: Vec<u8> = (place..place + len as u64).map(|place| stream_byte(stream, place)).collect();
        let mut frame = segment(address(9), Header { flags, ..self.next }, &self.options, &payload);
        frame[15] = congestion;
        frame[24..26].fill(0);
        let mut sum = Sum::new();
        sum.add(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.finish());
        self.next.sequence = self.next.sequence.plus(payload.len() as u32);
        self.host.give(frame, self.now_ns);
        self.host.step(self.now_ns);
        self.heard()
    }

    fn heard(&mut self) -> Vec<Heard> {
        self.host.take_shown().iter().map(|frame| hear(frame)).collect()
    }

    /// Steps at every deadline until a time, and returns what was said and when.
    fn wait_until(&mut self, end_ns: u64) -> Vec<(u64, Heard)> {
        let mut all = Vec::new();
        while let Some(deadline_ns) = self.host.deadline_ns.filter(|&deadline_ns| deadline_ns <= end_ns) {
            self.now_ns = self.now_ns.max(deadline_ns);
            self.host.step(self.now_ns);
            let now_ns = self.now_ns;
            all.extend(self.heard().into_iter().map(|heard| (now_ns, heard)));
        }
        self.now_ns = end_ns;
        all
    }

    fn write(&mut self, len: usize) -> Vec<Heard> {
        let id = self.host.engine.application().opened[0].0;
        let now_ns = self.now_ns;
        self.host.engine.with_connection(id, now_ns, |application, _| {
            let flow = application.flows.get_mut(&id).expect("it is open");
            flow.goal += len as u64;
        });
        self.host.engine.with_connection(id, now_ns, |application, io| {
            nom_stack::application::Application::writable(application, io);
        });
        self.host.step(self.now_ns);
        self.heard()
    }

    fn ended(&self) -> Vec<Ended> {
        self.host.engine.application().ended.iter().map(|ended| ended.1).collect()
    }
}

fn offered() -> Options {
    Options { segment_max: Some(1460), window_shift: Some(0), sack_permitted: true, ..Options::default() }
}

fn stamped() -> Options {
    Options { stamp: Some((5_000, 0)), ..offered() }
}

fn when_asked(config: &mut Config) {
    config.time_stamps = Agreement::WhenAsked;
}

#[test]
fn time_stamps_are_answered_only_when_that_is_wanted() {
    let mut plain = server(8);
    plain.give(segment(address(9), syn(7, 1_000), &stamped(), &[]), SECOND);
    plain.step(SECOND);
    assert_eq!(hear(&plain.take_shown()[0]).options.stamp, None, "they are billed bytes");
    let mut opened = Opened::new(when_asked, Terms::default(), 0, SYN, stamped());
    let data = opened.write(3_000);
    assert_eq!(data.iter().map(|heard| heard.payload.len()).collect::<Vec<_>>(), [1448, 1448, 104]);
    assert!(data.iter().all(|heard| heard.options.stamp.is_some_and(|(_, echo)| echo == 5_000)));
}

#[test]
fn an_old_duplicate_is_told_by_its_stamp_even_in_the_window() {
    let mut opened = Opened::new(when_asked, Terms::default(), 0, SYN, stamped());
    opened.options.stamp = Some((6_000, 0));
    opened.say(0, ACK, 3, 0);
    let counters = *opened.host.engine.counters();
    let copy = opened.next;
    opened.options.stamp = Some((5_999, 0));
    let answer = opened.say(0, ACK, 3, 0);
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].header.acknowledgement, copy.sequence, "it is answered by where we stand");
    assert_eq!(opened.host.engine.counters().old_duplicates, 1);
    assert_eq!(opened.host.engine.counters().payload_in, counters.payload_in);
    // The clock comes round: 2^31 behind is ahead.
    opened.next = copy;
    for stamp in [6_000, 6_000u32.wrapping_add(1 << 30), 6_000u32.wrapping_add(1 << 31), 6_000] {
        opened.options.stamp = Some((stamp, 0));
        opened.say(0, ACK, 3, 0);
    }
    assert_eq!(opened.host.engine.counters().payload_in, counters.payload_in + 12);
    assert_eq!(opened.host.engine.counters().old_duplicates, 1);
    // After 24 days of silence the old clock means nothing.
    opened.options.stamp = Some((5_000, 0));
    opened.say(25 * 24 * 3_600 * SECOND, ACK, 3, 0);
    assert_eq!(opened.host.engine.counters().payload_in, counters.payload_in + 15);
}

#[test]
fn an_acknowledgement_that_was_put_off_echoes_the_first_stamp() {
    let mut opened = Opened::new(when_asked, Terms::default(), 0, SYN, stamped());
    opened.options.stamp = Some((6_000, 0));
    assert!(opened.say(0, ACK, 10, 0).is_empty(), "it is put off");
    opened.options.stamp = Some((6_001, 0));
    assert!(opened.say(0, ACK, 10, 0).is_empty());
    let put_off = opened.wait_until(2 * SECOND);
    assert_eq!(put_off[0].1.options.stamp.map(|stamp| stamp.1), Some(6_000), "RFC 7323, 4.3, case A");
}

#[test]
fn stamped_connections_carry_every_byte_under_faults() {
    for seed in 0..10 {
        let mut pair = Pair::talkers_with(seed, 60_000, |config| {
            config.time_stamps = Agreement::Always;
            config.congestion_marks = Agreement::Always;
        });
        pair.faults = common::Faults { loss: 4, duplication: 5, reordering: 20, corruption: 2 };
        let now_ns = pair.now_ns;
        pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
        pair.run_until(400 * SECOND);
        for host in &pair.hosts {
            let talker = host.engine.application();
            assert!(talker.flows.values().all(|flow| flow.read == 60_000), "seed {seed}");
            assert_eq!(talker.ended.iter().map(|ended| ended.1).collect::<Vec<_>>(), [Ended::Closed]);
            assert!(host.engine.is_unused());
        }
        let all = pair.wires.iter().flat_map(|wire| &wire.log).filter(|(_, frame)| frame[12..14] == [8, 0]);
        assert!(all.map(|(_, frame)| hear(frame)).all(|heard| heard.options.stamp.is_some()));
    }
}

#[test]
fn a_mark_is_echoed_until_the_sender_says_that_it_slowed_down() {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN | ECE | CWR, offered());
    let answer = opened.say(0, ACK, 100, CONGESTED);
    assert_eq!(answer[0].header.flags & (ECE | CWR), ECE, "at once");
    opened.say(0, ACK, 1460, CAPABLE);
    let answer = opened.say(0, ACK, 1460, CAPABLE);
    assert_eq!(answer[0].header.flags & ECE, ECE, "until it is heard");
    opened.say(0, ACK | CWR, 1460, CAPABLE);
    let answer = opened.say(0, ACK, 1460, CAPABLE);
    assert_eq!(answer[0].header.flags & ECE, 0);
    assert!(
        answer.iter().all(|heard| heard.congestion == NOT_CAPABLE),
        "bare acknowledgements are not marked"
    );
}

#[test]
fn an_echo_slows_the_sender_down_once_a_round_trip() {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN | ECE | CWR, offered());
    let first = opened.write(200_000);
    assert_eq!(first.len(), 10, "the initial window");
    assert!(first.iter().all(|heard| heard.congestion == CAPABLE && heard.header.flags & CWR == 0));
    let begin = first[0].header.sequence;
    opened.next.acknowledgement = begin.plus(2 * 1460);
    let mut after = opened.say(MILLISECOND, ACK | ECE, 0, 0);
    for segments in 3..=10 {
        opened.next.acknowledgement = begin.plus(segments * 1460);
        after.extend(opened.say(0, ACK | ECE, 0, 0));
    }
    assert_eq!(opened.host.engine.counters().congestion_echoes, 1);
    let said: Vec<bool> = after.iter().map(|heard| heard.header.flags & CWR != 0).collect();
    assert!(said[0] && said[1..].iter().all(|said| !said), "told once: {said:?}");
    assert_eq!(opened.host.engine.counters().retransmitted_segments, 0);
    // Seven tenths of ten segments are outstanding now.
    assert_eq!(after.iter().map(|heard| heard.payload.len()).sum::<usize>() / 1460, 7);
}

#[test]
fn marks_are_not_agreed_on_when_that_is_not_wanted() {
    let mut host =
        Host::new(Config { congestion_marks: Agreement::Never, ..config(2) }, |ring| Talker::new(1, 0, ring));
    host.engine.listen(80);
    host.give(segment(address(9), Header { flags: SYN | ECE | CWR, ..syn(7, 1) }, &offered(), &[]), SECOND);
    host.step(SECOND);
    assert_eq!(hear(&host.take_shown()[0]).header.flags & (ECE | CWR), 0);
}

fn asking() -> Terms {
    let keep = KeepAlive { idle_ns: 10 * SECOND, interval_ns: 2 * SECOND, probes: 3 };
    Terms { keep_alive: Some(keep), user_timeout_ns: None }
}

#[test]
fn a_silent_peer_is_asked_and_given_up() {
    let mut opened = Opened::new(|_| (), asking(), 0, SYN, offered());
    let said = opened.wait_until(100 * SECOND);
    let times: Vec<u64> = said.iter().map(|(at_ns, _)| (at_ns - SECOND) / SECOND).collect();
    assert_eq!(times, [10, 12, 14]);
    for (_, heard) in &said {
        assert_eq!(
            heard.header.sequence.plus(1),
            opened.next.acknowledgement,
            "in front of what is expected"
        );
        assert!(heard.payload.is_empty());
    }
    assert_eq!(opened.ended(), [Ended::TimedOut]);
    assert!(opened.host.engine.is_unused());
}

#[test]
fn a_peer_that_answers_is_asked_again_after_a_silence() {
    let mut opened = Opened::new(|_| (), asking(), 0, SYN, offered());
    for round in 0..20u64 {
        let said = opened.wait_until(opened.now_ns + 11 * SECOND);
        assert_eq!(said.len(), 1, "round {round}");
        opened.say(0, ACK, 0, 0);
    }
    // Who says something by himself is not asked.
    for _ in 0..20 {
        assert!(
            opened
                .wait_until(opened.now_ns + 9 * SECOND)
                .iter()
                .all(|(_, heard)| heard.header.sequence == opened.next.acknowledgement)
        );
        opened.say(0, ACK, 10, 0);
    }
    assert_eq!(opened.host.engine.counters().keep_alives, 20);
    assert_eq!(opened.ended(), []);
}

#[test]
fn without_terms_a_silent_peer_costs_nothing() {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN, offered());
    assert!(opened.wait_until(1_000_000 * SECOND).is_empty());
    assert_eq!(opened.host.deadline_ns, None);
}

#[test]
fn a_limit_of_patience_ends_a_connection_on_time() {
    let limit_ns = 5 * SECOND;
    let terms = Terms { keep_alive: None, user_timeout_ns: Some(limit_ns) };
    let mut opened = Opened::new(|_| (), terms, 0, SYN, offered());
    let begin_ns = opened.now_ns;
    assert_eq!(opened.write(100).len(), 1);
    while opened.ended().is_empty() {
        let deadline_ns = opened.host.deadline_ns.expect("it waits");
        opened.wait_until(deadline_ns);
    }
    let waited_ns = opened.now_ns - begin_ns;
    assert!((limit_ns..limit_ns + 10 * MILLISECOND).contains(&waited_ns), "{waited_ns}");
    assert_eq!(opened.ended(), [Ended::TimedOut]);
}

/// A router's word about the segment with this sequence number.
fn too_big(mtu: u16, sequence: Seq) -> Vec<u8> {
    let mut content = vec![3, 4, 0, 0, 0, 0, 0, 0];
    content[6..8].copy_from_slice(&mtu.to_be_bytes());
    let mut quoted = [0; 28];
    let (source, destination) = (address(2), address(9));
    Ipv4 { source, destination, protocol: PROTOCOL_TCP, fragment: false, congestion: 0 }
        .emit(&mut quoted, 1480);
    quoted[20..24].copy_from_slice(&[0, 80, 0, 7]);
    quoted[24..28].copy_from_slice(&sequence.0.to_be_bytes());
    content.extend_from_slice(&quoted);
    let mut sum = Sum::new();
    sum.add(&content);
    content[2..4].copy_from_slice(&sum.finish());
    packet(address(1), PROTOCOL_ICMP, &content)
}

fn lens(heard: &[Heard]) -> Vec<usize> {
    heard.iter().map(|heard| heard.payload.len()).collect()
}

#[test]
fn a_narrow_path_gets_smaller_segments_and_only_a_true_word_counts() {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN, offered());
    let first = opened.write(5_000);
    assert_eq!(lens(&first), [1460, 1460, 1460, 620]);
    let begin = first[0].header.sequence;
    for (mtu, sequence) in
        [(1_000, begin.minus(1)), (1_000, begin.plus(5_000)), (1_500, begin), (9_000, begin)]
    {
        opened.host.give(too_big(mtu, sequence), opened.now_ns);
        opened.host.step(opened.now_ns);
        assert!(opened.heard().is_empty(), "{mtu} is not believed");
    }
    opened.host.give(too_big(1_000, begin), opened.now_ns);
    opened.host.step(opened.now_ns);
    let again = opened.heard();
    assert_eq!(lens(&again), [960, 960, 960, 960, 960, 200]);
    assert_eq!(again[0].header.sequence, begin);
    assert_eq!(opened.host.engine.counters().path_narrowings, 1);
    opened.next.acknowledgement = begin.plus(5_000);
    opened.say(MILLISECOND, ACK, 0, 0);
    assert!(lens(&opened.write(3_000)).iter().all(|&len| len <= 960));
    opened.next.acknowledgement = begin.plus(8_000);
    opened.say(MILLISECOND, ACK, 0, 0);
    // Nobody is believed who says that hardly anything goes through.
    let data = opened.write(2_000);
    opened.host.give(too_big(68, data[0].header.sequence), opened.now_ns);
    opened.host.step(opened.now_ns);
    assert_eq!(lens(&opened.heard()), [512, 512, 512, 464]);
    // Ten minutes later wide ones are tried again.
    opened.next.acknowledgement = begin.plus(10_000);
    opened.say(MILLISECOND, ACK, 0, 0);
    opened.now_ns += 601 * SECOND;
    assert_eq!(lens(&opened.write(1_460)), [1_460]);
}

#[test]
fn a_router_that_does_not_say_how_much_gets_the_next_common_size() {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN, offered());
    let first = opened.write(1_460);
    opened.host.give(too_big(0, first[0].header.sequence), opened.now_ns);
    opened.host.step(opened.now_ns);
    assert_eq!(lens(&opened.heard()), [1_452, 8]);
}

#[test]
fn a_black_hole_is_found_by_time_outs() {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN, offered());
    assert_eq!(lens(&opened.write(1_460)), [1_460]);
    let said = opened.wait_until(opened.now_ns + 60 * SECOND);
    let lens: Vec<usize> = said.iter().map(|(_, heard)| heard.payload.len()).collect();
    assert!(lens.starts_with(&[1_460, 1_460, 1_024]), "probed, repeated, doubted: {lens:?}");
    assert!(lens.ends_with(&[512]), "{lens:?}");
}

#[test]
fn marks_are_seen_on_the_wire_of_both() {
    // Whoever asks gets new bytes marked as such, and nothing else.
    let mut pair = Pair::talkers_with(3, 40_000, |config| config.congestion_marks = Agreement::Always);
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    pair.run_until(100 * SECOND);
    for wire in &pair.wires {
        let frames = wire.log.iter().filter(|(_, frame)| frame[12..14] == [8, 0]);
        for heard in frames.map(|(_, frame)| hear(frame)) {
            let new = !heard.payload.is_empty();
            assert_eq!(heard.congestion, if new { CAPABLE } else { NOT_CAPABLE });
        }
    }
}

/// Twenty segments are written, ten leave, and nothing is heard until the first of them was repeated after a time-out.
/// Returns where the bytes begin.
fn timed_out() -> (Opened, Seq) {
    let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN, offered());
    let first = opened.next.acknowledgement;
    assert_eq!(opened.write(20 * 1_460).len(), 10);
    let repeated = opened.wait_until(opened.now_ns + 400 * MILLISECOND);
    let places: Vec<u32> = repeated.iter().map(|(_, heard)| heard.header.sequence.since(first)).collect();
    assert_eq!(places, [10 * 1_460, 0], "a new one as a question, then the first one");
    assert_eq!(opened.host.engine.view(0).expect("open").congestion_window, 1_460);
    (opened, first)
}

fn places(heard: &[Heard], first: Seq) -> Vec<u32> {
    heard.iter().filter(|heard| !heard.payload.is_empty()).map(|it| it.header.sequence.since(first)).collect()
}

#[test]
fn a_time_out_that_came_too_early_is_taken_back() {
    let (mut opened, first) = timed_out();
    opened.next.acknowledgement = first.plus(1_460);
    let asked = opened.say(MILLISECOND, ACK, 0, 0);
    assert_eq!(
        places(&asked, first),
        [11 * 1_460, 12 * 1_460],
        "new bytes ask whether the old ones were lost"
    );
    // The second segment was sent once, and arrived.
    opened.next.acknowledgement = first.plus(2 * 1_460);
    opened.say(MILLISECOND, ACK, 0, 0);
    let counters = opened.host.engine.counters();
    assert_eq!((counters.timeouts, counters.early_timeouts, counters.retransmitted_segments), (1, 1, 1));
    assert!(opened.host.engine.view(0).expect("open").congestion_window >= 10 * 1_460);
    for segments in [13, 20] {
        opened.next.acknowledgement = first.plus(segments * 1_460);
        opened.say(MILLISECOND, ACK, 0, 0);
    }
    assert_eq!(opened.host.engine.view(0).expect("open").in_flight, 0);
}

#[test]
fn a_time_out_after_a_loss_stays_one() {
    let (mut opened, first) = timed_out();
    opened.next.acknowledgement = first.plus(1_460);
    opened.say(MILLISECOND, ACK, 0, 0);
    // Only the new bytes arrive: what lies between was lost.
    opened.options.sack[0] = (first.plus(11 * 1_460), first.plus(12 * 1_460));
    opened.options.sack_count = 1;
    let again = opened.say(MILLISECOND, ACK, 0, 0);
    assert_eq!(places(&again, first)[0], 1_460, "the next one that was lost");
    let counters = opened.host.engine.counters();
    assert_eq!((counters.timeouts, counters.early_timeouts), (1, 0));
    assert!(opened.host.engine.view(0).expect("open").congestion_window <= 5 * 1_460);
}

#[test]
fn a_reset_reaches_who_has_closed_its_window() {
    for (window, asks) in [(0, true), (60_000, false)] {
        let mut opened = Opened::new(|_| (), Terms::default(), 0, SYN, offered());
        let first = opened.next.acknowledgement;
        opened.next.window = window;
        opened.say(MILLISECOND, ACK, 0, 0);
        let sent: usize = opened.write(5_000).iter().map(|heard| heard.payload.len()).sum();
        assert_eq!(sent, 5_000.min(usize::from(window)));
        // What asks about a closed window is not taken.
        opened.next.acknowledgement = first.plus(sent as u32);
        opened.say(MILLISECOND, ACK, 0, 0);
        let asked = opened.wait_until(opened.now_ns + 3 * SECOND);
        assert_eq!(asked.iter().any(|(_, heard)| !heard.payload.is_empty()), asks);
        let (id, now_ns) = (opened.host.engine.application().opened[0].0, opened.now_ns);
        opened.host.engine.with_connection(id, now_ns, |_, io| nom_stack::application::Io::abort(io));
        opened.host.step(now_ns);
        let heard = opened.heard();
        let reset = heard.last().expect("a reset").header;
        assert_eq!((reset.flags & RST, reset.sequence), (RST, opened.next.acknowledgement), "{window}");
    }
}
