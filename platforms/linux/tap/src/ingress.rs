//! The receiving half: reads into a fixed set of buffers, never blocks.

use crate::calls::{self, Device, TOGETHER, WORTH};
use nom_stack::port::{Arrival, Ingress};
use nom_vnet::{SHORT_LEN, checksum_good};
use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

/// Frames that wait or are taken. When all are, frames stay in the kernel's own queue (`txqueuelen`), which drops
/// and counts what comes beyond it.
pub const BUFFERS: usize = 512;
/// So many bytes are read before the stack is to act on them: more would leave the processor's cache before they are looked at.
/// What waits beyond them stays in the kernel's queue.
const LOOK_BYTES: usize = 128 * 1024;
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
    device: Rc<Device>,
    memory: Vec<u8>,
    buffer_len: usize,
    free: Vec<u32>,
    waiting: VecDeque<Arrival>,
    empty_ns: u64,
    armed: bool,
    waiting_bytes: usize,
    oversized: u64,
    /// Frames that the last look read.
    found: usize,
    together: u64,
}

impl TapIngress {
    pub(crate) fn new(device: Rc<Device>, mtu: usize, large: bool) -> Self {
        let packet_max = if large { LARGE_MAX } else { mtu };
        // One byte more than the longest frame: a full buffer is one that was cut.
        let buffer_len = (SHORT_LEN + ETHERNET_LEN + packet_max + 1).next_multiple_of(64);
        Self {
            device,
            memory: vec![0; BUFFERS * buffer_len],
            buffer_len,
            free: (0..BUFFERS as u32).rev().collect(),
            waiting: VecDeque::with_capacity(BUFFERS),
            empty_ns: 0,
            armed: false,
            waiting_bytes: 0,
            oversized: 0,
            found: 0,
            together: 0,
        }
    }

    /// Frames longer than the MTU allows; they are dropped here.
    pub fn oversized(&self) -> u64 {
        self.oversized
    }

    /// Frames that shared a system call with others.
    pub fn together(&self) -> u64 {
        self.together
    }

    /// Reads a frame. False when none waits.
    fn read_one(&mut self, arrived_ns: u64) -> bool {
        let Some(&buffer) = self.free.last() else { return false };
        let place = self.place(buffer);
        let read = (&self.device.file).read(&mut self.memory[place..place + self.buffer_len]);
        let Ok(len) = read else { return false };
        self.free.pop();
        self.found(buffer, len, arrived_ns);
        true
    }

    /// Reads so many frames together. False when fewer waited.
    fn read_many(&mut self, count: usize, arrived_ns: u64) -> bool {
        let count = count.min(TOGETHER).min(self.free.len());
        let device = Rc::clone(&self.device);
        let mut calls = device.calls.borrow_mut();
        let Some(calls) = calls.as_mut().filter(|calls| calls.serve(count)) else {
            return self.read_one(arrived_ns);
        };
        let mut buffers = [0; TOGETHER];
        for buffer in &mut buffers[..count] {
            let Some(free) = self.free.pop() else { unreachable!("counted") };
            *buffer = free;
        }
        let entries = buffers[..count].iter().map(|&buffer| {
            let place = self.place(buffer);
            calls::read(&device.file, &mut self.memory[place..place + self.buffer_len])
        });
        // SAFETY: the buffers are memory of ours that stays where it is, each another part of it, and none is looked at
        // before this call has returned.
        let lens = unsafe { calls.run(entries) };
        let mut all = true;
        for (&buffer, &len) in buffers.iter().zip(&lens[..count]) {
            match usize::try_from(len) {
                Ok(len) => {
                    self.together += 1;
                    self.found(buffer, len, arrived_ns);
                }
                Err(_) => {
                    self.free.push(buffer);
                    all = false;
                }
            }
        }
        all
    }

    /// A buffer has so many bytes of a frame in it.
    fn found(&mut self, buffer: u32, len: usize, arrived_ns: u64) {
        self.found += 1;
        // A full buffer is a frame that was cut.
        if len <= SHORT_LEN || len == self.buffer_len {
            self.oversized += u64::from(len == self.buffer_len);
            self.free.push(buffer);
            return;
        }
        // A partial checksum comes from a sender on this very machine: nothing was on a wire yet.
        let checksum_good = checksum_good(self.memory[self.place(buffer)]);
        let len = (len - SHORT_LEN) as u32;
        self.waiting_bytes += len as usize;
        self.waiting.push_back(Arrival { buffer, len, arrived_ns, checksum_good });
    }

    fn place(&self, buffer: u32) -> usize {
        buffer as usize * self.buffer_len
    }
}

impl AsFd for TapIngress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.file.as_fd()
    }
}

impl Ingress for TapIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let arrived_ns = if self.armed || self.empty_ns == 0 { now_ns } else { self.empty_ns };
        self.armed = false;
        // As many as came the last time are expected, and are asked for together.
        let expected = std::mem::take(&mut self.found);
        // Bounded by the free buffers.
        while !self.free.is_empty() && self.waiting_bytes < LOOK_BYTES {
            let more = if expected >= WORTH {
                self.read_many(expected, arrived_ns)
            } else {
                self.read_one(arrived_ns)
            };
            if !more {
                self.empty_ns = now_ns;
                break;
            }
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
        let arrival = self.waiting.pop_front()?;
        self.waiting_bytes -= arrival.len as usize;
        Some(arrival)
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
