//! Buffers that go round on one queue.

use nom_dma::{Block, DmaMemory};
use nom_virtqueue::transport::{Bell, StartError, Transport};
use nom_virtqueue::{Fault, MappedRing, Queue, Segment};

/// Buffers of a direction at most; more would be more patience with a slow host, not more speed.
pub const BUFFERS_MAX: u16 = 16;

/// What both directions are made of.
#[derive(Debug)]
struct Buffers<B> {
    queue: Queue,
    bell: B,
    block: Block,
    len: usize,
    /// Which buffer a chain is.
    buffer_of: [u8; BUFFERS_MAX as usize],
}

/// How to make a direction.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of the queue.
    pub queue: u16,
    /// Bytes of a buffer.
    pub len: usize,
    /// MSI-X vector, where there are vectors.
    pub vector: Option<u16>,
    /// Whether event index was negotiated.
    pub event_index: bool,
}

impl<B: Bell> Buffers<B> {
    fn new<T>(transport: &mut T, memory: &impl DmaMemory, shape: Shape) -> Result<Self, StartError>
    where
        T: Transport<Bell = B>,
    {
        let size = transport.queue_size_max(shape.queue).min(BUFFERS_MAX);
        let size = size.checked_ilog2().map(|power| 1u16 << power).ok_or(StartError::Queue(shape.queue))?;
        let ring = MappedRing::new(memory, size).map_err(|_| StartError::Memory)?;
        // SAFETY: the places are those of a ring of this size in memory allocated for it, which is never given back.
        unsafe { transport.install(shape.queue, size, ring.places(), shape.vector)? };
        let block = memory.allocate(usize::from(size) * shape.len, 64).ok_or(StartError::Memory)?;
        let queue = Queue::new(ring, size, shape.event_index);
        let bell = transport.bell(shape.queue);
        Ok(Self { queue, bell, block, len: shape.len, buffer_of: [0; BUFFERS_MAX as usize] })
    }

    fn segment(&self, buffer: u8, len: usize) -> Segment {
        let address = self.block.device_address(usize::from(buffer) * self.len);
        Segment { address, len: len as u32 }
    }

    fn publish(&mut self) {
        if self.queue.publish() {
            self.bell.ring();
        }
    }
}

/// A buffer that the device filled and the reader has not finished.
#[derive(Debug, Clone, Copy)]
struct Reading {
    buffer: u8,
    from: usize,
    end: usize,
}

/// What the device fills.
#[derive(Debug)]
pub struct Inbox<B> {
    buffers: Buffers<B>,
    reading: Option<Reading>,
}

impl<B: Bell> Inbox<B> {
    /// An inbox with all its buffers lent; the device learns of them by [`Inbox::open`], once it is live.
    pub fn new<T>(transport: &mut T, memory: &impl DmaMemory, shape: Shape) -> Result<Self, StartError>
    where
        T: Transport<Bell = B>,
    {
        let mut inbox = Self { buffers: Buffers::new(transport, memory, shape)?, reading: None };
        for buffer in 0..inbox.buffers.queue.size() {
            inbox.lend(buffer as u8);
        }
        Ok(inbox)
    }

    /// Tells the device of the buffers.
    pub fn open(&mut self) {
        self.buffers.publish();
    }

    /// How the device broke the contract.
    pub fn fault(&self) -> Option<Fault> {
        self.buffers.queue.fault()
    }

    /// Reads what is there, over the borders of buffers, as much as fits.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let mut count = 0;
        while count < into.len() && self.next() {
            count += self.part(&mut into[count..]);
        }
        self.buffers.publish();
        count
    }

    /// Reads one buffer as a message of its own; what does not fit is dropped.
    pub fn message(&mut self, into: &mut [u8]) -> Option<usize> {
        if !self.next() {
            return None;
        }
        let count = self.part(into);
        if let Some(rest) = self.reading.take() {
            self.lend(rest.buffer);
        }
        self.buffers.publish();
        Some(count)
    }

    /// Asks for an interrupt at the next buffer; false when something is there already.
    pub fn arm(&mut self) -> bool {
        self.buffers.queue.arm() && self.reading.is_none() && self.buffers.queue.look() == 0
    }

    /// Takes note of an interrupt.
    pub fn acknowledge(&self) {
        self.buffers.bell.acknowledge();
    }

    /// Whether there is a buffer to read.
    fn next(&mut self) -> bool {
        if self.reading.is_none()
            && let Some(completion) = self.buffers.queue.take()
        {
            let buffer = self.buffers.buffer_of[usize::from(completion.head)];
            self.reading = Some(Reading { buffer, from: 0, end: completion.written as usize });
            // Who reads needs no interrupt; one that finds nothing leaves it asked for, and costs nothing.
            self.buffers.queue.quiet();
        }
        self.reading.is_some()
    }

    fn part(&mut self, into: &mut [u8]) -> usize {
        let Some(Reading { buffer, from, end }) = self.reading else { return 0 };
        let count = (end - from).min(into.len());
        let place = usize::from(buffer) * self.buffers.len + from;
        self.buffers.block.copy_out(place, &mut into[..count]);
        self.reading = Some(Reading { buffer, from: from + count, end });
        if from + count == end {
            self.reading = None;
            self.lend(buffer);
        }
        count
    }

    fn lend(&mut self, buffer: u8) {
        let segment = self.buffers.segment(buffer, self.buffers.len);
        // SAFETY: a whole buffer of the block, which is never given back and is reached by copies only; nobody else
        // has this buffer until the chain was taken back.
        if let Ok(head) = unsafe { self.buffers.queue.add(&[], &[segment]) } {
            self.buffers.buffer_of[usize::from(head)] = buffer;
        }
    }
}

/// What the device empties.
#[derive(Debug)]
pub struct Outbox<B> {
    buffers: Buffers<B>,
    /// Buffers that no chain has: a stack.
    idle: [u8; BUFFERS_MAX as usize],
    idle_count: usize,
}

impl<B: Bell> Outbox<B> {
    /// An empty outbox.
    pub fn new<T>(transport: &mut T, memory: &impl DmaMemory, shape: Shape) -> Result<Self, StartError>
    where
        T: Transport<Bell = B>,
    {
        let buffers = Buffers::new(transport, memory, Shape { vector: None, ..shape })?;
        let idle = core::array::from_fn(|place| place as u8);
        let idle_count = usize::from(buffers.queue.size());
        Ok(Self { buffers, idle, idle_count })
    }

    /// How the device broke the contract.
    pub fn fault(&self) -> Option<Fault> {
        self.buffers.queue.fault()
    }

    /// Takes as much as there is room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.reap();
        let mut count = 0;
        while count < bytes.len() && self.idle_count > 0 {
            let now = (bytes.len() - count).min(self.buffers.len);
            let buffer = self.idle[self.idle_count - 1];
            let place = usize::from(buffer) * self.buffers.len;
            self.buffers.block.copy_in(place, &bytes[count..count + now]);
            let segment = self.buffers.segment(buffer, now);
            // SAFETY: within an idle buffer of the block, which is never given back.
            let Ok(head) = (unsafe { self.buffers.queue.add(&[segment], &[]) }) else { break };
            self.buffers.buffer_of[usize::from(head)] = buffer;
            self.idle_count -= 1;
            count += now;
        }
        self.buffers.publish();
        count
    }

    /// Whether the device has read everything.
    pub fn flushed(&mut self) -> bool {
        self.reap();
        self.buffers.queue.out() == 0
    }

    fn reap(&mut self) {
        while let Some(completion) = self.buffers.queue.take() {
            self.idle[self.idle_count] = self.buffers.buffer_of[usize::from(completion.head)];
            self.idle_count += 1;
        }
    }
}
