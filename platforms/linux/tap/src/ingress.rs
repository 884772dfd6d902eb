//! The receiving half: reads into a fixed set of buffers, never blocks.

use nom_stack::port::{Arrival, Ingress};
use nom_vnet::{SHORT_LEN, checksum_good};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

/// Frames that wait or are taken. When all are, frames stay in the kernel's own queue (`txqueuelen`), which drops
/// and counts what comes beyond it.
pub const BUFFERS: usize = 512;
/// Ethernet header and one VLAN tag.
const ETHERNET_LEN: usize = 18;
/// The largest IP packet: segments of a connection that the kernel did not cut.
const LARGE_MAX: usize = 65_535;

/// The receiving half of a TAP device.
///
/// A frame is stamped when it is first seen. What came while the process slept is stamped at the wake-up, since
/// its arrival caused it; otherwise the stamp is the last look that found nothing more.
#[derive(Debug)]
pub struct TapIngress {
    file: Rc<File>,
    memory: Vec<u8>,
    buffer_len: usize,
    free: Vec<u32>,
    waiting: VecDeque<Arrival>,
    empty_ns: u64,
    armed: bool,
    oversized: u64,
}

impl TapIngress {
    pub(crate) fn new(file: Rc<File>, mtu: usize, large: bool) -> Self {
        let packet_max = if large { LARGE_MAX } else { mtu };
        // One byte more than the longest frame: a full buffer is one that was cut.
        let buffer_len = (SHORT_LEN + ETHERNET_LEN + packet_max + 1).next_multiple_of(64);
        Self {
            file,
            memory: vec![0; BUFFERS * buffer_len],
            buffer_len,
            free: (0..BUFFERS as u32).rev().collect(),
            waiting: VecDeque::with_capacity(BUFFERS),
            empty_ns: 0,
            armed: false,
            oversized: 0,
        }
    }

    /// Frames longer than the MTU allows; they are dropped here.
    pub fn oversized(&self) -> u64 {
        self.oversized
    }

    fn place(&self, buffer: u32) -> usize {
        buffer as usize * self.buffer_len
    }
}

impl AsFd for TapIngress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Ingress for TapIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let arrived_ns = if self.armed || self.empty_ns == 0 { now_ns } else { self.empty_ns };
        self.armed = false;
        // Bounded by the free buffers.
        while let Some(&buffer) = self.free.last() {
            let place = self.place(buffer);
            let Ok(len) = (&*self.file).read(&mut self.memory[place..place + self.buffer_len]) else {
                self.empty_ns = now_ns;
                break;
            };
            // A full buffer is a frame that was cut.
            if len <= SHORT_LEN || len == self.buffer_len {
                self.oversized += u64::from(len == self.buffer_len);
                continue;
            }
            // A partial checksum comes from a sender on this very machine: nothing was on a wire yet.
            let checksum_good = checksum_good(self.memory[place]);
            self.free.pop();
            let len = (len - SHORT_LEN) as u32;
            self.waiting.push_back(Arrival { buffer, len, arrived_ns, checksum_good });
        }
        self.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        BUFFERS
    }

    fn take(&mut self) -> Option<Arrival> {
        self.waiting.pop_front()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let start = self.place(arrival.buffer) + SHORT_LEN;
        &self.memory[start..start + arrival.len as usize]
    }

    fn give_back(&mut self, arrival: Arrival) {
        debug_assert!(!self.free.contains(&arrival.buffer));
        self.free.push(arrival.buffer);
    }

    /// The descriptor is readable for as long as a frame waits in the kernel, so a sleep in `poll` cannot miss
    /// one: only frames that were already read count here.
    fn arm(&mut self) -> bool {
        self.armed = true;
        self.waiting.is_empty()
    }
}
