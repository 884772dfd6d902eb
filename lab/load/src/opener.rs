//! Opening many connections one after another, no faster than the listener takes them.

use crate::bounds;
use crate::connection::open;
use crate::plan::LoadError;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// An opening that took so long was lost once: the listener's queue was full. An emulator's port forwarding keeps a
/// queue of one.
const LOST: Duration = Duration::from_millis(500);
/// From then on the listener gets this long for each connection, since a lost opening costs a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Whoever opens them.
pub(crate) struct Opener {
    target: SocketAddr,
    pause: Duration,
}

impl Opener {
    pub(crate) fn new(target: SocketAddr) -> Self {
        Self { target, pause: Duration::ZERO }
    }

    /// The next connection, which does not block.
    pub(crate) fn next(&mut self) -> Result<TcpStream, LoadError> {
        let asked = Instant::now();
        let stream = open(self.target, Duration::from_secs(bounds::CONNECT_TIMEOUT_S))?;
        self.learn(asked.elapsed());
        thread::sleep(self.pause);
        Ok(stream)
    }

    fn learn(&mut self, took: Duration) {
        if took >= LOST {
            self.pause = PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_lost_one_is_given_time_from_then_on() {
        let mut opener = Opener::new(([127, 0, 0, 1], 1).into());
        opener.learn(LOST - Duration::from_nanos(1));
        assert_eq!(opener.pause, Duration::ZERO);
        opener.learn(LOST);
        assert_eq!(opener.pause, PAUSE);
        opener.learn(Duration::ZERO);
        assert_eq!(opener.pause, PAUSE);
    }
}
