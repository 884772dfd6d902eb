//! What can go wrong, and what a person can do about it.

use nom_linux_interface::InterfaceError;
use std::fmt;
use std::io;

/// Why a socket cannot be had.
#[derive(Debug)]
pub enum XdpError {
    /// The interface is not there, or not as needed.
    Interface(InterfaceError),
    /// The interface is down.
    Down(String),
    /// Its frames are too large for one buffer.
    Mtu(String, usize, usize),
    /// Frames arrive in several queues, of which we would see one.
    Queues(String, u32),
    /// The queue is not there.
    NoQueue(String, u32, u32),
    /// Another program hangs on the interface.
    Taken(String),
    /// The kernel does not let this process, or has no AF_XDP.
    Kernel(&'static str, io::Error),
}

impl From<InterfaceError> for XdpError {
    fn from(error: InterfaceError) -> Self {
        Self::Interface(error)
    }
}

impl XdpError {
    /// This machine or this user lacks what it takes; the configuration is not to blame.
    pub fn is_missing_right(&self) -> bool {
        match self {
            Self::Kernel(_, error) => matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EAFNOSUPPORT)
            ),
            Self::Interface(error) => error.missing() == Some(nom_linux_interface::Missing::Right),
            _ => false,
        }
    }
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(error) => error.fmt(f),
            Self::Down(name) => write!(f, "interface {name:?} is down: `ip link set {name} up`"),
            Self::Mtu(name, mtu, most) => write!(
                f,
                "interface {name:?} has an MTU of {mtu}, AF_XDP takes {most}: `ip link set {name} mtu 1500`"
            ),
            Self::Queues(name, queues) => write!(
                f,
                "interface {name:?} spreads frames over {queues} queues and one is served: \
                 `ethtool -L {name} combined 1`, or steer the frames and name the queue"
            ),
            Self::NoQueue(name, queue, queues) => {
                write!(f, "interface {name:?} has {queues} queues, counted from 0: there is no queue {queue}")
            }
            Self::Taken(name) => write!(
                f,
                "another XDP program hangs on {name:?} (is this service running already?): `ip link show {name}` \
                 names it"
            ),
            Self::Kernel(step, error) => {
                write!(f, "AF_XDP: {step}: {error}")?;
                match error.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) => f.write_str(
                        ": run as root, or with the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
                    ),
                    Some(libc::ENOBUFS | libc::ENOMEM) => {
                        f.write_str(": raise the limit of locked memory (ulimit -l)")
                    }
                    Some(libc::EAFNOSUPPORT | libc::ENOSYS) => {
                        f.write_str(": this kernel has no AF_XDP: use network = packet or tap")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for XdpError {}
