//! Going on in another process of the same kind: connections leave as bytes and come in again, and a drain is not needed.
//!
//! The device stays open meanwhile and keeps the frames that come; nobody looks at it between the two, since a stack that
//! has no connection would refuse them.

use super::Worker;
use crate::home::Home;
use crate::together::Together;
use alloc::vec::Vec;
use nom_stack::Engine;
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

/// Answers what has arrived, and takes out all connections that others opened (after that the device must not be looked at:
/// what comes would be refused); also how many could not be moved, and were
/// reset.
pub(crate) fn move_out<I: Ingress, E: Egress, A: Application>(
    engine: &mut Engine<I, E, Together<A>>,
    now_ns: impl Fn() -> u64,
) -> (Vec<Moved>, u64) {
    for _ in 0..STEPS_MAX {
        if !engine.step(now_ns()).worked {
            break;
        }
    }
    let now_ns = now_ns();
    let all = engine.application().all_guests();
    let mut moved = Vec::with_capacity(all.len());
    let mut cut = 0;
    for id in all {
        let state = engine.application_mut().hand_over(id);
        match state.and_then(|state| Some(Moved { connection: engine.export(id, now_ns)?, state })) {
            Some(value) => moved.push(value),
            None => {
                cut += 1;
                engine.with_connection(id, now_ns, |_, io| io.abort());
            }
        }
    }
    (moved, cut)
}

/// Goes on with connections, and says how many of them there are. Those that do not fit here are reset.
pub(crate) fn move_in<I: Ingress, E: Egress, A: Application>(
    engine: &mut Engine<I, E, Together<A>>,
    moved: &[Moved],
    now_ns: u64,
) -> usize {
    let mut kept = 0;
    for Moved { connection, state } in moved {
        let Ok(id) = engine.import(connection, now_ns) else { continue };
        let goes_on = engine.with_connection(id, now_ns, |together, io| {
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

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Asks other cores for nothing any more; true once nothing is under way between this one and them.
    pub fn withdraw(&mut self) -> bool {
        self.engine.application_mut().withdraw()
    }

    /// Takes out all connections that others opened, seals the ledger and says bye. Nothing but the application is
    /// asked of this worker from then on. Connections that cannot be moved are reset.
    pub fn hand_over(&mut self, home: &mut impl Home) -> Vec<Moved> {
        self.stop_asking(home.now_ns());
        let (moved, cut) = move_out(&mut self.engine, || home.now_ns());
        let now_ns = home.now_ns();
        let cut = cut + home.others().map_or(0, |others| others.cut);
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
        move_in(&mut self.engine, moved, now_ns)
    }
}
