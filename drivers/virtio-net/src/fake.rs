//! Network devices in software, and a wire between two of them: the driver proves itself on the host, and anything that
//! wants to see the very driver run can have it without a machine.

use crate::header::{
    self, FEATURE_CHECKSUM, FEATURE_GUEST_CHECKSUM, FEATURE_MAC, FEATURE_MTU, FEATURE_STATUS, NEEDS_CHECKSUM,
};
use alloc::vec::Vec;
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
    queues: Option<(DeviceQueue, DeviceQueue)>,
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
            queues: None,
            interrupts: 0,
            dropped: 0,
            checksums: 0,
        }
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
        self.queues.get_or_insert_with(|| {
            let queue = |at| self.device.queue(&self.memory, at).expect("the driver is started");
            (queue(0), queue(1))
        })
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
        let receiving = &mut self.queues().0;
        let Some(chain) = receiving.pop().expect("reachable") else {
            receiving.want_notification(true);
            self.dropped += 1;
            return false;
        };
        receiving.want_notification(false);
        let bytes = [&head[..], frame].concat();
        let written = receiving.scatter(&chain, &bytes).expect("reachable");
        receiving.push(chain.head, written);
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
