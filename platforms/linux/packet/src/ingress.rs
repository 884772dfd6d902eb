//! The receiving half: a ring of frames that the kernel fills, each marked with whose it is.

use nom_stack::port::{Arrival, Ingress};
use nom_vnet::SHORT_LEN;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Frames in the ring. When the stack has all of them, the kernel drops and counts what comes.
pub const FRAMES: usize = 128;
/// Bytes of one: the kernel merges segments of a connection up to 64 KiB, and its own headers stand before them. In
/// whole pages, as the ring is made of them.
pub(crate) const FRAME_LEN: usize = 17 * 4096;

/// The ring in memory that the kernel shares.
#[derive(Debug)]
pub(crate) struct Ring {
    start: NonNull<u8>,
}

impl Ring {
    pub(crate) fn map(fd: RawFd) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at a place of the kernel's choice disturbs nothing that is there.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), FRAMES * FRAME_LEN, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start })
    }

    fn header(&self, frame: usize) -> *mut libc::tpacket2_hdr {
        assert!(frame < FRAMES);
        // SAFETY: the frame lies in the mapping. Frames begin at whole pages, so the header lies right.
        unsafe { self.start.as_ptr().add(frame * FRAME_LEN) }.cast()
    }

    /// Whose the frame is, and what the kernel says about it.
    fn status(&self, frame: usize) -> &AtomicU32 {
        // SAFETY: the header lies in the mapping, which lives as long as `self`; the kernel, too, uses this number as
        // an atomic one.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.header(frame)).tp_status) }
    }

    /// Where the frame's bytes begin, how many are there, and how many there were.
    fn extent(&self, frame: usize) -> (usize, usize, usize) {
        let header = self.header(frame);
        // SAFETY: the header lies in the mapping; the kernel does not write it while the frame is ours. Whatever
        // stands there is a number.
        let (mac, here, whole) = unsafe { ((*header).tp_mac, (*header).tp_snaplen, (*header).tp_len) };
        (usize::from(mac), here as usize, whole as usize)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` and is unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), FRAMES * FRAME_LEN) };
    }
}

/// The receiving half of an AF_PACKET socket.
///
/// A frame is stamped when it is first seen. What came while the process slept is stamped at the wake-up, since
/// its arrival caused it; otherwise the stamp is the last look that found nothing more.
#[derive(Debug)]
pub struct PacketIngress {
    fd: Rc<OwnedFd>,
    ring: Ring,
    mac: [u8; 6],
    /// The frame that the kernel fills next.
    next: usize,
    waiting: VecDeque<Arrival>,
    /// Where each frame that is held here begins; 0 for those that are not.
    places: Box<[u16]>,
    empty_ns: u64,
    armed: bool,
    cut: u64,
}

impl PacketIngress {
    pub(crate) fn new(fd: Rc<OwnedFd>, ring: Ring, mac: [u8; 6]) -> Self {
        Self {
            fd,
            ring,
            mac,
            next: 0,
            waiting: VecDeque::with_capacity(FRAMES),
            places: vec![0; FRAMES].into_boxed_slice(),
            empty_ns: 0,
            armed: false,
            cut: 0,
        }
    }

    /// The interface's Ethernet address: whoever shares it answers under it.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Frames that did not fit or had a VLAN tag; they are dropped here.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// What the kernel could tell about the frame, unless it is not to be used.
    fn arrival(&mut self, frame: usize, status: u32, arrived_ns: u64) -> Option<Arrival> {
        let (start, len, whole) = self.ring.extent(frame);
        let tagged = status & libc::TP_STATUS_VLAN_VALID != 0;
        if tagged || len < whole || len == 0 || start < SHORT_LEN || start + len > FRAME_LEN {
            self.cut += 1;
            return None;
        }
        self.places[frame] = start as u16;
        // A checksum that is not there yet comes from a sender on this very machine: nothing was on a wire.
        let checksum_good = status & (libc::TP_STATUS_CSUMNOTREADY | libc::TP_STATUS_CSUM_VALID) != 0;
        Some(Arrival { buffer: frame as u32, len: len as u32, arrived_ns, checksum_good })
    }
}

impl AsFd for PacketIngress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Ingress for PacketIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let arrived_ns = if self.armed || self.empty_ns == 0 { now_ns } else { self.empty_ns };
        self.armed = false;
        // Bounded by the ring: a frame that is held here is not looked at again.
        while self.places[self.next] == 0 {
            let frame = self.next;
            let status = self.ring.status(frame).load(Ordering::Acquire);
            if status & libc::TP_STATUS_USER == 0 {
                break;
            }
            self.next = (frame + 1) % FRAMES;
            match self.arrival(frame, status, arrived_ns) {
                Some(arrival) => self.waiting.push_back(arrival),
                None => self.ring.status(frame).store(libc::TP_STATUS_KERNEL, Ordering::Release),
            }
        }
        self.empty_ns = now_ns;
        self.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        FRAMES
    }

    fn take(&mut self) -> Option<Arrival> {
        self.waiting.pop_front()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let frame = arrival.buffer as usize;
        let place = usize::from(self.places[frame]);
        assert!(place != 0, "the frame was given back");
        assert!(place + arrival.len as usize <= FRAME_LEN);
        // SAFETY: the bytes lie in the frame, which lies in the mapping. It is marked as ours, so the kernel does not
        // write it until `give_back`, which needs this half mutably and so ends every borrow.
        unsafe {
            let start = self.ring.header(frame).cast::<u8>().add(place);
            std::slice::from_raw_parts(start, arrival.len as usize)
        }
    }

    fn give_back(&mut self, arrival: Arrival) {
        let frame = arrival.buffer as usize;
        let place = std::mem::take(&mut self.places[frame]);
        assert!(place != 0, "the frame was given back before");
        self.ring.status(frame).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    /// The descriptor is readable for as long as the newest frame is ours, so a sleep in `poll` cannot miss one.
    fn arm(&mut self) -> bool {
        self.armed = true;
        let next = self.ring.status(self.next).load(Ordering::Acquire);
        self.waiting.is_empty() && (self.places[self.next] != 0 || next & libc::TP_STATUS_USER == 0)
    }
}
