//! A port that a program listens to: the connections that it has not accepted yet.

use crate::readiness::Readiness;
use crate::socket::Socket;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that wait to be accepted. Further ones are reset.
const BACKLOG_MAX: usize = 4096;
/// Places that there are in any case. Whoever finds none in the kernel's queue is not answered and tries again; here he is
/// reset, so a program that says 5, as many do, means more than that.
const BACKLOG_LEAST: usize = 128;

/// See the module.
#[derive(Debug)]
pub struct Listener {
    /// The port.
    pub port: u16,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Arc<Socket>>,
    limit: usize,
    readiness: Readiness,
}

impl Listener {
    /// With room for so many connections.
    pub fn new(port: u16, backlog: libc::c_int, readiness: Readiness) -> Self {
        let state = State { waiting: VecDeque::new(), limit: places(backlog), readiness };
        Self { port, state: Mutex::new(state) }
    }

    /// Has room for so many connections from now on.
    pub fn limit(&self, backlog: libc::c_int) {
        self.state().limit = places(backlog);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more connection. False when there is no place for it.
    pub fn push(&self, socket: Arc<Socket>) -> bool {
        let mut state = self.state();
        if state.waiting.len() >= state.limit {
            return false;
        }
        state.waiting.push_back(socket);
        state.readiness.set_readable();
        true
    }

    /// The connection that waits longest.
    pub fn pop(&self) -> Option<Arc<Socket>> {
        let mut state = self.state();
        let socket = state.waiting.pop_front();
        if state.waiting.is_empty() {
            state.readiness.clear_readable();
        }
        socket
    }

    /// The one that [`Listener::pop`] gave could not be accepted: it waits again, before all others.
    pub fn put_back(&self, socket: Arc<Socket>) {
        let mut state = self.state();
        state.waiting.push_front(socket);
        state.readiness.set_readable();
    }
}

/// What a program says, within our bounds.
fn places(backlog: libc::c_int) -> usize {
    usize::try_from(backlog).unwrap_or(0).clamp(BACKLOG_LEAST, BACKLOG_MAX)
}
