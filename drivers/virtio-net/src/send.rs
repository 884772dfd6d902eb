//! The sending half.
//!
//! Frame number `n` uses slot `n mod frames`: room for the device's header, the frame's headers, and whatever has to
//! be copied. A slot is free again when every frame up to its own is complete, so completions may come in any order and
//! the watermark is one number. The ring has at least as many descriptors as there are slots, and a frame may take
//! more than one only while one is left for every free slot: a frame that was promised room always gets in, in the
//! worst case copied.

use crate::header::{self, LEN};
use alloc::boxed::Box;
use alloc::vec;
use nom_dma::{Block, Regions};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use nom_virtqueue::transport::Bell;
use nom_virtqueue::{Fault, Queue, Segment};

/// Descriptors of one frame at most; further payload is copied.
const GATHER_MAX: usize = 16;
/// Payload slices shorter than this are copied: a descriptor costs the device more than so few bytes cost here.
const COPY_BELOW: usize = 128;

/// What the sending half counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// Frames that were queued.
    pub frames: u64,
    /// Notifications.
    pub kicks: u64,
    /// Payload slices that the device read from where they lie, and their bytes.
    pub slices_in_place: u64,
    /// Bytes of them.
    pub bytes_in_place: u64,
    /// Payload slices that were copied because they are short or descriptors were short.
    pub slices_copied: u64,
    /// Payload slices that were copied because they lie outside of what the device reaches.
    pub slices_unreachable: u64,
    /// Bytes of payload that were copied.
    pub bytes_copied: u64,
    /// Frames that were larger than the device takes and were not sent.
    pub oversized: u64,
    /// Times that an interrupt was asked for because the ring was full.
    pub arms: u64,
}

/// The sending half of a device.
#[derive(Debug)]
pub struct Sender<B> {
    queue: Queue,
    bell: B,
    regions: Regions,
    buffers: Block,
    slot_len: usize,
    mtu: usize,
    checksum: bool,
    /// Whether the frame in a slot is complete.
    done: Box<[bool]>,
    /// Which slot a chain of the queue is.
    slot_of: Box<[u16]>,
    /// The last frame that was queued.
    queued: u64,
    /// Every frame up to this one is complete.
    completed: u64,
    counters: SenderCounters,
}

impl<B: Bell> Sender<B> {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by `start`, which has just found all this out"
    )]
    pub(crate) fn new(
        queue: Queue,
        regions: Regions,
        buffers: Block,
        slot_len: usize,
        frames: u16,
        mtu: usize,
        checksum: bool,
        bell: B,
    ) -> Self {
        assert!(frames.is_power_of_two() && frames <= queue.size());
        let slot_of = vec![0; usize::from(queue.size())].into_boxed_slice();
        let done = vec![true; usize::from(frames)].into_boxed_slice();
        Self {
            queue,
            bell,
            regions,
            buffers,
            slot_len,
            mtu,
            checksum,
            done,
            slot_of,
            queued: 0,
            completed: 0,
            counters: SenderCounters::default(),
        }
    }

    /// How the device broke the contract, if it did.
    pub fn fault(&self) -> Option<Fault> {
        self.queue.fault()
    }

    /// What was counted.
    pub fn counters(&self) -> &SenderCounters {
        &self.counters
    }

    fn slot(&self, sequence: u64) -> usize {
        sequence as usize & (self.done.len() - 1)
    }

    fn reap(&mut self) {
        while let Some(completion) = self.queue.take() {
            self.done[usize::from(self.slot_of[usize::from(completion.head)])] = true;
        }
        while self.completed < self.queued && self.done[self.slot(self.completed + 1)] {
            self.completed += 1;
        }
        if self.queue.armed() && self.room() > 0 {
            self.queue.quiet();
        }
    }

    /// Descriptors that this frame may take: what is left when every other free slot keeps one.
    fn descriptors(&self) -> usize {
        let other_slots = self.room() - 1;
        (usize::from(self.queue.free()) - other_slots).min(GATHER_MAX)
    }

    fn put(&mut self, frame: &Frame<'_>) -> Result<u64, Full> {
        let sequence = self.queued + 1;
        let slot = self.slot(sequence);
        let base = slot * self.slot_len;
        let checksum = frame.checksum.map(|checksum| (checksum.start, checksum.offset));
        self.buffers.copy_in(base, &header::emit(checksum));
        self.buffers.copy_in(base + LEN, frame.headers);

        let mut segments = [Segment { address: 0, len: 0 }; GATHER_MAX];
        let mut used = 1;
        let limit = self.descriptors();
        // The open run of copied bytes: from `run` to `end` in the slot; always the last segment when `copying`.
        let mut end = LEN + frame.headers.len();
        segments[0] = Segment { address: self.buffers.device_address(base), len: end as u32 };
        let mut copying = true;
        for slice in frame.payload.iter().filter(|slice| !slice.is_empty()) {
            let reachable = if slice.len() < COPY_BELOW { None } else { self.regions.translate(slice) };
            // A slice in place takes a descriptor, and one must stay for what is copied behind it.
            if let Some(address) = reachable.filter(|_| used + 1 < limit) {
                segments[used] = Segment { address, len: slice.len() as u32 };
                used += 1;
                copying = false;
                self.counters.slices_in_place += 1;
                self.counters.bytes_in_place += slice.len() as u64;
                continue;
            }
            if !copying {
                segments[used] = Segment { address: self.buffers.device_address(base + end), len: 0 };
                used += 1;
                copying = true;
            }
            self.buffers.copy_in(base + end, slice);
            segments[used - 1].len += slice.len() as u32;
            end += slice.len();
            if slice.len() >= COPY_BELOW && reachable.is_none() {
                self.counters.slices_unreachable += 1;
            } else {
                self.counters.slices_copied += 1;
            }
            self.counters.bytes_copied += slice.len() as u64;
        }
        // SAFETY: the device only reads them. They lie in this frame's slot of the block, which is never given back, or
        // in a registered region, which stays mapped; that payload in place is left alone until `completed` has passed
        // the frame is `Egress`'s contract, and a broken one sends other bytes of that region, no others.
        let head = unsafe { self.queue.add(&segments[..used], &[]) }.map_err(|_| Full)?;
        self.slot_of[usize::from(head)] = slot as u16;
        self.done[slot] = false;
        self.queued = sequence;
        self.counters.frames += 1;
        Ok(sequence)
    }
}

impl<B: Bell> Egress for Sender<B> {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.checksum, segmentation: false }
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    #[inline]
    fn room(&self) -> usize {
        if self.queue.fault().is_some() {
            return 0;
        }
        self.done.len() - (self.queued - self.completed) as usize
    }

    fn capacity(&self) -> usize {
        self.done.len()
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            self.reap();
        }
        if self.room() == 0 {
            return Err(Full);
        }
        if LEN + frame.len() > self.slot_len || frame.is_empty() {
            // A mistake of the caller; the device must not see it. It gets a number, as a frame that was lost.
            self.counters.oversized += 1;
            self.queued += 1;
            let slot = self.slot(self.queued);
            self.done[slot] = true;
            return Ok(self.queued);
        }
        self.put(&frame)
    }

    fn kick(&mut self) -> bool {
        let rung = self.queue.publish();
        if rung {
            self.counters.kicks += 1;
            self.bell.ring();
        }
        if self.room() == 0 {
            self.reap();
        }
        if self.room() == 0 {
            // The stack cannot go on before some are complete, and may fall asleep: be woken at half.
            self.counters.arms += 1;
            let half = (self.queue.out() / 2).max(1);
            if !self.queue.arm_after(half) {
                self.reap();
            }
        }
        rung
    }

    #[inline]
    fn completed(&mut self) -> u64 {
        self.reap();
        self.completed
    }
}
