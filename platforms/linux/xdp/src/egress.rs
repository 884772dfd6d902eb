//! The sending half: frames are put together in chunks of the shared memory and shown to the kernel at the kick.

use crate::open::Device;
use crate::socket::{METADATA_LEN, RECEIVE, SEND, SEND_AT, Sending};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use std::rc::Rc;

/// How often the kernel is asked again within one kick. It takes 32 frames each time, and less when it is short of
/// memory; what is left over then goes with the next step.
const POKES_MAX: u32 = 64;

/// The sending half of an AF_XDP socket.
#[derive(Debug)]
pub struct XdpEgress {
    device: Rc<Device>,
    rings: Sending,
    mtu: usize,
    checksum: bool,
    free: Vec<u32>,
    queued: u64,
    /// Frames queued and not shown.
    hidden: u32,
    /// Frames were shown and the kernel could not take them all.
    left_over: bool,
    pokes: u64,
    refused: u64,
}

impl XdpEgress {
    pub(crate) fn new(device: Rc<Device>, rings: Sending, mtu: usize) -> Self {
        // A card that works on our memory itself completes checksums only where its driver says so.
        let checksum = device.socket.metadata && !device.socket.zero_copy;
        let free = (0..SEND).rev().collect();
        Self {
            device,
            rings,
            mtu,
            checksum,
            free,
            queued: 0,
            hidden: 0,
            left_over: false,
            pokes: 0,
            refused: 0,
        }
    }

    /// System calls that sending took so far.
    pub fn pokes(&self) -> u64 {
        self.pokes
    }

    /// Frames that found no free chunk.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes back the chunks that were read for the last time.
    fn collect(&mut self) {
        let back = self.rings.completion.waiting();
        for _ in 0..back {
            let chunk = self.rings.completion.pop() / self.device.socket.chunk_len as u64;
            // The kernel gives back what it was given; more would be no chunk to send.
            if let Some(index) = (chunk as u32).checked_sub(RECEIVE).filter(|index| *index < SEND) {
                self.free.push(index);
            }
        }
        if back > 0 {
            self.rings.completion.release();
        }
    }

    fn poke(&mut self) {
        self.left_over = true;
        for _ in 0..POKES_MAX {
            let waiting = self.rings.ring.unconsumed();
            if waiting == 0 {
                self.left_over = false;
                return;
            }
            self.pokes += 1;
            // The completion ring bounds what the kernel takes.
            if !self.device.socket.poke_sender() && self.rings.ring.unconsumed() == waiting {
                self.collect();
                return;
            }
        }
    }
}

impl Egress for XdpEgress {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.checksum, segmentation: false }
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn room(&self) -> usize {
        self.free.len() + self.rings.completion.waiting() as usize
    }

    fn capacity(&self) -> usize {
        SEND as usize
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let socket = &self.device.socket;
        let len = frame.len();
        assert!(len + SEND_AT <= socket.chunk_len, "a frame of {len} bytes for an MTU of {}", self.mtu);
        if self.free.is_empty() {
            self.collect();
        }
        let Some(index) = self.free.pop() else {
            self.refused += 1;
            return Err(Full);
        };
        let socket = &self.device.socket;
        let chunk = (RECEIVE + index) as usize * socket.chunk_len;
        let start = socket.memory.at::<u8>(chunk, socket.chunk_len);
        // SAFETY: the chunk lies in the memory (`at` checks); its index was in our list, so neither the kernel nor
        // anything of ours looks at it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, socket.chunk_len) };
        let mut at = SEND_AT;
        for part in std::iter::once(&frame.headers).chain(frame.payload) {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let mut options = 0;
        if let Some(checksum) = frame.checksum {
            // `struct xsk_tx_metadata`: flags, then where the checksum begins and where it belongs.
            let request = &mut bytes[SEND_AT - METADATA_LEN..SEND_AT];
            request.fill(0);
            request[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
            request[8..10].copy_from_slice(&checksum.start.to_ne_bytes());
            request[10..12].copy_from_slice(&checksum.offset.to_ne_bytes());
            options = libc::XDP_TX_METADATA;
        }
        // There are as many cells as chunks, and this chunk was in none of them.
        self.rings.ring.push(libc::xdp_desc { addr: (chunk + SEND_AT) as u64, len: len as u32, options });
        self.hidden += 1;
        self.queued += 1;
        Ok(self.queued)
    }

    fn kick(&mut self) -> bool {
        if self.hidden == 0 {
            return false;
        }
        self.hidden = 0;
        self.rings.ring.publish();
        if !self.rings.ring.wants_waking() {
            return false;
        }
        self.poke();
        true
    }

    /// Frames are copied when they are queued. Asked in every step, so what the kernel could not take goes here.
    fn completed(&mut self) -> u64 {
        if self.left_over {
            self.poke();
        }
        self.queued
    }
}
