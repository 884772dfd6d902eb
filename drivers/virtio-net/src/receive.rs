//! The receiving half.
//!
//! ```text
//! buffers:  with the device -> seen (stamped, waiting) -> taken (the stack reads) -> given back -> with the device
//! ```
//!
//! A frame that was merged from many segments takes several buffers. They are lent in the order of their addresses, so a
//! device that fills them in the order in which it got them puts the frame's bytes one behind the other, and it is read
//! in place like any other. Where neighbours were not at hand it is gathered in a place of its own, which is counted.

use crate::header::{self, LEN, Received};
use alloc::boxed::Box;
use alloc::vec;
use nom_dma::Block;
use nom_stack::port::{Arrival, Ingress};
use nom_virtqueue::transport::Bell;
use nom_virtqueue::{Fault, Places, Queue, Segment};

/// Buffers that are given back before the device is told of them. It learns of fewer at every look.
const GIVE_BACK_BATCH: u16 = 16;
/// The shortest frame that has an Ethernet header; anything shorter is given back unseen.
const FRAME_MIN: u32 = 14;
/// Frames that lie gathered at the same time. One more is dropped and counted.
pub(crate) const GATHER_SLOTS: usize = 4;
/// Bytes of the longest frame: the longest packet of IP, an Ethernet header, a tag.
const FRAME_MAX: usize = 65_535 + crate::device::ETHERNET_LEN;
/// Room for one of them.
pub(crate) const GATHER_LEN: usize = FRAME_MAX.next_multiple_of(64);
/// Of the buffers, the share (one in so many) that may wait for their turn in the order of addresses.
const OUT_OF_TURN_SHARE: usize = 4;

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
    /// Frames of several buffers, read where they lie.
    pub merged_in_place: u64,
    /// Frames of several buffers that were gathered, each byte copied once.
    pub merged_copied: u64,
    /// Frames of several buffers that found no place to be gathered in.
    pub merged_dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// With the device; for a place of gathering: free.
    Device,
    /// Holds a part of a frame behind its first.
    Part,
    Waiting,
    Taken,
    /// Given back, waiting for its turn.
    Back,
}

/// A frame of which buffers are still missing.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    header: Received,
    arrived_ns: u64,
    len: usize,
}

/// The receiving half of a device.
#[derive(Debug)]
pub struct Receiver<B> {
    queue: Queue,
    bell: B,
    buffers: Block,
    slot_len: usize,
    places: Box<[Place]>,
    /// How many buffers the frame takes that begins in this one.
    spans: Box<[u16]>,
    /// What waits, oldest first: a ring over a power of two, which has room for every frame there can be.
    waiting: Box<[Arrival]>,
    first: usize,
    count: usize,
    /// Where frames are gathered; `None` when every frame takes one buffer.
    gathered: Option<Block>,
    gathered_places: [Place; GATHER_SLOTS],
    unfinished: Option<Unfinished>,
    /// Its buffers so far, and how many bytes are in each.
    parts: Box<[(u16, u32)]>,
    parts_count: usize,
    /// The buffer whose turn it is to be lent, and how many wait for theirs.
    turn: usize,
    back: usize,
    /// When the ring was last seen.
    last_look_ns: u64,
    /// Asleep since: what comes then is what woke us.
    slept: bool,
    counters: ReceiverCounters,
}

impl<B: Bell> Receiver<B> {
    /// The half over a queue, with one buffer for each of its descriptors. With `gathered` frames may take several.
    pub(crate) fn new(
        queue: Queue,
        buffers: Block,
        slot_len: usize,
        gathered: Option<Block>,
        bell: B,
    ) -> Self {
        let size = usize::from(queue.size());
        let nothing = Arrival { buffer: 0, len: 0, arrived_ns: 0, checksum_good: false };
        let mut receiver = Self {
            queue,
            bell,
            buffers,
            slot_len,
            places: vec![Place::Device; size].into_boxed_slice(),
            spans: vec![1; size].into_boxed_slice(),
            waiting: vec![nothing; (size + GATHER_SLOTS).next_power_of_two()].into_boxed_slice(),
            first: 0,
            count: 0,
            gathered,
            gathered_places: [Place::Device; GATHER_SLOTS],
            unfinished: None,
            parts: vec![(0, 0); size].into_boxed_slice(),
            parts_count: 0,
            turn: 0,
            back: 0,
            last_look_ns: 0,
            slept: true,
            counters: ReceiverCounters::default(),
        };
        receiver.lend_all();
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

    /// As at first, over the same memory, for a device that was reset. Answers where the ring is, and its size.
    pub(crate) fn restart(&mut self, event_index: bool) -> (Places, u16) {
        self.queue.restart(event_index);
        self.gathered_places = [Place::Device; GATHER_SLOTS];
        self.unfinished = None;
        (self.first, self.count, self.parts_count, self.turn, self.back) = (0, 0, 0, 0, 0);
        self.slept = true;
        self.lend_all();
        (self.queue.cells().places(), self.queue.size())
    }

    /// Tells the device of the buffers that were given back.
    #[inline(never)]
    pub(crate) fn supply(&mut self) {
        if self.queue.publish() {
            self.counters.kicks += 1;
            self.bell.ring();
        }
    }

    /// Every buffer gets the chain of its number for good: a queue that was never used hands them out in order.
    fn lend_all(&mut self) {
        for buffer in 0..self.places.len() {
            let address = self.buffers.device_address(buffer * self.slot_len);
            let segment = Segment { address, len: self.slot_len as u32 };
            // SAFETY: a whole slot of the block, which is never given back; `places` says that it is the device's, so
            // that nobody reads it before the chain was taken back.
            let head = unsafe { self.queue.add(&[], &[segment]) };
            assert_eq!(head, Ok(buffer as u16), "a fresh queue has a chain for each buffer, in order");
            self.places[buffer] = Place::Device;
        }
    }

    #[inline]
    fn lend(&mut self, buffer: u16) {
        self.places[usize::from(buffer)] = Place::Device;
        // SAFETY: the slot that it was lent with in `lend_all`, and again under the same conditions; it is lent only
        // after it was taken back by `take_kept`, which `places` says by anything else than `Device`.
        unsafe { self.queue.again(buffer) };
    }

    /// A buffer is read, where frames take several: it is the device's again when its turn comes.
    fn put_back(&mut self, buffer: u16) {
        self.places[usize::from(buffer)] = Place::Back;
        self.back += 1;
        while self.back > 0 {
            let turn = self.turn;
            if self.places[turn] == Place::Back {
                self.back -= 1;
                self.lend(turn as u16);
            } else if self.back <= self.places.len() / OUT_OF_TURN_SHARE {
                break;
            }
            // Else somebody keeps that one for long: the others do not wait for it any more.
            self.turn = (turn + 1) % self.places.len();
        }
    }

    #[inline]
    fn slot_bytes(&self, buffer: u16, len: usize) -> &[u8] {
        // SAFETY: called for buffers that the device gave back and was not lent again (`places` says so); a device
        // that writes to one anyway changes bytes under a reader who checks lengths that lie elsewhere.
        unsafe { self.buffers.bytes(usize::from(buffer) * self.slot_len, len) }
    }

    #[inline]
    fn collect(&mut self, arrived_ns: u64) {
        if self.gathered.is_some() {
            return self.collect_parts(arrived_ns);
        }
        while let Some(completion) = self.queue.take_kept() {
            self.collect_one(completion.head, completion.written, arrived_ns);
        }
    }

    /// Where frames take several buffers.
    #[inline(never)]
    fn collect_parts(&mut self, arrived_ns: u64) {
        while let Some(completion) = self.queue.take_kept() {
            let buffer = completion.head;
            self.places[usize::from(buffer)] = Place::Part;
            let Some(frame) = self.begun(buffer, completion.written, arrived_ns) else { continue };
            self.parts[self.parts_count] = (buffer, completion.written);
            self.parts_count += 1;
            let len = frame.len + completion.written as usize;
            if len > LEN + FRAME_MAX {
                self.queue.condemn(Fault::Nonsense);
            } else if self.parts_count < usize::from(frame.header.buffers) {
                self.unfinished = Some(Unfinished { len, ..frame });
            } else {
                self.finish(Unfinished { len, ..frame });
                self.unfinished = None;
                self.parts_count = 0;
            }
        }
    }

    /// A buffer where every frame takes exactly one.
    #[inline]
    fn collect_one(&mut self, buffer: u16, written: u32, arrived_ns: u64) {
        if written < LEN as u32 + FRAME_MIN {
            self.counters.runts += 1;
            self.lend(buffer);
            return;
        }
        let checksum_good = header::checksum_good(self.slot_bytes(buffer, LEN)[0]);
        self.places[usize::from(buffer)] = Place::Waiting;
        self.announce(Arrival {
            buffer: u32::from(buffer),
            len: written - LEN as u32,
            arrived_ns,
            checksum_good,
        });
    }

    #[inline]
    fn announce(&mut self, arrival: Arrival) {
        let place = (self.first + self.count) & (self.waiting.len() - 1);
        self.waiting[place] = arrival;
        self.count += 1;
    }

    /// The frame that this buffer belongs to; `None` when it belongs to none.
    fn begun(&mut self, buffer: u16, written: u32, arrived_ns: u64) -> Option<Unfinished> {
        if let Some(frame) = self.unfinished {
            if written == 0 {
                self.queue.condemn(Fault::Nonsense);
                return None;
            }
            return Some(frame);
        }
        if written < LEN as u32 + FRAME_MIN {
            self.counters.runts += 1;
            self.put_back(buffer);
            return None;
        }
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(self.slot_bytes(buffer, LEN));
        let header = header::read(&bytes);
        if header.buffers == 0 || usize::from(header.buffers) > self.places.len() {
            self.queue.condemn(Fault::Nonsense);
            return None;
        }
        Some(Unfinished { header, arrived_ns, len: 0 })
    }

    /// All of a frame is there.
    fn finish(&mut self, frame: Unfinished) {
        let parts = &self.parts[..self.parts_count];
        let (first, _) = parts[0];
        let in_place = parts.windows(2).all(|pair| {
            let ((before, len), (behind, _)) = (pair[0], pair[1]);
            behind == before + 1 && len as usize == self.slot_len
        });
        let buffer = if in_place {
            self.spans[usize::from(first)] = parts.len() as u16;
            self.places[usize::from(first)] = Place::Waiting;
            self.counters.merged_in_place += u64::from(parts.len() > 1);
            u32::from(first)
        } else {
            let Some(slot) = self.gather() else {
                self.counters.merged_dropped += 1;
                return;
            };
            self.counters.merged_copied += 1;
            (self.places.len() + slot) as u32
        };
        self.announce(Arrival {
            buffer,
            len: (frame.len - LEN) as u32,
            arrived_ns: frame.arrived_ns,
            checksum_good: frame.header.checksum_good,
        });
    }

    /// Copies the parts together and gives their buffers back; `None` when there is no place for that.
    fn gather(&mut self) -> Option<usize> {
        let slot = self.gathered_places.iter().position(|place| *place == Place::Device);
        let mut end = slot.unwrap_or(0) * GATHER_LEN;
        for at in 0..self.parts_count {
            let (buffer, len) = self.parts[at];
            let skip = if at == 0 { LEN } else { 0 };
            if let (Some(into), true) = (&mut self.gathered, slot.is_some()) {
                // SAFETY: as in `slot_bytes`: the device gave this buffer back, and it is not lent yet.
                let bytes = unsafe { self.buffers.bytes(usize::from(buffer) * self.slot_len, len as usize) };
                into.copy_in(end, &bytes[skip..]);
                end += bytes.len() - skip;
            }
            self.put_back(buffer);
        }
        self.gathered_places[slot?] = Place::Waiting;
        slot
    }

    /// All buffers of a frame, or the place in which it was gathered.
    #[inline(never)]
    fn give_back_parts(&mut self, buffer: usize) {
        if let Some(slot) = buffer.checked_sub(self.places.len()) {
            self.gathered_places[slot] = Place::Device;
            return;
        }
        let span = core::mem::replace(&mut self.spans[buffer], 1);
        for part in buffer..buffer + usize::from(span) {
            self.put_back(part as u16);
        }
    }

    /// A frame that was gathered.
    #[inline(never)]
    fn gathered_bytes(&self, buffer: usize, len: usize) -> &[u8] {
        let slot = buffer - self.places.len();
        match (&self.gathered, self.gathered_places.get(slot)) {
            (Some(gathered), Some(Place::Taken)) if len <= GATHER_LEN => {
                // SAFETY: the device was never told of this block.
                unsafe { gathered.bytes(slot * GATHER_LEN, len) }
            }
            _ => &[],
        }
    }

    /// The place of a handle, whoever made the handle up.
    #[inline]
    fn place(&mut self, buffer: u32) -> Option<&mut Place> {
        let buffer = buffer as usize;
        match buffer.checked_sub(self.places.len()) {
            None => self.places.get_mut(buffer),
            Some(slot) => self.gathered_places.get_mut(slot),
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
        *self.place(arrival.buffer)? = Place::Taken;
        self.counters.frames += 1;
        Some(arrival)
    }

    #[inline]
    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let buffer = arrival.buffer as usize;
        let len = arrival.len as usize;
        let Some(place) = self.places.get(buffer) else { return self.gathered_bytes(buffer, len) };
        let span = if self.gathered.is_some() { usize::from(self.spans[buffer]) } else { 1 };
        if *place != Place::Taken || len > span * self.slot_len - LEN {
            return &[];
        }
        // SAFETY: as in `slot_bytes`, of as many buffers as the frame takes.
        unsafe { self.buffers.bytes(buffer * self.slot_len + LEN, len) }
    }

    #[inline]
    fn give_back(&mut self, arrival: Arrival) {
        // Only what was taken; a handle that was made up or given back before changes nothing.
        if self.place(arrival.buffer).is_none_or(|place| *place != Place::Taken) {
            return;
        }
        if self.gathered.is_none() {
            self.lend(arrival.buffer as u16);
        } else {
            self.give_back_parts(arrival.buffer as usize);
        }
        if self.queue.unpublished() >= GIVE_BACK_BATCH {
            self.supply();
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
