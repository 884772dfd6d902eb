//! Calls that move bytes.

use super::{connection, fail, until_done, waits};
use crate::real::real;
use crate::socket::{Errno, Socket};
use crate::table::Open;
use libc::{c_int, c_void, iovec, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t};
use std::slice;

/// Places of one call.
const PLACES_MAX: usize = 1024;
/// Bytes of a file that are sent at once.
const FILE_CHUNK: usize = 64 << 10;

fn count(result: Result<usize, Errno>) -> ssize_t {
    match result {
        Ok(len) => len as ssize_t,
        Err(errno) => fail(errno) as ssize_t,
    }
}

fn read_into(fd: c_int, open: &Open<Socket>, places: &mut [&mut [u8]], flags: c_int) -> Result<usize, Errno> {
    let (peek, all) = (flags & libc::MSG_PEEK != 0, flags & libc::MSG_WAITALL != 0);
    let waits = flags & libc::MSG_DONTWAIT == 0 && waits(fd);
    if places.iter().all(|place| place.is_empty()) {
        return Ok(0);
    }
    let one = |places: &mut [&mut [u8]]| {
        until_done(fd, libc::POLLIN, waits, || {
            let (len, touch) = open.get().read(places, peek)?;
            if touch {
                open.stack().look(open.get().id);
            }
            Ok(len)
        })
    };
    let first = one(places)?;
    let [place] = places else { return Ok(first) };
    let mut len = first;
    // Whatever happens after the first bytes is told with the next call.
    while all && !peek && len < place.len() {
        match one(&mut [&mut place[len..]]) {
            Ok(0) | Err(_) => break,
            Ok(more) => len += more,
        }
    }
    Ok(len)
}

fn write_from(fd: c_int, open: &Open<Socket>, places: &[&[u8]], flags: c_int) -> Result<usize, Errno> {
    let waits = flags & libc::MSG_DONTWAIT == 0 && waits(fd);
    let mut total = 0;
    for place in places {
        let mut rest = *place;
        while !rest.is_empty() {
            let sent = until_done(fd, libc::POLLOUT, waits, || {
                let (len, touch) = open.get().write(&[rest])?;
                if touch {
                    open.stack().look(open.get().id);
                }
                Ok(len)
            });
            match sent {
                Ok(len) => {
                    total += len;
                    rest = &rest[len..];
                }
                Err(_) if total > 0 => return Ok(total),
                Err(errno) => {
                    if errno.0 == libc::EPIPE && flags & libc::MSG_NOSIGNAL == 0 {
                        // SAFETY: a plain call, as the kernel would make it.
                        unsafe { libc::raise(libc::SIGPIPE) };
                    }
                    return Err(errno);
                }
            }
        }
    }
    Ok(total)
}

/// # Safety
/// The pieces must be as the program's manual says.
unsafe fn readers<'a>(pieces: *const iovec, count: usize) -> Result<Vec<&'a mut [u8]>, Errno> {
    if count > PLACES_MAX || (pieces.is_null() && count > 0) {
        return Err(Errno(libc::EINVAL));
    }
    let piece = |number| {
        // SAFETY: the program says how many there are, and that each has so many bytes, which are its own.
        unsafe {
            let piece = pieces.add(number).read();
            match piece.iov_len {
                0 => &mut [][..],
                len => slice::from_raw_parts_mut(piece.iov_base.cast(), len),
            }
        }
    };
    Ok((0..count).map(piece).collect())
}

/// # Safety
/// As for [`readers`].
unsafe fn writers<'a>(pieces: *const iovec, count: usize) -> Result<Vec<&'a [u8]>, Errno> {
    if count > PLACES_MAX || (pieces.is_null() && count > 0) {
        return Err(Errno(libc::EINVAL));
    }
    let piece = |number| {
        // SAFETY: as in `readers`.
        unsafe {
            let piece = pieces.add(number).read();
            match piece.iov_len {
                0 => &[][..],
                len => slice::from_raw_parts(piece.iov_base.cast_const().cast(), len),
            }
        }
    };
    Ok((0..count).map(piece).collect())
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, place: *mut c_void, len: size_t) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(read, (c_int, *mut c_void, size_t) -> ssize_t, (fd, place, len));
    };
    let piece = iovec { iov_base: place, iov_len: len };
    // SAFETY: the program's own place.
    count(unsafe { readers(&raw const piece, 1) }.and_then(|mut places| read_into(fd, &open, &mut places, 0)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, pieces: *const iovec, number: c_int) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(readv, (c_int, *const iovec, c_int) -> ssize_t, (fd, pieces, number));
    };
    // SAFETY: the program's own places; a negative count becomes one that is refused.
    let places = unsafe { readers(pieces, number as usize) };
    count(places.and_then(|mut places| read_into(fd, &open, &mut places, 0)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, place: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(recv, (c_int, *mut c_void, size_t, c_int) -> ssize_t, (fd, place, len, flags));
    };
    let piece = iovec { iov_base: place, iov_len: len };
    // SAFETY: the program's own place.
    let places = unsafe { readers(&raw const piece, 1) };
    count(places.and_then(|mut places| read_into(fd, &open, &mut places, flags)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    place: *mut c_void,
    len: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    if connection(fd).is_none() {
        return real!(
            recvfrom, (c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t,
            (fd, place, len, flags, address, address_len)
        );
    }
    if !address_len.is_null() {
        // SAFETY: the program's own place. Connections have no address with each piece.
        unsafe { address_len.write(0) };
    }
    // SAFETY: handed on.
    unsafe { recv(fd, place, len, flags) }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(recvmsg, (c_int, *mut msghdr, c_int) -> ssize_t, (fd, message, flags));
    };
    // SAFETY: the program's own message.
    let places = unsafe {
        (*message).msg_namelen = 0;
        (*message).msg_controllen = 0;
        (*message).msg_flags = 0;
        readers((*message).msg_iov, (*message).msg_iovlen)
    };
    count(places.and_then(|mut places| read_into(fd, &open, &mut places, flags)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(write, (c_int, *const c_void, size_t) -> ssize_t, (fd, bytes, len));
    };
    let piece = iovec { iov_base: bytes.cast_mut(), iov_len: len };
    // SAFETY: the program's own bytes, which are only read.
    count(unsafe { writers(&raw const piece, 1) }.and_then(|places| write_from(fd, &open, &places, 0)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, pieces: *const iovec, number: c_int) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(writev, (c_int, *const iovec, c_int) -> ssize_t, (fd, pieces, number));
    };
    // SAFETY: as in `readv`.
    let places = unsafe { writers(pieces, number as usize) };
    count(places.and_then(|places| write_from(fd, &open, &places, 0)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(send, (c_int, *const c_void, size_t, c_int) -> ssize_t, (fd, bytes, len, flags));
    };
    let piece = iovec { iov_base: bytes.cast_mut(), iov_len: len };
    // SAFETY: as in `write`.
    let places = unsafe { writers(&raw const piece, 1) };
    count(places.and_then(|places| write_from(fd, &open, &places, flags)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> ssize_t {
    if connection(fd).is_none() {
        return real!(
            sendto, (c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t,
            (fd, bytes, len, flags, address, address_len)
        );
    }
    // SAFETY: handed on.
    unsafe { send(fd, bytes, len, flags) }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(sendmsg, (c_int, *const msghdr, c_int) -> ssize_t, (fd, message, flags));
    };
    // SAFETY: the program's own message.
    let places = unsafe { writers((*message).msg_iov, (*message).msg_iovlen) };
    count(places.and_then(|places| write_from(fd, &open, &places, flags)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(fd: c_int, file: c_int, offset: *mut off_t, len: size_t) -> ssize_t {
    let Some(open) = connection(fd) else {
        return real!(sendfile, (c_int, c_int, *mut off_t, size_t) -> ssize_t, (fd, file, offset, len));
    };
    let mut chunk = vec![0u8; len.min(FILE_CHUNK)];
    // SAFETY: the bytes are read to a place of our own; the offset is the program's own place, or there is none.
    let read = unsafe {
        if offset.is_null() {
            let at = libc::lseek(file, 0, libc::SEEK_CUR);
            libc::pread(file, chunk.as_mut_ptr().cast(), chunk.len(), at)
        } else {
            libc::pread(file, chunk.as_mut_ptr().cast(), chunk.len(), offset.read())
        }
    };
    let Ok(read) = usize::try_from(read) else { return -1 };
    if read == 0 {
        return 0;
    }
    let sent = count(write_from(fd, &open, &[&chunk[..read]], 0));
    if sent > 0 {
        // SAFETY: as above.
        unsafe {
            if offset.is_null() {
                libc::lseek(file, sent as off_t, libc::SEEK_CUR);
            } else {
                offset.write(offset.read() + sent as off_t);
            }
        }
    }
    sent
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(fd: c_int, file: c_int, offset: *mut off_t, len: size_t) -> ssize_t {
    // SAFETY: handed on; both kinds of offset have 64 bits here.
    unsafe { sendfile(fd, file, offset, len) }
}

/// What hardened programs call instead of `read`: with the room at the place, too.
///
/// # Safety
/// As for `read`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(fd: c_int, place: *mut c_void, len: size_t, room: size_t) -> ssize_t {
    assert!(len <= room, "a program reads {len} bytes to a place of {room}");
    // SAFETY: handed on.
    unsafe { read(fd, place, len) }
}

/// As above, instead of `recv`.
///
/// # Safety
/// As for `recv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    place: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    assert!(len <= room, "a program reads {len} bytes to a place of {room}");
    // SAFETY: handed on.
    unsafe { recv(fd, place, len, flags) }
}
