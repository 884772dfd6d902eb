//! What can go wrong, and what a person can do about it.

use nom_linux_interface::{InterfaceError, Missing};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;

/// Why a socket cannot be had.
#[derive(Debug)]
pub enum PacketError {
    /// The interface is not there, or not as needed.
    Interface(InterfaceError),
    /// The interface is down.
    Down(String),
    /// The kernel answers for the address itself, and would reset our connections.
    Address(Ipv4Addr),
    /// The kernel does not let this process.
    Kernel(&'static str, io::Error),
}

impl From<InterfaceError> for PacketError {
    fn from(error: InterfaceError) -> Self {
        Self::Interface(error)
    }
}

impl PacketError {
    /// This machine or this user lacks what it takes; the configuration is not to blame.
    pub fn is_missing_right(&self) -> bool {
        match self {
            Self::Kernel(_, error) => {
                matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT))
            }
            Self::Interface(error) => error.missing() == Some(Missing::Right),
            _ => false,
        }
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(error) => error.fmt(f),
            Self::Down(name) => write!(f, "interface {name:?} is down: `ip link set {name} up`"),
            Self::Address(address) => write!(
                f,
                "the kernel has the address {address} itself and would reset our connections: choose one that nobody \
                 has, or network = xdp"
            ),
            Self::Kernel(step, error) => {
                write!(f, "AF_PACKET: {step}: {error}")?;
                match error.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) => {
                        f.write_str(": run as root, or with the capability CAP_NET_RAW")
                    }
                    Some(libc::EAFNOSUPPORT) => {
                        f.write_str(": this kernel has no AF_PACKET: use network = tap")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for PacketError {}
