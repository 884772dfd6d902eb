//! Frames that another core hands over. A core without a queue has no others, and hands over what it sends.

use crate::Memory;
use nom_port::{Bell, Receiver, Sender};
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};

/// Follows a frame in the ring: whether the device vouches for its checksum.
pub(crate) const VOUCHED: [u8; 1] = [1];
pub(crate) const NOT_VOUCHED: [u8; 1] = [0];

/// What another core hands over, with what the device said of it.
#[derive(Debug)]
pub struct BackReceiver<B>(Receiver<Memory, B>);

impl<B: Bell> BackReceiver<B> {
    pub(crate) fn new(hears: Receiver<Memory, B>) -> Self {
        Self(hears)
    }
}

impl<B: Bell> Ingress for BackReceiver<B> {
    fn look(&mut self, now_ns: u64) -> usize {
        self.0.look(now_ns)
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.0.oldest_ns()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn take(&mut self) -> Option<Arrival> {
        let arrival = self.0.take()?;
        let checksum_good = self.0.bytes(&arrival).ends_with(&VOUCHED);
        Some(Arrival { len: arrival.len - VOUCHED.len() as u32, checksum_good, ..arrival })
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let bytes = self.0.bytes(arrival);
        &bytes[..bytes.len().saturating_sub(VOUCHED.len())]
    }

    fn give_back(&mut self, arrival: Arrival) {
        self.0.give_back(arrival);
    }

    fn arm(&mut self) -> bool {
        self.0.arm()
    }
}

/// What leaves a core without a queue.
#[derive(Debug)]
pub struct BackSender<B> {
    says: Sender<Memory, B>,
    /// The device's, where it is less than a port's.
    mtu: usize,
}

impl<B: Bell> BackSender<B> {
    pub(crate) fn new(says: Sender<Memory, B>, mtu: usize) -> Self {
        Self { says, mtu }
    }
}

impl<B: Bell> Egress for BackSender<B> {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn room(&self) -> usize {
        self.says.room()
    }

    fn capacity(&self) -> usize {
        self.says.capacity()
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        self.says.queue(frame)
    }

    fn kick(&mut self) -> bool {
        self.says.kick()
    }

    fn completed(&mut self) -> u64 {
        self.says.completed()
    }
}
