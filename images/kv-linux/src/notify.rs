//! Tells the service manager how we are: systemd's `sd_notify` protocol, a datagram to the socket that
//! `NOTIFY_SOCKET` names. Without the variable nobody wants to know.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the manager listens.
#[derive(Debug)]
pub struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// Connects to what the environment names. Called before the host's network is left: an abstract name is only
    /// known there.
    pub fn from_environment() -> Result<Self, String> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(Self(None)) };
        match connect(&name) {
            Ok(socket) => Ok(Self(Some(socket))),
            Err(error) => Err(format!(
                "NOTIFY_SOCKET names {}, which cannot be used: {error}; unset it to start without a manager",
                name.display()
            )),
        }
    }

    /// Sends a state such as `READY=1`. A manager that does not take it is not waited for.
    pub fn say(&self, state: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(state.as_bytes());
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it begins with neither / nor @")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
