//! The receiving half.
//!
//! ```text
//! buffers:  with the device -> seen (stamped, waiting) -> taken (the stack reads) -> given back -> with the device
//! ```

use crate::header::{DATA_VALID, LEN, NEEDS_CHECKSUM};
use alloc::boxed::Box;
use alloc::vec;
use nom_dma::Block;
use nom_stack::port::{Arrival, Ingress};
use nom_virtqueue::transport::Bell;
use nom_virtqueue::{Fault, Queue, Segment};

/// Buffers that are given back before the device is told of them. It learns of fewer at every look.
const GIVE_BACK_BATCH: u16 = 16;
/// The shortest frame that has an Ethernet header; anything shorter is given back unseen.
const FRAME_MIN: u32 = 14;

/// What the receiving half counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverCounters {
    /// Frames that were handed out.
    pub frames: u64,
    /// Looks at the ring.
    pub looks: u64,
    /// Looks that found nothing.
    pub looks_empty: u64,
    /// Notifications of new buffers.
    pub kicks: u64,
    /// Times that an interrupt was asked for before a sleep.
    pub arms: u64,
    /// Frames that were too short to be any.
    pub runts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Device,
    Waiting,
    Taken,
}

/// The receiving half of a device.
#[derive(Debug)]
pub struct Receiver<B> {
    queue: Queue,
    bell: B,
    buffers: Block,
    slot_len: usize,
    places: Box<[Place]>,
    /// Which buffer a chain of the queue is.
    buffer_of: Box<[u16]>,
    /// What waits, oldest first: a ring over a power of two, which has room for every buffer there is.
    waiting: Box<[Arrival]>,
    first: usize,
    count: usize,
    /// When the ring was last seen.
    last_look_ns: u64,
    /// Asleep since: what comes then is what woke us.
    slept: bool,
    counters: ReceiverCounters,
}

impl<B: Bell> Receiver<B> {
    /// The half over a queue, with one buffer for each of its descriptors.
    pub(crate) fn new(queue: Queue, buffers: Block, slot_len: usize, bell: B) -> Self {
        let size = usize::from(queue.size());
        let nothing = Arrival { buffer: 0, len: 0, arrived_ns: 0, checksum_good: false };
        let mut receiver = Self {
            queue,
            bell,
            buffers,
            slot_len,
            places: vec![Place::Device; size].into_boxed_slice(),
            buffer_of: vec![0; size].into_boxed_slice(),
            waiting: vec![nothing; size].into_boxed_slice(),
            first: 0,
            count: 0,
            last_look_ns: 0,
            slept: true,
            counters: ReceiverCounters::default(),
        };
        for buffer in 0..size {
            receiver.lend(buffer as u16);
        }
        receiver
    }

    /// How the device broke the contract, if it did.
    pub fn fault(&self) -> Option<Fault> {
        self.queue.fault()
    }

    /// What was counted.
    pub fn counters(&self) -> &ReceiverCounters {
        &self.counters
    }

    /// Tells the device of the buffers that were given back.
    pub(crate) fn supply(&mut self) {
        if self.queue.publish() {
            self.counters.kicks += 1;
            self.bell.ring();
        }
    }

    fn lend(&mut self, buffer: u16) {
        let address = self.buffers.device_address(usize::from(buffer) * self.slot_len);
        let segment = Segment { address, len: self.slot_len as u32 };
        // As many descriptors as buffers, so there is always room; a broken queue keeps the buffer.
        // SAFETY: a whole slot of the block, which is never given back; `places` says that it is the device's, so that
        // nobody reads it before the chain was taken back.
        if let Ok(head) = unsafe { self.queue.add(&[], &[segment]) } {
            self.buffer_of[usize::from(head)] = buffer;
        }
        self.places[usize::from(buffer)] = Place::Device;
    }

    fn slot_bytes(&self, buffer: u16, len: usize) -> &[u8] {
        // SAFETY: called for buffers that the device gave back and was not lent again (`places` says so); a device
        // that writes to one anyway changes bytes under a reader who checks lengths that lie elsewhere.
        unsafe { self.buffers.bytes(usize::from(buffer) * self.slot_len, len) }
    }

    fn collect(&mut self, arrived_ns: u64) {
        while let Some(completion) = self.queue.take_seen() {
            let buffer = self.buffer_of[usize::from(completion.head)];
            if completion.written < LEN as u32 + FRAME_MIN {
                self.counters.runts += 1;
                self.lend(buffer);
                continue;
            }
            let flags = self.slot_bytes(buffer, LEN)[0];
            let arrival = Arrival {
                buffer: u32::from(buffer),
                len: completion.written - LEN as u32,
                arrived_ns,
                checksum_good: flags & (NEEDS_CHECKSUM | DATA_VALID) != 0,
            };
            self.places[usize::from(buffer)] = Place::Waiting;
            let place = (self.first + self.count) & (self.waiting.len() - 1);
            self.waiting[place] = arrival;
            self.count += 1;
        }
    }
}

impl<B: Bell> Ingress for Receiver<B> {
    #[inline]
    fn look(&mut self, now_ns: u64) -> usize {
        self.counters.looks += 1;
        if self.queue.armed() {
            self.queue.quiet();
            self.bell.acknowledge();
        }
        if self.queue.look() > 0 {
            // A sleeper was woken by the frame, so it came now; otherwise it came since the last look.
            let arrived_ns = if self.slept { now_ns } else { self.last_look_ns };
            self.collect(arrived_ns);
        } else {
            self.counters.looks_empty += 1;
        }
        self.slept = false;
        self.last_look_ns = now_ns;
        if self.queue.unpublished() > 0 {
            self.supply();
        }
        self.count
    }

    #[inline]
    fn oldest_ns(&self) -> Option<u64> {
        (self.count > 0).then(|| self.waiting[self.first].arrived_ns)
    }

    fn capacity(&self) -> usize {
        self.places.len()
    }

    #[inline]
    fn take(&mut self) -> Option<Arrival> {
        if self.count == 0 {
            return None;
        }
        let arrival = self.waiting[self.first];
        self.first = (self.first + 1) & (self.waiting.len() - 1);
        self.count -= 1;
        self.places[arrival.buffer as usize] = Place::Taken;
        self.counters.frames += 1;
        Some(arrival)
    }

    #[inline]
    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let buffer = arrival.buffer as usize;
        let len = arrival.len as usize;
        if self.places.get(buffer) != Some(&Place::Taken) || len > self.slot_len - LEN {
            return &[];
        }
        &self.slot_bytes(buffer as u16, LEN + len)[LEN..]
    }

    #[inline]
    fn give_back(&mut self, arrival: Arrival) {
        // Only what was taken; a handle that was made up or given back before changes nothing.
        if self.places.get(arrival.buffer as usize) == Some(&Place::Taken) {
            self.lend(arrival.buffer as u16);
            if self.queue.unpublished() >= GIVE_BACK_BATCH {
                self.supply();
            }
        }
    }

    fn arm(&mut self) -> bool {
        self.counters.arms += 1;
        self.supply();
        let may_sleep = self.queue.arm();
        self.slept = may_sleep;
        may_sleep
    }
}
