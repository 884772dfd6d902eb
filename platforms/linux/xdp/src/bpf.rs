//! The system call `bpf`: a map of sockets, the program, and the link by which it hangs on an interface.

use crate::error::XdpError;
use crate::program::{self, Instruction, Ours};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// `linux/bpf.h`.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROGRAM_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
// `linux/if_link.h`.
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;
/// Program and map show this name in `bpftool` and `ip link`.
const NAME: [u8; 16] = *b"nom\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The helper that redirects needs no licence; the kernel wants to be told one.
const LICENCE: &[u8; 11] = b"Apache-2.0\0";

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_len: u32,
    value_len: u32,
    entries_max: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions_len: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_len: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

/// A program that hangs on an interface for as long as this is alive.
#[derive(Debug)]
pub(crate) struct Attached {
    _link: OwnedFd,
    /// In the driver; otherwise behind it, where every driver works but frames have been touched already.
    pub(crate) native: bool,
}

/// Hangs the program on an interface, its queue's frames going to this socket.
pub(crate) fn attach(
    name: &str,
    index: u32,
    queue: u32,
    socket: BorrowedFd<'_>,
    ours: &Ours,
) -> Result<Attached, XdpError> {
    let map = MapCreate {
        kind: MAP_TYPE_XSKMAP,
        key_len: 4,
        value_len: 4,
        entries_max: queue + 1,
        flags: 0,
        inner: 0,
        node: 0,
        name: NAME,
    };
    // SAFETY: the structure has the fields that the command reads, and lives for the call.
    let map = unsafe { bpf(MAP_CREATE, &map) }.map_err(|error| XdpError::Kernel("making a map", error))?;
    let (key, value) = (queue, socket.as_raw_fd() as u32);
    let update = MapUpdate {
        map: map.as_raw_fd() as u32,
        _padding: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: the structure has the fields that the command reads; key and value are four bytes, as the map was made
    // for, and live for the call.
    unsafe { bpf_plain(MAP_UPDATE, &update) }
        .map_err(|error| XdpError::Kernel("putting the socket in the map", error))?;
    let code = program::assemble(ours, map.as_raw_fd());
    let program = load(&code).map_err(|error| XdpError::Kernel("loading the program", error))?;
    let hang = |flags| {
        let link =
            LinkCreate { program: program.as_raw_fd() as u32, interface: index, attach: ATTACH_XDP, flags };
        // SAFETY: the structure has the fields that the command reads, and lives for the call.
        unsafe { bpf(LINK_CREATE, &link) }
    };
    let taken = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST));
    match hang(NATIVE) {
        Ok(link) => Ok(Attached { _link: link, native: true }),
        Err(error) if taken(&error) => Err(XdpError::Taken(name.into())),
        // Drivers without XDP refuse with one number or the other.
        Err(_) => match hang(GENERIC) {
            Ok(link) => Ok(Attached { _link: link, native: false }),
            Err(error) if taken(&error) => Err(XdpError::Taken(name.into())),
            Err(error) => Err(XdpError::Kernel("hanging the program on the interface", error)),
        },
    }
}

/// Loads a program; the verifier refuses it where it could read beyond a frame.
pub(crate) fn load(code: &[Instruction]) -> io::Result<OwnedFd> {
    let load = ProgramLoad {
        kind: PROGRAM_TYPE_XDP,
        instructions_len: code.len() as u32,
        instructions: code.as_ptr() as u64,
        licence: LICENCE.as_ptr() as u64,
        log_level: 0,
        log_len: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: NAME,
        interface: 0,
        attach: ATTACH_XDP,
    };
    // SAFETY: the structure has the fields that the command reads; instructions and licence live for the call.
    unsafe { bpf(PROGRAM_LOAD, &load) }
}

/// A command that answers with a new descriptor.
///
/// # Safety
/// `content` is laid out as the command reads it, and what it points to is alive and as long as it says.
unsafe fn bpf<T>(command: libc::c_int, content: &T) -> io::Result<OwnedFd> {
    // SAFETY: by the promise of the caller.
    let fd = unsafe { bpf_plain(command, content) }?;
    // SAFETY: the descriptor was just made and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A command that answers with a number.
///
/// # Safety
/// As for [`bpf`].
unsafe fn bpf_plain<T>(command: libc::c_int, content: &T) -> io::Result<libc::c_int> {
    // SAFETY: by the promise of the caller; the kernel reads no more than the size that is given.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(content), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
