//! The receiving half. A frame is copied out when it is taken, and its slot is the sender's again at once; what the
//! taker reads lies in memory that nobody else reaches.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

use nom_stack::port::{Arrival, Ingress};

use crate::ring::{Fault, Index, Ring};
use crate::{Bell, FRAME_MAX, FRAME_MIN, Words};

/// Slots that are read before the sender is told. It learns of fewer at every look.
const TELL_BATCH: u32 = 16;

/// What the receiving half counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverCounters {
    /// Frames that were taken.
    pub frames: u64,
    /// Lives of the other end that began.
    pub lives: u64,
    /// Lives that broke the contract.
    pub faults: u64,
    /// Times that a notification was asked for before a sleep.
    pub arms: u64,
}

/// The receiving half of a port.
#[derive(Debug)]
pub struct Receiver<W, B> {
    ring: Ring<W>,
    bell: B,
    /// Frames below `taken` are copied, those below `seen` are known to be there; the sender was told of `told`.
    taken: u32,
    seen: u32,
    told: u32,
    /// When the frame of each slot was seen.
    stamps: Box<[u64]>,
    /// As many copies as there are slots, with their lengths; 0 where none is.
    copies: Box<[u8]>,
    lens: Box<[u32]>,
    free: Vec<u32>,
    armed: bool,
    /// Asleep since: what comes then is what woke us.
    slept: bool,
    last_look_ns: u64,
    fault: Option<Fault>,
    counters: ReceiverCounters,
}

impl<W: Words, B: Bell> Receiver<W, B> {
    pub(crate) fn new(ring: Ring<W>, bell: B) -> Self {
        let slots = ring.slots as usize;
        Self {
            bell,
            taken: 0,
            seen: 0,
            told: 0,
            stamps: vec![0; slots].into_boxed_slice(),
            copies: vec![0; slots * FRAME_MAX].into_boxed_slice(),
            lens: vec![0; slots].into_boxed_slice(),
            free: (0..ring.slots).rev().collect(),
            ring,
            armed: false,
            slept: true,
            last_look_ns: 0,
            fault: None,
            counters: ReceiverCounters::default(),
        }
    }

    /// Whether the other end lives, as far as is known.
    pub fn is_up(&self) -> bool {
        self.ring.up()
    }

    /// How the last life that broke the contract did so.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What was counted.
    pub fn counters(&self) -> &ReceiverCounters {
        &self.counters
    }

    /// The memory.
    pub fn words(&self) -> &W {
        &self.ring.words
    }

    fn condemn(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.counters.faults += 1;
        self.seen = self.taken;
        // By this the other end can know that its life does not count any more.
        self.ring.unsay(Index::Consumed);
        self.ring.shun();
    }

    fn tell(&mut self) {
        if self.told != self.taken {
            self.told = self.taken;
            self.ring.say(Index::Consumed, self.taken);
        }
    }

    /// Frames that are in the ring by now; `None` when the claim cannot be true.
    fn produced(&self) -> Option<u32> {
        // Nothing was said in these lives: nothing is there.
        let produced = self.ring.theirs(Index::Produced).unwrap_or(self.seen);
        let (known, waiting) = (self.seen.wrapping_sub(self.taken), produced.wrapping_sub(self.taken));
        (known..=self.ring.slots).contains(&waiting).then_some(produced)
    }

    /// Copies the oldest frame out of its slot: its bytes are nobody else's before its length is believed.
    fn copy_out(&mut self, buffer: u32) -> Result<u32, Fault> {
        let slot = self.ring.slot(self.taken);
        let len = self.ring.words.load(slot, Relaxed);
        if !(FRAME_MIN as u64..=FRAME_MAX as u64).contains(&len) {
            return Err(Fault::Length);
        }
        let copy = &mut self.copies[buffer as usize * FRAME_MAX..][..(len as usize).next_multiple_of(8)];
        for (at, bytes) in copy.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&self.ring.words.load(slot + 1 + at, Relaxed).to_le_bytes());
        }
        Ok(len as u32)
    }
}

impl<W: Words, B: Bell> Ingress for Receiver<W, B> {
    fn look(&mut self, now_ns: u64) -> usize {
        if self.armed {
            self.armed = false;
            self.ring.unsay(Index::Wanted);
        }
        if self.ring.renewed(self.bell.deaths()) {
            (self.taken, self.seen, self.told) = (0, 0, 0);
            self.counters.lives += u64::from(self.ring.up());
            // By this the other end knows that it was seen.
            self.ring.say(Index::Consumed, 0);
        }
        if self.ring.up() {
            match self.produced() {
                Some(produced) => {
                    // A sleeper was woken by the frame, so it came now; otherwise it came since the last look.
                    let arrived_ns = if self.slept { now_ns } else { self.last_look_ns };
                    while self.seen != produced {
                        self.stamps[(self.seen & (self.ring.slots - 1)) as usize] = arrived_ns;
                        self.seen = self.seen.wrapping_add(1);
                    }
                    self.tell();
                }
                None => self.condemn(Fault::Produced),
            }
        } else {
            self.seen = self.taken;
        }
        self.slept = false;
        self.last_look_ns = now_ns;
        self.seen.wrapping_sub(self.taken) as usize
    }

    fn oldest_ns(&self) -> Option<u64> {
        (self.seen != self.taken).then(|| self.stamps[(self.taken & (self.ring.slots - 1)) as usize])
    }

    fn capacity(&self) -> usize {
        self.ring.slots as usize
    }

    fn take(&mut self) -> Option<Arrival> {
        let arrived_ns = self.oldest_ns()?;
        // Whoever keeps all copies gets no further one; the frames wait in the ring.
        let buffer = *self.free.last()?;
        let len = match self.copy_out(buffer) {
            Ok(len) => len,
            Err(fault) => {
                self.condemn(fault);
                return None;
            }
        };
        self.free.pop();
        self.lens[buffer as usize] = len;
        self.taken = self.taken.wrapping_add(1);
        if self.taken.wrapping_sub(self.told) >= TELL_BATCH {
            self.tell();
        }
        self.counters.frames += 1;
        Some(Arrival { buffer, len, arrived_ns, checksum_good: false })
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let buffer = arrival.buffer as usize;
        match self.lens.get(buffer) {
            Some(&len) => &self.copies[buffer * FRAME_MAX..][..len as usize],
            None => &[],
        }
    }

    fn give_back(&mut self, arrival: Arrival) {
        // Only what was taken; a handle that was made up or given back before changes nothing.
        if let Some(len) = self.lens.get_mut(arrival.buffer as usize)
            && *len != 0
        {
            *len = 0;
            self.free.push(arrival.buffer);
        }
    }

    fn arm(&mut self) -> bool {
        self.counters.arms += 1;
        if self.ring.up() {
            self.tell();
            self.ring.say(Index::Wanted, self.seen);
            self.armed = true;
            // Either the sender sees what is wanted, or this look sees its frame (the fence in `kick` is the other half).
            self.ring.words.fence();
        }
        // A life that began meanwhile has rung or will; its frames are seen by the next look.
        let quiet = self.seen == self.taken && (!self.ring.up() || self.produced() == Some(self.seen));
        self.slept = quiet;
        quiet
    }
}
