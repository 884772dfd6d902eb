//! The sending half: frames gather here and leave with one `writev` each at the kick.
//!
//! A TAP device has no doorbell, so holding a frame means not writing it yet. What is held are the places of the
//! payload, not copies: the kernel is the device, and it reads the payload when the frame is written, as a
//! network card would when it is told to.

use crate::device::{HEADER_LEN, NEEDS_CHECKSUM};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::rc::Rc;

/// Frames that can be held until the next kick.
pub const FRAMES: usize = 256;
/// Pieces of payload in one frame. A frame in more pieces is put together in the slot's own memory, and counted.
const PIECES: usize = 30;
/// Ethernet, IPv4 and TCP headers with all options: 14 + 60 + 60, with room for a VLAN tag.
const HEADERS_MAX: usize = 144;

/// A frame that is held.
struct Slot {
    headers: [u8; HEADER_LEN + HEADERS_MAX],
    headers_len: usize,
    pieces: [libc::iovec; 1 + PIECES],
    pieces_len: usize,
    joined: Box<[u8]>,
}

/// The sending half of a TAP device.
pub struct TapEgress {
    file: Rc<File>,
    mtu: usize,
    checksum: bool,
    slots: Box<[Slot]>,
    /// Frames queued so far, and those of them that were written.
    queued: u64,
    written: u64,
    joined_bytes: u64,
    refused: u64,
}

impl std::fmt::Debug for TapEgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapEgress").field("queued", &self.queued).field("written", &self.written).finish()
    }
}

impl TapEgress {
    pub(crate) fn new(file: Rc<File>, mtu: usize, checksum: bool) -> Self {
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let slot = || Slot {
            headers: [0; HEADER_LEN + HEADERS_MAX],
            headers_len: 0,
            pieces: [nothing; 1 + PIECES],
            pieces_len: 0,
            joined: vec![0; mtu].into_boxed_slice(),
        };
        let slots = (0..FRAMES).map(|_| slot()).collect();
        Self { file, mtu, checksum, slots, queued: 0, written: 0, joined_bytes: 0, refused: 0 }
    }

    /// Payload bytes that were copied because a frame had too many pieces.
    pub fn joined_bytes(&self) -> u64 {
        self.joined_bytes
    }

    /// Frames that the kernel did not take, for want of memory or because the interface is down. They are lost,
    /// as on any wire.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl Egress for TapEgress {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.checksum, segmentation: false }
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn room(&self) -> usize {
        FRAMES - (self.queued - self.written) as usize
    }

    fn capacity(&self) -> usize {
        FRAMES
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            return Err(Full);
        }
        let slot = &mut self.slots[self.queued as usize % FRAMES];
        let headers_len = HEADER_LEN + frame.headers.len();
        slot.headers[..HEADER_LEN].fill(0);
        if let Some(checksum) = frame.checksum {
            slot.headers[0] = NEEDS_CHECKSUM;
            slot.headers[6..8].copy_from_slice(&checksum.start.to_ne_bytes());
            slot.headers[8..10].copy_from_slice(&checksum.offset.to_ne_bytes());
        }
        slot.headers[HEADER_LEN..headers_len].copy_from_slice(frame.headers);
        slot.headers_len = headers_len;
        if frame.payload.len() <= PIECES {
            for (piece, bytes) in slot.pieces[1..].iter_mut().zip(frame.payload) {
                *piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            }
            slot.pieces_len = 1 + frame.payload.len();
        } else {
            let mut len = 0;
            for bytes in frame.payload {
                slot.joined[len..len + bytes.len()].copy_from_slice(bytes);
                len += bytes.len();
            }
            slot.pieces[1] = libc::iovec { iov_base: slot.joined.as_mut_ptr().cast(), iov_len: len };
            slot.pieces_len = 2;
            self.joined_bytes += len as u64;
        }
        self.queued += 1;
        Ok(self.queued)
    }

    fn kick(&mut self) -> bool {
        let any = self.written < self.queued;
        while self.written < self.queued {
            let slot = &mut self.slots[self.written as usize % FRAMES];
            slot.pieces[0] =
                libc::iovec { iov_base: slot.headers.as_mut_ptr().cast(), iov_len: slot.headers_len };
            // SAFETY: the first piece is the slot's own header. The others are payload that was handed over by
            // `queue`, which by the contract of `Frame::payload` stays in place and unchanged until the frame is
            // complete, and it is not before this call. No Rust reference is made of it: only the kernel reads it,
            // and it answers EFAULT for memory that is not there.
            let result = unsafe {
                libc::writev(self.file.as_raw_fd(), slot.pieces.as_ptr(), slot.pieces_len as libc::c_int)
            };
            self.refused += u64::from(result < 0);
            self.written += 1;
        }
        any
    }

    /// The kernel has its own copy when `writev` returns.
    fn completed(&mut self) -> u64 {
        self.written
    }
}
