//! What large frames, several pairs of queues and starting again ask of the driver, against cards in software.

use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, PartialChecksum};
use nom_virtio_net::fake::FakeCard;
use nom_virtio_net::{Config, Device, Network, Pair, Receiver, Sender, Wanted, start, start_spread};
use nom_virtqueue::fake::{FakeBell, FakeDevice};
use nom_virtqueue::queue::Fault;
use nom_virtqueue::transport::StartError;

const NO_HEADER: [u8; 12] = [0; 12];
const ALL: Wanted = Wanted { checksum: true, segmentation: true, merging: true };
const CHECKSUM: Option<PartialChecksum> = Some(PartialChecksum { start: 34, offset: 16 });

type Running = (FakeCard, Device<FakeDevice>, Receiver<FakeBell>, Sender<FakeBell>);

fn running(ring: u16, event_index: bool) -> Running {
    let card = FakeCard::large([2, 0, 0, 0, 0, 9], ring, event_index, 1);
    let config = Config { receive_buffers: ring, send_frames: ring / 4, wanted: ALL, ..Config::default() };
    let Network { device, receiver, sender } = start(card.device(), &card.memory(), config).unwrap();
    (card, device, receiver, sender)
}

/// The headers of a TCP segment over IPv4, as far as a card reads them.
fn headers() -> [u8; 54] {
    let mut headers = [0x11; 54];
    headers[12..14].copy_from_slice(&[8, 0]);
    headers
}

fn large<'a>(headers: &'a [u8], payload: &'a [&'a [u8]]) -> Frame<'a> {
    Frame { headers, payload, checksum: CHECKSUM, segment_len: Some(1448) }
}

fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at as u32 * 7 + number) as u8).collect();
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn a_large_frame_goes_down_whole_with_the_length_of_its_segments() {
    let (mut card, _, _, mut sender) = running(64, true);
    assert!(sender.offloads().segmentation && sender.offloads().checksum);
    let memory = card.memory();
    let value = memory.registered(&numbered(1, 40_000));
    let outside = numbered(2, 30_000);
    let short = memory.registered(&[9; 1000]);
    let headers = headers();
    assert_eq!(sender.queue(large(&headers, &[value, &value[..5]])), Ok(1));
    assert_eq!(sender.queue(large(&headers, &[&outside])), Ok(2));
    assert_eq!(sender.queue(large(&headers, &[short])), Ok(3), "one segment is none to cut");
    sender.kick();
    let sent = card.drain();
    // Flags, kind, length of the headers, of a segment, place of the checksum.
    assert_eq!(sent[0].header, [1, 1, 54, 0, 0xa8, 0x05, 34, 0, 16, 0, 0, 0]);
    assert_eq!(sent[2].header, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    for (sent, payload) in sent.iter().zip([&[value, &value[..5]].concat()[..], &outside, short]) {
        assert_eq!(&sent.frame[54..], payload);
    }
    let counters = sender.counters();
    assert_eq!((counters.large, counters.large_copied, counters.oversized), (2, 1, 0));
    assert_eq!(counters.bytes_copied, 30_000);
    let mut version_6 = headers;
    version_6[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(sender.queue(large(&version_6, &[value])), Ok(4));
    assert_eq!(card.drain().len(), 0, "not published yet");
    sender.kick();
    assert_eq!(card.drain()[0].header[1], 4);
}

#[test]
fn what_no_card_can_cut_is_counted_and_not_sent() {
    let (mut card, _, _, mut sender) = running(64, true);
    let (good, payload, huge) = (headers(), [1; 4_000], [1; 65_600]);
    let mut foreign = good;
    foreign[12..14].copy_from_slice(&[0x08, 0x06]);
    let all: &[&[u8]] = &[&payload];
    let wrong = [
        large(&foreign, all),
        Frame { checksum: None, ..large(&good, all) },
        Frame { segment_len: Some(0), ..large(&good, all) },
        Frame { segment_len: None, ..large(&good, all) },
        Frame { segment_len: Some(60_000), ..large(&good, all) },
        large(&good[..13], all),
    ];
    for (place, frame) in wrong.into_iter().enumerate() {
        assert_eq!(sender.queue(frame), Ok(place as u64 + 1));
    }
    assert_eq!(sender.queue(large(&good, &[&huge])), Ok(7), "longer than any packet");
    sender.kick();
    assert_eq!((card.drain().len(), sender.counters().oversized), (0, 7));
    assert_eq!(sender.completed(), 7);
}

#[test]
fn a_large_frame_that_finds_no_place_waits_for_the_next_completion() {
    for event_index in [false, true] {
        let (mut card, _, _, mut sender) = running(64, event_index);
        let (headers, outside) = (headers(), [7; 20_000]);
        for sequence in 1..=2 {
            assert_eq!(sender.queue(large(&headers, &[&outside])), Ok(sequence));
        }
        assert_eq!(sender.queue(large(&headers, &[&outside])), Err(Full));
        assert!(sender.room() > 0, "small ones still go");
        assert_eq!(sender.queue(Frame { segment_len: None, ..large(&headers, &[b"x"]) }), Ok(3));
        sender.kick();
        let before = card.interrupts;
        let (chain, _) = card.fetch().unwrap();
        card.complete([chain]);
        assert_eq!(card.interrupts, before + 1, "the next completion wakes");
        assert_eq!(sender.completed(), 1);
        assert_eq!(sender.queue(large(&headers, &[&outside])), Ok(4));
        assert_eq!(sender.counters().large_refused, 1);
    }
}

#[test]
fn merged_frames_are_read_in_place_while_buffers_come_back_in_order() {
    for event_index in [false, true] {
        let (mut card, _, mut receiver, _) = running(64, event_index);
        let mut random = Random(3);
        let (mut sent, mut got) = (0u32, 0u32);
        let mut frames = std::collections::VecDeque::new();
        for now in 0..2_000u64 {
            let frame =
                numbered(sent, 14 + random.below(if sent.is_multiple_of(3) { 65_000 } else { 1_500 }));
            if card.deliver(NO_HEADER, &frame) {
                frames.push_back(frame);
                sent += 1;
            }
            receiver.look(now);
            while let Some(arrival) = receiver.take() {
                assert_eq!(receiver.bytes(&arrival), frames.pop_front().unwrap(), "frame {got}");
                got += 1;
                receiver.give_back(arrival);
            }
        }
        assert!(sent > 1_500, "{sent} of 2000 were delivered");
        assert_eq!((got, receiver.fault()), (sent, None));
        let counters = receiver.counters();
        // Only those that cross the end of the buffers are copied.
        assert!(
            counters.merged_in_place > 2 * counters.merged_copied && counters.merged_copied > 0,
            "{counters:?}"
        );
        assert_eq!(counters.merged_dropped, 0);
    }
}

#[test]
fn merged_frames_keep_their_bytes_whoever_keeps_them() {
    let (mut card, _, mut receiver, _) = running(64, true);
    let mut random = Random(11);
    let mut held: Vec<(Vec<u8>, Arrival)> = Vec::new();
    let mut expected = std::collections::VecDeque::new();
    let (mut number, mut gathered) = (0, 0);
    for now in 0..5_000u64 {
        let most = if random.below(4) == 0 { 30_000 } else { 300 };
        let len = 14 + random.below(most);
        let frame = numbered(number, len);
        if card.deliver(NO_HEADER, &frame) {
            expected.push_back(frame);
            number += 1;
        }
        let dropped = receiver.counters().merged_dropped;
        receiver.look(now);
        // One was delivered at most, and it is that which was dropped.
        if receiver.counters().merged_dropped > dropped {
            expected.pop_back();
        }
        while let Some(arrival) = receiver.take() {
            gathered += u64::from(arrival.buffer >= 64);
            held.push((expected.pop_front().unwrap(), arrival));
        }
        for (frame, arrival) in &held {
            assert!(receiver.bytes(arrival) == frame, "round {now}");
        }
        let keep = random.below(6);
        while held.len() > keep {
            let place = random.below(held.len());
            let (_, arrival) = held.swap_remove(place);
            receiver.give_back(arrival);
            receiver.give_back(arrival);
        }
    }
    assert!(number > 3_000 && gathered > 100, "{number} frames, {gathered} gathered");
    assert_eq!(receiver.fault(), None);
    // Everything given back is the device's again, but for what waits for its turn.
    held.drain(..).for_each(|(_, arrival)| receiver.give_back(arrival));
    receiver.look(5_001);
    while receiver.take().is_some_and(|arrival| {
        receiver.give_back(arrival);
        true
    }) {}
    let mut room = 0;
    while card.deliver(NO_HEADER, &[0; 60]) {
        room += 1;
    }
    assert!(room >= 48, "{room} of 64");
}

#[test]
fn headers_that_contradict_themselves_end_the_card() {
    // What the header says of buffers, and how long the parts are.
    let lies: [(u16, &[u32]); 5] =
        [(0, &[100]), (65, &[100]), (u16::MAX, &[100]), (2, &[2048, 0]), (64, &[2048; 64])];
    for (said, lens) in lies {
        let (mut card, _, mut receiver, mut sender) = running(64, true);
        let receiving = &mut card.queues().0;
        for (at, len) in lens.iter().enumerate() {
            let chain = receiving.pop().unwrap().unwrap();
            if at == 0 {
                let [low, high] = said.to_le_bytes();
                receiving.scatter(&chain, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low, high]).unwrap();
            }
            receiving.push(chain.head, *len);
        }
        receiving.finish();
        assert_eq!(receiver.look(1), 0, "{said} {lens:?}");
        assert_eq!(receiver.fault(), Some(Fault::Nonsense));
        assert!(receiver.take().is_none());
        sender.queue(Frame { segment_len: None, ..large(&headers(), &[b"x"]) }).unwrap();
        sender.kick();
        assert_eq!(card.drain().len(), 1, "the other half goes on");
    }
}

#[test]
fn parts_that_come_later_are_waited_for() {
    let (mut card, _, mut receiver, _) = running(64, true);
    let receiving = &mut card.queues().0;
    let chains: Vec<_> = (0..3).map(|_| receiving.pop().unwrap().unwrap()).collect();
    receiving.scatter(&chains[0], &[[0; 10].as_slice(), &[3, 0], &[5; 2036]].concat()).unwrap();
    receiving.scatter(&chains[1], &[6; 2048]).unwrap();
    receiving.scatter(&chains[2], &[7; 10]).unwrap();
    for (at, (chain, len)) in chains.iter().zip([2048, 2048, 10]).enumerate() {
        assert_eq!(receiver.look(10 * at as u64 + 10), 0);
        card.queues().0.push(chain.head, len);
        card.queues().0.finish();
    }
    assert_eq!(receiver.look(100), 1);
    let arrival = receiver.take().unwrap();
    assert_eq!(arrival.arrived_ns, 10, "it began to arrive then");
    assert_eq!(receiver.bytes(&arrival), [[5; 2036].as_slice(), &[6; 2048], &[7; 10]].concat());
}

#[test]
fn what_is_of_use_only_together_is_taken_only_together() {
    let features = |without: u64, wanted| {
        let card = FakeCard::large([2; 6], 64, true, 1);
        card.device().with(|registers| registers.offered &= !without);
        let config = Config { receive_buffers: 64, send_frames: 16, wanted, ..Config::default() };
        start(card.device(), &card.memory(), config).unwrap().device.features()
    };
    let (merge, into, out) = (1 << 15, 1 << 7 | 1 << 8, 1 << 11 | 1 << 12);
    assert_eq!(features(0, ALL) & (merge | into | out | 3), merge | into | out | 3);
    assert_eq!(features(merge, ALL) & (merge | into | out), out, "large frames without merging");
    assert_eq!(features(1 << 8, ALL) & (merge | into | out), out);
    assert_eq!(features(1 << 1, ALL) & (merge | into | 2), 0, "merging without checksums");
    assert_eq!(features(1, ALL) & (out | 1), 0, "cutting without checksums");
    let none = Wanted { checksum: false, segmentation: false, merging: false };
    assert_eq!(features(0, none) & (merge | into | out | 3), 0);
}

#[test]
fn each_pair_of_queues_has_halves_of_its_own() {
    let card = FakeCard::large([2; 6], 64, true, 3);
    let commands = card.answer_commands(0);
    let config = Config { receive_buffers: 64, send_frames: 16, pairs: 8, wanted: ALL, ..Config::default() };
    let mut spread = start_spread(card.device(), &card.memory(), config).unwrap();
    assert_eq!(spread.pairs.len(), 3, "as many as there are");
    assert_eq!(*commands.borrow(), [[4, 0, 3, 0]]);
    let mut card = card;
    for life in 1..4 {
        for (number, pair) in spread.pairs.iter_mut().enumerate() {
            card.select(number);
            let frame = numbered(number as u32, 5_000);
            assert!(card.deliver(NO_HEADER, &frame));
            pair.receiver.look(1);
            let arrival = pair.receiver.take().unwrap();
            assert_eq!(pair.receiver.bytes(&arrival), frame);
            pair.receiver.give_back(arrival);
            pair.sender.queue(Frame { segment_len: None, ..large(&headers(), &[b"x"]) }).unwrap();
            pair.sender.kick();
            assert_eq!(card.drain().len(), 1);
        }
        let rung = card.device().with(|registers| registers.rung);
        assert_eq!(rung, [life, life, life, life, life, life, life, 0]);
        spread.device.restart_spread(&mut spread.pairs).unwrap();
        card.forget();
        assert_eq!(commands.borrow().len() as u64, life + 1, "the card is told of its pairs again");
    }
    let Pair { receiver, sender } = &mut spread.pairs[0];
    assert_eq!(spread.device.restart(receiver, sender), Err(StartError::Queue(6)), "all pairs or none");
    assert_eq!(commands.borrow().len(), 4, "and nothing was done");
}

#[test]
fn a_refused_command_is_an_error() {
    for answer in [1, 0xa5, 255] {
        let card = FakeCard::large([2; 6], 64, true, 2);
        card.answer_commands(answer);
        let config = Config { receive_buffers: 64, send_frames: 16, pairs: 2, ..Config::default() };
        assert_eq!(start_spread(card.device(), &card.memory(), config).unwrap_err(), StartError::Command);
    }
}

#[test]
fn a_card_that_was_reset_goes_on_over_the_same_memory() {
    let (mut card, mut device, mut receiver, mut sender) = running(64, true);
    for round in 0..20u32 {
        let frame = numbered(round, 9_000);
        assert!(card.deliver(NO_HEADER, &frame));
        receiver.look(1);
        let arrival = receiver.take().unwrap();
        assert_eq!(receiver.bytes(&arrival), frame);
        card.deliver(NO_HEADER, &frame);
        receiver.look(2);
        let sequence = sender.queue(large(&headers(), &[&frame])).unwrap();
        sender.kick();
        assert_eq!(sender.completed(), sequence - 1);
        if round.is_multiple_of(2) {
            card.queues().0.push_raw(99, 0);
            card.queues().0.finish();
            receiver.look(3);
            assert!(receiver.fault().is_some());
        }
        device.restart(&mut receiver, &mut sender).unwrap();
        card.forget();
        assert_eq!((receiver.fault(), sender.fault()), (None, None));
        assert_eq!(sender.completed(), sequence, "what was out is over");
        assert_eq!(receiver.bytes(&arrival), b"");
        receiver.give_back(arrival);
        assert!(receiver.take().is_none());
    }
    card.device().with(|registers| registers.offered &= !(1 << 15));
    let lacking = device.restart(&mut receiver, &mut sender).unwrap_err();
    assert_eq!(lacking, StartError::Features(1 << 15 | 1 << 7 | 1 << 8));
}

#[test]
fn a_change_of_the_link_is_told_once() {
    let (card, mut device, ..) = running(64, true);
    assert_eq!(device.link_change(), None);
    card.device().with(|registers| registers.config[6] = 0);
    assert_eq!(device.link_change(), Some(false));
    assert_eq!(device.link_change(), None);
    card.device().with(|registers| registers.config[6] = 1);
    assert_eq!(device.link_change(), Some(true));
}
