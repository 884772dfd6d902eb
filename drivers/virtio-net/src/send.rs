//! The sending half.
//!
//! Frame number `n` uses slot `n mod frames`: room for the device's header, the frame's headers, and whatever has to
//! be copied. A slot is free again when every frame up to its own is complete, so completions may come in any order and
//! the watermark is one number. The ring has at least as many descriptors as there are slots, and a frame may take
//! more than one only while one is left for every free slot: a frame that was promised room always gets in, in the
//! worst case copied.
//!
//! A large frame, which the device is to cut, is sent from where its payload lies. Where that is impossible it is copied to
//! one of few large places; while those are out it is refused although there is room for others, and the next
//! completion is the time to try again.

use crate::header::{self, LEN, Uncuttable};
use alloc::boxed::Box;
use alloc::vec;
use nom_dma::{Block, Regions};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use nom_virtqueue::transport::Bell;
use nom_virtqueue::{Fault, Places, Queue, Segment};

/// Descriptors of one frame at most; further payload is copied.
const GATHER_MAX: usize = 16;
/// Large frames that may be on their way copied at the same time.
pub(crate) const LARGE_SLOTS: usize = 2;
/// Bytes of the longest large frame: the longest packet of IP behind an Ethernet header.
const LARGE_FRAME_MAX: usize = 65_535 + 14;
/// Room for one of them and its header.
pub(crate) const LARGE_LEN: usize = (LEN + LARGE_FRAME_MAX).next_multiple_of(64);
/// No large place.
const NO_PLACE: u8 = u8::MAX;
/// Payload slices shorter than this are copied: a descriptor costs the device more than so few bytes cost here. Answers of
/// 185 bytes took a tenth less of an emulator's time when they were one run of bytes (`nom bench kv --on vm`).
const COPY_BELOW: usize = 256;

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
    /// Frames that were larger than the device takes, or that it could not cut, and were not sent.
    pub oversized: u64,
    /// Large frames that the device was to cut.
    pub large: u64,
    /// Those of them that were copied.
    pub large_copied: u64,
    /// Times that a large frame was refused because it found no place.
    pub large_refused: u64,
    /// Times that an interrupt was asked for because the ring was full.
    pub arms: u64,
}

/// Where frames are put together.
pub(crate) struct Slots {
    pub buffers: Block,
    pub slot_len: usize,
    /// How many, a power of two.
    pub frames: u16,
    /// [`LARGE_SLOTS`] places of [`LARGE_LEN`]; `None` when the device cuts nothing.
    pub large: Option<Block>,
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
    large: Option<Block>,
    large_out: [bool; LARGE_SLOTS],
    /// A large frame was refused: somebody waits for a completion.
    refused: bool,
    /// Whether the frame in a slot is complete.
    done: Box<[bool]>,
    /// Which large place the frame in a slot has.
    large_of: Box<[u8]>,
    /// Which slot a chain of the queue is.
    slot_of: Box<[u16]>,
    /// The last frame that was queued.
    queued: u64,
    /// Every frame up to this one is complete.
    completed: u64,
    counters: SenderCounters,
}

impl<B: Bell> Sender<B> {
    pub(crate) fn new(
        queue: Queue,
        regions: Regions,
        slots: Slots,
        mtu: usize,
        checksum: bool,
        bell: B,
    ) -> Self {
        let Slots { buffers, slot_len, frames, large } = slots;
        assert!(frames.is_power_of_two() && frames <= queue.size());
        let slot_of = vec![0; usize::from(queue.size())].into_boxed_slice();
        let done = vec![true; usize::from(frames)].into_boxed_slice();
        let large_of = vec![NO_PLACE; usize::from(frames)].into_boxed_slice();
        Self {
            queue,
            bell,
            regions,
            buffers,
            slot_len,
            mtu,
            checksum,
            large,
            large_out: [false; LARGE_SLOTS],
            refused: false,
            done,
            large_of,
            slot_of,
            queued: 0,
            completed: 0,
            counters: SenderCounters::default(),
        }
    }

    /// As at first, over the same memory, for a device that was reset: what was out counts as complete. Answers where
    /// the ring is, and its size.
    pub(crate) fn restart(&mut self, event_index: bool) -> (Places, u16) {
        self.queue.restart(event_index);
        self.done.fill(true);
        self.large_of.fill(NO_PLACE);
        self.large_out = [false; LARGE_SLOTS];
        self.refused = false;
        self.completed = self.queued;
        (self.queue.cells().places(), self.queue.size())
    }

    /// How the device broke the contract, if it did.
    pub fn fault(&self) -> Option<Fault> {
        self.queue.fault()
    }

    /// What was counted.
    pub fn counters(&self) -> &SenderCounters {
        &self.counters
    }

    #[inline]
    fn slot(&self, sequence: u64) -> usize {
        sequence as usize & (self.done.len() - 1)
    }

    #[inline(never)]
    fn reap(&mut self) {
        while let Some(completion) = self.queue.take() {
            let slot = usize::from(self.slot_of[usize::from(completion.head)]);
            // Most come in order.
            if slot == self.slot(self.completed + 1) {
                self.completed += 1;
            } else {
                self.done[slot] = true;
            }
            if self.large.is_none() {
                continue;
            }
            if let Some(out) = self.large_out.get_mut(usize::from(self.large_of[slot])) {
                *out = false;
                self.large_of[slot] = NO_PLACE;
            }
        }
        while self.completed < self.queued && self.done[self.slot(self.completed + 1)] {
            self.completed += 1;
        }
        if self.queue.armed() && self.room() > 0 && !self.refused {
            self.queue.quiet();
        }
    }

    /// Descriptors that this frame may take: what is left when every other free slot keeps one.
    fn descriptors(&self) -> usize {
        let other_slots = self.room() - 1;
        (usize::from(self.queue.free()) - other_slots).min(GATHER_MAX)
    }

    #[inline]
    fn put(&mut self, frame: &Frame<'_>, head: [u8; LEN]) -> Result<u64, Full> {
        let slot = self.slot(self.queued + 1);
        let base = slot * self.slot_len;
        self.buffers.copy_in(base, &head);
        self.buffers.copy_in(base + LEN, frame.headers);

        if frame.payload.iter().all(|slice| slice.len() < COPY_BELOW) {
            // The most frequent frame is short: one run of bytes, and no list of segments to prepare.
            let mut end = base + LEN + frame.headers.len();
            for slice in frame.payload {
                self.buffers.copy_in(end, slice);
                end += slice.len();
                self.counters.slices_copied += u64::from(!slice.is_empty());
                self.counters.bytes_copied += slice.len() as u64;
            }
            let segment = Segment { address: self.buffers.device_address(base), len: (end - base) as u32 };
            // SAFETY: as in `add`; all of it lies in this frame's slot.
            let head = unsafe { self.queue.add_read(segment) }.map_err(|_| Full)?;
            return Ok(self.sent(head, slot));
        }
        self.put_in_place(frame, slot)
    }

    /// A frame whose headers stand in their slot, with payload that may be sent from where it lies.
    #[inline(never)]
    fn put_in_place(&mut self, frame: &Frame<'_>, slot: usize) -> Result<u64, Full> {
        let base = slot * self.slot_len;
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
        self.add(&segments[..used], slot)
    }

    /// A frame that fits in no slot: from where it lies, or by a large place.
    fn put_large(&mut self, frame: &Frame<'_>, head: [u8; LEN]) -> Result<u64, Full> {
        let slot = self.slot(self.queued + 1);
        let base = slot * self.slot_len;
        let mut segments = [Segment { address: 0, len: 0 }; GATHER_MAX];
        let limit = self.descriptors();
        let mut used = 1;
        let fits = frame.payload.iter().filter(|slice| !slice.is_empty()).all(|slice| {
            let Some(address) = self.regions.translate(slice).filter(|_| used < limit) else { return false };
            segments[used] = Segment { address, len: slice.len() as u32 };
            used += 1;
            true
        });
        if fits && LEN + frame.headers.len() <= self.slot_len {
            self.buffers.copy_in(base, &head);
            self.buffers.copy_in(base + LEN, frame.headers);
            let len = (LEN + frame.headers.len()) as u32;
            segments[0] = Segment { address: self.buffers.device_address(base), len };
            let sequence = self.add(&segments[..used], slot)?;
            let payload_len = (frame.len() - frame.headers.len()) as u64;
            self.counters.large += 1;
            self.counters.slices_in_place += used as u64 - 1;
            self.counters.bytes_in_place += payload_len;
            return Ok(sequence);
        }
        let free = self.large_out.iter().position(|out| !out);
        let (Some(place), Some(large)) = (free, &mut self.large) else {
            self.counters.large_refused += 1;
            self.refused = true;
            return Err(Full);
        };
        let start = place * LARGE_LEN;
        let mut end = start;
        for part in [&head[..], frame.headers].iter().chain(frame.payload) {
            large.copy_in(end, part);
            end += part.len();
        }
        let segment = Segment { address: large.device_address(start), len: (end - start) as u32 };
        let sequence = self.add(&[segment], slot)?;
        self.large_out[place] = true;
        self.large_of[slot] = place as u8;
        self.counters.large += 1;
        self.counters.large_copied += 1;
        self.counters.bytes_copied += (frame.len() - frame.headers.len()) as u64;
        Ok(sequence)
    }

    fn add(&mut self, segments: &[Segment], slot: usize) -> Result<u64, Full> {
        // SAFETY: the device only reads them. They lie in this frame's slot or large place of a block, which is never
        // given back, or in a registered region, which stays mapped; that payload in place is left alone until `completed`
        // has passed the frame is `Egress`'s contract, and a broken one sends other bytes of that region, no others.
        let head = unsafe { self.queue.add(segments, &[]) }.map_err(|_| Full)?;
        Ok(self.sent(head, slot))
    }

    /// A frame in this slot is on its way under this name.
    #[inline]
    fn sent(&mut self, head: u16, slot: usize) -> u64 {
        self.slot_of[usize::from(head)] = slot as u16;
        self.done[slot] = false;
        self.queued += 1;
        self.counters.frames += 1;
        self.queued
    }

    /// A frame that is to be cut, or that cannot be sent.
    #[inline(never)]
    fn queue_rare(&mut self, frame: &Frame<'_>, len: usize) -> Result<u64, Full> {
        let takes_large = self.large.is_some() && frame.segment_len.is_some() && len <= LARGE_FRAME_MAX;
        match header::emit(frame) {
            _ if len == 0 => Ok(self.lose()),
            Err(Uncuttable) => Ok(self.lose()),
            // Cutting was not agreed on.
            Ok(head) if head[1] != header::WHOLE && self.large.is_none() => Ok(self.lose()),
            Ok(head) if LEN + len <= self.slot_len => self.put(frame, head),
            Ok(head) if takes_large && head[1] != header::WHOLE => self.put_large(frame, head),
            Ok(_) => Ok(self.lose()),
        }
    }

    /// A mistake of the caller; the device must not see it. It gets a number, as a frame that was lost.
    fn lose(&mut self) -> u64 {
        self.counters.oversized += 1;
        self.queued += 1;
        let slot = self.slot(self.queued);
        self.done[slot] = true;
        self.queued
    }
}

impl<B: Bell> Egress for Sender<B> {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.checksum, segmentation: self.large.is_some() }
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

    #[inline]
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            self.reap();
            if self.room() == 0 {
                return Err(Full);
            }
        }
        let len = frame.len();
        if frame.segment_len.is_none() && len > 0 && LEN + len <= self.slot_len {
            return self.put(&frame, header::whole(frame.checksum));
        }
        self.queue_rare(&frame, len)
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
        if self.room() == 0 || self.refused {
            // The stack cannot go on before some are complete, and may fall asleep: be woken at half, or where one that
            // was refused waits, at the next.
            self.counters.arms += 1;
            let enough = if self.refused { 1 } else { (self.queue.out() / 2).max(1) };
            self.refused = false;
            if !self.queue.arm_after(enough) {
                self.reap();
            }
        }
        rung
    }

    #[inline]
    fn completed(&mut self) -> u64 {
        // Asked for before frames are looked for that came: where all is complete, that is all there is to know.
        if self.completed != self.queued {
            self.reap();
        }
        self.completed
    }

    /// A notification that was suppressed by mistake is never made up for by a later one: the index that the device waits
    /// for is behind us then. Emulators that leave memory barriers out for a single processor make it (QEMU before 8.1).
    fn remind(&mut self) {
        self.counters.kicks += 1;
        self.bell.ring();
    }
}
