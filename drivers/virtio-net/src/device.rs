//! Starting the device and dividing it in halves.

use crate::header::{
    FEATURE_CHECKSUM, FEATURE_GUEST_CHECKSUM, FEATURE_MAC, FEATURE_MTU, FEATURE_STATUS, LEN,
};
use crate::{Receiver, Sender};
use nom_dma::DmaMemory;
use nom_virtqueue::transport::{
    self, FEATURE_EVENT_INDEX, KIND_NETWORK, StartError, Transport, config_bytes, negotiate, status,
};
use nom_virtqueue::{MappedRing, Queue};

/// Queue that the device fills.
pub(crate) const RECEIVE: u16 = 0;
/// Queue that the device empties.
pub(crate) const SEND: u16 = 1;
/// Ethernet header, and a tag that a switch may leave in front of the payload.
pub(crate) const ETHERNET_LEN: usize = 14 + 4;
const MTU_DEFAULT: usize = 1500;
/// The smallest MTU of IPv4 that serves (RFC 791); a device that says less is not believed.
const MTU_MIN: usize = 576;
/// The largest MTU for which receive buffers are kept.
const MTU_MAX: usize = 9000;

/// How much memory the driver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Receive buffers, at most as many as the device's ring has; rounded down to a power of two. Each takes 2 KiB at
    /// an MTU of 1500.
    pub receive_buffers: u16,
    /// Frames that may be on their way out, rounded down to a power of two. Each takes as much.
    pub send_frames: u16,
    /// MSI-X vectors of the two queues, where the device has vectors.
    pub vectors: Option<(u16, u16)>,
}

impl Default for Config {
    fn default() -> Self {
        Self { receive_buffers: 256, send_frames: 128, vectors: None }
    }
}

/// A device that runs, divided.
#[derive(Debug)]
pub struct Network<T: Transport> {
    /// What is left of it beside its halves.
    pub device: Device<T>,
    /// The stack's ingress.
    pub receiver: Receiver<T::Bell>,
    /// The stack's egress.
    pub sender: Sender<T::Bell>,
}

/// The device beside its halves: identity, link, health.
#[derive(Debug)]
pub struct Device<T> {
    transport: T,
    features: u64,
    mac: [u8; 6],
}

/// Starts a network device. Its memory is taken here; nothing is allocated later.
pub fn start<T: Transport>(
    mut transport: T,
    memory: &impl DmaMemory,
    config: Config,
) -> Result<Network<T>, StartError> {
    let wanted =
        FEATURE_EVENT_INDEX | FEATURE_CHECKSUM | FEATURE_GUEST_CHECKSUM | FEATURE_MTU | FEATURE_STATUS;
    let features = negotiate(&mut transport, KIND_NETWORK, FEATURE_MAC, wanted)?;
    let has = |feature: u64| features & feature != 0;
    let mac = config_bytes::<6>(&transport, 0);
    let mtu = if has(FEATURE_MTU) {
        usize::from(u16::from_le_bytes(config_bytes::<2>(&transport, 10))).clamp(MTU_MIN, MTU_MAX)
    } else {
        MTU_DEFAULT
    };
    // A power of two, so that no buffer crosses a page more often than it must.
    let slot_len = (LEN + ETHERNET_LEN + mtu).next_power_of_two();

    let (receive_vector, send_vector) = config.vectors.unzip();
    let queue = install(&mut transport, memory, RECEIVE, config.receive_buffers, features, receive_vector)?;
    let buffers = memory.allocate(usize::from(queue.size()) * slot_len, 4096).ok_or(StartError::Memory)?;
    let mut receiver = Receiver::new(queue, buffers, slot_len, transport.bell(RECEIVE));

    // Four descriptors a frame: the driver's own bytes and some slices of payload. A ring that is smaller than that
    // still works, with more copies.
    let ring = config.send_frames.saturating_mul(4);
    let queue = install(&mut transport, memory, SEND, ring, features, send_vector)?;
    let frames = floor_power_of_two(config.send_frames.min(queue.size())).ok_or(StartError::Queue(SEND))?;
    let buffers = memory.allocate(usize::from(frames) * slot_len, 4096).ok_or(StartError::Memory)?;
    let bell = transport.bell(SEND);
    let sender =
        Sender::new(queue, memory.regions(), buffers, slot_len, frames, mtu, has(FEATURE_CHECKSUM), bell);

    transport::live(&mut transport);
    receiver.supply();
    Ok(Network { device: Device { transport, features, mac }, receiver, sender })
}

fn install(
    transport: &mut impl Transport,
    memory: &impl DmaMemory,
    queue: u16,
    wanted: u16,
    features: u64,
    vector: Option<u16>,
) -> Result<Queue, StartError> {
    let size = transport.queue_size_max(queue).min(wanted);
    let size = floor_power_of_two(size).filter(|size| *size >= 2).ok_or(StartError::Queue(queue))?;
    let ring = MappedRing::new(memory, size).map_err(|_| StartError::Memory)?;
    // SAFETY: the places are those of a ring of this size in memory allocated for it, which is never given back.
    unsafe { transport.install(queue, size, ring.places(), vector)? };
    Ok(Queue::new(ring, size, features & FEATURE_EVENT_INDEX != 0))
}

fn floor_power_of_two(value: u16) -> Option<u16> {
    value.checked_ilog2().map(|power| 1 << power)
}

impl<T: Transport> Device<T> {
    /// The hardware address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What was agreed with the device.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Whether the link is up. A device that does not tell is taken at its best.
    pub fn link_up(&self) -> bool {
        self.features & FEATURE_STATUS == 0 || config_bytes::<2>(&self.transport, 6)[0] & 1 != 0
    }

    /// The device says of itself that it is broken.
    pub fn needs_reset(&self) -> bool {
        self.transport.status() & status::NEEDS_RESET != 0
    }

    /// Stops the device. Afterwards it touches no memory, and the halves see nothing more.
    pub fn stop(&mut self) -> Result<(), StartError> {
        transport::reset(&mut self.transport)
    }
}
