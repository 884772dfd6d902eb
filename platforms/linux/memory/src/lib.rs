//! An in-memory link between two stacks of one process: two lock-free rings of frames, one in each direction.
//!
//! ```text
//!              full ring: indices of filled slots
//!  egress  ------------------------------------->  ingress
//!  (fills)  <-------------------------------------  (reads, gives back in any order)
//!              free ring: indices of empty slots
//! ```
//! A slot belongs to whoever holds its index; that is all the synchronisation there is. Nothing is allocated after
//! [`pair`]. The ring is bounded by its number of slots: when the other side has given none back, `queue` answers
//! `Full`, and the refusals are counted. There is no wire, so nothing is lost or changed on the way.

mod index_ring;
mod ticks;

pub use ticks::ticks;

use index_ring::IndexRing;
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

/// Most slots in one direction.
pub const SLOTS_MAX: usize = 65_536;
/// Ethernet header with one VLAN tag.
const ETHERNET_LEN: usize = 18;

/// The link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Frames that one direction holds; a power of two, at most [`SLOTS_MAX`].
    pub slots: usize,
    /// Largest Ethernet payload.
    pub mtu: usize,
    /// Leave transport checksums away: memory does not flip bits.
    pub checksum_offload: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { slots: 512, mtu: 1500, checksum_offload: true }
    }
}

/// One end of the link: what a stack receives from and sends to.
pub type End = (MemoryIngress, MemoryEgress);

/// Makes a link and returns its two ends. The ends may live on different threads.
///
/// # Panics
/// When the number of slots is no power of two or beyond [`SLOTS_MAX`].
pub fn pair(config: LinkConfig) -> (End, End) {
    assert!(config.slots.is_power_of_two() && config.slots <= SLOTS_MAX, "slots: {}", config.slots);
    let direction = || {
        let shared = Arc::new(Shared::new(&config));
        let ingress = MemoryIngress {
            shared: Arc::clone(&shared),
            waiting: VecDeque::with_capacity(config.slots),
            lens: vec![0; config.slots],
            empty_ns: 0,
            armed: false,
        };
        let egress = MemoryEgress {
            shared,
            config,
            free: Vec::with_capacity(config.slots),
            queued: 0,
            refused: 0,
            pending: VecDeque::with_capacity(config.slots),
        };
        (ingress, egress)
    };
    let ((left_in, right_out), (right_in, left_out)) = (direction(), direction());
    ((left_in, left_out), (right_in, right_out))
}

/// One direction.
struct Shared {
    slots: Box<[Slot]>,
    full: IndexRing,
    free: IndexRing,
    armed: AtomicBool,
    sleeper: OnceLock<Thread>,
    checksum_good: bool,
}

struct Slot(UnsafeCell<Content>);

struct Content {
    len: usize,
    bytes: Box<[u8]>,
}

// SAFETY: the content of a slot is touched only by the holder of its index. An index is in exactly one place: the
// egress's list, one of the rings, or the ingress's hands; the rings hand it over with release and acquire.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(config: &LinkConfig) -> Self {
        let slot =
            || Slot(UnsafeCell::new(Content { len: 0, bytes: vec![0; config.mtu + ETHERNET_LEN].into() }));
        let free = IndexRing::new(config.slots);
        (0..config.slots as u32).for_each(|index| free.push(index));
        Self {
            slots: (0..config.slots).map(|_| slot()).collect(),
            full: IndexRing::new(config.slots),
            free,
            armed: AtomicBool::new(false),
            sleeper: OnceLock::new(),
            checksum_good: config.checksum_offload,
        }
    }
}

/// The receiving half of one end.
pub struct MemoryIngress {
    shared: Arc<Shared>,
    waiting: VecDeque<Arrival>,
    /// Length of the frame in each slot that is held here; 0 for slots that are not.
    lens: Vec<u32>,
    empty_ns: u64,
    armed: bool,
}

impl MemoryIngress {
    /// Sleeps until the other side kicks or the time has passed. Called after `arm` answered true.
    pub fn wait(&self, timeout: Duration) {
        // A kick between `arm` and here leaves its token, and parking then returns at once.
        thread::park_timeout(timeout);
    }
}

impl Ingress for MemoryIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let arrived_ns = if self.armed || self.empty_ns == 0 { now_ns } else { self.empty_ns };
        if self.armed {
            self.armed = false;
            self.shared.armed.store(false, Ordering::Relaxed);
        }
        // Bounded by the slots: an index that is held here cannot come again.
        while let Some(index) = self.shared.full.pop() {
            // SAFETY: the index was just handed over, so the slot is this side's alone.
            let len = unsafe { (*self.shared.slots[index as usize].0.get()).len } as u32;
            self.lens[index as usize] = len;
            let checksum_good = self.shared.checksum_good;
            self.waiting.push_back(Arrival { buffer: index, len, arrived_ns, checksum_good });
        }
        self.empty_ns = now_ns;
        self.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.waiting.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    fn take(&mut self) -> Option<Arrival> {
        self.waiting.pop_front()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let index = arrival.buffer as usize;
        assert!(self.lens[index] != 0, "the frame was given back");
        // SAFETY: a slot with a length here is held by this side, so nobody writes it until `give_back`, which
        // needs this half mutably and so ends every borrow.
        let content = unsafe { &*self.shared.slots[index].0.get() };
        &content.bytes[..self.lens[index] as usize]
    }

    fn give_back(&mut self, arrival: Arrival) {
        let len = std::mem::take(&mut self.lens[arrival.buffer as usize]);
        assert!(len != 0, "the frame was given back before");
        self.shared.free.push(arrival.buffer);
    }

    fn arm(&mut self) -> bool {
        self.armed = true;
        let _ = self.shared.sleeper.set(thread::current());
        self.shared.armed.store(true, Ordering::Relaxed);
        // Either the sender sees the flag, or this look sees its frame (the fence in `kick` is the other half).
        fence(Ordering::SeqCst);
        self.waiting.is_empty() && self.shared.full.is_empty()
    }
}

/// The sending half of one end.
pub struct MemoryEgress {
    shared: Arc<Shared>,
    config: LinkConfig,
    free: Vec<u32>,
    pending: VecDeque<u32>,
    queued: u64,
    refused: u64,
}

impl MemoryEgress {
    /// Frames that found no free slot.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn collect(&mut self) {
        while let Some(index) = self.shared.free.pop() {
            self.free.push(index);
        }
    }
}

impl Egress for MemoryEgress {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.config.checksum_offload, segmentation: false }
    }

    fn mtu(&self) -> usize {
        self.config.mtu
    }

    fn room(&self) -> usize {
        self.free.len() + self.shared.free.len()
    }

    fn capacity(&self) -> usize {
        self.config.slots
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.free.is_empty() {
            self.collect();
        }
        let Some(index) = self.free.pop() else {
            self.refused += 1;
            return Err(Full);
        };
        // SAFETY: the index was in this side's list, so the slot is this side's alone.
        let content = unsafe { &mut *self.shared.slots[index as usize].0.get() };
        let mut len = 0;
        for part in std::iter::once(&frame.headers).chain(frame.payload) {
            content.bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        content.len = len;
        self.pending.push_back(index);
        self.queued += 1;
        Ok(self.queued)
    }

    fn kick(&mut self) -> bool {
        while let Some(index) = self.pending.pop_front() {
            self.shared.full.push(index);
        }
        fence(Ordering::SeqCst);
        let wake =
            self.shared.armed.load(Ordering::Relaxed) && self.shared.armed.swap(false, Ordering::Relaxed);
        if wake && let Some(sleeper) = self.shared.sleeper.get() {
            sleeper.unpark();
        }
        wake
    }

    /// Frames are copied when they are queued.
    fn completed(&mut self) -> u64 {
        self.queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Frame<'_> {
        Frame { headers: bytes, payload: &[], checksum: None, segment_len: None }
    }

    #[test]
    fn frames_are_seen_after_the_kick_and_not_before() {
        let ((_, mut out), (mut into, _)) = pair(LinkConfig::default());
        let pieces: [&[u8]; 2] = [b"cd", b"ef"];
        out.queue(Frame { payload: &pieces, ..frame(b"ab") }).unwrap();
        assert_eq!(into.look(5), 0);
        assert!(!out.kick(), "nobody sleeps");
        assert_eq!(into.look(9), 1);
        let arrival = into.take().unwrap();
        assert_eq!((into.bytes(&arrival), arrival.arrived_ns), (&b"abcdef"[..], 5));
        into.give_back(arrival);
        assert_eq!((out.completed(), out.room()), (1, 512));
    }

    #[test]
    fn a_full_ring_refuses_and_recovers_whatever_the_order_of_return() {
        let ((_, mut out), (mut into, _)) = pair(LinkConfig { slots: 4, ..LinkConfig::default() });
        for round in 0..100u8 {
            for i in 0..4 {
                out.queue(frame(&[round, i])).unwrap();
            }
            assert_eq!(out.queue(frame(b"x")), Err(Full));
            out.kick();
            assert_eq!(into.look(1), 4);
            let mut taken: Vec<Arrival> = std::iter::from_fn(|| into.take()).collect();
            taken.rotate_left(usize::from(round % 4));
            for arrival in taken {
                assert_eq!(into.bytes(&arrival)[0], round);
                into.give_back(arrival);
            }
        }
        assert_eq!(out.refused(), 100);
    }

    #[test]
    fn a_million_frames_cross_two_threads_in_order_without_a_lost_wake_up() {
        const FRAMES: u32 = 1_000_000;
        let ((_, mut out), (mut into, _)) = pair(LinkConfig { slots: 64, mtu: 64, ..LinkConfig::default() });
        let sender = thread::spawn(move || {
            let mut next = 0u32;
            while next < FRAMES {
                // Batches of changing size, so that sleeper and sender meet in every order.
                for _ in 0..next % 7 + 1 {
                    if next < FRAMES && out.queue(frame(&next.to_le_bytes())).is_ok() {
                        next += 1;
                    }
                }
                out.kick();
                if out.room() == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0u32;
        while next < FRAMES {
            if into.look(1) == 0 && into.arm() {
                // A lost wake-up would leave this sleeping for the whole minute and fail below.
                into.wait(Duration::from_secs(60));
            }
            while let Some(arrival) = into.take() {
                assert_eq!(into.bytes(&arrival), next.to_le_bytes());
                into.give_back(arrival);
                next += 1;
            }
        }
        sender.join().unwrap();
    }
}
