//! A host: the engine that ships, on a device of virtual time, with a price on every piece of work.

use crate::port::{Device, Rings, SimEgress, SimIngress, device};
use crate::simulation::{Node, Rest};
use nom_load::random::Random;
use nom_stack::Engine;
use nom_stack::application::Application;
use nom_stack::config::Config;
use nom_stack::knobs::{Knobs, Wait};
use std::cell::RefCell;
use std::rc::Rc;

/// What a server's work costs in time. All zero by default: then only links take time. A profit that is computed
/// with these is an *estimate*; they have to be fitted to measured sweeps first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// A wake-up from sleep.
    pub wake_ns: u64,
    /// A step that did something (a batch).
    pub batch_ns: u64,
    /// A frame received or sent.
    pub frame_ns: u64,
    /// A thousand bytes received or sent.
    pub kilobyte_ns: u64,
    /// A notification of the device.
    pub kick_ns: u64,
}

/// What a server did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Wake-ups from sleep.
    pub wakes: u64,
    /// Steps that did something.
    pub batches: u64,
    /// Time that the core was busy.
    pub busy_ns: u64,
    /// Time that it looked for work where there was none, because a knob says that it spins or polls.
    pub looking_ns: u64,
    /// Frames that found the receiving ring full.
    pub overflows: u64,
    /// Frames that a device with offloads dropped because their checksum was wrong.
    pub damaged: u64,
    /// Frames that were kept longer than the knobs of [`Host::set_knobs`] allowed. A host whose work takes time keeps
    /// frames for that too.
    pub overheld: u64,
    /// Frames that came from the link, those two included.
    pub arrivals: u64,
    /// Frames that went into the link.
    pub departures: u64,
}

/// An engine on a simulated device.
pub struct Host<A: Application> {
    engine: Engine<SimIngress, SimEgress, A>,
    rings: Rc<RefCell<Rings>>,
    cost: Cost,
    usage: Usage,
    /// Since when nothing was done; nothing while at work.
    idle_ns: Option<u64>,
    deadline_ns: Option<u64>,
}

impl<A: Application> Host<A> {
    /// A host that starts at time 0.
    pub fn new(config: Config, kind: Device, cost: Cost, application: A, seed: u64) -> Self {
        let (ingress, egress, rings) = device(kind);
        let mut random = Random::new(seed);
        let mut secret = [0; 32];
        secret.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()));
        let engine = Engine::new(config, ingress, egress, application, secret, 0);
        Self { engine, rings, cost, usage: Usage::default(), idle_ns: Some(0), deadline_ns: None }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine<SimIngress, SimEgress, A> {
        &self.engine
    }

    /// The engine. Whoever changes something here tells the simulation by `touch`.
    pub fn engine_mut(&mut self) -> &mut Engine<SimIngress, SimEgress, A> {
        &mut self.engine
    }

    /// The engine, to act on at this time.
    pub fn engine_at(&mut self, now_ns: u64) -> &mut Engine<SimIngress, SimEgress, A> {
        self.rings.borrow_mut().watch.now_ns = now_ns;
        &mut self.engine
    }

    /// Changes the knobs, and what is allowed to the engine by them.
    pub fn set_knobs(&mut self, knobs: Knobs, now_ns: u64) {
        self.rings.borrow_mut().watch.allow(knobs.batching.delay_ns(), now_ns);
        self.engine.set_knobs(knobs, now_ns);
    }

    /// When the engine wanted to be called again after its last step, though nothing arrives.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// What was done so far.
    pub fn usage(&self) -> Usage {
        let rings = self.rings.borrow();
        Usage {
            overflows: rings.overflows,
            damaged: rings.damaged,
            overheld: rings.watch.overheld,
            ..self.usage
        }
    }
}

impl<A: Application> Node for Host<A> {
    fn deliver(&mut self, now_ns: u64, _port: usize, frame: &[u8], damaged: bool) {
        self.usage.arrivals += 1;
        self.rings.borrow_mut().deliver(now_ns, frame, damaged);
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        let before = self.work_so_far();
        let step = self.engine.step(now_ns);
        self.deadline_ns = step.deadline_ns;
        let work: Vec<u64> = self.work_so_far().iter().zip(before).map(|(now, then)| now - then).collect();
        let mut cost_ns = work[0] * self.cost.frame_ns
            + work[1] * self.cost.kilobyte_ns / 1000
            + work[2] * self.cost.kick_ns;
        // Whoever takes a frame only to hold it was woken by it as well.
        if (step.worked || work[3] > 0) && self.slept(now_ns) {
            self.usage.wakes += 1;
            cost_ns += self.cost.wake_ns;
        }
        if step.worked {
            self.usage.batches += 1;
            cost_ns += self.cost.batch_ns;
        } else {
            self.idle_ns.get_or_insert(now_ns + cost_ns);
        }
        self.usage.busy_ns += cost_ns;
        Rest { worked: step.worked, deadline_ns: step.deadline_ns, free_ns: now_ns + cost_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        let frame = self.rings.borrow_mut().depart()?;
        self.usage.departures += 1;
        Some((0, frame))
    }
}

impl<A: Application> Host<A> {
    /// Ends a rest, bills what was looked meanwhile, and says whether it had become a sleep.
    fn slept(&mut self, now_ns: u64) -> bool {
        let Some(since_ns) = self.idle_ns.take() else { return false };
        let idle_ns = now_ns.saturating_sub(since_ns);
        let (looking_ns, slept) = match self.engine.knobs().wait {
            Wait::Halt => (0, true),
            Wait::Spin { budget_ns } => (idle_ns.min(budget_ns), idle_ns > budget_ns),
            Wait::Poll => (idle_ns, false),
        };
        self.usage.looking_ns += looking_ns;
        slept
    }

    /// Frames, bytes and kicks so far, and frames that were taken from the device.
    fn work_so_far(&self) -> [u64; 4] {
        let counters = self.engine.counters();
        let taken = self.rings.borrow().frames_in;
        let frames = counters.frames_in + counters.frames_out;
        [frames, counters.bytes_in + counters.bytes_out, counters.kicks, taken]
    }
}
