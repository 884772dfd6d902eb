//! Two whole stacks over two drivers and a wire: the stack leaves its checksums to the sending card, and the receiving
//! card does not vouch for them, so the other stack checks what the first one left half done.

use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::{Config, Engine};
use nom_virtio_net::fake::{FakeCard, exchange};
use nom_virtio_net::{Network, Receiver, Sender, start};
use nom_virtqueue::fake::FakeBell;
use std::net::Ipv4Addr;

/// Sends what it is given once a connection is open (`outgoing`), or sends back what it hears.
struct Talk {
    to_send: Vec<u8>,
    answers: bool,
    heard: Vec<u8>,
    /// Answers are pinned out of memory that the device reaches.
    pinned: Vec<&'static [u8]>,
    released: usize,
    card: FakeCard,
}

impl Talk {
    fn new(card: &FakeCard, to_send: Vec<u8>) -> Self {
        let answers = to_send.is_empty();
        Self { to_send, answers, heard: Vec::new(), pinned: Vec::new(), released: 0, card: card.clone() }
    }

    fn push(&mut self, io: &mut impl Io) {
        while !self.to_send.is_empty() {
            let now = self.to_send.len().min(io.room());
            if now == 0 || io.write(&self.to_send[..now]).is_err() {
                return;
            }
            self.to_send.drain(..now);
        }
    }
}

impl Application for Talk {
    fn opened(&mut self, io: &mut impl Io, _port: u16, outgoing: bool) {
        if outgoing {
            self.push(io);
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let now = if self.answers { bytes.len().min(io.room()) } else { bytes.len() };
        let bytes = &bytes[..now];
        if now == 0 {
            return 0;
        }
        self.heard.extend_from_slice(bytes);
        if self.answers {
            let copy = self.card.memory().registered(bytes);
            self.pinned.push(copy);
            let pin = Pin { token: self.pinned.len() as u64 - 1, len: copy.len() as u32 };
            io.write_pinned(pin).expect("room for a pin");
        }
        bytes.len()
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.push(io);
    }

    fn finished(&mut self, _io: &mut impl Io) {}

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}

    fn pinned(&self, pin: Pin) -> &[u8] {
        self.pinned[pin.token as usize]
    }

    fn released(&mut self, _pin: Pin) {
        self.released += 1;
    }
}

type Host = (FakeCard, Engine<Receiver<FakeBell>, Sender<FakeBell>, Talk>);

fn over(card: FakeCard, config: nom_virtio_net::Config, last: u8, to_send: Vec<u8>) -> Host {
    let Network { device, receiver, sender } = start(card.device(), &card.memory(), config).unwrap();
    let config = Config::new(device.mac(), Ipv4Addr::new(10, 0, 0, last), 24);
    let talk = Talk::new(&card, to_send);
    let engine = Engine::new(config, receiver, sender, talk, [last; 32], 0);
    (card, engine)
}

/// The first sends, the second sends it back: until `done`, or for a virtual second.
fn talk((left_card, left): &mut Host, (right_card, right): &mut Host, done: impl Fn(&Talk, &Talk) -> bool) {
    right.listen(7);
    left.connect(Ipv4Addr::new(10, 0, 0, 2), 7, 0).unwrap();
    let mut now_ns = 0;
    for _ in 0..20_000 {
        now_ns += 50_000;
        left.step(now_ns);
        exchange(left_card, right_card, false);
        right.step(now_ns);
        exchange(left_card, right_card, false);
        if done(left.application(), right.application()) {
            break;
        }
    }
}

fn host(last: u8, to_send: Vec<u8>) -> Host {
    let card = FakeCard::new([2, 0, 0, 0, 0, last], 64, 1500, true);
    let config =
        nom_virtio_net::Config { receive_buffers: 64, send_frames: 32, vectors: None, ..Default::default() };
    over(card, config, last, to_send)
}

#[test]
fn stacks_talk_over_drivers_and_check_what_the_cards_completed() {
    let text: Vec<u8> = (0..20_000u32).map(|number| (number / 3) as u8).collect();
    let mut left_host = host(1, text.clone());
    let mut right_host = host(2, Vec::new());
    talk(&mut left_host, &mut right_host, |left, right| left.heard.len() == text.len() && right.released > 0);
    let ((left_card, left), (right_card, right)) = (&mut left_host, &mut right_host);
    assert!(right.application().heard == text, "{} bytes went over", right.application().heard.len());
    assert!(left.application().heard == text, "{} bytes came back", left.application().heard.len());
    assert!(left_card.checksums > 10 && right_card.checksums > 10, "checksums are left to the cards");
    let counters = *right.egress_mut().counters();
    assert!(counters.bytes_in_place > 15_000, "answers are sent from where they lie: {counters:?}");
    assert_eq!((left.egress_mut().fault(), right.ingress_mut().fault()), (None, None));
}

fn cutting_host(last: u8, to_send: Vec<u8>) -> Host {
    let card = FakeCard::large([2, 0, 0, 0, 0, last], 256, true, 1);
    let wanted = nom_virtio_net::Wanted { checksum: true, segmentation: true, merging: true };
    let config =
        nom_virtio_net::Config { receive_buffers: 256, send_frames: 32, wanted, ..Default::default() };
    over(card, config, last, to_send)
}

#[test]
fn a_stack_hands_large_segments_to_a_card_that_cuts() {
    let text: Vec<u8> = (0..400_001u32).map(|number| (number / 3) as u8).collect();
    let mut left_host = cutting_host(1, text.clone());
    let mut right_host = cutting_host(2, Vec::new());
    talk(&mut left_host, &mut right_host, |left, _| left.heard.len() == text.len());
    let ((_, left), (_, right)) = (&mut left_host, &mut right_host);
    assert!(right.application().heard == text, "{} bytes went over", right.application().heard.len());
    assert!(left.application().heard == text, "{} bytes came back", left.application().heard.len());
    for sender in [left.egress_mut(), right.egress_mut()] {
        let counters = *sender.counters();
        assert!(counters.large > 5, "{counters:?}");
        assert_eq!((counters.oversized, sender.fault()), (0, None), "{counters:?}");
        assert!(counters.frames < 400_001 / 1460, "fewer frames than segments: {counters:?}");
    }
}
