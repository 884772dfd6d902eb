//! The stack behind packetdrill's C interface (`packetdrill.h`), on virtual time.
//!
//! packetdrill loads this with `--so_filename`, calls its functions where it would call the kernel, hands over packets
//! of IP and asks for those that left. Time passes here, when it waits: nothing depends on how fast this machine is.
//!
//! Calls that block come from a second thread of packetdrill's. Such a call waits until the first thread has let enough
//! time pass; and the first one goes on only when the second has noted the time at which its call returned.
//!
//! ```text
//!   packetdrill  ->  calls.rs: C types  ->  lib.rs: blocking  ->  world.rs: sockets by number, the time  ->  the stack
//! ```

mod caller;
mod calls;
mod device;
mod interface;
mod sockets;
mod world;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;
use world::{Errno, World};

/// How long is waited on the clock of the wall for the other thread. Only a fault makes it so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The world, and who waits for it.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// packetdrill's first thread: the one for which time passes.
    first: ThreadId,
}

struct State {
    world: World,
    /// Calls of other threads that wait for something to happen, how many of them have not looked since it did, and those
    /// that return and have not asked for the time yet.
    waiting: usize,
    unlooked: usize,
    returning: usize,
}

impl Shared {
    fn new(flags: &str) -> Self {
        let state = State { world: World::new(flags), waiting: 0, unlooked: 0, returning: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), first: thread::current().id() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the waiting calls look at what happened, and waits for those that return.
    fn tell<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.waiting == 0 && state.returning == 0 {
            return state;
        }
        state.unlooked = state.waiting;
        self.changed.notify_all();
        let waited =
            self.changed.wait_timeout_while(state, PATIENCE, |state| state.unlooked + state.returning > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lets time pass until a moment.
    fn pass(&self, until_ns: u64) {
        let mut state = self.lock();
        loop {
            let more = state.world.advance(until_ns);
            state = self.tell(state);
            if !more {
                return;
            }
        }
    }

    /// Asks again and again until there is an answer or the time is over. The first thread lets the time pass by itself.
    fn wait<R>(&self, end_ns: Option<u64>, mut ask: impl FnMut(&mut World) -> Option<R>) -> Option<R> {
        let mut state = self.lock();
        let last_ns = end_ns.unwrap_or_else(|| state.world.wait_end_ns());
        if let Some(answer) = ask(&mut state.world) {
            return Some(answer);
        }
        if thread::current().id() == self.first {
            while state.world.advance(last_ns) {
                if let Some(answer) = ask(&mut state.world) {
                    return Some(answer);
                }
            }
            return ask(&mut state.world);
        }
        state.waiting += 1;
        loop {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            if state.unlooked == 0 {
                continue;
            }
            let answer = ask(&mut state.world);
            let over = state.world.now_ns() >= last_ns;
            state.unlooked -= 1;
            if answer.is_some() || over {
                state.waiting -= 1;
                state.returning += 1;
            }
            self.changed.notify_all();
            if answer.is_some() || over {
                return answer;
            }
            while state.unlooked > 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The time. A call that returned is done with that; and whoever only looks at the clock sees it go on.
    fn clock_us(&self) -> i64 {
        let mut state = self.lock();
        if state.returning > 0 && thread::current().id() != self.first {
            state.returning -= 1;
            self.changed.notify_all();
        } else {
            let next_ns = state.world.now_ns() + 1_000;
            state.world.advance(next_ns);
        }
        state.world.now_us()
    }

    /// Something that may not be done yet: at once for a socket that does not block.
    fn blocking<R>(
        &self,
        fd: i32,
        at_once: bool,
        mut act: impl FnMut(&mut World) -> Result<Option<R>, Errno>,
    ) -> Result<R, Errno> {
        let nonblocking = at_once || self.lock().world.at(fd)?.nonblocking;
        if nonblocking {
            return act(&mut self.lock().world)?.ok_or(libc::EAGAIN);
        }
        self.wait(None, |world| act(world).transpose()).unwrap_or(Err(libc::EINTR))
    }
}
