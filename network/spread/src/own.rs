//! A core that has a pair of queues, among others that have theirs: it hands over what comes to its queue and is not its.
//!
//! ```text
//!   queue of the first core --+-- clients, all else -----------> its stack
//!                             +-- for all ---------------------> its stack, and the ring of each other core
//!   queue of another core ----+-- clients ---------------------> its stack
//!                             +-- all else --------------------> ring of the first core
//!                             +-- for all ---------------------> its stack, and the ring of the first core, which tells the rest
//! ```
//!
//! What a core sends leaves by its own queue.

use crate::back::BackReceiver;
use crate::front::Counters;
use crate::peer::{self, Peer, give};
use crate::steering::{About, about};
use crate::{Memory, SLOTS};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use nom_port::{Bell, Sender};
use nom_stack::port::{Arrival, Egress, Ingress};

/// A frame that was handed over is named with the number of its ring up here, counted from 1; the device's names are below.
const RING_SHIFT: u32 = 24;

/// The rings with another core.
#[derive(Debug)]
struct Ring<B> {
    hears: BackReceiver<B>,
    says: Sender<Memory, B>,
}

/// What a core hands over by: the first one to all others, each of them to the first.
#[derive(Debug)]
pub struct Rings<B> {
    is_first: bool,
    rings: Vec<Ring<B>>,
}

/// The rings of the first core, and of each other one. `bells` wake a core each, the first one's first.
pub fn rings<B: Bell + Clone>(bells: &[B]) -> (Rings<B>, Vec<Rings<B>>) {
    let ring = |Peer { hears, says }| Ring { hears: BackReceiver::new(hears), says };
    let (of_first, of_others) = peer::between(bells);
    let first = Rings { is_first: true, rings: of_first.into_iter().map(ring).collect() };
    let other = |peer| Rings { is_first: false, rings: vec![ring(peer)] };
    (first, of_others.into_iter().map(other).collect())
}

/// What comes to a core that has a queue.
#[derive(Debug)]
pub struct OwnReceiver<I, B> {
    device: I,
    is_first: bool,
    rings: Vec<Ring<B>>,
    port: u16,
    /// Frames for this core: at most what the device and the rings lend at a time.
    mine: VecDeque<Arrival>,
    counters: Counters,
}

impl<I: Ingress, B: Bell> OwnReceiver<I, B> {
    /// Over the receiving half of a queue. Connections to `port` are of the core to whose queue they come.
    ///
    /// The device must not hand over frames that are longer than [`nom_port::FRAME_MAX`] less one byte, as those that it
    /// merged, but for clients.
    pub fn new(device: I, rings: Rings<B>, port: u16) -> Self {
        let lent = device.capacity() + rings.rings.len() * SLOTS;
        let Rings { is_first, rings } = rings;
        Self {
            mine: VecDeque::with_capacity(lent),
            device,
            is_first,
            rings,
            port,
            counters: Counters::default(),
        }
    }

    /// The queue, to look at.
    pub fn device(&self) -> &I {
        &self.device
    }

    /// What was handed over.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Keeps what is for this core and hands over the rest.
    fn sort(&mut self) {
        while let Some(arrival) = self.device.take() {
            let frame = self.device.bytes(&arrival);
            let (keeps, gives) = match about(frame, self.port) {
                About::Client(..) => (true, false),
                About::Narrow(..) | About::Neighbour => (true, true),
                About::Else => (self.is_first, !self.is_first),
            };
            if gives {
                for ring in &mut self.rings {
                    self.counters.count(give(&mut ring.says, frame, arrival.checksum_good));
                }
            }
            if keeps {
                debug_assert!(arrival.buffer >> RING_SHIFT == 0, "a device has fewer buffers");
                self.mine.push_back(arrival);
            } else {
                self.device.give_back(arrival);
            }
        }
    }

    /// Takes what others handed over. The first core tells the rest of what is for all.
    fn hear(&mut self) {
        for number in 0..self.rings.len() {
            let (before, from) = self.rings.split_at_mut(number);
            let Some((Ring { hears, .. }, behind)) = from.split_first_mut() else { break };
            while let Some(arrival) = hears.take() {
                let frame = hears.bytes(&arrival);
                if self.is_first && matches!(about(frame, self.port), About::Narrow(..) | About::Neighbour) {
                    for ring in before.iter_mut().chain(&mut *behind) {
                        self.counters.count(give(&mut ring.says, frame, arrival.checksum_good));
                    }
                }
                let buffer = arrival.buffer | (number as u32 + 1) << RING_SHIFT;
                self.mine.push_back(Arrival { buffer, ..arrival });
            }
        }
    }
}

/// The ring that a frame came by, none for the device's own, and the name that it has there.
fn origin(arrival: &Arrival) -> (Option<usize>, Arrival) {
    let ring = (arrival.buffer >> RING_SHIFT).checked_sub(1).map(|ring| ring as usize);
    (ring, Arrival { buffer: arrival.buffer & ((1 << RING_SHIFT) - 1), ..*arrival })
}

impl<I: Ingress, B: Bell> Ingress for OwnReceiver<I, B> {
    fn look(&mut self, now_ns: u64) -> usize {
        self.device.look(now_ns);
        self.sort();
        for ring in &mut self.rings {
            ring.hears.look(now_ns);
        }
        self.hear();
        for ring in &mut self.rings {
            ring.says.kick();
        }
        self.mine.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.mine.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        self.device.capacity()
    }

    fn take(&mut self) -> Option<Arrival> {
        self.mine.pop_front()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        match origin(arrival) {
            (None, _) => self.device.bytes(arrival),
            (Some(ring), arrival) => self.rings.get(ring).map_or(&[], |ring| ring.hears.bytes(&arrival)),
        }
    }

    fn give_back(&mut self, arrival: Arrival) {
        match origin(&arrival) {
            (None, _) => self.device.give_back(arrival),
            (Some(ring), arrival) => {
                if let Some(ring) = self.rings.get_mut(ring) {
                    ring.hears.give_back(arrival);
                }
            }
        }
    }

    fn arm(&mut self) -> bool {
        let mut quiet = self.mine.is_empty() && self.device.arm();
        for ring in &mut self.rings {
            // All are asked, whatever the first one says.
            quiet &= ring.hears.arm();
        }
        quiet
    }

    fn lost(&self) -> u64 {
        self.counters.lost
    }
}

#[cfg(test)]
mod tests;
