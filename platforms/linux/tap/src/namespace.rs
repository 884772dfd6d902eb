//! Leaves the host's network for an empty one.

use crate::error::TapError;
use std::fs;
use std::io;

/// Moves the calling thread, and the threads it starts from now on, into a network namespace of their own. Sockets
/// opened before stay in the old one.
///
/// Root needs nothing else. Other users get a user namespace as well, in which they are root over the new network
/// only; the kernel allows that only while the process has a single thread, so this comes first in `main`.
pub fn enter() -> Result<(), TapError> {
    let (user, group) = ids();
    let Err(error) = unshare(libc::CLONE_NEWNET) else { return quiet() };
    if error.raw_os_error() != Some(libc::EPERM) {
        return Err(TapError::Namespace(error));
    }
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(TapError::Namespace)?;
    // user_namespaces(7): groups can be mapped by an ordinary user only when setgroups is given up first.
    fs::write("/proc/self/setgroups", "deny").map_err(TapError::Namespace)?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).map_err(TapError::Namespace)?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).map_err(TapError::Namespace)?;
    quiet()
}

/// Keeps the new network from speaking by itself: IPv6 neighbour discovery and multicast reports would be frames
/// that nobody asked for. A kernel without IPv6 has no such file, and then there is nothing to silence.
fn quiet() -> Result<(), TapError> {
    for scope in ["all", "default"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    Ok(())
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes no pointers; without CLONE_FILES it changes no descriptor that Rust code relies on.
    if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn ids() -> (u32, u32) {
    // SAFETY: geteuid and getegid have no arguments and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}
