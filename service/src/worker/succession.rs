//! Going on in another process of the same kind: connections leave as bytes and come in again, and a drain is not needed.
//!
//! The device stays open meanwhile and keeps the frames that come; nobody looks at it between the two, since a stack that
//! has no connection would refuse them.

use super::Worker;
use crate::home::Home;
use alloc::vec::Vec;
use nom_stack::application::{Application, Io};
use nom_stack::port::{Egress, Ingress};

/// Steps in which what has arrived is answered first; more is left to the successor.
const STEPS_MAX: u32 = 1_000;
/// How long the last lines may take to the host.
const FLUSH_NS: u64 = 100_000_000;
/// Between two tries to write them.
const FLUSH_AGAIN_NS: u64 = 1_000_000;

/// A connection on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What the stack knows of it.
    pub connection: Vec<u8>,
    /// What the application knows of it.
    pub state: Vec<u8>,
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Takes out all connections that others opened, seals the ledger and says bye. Nothing but the application is
    /// asked of this worker from then on. Connections that cannot be moved are reset.
    pub fn hand_over(&mut self, home: &mut impl Home) -> Vec<Moved> {
        for _ in 0..STEPS_MAX {
            if !self.engine.step(home.now_ns()).worked {
                break;
            }
        }
        let now_ns = home.now_ns();
        self.stop_asking(now_ns);
        let all = self.engine.application().all_guests();
        let mut moved = Vec::with_capacity(all.len());
        let mut cut = 0;
        for id in all {
            let state = self.engine.application_mut().hand_over(id);
            let value =
                state.and_then(|state| Some(Moved { connection: self.engine.export(id, now_ns)?, state }));
            match value {
                Some(value) => moved.push(value),
                None => {
                    cut += 1;
                    self.engine.with_connection(id, now_ns, |_, io| io.abort());
                }
            }
        }
        self.close(home, now_ns, cut);
        let until_ns = now_ns + FLUSH_NS;
        while home.management_peer() != 0 && !self.channel.is_empty() && home.now_ns() < until_ns {
            let _ = self.channel.turn(home);
            let now_ns = home.now_ns();
            home.wait(Some(now_ns + FLUSH_AGAIN_NS));
        }
        moved
    }

    /// Goes on with the connections of a predecessor, and says how many there are. Those that do not fit here are reset.
    pub fn take_over(&mut self, moved: &[Moved], now_ns: u64) -> usize {
        let mut kept = 0;
        for Moved { connection, state } in moved {
            let Ok(id) = self.engine.import(connection, now_ns) else { continue };
            let goes_on = self.engine.with_connection(id, now_ns, |together, io| {
                let goes_on = together.take_over(io, state);
                if !goes_on {
                    io.abort();
                }
                goes_on
            });
            kept += usize::from(goes_on == Some(true));
        }
        kept
    }
}
