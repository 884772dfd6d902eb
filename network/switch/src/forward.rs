//! Moving frames: a turn of the switch.

use alloc::vec::Vec;

use nom_stack::port::{Egress, Frame, Full, Ingress};

use crate::PORTS_MAX;
use crate::steering::{REASONS, Steering, Way};

/// Frames from the card in one turn.
const CARD_TURN: usize = 64;
/// Frames from a port in one turn.
const PORT_TURN: usize = 32;

/// What the switch counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that came from the card.
    pub from_card: u64,
    /// Frames that came from ports.
    pub from_ports: u64,
    /// Frames that left by the card.
    pub to_card: u64,
    /// Frames that went into ports.
    pub to_ports: u64,
    /// Frames that found a port's ring full.
    pub port_full: u64,
    /// Turns in which frames waited because the card's ring was full.
    pub card_full: u64,
    /// Frames that went nowhere, by [`crate::Dropped`].
    pub dropped: [u64; REASONS],
}

/// A card and ports.
pub struct Switch<I, E, P, Q> {
    card_in: I,
    card_out: E,
    ports_in: Vec<P>,
    ports_out: Vec<Q>,
    steering: Steering,
    /// The port that is asked first in the next turn.
    first: usize,
    counters: Counters,
}

impl<I: Ingress, E: Egress, P: Ingress, Q: Egress> Switch<I, E, P, Q> {
    /// A switch; port `n` of the steering is the `n`th here.
    ///
    /// # Panics
    /// When there are more ports than [`PORTS_MAX`], or the steering knows another number of them.
    pub fn new(card: (I, E), ports: Vec<(P, Q)>, steering: Steering) -> Self {
        assert!(ports.len() <= PORTS_MAX && ports.len() == steering.ports());
        let (card_in, card_out) = card;
        let (ports_in, ports_out) = ports.into_iter().unzip();
        Self { card_in, card_out, ports_in, ports_out, steering, first: 0, counters: Counters::default() }
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Both halves of the card, to look at.
    pub fn card(&self) -> (&I, &E) {
        (&self.card_in, &self.card_out)
    }

    /// The receiving half of the card.
    pub fn card_in_mut(&mut self) -> &mut I {
        &mut self.card_in
    }

    /// The halves of a port, to look at.
    pub fn port(&self, port: usize) -> Option<(&P, &Q)> {
        self.ports_in.get(port).zip(self.ports_out.get(port))
    }

    /// Another life begins at a port: what was learned from the last one is forgotten.
    pub fn forget(&mut self, port: usize) {
        self.steering.forget(port);
    }

    /// Moves what is there, a bounded number of frames; whether there was anything.
    pub fn turn(&mut self, now_ns: u64) -> bool {
        let mut worked = self.turn_of_card(now_ns);
        let ports = self.ports_in.len();
        for offset in 0..ports {
            worked |= self.turn_of_port((self.first + offset) % ports, now_ns);
        }
        self.first = (self.first + 1) % ports.max(1);
        self.card_out.kick();
        for port in &mut self.ports_out {
            port.kick();
        }
        worked
    }

    /// Asks to be woken by everyone; false when something came meanwhile.
    pub fn arm(&mut self) -> bool {
        // All are asked, whatever the first ones say: what is armed needlessly is disarmed by the next look.
        let quiet = self.card_in.arm();
        self.ports_in.iter_mut().fold(quiet, |quiet, port| port.arm() && quiet)
    }

    fn turn_of_card(&mut self, now_ns: u64) -> bool {
        let waiting = self.card_in.look(now_ns);
        for _ in 0..waiting.min(CARD_TURN) {
            let Some(arrival) = self.card_in.take() else { break };
            self.counters.from_card += 1;
            let bytes = self.card_in.bytes(&arrival);
            match self.steering.from_card(bytes, now_ns) {
                Way::Port(to) => to_port(&mut self.ports_out[to], bytes, &mut self.counters),
                Way::Everyone => {
                    for port in &mut self.ports_out {
                        to_port(port, bytes, &mut self.counters);
                    }
                }
                Way::Nowhere(why) => self.counters.dropped[why as usize] += 1,
                Way::Card => {}
            }
            self.card_in.give_back(arrival);
        }
        waiting > 0
    }

    fn turn_of_port(&mut self, from: usize, now_ns: u64) -> bool {
        let waiting = self.ports_in[from].look(now_ns);
        for moved in 0..waiting.min(PORT_TURN) {
            // Where the next frame goes is known only when it is taken, and then it must go.
            if self.card_out.room() == 0 && !self.make_room() {
                self.counters.card_full += 1;
                return moved > 0;
            }
            let Some(arrival) = self.ports_in[from].take() else { break };
            self.counters.from_ports += 1;
            let bytes = self.ports_in[from].bytes(&arrival);
            match self.steering.from_port(from, bytes, now_ns) {
                Way::Card => to_card(&mut self.card_out, bytes, &mut self.counters),
                Way::Port(to) => to_port(&mut self.ports_out[to], bytes, &mut self.counters),
                Way::Everyone => {
                    to_card(&mut self.card_out, bytes, &mut self.counters);
                    for (_, port) in self.ports_out.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                        to_port(port, bytes, &mut self.counters);
                    }
                }
                Way::Nowhere(why) => self.counters.dropped[why as usize] += 1,
            }
            self.ports_in[from].give_back(arrival);
        }
        waiting > 0
    }

    /// The card's ring is full: it is shown what is there and asked what is done.
    fn make_room(&mut self) -> bool {
        self.card_out.kick();
        self.card_out.completed();
        self.card_out.room() > 0
    }
}

/// The frame as it is: every checksum in it is complete, and all of it is copied when it is queued.
fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { headers: bytes, payload: &[], checksum: None, segment_len: None }
}

#[inline]
fn to_port(port: &mut impl Egress, bytes: &[u8], counters: &mut Counters) {
    match port.queue(whole(bytes)) {
        Ok(_) => counters.to_ports += 1,
        // As on every switch: who does not read loses.
        Err(Full) => counters.port_full += 1,
    }
}

#[inline]
fn to_card(card: &mut impl Egress, bytes: &[u8], counters: &mut Counters) {
    // Room was made before the frame was taken.
    if card.queue(whole(bytes)).is_ok() {
        counters.to_card += 1;
    }
}
