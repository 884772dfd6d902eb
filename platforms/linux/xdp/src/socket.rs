//! A socket of the family AF_XDP with its memory and its rings, bound to one queue of one interface.

use crate::error::XdpError;
use crate::ring::Ring;
use crate::umem::Mapping;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

/// Chunks for frames that arrive, and cells of both rings that carry them. When all are with the stack, the kernel
/// drops and counts what comes.
pub(crate) const RECEIVE: u32 = 1024;
/// The same for frames that leave. When all are with the kernel, `queue` answers `Full`.
pub(crate) const SEND: u32 = 1024;
/// Bytes before a frame to be sent: `struct xsk_tx_metadata` (24 bytes since Linux 6.14), and the frame's place on a
/// cache line of its own.
pub(crate) const METADATA_LEN: usize = 24;
pub(crate) const SEND_AT: usize = 64;
/// What the kernel keeps free before a frame that arrives.
const KERNEL_HEADROOM: usize = 256;
/// Ethernet header and one VLAN tag.
const ETHERNET_LEN: usize = 18;
/// Bytes of frames that the kernel may hold for us before it takes no more.
const SEND_BUFFER: libc::c_int = 4 << 20;
/// Frames that one busy poll takes (`SO_BUSY_POLL_BUDGET`).
const BUSY_POLL_BUDGET: libc::c_int = 64;
/// How often, and how far apart, a queue that is taken is asked for: a second in all.
const BIND_TRIES: u32 = 100;
const BIND_PAUSE: Duration = Duration::from_millis(10);
/// `linux/if_xdp.h`: where the rings of the memory are mapped.
const FILL_PAGE: libc::off_t = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
const COMPLETION_PAGE: libc::off_t = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;

/// What is asked of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) interface: u32,
    pub(crate) queue: u32,
    pub(crate) mtu: usize,
    /// Flags of `bind`.
    pub(crate) flags: u16,
    pub(crate) busy_poll: Option<Duration>,
}

/// A socket and its memory.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) memory: Mapping,
    pub(crate) chunk_len: usize,
    /// The card works on our memory itself.
    pub(crate) zero_copy: bool,
    /// The kernel takes requests to complete checksums.
    pub(crate) metadata: bool,
}

/// The largest MTU that a chunk of this length holds in both directions.
fn mtu_max(chunk_len: usize) -> usize {
    chunk_len - KERNEL_HEADROOM - ETHERNET_LEN
}

/// The largest MTU at all: chunks of a page.
pub(crate) fn mtu_limit() -> usize {
    mtu_max(4096)
}

/// What arrives, and the chunks that are given to the kernel for it.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) ring: Ring<libc::xdp_desc>,
    pub(crate) fill: Ring<u64>,
}

/// What leaves, and the chunks that come back.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) ring: Ring<libc::xdp_desc>,
    pub(crate) completion: Ring<u64>,
}

impl Socket {
    pub(crate) fn bind(wanted: &Wanted) -> Result<(Self, Receiving, Sending), XdpError> {
        let step = |step| move |error| XdpError::Kernel(step, error);
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(step("opening a socket")(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let raw = fd.as_raw_fd();
        let chunk_len = if wanted.mtu <= mtu_max(2048) { 2048 } else { 4096 };
        let memory =
            Mapping::anonymous((RECEIVE + SEND) as usize * chunk_len).map_err(step("getting memory"))?;
        let metadata = register(raw, &memory, chunk_len).map_err(step("registering memory"))?;
        for (option, cells) in [
            (libc::XDP_UMEM_FILL_RING, RECEIVE),
            (libc::XDP_UMEM_COMPLETION_RING, SEND),
            (libc::XDP_RX_RING, RECEIVE),
            (libc::XDP_TX_RING, SEND),
        ] {
            set(raw, libc::SOL_XDP, option, &cells).map_err(step("making a ring"))?;
        }
        let offsets: libc::xdp_mmap_offsets =
            get(raw, libc::XDP_MMAP_OFFSETS).map_err(step("asking where the rings are"))?;
        let mapping = step("mapping a ring");
        let receiving = Receiving {
            ring: Ring::map(raw, offsets.rx, RECEIVE, libc::XDP_PGOFF_RX_RING).map_err(mapping)?,
            fill: Ring::map(raw, offsets.fr, RECEIVE, FILL_PAGE).map_err(mapping)?,
        };
        let sending = Sending {
            ring: Ring::map(raw, offsets.tx, SEND, libc::XDP_PGOFF_TX_RING).map_err(mapping)?,
            completion: Ring::map(raw, offsets.cr, SEND, COMPLETION_PAGE).map_err(mapping)?,
        };
        // Without the right to force it the system's own bound stands.
        if set(raw, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
            let _ = set(raw, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER);
        }
        if let Some(time) = wanted.busy_poll {
            let micros = time.as_micros().clamp(1, 10_000) as libc::c_int;
            for (option, value) in [
                (libc::SO_PREFER_BUSY_POLL, 1),
                (libc::SO_BUSY_POLL, micros),
                (libc::SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET),
            ] {
                set(raw, libc::SOL_SOCKET, option, &value).map_err(step("asking for busy polling"))?;
            }
        }
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: wanted.flags | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: wanted.interface,
            sxdp_queue_id: wanted.queue,
            sxdp_shared_umem_fd: 0,
        };
        if let Err(error) = bind_patiently(raw, &address) {
            let what = match (error.raw_os_error(), wanted.flags & libc::XDP_ZEROCOPY != 0) {
                (Some(libc::EBUSY), _) => "binding to the queue, which another socket has",
                (_, true) => "binding to the queue without copying (its driver may not be able to: use copy)",
                _ => "binding to the queue",
            };
            return Err(XdpError::Kernel(what, error));
        }
        let options: libc::xdp_options =
            get(raw, libc::XDP_OPTIONS).map_err(step("asking what was agreed on"))?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok((Self { fd, memory, chunk_len, zero_copy, metadata }, receiving, sending))
    }

    /// Has the kernel look at its rings now, without waiting.
    pub(crate) fn poke_receiver(&self) {
        // SAFETY: no memory is passed. Whatever it answers, the rings say what there is.
        unsafe {
            libc::recvfrom(self.fd.as_raw_fd(), null_mut(), 0, libc::MSG_DONTWAIT, null_mut(), null_mut())
        };
    }

    /// Has the kernel send what was shown to it. False when it could not take everything now.
    pub(crate) fn poke_sender(&self) -> bool {
        // SAFETY: no memory is passed.
        unsafe { libc::sendto(self.fd.as_raw_fd(), null(), 0, libc::MSG_DONTWAIT, null(), 0) >= 0 }
    }

    /// What the kernel dropped for want of room since the start.
    pub(crate) fn dropped(&self) -> u64 {
        get::<libc::xdp_statistics>(self.fd.as_raw_fd(), libc::XDP_STATISTICS)
            .map_or(0, |counts| counts.rx_dropped + counts.rx_ring_full)
    }
}

/// Registers the memory; says whether requests to complete checksums may stand before frames.
fn register(fd: RawFd, memory: &Mapping, chunk_len: usize) -> io::Result<bool> {
    let mut wish = libc::xdp_umem_reg {
        addr: memory.at::<u8>(0, memory.len()) as u64,
        len: memory.len() as u64,
        chunk_size: chunk_len as u32,
        headroom: 0,
        flags: libc::XDP_UMEM_TX_METADATA_LEN,
        tx_metadata_len: METADATA_LEN as u32,
    };
    if set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &wish).is_ok() {
        return Ok(true);
    }
    // Before Linux 6.11 these two fields were unknown, or meant something else.
    (wish.flags, wish.tx_metadata_len) = (0, 0);
    set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &wish).map(|()| false)
}

/// The kernel lets go of a queue a little after the process that had it has ended: whoever comes next asks again for
/// a while.
fn bind_patiently(fd: RawFd, address: &libc::sockaddr_xdp) -> io::Result<()> {
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    let mut tries = 0;
    loop {
        // SAFETY: the address is a sockaddr_xdp of the given length, and lives for the call.
        if unsafe { libc::bind(fd, std::ptr::from_ref(address).cast(), len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        tries += 1;
        if error.raw_os_error() != Some(libc::EBUSY) || tries == BIND_TRIES {
            return Err(error);
        }
        std::thread::sleep(BIND_PAUSE);
    }
}

fn set<T>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of a value that lives for the call.
    match unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Only for structures of plain numbers, for which all zeroes is a valid value.
fn get<T: Copy>(fd: RawFd, option: libc::c_int) -> io::Result<T> {
    // SAFETY: the structures asked for are the kernel's, of plain numbers.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a value that lives for the call.
    match unsafe { libc::getsockopt(fd, libc::SOL_XDP, option, (&raw mut value).cast(), &raw mut len) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}
