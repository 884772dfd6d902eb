//! How the kernel learns what a socket of ours is ready for, so that `poll`, `select` and `epoll` work as they are.
//!
//! The program holds one end of a pair of the kernel's own sockets, and no byte of its own ever crosses it. That end is
//! readable while there is a token in it, and not writable while it is stuffed.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Bytes that are stuffed at once, and that are looked for at once.
const STUFFING: [u8; 4096] = [0; 4096];

/// Our end of the pair, and a descriptor of our own for the program's end, whose number is the program's to change.
#[derive(Debug)]
pub struct Readiness {
    ours: OwnedFd,
    programs: OwnedFd,
    readable: bool,
    writable: bool,
}

/// Makes a pair: what we keep, and the program's end.
pub fn pair(flags: libc::c_int) -> std::io::Result<(Readiness, RawFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: two numbers are written to an array of two.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: both were just made and have no other owner.
    let [ours, programs] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let handed = programs.try_clone()?.into_raw_fd();
    if flags & libc::SOCK_NONBLOCK != 0 {
        // SAFETY: a plain call on a descriptor that was just made.
        unsafe { libc::fcntl(handed, libc::F_SETFL, libc::O_NONBLOCK) };
    }
    if flags & libc::SOCK_CLOEXEC == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(handed, libc::F_SETFD, 0) };
    }
    Ok((Readiness { ours, programs, readable: false, writable: true }, handed))
}

impl Readiness {
    /// There is something to read. Told again, it is news again for those who wait for edges.
    pub fn set_readable(&mut self) {
        self.readable = true;
        send(self.ours.as_raw_fd(), &STUFFING[..1]);
    }

    /// There is nothing to read.
    pub fn clear_readable(&mut self) {
        if std::mem::take(&mut self.readable) {
            drain(self.programs.as_raw_fd());
        }
    }

    /// There is room to write, or there is none.
    pub fn set_writable(&mut self, writable: bool) {
        if self.writable == writable {
            return;
        }
        self.writable = writable;
        if writable {
            drain(self.ours.as_raw_fd());
        } else {
            while send(self.programs.as_raw_fd(), &STUFFING) {}
        }
    }
}

/// Whether everything went; a full queue takes no more.
fn send(fd: RawFd, bytes: &[u8]) -> bool {
    // SAFETY: the bytes live for the call. The call does not wait.
    let sent = unsafe {
        libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    sent == bytes.len() as isize
}

fn drain(fd: RawFd) {
    let mut bytes = STUFFING;
    // SAFETY: the bytes are written within the array. The call does not wait.
    while unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) } > 0 {}
}
