//! What packetdrill hands over: pointers that are followed here and nowhere else.
//!
//! All of it rests on one promise, which C cannot write down and every function of the table asks for:
//!
//! - `userdata` is what the table holds, and `free` was not called. packetdrill joins its second thread before that.
//! - Another pointer is null, or good for what the call says, aligned as its type and filled with values of it, as the kernel
//!   would want it. Nobody else writes there while the call lasts, and what is written into does not overlap.

use crate::Shared;
use crate::world::Errno;
use libc::{c_int, c_void, iovec, sockaddr, sockaddr_in, socklen_t};
use std::net::Ipv4Addr;

/// Longest gather list that is believed.
const PARTS_MAX: usize = 1024;

/// What `packetdrill_interface_init` made.
///
/// # Safety
/// The table's promise; the reference ends with the call.
pub unsafe fn shared<'a>(userdata: *mut c_void) -> &'a Shared {
    // SAFETY: it is what was made, and is not freed before the call returns.
    unsafe { &*userdata.cast::<Shared>() }
}

/// Bytes of the caller's.
///
/// # Safety
/// The table's promise for so many bytes; the reference ends with the call.
pub unsafe fn bytes<'a>(from: *const c_void, len: usize) -> &'a [u8] {
    if from.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: so many bytes are there, and nobody writes there.
    unsafe { std::slice::from_raw_parts(from.cast(), len) }
}

/// Room of the caller's.
///
/// # Safety
/// The table's promise for so many values; the reference ends with the call.
pub unsafe fn room<'a, T>(to: *mut T, len: usize) -> &'a mut [T] {
    if to.is_null() || len == 0 {
        return &mut [];
    }
    // SAFETY: so many values are there, and nobody else looks there.
    unsafe { std::slice::from_raw_parts_mut(to, len) }
}

/// One value of the caller's.
///
/// # Safety
/// As for [`room`].
pub unsafe fn place<'a, T>(at: *mut T) -> Option<&'a mut T> {
    // SAFETY: the same promise.
    unsafe { room(at, 1) }.first_mut()
}

/// The pieces of a list, to be read.
///
/// # Safety
/// The table's promise for the list and for each piece; the references end with the call.
pub unsafe fn pieces<'a>(list: *const iovec, count: usize) -> Vec<&'a [u8]> {
    // SAFETY: the same promise; nothing is written into the list.
    let list = unsafe { room(list.cast_mut(), count.min(PARTS_MAX)) };
    // SAFETY: the same promise, for the piece.
    list.iter().map(|piece| unsafe { bytes(piece.iov_base, piece.iov_len) }).collect()
}

/// The pieces of a list, to be filled.
///
/// # Safety
/// As for [`pieces`].
pub unsafe fn rooms<'a>(list: *const iovec, count: usize) -> Vec<&'a mut [u8]> {
    // SAFETY: the same promise; nothing is written into the list.
    let list = unsafe { room(list.cast_mut(), count.min(PARTS_MAX)) };
    // SAFETY: the same promise, for the piece; no two of them overlap.
    list.iter().map(|piece| unsafe { room(piece.iov_base.cast(), piece.iov_len) }).collect()
}

/// An address of IPv4 and a port.
///
/// # Safety
/// The table's promise for so many bytes. The structure may stand anywhere.
pub unsafe fn address(at: *const sockaddr, len: socklen_t) -> Result<(Ipv4Addr, u16), Errno> {
    if at.is_null() || (len as usize) < size_of::<sockaddr_in>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: there are at least as many bytes as the structure has.
    let address = unsafe { at.cast::<sockaddr_in>().read_unaligned() };
    if i32::from(address.sin_family) != libc::AF_INET {
        return Err(libc::EAFNOSUPPORT);
    }
    Ok((Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)), u16::from_be(address.sin_port)))
}

/// Tells an address, where there is room for it.
///
/// # Safety
/// The table's promise for as many bytes as `len` points at, and for that. The structure may stand anywhere.
pub unsafe fn tell_address(at: *mut sockaddr, len: *mut socklen_t, (peer, port): (Ipv4Addr, u16)) {
    const LEN: usize = size_of::<sockaddr_in>();
    // SAFETY: the same promise.
    let Some(len) = unsafe { place(len) }.filter(|len| **len as usize >= LEN && !at.is_null()) else {
        return;
    };
    *len = LEN as socklen_t;
    let address = sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: peer.to_bits().to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: there is room for the structure, as was just seen.
    unsafe { at.cast::<sockaddr_in>().write_unaligned(address) };
}

/// The answer of a call: a number, or -1 and `errno`.
pub fn answer<T: TryInto<i64>>(result: Result<T, Errno>) -> i64 {
    match result {
        Ok(value) => value.try_into().unwrap_or(-1),
        Err(errno) => {
            // SAFETY: the address of this thread's `errno` is always good.
            unsafe { *libc::__errno_location() = errno };
            -1
        }
    }
}

/// The answer of a call that has no number to tell.
pub fn done(result: Result<(), Errno>) -> c_int {
    answer(result.map(|()| 0)) as c_int
}
