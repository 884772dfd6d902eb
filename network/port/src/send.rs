//! The sending half. A frame is copied into its slot when it is queued, so it is complete at once.
//!
//! While nobody is at the other end frames are taken and lost, as on a cable that is not plugged in: whoever sent them
//! has timers for that. When the ring is full frames are refused, and the owner tries again.

use core::sync::atomic::Ordering::Relaxed;

use nom_stack::port::{Egress, Frame, Full, Offloads};

use crate::ring::{self, Fault, Index, Ring};
use crate::{Bell, FRAME_MAX, FRAME_MIN, Gone, MTU, Words};

/// What the sending half counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// Frames that were put in the ring.
    pub frames: u64,
    /// Frames that found nobody at the other end.
    pub lost: u64,
    /// Frames that no ring takes: too short, too long, or left to the device to finish.
    pub unfit: u64,
    /// Frames that found the ring full.
    pub full: u64,
    /// Notifications.
    pub kicks: u64,
    /// Lives of the other end that broke the contract.
    pub faults: u64,
}

/// The sending half of a port.
#[derive(Debug)]
pub struct Sender<W, B> {
    ring: Ring<W>,
    bell: B,
    /// Frames below `produced` are in the ring, those below `shown` were shown, those below `read` are read.
    produced: u32,
    shown: u32,
    read: u32,
    queued: u64,
    fault: Option<Fault>,
    counters: SenderCounters,
}

impl<W: Words, B: Bell> Sender<W, B> {
    pub(crate) fn new(ring: Ring<W>, bell: B) -> Self {
        let counters = SenderCounters::default();
        Self { ring, bell, produced: 0, shown: 0, read: 0, queued: 0, fault: None, counters }
    }

    /// How the last life that broke the contract did so.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What was counted.
    pub fn counters(&self) -> &SenderCounters {
        &self.counters
    }

    /// The Ethernet address that the switch gave to the port, once it has seen this life of it, and until it saw that
    /// life break the contract.
    pub fn station(&mut self) -> Option<[u8; 6]> {
        self.renew();
        // What it says of this life it says after it has written its word anew.
        let seen = self.ring.up() && self.ring.theirs(Index::Consumed).is_some();
        seen.then(|| ring::station(&self.ring.words))
    }

    fn renew(&mut self) {
        if self.ring.renewed(self.bell.deaths()) {
            (self.produced, self.shown, self.read) = (0, 0, 0);
        }
    }

    /// Learns what was read.
    fn refresh(&mut self) {
        self.renew();
        let Some(consumed) = self.ring.theirs(Index::Consumed).filter(|_| self.ring.up()) else { return };
        if consumed.wrapping_sub(self.read) <= self.shown.wrapping_sub(self.read) {
            self.read = consumed;
        } else {
            self.fault = Some(Fault::Consumed);
            self.counters.faults += 1;
            self.ring.shun();
        }
    }

    fn free(&self) -> u32 {
        self.ring.slots - self.produced.wrapping_sub(self.read)
    }

    fn number(&mut self) -> u64 {
        self.queued += 1;
        self.queued
    }

    /// Writes the frame's bytes one behind the other, whatever pieces it comes in.
    fn copy_in(&self, frame: &Frame<'_>) {
        let slot = self.ring.slot(self.produced);
        self.ring.words.store(slot, frame.len() as u64, Relaxed);
        let mut at = slot + 1;
        let (mut begun, mut bits) = (0_u64, 0);
        for part in core::iter::once(&frame.headers).chain(frame.payload) {
            let (words, rest) = part.as_chunks::<8>();
            for word in words {
                let word = u64::from_le_bytes(*word);
                self.ring.words.store(at, begun | word << bits, Relaxed);
                begun = if bits == 0 { 0 } else { word >> (64 - bits) };
                at += 1;
            }
            for byte in rest {
                begun |= u64::from(*byte) << bits;
                bits += 8;
                if bits == 64 {
                    self.ring.words.store(at, begun, Relaxed);
                    (begun, bits) = (0, 0);
                    at += 1;
                }
            }
        }
        if bits > 0 {
            self.ring.words.store(at, begun, Relaxed);
        }
    }
}

impl<W: Words, B: Bell> Egress for Sender<W, B> {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn mtu(&self) -> usize {
        MTU
    }

    fn room(&self) -> usize {
        if self.ring.up() { self.free() as usize } else { self.ring.slots as usize }
    }

    fn capacity(&self) -> usize {
        self.ring.slots as usize
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let unfinished = frame.checksum.is_some() || frame.segment_len.is_some();
        if unfinished || !(FRAME_MIN..=FRAME_MAX).contains(&frame.len()) {
            self.counters.unfit += 1;
            return Ok(self.number());
        }
        self.renew();
        if self.free() == 0 {
            self.refresh();
        }
        if !self.ring.up() {
            self.counters.lost += 1;
            return Ok(self.number());
        }
        if self.free() == 0 {
            self.counters.full += 1;
            return Err(Full);
        }
        self.copy_in(&frame);
        self.produced = self.produced.wrapping_add(1);
        self.counters.frames += 1;
        Ok(self.number())
    }

    fn kick(&mut self) -> bool {
        if self.shown == self.produced || !self.ring.up() {
            return false;
        }
        let before = core::mem::replace(&mut self.shown, self.produced);
        self.ring.say(Index::Produced, self.produced);
        // Either the receiver's last look sees this, or what it wants is seen here.
        self.ring.words.fence();
        let Some(wanted) = self.ring.theirs(Index::Wanted) else { return false };
        if wanted.wrapping_sub(before) >= self.produced.wrapping_sub(before) {
            return false;
        }
        self.counters.kicks += 1;
        if self.bell.ring() == Err(Gone) {
            self.ring.shun();
        }
        true
    }

    fn completed(&mut self) -> u64 {
        self.refresh();
        self.queued
    }
}
