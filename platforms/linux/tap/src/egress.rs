//! The sending half: frames gather here and leave at the kick, one `writev` each or many together. A TAP device has no
//! doorbell, so holding a frame means not writing it yet.

use crate::calls::{self, Device, TOGETHER};
use nom_linux_held::{FRAMES, Held};
use nom_stack::port::{Egress, Frame, Full, Offloads};
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// The sending half of a TAP device.
#[derive(Debug)]
pub struct TapEgress {
    device: Rc<Device>,
    mtu: usize,
    offloads: Offloads,
    held: Held,
    together: u64,
}

impl TapEgress {
    pub(crate) fn new(device: Rc<Device>, mtu: usize, offloads: Offloads) -> Self {
        Self { device, mtu, offloads, held: Held::default(), together: 0 }
    }

    /// Bytes that were copied because a frame had too many pieces.
    pub fn joined_bytes(&self) -> u64 {
        self.held.joined_bytes()
    }

    /// Frames that shared a system call with others.
    pub fn together(&self) -> u64 {
        self.together
    }

    /// Writes some of the frames from this one on, and says how many.
    fn write(&mut self, first: usize, count: usize, refused: &mut usize) -> usize {
        let (held, file) = (&mut self.held, &self.device.file);
        if let Some(calls) = &mut *self.device.calls.borrow_mut()
            && calls.serve(count)
        {
            let count = count.min(TOGETHER);
            let entries = (first..first + count).map(|number| calls::write(file, held.pieces(number)));
            // SAFETY: the first piece is the frame's own headers. The others are payload that was handed over by
            // `queue`, which by the contract of `Frame::payload` stays in place and unchanged until the frame is
            // complete, and it is not before this call has returned. No Rust reference is made of it: only the kernel
            // reads it, and it answers EFAULT for memory that is not there. No pieces at all are written as nothing.
            let written = unsafe { calls.run(entries) };
            self.together += count as u64;
            *refused += written[..count].iter().filter(|&&len| len <= 0).count();
            return count;
        }
        let pieces = held.pieces(first);
        // SAFETY: as above.
        let written = unsafe { libc::writev(file.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int) };
        *refused += usize::from(written <= 0);
        1
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
        let (mut done, mut refused) = (0, 0);
        while done < count {
            done += self.write(done, count - done, &mut refused);
        }
        self.held.finish(count, refused);
        count > 0
    }

    /// The kernel has its own copy when the call returns.
    fn completed(&mut self) -> u64 {
        self.held.done()
    }
}
