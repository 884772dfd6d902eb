//! Network devices in software, and a wire between two of them: the driver proves itself on the host, and anything that
//! wants to see the very driver run can have it without a machine.

use crate::header::{
    self, FEATURE_CHECKSUM, FEATURE_CONTROL, FEATURE_GUEST_CHECKSUM, FEATURE_GUEST_SEGMENTS_IPV4,
    FEATURE_GUEST_SEGMENTS_IPV6, FEATURE_MAC, FEATURE_MERGE, FEATURE_MTU, FEATURE_PAIRS,
    FEATURE_SEGMENTS_IPV4, FEATURE_SEGMENTS_IPV6, FEATURE_STATUS, NEEDS_CHECKSUM,
};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use nom_dma::fake::FakeMemory;
use nom_virtqueue::fake::{Chain, DeviceQueue, FakeDevice};
use nom_virtqueue::transport::{FEATURE_EVENT_INDEX, FEATURE_VERSION_1, KIND_NETWORK};

/// A frame that left a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The header that the driver wrote.
    pub header: [u8; header::LEN],
    /// The Ethernet frame, its checksum completed as the header asks.
    pub frame: Vec<u8>,
}

/// A network card in software.
#[derive(Debug, Clone)]
pub struct FakeCard {
    device: FakeDevice,
    memory: FakeMemory,
    queues: Vec<(DeviceQueue, DeviceQueue)>,
    pairs: u16,
    pair: usize,
    /// Interrupts that were raised.
    pub interrupts: u64,
    /// Frames that found no buffer.
    pub dropped: u64,
    /// Frames whose checksum was left to the card.
    pub checksums: u64,
}

impl FakeCard {
    /// A card with rings of these sizes, its own memory, and everything that it can offer.
    pub fn new(mac: [u8; 6], ring: u16, mtu: u16, event_index: bool) -> Self {
        let mut offered = FEATURE_VERSION_1
            | FEATURE_MAC
            | FEATURE_MTU
            | FEATURE_STATUS
            | FEATURE_CHECKSUM
            | FEATURE_GUEST_CHECKSUM;
        if event_index {
            offered |= FEATURE_EVENT_INDEX;
        }
        let mut config = [0; 12];
        config[..6].copy_from_slice(&mac);
        config[6] = 1;
        config[10..12].copy_from_slice(&mtu.to_le_bytes());
        let device = FakeDevice::new(KIND_NETWORK, offered, &[ring, ring], &config);
        Self {
            device,
            memory: FakeMemory::new(4 << 20),
            queues: Vec::new(),
            pairs: 1,
            pair: 0,
            interrupts: 0,
            dropped: 0,
            checksums: 0,
        }
    }

    /// A card that cuts and merges, and has so many pairs of queues.
    pub fn large(mac: [u8; 6], ring: u16, event_index: bool, pairs: u16) -> Self {
        let mut card = Self::new(mac, ring, 1500, event_index);
        card.pairs = pairs;
        let control = 2 * usize::from(pairs);
        card.device.with(|registers| {
            registers.offered |= FEATURE_SEGMENTS_IPV4 | FEATURE_SEGMENTS_IPV6 | FEATURE_MERGE;
            registers.offered |= FEATURE_GUEST_SEGMENTS_IPV4 | FEATURE_GUEST_SEGMENTS_IPV6;
            registers.offered |= FEATURE_CONTROL | FEATURE_PAIRS;
            registers.queues = vec![(ring, None); control + 1];
            registers.config[8..10].copy_from_slice(&pairs.to_le_bytes());
        });
        card
    }

    /// Answers every command with this byte, as soon as it is rung for; what was commanded is noted.
    pub fn answer_commands(&self, answer: u8) -> Rc<RefCell<Vec<Vec<u8>>>> {
        let heard: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
        let (noted, device, memory, control) =
            (heard.clone(), self.device.clone(), self.memory.clone(), 2 * self.pairs);
        self.device.on_ring(move |queue| {
            if queue != control {
                return;
            }
            let mut queue = device.queue(&memory, control).expect("the driver rings what it installed");
            while let Ok(Some(chain)) = queue.pop() {
                noted.borrow_mut().push(queue.gather(&chain).expect("reachable"));
                let written = queue.scatter(&chain, &[answer]).expect("reachable");
                queue.push(chain.head, written);
            }
            queue.finish();
        });
        heard
    }

    /// From now on frames go through this pair of queues.
    pub fn select(&mut self, pair: usize) {
        self.pair = pair;
    }

    /// Forgets where the rings were: the driver starts the card again.
    pub fn forget(&mut self) {
        self.queues.clear();
    }

    /// The registers, for the driver.
    pub fn device(&self) -> FakeDevice {
        self.device.clone()
    }

    /// The memory that both reach.
    pub fn memory(&self) -> FakeMemory {
        self.memory.clone()
    }

    /// The rings as the device sees them: receiving, sending. Panics before the driver started.
    pub fn queues(&mut self) -> &mut (DeviceQueue, DeviceQueue) {
        while self.queues.len() <= self.pair {
            let first = 2 * self.queues.len() as u16;
            let queue = |at| self.device.queue(&self.memory, at).expect("the driver is started");
            self.queues.push((queue(first), queue(first + 1)));
        }
        &mut self.queues[self.pair]
    }

    /// Takes the next frame that the driver published, without completing it.
    pub fn fetch(&mut self) -> Option<(Chain, Sent)> {
        let sending = &mut self.queues().1;
        let chain = sending.pop().expect("the driver publishes what the device reaches")?;
        let bytes = sending.gather(&chain).expect("the driver publishes what the device reaches");
        let (head, frame) = bytes.split_at(header::LEN);
        let mut sent = Sent { header: head.try_into().expect("split there"), frame: frame.to_vec() };
        self.checksums += u64::from(complete_checksum(&mut sent));
        Some((chain, sent))
    }

    /// Completes frames in the order given.
    pub fn complete(&mut self, chains: impl IntoIterator<Item = Chain>) {
        let sending = &mut self.queues().1;
        for chain in chains {
            sending.push(chain.head, 0);
        }
        let interrupt = sending.finish();
        self.interrupts += u64::from(interrupt);
    }

    /// Takes and completes everything that was published.
    pub fn drain(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some((chain, sent)) = self.fetch() {
            self.complete([chain]);
            all.push(sent);
        }
        self.queues().1.want_notification(true);
        all
    }

    /// Hands a frame to the driver. False when it had no buffer.
    pub fn deliver(&mut self, head: [u8; header::LEN], frame: &[u8]) -> bool {
        let merges = self.device.with(|registers| registers.accepted & FEATURE_MERGE != 0);
        let receiving = &mut self.queues().0;
        let mut bytes = [&head[..], frame].concat();
        let mut chains = Vec::new();
        let mut room = 0;
        while chains.is_empty() || (merges && room < bytes.len()) {
            let Some(chain) = receiving.pop().expect("reachable") else {
                receiving.put_back(chains.len() as u16);
                receiving.want_notification(true);
                self.dropped += 1;
                return false;
            };
            room += chain.writes.iter().map(|segment| segment.len as usize).sum::<usize>();
            chains.push(chain);
        }
        receiving.want_notification(false);
        if merges && bytes[10..12] == [0, 0] {
            bytes[10..12].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        }
        let mut rest = &bytes[..];
        for chain in chains {
            let written = receiving.scatter(&chain, rest).expect("reachable");
            receiving.push(chain.head, written);
            rest = &rest[written as usize..];
        }
        let interrupt = receiving.finish();
        self.interrupts += u64::from(interrupt);
        true
    }
}

/// Moves everything that waits from each card to the other; returns how many frames moved. `vouched` tells whether the
/// cards say that checksums are good, or leave that to the receiver.
pub fn exchange(left: &mut FakeCard, right: &mut FakeCard, vouched: bool) -> usize {
    let mut head = [0; header::LEN];
    head[0] = if vouched { header::DATA_VALID } else { 0 };
    let (from_left, from_right) = (left.drain(), right.drain());
    let mut moved = 0;
    for sent in from_left {
        moved += usize::from(right.deliver(head, &sent.frame));
    }
    for sent in from_right {
        moved += usize::from(left.deliver(head, &sent.frame));
    }
    moved
}

/// What a card does with [`NEEDS_CHECKSUM`]: the ones' complement sum from the start to the end of the frame. Says
/// whether that was asked for and possible.
fn complete_checksum(sent: &mut Sent) -> bool {
    if sent.header[0] & NEEDS_CHECKSUM == 0 {
        return false;
    }
    let start = usize::from(u16::from_le_bytes([sent.header[6], sent.header[7]]));
    let offset = usize::from(u16::from_le_bytes([sent.header[8], sent.header[9]]));
    let Some(covered) = sent.frame.get(start..) else { return false };
    let mut sum: u32 = 0;
    for pair in covered.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let Some(field) = sent.frame.get_mut(start + offset..start + offset + 2) else { return false };
    field.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    true
}
