//! The stack's device: frames wait here for packetdrill, which knows packets of IP only.

use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use std::collections::{BTreeMap, VecDeque};

/// Frames on their way in.
#[derive(Default)]
pub struct Input {
    waiting: VecDeque<(Vec<u8>, u64)>,
    taken: BTreeMap<u32, Vec<u8>>,
    next: u32,
}

impl Input {
    pub fn give(&mut self, frame: Vec<u8>, now_ns: u64) {
        self.waiting.push_back((frame, now_ns));
    }
}

impl Ingress for Input {
    fn look(&mut self, _now_ns: u64) -> usize {
        self.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|frame| frame.1)
    }

    fn capacity(&self) -> usize {
        4096
    }

    fn take(&mut self) -> Option<Arrival> {
        let (bytes, arrived_ns) = self.waiting.pop_front()?;
        self.next += 1;
        let arrival =
            Arrival { buffer: self.next, len: bytes.len() as u32, arrived_ns, checksum_good: false };
        self.taken.insert(arrival.buffer, bytes);
        Some(arrival)
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        &self.taken[&arrival.buffer]
    }

    fn give_back(&mut self, arrival: Arrival) {
        self.taken.remove(&arrival.buffer);
    }

    fn arm(&mut self) -> bool {
        self.waiting.is_empty()
    }
}

/// Frames on their way out. Large segments stay whole, as a device gets them: scripts expect them so.
#[derive(Default)]
pub struct Output {
    pub shown: VecDeque<Vec<u8>>,
    queued: Vec<Vec<u8>>,
    sent: u64,
}

impl Egress for Output {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: false, segmentation: true }
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn room(&self) -> usize {
        self.capacity() - self.queued.len()
    }

    fn capacity(&self) -> usize {
        1024
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let mut bytes = frame.headers.to_vec();
        frame.payload.iter().for_each(|part| bytes.extend_from_slice(part));
        self.queued.push(bytes);
        self.sent += 1;
        Ok(self.sent)
    }

    fn kick(&mut self) -> bool {
        self.shown.extend(self.queued.drain(..));
        true
    }

    fn completed(&mut self) -> u64 {
        self.sent - self.queued.len() as u64
    }
}
