//! The way out of a switch's port: queues by priority, and one frame at a time on its way at the port's rate.

use crate::discipline::{Discipline, Moment, PRIORITIES, Verdict};
use crate::link::sending_ns;
use std::collections::VecDeque;

/// What a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlet {
    /// Bits a second; 0 for a port that takes no time and at which nothing ever waits. The link behind a port with a
    /// rate should have none of its own: it would take the same time again.
    pub rate_bits_per_s: u64,
    /// Bytes that may wait in each of the port's queues. A frame that finds less room is dropped and counted.
    pub queue_bytes: u64,
}

impl Default for Outlet {
    fn default() -> Self {
        Self { rate_bits_per_s: 0, queue_bytes: 1 << 20 }
    }
}

/// What a port did so far. Every frame that was offered was sent, or dropped for one of the reasons, or is among
/// those that are still here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutletCounters {
    /// Frames that were to leave here.
    pub offered: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that left, by priority.
    pub sent_by_priority: [u64; PRIORITIES],
    /// Dropped because their queue, or the memory that all ports share, was full.
    pub full: u64,
    /// Dropped by the discipline.
    pub refused: u64,
    /// Marked by the discipline, dropped afterwards or not.
    pub marked: u64,
    /// Made shorter by the discipline, dropped afterwards or not.
    pub trimmed: u64,
    /// Most bytes that ever waited, all queues together.
    pub waiting_bytes_max: u64,
    /// Longest time that a frame waited before it began to leave.
    pub waited_ns_max: u64,
}

struct Waiting {
    since_ns: u64,
    frame: Vec<u8>,
}

/// A port at work.
pub(crate) struct Port {
    pub(crate) outlet: Outlet,
    pub(crate) counters: OutletCounters,
    queues: [VecDeque<Waiting>; PRIORITIES],
    bytes: [u64; PRIORITIES],
    /// The frame that is on its way into the link.
    sending: Option<(usize, Vec<u8>)>,
}

impl Port {
    pub(crate) fn new(outlet: Outlet) -> Self {
        Self {
            outlet,
            counters: OutletCounters::default(),
            queues: Default::default(),
            bytes: [0; PRIORITIES],
            sending: None,
        }
    }

    /// Frames that wait or are being sent.
    pub(crate) fn here(&self) -> u64 {
        self.queues.iter().map(|queue| queue.len() as u64).sum::<u64>() + u64::from(self.sending.is_some())
    }

    /// A frame is to leave here. `shared_bytes` is the room that all ports of the switch have together. The bytes that
    /// it took of it.
    pub(crate) fn offer(
        &mut self,
        discipline: &mut dyn Discipline,
        (from, to): (usize, usize),
        mut frame: Vec<u8>,
        shared_bytes: u64,
        now_ns: u64,
    ) -> u64 {
        self.counters.offered += 1;
        let queue_bytes = self.outlet.queue_bytes;
        let moment = Moment { now_ns, from, to, waiting_bytes: &self.bytes, queue_bytes };
        let verdict = discipline.admit(&moment, &mut frame);
        let priority = match verdict {
            Verdict::Drop => {
                self.counters.refused += 1;
                return 0;
            }
            Verdict::Join(priority) | Verdict::Marked(priority) | Verdict::Trimmed(priority) => priority,
        };
        self.counters.marked += u64::from(matches!(verdict, Verdict::Marked(_)));
        self.counters.trimmed += u64::from(matches!(verdict, Verdict::Trimmed(_)));
        let len = frame.len() as u64;
        if self.bytes[priority] + len > queue_bytes || len > shared_bytes {
            self.counters.full += 1;
            return 0;
        }
        self.bytes[priority] += len;
        self.queues[priority].push_back(Waiting { since_ns: now_ns, frame });
        let waiting = self.bytes.iter().sum();
        self.counters.waiting_bytes_max = self.counters.waiting_bytes_max.max(waiting);
        len
    }

    /// Begins to send the most urgent frame, when none is being sent. When that is done, and the bytes that do not wait any
    /// more.
    pub(crate) fn begin(&mut self, discipline: &mut dyn Discipline, now_ns: u64) -> Option<(u64, u64)> {
        if self.sending.is_some() {
            return None;
        }
        let priority = self.queues.iter().position(|queue| !queue.is_empty())?;
        let Waiting { since_ns, mut frame } = self.queues[priority].pop_front()?;
        let len = frame.len() as u64;
        self.bytes[priority] -= len;
        let waited_ns = now_ns.saturating_sub(since_ns);
        self.counters.waited_ns_max = self.counters.waited_ns_max.max(waited_ns);
        discipline.leave(waited_ns, &mut frame);
        let done_ns = now_ns + sending_ns(frame.len(), self.outlet.rate_bits_per_s);
        self.sending = Some((priority, frame));
        Some((done_ns, len))
    }

    /// The frame that was being sent has left.
    pub(crate) fn end(&mut self) -> Option<Vec<u8>> {
        let (priority, frame) = self.sending.take()?;
        self.counters.sent += 1;
        self.counters.sent_by_priority[priority] += 1;
        Some(frame)
    }
}
