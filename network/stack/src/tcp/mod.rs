//! TCP (RFC 9293): the connections of one stack.
//!
//! A segment's way: [`Tcp::receive`] finds the connection and sends the segment to the file for what happens:
//! `handshake` (openings), `accept` (is it acceptable at all: windows, resets, challenges), `acknowledge` (what
//! the other side has), `recover` (losses, congestion, round-trip times), `deliver` (its bytes, in order or not),
//! `close` (ends of all kinds), beside them `stamp`, `marks`, `terms` and `path` (what few connections need); or, when it is just what was expected, to `expected`, which does the same sooner. What a connection has to say leaves by `output`, which is called once for a segment,
//! or once for a batch.

mod accept;
mod acknowledge;
mod close;
mod congestion;
pub(crate) mod connection;
mod deliver;
mod due;
mod early;
mod expected;
mod handle;
mod handshake;
mod marks;
mod moving;
mod operations;
mod output;
mod path;
mod peers;
mod receive_memory;
mod recover;
mod scoreboard;
mod secrets;
pub(crate) mod send_memory;
pub(crate) mod sequence;
mod six;
mod stamp;
mod table;
pub(crate) mod terms;
mod timeline;
mod timers;
mod view;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use core::cell::Cell;
use core::net::Ipv4Addr;

pub use handle::Handle;
pub use moving::ImportError;
pub(crate) use table::Key;
pub use view::View;

use crate::application::{Application, ConnectionId, Ended};
use crate::batch::Outbox;
use crate::config::Config;
use crate::counters::Drop;
use crate::neighbours::Neighbours;
use crate::port::Egress;
use crate::rate::Bucket;
use crate::wire::tcp::{ACK, Options, RST, SYN, Segment};
use connection::{Connection, State, window_max};
use due::Due;
use operations::Operations;
use peers::Peers;
use receive_memory::ReceiveMemory;
use secrets::Secrets;
use send_memory::SendMemory;
use table::Table;
use terms::TermsTable;
use timers::Timers;

/// Challenge acknowledgements and answers to unacceptable segments, in a second.
const CHALLENGES_PER_SECOND: u32 = 1_000;
/// Resets to segments of no connection, in a second.
const RESETS_PER_SECOND: u32 = 1_000;
/// Connections that are offered freed memory in one step.
const WOKEN_PER_STEP: usize = 64;

/// What is around the connections while something is done with them.
pub(crate) struct World<'a, A: Application, E: Egress> {
    pub(crate) application: &'a mut A,
    pub(crate) out: &'a mut Outbox<E>,
    pub(crate) neighbours: &'a mut Neighbours,
    pub(crate) now_ns: u64,
}

/// Where a segment came from.
#[derive(Clone, Copy)]
pub(crate) struct From {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: [u8; 6],
    pub(crate) arrived_ns: u64,
    /// What the packet said of congestion.
    pub(crate) congestion: u8,
}

/// All connections.
pub(crate) struct Tcp {
    config: Config,
    segment_limit: u16,
    pub(crate) connections_max: u32,
    pub(crate) ack_delay_ns: u64,
    secrets: Secrets,
    table: Table,
    /// Names of IPv6 addresses, where that is spoken.
    peers: Option<Box<Peers>>,
    timers: Timers,
    pub(crate) send: SendMemory,
    receive: ReceiveMemory,
    operations: Operations,
    /// Connections that may have something to send, in the order in which they came to it.
    due: Due,
    /// Connections that found no memory.
    waiting: VecDeque<u32>,
    /// Connections in TIME-WAIT, oldest first.
    lingering: VecDeque<ConnectionId>,
    /// Active openings that wait for a neighbour's Ethernet address.
    unresolved: u32,
    ports: Box<[u64]>,
    pub(crate) terms: TermsTable,
    half_open: u32,
    open: u32,
    /// Those of them that others opened.
    incoming: u32,
    cookies_until_ns: u64,
    challenges: Bucket,
    resets: Bucket,
}

impl Tcp {
    pub(crate) fn new(config: &Config, mtu: usize, seed: [u8; 32], now_ns: u64) -> Self {
        let table = Table::new(config.connections);
        let secrets = Secrets::new(seed);
        let peers = config.ipv6.map(|_| Box::new(Peers::new(secrets.peers())));
        let mut config = config.clone();
        config.receive_window_bytes =
            config.receive_window_bytes.clamp(1, window_max(config.receive_memory_bytes));
        let bound = table.bound() as usize;
        Self {
            segment_limit: Self::segment_limit_of(mtu),
            connections_max: 0,
            ack_delay_ns: 0,
            secrets,
            peers,
            timers: Timers::new((bound as u32).next_multiple_of(64), now_ns),
            table,
            send: SendMemory::new(config.send_memory_bytes),
            receive: ReceiveMemory::new(config.receive_memory_bytes),
            operations: Operations::new(),
            due: Due::with_capacity(bound),
            waiting: VecDeque::with_capacity(bound),
            lingering: VecDeque::with_capacity(config.time_wait as usize + 1),
            unresolved: 0,
            ports: vec![0; 1024].into_boxed_slice(),
            terms: TermsTable::new(),
            half_open: 0,
            open: 0,
            incoming: 0,
            cookies_until_ns: 0,
            challenges: Bucket::new(CHALLENGES_PER_SECOND),
            resets: Bucket::new(RESETS_PER_SECOND),
            config,
        }
    }

    /// Connections that applications know and that have not ended.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Those of them that others opened.
    pub(crate) fn incoming(&self) -> u32 {
        self.incoming
    }

    pub(crate) fn listen(&mut self, port: u16, open: bool) {
        let bit = 1 << (port % 64);
        let word = &mut self.ports[usize::from(port / 64)];
        *word = if open { *word | bit } else { *word & !bit };
    }

    fn listens(&self, port: u16) -> bool {
        self.ports[usize::from(port / 64)] >> (port % 64) & 1 == 1
    }

    /// The connection to which a segment belongs.
    #[inline(always)]
    pub(crate) fn find(&self, address: Ipv4Addr, remote_port: u16, local_port: u16) -> Option<u32> {
        self.table.find(&self.secrets, Key { remote: address.to_bits(), remote_port, local_port })
    }

    pub(crate) fn at(&mut self, slot: u32) -> &mut Connection {
        self.table.at(slot)
    }

    pub(crate) fn resolve(&self, id: ConnectionId) -> Option<u32> {
        self.table.resolve(id)
    }

    fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: self.table.get(slot).generation }
    }

    /// Acts on a segment whose checksum is right. What it makes due is sent by [`Tcp::send_due`].
    #[inline(always)]
    pub(crate) fn receive<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: &From,
        segment: &Segment<'_>,
    ) {
        let Some(slot) = self.find(from.address, segment.source_port, segment.destination_port) else {
            self.receive_unknown(world, *from, *segment);
            return;
        };
        if !self.receive_expected(world, slot, from.arrived_ns, segment) {
            self.receive_other(world, slot, *from, *segment);
        }
    }

    /// Acts on what was not expected. It gets copies, so that nothing of what was expected need stand in memory.
    #[inline(never)]
    fn receive_other<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        from: From,
        segment: Segment<'_>,
    ) {
        match self.table.get(slot).state {
            State::SynSent => self.receive_in_syn_sent(world, slot, from, &segment),
            State::TimeWait => self.receive_in_time_wait(world, slot, from, &segment),
            _ => self.receive_in_window(world, slot, from, &segment),
        }
    }

    #[inline(never)]
    fn receive_unknown<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: From,
        segment: Segment<'_>,
    ) {
        let segment = &segment;
        if self.config.address.is_unspecified() && !peers::is_name(from.address.to_bits()) {
            // Nobody can mean us yet.
            world.out.counters.drop(Drop::NotForUs);
        } else if segment.has(RST) {
            world.out.counters.drop(Drop::NoConnection);
        } else if self.listens(segment.destination_port) && segment.flags & (SYN | ACK) == SYN {
            self.open_passively(world, from, segment);
        } else if self.listens(segment.destination_port)
            && segment.flags & (SYN | ACK) == ACK
            && self.redeem_cookie(world, from, segment)
        {
            // It was established from the cookie, and the segment was acted upon.
        } else {
            world.out.counters.drop(Drop::NoConnection);
            self.refuse(world, from, segment);
        }
    }

    /// Calls the application for a connection, and then does what it asked for. False when the connection is gone.
    #[inline(always)]
    fn call<A: Application, E: Egress, R>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        call: impl FnOnce(&mut A, &mut Handle<'_>, &ReceiveMemory) -> R,
    ) -> Option<R> {
        let id = self.id(slot);
        let mut handle = Handle {
            id,
            now_ns: world.now_ns,
            limit: self.config.send_queue_bytes,
            connection: self.table.at(slot),
            send: &mut self.send,
            operations: &mut self.operations,
            departures: &mut world.out.departures,
            counters: &mut world.out.counters,
            short: Cell::new(false),
        };
        let result = call(world.application, &mut handle, &self.receive);
        let short = handle.short.get();
        self.after_call(world, slot, short).then_some(result)
    }

    /// Does what an application asked for while it was called. False when the connection is gone.
    #[inline]
    fn after_call<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        short: bool,
    ) -> bool {
        let connection = self.table.at(slot);
        if connection.aborted {
            self.abort(world, slot);
            return false;
        }
        if short {
            connection.blocked = true;
            // Acknowledgements wake it; without any on their way only freed memory can.
            if connection.queue.bytes() == 0 && !connection.waiting {
                connection.waiting = true;
                self.waiting.push_back(slot);
            }
        }
        self.make_due(slot);
        true
    }

    /// Calls the application for an open connection out of turn.
    pub(crate) fn call_open<A: Application, E: Egress, R>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        call: impl FnOnce(&mut A, &mut Handle<'_>) -> R,
    ) -> Option<R> {
        if !self.table.get(slot).announced {
            return None;
        }
        let mut result = None;
        let called =
            self.call(world, slot, |application, handle, _| result = Some(call(application, handle)));
        if called.is_some() {
            // The application may have changed its mind about what it did not consume.
            self.offer(world, slot);
        }
        result
    }

    /// Lets a connection send what it may.
    #[inline(always)]
    fn make_due(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if !connection.due {
            connection.due = true;
            self.due.push(slot);
        }
    }

    /// Lets every connection that has something to say say it. False when the ring was full before all had.
    #[inline(always)]
    pub(crate) fn send_due<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>) -> bool {
        while let Some(slot) = self.due.pop() {
            if self.send_expected(world, slot) {
                continue;
            }
            if !self.output(world, slot) {
                self.table.at(slot).due = true;
                self.due.put_back(slot);
                return false;
            }
            self.schedule(slot, world.now_ns);
        }
        true
    }

    /// We have another address: connections of the old one are over, and nothing may be said about that from it.
    pub(crate) fn set_address<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        (address, prefix_len): (Ipv4Addr, u8),
        gateway: Option<Ipv4Addr>,
    ) {
        if address != self.config.address {
            for slot in 0..self.table.len() {
                let connection = self.table.get(slot);
                if connection.state.is_used() && !peers::is_name(connection.key.remote) {
                    self.end(world, slot, Ended::Aborted);
                }
            }
        }
        self.config.address = address;
        self.config.prefix_len = prefix_len;
        self.config.gateway = gateway;
    }

    /// Something waits for room in the ring.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The device has read frames; what they held may be free now.
    pub(crate) fn complete<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, frame: u64) {
        self.send.complete(frame, world.application);
    }

    /// Offers memory to connections that found none.
    pub(crate) fn wake_waiting<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>) {
        if self.waiting.is_empty() || !self.send.has_slack() {
            return;
        }
        for _ in 0..self.waiting.len().min(WOKEN_PER_STEP) {
            let Some(slot) = self.waiting.pop_front() else { break };
            self.table.at(slot).waiting = false;
            self.tell_writable(world, slot);
        }
    }

    /// There is room to write again: the application hears of it, and sees again what it did not consume.
    fn tell_writable<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) {
        let connection = self.table.at(slot);
        if !connection.blocked || !connection.announced {
            return;
        }
        connection.blocked = false;
        if self.call(world, slot, |application, handle, _| application.writable(handle)).is_some() {
            self.offer(world, slot);
        }
    }

    /// The application is to be told of room to write on this connection.
    pub(crate) fn waits_for_room(&self, id: ConnectionId) -> bool {
        self.resolve(id).is_some_and(|slot| self.table.get(slot).blocked)
    }

    /// When a timer is due next.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.timers.next_ns()
    }

    /// Does what timers say. Returns whether anything was due.
    pub(crate) fn run_timers<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>) -> bool {
        let mut any = false;
        while let Some(slot) = self.timers.take_due(world.now_ns) {
            any = true;
            let connection = self.table.at(slot);
            if connection.acknowledge_ns <= world.now_ns {
                connection.acknowledge_now = true;
            }
            if connection.deadline_ns <= world.now_ns && !self.time_out(world, slot) {
                continue;
            }
            self.make_due(slot);
        }
        any
    }

    /// A SYN's or an acknowledged segment's options matter; others are not even looked at.
    fn options(segment: &Segment<'_>) -> Options {
        if segment.options.is_empty() { Options::default() } else { Options::parse(segment.options) }
    }

    /// Bytes that a connection costs for which nothing waits: its record, and its places in the index (which has at least
    /// twice as many as there can be records, rounded up to a power of two), in the timer wheel and in the lists.
    pub(crate) fn idle_connection_bytes(&self) -> usize {
        let bound = self.table.bound() as usize;
        let index = (2 * bound).next_power_of_two() * size_of::<u64>();
        let lists = 3 * size_of::<u32>();
        size_of::<Connection>() + Timers::LINK_BYTES + lists + index.div_ceil(bound)
    }

    /// No memory is in use and no record either: for tests that count what leaked.
    pub(crate) fn is_unused(&self) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.is_unused())
            && self.table.used() == 0
            && self.send.is_unused()
            && self.receive.is_unused()
    }
}
