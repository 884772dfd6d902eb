//! The end: accept nothing more, finish what is there, seal the ledger, say bye.

use super::{Worker, reading};
use crate::home::Home;
use crate::management::{Bye, Level, Message};
use crate::together::Together;
use alloc::format;
use nom_money::print_duration;
use nom_stack::Engine;
use nom_stack::application::{Application, Io};
use nom_stack::knobs::Knobs;
use nom_stack::port::{Egress, Ingress};

/// A connection on which nothing came for so long, and which does not wait for room to write, has been answered: it
/// is closed.
const QUIET_NS: u64 = 50_000_000;
/// How long other cores may take longer than this one.
const OTHERS_NS: u64 = 2_000_000_000;
/// How long the last lines may take to the host.
const FLUSH_NS: u64 = 1_000_000_000;

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No end in sight.
    Serving,
    /// Connections end; those that are left at this time are cut.
    Draining { until_ns: u64 },
    /// The ledger is closed; the last lines go to the host until this time.
    Flushing { until_ns: u64 },
    /// Done.
    Over,
}

/// How long nothing comes from a client that was heard out: what the stack gathers has not been seen yet.
pub(crate) fn quiet_ns<I: Ingress, E: Egress, A: Application>(engine: &Engine<I, E, Together<A>>) -> u64 {
    engine.knobs().batching.delay_ns().max(QUIET_NS)
}

/// Closes connections on which nothing came since `before_ns`, except those that are still owed answers because
/// the client does not read as fast as it asked.
pub(crate) fn close_answered<I: Ingress, E: Egress, A: Application>(
    engine: &mut Engine<I, E, Together<A>>,
    before_ns: u64,
    now_ns: u64,
) {
    for id in engine.application().quiet(before_ns) {
        if !engine.waits_for_room(id) {
            engine.with_connection(id, now_ns, |together, io| together.close(io));
        }
    }
}

/// Cuts all connections that are left, and says how many.
pub(crate) fn cut_all<I: Ingress, E: Egress, A: Application>(
    engine: &mut Engine<I, E, Together<A>>,
    now_ns: u64,
) -> u64 {
    let all = engine.application().all_guests();
    for id in &all {
        engine.with_connection(*id, now_ns, |_, io| io.abort());
    }
    // What was just queued leaves, and is billed.
    engine.step(now_ns);
    all.len() as u64
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Begins the end. More than one call does no more than one.
    pub fn drain(&mut self, now_ns: u64) {
        if self.phase != Phase::Serving {
            return;
        }
        self.engine.application_mut().draining();
        self.engine.unlisten(self.configuration.listen);
        let knobs = Knobs { connections_max: 0, ..*self.engine.knobs() };
        self.engine.set_knobs(knobs, now_ns);
        self.phase = Phase::Draining { until_ns: now_ns.saturating_add(self.configuration.drain_ns) };
        self.chores_ns = now_ns;
        self.stop_asking(now_ns);
        let limit = print_duration(self.configuration.drain_ns);
        let line = format!("draining: no new connections; those that are open have up to {limit}");
        self.log(now_ns, Level::Info, line);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase != Phase::Serving
    }

    /// The ledger is closed.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Flushing { .. } | Phase::Over)
    }

    pub(super) fn drain_turn(&mut self, home: &mut impl Home, now_ns: u64) {
        match self.phase {
            Phase::Serving | Phase::Over => {}
            Phase::Draining { until_ns } => {
                let quiet_ns = quiet_ns(&self.engine);
                close_answered(&mut self.engine, now_ns.saturating_sub(quiet_ns), now_ns);
                let left = self.engine.application().guests();
                let others_have_ended = home.drain_others() || now_ns >= until_ns + OTHERS_NS;
                if (left == 0 || now_ns >= until_ns) && others_have_ended {
                    let others_cut = home.others().map_or(0, |others| others.cut);
                    let cut = cut_all(&mut self.engine, now_ns);
                    self.close(home, now_ns, cut + others_cut);
                }
            }
            Phase::Flushing { until_ns } => {
                if self.channel.is_empty() || now_ns >= until_ns {
                    self.phase = Phase::Over;
                }
            }
        }
    }

    /// Nothing is served by this setting: what was asked before it is answered, and then the connections end. Who
    /// still does not read at the limit of a drain is closed with the rest owed.
    pub(super) fn serve_nothing(&mut self, now_ns: u64) {
        let since_ns = now_ns.saturating_sub(self.setting_ns);
        if since_ns >= self.configuration.drain_ns {
            for id in self.engine.application().quiet(now_ns) {
                self.engine.with_connection(id, now_ns, |together, io| together.close(io));
            }
        } else if since_ns >= quiet_ns(&self.engine) {
            close_answered(&mut self.engine, now_ns, now_ns);
        }
    }

    pub(super) fn close(&mut self, home: &mut impl Home, now_ns: u64, connections_cut: u64) {
        let reading = reading::reading(&self.engine, home);
        let sealed = self.ledger.close(now_ns, &reading);
        let closed = sealed.is_ok();
        self.sealed(home, sealed, now_ns);
        if closed {
            home.closed();
        }
        self.report(home);
        self.channel.push(&Message::Bye(Bye {
            at_ns: now_ns,
            accepted: reading.accepted,
            refused: reading.refused,
            windows: self.ledger.windows(),
            windows_dropped: self.channel.windows_dropped(),
            connections_cut,
        }));
        self.phase = Phase::Flushing { until_ns: now_ns + FLUSH_NS };
    }
}
