//! Many reads or writes of the device in one system call (io_uring), where the kernel has that and lets us.
//!
//! Each is asked not to wait, so the kernel does it while it is told of it, one after the other, and has the results ready when
//! the call returns: nothing is under way between two calls, and whose memory it is changes hands as with an ordinary `read`
//! or `writev`. Containers often forbid io_uring; then there is a call for each frame.

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;

/// The most reads or writes of one call.
pub(crate) const TOGETHER: usize = 64;
/// Fewer cost less one by one.
pub(crate) const WORTH: usize = 3;

/// The device, and its calls if there are any. Both halves have it, on one thread.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) file: File,
    pub(crate) calls: RefCell<Option<Calls>>,
}

impl Device {
    pub(crate) fn new(file: File) -> Self {
        let calls = RefCell::new(Calls::new(&file));
        Self { file, calls }
    }
}

/// The calls.
pub(crate) struct Calls {
    ring: IoUring,
    /// The ring did what cannot be: it is never used again.
    broken: bool,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("broken", &self.broken).finish()
    }
}

/// A read into memory of ours, which must be there until [`Calls::run`] has returned.
pub(crate) fn read(device: &File, place: &mut [u8]) -> Entry {
    // By its descriptor: a ring that knew the file would keep the device for a while after its process has ended.
    let device = types::Fd(device.as_raw_fd());
    opcode::Read::new(device, place.as_mut_ptr(), place.len() as u32).rw_flags(libc::RWF_NOWAIT).build()
}

/// A write of pieces that must be there, and what they point to, until [`Calls::run`] has returned.
pub(crate) fn write(device: &File, pieces: &[libc::iovec]) -> Entry {
    let device = types::Fd(device.as_raw_fd());
    let (first, count) = (pieces.as_ptr().cast(), pieces.len() as u32);
    opcode::Writev::new(device, first, count).rw_flags(libc::RWF_NOWAIT).build()
}

impl Calls {
    /// Nothing where the kernel is too old or does not let us.
    pub(crate) fn new(device: &File) -> Option<Self> {
        let ring = IoUring::new(TOGETHER as u32).ok()?;
        let mut calls = Self { ring, broken: false };
        // A read of nothing takes no frame, and fails otherwise where the device or the kernel cannot but wait.
        // SAFETY: there is no memory to it.
        let [probed, ..] = unsafe { calls.run(std::iter::once(read(device, &mut []))) };
        (probed == 0 || probed == -libc::EAGAIN).then_some(calls)
    }

    /// Whether it pays to do so many together, and can be done.
    pub(crate) fn serve(&self, count: usize) -> bool {
        count >= WORTH && !self.broken
    }

    /// Does them in order, no more than [`TOGETHER`], and says what each read or wrote, or why not (a negative errno).
    ///
    /// # Safety
    /// What the entries point to is there until this returns, and nothing else has it when it is read into.
    pub(crate) unsafe fn run(&mut self, entries: impl Iterator<Item = Entry>) -> [i32; TOGETHER] {
        let mut results = [-libc::EIO; TOGETHER];
        let mut count = 0;
        for entry in entries.take(TOGETHER) {
            // SAFETY: the caller's promise; the kernel has let go of the memory when all are complete, which is waited for
            // below. The ring has room, since each call leaves it empty.
            let pushed = unsafe { self.ring.submission().push(&entry.user_data(count as u64)) };
            self.broken |= pushed.is_err();
            count += 1;
        }
        let mut complete = 0;
        while complete < count && !self.broken {
            match self.ring.submit_and_wait(count - complete) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // What was not submitted never will be, and what was is complete: nothing of it is under way.
                Err(_) => self.broken = true,
            }
            for done in self.ring.completion() {
                results[done.user_data() as usize % TOGETHER] = done.result();
                complete += 1;
            }
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapEgress, TapIngress};
    use nom_stack::port::{Egress, Frame, Ingress, Offloads};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::rc::Rc;

    /// A device at whose other end is the test.
    fn device() -> (UnixDatagram, Device) {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (far, Device::new(File::from(OwnedFd::from(near))))
    }

    /// Sends `count` frames of a byte each, and takes as many, `rounds` times: in order, whole, and how many together.
    fn exchange(device: Device, far: &UnixDatagram, (rounds, count): (u8, u8)) -> (u64, u64) {
        let device = Rc::new(device);
        let mut ingress = TapIngress::new(Rc::clone(&device), 1500, false);
        let mut egress = TapEgress::new(device, 1500, Offloads::default());
        let mut frame = [0; 100];
        let numbers: Vec<u8> = (0..rounds.max(count)).collect();
        let byte = |number: u8| &numbers[usize::from(number)..=usize::from(number)];
        for round in 0..rounds {
            for number in 0..count {
                let payload = [byte(round), byte(number)];
                let frame = Frame { headers: &[9; 60], payload: &payload, checksum: None, segment_len: None };
                egress.queue(frame).unwrap();
            }
            assert!(egress.kick());
            for number in 0..count {
                assert_eq!(far.recv(&mut frame).unwrap(), 10 + 60 + 2);
                assert_eq!(frame[70..72], [round, number]);
                far.send(&frame[..72]).unwrap();
            }
            assert!(far.recv(&mut frame).is_err());
            assert_eq!(ingress.look(1), usize::from(count));
            for number in 0..count {
                let arrival = ingress.take().unwrap();
                assert_eq!(ingress.bytes(&arrival)[60..], [round, number]);
                ingress.give_back(arrival);
            }
            assert_eq!(ingress.take(), None);
        }
        assert_eq!((egress.completed(), egress.refused()), (u64::from(rounds) * u64::from(count), 0));
        (egress.together(), ingress.together())
    }

    #[test]
    fn frames_keep_their_order_and_share_system_calls() {
        let (far, device) = device();
        if device.calls.borrow().is_none() {
            return println!("SKIPPED: this system has no io_uring, or does not let us");
        }
        // The first look does not know yet how many come.
        assert_eq!(exchange(device, &far, (5, 9)), (45, 36));
    }

    #[test]
    fn few_frames_and_a_system_without_have_a_call_for_each() {
        let (far, few) = device();
        assert_eq!(exchange(few, &far, (5, 2)), (0, 0));
        let (far, without) = device();
        *without.calls.borrow_mut() = None;
        assert_eq!(exchange(without, &far, (5, 9)), (0, 0));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_rest_goes() {
        let (far, device) = device();
        let mut egress = TapEgress::new(Rc::new(device), 1500, Offloads::default());
        // Longer than any datagram may be.
        let (short, long) = ([1u8; 4], vec![0u8; 1 << 20]);
        for payload in [[&short[..]], [&long[..]], [&short[..]], [&short[..]]] {
            let frame = Frame { headers: &[9; 60], payload: &payload, checksum: None, segment_len: None };
            egress.queue(frame).unwrap();
        }
        assert!(egress.kick());
        assert_eq!((egress.completed(), egress.refused()), (4, 1));
        let mut frame = [0; 100];
        for _ in 0..3 {
            assert_eq!(far.recv(&mut frame).unwrap(), 10 + 60 + 4);
        }
        assert!(far.recv(&mut frame).is_err());
    }
}
