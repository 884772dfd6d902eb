//! The receiving half: frames stay where the kernel or the card put them until the stack gives them back.

use crate::checksum;
use crate::open::Device;
use crate::socket::{RECEIVE, Receiving};
use nom_stack::port::{Arrival, Ingress};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

/// So much of each new frame is asked for at once: headers and a small request. Another processor wrote them, and the way from
/// its cache is long; for all frames together it is one way.
const FETCH_LEN: usize = 128;

/// What the device is, as far as receiving is another thing on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The other end is a kernel that may leave checksums undone.
    pub(crate) virtual_cable: bool,
    /// Frames come only when the kernel is asked for them.
    pub(crate) busy_poll: bool,
}

/// The receiving half of an AF_XDP socket.
///
/// A frame is stamped when it is first seen. What came while the process slept is stamped at the wake-up, since
/// its arrival caused it; otherwise the stamp is the last look that found nothing more.
#[derive(Debug)]
pub struct XdpIngress {
    device: Rc<Device>,
    rings: Receiving,
    mac: [u8; 6],
    kind: Kind,
    waiting: VecDeque<Arrival>,
    /// Where the frame begins in each chunk that is held here; 0 length for chunks that are not.
    places: Box<[Place]>,
    /// Chunks that were given back and are not shown to the kernel yet.
    returned: bool,
    empty_ns: u64,
    armed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: u16,
    len: u16,
}

impl XdpIngress {
    pub(crate) fn new(device: Rc<Device>, rings: Receiving, mac: [u8; 6], kind: Kind) -> Self {
        Self {
            device,
            rings,
            mac,
            kind,
            waiting: VecDeque::with_capacity(RECEIVE as usize),
            places: vec![Place::default(); RECEIVE as usize].into_boxed_slice(),
            returned: false,
            empty_ns: 0,
            armed: false,
        }
    }

    /// The interface's Ethernet address: whoever shares it answers under it.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The card works on our memory itself.
    pub fn zero_copy(&self) -> bool {
        self.device.socket.zero_copy
    }

    /// The program hangs in the driver, not behind it.
    pub fn native(&self) -> bool {
        self.device.attached.native
    }

    /// Frames of ours that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.device.socket.dropped()
    }

    fn bytes_at(&self, chunk: usize, place: Place) -> &[u8] {
        let socket = &self.device.socket;
        let start = socket
            .memory
            .at::<u8>(chunk * socket.chunk_len + usize::from(place.start), usize::from(place.len));
        // SAFETY: the bytes lie in the memory (`at` checks), in a chunk that the kernel handed over through the
        // receive ring. Nobody writes it until `give_back`, which needs this half mutably and so ends every borrow.
        unsafe { std::slice::from_raw_parts(start, usize::from(place.len)) }
    }

    /// Shows the chunks that were given back to the kernel.
    fn refill(&mut self) {
        if std::mem::take(&mut self.returned) {
            self.rings.fill.publish();
        }
    }
}

impl AsFd for XdpIngress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.socket.fd.as_fd()
    }
}

impl Ingress for XdpIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let arrived_ns = if self.armed || self.empty_ns == 0 { now_ns } else { self.empty_ns };
        self.armed = false;
        self.refill();
        let mut new = self.rings.ring.waiting();
        if (new == 0 && self.kind.busy_poll) || self.rings.fill.wants_waking() {
            self.device.socket.poke_receiver();
            new = self.rings.ring.waiting();
        }
        let chunk_len = self.device.socket.chunk_len as u64;
        for ahead in 0..new {
            self.device.socket.memory.fetch(self.rings.ring.peek(ahead).addr as usize, FETCH_LEN);
        }
        for _ in 0..new {
            let found = self.rings.ring.pop();
            let (chunk, start) = ((found.addr / chunk_len) as usize, found.addr % chunk_len);
            let place = Place { start: start as u16, len: found.len as u16 };
            // The kernel only hands over what it was given; a chunk that is not one is not used.
            if chunk >= self.places.len() || start + u64::from(found.len) > chunk_len || found.len == 0 {
                continue;
            }
            self.places[chunk] = place;
            let checksum_good = self.kind.virtual_cable && checksum::left_undone(self.bytes_at(chunk, place));
            self.waiting.push_back(Arrival {
                buffer: chunk as u32,
                len: found.len,
                arrived_ns,
                checksum_good,
            });
        }
        if new > 0 {
            self.rings.ring.release();
        }
        self.empty_ns = now_ns;
        self.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        RECEIVE as usize
    }

    fn take(&mut self) -> Option<Arrival> {
        self.waiting.pop_front()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let chunk = arrival.buffer as usize;
        let place = self.places[chunk];
        assert!(place.len != 0, "the frame was given back");
        self.bytes_at(chunk, place)
    }

    fn give_back(&mut self, arrival: Arrival) {
        let place = std::mem::take(&mut self.places[arrival.buffer as usize]);
        assert!(place.len != 0, "the frame was given back before");
        // There are as many cells as chunks, and this one is in none of them.
        self.rings.fill.push(u64::from(arrival.buffer) * self.device.socket.chunk_len as u64);
        self.returned = true;
    }

    /// The descriptor is readable for as long as a frame waits in the ring, so a sleep in `poll` cannot miss one.
    fn arm(&mut self) -> bool {
        self.armed = true;
        self.refill();
        self.waiting.is_empty() && self.rings.ring.waiting() == 0
    }
}
