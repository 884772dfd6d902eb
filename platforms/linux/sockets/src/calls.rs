//! The calls that are taken over. Each looks whether the number is ours, and asks the C library otherwise.

mod bytes;
mod numbers;

use crate::listener::Listener;
use crate::private;
use crate::readiness::pair;
use crate::real::real;
use crate::socket::{Errno, Socket};
use crate::table::{self, Entry, Open};
use libc::{c_int, c_void, sockaddr, socklen_t};
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Says what went wrong the way the C library does.
fn fail(errno: Errno) -> c_int {
    // SAFETY: the place is this thread's own.
    unsafe { *libc::__errno_location() = errno.0 };
    -1
}

fn last() -> Errno {
    // SAFETY: as above.
    Errno(unsafe { *libc::__errno_location() })
}

fn waits(fd: RawFd) -> bool {
    // SAFETY: a plain call.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK == 0 }
}

/// Sleeps until the number is ready, as the kernel sees it.
fn wait(fd: RawFd, events: libc::c_short) -> Result<(), Errno> {
    let mut wanted = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: the list has one place and lives for the call.
    if unsafe { libc::poll(&raw mut wanted, 1, -1) } < 0 { Err(last()) } else { Ok(()) }
}

/// Tries until it is done, sleeping in between unless the program wants to do that itself.
fn until_done<T>(
    fd: RawFd,
    events: libc::c_short,
    waits: bool,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno(libc::EAGAIN)) if waits => wait(fd, events)?,
            done => return done,
        }
    }
}

/// The port of ours that an address names.
///
/// # Safety
/// The address must be as long as is said.
unsafe fn port_of_ours(address: *const sockaddr, len: socklen_t) -> Option<u16> {
    if address.is_null() || (len as usize) < size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: it is at least as long as this structure, of which every value is valid.
    let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    if address.sin_family != libc::AF_INET as libc::sa_family_t {
        return None;
    }
    let port = u16::from_be(address.sin_port);
    private()?.settings.ports.contains(&port).then_some(port)
}

/// Writes an address where the program wants it, cut to what it has room for.
///
/// # Safety
/// The places must be as the program's manual says: both null, or room and its length.
unsafe fn tell_address(ip: Ipv4Addr, port: u16, place: *mut sockaddr, len: *mut socklen_t) {
    if place.is_null() || len.is_null() {
        return;
    }
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    };
    let whole = size_of::<libc::sockaddr_in>();
    // SAFETY: the program says how much room there is, and no more than that is written.
    unsafe {
        let room = (len.read() as usize).min(whole);
        std::ptr::copy_nonoverlapping((&raw const address).cast::<u8>(), place.cast::<u8>(), room);
        len.write(whole as socklen_t);
    }
}

fn is_stream(fd: RawFd) -> bool {
    let (mut kind, mut len): (c_int, socklen_t) = (0, size_of::<c_int>() as socklen_t);
    let asked = real!(getsockopt, (c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
        (fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut len));
    asked == 0 && kind == libc::SOCK_STREAM
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the program says how long it is.
    let port = unsafe { port_of_ours(address, len) };
    match port {
        // The kernel does not learn of it: the port stays free there.
        Some(port) if is_stream(fd) => {
            if table::put(fd, Entry::Bound(port)) {
                0
            } else {
                fail(Errno(libc::EMFILE))
            }
        }
        _ => real!(bind, (c_int, *const sockaddr, socklen_t) -> c_int, (fd, address, len)),
    }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let entry = table::find(fd);
    if let Some(Entry::Listener(listener)) = &entry {
        listener.get().limit(backlog);
        return 0;
    }
    let (Some(Entry::Bound(port)), Some(private)) = (entry, private()) else {
        return real!(listen, (c_int, c_int) -> c_int, (fd, backlog));
    };
    // The number goes on as our end of a pair, with the flags that it had.
    // SAFETY: plain calls on the program's own number.
    let (state, on_exec) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
    let mut flags = if state & libc::O_NONBLOCK != 0 { libc::SOCK_NONBLOCK } else { 0 };
    if on_exec & libc::FD_CLOEXEC != 0 {
        flags |= libc::SOCK_CLOEXEC;
    }
    let (readiness, end) = match pair(flags) {
        Ok(made) => made,
        Err(error) => return fail(Errno(error.raw_os_error().unwrap_or(libc::ENFILE))),
    };
    let keep = if flags & libc::SOCK_CLOEXEC != 0 { libc::O_CLOEXEC } else { 0 };
    let moved = real!(dup3, (c_int, c_int, c_int) -> c_int, (end, fd, keep));
    real!(close, (c_int) -> c_int, (end));
    if moved < 0 {
        return -1;
    }
    let listener = Arc::new(Listener::new(port, backlog, readiness));
    table::put(fd, Entry::Listener(Arc::new(Open::new(Arc::clone(&listener), Arc::clone(&private.stack)))));
    private.stack.listen(listener);
    0
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the arguments are handed on.
    unsafe { accept4(fd, address, len, 0) }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(Entry::Listener(listener)) = table::find(fd) else {
        return real!(accept4, (c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int, (fd, address, len, flags));
    };
    let pop = || listener.get().pop().ok_or(Errno(libc::EAGAIN));
    let socket = match until_done(fd, libc::POLLIN, waits(fd), pop) {
        Ok(socket) => socket,
        Err(errno) => return fail(errno),
    };
    let (readiness, end) = match pair(flags) {
        Ok(made) => made,
        Err(error) => {
            // It waits until the program has a number for it, as in the kernel's queue.
            listener.get().put_back(socket);
            return fail(Errno(error.raw_os_error().unwrap_or(libc::ENFILE)));
        }
    };
    let open = Arc::new(Open::new(Arc::clone(&socket), Arc::clone(listener.stack())));
    if !table::put(end, Entry::Socket(open)) {
        real!(close, (c_int) -> c_int, (end));
        return fail(Errno(libc::EMFILE));
    }
    socket.accept(readiness);
    // SAFETY: the program's own places.
    unsafe { tell_address(socket.peer.unwrap_or(Ipv4Addr::UNSPECIFIED), 0, address, len) };
    end
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    match table::find(fd) {
        Some(Entry::Socket(open)) => {
            if how != libc::SHUT_RD && open.get().shut() {
                open.stack().look(open.get().id);
            }
            0
        }
        Some(_) => fail(Errno(libc::ENOTCONN)),
        None => real!(shutdown, (c_int, c_int) -> c_int, (fd, how)),
    }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    let (Some(entry), Some(private)) = (table::find(fd), private()) else {
        return real!(getsockname, (c_int, *mut sockaddr, *mut socklen_t) -> c_int, (fd, address, len));
    };
    let port = match entry {
        Entry::Bound(port) => port,
        Entry::Listener(open) => open.get().port,
        Entry::Socket(open) => open.get().port,
    };
    // SAFETY: the program's own places.
    unsafe { tell_address(private.settings.address.0, port, address, len) };
    0
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    match table::find(fd) {
        Some(Entry::Socket(open)) => {
            let peer = open.get().peer.unwrap_or(Ipv4Addr::UNSPECIFIED);
            // SAFETY: the program's own places.
            unsafe { tell_address(peer, 0, address, len) };
            0
        }
        Some(_) => fail(Errno(libc::ENOTCONN)),
        None => real!(getpeername, (c_int, *mut sockaddr, *mut socklen_t) -> c_int, (fd, address, len)),
    }
}

/// Options of TCP are taken and change nothing: the stack has knobs of its own.
///
/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    if level != libc::SOL_SOCKET && !matches!(table::find(fd), None | Some(Entry::Bound(_))) {
        return 0;
    }
    real!(setsockopt, (c_int, c_int, c_int, *const c_void, socklen_t) -> c_int, (fd, level, name, value, len))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let ours = !matches!(table::find(fd), None | Some(Entry::Bound(_)));
    // What the kernel says of the pair is right for its kind, its flags and its error, which is none.
    if ours && level != libc::SOL_SOCKET {
        // SAFETY: the program says how much room there is.
        unsafe {
            if value.is_null() || len.is_null() {
                return fail(Errno(libc::EFAULT));
            }
            std::ptr::write_bytes(value.cast::<u8>(), 0, len.read() as usize);
        }
        return 0;
    }
    real!(getsockopt, (c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int, (fd, level, name, value, len))
}

/// The connection behind a number.
fn connection(fd: RawFd) -> Option<Arc<Open<Socket>>> {
    match table::find(fd) {
        Some(Entry::Socket(open)) => Some(open),
        _ => None,
    }
}
