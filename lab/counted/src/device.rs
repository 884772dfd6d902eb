//! A device that costs as little as a device can: frames stand ready, and what is sent is looked at only when it is
//! an opening's answer. What it does is counted with the stack; it is a few instructions a frame.

use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use std::collections::VecDeque;

/// Frames that either ring holds.
pub const RING: usize = 256;

/// The receiving half.
pub struct Received {
    frames: Vec<Vec<u8>>,
    head: usize,
    tail: usize,
    now_ns: u64,
    checksum_good: bool,
}

impl Received {
    /// Nothing waits. `checksum_good` says whether the device vouches for checksums.
    pub fn new(checksum_good: bool) -> Self {
        Self { frames: vec![Vec::new(); RING], head: 0, tail: 0, now_ns: 0, checksum_good }
    }

    /// A frame arrives.
    pub fn arrive(&mut self, frame: Vec<u8>, now_ns: u64) {
        assert!(self.tail - self.head < RING, "the ring is full");
        self.frames[self.tail % RING] = frame;
        self.tail += 1;
        self.now_ns = now_ns;
    }
}

impl Ingress for Received {
    fn look(&mut self, _now_ns: u64) -> usize {
        self.tail - self.head
    }

    fn oldest_ns(&self) -> Option<u64> {
        (self.tail > self.head).then_some(self.now_ns)
    }

    fn capacity(&self) -> usize {
        RING
    }

    fn take(&mut self) -> Option<Arrival> {
        if self.head == self.tail {
            return None;
        }
        let place = self.head % RING;
        self.head += 1;
        let len = self.frames[place].len() as u32;
        let checksum_good = self.checksum_good;
        Some(Arrival { buffer: place as u32, len, arrived_ns: self.now_ns, checksum_good })
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        &self.frames[arrival.buffer as usize]
    }

    fn give_back(&mut self, _arrival: Arrival) {}

    fn arm(&mut self) -> bool {
        self.head == self.tail
    }
}

/// The sending half.
pub struct Sent {
    checksum: bool,
    queued: u64,
    shown: u64,
    /// Payload bytes since somebody looked.
    payload: usize,
    /// Openings' answers: the only frames whose bytes matter to the script.
    answers: VecDeque<Vec<u8>>,
}

impl Sent {
    /// Nothing was sent. `checksum` says whether the device completes checksums.
    pub fn new(checksum: bool) -> Self {
        Self { checksum, queued: 0, shown: 0, payload: 0, answers: VecDeque::new() }
    }

    /// Payload bytes since the last time.
    pub fn take_payload(&mut self) -> usize {
        std::mem::take(&mut self.payload)
    }

    /// The oldest frame without payload.
    pub fn answer(&mut self) -> Option<Vec<u8>> {
        self.answers.pop_front()
    }
}

impl Egress for Sent {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.checksum, segmentation: false }
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn room(&self) -> usize {
        RING - (self.queued - self.shown) as usize
    }

    fn capacity(&self) -> usize {
        RING
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if frame.payload.is_empty() {
            self.answers.push_back(frame.headers.to_vec());
        }
        for part in frame.payload {
            self.payload += part.len();
        }
        self.queued += 1;
        Ok(self.queued)
    }

    fn kick(&mut self) -> bool {
        self.shown = self.queued;
        true
    }

    fn completed(&mut self) -> u64 {
        self.shown
    }
}
