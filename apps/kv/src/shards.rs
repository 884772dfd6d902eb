//! One cache on several cores: each core has a part of the items, by a hash of their keys, and a stack of its own. A request
//! for an item of another core goes there and its answer comes back over a pair of bounded rings that nobody else uses.
//!
//! ```text
//!   core that was asked                               core that owns the key
//!   client -- request --> ring of requests ---------> a guest is served like a client
//!   client <-- answer --- ring of answers <---------- what it was answered, in pieces
//! ```
//!
//! One request and its answer are an *exchange*. A connection has one at a time and waits for its end, so its answers keep
//! their order. An owner sends no more than it was granted, and who asked always takes what it granted: so rings of answers
//! drain whatever clients do, and two cores cannot wait for each other.
//!
//! When a ring of requests is full, or all [`EXCHANGES`] with an owner are taken, the connection waits and its bytes stay with the
//! stack, which closes its window: nothing is refused, nothing is lost, and others are served meanwhile.
//!
//! The rings are those of `nom-port`, over memory that the cores share.

mod ask;
mod guest;
mod message;

pub(crate) use ask::{Asked, Away, Wait};
pub(crate) use guest::GUEST;

use crate::hash::Secret;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ask::Exchange;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use guest::Guest;
use message::Message;
use nom_port::{Bell, Gone, Receiver, SLOT_WORDS, Sender, Side, open};
use nom_stack::application::ConnectionId;
use nom_stack::port::{Egress, Ingress};

/// Cores of one cache.
pub const CORES_MAX: usize = 8;
/// Exchanges at the same time between one core and one other, in each direction.
pub const EXCHANGES: usize = 1024;
/// Longest line that goes to another core, its end included; with what is here of its data.
pub(crate) const LINE_PART_MAX: usize = message::PAYLOAD_MAX;
/// Messages of a ring.
const SLOTS: usize = 64;
/// Words in front of a port's slots.
const CONTROL_WORDS: usize = 64;

/// Wakes a core that sleeps.
pub trait Wake: Send + Sync {
    /// Wakes it, or keeps it from the sleep that it is about to begin.
    fn wake(&self);
}

#[derive(Clone)]
struct Waker(Arc<dyn Wake>);

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl Bell for Waker {
    fn ring(&self) -> Result<(), Gone> {
        self.0.wake();
        Ok(())
    }
}

/// Memory that two cores share.
type Memory = Arc<[AtomicU64]>;

type Hears = Receiver<Memory, Waker>;
type Says = Sender<Memory, Waker>;

/// What one core shares with one other.
#[derive(Debug)]
struct Peer {
    /// Our requests, and what they are answered.
    requests: Says,
    answers: Hears,
    exchanges: Box<[Exchange]>,
    free: Vec<u16>,
    /// Connections that wait for one of them.
    patient: VecDeque<ConnectionId>,
    /// Connections that wait for room in the ring of requests.
    crowded: VecDeque<ConnectionId>,
    /// What the owner must hear as soon as there is room: at most one word an exchange.
    owed: VecDeque<Message>,
    /// Their requests, and what we answer.
    asked: Hears,
    said: Says,
    guests: Box<[Guest]>,
    /// Guests for whom something waits that the ring had no room for; each once.
    unsaid: VecDeque<u16>,
}

/// What a core does for others and they for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Requests that were sent to other cores.
    pub sent: u64,
    /// Requests of other cores that were served.
    pub served: u64,
    /// Times at which a connection had to wait because a ring was full.
    pub full: u64,
    /// Times at which a connection had to wait because all exchanges with an owner were taken.
    pub taken: u64,
}

/// Bytes that cores take for what they ask each other, beside what is under way.
pub fn heap_bytes(cores: usize) -> usize {
    // Rings, and what their takers copy messages to.
    let rings = 2 * (CONTROL_WORDS + 4 * SLOTS * SLOT_WORDS) * size_of::<u64>();
    let exchanges = EXCHANGES * (size_of::<Exchange>() + size_of::<Guest>() + 4 * size_of::<ConnectionId>());
    cores * (cores - 1) * (rings + exchanges)
}

/// One core's part of a cache.
#[derive(Debug)]
pub struct Shards {
    index: usize,
    count: usize,
    secret: Secret,
    /// By core; our own place is empty.
    peers: Vec<Option<Peer>>,
    /// Connections that have something to do, each once.
    ready: VecDeque<ConnectionId>,
    /// What other cores said when somebody asked for all of them.
    gathered: Vec<(ConnectionId, Vec<u8>)>,
    /// No new exchange begins.
    paused: bool,
    /// Bytes for items that each core was told to have last, the same for all of them; and what this one has heard of that.
    memory_bytes: Arc<AtomicU64>,
    heard_bytes: u64,
    /// All cores, this one too.
    wakers: Vec<Waker>,
    counters: ShardCounters,
}

impl Shards {
    /// The parts of a cache on as many cores as there are wakers, each of which wakes one. The secret decides which core
    /// has which key, so that nobody can choose keys of one core.
    ///
    /// # Panics
    /// When there are more than [`CORES_MAX`].
    pub fn all(secret: [u8; 16], wakers: &[Arc<dyn Wake>]) -> Vec<Self> {
        let count = wakers.len();
        assert!((1..=CORES_MAX).contains(&count), "{count} cores");
        let mut all: Vec<Vec<(End, End)>> =
            (0..count).map(|_| (0..count).map(|_| (None, None)).collect()).collect();
        let pairs = (0..count).flat_map(|asks| (0..count).map(move |owns| (asks, owns)));
        for (asks, owns) in pairs.filter(|(asks, owns)| asks != owns) {
            let words = CONTROL_WORDS + 2 * SLOTS * SLOT_WORDS;
            let memory: Memory = (0..words).map(|_| AtomicU64::new(0)).collect();
            // Each end rings the other one.
            let end = |side, other: usize, mac| {
                open(memory.clone(), side, mac, Waker(Arc::clone(&wakers[other])), 0)
                    .expect("there is room for the slots")
            };
            all[asks][owns].0 = Some(end(Side::Port, owns, None));
            all[owns][asks].1 = Some(end(Side::Switch, asks, Some([2, 0, 0, 0, 0, 1])));
        }
        let memory_bytes = Arc::new(AtomicU64::new(0));
        let wakers: Vec<Waker> = wakers.iter().cloned().map(Waker).collect();
        let part = |(index, others): (usize, Vec<_>)| Self {
            index,
            count,
            secret: Secret::new(secret),
            peers: others.into_iter().map(peer).collect(),
            ready: VecDeque::new(),
            gathered: Vec::new(),
            paused: false,
            memory_bytes: Arc::clone(&memory_bytes),
            heard_bytes: 0,
            wakers: wakers.clone(),
            counters: ShardCounters::default(),
        };
        all.into_iter().enumerate().map(part).collect()
    }

    /// How many cores there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// All other cores are to have so many bytes for items as well. Who says it last is obeyed.
    pub(crate) fn tell_memory(&mut self, bytes: usize) {
        self.heard_bytes = bytes as u64;
        self.memory_bytes.store(self.heard_bytes, Ordering::Release);
        let index = self.index;
        self.wakers
            .iter()
            .enumerate()
            .filter(|(core, _)| *core != index)
            .for_each(|(_, waker)| waker.0.wake());
    }

    /// What another core said so since this was asked last.
    #[inline]
    pub(crate) fn told_memory(&mut self) -> Option<usize> {
        let bytes = self.memory_bytes.load(Ordering::Acquire);
        (core::mem::replace(&mut self.heard_bytes, bytes) != bytes).then_some(bytes as usize)
    }

    /// What was exchanged.
    pub fn counters(&self) -> ShardCounters {
        self.counters
    }

    /// The core that has a key.
    #[inline]
    fn owner(&self, key: &[u8]) -> usize {
        ((u128::from(self.secret.hash(key)) * self.count as u128) >> 64) as usize
    }

    /// The core that has a key, where that is another one.
    #[inline]
    pub(crate) fn foreign(&self, key: &[u8]) -> Option<usize> {
        let owner = self.owner(key);
        (owner != self.index).then_some(owner)
    }

    /// The other cores, one after the other.
    pub(crate) fn other(&self, number: usize) -> Option<usize> {
        (0..self.count).filter(|core| *core != self.index).nth(number)
    }

    /// Whether this core may sleep until somebody wakes it. From now on who has something for it does.
    pub(crate) fn may_rest(&mut self) -> bool {
        // What was said since this core's last turn has nobody else to show it.
        self.kick();
        let mut quiet =
            self.ready.is_empty() && self.memory_bytes.load(Ordering::Acquire) == self.heard_bytes;
        for peer in self.peers.iter_mut().flatten() {
            // Nobody tells when a full ring has room again.
            quiet &= peer.crowded.is_empty() && peer.owed.is_empty() && peer.unsaid.is_empty();
            // Both are asked, whatever the first one says.
            quiet &= peer.answers.arm() & peer.asked.arm();
        }
        quiet
    }

    /// Nothing is under way, in neither direction, that ends by itself: who waits for data of a client does not.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
            && self.peers.iter().flatten().all(|peer| {
                peer.crowded.is_empty()
                    && peer.owed.is_empty()
                    && !peer.exchanges.iter().any(Exchange::is_under_way)
                    && !peer.guests.iter().any(Guest::is_under_way)
            })
    }

    /// No exchange is there, in neither direction.
    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> bool {
        let unused = |peer: &Peer| peer.free.len() == EXCHANGES && !peer.guests.iter().any(Guest::is_there);
        self.is_idle() && self.peers.iter().flatten().all(unused)
    }

    /// From now on no new exchange begins.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Shows others what was said to them.
    fn kick(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            peer.requests.kick();
            peer.said.kick();
        }
    }
}

type End = Option<(Hears, Says)>;

fn peer((asks, owns): (End, End)) -> Option<Peer> {
    let ((answers, requests), (asked, said)) = (asks?, owns?);
    Some(Peer {
        requests,
        answers,
        exchanges: (0..EXCHANGES).map(|_| Exchange::default()).collect(),
        free: (0..EXCHANGES as u16).rev().collect(),
        patient: VecDeque::new(),
        crowded: VecDeque::new(),
        owed: VecDeque::new(),
        asked,
        said,
        guests: (0..EXCHANGES).map(|_| Guest::default()).collect(),
        unsaid: VecDeque::new(),
    })
}
