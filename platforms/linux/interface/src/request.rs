//! The one form of asking the kernel about an interface, and what can go wrong.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Why an interface cannot be used.
#[derive(Debug)]
pub struct InterfaceError {
    /// The interface's name.
    pub name: String,
    /// What was asked for.
    pub step: &'static str,
    /// What the kernel answered.
    pub error: io::Error,
}

/// What a person lacks, where that is the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The interface is not there.
    Interface,
    /// The right to do it.
    Right,
}

impl InterfaceError {
    /// What is missing, if something is.
    pub fn missing(&self) -> Option<Missing> {
        match self.error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Some(Missing::Interface),
            Some(libc::EPERM | libc::EACCES) => Some(Missing::Right),
            _ => None,
        }
    }
}

impl fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, step, error } = self;
        match self.missing() {
            Some(Missing::Interface) => {
                write!(f, "there is no interface {name:?} here: `ip link` lists those that are")
            }
            Some(Missing::Right) => {
                write!(
                    f,
                    "interface {name:?}: {step}: {error}: run as root, or with the capability CAP_NET_ADMIN"
                )
            }
            None => write!(f, "interface {name:?}: {step}: {error}"),
        }
    }
}

impl std::error::Error for InterfaceError {}

/// A request about one interface.
pub(crate) struct Request<'a> {
    name: &'a str,
    socket: OwnedFd,
    pub(crate) content: libc::ifreq,
}

impl<'a> Request<'a> {
    pub(crate) fn new(name: &'a str) -> Result<Self, InterfaceError> {
        let refuse = |step, error| InterfaceError { name: name.into(), step, error };
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', ' ', '\0']) {
            return Err(refuse("naming it", io::ErrorKind::InvalidInput.into()));
        }
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(refuse("opening a control socket", io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: ifreq is a plain C structure for which all zeroes is a valid value.
        let mut content: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in content.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        Ok(Self { name, socket, content })
    }

    /// Asks. `content` holds the answer afterwards.
    pub(crate) fn ask(&mut self, what: libc::Ioctl, step: &'static str) -> Result<(), InterfaceError> {
        // SAFETY: every request asked here reads and writes one ifreq, which is borrowed mutably for the call. Where
        // that one points elsewhere (ethtool), `ask_ethtool` lends what it points to.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), what, std::ptr::from_mut(&mut self.content)) };
        if result == 0 { Ok(()) } else { Err(self.refused(step)) }
    }

    /// Asks ethtool's way: the answer is written over `words`, whose first is the command. `words` is as large as the
    /// command's structure, which the caller says by choosing it.
    pub(crate) fn ask_ethtool<const N: usize>(
        &mut self,
        words: &mut [u32; N],
        step: &'static str,
    ) -> Result<(), InterfaceError> {
        self.content.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        self.ask(SIOCETHTOOL, step)
    }

    /// Adds a neighbour.
    pub(crate) fn tell_neighbour(&self, entry: &libc::arpreq) -> Result<(), InterfaceError> {
        // SAFETY: the request reads one arpreq, which is borrowed for the call.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCSARP, std::ptr::from_ref(entry)) };
        if result == 0 { Ok(()) } else { Err(self.refused("adding a neighbour")) }
    }

    fn refused(&self, step: &'static str) -> InterfaceError {
        InterfaceError { name: self.name.into(), step, error: io::Error::last_os_error() }
    }
}

/// `linux/sockios.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
