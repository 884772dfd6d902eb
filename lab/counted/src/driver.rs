//! Short datagrams turned round over a network card in software: by the driver, and by the least that could do it.

use crate::Load;
use nom_stack::port::{Egress, Frame, Ingress};
use nom_virtio_net::fake::FakeCard;
use nom_virtio_net::{Config, Network, header};
use nom_virtqueue::fake::{FakeBell, FakeDevice};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
/// Entries of a ring: what the least has.
const RING: u16 = 256;
/// A frame of the smallest size.
const FRAME: [u8; 60] = [0x5a; 60];

/// What the driver has of the card.
type Halves = (nom_virtio_net::Receiver<FakeBell>, nom_virtio_net::Sender<FakeBell>);

/// The driver, as an application that sends each frame back uses it.
pub fn play(load: &Load) {
    let mut card = FakeCard::new(MAC, RING, 1500, true);
    let Network { device: _device, receiver, sender } =
        nom_virtio_net::start(card.device(), &card.memory(), Config::default()).expect("an honest card");
    let mut halves = (receiver, sender);
    rounds(load, &mut card, |counts| if counts { counted(&mut halves) } else { turn(&mut halves) });
    assert!(halves.0.fault().or(halves.1.fault()).is_none());
}

/// Two raw rings.
pub fn play_least(load: &Load) {
    let mut card = FakeCard::new(MAC, RING, 1500, true);
    let mut bare = nom_bare::start(card.device(), &card.memory(), None).expect("an honest card");
    rounds(load, &mut card, |counts| if counts { counted_least(&mut bare) } else { turn_least(&mut bare) });
}

/// Batch after batch arrives, and is back before the next.
fn rounds(load: &Load, card: &mut FakeCard, mut turn: impl FnMut(bool)) {
    // Twice round the ring before anything is counted.
    let warm_up = (2 * usize::from(RING)).div_ceil(load.batch);
    for round in 0..warm_up + load.rounds {
        for _ in 0..load.batch {
            assert!(card.deliver([0; header::LEN], &FRAME), "no buffer");
        }
        turn(round >= warm_up);
        let sent = card.drain();
        assert_eq!(sent.len(), load.batch);
        assert!(sent.iter().all(|sent| sent.frame == FRAME));
        card.queues().1.want_notification(false);
    }
}

#[inline(never)]
fn counted(halves: &mut Halves) {
    turn(halves);
}

#[inline(never)]
fn counted_least(bare: &mut nom_bare::Bare<FakeDevice>) {
    turn_least(bare);
}

#[inline(always)]
fn turn((receiver, sender): &mut Halves) {
    receiver.look(1);
    sender.completed();
    while sender.room() > 0 {
        let Some(arrival) = receiver.take() else { break };
        let mut head = FRAME;
        head.copy_from_slice(receiver.bytes(&arrival));
        change(&mut head);
        let frame = Frame { headers: &head, payload: &[], checksum: None, segment_len: None };
        sender.queue(frame).expect("there is room");
        receiver.give_back(arrival);
    }
    sender.kick();
}

#[inline(always)]
fn turn_least(bare: &mut nom_bare::Bare<FakeDevice>) {
    bare.turn(|frame| {
        change(frame);
        true
    });
}

/// What a reflector does at the least.
#[inline(always)]
fn change(frame: &mut [u8]) {
    for at in 0..6 {
        frame.swap(at, at + 6);
    }
}
