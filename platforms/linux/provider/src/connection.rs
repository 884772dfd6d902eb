//! A connection in its stages: name, address after address, TLS, open.

use crate::lookup::Lookup;
use crate::secure::{Heard, Secure, not_now};
use crate::trust::Trust;
use nom_feeds::http::{Host, Url};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Connection {
    stage: Stage,
    /// TLS, where the place asks for it.
    secure: Option<Secure>,
    unsent: Vec<u8>,
    /// There may be more bytes than the last turn had room for, though the kernel has none.
    more: bool,
}

#[derive(Debug)]
enum Stage {
    Naming(Lookup),
    Connecting {
        stream: TcpStream,
        others: VecDeque<SocketAddr>,
    },
    /// TCP is there; TLS shakes hands first, where there is TLS.
    Shaking(TcpStream),
    Open(TcpStream),
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection can be used now.
    Open,
    /// Bytes came.
    Bytes(usize),
    /// The connection is over.
    Over,
    /// The connection failed, and why.
    Failed(String),
}

impl Connection {
    /// Begins to connect. Without somebody to believe, TLS is refused.
    pub fn begin(url: &Url, trust: Option<&Trust>) -> Result<Self, String> {
        let name = url.host.to_string();
        let secure = match (url.secure, trust) {
            (false, _) => None,
            (true, Some(trust)) => Some(Secure::new(trust, &name)?),
            (true, None) => return Err(format!("nobody is believed who could vouch for {name}")),
        };
        let stage = match &url.host {
            Host::Address(address) => try_next(VecDeque::from([SocketAddr::from((*address, url.port))]))?,
            Host::Name(_) => Stage::Naming(
                Lookup::begin(name, url.port)
                    .map_err(|error| format!("no name can be looked up: {error}"))?,
            ),
        };
        Ok(Self { stage, secure, unsent: Vec::new(), more: false })
    }

    /// Sends these bytes when it can.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// What to sleep on. Nothing, when there is something to do at once.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if self.more {
            return None;
        }
        let wants_write = self.secure.as_ref().is_some_and(Secure::wants_write);
        Some(match &self.stage {
            Stage::Naming(lookup) => (lookup.as_fd(), PollFlags::IN),
            Stage::Connecting { stream, .. } => (stream.as_fd(), PollFlags::OUT),
            Stage::Shaking(stream) if wants_write => (stream.as_fd(), PollFlags::IN | PollFlags::OUT),
            Stage::Shaking(stream) => (stream.as_fd(), PollFlags::IN),
            Stage::Open(stream) if wants_write || !self.unsent.is_empty() => {
                (stream.as_fd(), PollFlags::IN | PollFlags::OUT)
            }
            Stage::Open(stream) => (stream.as_fd(), PollFlags::IN),
        })
    }

    /// Sleeps until there is something to do, at most so long, for whoever waits for nothing else.
    pub fn wait(&self, timeout: Duration) {
        if let Some((fd, flags)) = self.interest() {
            let timeout = Timespec {
                tv_sec: timeout.as_secs().min(3600) as i64,
                tv_nsec: i64::from(timeout.subsec_nanos()),
            };
            // An interrupted sleep is an early one.
            let _ = poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout));
        }
    }

    /// Does what can be done now.
    pub fn turn(&mut self, bytes: &mut [u8]) -> Option<Event> {
        match self.step(bytes) {
            Ok(event) => event,
            Err(why) => Some(Event::Failed(why)),
        }
    }

    fn step(&mut self, bytes: &mut [u8]) -> Result<Option<Event>, String> {
        match &mut self.stage {
            Stage::Naming(lookup) => {
                let Some(answer) = lookup.answer() else { return Ok(None) };
                self.stage = try_next(answer?.into())?;
                Ok(None)
            }
            Stage::Connecting { stream, others } => match stream.take_error() {
                Ok(None) if stream.peer_addr().is_ok() => {
                    let stream = stream.try_clone().map_err(|error| error.to_string())?;
                    self.stage =
                        if self.secure.is_some() { Stage::Shaking(stream) } else { Stage::Open(stream) };
                    match self.secure {
                        Some(_) => self.step(bytes),
                        None => Ok(Some(Event::Open)),
                    }
                }
                // It is still at it.
                Ok(None) => Ok(None),
                Ok(Some(error)) | Err(error) => {
                    if others.is_empty() {
                        return Err(error.to_string());
                    }
                    self.stage = try_next(std::mem::take(others))?;
                    Ok(None)
                }
            },
            Stage::Shaking(stream) => {
                let Some(secure) = &mut self.secure else { return Ok(None) };
                let heard = secure.turn(stream, bytes)?;
                if !secure.is_open() {
                    return Ok(None);
                }
                if heard != Heard::Nothing {
                    return Err("it speaks without being asked".into());
                }
                let stream = stream.try_clone().map_err(|error| error.to_string())?;
                self.stage = Stage::Open(stream);
                Ok(Some(Event::Open))
            }
            Stage::Open(stream) => match &mut self.secure {
                Some(secure) => {
                    if !self.unsent.is_empty() {
                        secure.send(&std::mem::take(&mut self.unsent))?;
                    }
                    let heard = secure.turn(stream, bytes)?;
                    self.more = matches!(heard, Heard::Bytes(_));
                    Ok(match heard {
                        Heard::Nothing => None,
                        Heard::Bytes(len) => Some(Event::Bytes(len)),
                        Heard::End => Some(Event::Over),
                    })
                }
                None => plain(stream, &mut self.unsent, bytes),
            },
        }
    }
}

/// The same without TLS.
fn plain(stream: &mut TcpStream, unsent: &mut Vec<u8>, bytes: &mut [u8]) -> Result<Option<Event>, String> {
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(len) => drop(unsent.drain(..len)),
            Err(error) if not_now(&error) => break,
            Err(_) => return Ok(Some(Event::Over)),
        }
    }
    Ok(match stream.read(bytes) {
        Ok(0) => Some(Event::Over),
        Ok(len) => Some(Event::Bytes(len)),
        Err(error) if not_now(&error) => None,
        Err(_) => Some(Event::Over),
    })
}

/// Begins to connect to the first of these that can be begun with.
fn try_next(mut addresses: VecDeque<SocketAddr>) -> Result<Stage, String> {
    let mut last = "it has no address".to_string();
    while let Some(address) = addresses.pop_front() {
        match begin(address) {
            Ok(stream) => return Ok(Stage::Connecting { stream, others: addresses }),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

fn begin(address: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}
