//! The sending half: frames gather here and leave with one `writev` each at the kick. A TAP device has no doorbell, so
//! holding a frame means not writing it yet.

use nom_linux_held::{FRAMES, Held};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// The sending half of a TAP device.
#[derive(Debug)]
pub struct TapEgress {
    file: Rc<File>,
    mtu: usize,
    offloads: Offloads,
    held: Held,
}

impl TapEgress {
    pub(crate) fn new(file: Rc<File>, mtu: usize, offloads: Offloads) -> Self {
        Self { file, mtu, offloads, held: Held::default() }
    }

    /// Bytes that were copied because a frame had too many pieces.
    pub fn joined_bytes(&self) -> u64 {
        self.held.joined_bytes()
    }

    /// Frames that were not sent, for want of memory or because the interface is down. They are lost, as on any wire.
    pub fn refused(&self) -> u64 {
        self.held.refused()
    }
}

impl Egress for TapEgress {
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
        let count = self.held.waiting();
        let mut refused = 0;
        for number in 0..count {
            let pieces = self.held.pieces(number);
            // SAFETY: the first piece is the frame's own headers. The others are payload that was handed over by
            // `queue`, which by the contract of `Frame::payload` stays in place and unchanged until the frame is
            // complete, and it is not before this call. No Rust reference is made of it: only the kernel reads it,
            // and it answers EFAULT for memory that is not there. No pieces at all are written as nothing.
            let written =
                unsafe { libc::writev(self.file.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int) };
            refused += usize::from(written <= 0);
        }
        self.held.finish(count, refused);
        count > 0
    }

    /// The kernel has its own copy when `writev` returns.
    fn completed(&mut self) -> u64 {
        self.held.done()
    }
}
