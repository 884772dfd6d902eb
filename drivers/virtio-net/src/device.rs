//! Starting the device and dividing it in halves.

use crate::control::Control;
use crate::header::{
    FEATURE_CHECKSUM, FEATURE_CONTROL, FEATURE_GUEST_CHECKSUM, FEATURE_GUEST_SEGMENTS_IPV4,
    FEATURE_GUEST_SEGMENTS_IPV6, FEATURE_MAC, FEATURE_MERGE, FEATURE_MTU, FEATURE_PAIRS,
    FEATURE_SEGMENTS_IPV4, FEATURE_SEGMENTS_IPV6, FEATURE_STATUS, LEN,
};
use crate::receive::{self, GATHER_LEN};
use crate::send::{self, LARGE_LEN, LARGE_SLOTS};
use crate::{Receiver, Sender};
use alloc::vec::Vec;
use nom_dma::DmaMemory;
use nom_virtqueue::transport::{
    self, FEATURE_EVENT_INDEX, KIND_NETWORK, StartError, Transport, config_bytes, negotiate_by, status,
};
use nom_virtqueue::{MappedRing, Places, Queue};

/// Queue that the device fills, of the first pair; those of pair `n` are `2 n` further.
const RECEIVE: u16 = 0;
/// Queue that the device empties.
const SEND: u16 = 1;
/// Entries of the queue for commands: one command of two parts.
const CONTROL_RING: u16 = 2;
/// Ethernet header, and a tag that a switch may leave in front of the payload.
pub(crate) const ETHERNET_LEN: usize = 14 + 4;
const MTU_DEFAULT: usize = 1500;
/// The smallest MTU of IPv4 that serves (RFC 791); a device that says less is not believed.
const MTU_MIN: usize = 576;
/// The largest MTU for which receive buffers are kept.
const MTU_MAX: usize = 9000;
/// The most pairs that a device may have (5.1.4.1).
const PAIRS_MAX: u16 = 0x8000;

/// What the device shall do for us, where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Transport checksums, both ways.
    pub checksum: bool,
    /// Cutting large frames that we send.
    pub segmentation: bool,
    /// Many segments of a connection as one received frame, in as many buffers as that takes.
    pub merging: bool,
}

/// How much memory the driver takes, and what it asks the device for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Receive buffers of a pair, at most as many as the device's ring has; rounded down to a power of two. Each takes
    /// 2 KiB at an MTU of 1500.
    pub receive_buffers: u16,
    /// Frames of a pair that may be on their way out, rounded down to a power of two. Each takes as much.
    pub send_frames: u16,
    /// MSI-X vectors for receiving and sending, where the device has vectors. The first also tells of changes of the link.
    pub vectors: Option<(u16, u16)>,
    /// By how many vectors each further pair's lie behind, so that its core alone is interrupted; 0: all raise the same.
    pub vectors_apart: u16,
    /// Pairs of queues: one a core that serves. At least 1; a device that has fewer is used with what it has.
    pub pairs: u16,
    /// What the device shall do.
    pub wanted: Wanted,
}

impl Default for Config {
    fn default() -> Self {
        let wanted = Wanted { checksum: true, segmentation: false, merging: false };
        Self { receive_buffers: 256, send_frames: 128, vectors: None, vectors_apart: 0, pairs: 1, wanted }
    }
}

impl Config {
    /// The vectors of a pair.
    fn vectors_of(&self, pair: u16) -> (Option<u16>, Option<u16>) {
        let behind = pair.saturating_mul(self.vectors_apart);
        self.vectors.map(|(into, out)| (into.saturating_add(behind), out.saturating_add(behind))).unzip()
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

/// One pair of queues: what one core needs.
#[derive(Debug)]
pub struct Pair<B> {
    /// Its ingress.
    pub receiver: Receiver<B>,
    /// Its egress.
    pub sender: Sender<B>,
}

/// A device that runs, with the pairs of queues over which it spreads connections: frames of a connection come to the
/// pair on which the last one of it was sent (5.1.6.5.6.1).
#[derive(Debug)]
pub struct Spread<T: Transport> {
    /// What is left of it beside its pairs.
    pub device: Device<T>,
    /// The pairs: as many as were asked for, or as the device has.
    pub pairs: Vec<Pair<T::Bell>>,
}

/// The device beside its halves: identity, link, health.
#[derive(Debug)]
pub struct Device<T: Transport> {
    transport: T,
    /// The queue for commands, where there are several pairs.
    control: Option<Control<T::Bell>>,
    pairs_there: u16,
    pairs: u16,
    config: Config,
    features: u64,
    mac: [u8; 6],
    link: bool,
}

/// Starts a network device with one pair of queues. Its memory is taken here; nothing is allocated later.
pub fn start<T: Transport>(
    transport: T,
    memory: &impl DmaMemory,
    config: Config,
) -> Result<Network<T>, StartError> {
    let mut spread = start_spread(transport, memory, Config { pairs: 1, ..config })?;
    let Pair { receiver, sender } = spread.pairs.pop().ok_or(StartError::Queue(RECEIVE))?;
    Ok(Network { device: spread.device, receiver, sender })
}

/// Starts a network device with several pairs of queues.
pub fn start_spread<T: Transport>(
    mut transport: T,
    memory: &impl DmaMemory,
    config: Config,
) -> Result<Spread<T>, StartError> {
    let features = agree(&mut transport, &config)?;
    let has = |feature: u64| features & feature != 0;
    let mac = config_bytes::<6>(&transport, 0);
    let mtu = if has(FEATURE_MTU) {
        usize::from(u16::from_le_bytes(config_bytes::<2>(&transport, 10))).clamp(MTU_MIN, MTU_MAX)
    } else {
        MTU_DEFAULT
    };
    // A power of two, so that no buffer crosses a page more often than it must.
    let slot_len = (LEN + ETHERNET_LEN + mtu).next_power_of_two();
    let pairs_there = if has(FEATURE_PAIRS) {
        u16::from_le_bytes(config_bytes::<2>(&transport, 8)).clamp(1, PAIRS_MAX)
    } else {
        1
    };

    let mut pairs = Vec::new();
    for number in 0..config.pairs.clamp(1, pairs_there) {
        let (receive, send) = (2 * number + RECEIVE, 2 * number + SEND);
        let ring = config.receive_buffers;
        let vectors = config.vectors_of(number);
        let queue = install(&mut transport, memory, receive, ring, features, vectors.0)?;
        let buffers =
            memory.allocate(usize::from(queue.size()) * slot_len, 4096).ok_or(StartError::Memory)?;
        let large = if has(FEATURE_MERGE) {
            Some(memory.allocate(receive::GATHER_SLOTS * GATHER_LEN, 64).ok_or(StartError::Memory)?)
        } else {
            None
        };
        let receiver = Receiver::new(queue, buffers, slot_len, large, transport.bell(receive));

        // Four descriptors a frame: the driver's own bytes and some slices of payload. A ring that is smaller than that
        // still works, with more copies.
        let ring = config.send_frames.saturating_mul(4);
        let queue = install(&mut transport, memory, send, ring, features, vectors.1)?;
        let frames =
            floor_power_of_two(config.send_frames.min(queue.size())).ok_or(StartError::Queue(send))?;
        let buffers = memory.allocate(usize::from(frames) * slot_len, 4096).ok_or(StartError::Memory)?;
        let large = if has(FEATURE_SEGMENTS_IPV4) {
            Some(memory.allocate(LARGE_SLOTS * LARGE_LEN, 64).ok_or(StartError::Memory)?)
        } else {
            None
        };
        let slots = send::Slots { buffers, slot_len, frames, large };
        let bell = transport.bell(send);
        pairs.push(Pair {
            receiver,
            sender: Sender::new(queue, memory.regions(), slots, mtu, has(FEATURE_CHECKSUM), bell),
        });
    }
    transport.announce_changes(config.vectors.map(|vectors| vectors.0))?;
    let mut control = None;
    if pairs.len() > 1 {
        let number = 2 * pairs_there;
        let queue = install(&mut transport, memory, number, CONTROL_RING, features, None)?;
        control = Some(Control::new(queue, memory, transport.bell(number))?);
    }
    transport::live(&mut transport);
    for pair in &mut pairs {
        pair.receiver.supply();
    }
    let in_use = pairs.len() as u16;
    if let Some(control) = &mut control {
        control.use_pairs(&transport, in_use)?;
    }
    let mut device =
        Device { transport, control, pairs_there, pairs: in_use, config, features, mac, link: true };
    device.link = device.link_up();
    Ok(Spread { device, pairs })
}

/// Resets the device and agrees on features. What is of use only together is taken only together.
fn agree(transport: &mut impl Transport, config: &Config) -> Result<u64, StartError> {
    let Config { wanted, pairs, .. } = *config;
    negotiate_by(transport, KIND_NETWORK, FEATURE_MAC, |offered| {
        let mut features = FEATURE_EVENT_INDEX | FEATURE_MTU | FEATURE_STATUS;
        let mut take = |condition: bool, all: u64| {
            let possible = condition && offered & all == all;
            features |= if possible { all } else { 0 };
        };
        let (out, into) = (FEATURE_CHECKSUM, FEATURE_GUEST_CHECKSUM);
        take(wanted.checksum, out);
        take(wanted.checksum, into);
        take(wanted.segmentation, out | FEATURE_SEGMENTS_IPV4 | FEATURE_SEGMENTS_IPV6);
        let large = FEATURE_GUEST_SEGMENTS_IPV4 | FEATURE_GUEST_SEGMENTS_IPV6;
        take(wanted.merging, into | FEATURE_MERGE | large);
        take(pairs > 1, FEATURE_CONTROL | FEATURE_PAIRS);
        features
    })
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

    /// Whether the link went up or down since this was asked last. To be asked after the device's interrupt, which
    /// tells of changes too; it reads registers, so not with every frame.
    pub fn link_change(&mut self) -> Option<bool> {
        let up = self.link_up();
        (core::mem::replace(&mut self.link, up) != up).then_some(up)
    }

    /// The device says of itself that it is broken.
    pub fn needs_reset(&self) -> bool {
        self.transport.status() & status::NEEDS_RESET != 0
    }

    /// Stops the device. Afterwards it touches no memory, and the halves see nothing more.
    pub fn stop(&mut self) -> Result<(), StartError> {
        transport::reset(&mut self.transport)
    }

    /// Resets the device and starts it again over the same memory, for one that was started with one pair. What was on
    /// its way is lost: frames on their way out count as complete, those that were taken are the device's again, and their
    /// handles mean nothing.
    pub fn restart(
        &mut self,
        receiver: &mut Receiver<T::Bell>,
        sender: &mut Sender<T::Bell>,
    ) -> Result<(), StartError> {
        self.again([(receiver, sender)].into_iter())
    }

    /// Like [`Device::restart`], with all pairs.
    pub fn restart_spread(&mut self, pairs: &mut [Pair<T::Bell>]) -> Result<(), StartError> {
        self.again(pairs.iter_mut().map(|pair| (&mut pair.receiver, &mut pair.sender)))
    }

    fn again<'a>(
        &mut self,
        halves: impl ExactSizeIterator<Item = (&'a mut Receiver<T::Bell>, &'a mut Sender<T::Bell>)>,
    ) -> Result<(), StartError>
    where
        T::Bell: 'a,
    {
        if halves.len() != usize::from(self.pairs) {
            // The device would write into rings that nobody reads.
            return Err(StartError::Queue(2 * self.pairs));
        }
        transport::reset(&mut self.transport)?;
        let features = agree(&mut self.transport, &self.config)?;
        if features != self.features {
            // Another device than the one that the buffers were made for.
            self.transport.set_status(status::FAILED);
            return Err(StartError::Features(self.features & !features));
        }
        let event_index = features & FEATURE_EVENT_INDEX != 0;
        let mut receivers = Vec::with_capacity(usize::from(self.pairs));
        for (pair, (receiver, sender)) in (0..).zip(halves) {
            let vectors = self.config.vectors_of(pair);
            self.install_again(2 * pair + RECEIVE, receiver.restart(event_index), vectors.0)?;
            self.install_again(2 * pair + SEND, sender.restart(event_index), vectors.1)?;
            receivers.push(receiver);
        }
        self.transport.announce_changes(self.config.vectors_of(0).0)?;
        if let Some(mut control) = self.control.take() {
            let installed = self.install_again(2 * self.pairs_there, control.restart(event_index), None);
            self.control = Some(control);
            installed?;
        }
        transport::live(&mut self.transport);
        receivers.into_iter().for_each(Receiver::supply);
        if let Some(control) = &mut self.control {
            control.use_pairs(&self.transport, self.pairs)?;
        }
        self.link = self.link_up();
        Ok(())
    }

    fn install_again(
        &mut self,
        number: u16,
        (places, size): (Places, u16),
        vector: Option<u16>,
    ) -> Result<(), StartError> {
        if self.transport.queue_size_max(number) < size {
            return Err(StartError::Queue(number));
        }
        // SAFETY: the places are those of the ring that was installed before, of the same size; it was cleared after
        // the reset, and its owner publishes into it and nothing else.
        unsafe { self.transport.install(number, size, places, vector) }
    }
}
