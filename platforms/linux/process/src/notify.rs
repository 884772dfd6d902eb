//! Tells the service manager how we are: systemd's `sd_notify` protocol, a datagram to the socket that
//! `NOTIFY_SOCKET` names. Without the variable nobody wants to know.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A manager that expects more than that asks for too much of a process that others interrupt.
const WATCHDOG_LEAST_NS: u64 = 100_000_000;

/// Where the manager listens, and what it expects.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Time between two signs of life; half of what the manager waits for one.
    every_ns: Option<u64>,
    next_ns: u64,
}

impl Notifier {
    /// Connects to what the environment names. Called before the host's network is left: an abstract name is only
    /// known there.
    pub fn from_environment() -> Result<Self, String> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self { socket: None, every_ns: None, next_ns: 0 });
        };
        let every_ns = watchdog_ns(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        )?
        .map(|limit_ns| limit_ns / 2);
        match connect(&name) {
            Ok(socket) => Ok(Self { socket: Some(socket), every_ns, next_ns: 0 }),
            Err(error) => Err(format!(
                "NOTIFY_SOCKET names {}, which cannot be used: {error}; unset it to start without a manager",
                name.display()
            )),
        }
    }

    /// Sends a state such as `READY=1`. A manager that does not take it is not waited for.
    pub fn say(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(state.as_bytes());
        }
    }

    /// A sign of life, when it is time for one. Called with each turn of the worker, so that one that hangs gives none.
    #[inline]
    pub fn is_alive(&mut self, now_ns: u64) {
        if let Some(every_ns) = self.every_ns
            && now_ns >= self.next_ns
        {
            self.next_ns = now_ns + every_ns;
            self.say("WATCHDOG=1");
        }
    }

    /// How long nobody may sleep because of that.
    pub fn sleep_max_ns(&self) -> u64 {
        self.every_ns.map_or(u64::MAX, |every_ns| every_ns / 2)
    }
}

/// After how long without a sign of life the manager takes this process for dead; nothing when it does not watch, or
/// watches another one. sd_watchdog_enabled(3).
fn watchdog_ns(limit_us: Option<&str>, watched: Option<&str>, own: u32) -> Result<Option<u64>, String> {
    let Some(text) = limit_us else { return Ok(None) };
    if watched.is_some_and(|watched| watched != own.to_string()) {
        return Ok(None);
    }
    let limit_ns = text.parse::<u64>().ok().and_then(|limit_us| limit_us.checked_mul(1_000));
    match limit_ns {
        Some(limit_ns @ WATCHDOG_LEAST_NS..) => Ok(Some(limit_ns)),
        _ => Err(format!("WATCHDOG_USEC is {text:?}; a number from 100000 (100 ms) on is expected")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_us_or_for_nobody() {
        assert_eq!(watchdog_ns(None, None, 7), Ok(None));
        assert_eq!(watchdog_ns(Some("3000000"), None, 7), Ok(Some(3_000_000_000)));
        assert_eq!(watchdog_ns(Some("3000000"), Some("7"), 7), Ok(Some(3_000_000_000)));
        assert_eq!(watchdog_ns(Some("3000000"), Some("8"), 7), Ok(None));
        for wrong in ["", "x", "-1", "99999", "99999999999999999999"] {
            assert!(watchdog_ns(Some(wrong), None, 7).is_err(), "{wrong}");
        }
    }
}
