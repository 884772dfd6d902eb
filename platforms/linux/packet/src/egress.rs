//! The sending half: frames gather here and leave with one `sendmmsg` at the kick.
//!
//! What is held are the places of the payload, not copies: the kernel is the device, and it reads the payload when it
//! is told to.

use crate::open::HEADER_LEN;
use nom_stack::port::{Egress, Frame, Full, Offloads};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::rc::Rc;

/// Frames that can be held until the next kick.
pub const FRAMES: usize = 256;
/// Pieces of payload in one frame. A frame in more pieces is put together in the slot's own memory, and counted.
const PIECES: usize = 30;
/// Ethernet, IPv4 and TCP headers with all options: 14 + 60 + 60, with room for a VLAN tag.
const HEADERS_MAX: usize = 144;
/// How often the kernel is asked again within one kick before what is left is given up, as on any wire.
const TRIES: u32 = 16;
/// Flag of the header before a frame: the checksum is left to whoever sends it.
const NEEDS_CHECKSUM: u8 = 1;

/// A frame that is held.
struct Slot {
    headers: [u8; HEADER_LEN + HEADERS_MAX],
    headers_len: usize,
    pieces: [libc::iovec; 1 + PIECES],
    pieces_len: usize,
    joined: Box<[u8]>,
}

/// The sending half of an AF_PACKET socket.
pub struct PacketEgress {
    fd: Rc<OwnedFd>,
    mtu: usize,
    checksum: bool,
    slots: Box<[Slot]>,
    messages: Box<[libc::mmsghdr]>,
    /// Frames queued so far, and those of them that left or were given up.
    queued: u64,
    sent: u64,
    joined_bytes: u64,
    refused: u64,
}

impl std::fmt::Debug for PacketEgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketEgress").field("queued", &self.queued).field("sent", &self.sent).finish()
    }
}

impl PacketEgress {
    pub(crate) fn new(fd: Rc<OwnedFd>, mtu: usize, checksum: bool) -> Self {
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let slot = || Slot {
            headers: [0; HEADER_LEN + HEADERS_MAX],
            headers_len: 0,
            pieces: [nothing; 1 + PIECES],
            pieces_len: 0,
            joined: vec![0; mtu].into_boxed_slice(),
        };
        // SAFETY: mmsghdr is a plain C structure for which all zeroes is a valid value.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            fd,
            mtu,
            checksum,
            slots: (0..FRAMES).map(|_| slot()).collect(),
            messages: vec![message; FRAMES].into_boxed_slice(),
            queued: 0,
            sent: 0,
            joined_bytes: 0,
            refused: 0,
        }
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

    /// Points a message at each frame that is held. Done at the kick, when the slots move no more.
    fn point(&mut self) -> usize {
        let count = (self.queued - self.sent) as usize;
        for (offset, message) in self.messages[..count].iter_mut().enumerate() {
            let slot = &mut self.slots[(self.sent as usize + offset) % FRAMES];
            let headers = slot.headers.as_mut_ptr().cast();
            slot.pieces[0] = libc::iovec { iov_base: headers, iov_len: slot.headers_len };
            message.msg_hdr.msg_iov = slot.pieces.as_mut_ptr();
            message.msg_hdr.msg_iovlen = slot.pieces_len;
        }
        count
    }
}

impl Egress for PacketEgress {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.checksum, segmentation: false }
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn room(&self) -> usize {
        FRAMES - (self.queued - self.sent) as usize
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
        let count = self.point();
        let (mut done, mut tries) = (0, 0);
        while done < count && tries < TRIES {
            let left = &mut self.messages[done..count];
            // SAFETY: each message points to the pieces of a slot, which do not move during the call. The first piece
            // is the slot's own header. The others are payload that was handed over by `queue`, which by the contract
            // of `Frame::payload` stays in place and unchanged until the frame is complete, and it is not before this
            // call. No Rust reference is made of it: only the kernel reads it, and it answers EFAULT for memory that
            // is not there.
            let result = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    left.as_mut_ptr(),
                    left.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            if result > 0 {
                done += result as usize;
            } else {
                tries += 1;
            }
        }
        self.refused += (count - done) as u64;
        self.sent = self.queued;
        count > 0
    }

    /// The kernel has its own copy when `sendmmsg` returns.
    fn completed(&mut self) -> u64 {
        self.sent
    }
}
