//! What can go wrong when a process moves into its own network: one line each, saying what to do.

use std::fmt;
use std::io;

/// Why the process has no network of its own.
#[derive(Debug)]
pub enum TapError {
    /// Neither root nor user namespaces.
    Namespace(io::Error),
    /// `/dev/net/tun` cannot be opened.
    NoTun(io::Error),
    /// The device exists, but a step of its configuration failed.
    Configure(&'static str, io::Error),
    /// The port on the host's loopback is taken, or may not be used.
    Port(u16, io::Error),
    /// A thread or descriptor for the porch is missing.
    Porch(&'static str, io::Error),
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(error) => write!(
                f,
                "no network namespace of our own ({error}): run as root, or allow user namespaces \
                 (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0)"
            ),
            Self::NoTun(error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "/dev/net/tun does not exist: load the kernel's tun module (modprobe tun)")
            }
            Self::NoTun(error) => {
                write!(
                    f,
                    "/dev/net/tun cannot be opened ({error}): run as root, or give this user access to it"
                )
            }
            Self::Configure(step, error) => write!(f, "the TAP device cannot be set up: {step}: {error}"),
            Self::Port(port, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {port} of 127.0.0.1 is in use: stop what listens there or choose another port"
                )
            }
            Self::Port(port, error) => write!(f, "port {port} of 127.0.0.1 cannot be used: {error}"),
            Self::Porch(step, error) => write!(f, "the listener on the host cannot work: {step}: {error}"),
        }
    }
}

impl std::error::Error for TapError {}
