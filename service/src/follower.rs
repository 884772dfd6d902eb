//! One more core of an application: its stack and its part of the application, led by the worker of the first core.

use crate::configuration::Configuration;
use crate::share::Share;
use crate::together::Together;
use crate::worker::{Moved, Round, close_answered, cut_all, engine, move_in, move_out, quiet_ns};
use alloc::vec::Vec;
use nom_stack::Engine;
use nom_stack::application::Application;
use nom_stack::knobs::{Knobs, Wait};
use nom_stack::port::{Egress, Ingress};

/// Time between two looks at what ends.
const LOOK_NS: u64 = 10_000_000;

/// A core that is led.
pub struct Follower<I: Ingress, E: Egress, A: Application> {
    engine: Engine<I, E, Together<A>>,
    listen: u16,
    drain_ns: u64,
    sleeps: u64,
    worked_ns: u64,
    /// It ends: connections that are left at this time are cut.
    until_ns: Option<u64>,
    cut: u64,
}

impl<I: Ingress, E: Egress, A: Application> Follower<I, E, A> {
    /// Begins to serve.
    pub fn new(
        configuration: &Configuration,
        mac: [u8; 6],
        ingress: I,
        egress: E,
        application: A,
        seed: [u8; 32],
        now_ns: u64,
    ) -> Self {
        Self {
            engine: engine(configuration, mac, ingress, egress, application, seed, now_ns),
            listen: configuration.listen,
            drain_ns: configuration.drain_ns,
            sleeps: 0,
            worked_ns: now_ns,
            until_ns: None,
            cut: 0,
        }
    }

    /// What was counted, with the core time that this core took.
    pub fn share(&self, core_ns: u64) -> Share {
        let counters = self.engine.counters();
        Share {
            meter: self.engine.meter().clone(),
            payload_out: counters.payload_out,
            frames_in: counters.frames_in,
            bytes_in: counters.bytes_in,
            frames_out: counters.frames_out,
            bytes_out: counters.bytes_out,
            frames_lost: self.engine.halves().0.lost(),
            kicks: counters.kicks,
            retransmitted_segments: counters.retransmitted_segments,
            sleeps: self.sleeps,
            core_ns,
            connections: self.engine.application().guests(),
            cut: self.cut,
        }
    }

    /// Does as the leader's knobs say.
    pub fn obey(&mut self, knobs: Knobs, now_ns: u64) {
        if self.until_ns.is_none() {
            self.engine.set_knobs(knobs, now_ns);
        }
    }

    /// Begins the end. More than one call does no more than one.
    pub fn drain(&mut self, now_ns: u64) {
        if self.until_ns.is_some() {
            return;
        }
        self.until_ns = Some(now_ns.saturating_add(self.drain_ns));
        self.engine.application_mut().draining();
        self.engine.unlisten(self.listen);
        let knobs = Knobs { connections_max: 0, ..*self.engine.knobs() };
        self.engine.set_knobs(knobs, now_ns);
    }

    /// It was told to end.
    pub fn is_draining(&self) -> bool {
        self.until_ns.is_some()
    }

    /// It was told to end, and has no connection left. It still answers other cores.
    pub fn is_drained(&self) -> bool {
        self.until_ns.is_some() && self.engine.application().guests() == 0
    }

    /// The application, to look at.
    pub fn application(&self) -> &A {
        self.engine.application().application()
    }

    /// The halves of the network, to look at.
    pub fn halves(&self) -> (&I, &E) {
        self.engine.halves()
    }

    /// Asks other cores for nothing any more; true once nothing is under way between this one and them.
    pub fn withdraw(&mut self) -> bool {
        self.engine.application_mut().withdraw()
    }

    /// Takes out all connections; those that cannot be moved are reset.
    pub fn hand_over(&mut self, now_ns: impl Fn() -> u64) -> Vec<Moved> {
        let (moved, cut) = move_out(&mut self.engine, now_ns);
        self.cut += cut;
        moved
    }

    /// Goes on with the connections of a predecessor, and says how many there are.
    pub fn take_over(&mut self, moved: &[Moved], now_ns: u64) -> usize {
        move_in(&mut self.engine, moved, now_ns)
    }

    /// One round without waiting.
    pub fn round(&mut self, now_ns: u64) -> Round {
        let step = self.engine.step(now_ns);
        let mut until_ns = step.deadline_ns.unwrap_or(u64::MAX);
        if let Some(end_ns) = self.until_ns {
            let quiet_ns = quiet_ns(&self.engine);
            close_answered(&mut self.engine, now_ns.saturating_sub(quiet_ns), now_ns);
            if now_ns >= end_ns {
                self.cut += cut_all(&mut self.engine, now_ns);
            }
            until_ns = until_ns.min(now_ns + LOOK_NS);
        }
        if step.worked {
            self.worked_ns = now_ns;
            return Round::Worked;
        }
        Round::Idle { until_ns }
    }

    /// Whether the core may sleep now, as the knob says. From then on whoever has something for it wakes it.
    pub fn may_sleep(&mut self, now_ns: u64) -> bool {
        let wants = match self.engine.knobs().wait {
            Wait::Halt => true,
            Wait::Spin { budget_ns } => now_ns.saturating_sub(self.worked_ns) >= budget_ns,
            Wait::Poll => false,
        };
        let sleeps = wants && self.engine.application_mut().may_rest() && self.engine.ingress_mut().arm();
        self.sleeps += u64::from(sleeps);
        sleeps
    }
}
