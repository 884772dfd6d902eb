//! The sending half: frames gather here and leave with one `sendmmsg` at the kick.

use nom_linux_held::{FRAMES, Held};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// How often the kernel is asked again within one kick before what is left is given up, as on any wire.
const TRIES: u32 = 16;

/// The sending half of an AF_PACKET socket.
pub struct PacketEgress {
    fd: Rc<OwnedFd>,
    mtu: usize,
    offloads: Offloads,
    held: Held,
    messages: Box<[libc::mmsghdr]>,
}

impl std::fmt::Debug for PacketEgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketEgress").field("held", &self.held).finish()
    }
}

impl PacketEgress {
    pub(crate) fn new(fd: Rc<OwnedFd>, mtu: usize, offloads: Offloads) -> Self {
        // SAFETY: mmsghdr is a plain C structure for which all zeroes is a valid value.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self { fd, mtu, offloads, held: Held::default(), messages: vec![message; FRAMES].into_boxed_slice() }
    }

    /// Bytes that were copied because a frame had too many pieces.
    pub fn joined_bytes(&self) -> u64 {
        self.held.joined_bytes()
    }

    /// Frames that were not sent, for want of memory or because the interface is down. They are lost, as on any wire.
    pub fn refused(&self) -> u64 {
        self.held.refused()
    }

    /// Points a message at each frame that waits and can be sent, and says how many.
    fn point(&mut self) -> usize {
        let mut count = 0;
        for number in 0..self.held.waiting() {
            let pieces = self.held.pieces(number);
            if pieces.is_empty() {
                continue;
            }
            let message = &mut self.messages[count].msg_hdr;
            message.msg_iov = pieces.as_mut_ptr();
            message.msg_iovlen = pieces.len();
            count += 1;
        }
        count
    }
}

impl Egress for PacketEgress {
    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn room(&self) -> usize {
        self.held.room()
    }

    fn capacity(&self) -> usize {
        FRAMES
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        self.held.queue(frame)
    }

    fn kick(&mut self) -> bool {
        let (waiting, count) = (self.held.waiting(), self.point());
        let (mut done, mut tries) = (0, 0);
        while done < count && tries < TRIES {
            let left = &mut self.messages[done..count];
            // SAFETY: each message points to the pieces of a frame that is held, which do not move before it is done
            // with. The first piece is the frame's own headers. The others are payload that was handed over by `queue`,
            // which by the contract of `Frame::payload` stays in place and unchanged until the frame is complete, and it
            // is not before this call. No Rust reference is made of it: only the kernel reads it, and it answers EFAULT
            // for memory that is not there.
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
        self.held.finish(waiting, waiting - done);
        waiting > 0
    }

    /// The kernel has its own copy when `sendmmsg` returns.
    fn completed(&mut self) -> u64 {
        self.held.done()
    }
}
