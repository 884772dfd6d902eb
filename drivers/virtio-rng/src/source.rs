//! One source.

use nom_dma::{Block, DmaMemory};
use nom_virtqueue::transport::{
    self, Bell, FEATURE_EVENT_INDEX, KIND_ENTROPY, StartError, Transport, negotiate,
};
use nom_virtqueue::{Fault, MappedRing, Queue, Segment};

/// Bytes that are asked for at a time.
pub const ASK_LEN: usize = 64;
/// Entries of the ring: the smallest that there is.
const RING: u16 = 2;
/// An answer of so many bytes that are all the same is none: a chance of 2^-56 for honest bytes.
const CONSTANT_LEN: usize = 8;

/// What a look at the source brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// So many random bytes.
    Bytes(usize),
    /// Nothing yet: it was asked, look again later.
    Thinking,
    /// The source is broken, or repeats itself; it will be asked nothing more.
    Broken,
}

/// A source that runs.
#[derive(Debug)]
pub struct Source<T: Transport> {
    transport: T,
    queue: Queue,
    bell: T::Bell,
    block: Block,
    previous: [u8; ASK_LEN],
}

/// Starts a source and asks it for the first bytes. `vector` is its MSI-X vector, where it has vectors.
pub fn start<T: Transport>(
    mut transport: T,
    memory: &impl DmaMemory,
    vector: Option<u16>,
) -> Result<Source<T>, StartError> {
    let features = negotiate(&mut transport, KIND_ENTROPY, 0, FEATURE_EVENT_INDEX)?;
    if transport.queue_size_max(0) < RING {
        return Err(StartError::Queue(0));
    }
    let ring = MappedRing::new(memory, RING).map_err(|_| StartError::Memory)?;
    let block = memory.allocate(ASK_LEN, 64).ok_or(StartError::Memory)?;
    // SAFETY: the places are those of a ring of this size in memory allocated for it, which is never given back.
    unsafe { transport.install(0, RING, ring.places(), vector)? };
    transport.announce_changes(None)?;
    let bell = transport.bell(0);
    transport::live(&mut transport);
    let queue = Queue::new(ring, RING, features & FEATURE_EVENT_INDEX != 0);
    let mut source = Source { transport, queue, bell, block, previous: [0; ASK_LEN] };
    source.ask();
    Ok(source)
}

impl<T: Transport> Source<T> {
    /// How the device broke the contract, if it did.
    pub fn fault(&self) -> Option<Fault> {
        self.queue.fault()
    }

    /// Takes what the source answered, if it did, and asks for more. Each byte is given once.
    pub fn draw(&mut self, into: &mut [u8; ASK_LEN]) -> Draw {
        if self.queue.armed() {
            self.queue.quiet();
            self.bell.acknowledge();
        }
        let Some(completion) = self.queue.take() else {
            return if self.queue.fault().is_some() { Draw::Broken } else { Draw::Thinking };
        };
        // Never more than was asked for: the queue has checked it.
        let len = completion.written as usize;
        let mut bytes = [0; ASK_LEN];
        self.block.copy_out(0, &mut bytes[..len]);
        // Not a byte is no answer (5.4.6.2).
        let constant = len >= CONSTANT_LEN && bytes[..len].iter().all(|byte| *byte == bytes[0]);
        let again = len >= CONSTANT_LEN && bytes[..len] == self.previous[..len];
        if len == 0 || constant || again {
            self.queue.condemn(Fault::Nonsense);
            return Draw::Broken;
        }
        into[..len].copy_from_slice(&bytes[..len]);
        self.previous = bytes;
        self.ask();
        Draw::Bytes(len)
    }

    /// Asks for an interrupt when there is an answer, then looks once more: false when there is one already.
    #[must_use = "if this is false, nobody will wake the caller"]
    pub fn arm(&mut self) -> bool {
        self.queue.arm()
    }

    /// Stops the device; afterwards it touches no memory.
    pub fn stop(&mut self) -> Result<(), StartError> {
        transport::reset(&mut self.transport)
    }

    fn ask(&mut self) {
        // What was given out must not be given out again by a device that only says that it wrote.
        self.block.copy_in(0, &[0; ASK_LEN]);
        let segment = Segment { address: self.block.device_address(0), len: ASK_LEN as u32 };
        // SAFETY: all of the block, which is never given back and read only after the chain came back.
        let _ = unsafe { self.queue.add(&[], &[segment]) };
        if self.queue.publish() {
            self.bell.ring();
        }
    }
}
