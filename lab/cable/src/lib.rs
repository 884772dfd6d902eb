//! Two networks and a cable between them: a private stack at one end, Linux's own at the other.
//!
//! ```text
//!   network "server"                        network "client"
//!   private stack 10.99.0.2 on nom-s  =====  nom-c 10.99.0.1, Linux
//! ```
//! The networks live as long as the [`Cable`], the threads and the processes in them. Everything ends with those: a
//! test that is killed leaves nothing.

#![forbid(unsafe_code)]

mod asker;
mod linux_echo;
mod peer;
mod running;
mod serve;

pub use asker::{Answered, ask, stream};
pub use linux_echo::serve_linux;
pub use peer::{exchange, rounds};
pub use running::{Opened, OrSkipped, Refused, Running};
pub use serve::{PORT, serve};

use nom_linux_interface::{Interface, InterfaceError, veth};
use nom_tap::namespace;
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};

/// The interface at the server's end.
pub const SERVER: &str = "nom-s";
/// The interface at the client's end.
pub const CLIENT: &str = "nom-c";
/// An address that only a private stack at the server's end has.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The address of the server's kernel, where one is given.
pub const SERVER_KERNEL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
/// The address of the client's kernel.
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// How many leading bits are the cable's.
pub const PREFIX_LEN: u8 = 24;

/// One end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where the private stack is.
    Server,
    /// Where its clients are.
    Client,
}

/// The cable.
#[derive(Debug)]
pub struct Cable {
    server: File,
    client: File,
}

impl Cable {
    /// For tests: `None`, and a line that says so, when this machine does not let us.
    pub fn try_lay() -> Option<Self> {
        Self::lay().map_err(|what| println!("SKIPPED: {what}")).ok()
    }

    /// Runs as many clients at the client's end, all together, until all have ended.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn clients(&self, count: usize, act: impl Fn() + Clone + Send + 'static) {
        let client = || self.spawn(End::Client, None, act.clone()).expect("the network is there");
        let all: Vec<_> = (0..count).map(|_| client()).collect();
        for client in all {
            if let Err(panic) = client.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Makes two networks and lays a cable. The error is a line for a person: the right is missing.
    pub fn lay() -> Result<Self, String> {
        let cable = Self::lay_plain()?;
        cable.set_up(End::Client, |_| veth::address(CLIENT, CLIENT_ADDRESS, PREFIX_LEN))?;
        Ok(cable)
    }

    /// The same cable with nobody at the client's end.
    pub fn lay_plain() -> Result<Self, String> {
        let cable = Self::without()?;
        cable.set_up(End::Client, |cable| {
            veth::create(CLIENT, SERVER, cable.server.as_fd())?;
            veth::up(CLIENT)?;
            veth::up("lo")
        })?;
        cable.set_up(End::Server, |_| {
            veth::address(SERVER, SERVER_KERNEL, PREFIX_LEN)?;
            veth::up("lo")
        })?;
        Ok(cable)
    }

    /// Two networks without anything between them.
    pub fn without() -> Result<Self, String> {
        let network = || {
            let made = thread::spawn(|| {
                namespace::enter().map_err(|error| error.to_string())?;
                File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())
            });
            made.join().unwrap_or_else(|_| Err("the thread that made a network failed".into()))
        };
        Ok(Self { server: network()?, client: network()? })
    }

    fn set_up(
        &self,
        end: End,
        act: impl FnOnce(&Self) -> Result<(), InterfaceError> + Send,
    ) -> Result<(), String> {
        thread::scope(|scope| {
            let done = scope.spawn(|| {
                self.enter(end)?;
                act(self).map_err(|error| error.to_string())
            });
            done.join().unwrap_or_else(|_| Err("the thread that set a network up failed".into()))
        })
    }

    /// Moves the calling thread, and the processes that it starts from now on, to an end.
    pub fn enter(&self, end: End) -> Result<(), String> {
        let network = match end {
            End::Server => &self.server,
            End::Client => &self.client,
        };
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| format!("cannot enter a network: {error}: run as root"))
    }

    /// The same cable, for another thread.
    pub fn copy(&self) -> Result<Self, String> {
        let copy = |file: &File| file.try_clone().map_err(|error| error.to_string());
        Ok(Self { server: copy(&self.server)?, client: copy(&self.client)? })
    }

    /// Runs something at an end, on one processor if one is named.
    pub fn spawn<T: Send + 'static>(
        &self,
        end: End,
        processor: Option<usize>,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, String> {
        let cable = self.copy()?;
        let (say, heard) = std::sync::mpsc::channel();
        let handle = thread::spawn(move || {
            let ready = cable.enter(end).and_then(|()| processor.map_or(Ok(()), pin));
            let go = ready.is_ok();
            let _ = say.send(ready);
            go.then(act)
        });
        match heard.recv() {
            Ok(Ok(())) => Ok(thread::spawn(move || match handle.join() {
                Ok(result) => result.expect("the thread went on"),
                Err(panic) => std::panic::resume_unwind(panic),
            })),
            Ok(Err(what)) => Err(what),
            Err(_) => Err("the thread ended before it began".into()),
        }
    }

    /// What the interface at an end is.
    pub fn interface(&self, end: End) -> Result<Interface, String> {
        let name = match end {
            End::Server => SERVER,
            End::Client => CLIENT,
        };
        thread::scope(|scope| {
            let found = scope.spawn(|| {
                self.enter(end)?;
                Interface::find(name).map_err(|error| error.to_string())
            });
            found.join().unwrap_or_else(|_| Err("the thread that looked failed".into()))
        })
    }
}

/// Keeps the calling thread, and the processes that it starts, on one processor.
pub fn pin(processor: usize) -> Result<(), String> {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).map_err(|error| format!("cannot stay on processor {processor}: {error}"))
}
