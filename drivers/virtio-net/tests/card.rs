//! The driver against cards in software: honest ones, slow ones, ones that complete in any order, and ones that lie.

use nom_dma::fake::FakeMemory;
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, PartialChecksum};
use nom_virtio_net::fake::{FakeCard, exchange};
use nom_virtio_net::{Config, Device, Network, Receiver, Sender, start};
use nom_virtqueue::fake::{FakeBell, FakeDevice};
use nom_virtqueue::queue::Fault;
use nom_virtqueue::transport::StartError;

const HEADERS: [u8; 54] = [0x11; 54];
const NO_HEADER: [u8; 12] = [0; 12];

type Running = (FakeCard, Device<FakeDevice>, Receiver<FakeBell>, Sender<FakeBell>);

fn running(ring: u16, event_index: bool) -> Running {
    let card = FakeCard::new([2, 0, 0, 0, 0, 9], ring, 1500, event_index);
    let config = Config { receive_buffers: ring, send_frames: ring / 2, vectors: None, ..Default::default() };
    let Network { device, receiver, sender } = start(card.device(), &card.memory(), config).unwrap();
    (card, device, receiver, sender)
}

fn frame<'a>(payload: &'a [&'a [u8]]) -> Frame<'a> {
    Frame { headers: &HEADERS, payload, checksum: None, segment_len: None }
}

fn numbered(number: u32) -> Vec<u8> {
    let mut bytes = vec![number as u8; 60 + (number as usize * 37) % 1400];
    bytes[20..24].copy_from_slice(&number.to_le_bytes());
    bytes
}

#[test]
fn it_starts_and_says_what_it_found() {
    let (card, mut device, receiver, sender) = running(64, true);
    assert_eq!(device.mac(), [2, 0, 0, 0, 0, 9]);
    assert_eq!((sender.mtu(), sender.capacity(), sender.room()), (1500, 32, 32));
    assert!(sender.offloads().checksum && !sender.offloads().segmentation);
    assert_eq!(receiver.capacity(), 64);
    assert!(device.link_up() && !device.needs_reset());
    card.device().with(|registers| registers.config[6] = 0);
    assert!(!device.link_up());
    device.stop().unwrap();
    assert!(card.device().with(|registers| registers.queues.iter().all(|queue| queue.1.is_none())));
}

#[test]
fn it_refuses_what_it_cannot_drive() {
    let config = Config::default();
    let card = FakeCard::new([2; 6], 0, 1500, true);
    assert_eq!(start(card.device(), &card.memory(), config).unwrap_err(), StartError::Queue(0));
    let card = FakeCard::new([2; 6], 256, 1500, true);
    assert_eq!(start(card.device(), &FakeMemory::new(1 << 16), config).unwrap_err(), StartError::Memory);
    card.device().with(|registers| registers.offered &= !(1 << 32));
    assert_eq!(start(card.device(), &card.memory(), config).unwrap_err(), StartError::Features(1 << 32));
    card.device().with(|registers| registers.kind = 3);
    assert_eq!(start(card.device(), &card.memory(), config).unwrap_err(), StartError::WrongKind);
}

#[test]
fn payload_that_the_device_reaches_is_not_copied() {
    let (mut card, _, _, mut sender) = running(64, true);
    let memory = card.memory();
    let value = memory.registered(&[0xaa; 700]);
    let other = memory.registered(&[0xbb; 300]);
    let outside = [0xcc; 260];
    let small = [0xdd; 10];
    let sequence = sender.queue(frame(&[&small, value, &outside, &small, other, &[]])).unwrap();
    assert_eq!(sequence, 1);
    assert!(sender.kick());
    let (chain, sent) = card.fetch().unwrap();
    let expected = [&HEADERS[..], &small, value, &outside, &small, other].concat();
    assert_eq!(sent.frame, expected);
    // The driver's own bytes with the small slice, the value, two copied slices in one, the other value.
    let lens: Vec<u32> = chain.reads.iter().map(|segment| segment.len).collect();
    assert_eq!(lens, [12 + 54 + 10, 700, 270, 300]);
    let counters = *sender.counters();
    assert_eq!((counters.slices_in_place, counters.bytes_in_place), (2, 1000));
    assert_eq!((counters.slices_copied, counters.slices_unreachable, counters.bytes_copied), (2, 1, 280));
    assert_eq!(sender.completed(), 0);
    card.complete([chain]);
    assert_eq!(sender.completed(), 1);
}

#[test]
fn the_checksum_is_left_to_the_device() {
    let (mut card, _, _, mut sender) = running(64, true);
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    sender.queue(Frame { checksum, ..frame(&[b"odd"]) }).unwrap();
    sender.kick();
    let sent = card.drain().remove(0);
    assert_eq!(sent.header, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    // With the field filled in, everything sums up to all ones (and what stood in the field before).
    let sum = |bytes: &[u8]| {
        let pairs =
            bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
        let mut sum: u64 = pairs.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    };
    let mut covered = sent.frame[34..].to_vec();
    covered[16..18].copy_from_slice(&[0x11, 0x11]);
    let filled = u64::from(u16::from_be_bytes([sent.frame[50], sent.frame[51]]));
    assert_eq!(sum(&covered) ^ 0xffff, filled);
}

#[test]
fn completion_is_a_watermark_whatever_the_order() {
    for event_index in [false, true] {
        let (mut card, _, _, mut sender) = running(16, event_index);
        let mut expected = 0;
        let mut random = 77u64;
        for _ in 0..400 {
            let first = expected + 1;
            while sender.room() > 0 {
                expected += 1;
                assert_eq!(sender.queue(frame(&[b"x"])), Ok(expected));
            }
            assert_eq!(sender.queue(frame(&[])), Err(Full));
            sender.kick();
            let mut fetched: Vec<_> = std::iter::from_fn(|| card.fetch()).map(|(chain, _)| chain).collect();
            assert_eq!(fetched.len() as u64, expected - first + 1);
            card.queues().1.want_notification(true);
            let mut complete: Vec<u64> = (first..=expected).collect();
            while !fetched.is_empty() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let place = (random >> 33) as usize % fetched.len();
                card.complete([fetched.remove(place)]);
                complete.remove(place);
                let oldest_out = complete.first().copied().unwrap_or(expected + 1);
                assert_eq!(sender.completed(), oldest_out - 1);
                assert_eq!(sender.room() as u64, 8 - (expected + 1 - oldest_out));
            }
        }
    }
}

#[test]
fn room_that_was_promised_is_there_however_many_slices_come() {
    let (mut card, _, _, mut sender) = running(16, true);
    let memory = card.memory();
    let slices: Vec<&[u8]> = (0..5).map(|number| memory.registered(&[number; 256])).collect();
    let bytes = [&HEADERS[..], &slices.concat()].concat();
    for _ in 0..50 {
        while sender.room() > 0 {
            sender.queue(frame(&slices)).unwrap();
        }
        sender.kick();
        let sent = card.drain();
        assert_eq!(sent.len(), 8);
        assert!(sent.iter().all(|sent| sent.frame == bytes));
        sender.completed();
    }
    assert!(sender.counters().slices_copied > 0 && sender.counters().slices_in_place > 0);
}

#[test]
fn a_frame_larger_than_the_device_takes_is_counted_and_not_sent() {
    let (mut card, _, _, mut sender) = running(16, true);
    assert_eq!(sender.queue(frame(&[&[0; 4000]])), Ok(1));
    assert_eq!(sender.queue(frame(&[&[1; 100]])), Ok(2));
    sender.kick();
    assert_eq!(card.drain().len(), 1);
    assert_eq!(sender.completed(), 2);
    assert_eq!(sender.counters().oversized, 1);
}

#[test]
fn one_kick_for_all_and_none_while_the_device_is_awake() {
    let (mut card, _, _, mut sender) = running(64, true);
    for _ in 0..10 {
        sender.queue(frame(&[b"x"])).unwrap();
    }
    assert!(sender.kick(), "asleep at first");
    assert!(!sender.kick(), "nothing new");
    let _ = card.fetch();
    card.queues().1.want_notification(false);
    for _ in 0..10 {
        sender.queue(frame(&[b"x"])).unwrap();
    }
    assert!(!sender.kick(), "the device is awake");
    assert_eq!(sender.counters().kicks, 1);
    assert_eq!(card.device().with(|registers| registers.rung[1]), 1);
    card.drain();
    assert_eq!(card.interrupts, 0);
}

#[test]
fn a_full_ring_wakes_its_sleeper() {
    for event_index in [false, true] {
        let (mut card, _, _, mut sender) = running(16, event_index);
        while sender.room() > 0 {
            sender.queue(frame(&[b"x"])).unwrap();
        }
        sender.kick();
        assert_eq!(sender.counters().arms, 1);
        card.drain();
        assert!(card.interrupts >= 1);
        sender.completed();
        let before = card.interrupts;
        sender.queue(frame(&[b"x"])).unwrap();
        sender.kick();
        card.drain();
        assert_eq!(card.interrupts, before, "no interrupt while there is room");
    }
}

#[test]
fn frames_are_stamped_with_the_last_look_that_did_not_see_them() {
    let (mut card, _, mut receiver, _) = running(16, true);
    assert_eq!(receiver.look(100), 0);
    assert_eq!(receiver.oldest_ns(), None);
    assert!(card.deliver(NO_HEADER, &numbered(1)));
    assert_eq!(receiver.look(150), 1);
    assert_eq!(receiver.look(170), 1);
    assert!(card.deliver(NO_HEADER, &numbered(2)));
    assert_eq!(receiver.look(200), 2);
    assert_eq!(receiver.oldest_ns(), Some(100));
    let first = receiver.take().unwrap();
    assert_eq!((first.arrived_ns, first.len as usize), (100, numbered(1).len()));
    assert_eq!(receiver.take().unwrap().arrived_ns, 170);
    assert_eq!(card.interrupts, 0);
    // A sleeper is woken by the frame: it came when the sleep ended.
    assert!(receiver.arm());
    assert!(card.deliver(NO_HEADER, &numbered(3)));
    assert_eq!(card.interrupts, 1);
    assert_eq!(receiver.look(9_000), 1);
    assert_eq!(receiver.take().unwrap().arrived_ns, 9_000);
    assert!(card.deliver(NO_HEADER, &numbered(4)));
    assert_eq!(card.interrupts, 1, "awake again: no interrupts");
    // What came before the sleep forbids it.
    assert!(!receiver.arm());
    assert_eq!(receiver.look(9_500), 1);
    assert_eq!(receiver.take().unwrap().arrived_ns, 9_000);
    assert!(card.device().with(|registers| registers.acknowledged) >= 1);
}

#[test]
fn buffers_go_round_and_keep_their_bytes() {
    for event_index in [false, true] {
        let (mut card, _, mut receiver, _) = running(16, event_index);
        let mut held: Vec<(u32, Arrival)> = Vec::new();
        let mut next = 0;
        for round in 0..3_000u64 {
            while card.deliver(NO_HEADER, &numbered(next)) {
                next += 1;
            }
            receiver.look(round);
            let mut expected = next - receiver.look(round) as u32;
            while let Some(arrival) = receiver.take() {
                held.push((expected, arrival));
                expected += 1;
            }
            assert_eq!(expected, next);
            for (number, arrival) in &held {
                assert_eq!(receiver.bytes(arrival), numbered(*number), "frame {number}");
            }
            // Some are kept for a while; they come back in any order.
            let keep = round as usize % 5;
            while held.len() > keep {
                let place = (round as usize * 7) % held.len();
                receiver.give_back(held.swap_remove(place).1);
            }
        }
        assert!(next > 10_000);
        assert_eq!(receiver.fault(), None);
    }
}

#[test]
fn handles_that_are_not_taken_mean_nothing() {
    let (mut card, _, mut receiver, _) = running(16, true);
    card.deliver(NO_HEADER, &numbered(1));
    receiver.look(1);
    let arrival = receiver.take().unwrap();
    let forged = [
        Arrival { buffer: 15, ..arrival },
        Arrival { buffer: 16, ..arrival },
        Arrival { buffer: u32::MAX, ..arrival },
        Arrival { len: 100_000, ..arrival },
    ];
    for handle in &forged[..] {
        assert_eq!(receiver.bytes(handle), b"");
    }
    for handle in &forged[..3] {
        receiver.give_back(*handle);
    }
    receiver.give_back(arrival);
    receiver.give_back(arrival);
    assert_eq!(receiver.bytes(&arrival), b"", "it belongs to the device again");
    receiver.look(2);
    let mut delivered = 0;
    while card.deliver(NO_HEADER, &numbered(2)) {
        delivered += 1;
    }
    assert_eq!(delivered, 16, "every buffer is there once");
}

#[test]
fn runts_are_given_back_unseen() {
    let (mut card, _, mut receiver, _) = running(16, true);
    for _ in 0..100 {
        card.deliver(NO_HEADER, &[1; 13]);
        card.deliver(NO_HEADER, &[]);
        assert_eq!(receiver.look(1), 0);
    }
    assert_eq!(receiver.counters().runts, 200);
    assert_eq!(card.dropped, 0);
}

#[test]
fn a_card_that_lies_silences_only_its_own_half() {
    let lies: [(u32, u32, Fault); 3] = [
        (0, 4096, Fault::WroteTooMuch),
        (99, 100, Fault::NoSuchDescriptor),
        (u32::MAX, 0, Fault::NoSuchDescriptor),
    ];
    for (id, written, fault) in lies {
        let (mut card, _, mut receiver, mut sender) = running(16, true);
        let receiving = &mut card.queues().0;
        receiving.pop().unwrap().unwrap();
        receiving.push_raw(id, written);
        receiving.finish();
        assert_eq!(receiver.look(1), 0);
        assert_eq!(receiver.fault(), Some(fault));
        assert!(receiver.take().is_none());
        assert!(receiver.arm());
        sender.queue(frame(&[b"x"])).unwrap();
        sender.kick();
        assert_eq!(card.drain().len(), 1);

        let sending = &mut card.queues().1;
        sending.push_raw(id.max(16), 1);
        sending.finish();
        sender.queue(frame(&[b"x"])).unwrap();
        let completed = sender.completed();
        assert!(completed <= 1);
        assert_eq!((sender.room(), sender.queue(frame(&[b"x"]))), (0, Err(Full)));
        assert!(!sender.kick());
        assert!(sender.fault().is_some());
    }
}

#[test]
fn frames_cross_a_wire_between_two_drivers() {
    let (mut left_card, _, mut left, mut left_out) = running(32, true);
    let (mut right_card, _, mut right, mut right_out) = running(32, false);
    let (mut sent, mut got, mut back) = (0u32, 0u32, 0u32);
    for now in 0..2_000u64 {
        for _ in 0..now % 7 {
            if left_out.room() > 0 {
                let bytes = numbered(sent);
                let (headers, payload) = bytes.split_at(24);
                let out = Frame { headers, payload: &[payload], checksum: None, segment_len: None };
                left_out.queue(out).unwrap();
                sent += 1;
            }
        }
        left_out.kick();
        exchange(&mut left_card, &mut right_card, true);
        right.look(now);
        while let Some(arrival) = right.take() {
            assert!(arrival.checksum_good);
            assert_eq!(right.bytes(&arrival), numbered(got));
            got += 1;
            let bytes = right.bytes(&arrival).to_vec();
            let echo = Frame { headers: &bytes, payload: &[], checksum: None, segment_len: None };
            right_out.queue(echo).unwrap();
            right.give_back(arrival);
        }
        right_out.kick();
        exchange(&mut left_card, &mut right_card, true);
        left.look(now);
        while let Some(arrival) = left.take() {
            assert_eq!(left.bytes(&arrival), numbered(back));
            back += 1;
            left.give_back(arrival);
        }
        left_out.completed();
        right_out.completed();
    }
    assert!(sent > 5_000);
    assert_eq!((got, back), (sent, sent));
    assert_eq!(left_card.dropped + right_card.dropped, 0);
}
