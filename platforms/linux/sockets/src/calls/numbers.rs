//! Calls that make and end numbers.

use super::fail;
use crate::real::real;
use crate::socket::Errno;
use crate::table;
use libc::{c_int, c_uint, c_ulong};

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    // Out of the table first: a moment later the number may be somebody else's.
    let entry = table::take(fd);
    let closed = real!(close, (c_int) -> c_int, (fd));
    drop(entry);
    closed
}

/// The new number stands for the same.
fn same(fd: c_int, new: c_int) -> c_int {
    if new < 0 || new == fd {
        return new;
    }
    drop(table::take(new));
    if let Some(entry) = table::find(fd)
        && !table::put(new, entry)
    {
        real!(close, (c_int) -> c_int, (new));
        return fail(Errno(libc::EMFILE));
    }
    new
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    same(fd, real!(dup, (c_int) -> c_int, (fd)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(fd: c_int, new: c_int) -> c_int {
    same(fd, real!(dup2, (c_int, c_int) -> c_int, (fd, new)))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(fd: c_int, new: c_int, flags: c_int) -> c_int {
    same(fd, real!(dup3, (c_int, c_int, c_int) -> c_int, (fd, new, flags)))
}

/// The third argument is a number or a pointer and comes in the same register either way, as it does for a function with
/// any number of arguments.
///
/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, what: c_int, argument: c_ulong) -> c_int {
    let answer = real!(fcntl, (c_int, c_int, c_ulong) -> c_int, (fd, what, argument));
    if matches!(what, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) { same(fd, answer) } else { answer }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl64(fd: c_int, what: c_int, argument: c_ulong) -> c_int {
    // SAFETY: handed on.
    unsafe { fcntl(fd, what, argument) }
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, what: c_ulong, argument: *mut c_int) -> c_int {
    if what == libc::FIONREAD
        && let Some(open) = super::connection(fd)
    {
        // SAFETY: this request writes one int at the program's own place.
        unsafe { argument.write(c_int::try_from(open.get().readable()).unwrap_or(c_int::MAX)) };
        return 0;
    }
    real!(ioctl, (c_int, c_ulong, *mut c_int) -> c_int, (fd, what, argument))
}

/// # Safety
/// As in the manual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if flags == 0 {
        let last = last.min(c_uint::from(u16::MAX));
        (first..=last).for_each(|fd| drop(table::take(fd as c_int)));
    }
    real!(close_range, (c_uint, c_uint, c_int) -> c_int, (first, last, flags))
}
