//! Waits for many sockets at once: epoll, level-triggered.

use crate::plan::LoadError;
use rustix::event::{Timespec, epoll};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

/// Events taken in one wait; more wait for the next.
const EVENTS_MAX: usize = 256;

/// Lets this process have as many descriptors as the system allows it. Where that is too few, opening says so.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// Lets this thread wake when it asked to: the system may otherwise be late by 50 us to save wake-ups, and requests
/// that are sent late look like late answers. Where it is refused, latencies are that much longer.
pub(crate) fn wake_on_time() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// The sockets of one thread.
pub(crate) struct Waiter {
    epoll: OwnedFd,
}

/// Room for the events of one wait. It stays on the thread that waits.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_MAX))
    }
}

impl Waiter {
    pub(crate) fn new() -> Result<Self, LoadError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| LoadError::System("epoll_create", error.into()))?;
        Ok(Self { epoll })
    }

    /// Starts to watch a socket for reading.
    pub(crate) fn add(&self, stream: &TcpStream, name: usize) -> Result<(), LoadError> {
        epoll::add(&self.epoll, stream, epoll::EventData::new_u64(name as u64), epoll::EventFlags::IN)
            .map_err(|error| LoadError::System("epoll_ctl", error.into()))
    }

    /// Watches for room to write as well, or no longer. A closed socket is nobody's error here.
    pub(crate) fn want_write(&self, stream: &TcpStream, name: usize, want: bool) {
        let flags = if want { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        let _ = epoll::modify(&self.epoll, stream, epoll::EventData::new_u64(name as u64), flags);
    }

    /// Watches no longer: a socket that ended would be ready again and again.
    pub(crate) fn remove(&self, stream: &TcpStream) {
        let _ = epoll::delete(&self.epoll, stream);
    }

    /// Waits at most this long and names the sockets that are ready.
    pub(crate) fn wait(&self, events: &mut Events, timeout_ns: u64, ready: &mut Vec<usize>) {
        ready.clear();
        events.0.clear();
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        // An interrupted wait is an early one: the caller looks at the time again anyway.
        if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events.0), Some(&timeout)).is_ok() {
            ready.extend(events.0.iter().map(|event| event.data.u64() as usize));
        }
    }
}
