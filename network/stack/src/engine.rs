//! The engine: owns the two device halves and the application, and does everything that is due.
//!
//! One step looks at the device, takes frames when the knobs say so, hands them to `frames`, runs timers, lets
//! connections send, and shows what was queued to the device when the knobs say so. It never waits: it says when
//! it wants to be called again.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::application::{Application, ConnectionId};
use crate::batch::Outbox;
use crate::config::Config;
use crate::counters::{Counters, Flush};
use crate::datagrams::{BindError, Datagram, SendError};
use crate::frames::{self, Door};
use crate::knobs::{Batching, Early, Knobs};
use crate::meter::Meter;
use crate::neighbours::Neighbours;
use crate::port::{Arrival, Egress, Ingress};
use crate::tcp::terms::{Terms, TooManyTerms};
use crate::tcp::{Handle, ImportError, Tcp, View, World};

/// Connections for which the application is called by its own wish in one step.
const CALLS_PER_STEP: usize = 64;
/// Frames that run to completion in one step. A few, so that the time that the caller gives stays true.
const FRAMES_PER_STEP: usize = 4;
/// Frames held at the same time, whatever the knobs say.
const HELD: usize = 1024;
/// When the ring is full we look again after this long: the device does not tell.
const RING_AGAIN_NS: u64 = 100_000;
/// The same when only memory waits for a frame to be read.
const MEMORY_AGAIN_NS: u64 = 10_000_000;

/// What one [`Engine::step`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Something was done: step again before sleeping.
    pub worked: bool,
    /// When something will be due although nothing arrives; nothing when only an arrival can make work.
    pub deadline_ns: Option<u64>,
}

/// Why a connection cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// The address is not on our link and there is no gateway, or nobody can have it.
    NoRoute,
    /// All connection records are taken.
    NoRecord,
    /// All local ports that were tried towards that address and port are taken.
    NoPort,
    /// So many different terms cannot be remembered.
    TooManyTerms,
}

/// A stack with its device and its application, on one core.
pub struct Engine<I: Ingress, E: Egress, A: Application> {
    ingress: I,
    out: Outbox<E>,
    application: A,
    door: Door,
    neighbours: Neighbours,
    tcp: Tcp,
    config: Config,
    knobs: Knobs,
    /// Frames taken from the device and not acted upon yet, oldest first.
    held: VecDeque<Arrival>,
    /// What the knobs allowed when they changed: the frames held then leave by these times.
    held_until_ns: Option<u64>,
    queued_until_ns: Option<u64>,
}

impl<I: Ingress, E: Egress, A: Application> Engine<I, E, A> {
    /// Makes a stack. `seed` must be unpredictable to others: initial sequence numbers, ports and the hash of the
    /// connection table come from it.
    pub fn new(config: Config, ingress: I, egress: E, application: A, seed: [u8; 32], now_ns: u64) -> Self {
        let out = Outbox::new(egress);
        let mut engine = Self {
            door: Door::new(&config),
            neighbours: Neighbours::new(&config, now_ns),
            tcp: Tcp::new(&config, out.mtu(), seed, now_ns),
            held: VecDeque::with_capacity(HELD.min(ingress.capacity())),
            ingress,
            out,
            application,
            config,
            knobs: Knobs::default(),
            held_until_ns: None,
            queued_until_ns: None,
        };
        engine.set_knobs(Knobs::default(), now_ns);
        engine
    }

    /// Does everything that is due now.
    pub fn step(&mut self, now_ns: u64) -> Step {
        self.out.departures.measure(now_ns);
        let completed = self.out.egress.completed();
        self.out.look_after(completed, now_ns);
        let batching = self.knobs.batching;
        self.split(now_ns, |tcp, world, _| tcp.complete(world, completed));
        self.ingress.look(now_ns);
        if self.neighbours.tidy_ns <= now_ns {
            self.tidy(now_ns);
        }
        let mut worked = match batching {
            Batching::RunToCompletion => self.run_to_completion(now_ns),
            Batching::TakeQueued => self.take_queued(now_ns),
            Batching::Hold { .. } => false,
        };
        if matches!(batching, Batching::Hold { .. }) || !self.held.is_empty() {
            worked |= self.hold(now_ns);
        }
        if self.held.is_empty() {
            self.held_until_ns = None;
        }
        worked |= self.call_wanted(now_ns);
        worked |= self.split(now_ns, |tcp, world, _| {
            let timers = tcp.run_timers(world);
            tcp.wake_waiting(world);
            tcp.send_due(world);
            timers
        });
        worked |= self.flush_due(now_ns);
        // What left in this step is measured in the next one, which must not be put off by a sleep.
        worked |= self.out.departures.wait();
        Step { worked, deadline_ns: self.deadline_ns(now_ns) }
    }

    /// Does what the link has to do by itself.
    #[cold]
    #[inline(never)]
    fn tidy(&mut self, now_ns: u64) {
        if let Some(six) = &mut self.neighbours.six {
            six.run(&mut self.out, now_ns);
        }
        self.neighbours.note_tidy();
    }

    /// Our IPv6 addresses to which nobody objected.
    pub fn addresses6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.neighbours.six.iter().flat_map(|six| six.addresses())
    }

    /// Calls the application for connections that it names by itself.
    fn call_wanted(&mut self, now_ns: u64) -> bool {
        let mut called = false;
        for _ in 0..CALLS_PER_STEP {
            let Some(id) = self.application.wanted(now_ns) else { break };
            let Some(slot) = self.tcp.resolve(id) else { continue };
            called = true;
            self.split(now_ns, |tcp, world, _| {
                tcp.call_open(world, slot, |application, handle| application.writable(handle))
            });
        }
        called
    }

    /// What was held when the knobs changed comes first.
    #[inline(always)]
    fn next_arrival(&mut self) -> Option<Arrival> {
        if self.held.is_empty() { self.ingress.take() } else { self.held.pop_front() }
    }

    fn run_to_completion(&mut self, now_ns: u64) -> bool {
        let mut worked = false;
        for _ in 0..FRAMES_PER_STEP {
            let Some(arrival) = self.next_arrival() else { break };
            worked = true;
            self.out.counters.batches_in[Flush::Immediate as usize] += 1;
            self.receive(arrival, now_ns);
            self.split(now_ns, |tcp, world, _| tcp.send_due(world));
            self.out.flush(Flush::Immediate, now_ns);
        }
        worked
    }

    fn take_queued(&mut self, now_ns: u64) -> bool {
        let mut count = 0;
        while count < self.knobs.batch_bound.max(1) {
            let Some(arrival) = self.next_arrival() else { break };
            count += 1;
            self.receive(arrival, now_ns);
        }
        if count > 0 {
            self.out.counters.batches_in[Flush::Queued as usize] += 1;
        }
        count > 0
    }

    /// Gathers frames, and acts on all of them once the batch is due.
    fn hold(&mut self, now_ns: u64) -> bool {
        let bound = (self.knobs.batch_bound.max(1) as usize).min(HELD);
        let ring = (self.ingress.capacity() * 3 / 4).max(1);
        while self.held.len() < bound.min(ring) {
            let Some(arrival) = self.ingress.take() else { break };
            if let Some(slot) = frames::peek(&self.tcp, self.ingress.bytes(&arrival)) {
                self.out.gathering.mark_in(self.tcp.at(slot));
            }
            self.held.push_back(arrival);
        }
        let Some(reason) = self.batch_is_due(bound, ring, now_ns) else { return false };
        self.out.counters.batches_in[reason as usize] += 1;
        self.held_until_ns = None;
        self.out.gathering.in_left();
        while let Some(arrival) = self.held.pop_front() {
            self.receive(arrival, now_ns);
        }
        // Everything that the batch made due goes out together: several answers of one connection in one segment.
        self.split(now_ns, |tcp, world, _| tcp.send_due(world));
        true
    }

    fn batch_is_due(&self, bound: usize, ring: usize, now_ns: u64) -> Option<Flush> {
        self.held.front()?;
        if self.held_deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            Some(Flush::Delay)
        } else if self.held.len() >= ring {
            Some(Flush::Ring)
        } else if self.held.len() >= bound {
            Some(Flush::Bound)
        } else if self.nothing_more(self.out.gathering.heard()) {
            Some(Flush::Early)
        } else {
            None
        }
    }

    /// Nothing more can come that would make the batch larger.
    fn nothing_more(&self, heard: u32) -> bool {
        // What this side opened asks for nothing: a price feed that is silent for minutes must not hold answers up.
        let open = self.tcp.incoming();
        open == 0 || self.knobs.early == Early::EveryConnectionHeard && heard >= open
    }

    fn held_deadline_ns(&self) -> Option<u64> {
        let oldest_ns = self.held.front()?.arrived_ns;
        let by_knob_ns = oldest_ns.saturating_add(self.knobs.batching.delay_ns());
        Some(self.held_until_ns.map_or(by_knob_ns, |until_ns| until_ns.min(by_knob_ns)))
    }

    /// When the frames that gather now are due, and how long the first of them may wait altogether; `None` when none
    /// gathers. Until then nothing that arrives changes anything, unless it ends the batch.
    pub fn gathers_until_ns(&self) -> Option<(u64, u64)> {
        let Batching::Hold { delay_ns } = self.knobs.batching else { return None };
        self.held_deadline_ns().map(|due_ns| (due_ns, delay_ns))
    }

    fn queued_deadline_ns(&self) -> Option<u64> {
        let by_knob_ns = self.out.oldest_ns()?.saturating_add(self.knobs.batching.delay_ns());
        Some(self.queued_until_ns.map_or(by_knob_ns, |until_ns| until_ns.min(by_knob_ns)))
    }

    fn receive(&mut self, arrival: Arrival, now_ns: u64) {
        self.out.counters.frames_in += 1;
        self.out.counters.batched_frames_in += 1;
        let bytes = self.ingress.bytes(&arrival);
        self.out.counters.bytes_in += bytes.len() as u64;
        let mut world = World {
            application: &mut self.application,
            out: &mut self.out,
            neighbours: &mut self.neighbours,
            now_ns,
        };
        self.door.receive(&mut world, &mut self.tcp, bytes, arrival.arrived_ns, arrival.checksum_good);
        self.ingress.give_back(arrival);
    }

    /// Shows queued frames to the device when they are due. Returns whether it did.
    fn flush_due(&mut self, now_ns: u64) -> bool {
        let Some(deadline_ns) = self.queued_deadline_ns() else {
            self.queued_until_ns = None;
            return false;
        };
        let queued = self.out.queued();
        let capacity = self.out.egress.capacity() as u32;
        let reason = match self.knobs.batching {
            Batching::RunToCompletion => Flush::Immediate,
            Batching::TakeQueued => Flush::Queued,
            Batching::Hold { .. } if deadline_ns <= now_ns => Flush::Delay,
            Batching::Hold { .. } if queued >= capacity - capacity / 4 => Flush::Ring,
            Batching::Hold { .. } if queued >= self.knobs.batch_bound => Flush::Bound,
            Batching::Hold { .. } if self.nothing_more(self.out.gathering.answered()) => Flush::Early,
            Batching::Hold { .. } => return false,
        };
        self.queued_until_ns = None;
        self.out.flush(reason, now_ns);
        true
    }

    fn deadline_ns(&self, now_ns: u64) -> Option<u64> {
        let device_ns = if self.tcp.has_due() {
            Some(now_ns.saturating_add(RING_AGAIN_NS))
        } else {
            self.tcp.send.retains().then(|| now_ns.saturating_add(MEMORY_AGAIN_NS))
        };
        let earlier = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let batch_ns = earlier(self.held_deadline_ns(), self.queued_deadline_ns());
        let deadline_ns = earlier(earlier(self.tcp.deadline_ns(), device_ns), batch_ns);
        match self.neighbours.tidy_ns {
            u64::MAX => deadline_ns,
            tidy_ns => Some(deadline_ns.map_or(tidy_ns, |deadline_ns| deadline_ns.min(tidy_ns))),
        }
    }

    fn split<R>(
        &mut self,
        now_ns: u64,
        act: impl FnOnce(&mut Tcp, &mut World<'_, A, E>, &mut Door) -> R,
    ) -> R {
        let mut world = World {
            application: &mut self.application,
            out: &mut self.out,
            neighbours: &mut self.neighbours,
            now_ns,
        };
        act(&mut self.tcp, &mut world, &mut self.door)
    }

    /// Lets others open connections to this port. All ports are closed at first.
    pub fn listen(&mut self, port: u16) {
        self.tcp.listen(port, true);
    }

    /// Lets others open connections to this port on these terms: silent peers are asked, say. Connections that are
    /// open keep theirs.
    pub fn listen_on(&mut self, port: u16, terms: Terms) -> Result<(), TooManyTerms> {
        self.tcp.terms.set_port(port, terms)?;
        self.tcp.listen(port, true);
        Ok(())
    }

    /// Connections that others open from now on have these terms, where the port has none of its own.
    pub fn set_terms_of_ports(&mut self, terms: Terms) -> Result<(), TooManyTerms> {
        self.tcp.terms.set_others(terms)
    }

    /// Lets nobody open further connections to this port; open ones stay.
    pub fn unlisten(&mut self, port: u16) {
        self.tcp.listen(port, false);
    }

    /// Begins to open a connection. The application hears of it by `opened`, or by `ended` when that failed.
    pub fn connect(
        &mut self,
        address: impl Into<IpAddr>,
        port: u16,
        now_ns: u64,
    ) -> Result<ConnectionId, ConnectError> {
        self.connect_on(address, port, Terms::default(), now_ns)
    }

    /// The same on terms of its own.
    pub fn connect_on(
        &mut self,
        address: impl Into<IpAddr>,
        port: u16,
        terms: Terms,
        now_ns: u64,
    ) -> Result<ConnectionId, ConnectError> {
        let terms = self.tcp.terms.place(terms).map_err(|TooManyTerms| ConnectError::TooManyTerms)?;
        let address = address.into();
        let result = self.split(now_ns, |tcp, world, _| {
            let id = match address {
                IpAddr::V4(address) => tcp.connect(world, (address, port), terms),
                IpAddr::V6(address) => tcp.connect6(world, (address, port), terms),
            };
            tcp.send_due(world);
            id
        });
        self.flush_due(now_ns);
        result
    }

    /// Gives a connection up at once, an opening too that was not answered yet: with a reset when the other side knows
    /// of it. The application hears that it ended. False when there is no such connection.
    pub fn give_up(&mut self, id: ConnectionId, now_ns: u64) -> bool {
        let Some(slot) = self.tcp.resolve(id) else { return false };
        self.split(now_ns, |tcp, world, _| tcp.give_up(world, slot));
        self.flush_due(now_ns);
        true
    }

    /// Frames that are held now on their way in, and queued on their way out: how many gather, counted without a clock.
    pub fn gathered(&self) -> [u32; 2] {
        [self.held.len() as u32, self.out.queued()]
    }

    /// Changes the terms of one connection. False when there is no such connection.
    pub fn set_terms(&mut self, id: ConnectionId, terms: Terms, now_ns: u64) -> Result<bool, TooManyTerms> {
        let place = self.tcp.terms.place(terms)?;
        let Some(slot) = self.tcp.resolve(id) else { return Ok(false) };
        self.split(now_ns, |tcp, world, _| {
            tcp.set_terms(slot, place);
            tcp.send_due(world);
        });
        Ok(true)
    }

    /// Calls the application with a connection outside of its turn, to write to it or to close it. What it did not
    /// consume is offered again after that. Nothing when the connection is not open.
    pub fn with_connection<R>(
        &mut self,
        id: ConnectionId,
        now_ns: u64,
        call: impl FnOnce(&mut A, &mut Handle<'_>) -> R,
    ) -> Option<R> {
        self.out.departures.measure(now_ns);
        let slot = self.tcp.resolve(id)?;
        let result = self.split(now_ns, |tcp, world, _| {
            let result = tcp.call_open(world, slot, call);
            tcp.send_due(world);
            result
        });
        self.flush_due(now_ns);
        result
    }

    /// We have this address, with the prefix length of its link, and this gateway from now on; none to have no address until
    /// further notice. Connections of another address end at once, and nobody is told but the application.
    pub fn set_address(&mut self, address: Option<(Ipv4Addr, u8)>, gateway: Option<Ipv4Addr>, now_ns: u64) {
        let (address, prefix_len) = address.unwrap_or((Ipv4Addr::UNSPECIFIED, 32));
        if address != self.config.address {
            // What is held was sent to the old one.
            self.out.gathering.in_left();
            while let Some(arrival) = self.held.pop_front() {
                self.ingress.give_back(arrival);
            }
            self.neighbours.set_address(address);
        }
        self.split(now_ns, |tcp, world, _| tcp.set_address(world, (address, prefix_len), gateway));
        self.door.set_address(address);
        self.config.address = address;
        self.config.prefix_len = prefix_len;
        self.config.gateway = gateway;
    }

    /// Takes datagrams for this port from now on; they wait for [`Engine::take_datagram`].
    pub fn bind(&mut self, port: u16) -> Result<(), BindError> {
        self.door.datagrams.bind(port)
    }

    /// Takes no more datagrams for this port, and forgets those that wait.
    pub fn unbind(&mut self, port: u16) {
        self.door.datagrams.unbind(port);
    }

    /// The oldest datagram that waits at a port.
    pub fn take_datagram(&mut self, port: u16) -> Option<Datagram> {
        self.door.datagrams.take(port)
    }

    /// Sends a datagram from a port to an address and a port there; to everybody on the link by the address
    /// 255.255.255.255. It may wait for a neighbour's Ethernet address, and is lost when that does not come.
    pub fn send_datagram(
        &mut self,
        port: u16,
        to: (Ipv4Addr, u16),
        payload: &[u8],
        now_ns: u64,
    ) -> Result<(), SendError> {
        let hop = match to.0 {
            everybody if everybody.is_broadcast() => everybody,
            one => self.tcp.next_hop(one).ok_or(SendError::NoRoute)?,
        };
        let us = self.door.us();
        let way = (&mut self.neighbours, &mut self.out);
        let sent = self.door.datagrams.send(us, hop, (port, to.0, to.1), payload, way, now_ns);
        self.flush_due(now_ns);
        sent
    }

    /// Takes an open connection out as a value, to go on in another stack ([`Engine::import`]). Its frames must come
    /// to that stack already. The application is not told that it ended; its pins are released, since the value has
    /// the bytes. Nothing when the connection is not open.
    pub fn export(&mut self, id: ConnectionId, now_ns: u64) -> Option<Vec<u8>> {
        self.out.departures.measure(now_ns);
        // What is held here belongs to it as much as what was acted upon.
        self.out.gathering.in_left();
        while let Some(arrival) = self.held.pop_front() {
            self.receive(arrival, now_ns);
        }
        let slot = self.tcp.resolve(id)?;
        let value = self.split(now_ns, |tcp, world, _| {
            tcp.send_due(world);
            tcp.export(world, slot)
        });
        self.out.flush(Flush::Immediate, now_ns);
        value
    }

    /// Puts in a connection that was taken out of another stack of the same address. The application is not called:
    /// hand it what it needs by [`Engine::with_connection`], which offers what was not consumed as well.
    pub fn import(&mut self, value: &[u8], now_ns: u64) -> Result<ConnectionId, ImportError> {
        self.split(now_ns, |tcp, world, _| tcp.import(world, value))
    }

    /// Changes the knobs. What is held under the old ones leaves no later than they allowed.
    pub fn set_knobs(&mut self, knobs: Knobs, now_ns: u64) {
        self.out.departures.measure(now_ns);
        self.held_until_ns = self.held_deadline_ns();
        self.queued_until_ns = self.queued_deadline_ns();
        self.knobs = knobs;
        self.tcp.connections_max = knobs.connections_max;
        self.tcp.ack_delay_ns = knobs.ack_delay_ns;
        self.flush_due(now_ns);
    }

    /// The knobs in force.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Who the stack is, and its bounds.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Everything counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.out.counters
    }

    /// Operations and latencies since the start.
    pub fn meter(&self) -> &Meter {
        &self.out.departures.meter
    }

    /// Sets the latency above which an operation counts as late.
    pub fn set_latency_threshold_ns(&mut self, threshold_ns: u64) {
        self.out.departures.meter.set_threshold_ns(threshold_ns);
    }

    /// Connections that are established and not yet ended.
    pub fn open_connections(&self) -> u32 {
        self.tcp.open()
    }

    /// The connection in the first used place from this one on, half open and lingering ones too. The next one is looked
    /// for behind its slot.
    pub fn view(&self, from: u32) -> Option<View> {
        self.tcp.view(from)
    }

    /// The application found too little room on this connection and was not called again since: something may still
    /// be owed there.
    pub fn waits_for_room(&self, id: ConnectionId) -> bool {
        self.tcp.waits_for_room(id)
    }

    /// Bytes of memory for each open connection for which nothing waits.
    pub fn idle_connection_bytes(&self) -> usize {
        self.tcp.idle_connection_bytes()
    }

    /// No connection record and no buffer is in use: for tests that count what leaked.
    pub fn is_unused(&self) -> bool {
        self.tcp.is_unused()
    }

    /// The application.
    pub fn application(&self) -> &A {
        &self.application
    }

    /// The application.
    pub fn application_mut(&mut self) -> &mut A {
        &mut self.application
    }

    /// The receiving half, to arm it before a sleep.
    pub fn ingress_mut(&mut self) -> &mut I {
        &mut self.ingress
    }

    /// The sending half.
    pub fn egress_mut(&mut self) -> &mut E {
        &mut self.out.egress
    }

    /// Both device halves, to look at: their owner asks them how they are.
    pub fn halves(&self) -> (&I, &E) {
        (&self.ingress, &self.out.egress)
    }
}
