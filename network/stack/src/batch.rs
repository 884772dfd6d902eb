//! When queued frames are shown to the device, and which connections have a frame in the batches.
//!
//! Everything that leaves goes through [`Outbox::send`]. It only queues; the engine decides by the knobs when to
//! [`Outbox::flush`]. The one exception is a full ring: then the device must see it at once to make room.

use alloc::vec::Vec;

use crate::counters::{Counters, Drop, Flush};
use crate::meter::Meter;
use crate::port::{Egress, Frame, Offloads, PartialChecksum, Patience};
use crate::tcp::connection::Connection;

/// Operations that leave with one flush; a further one is measured at once, a little too early.
const DEPARTING: usize = 4096;

/// Frames on their way out, and what is counted there.
pub(crate) struct Outbox<E: Egress> {
    pub(crate) egress: E,
    pub(crate) counters: Counters,
    pub(crate) departures: Departures,
    pub(crate) gathering: Gathering,
    offloads: Offloads,
    mtu: usize,
    queued: u32,
    oldest_ns: u64,
    /// The number of the last frame.
    last: u64,
    patience: Patience,
}

/// Operations between their answer and their measurement.
///
/// The time that a step is given is the one at which it began. What the step itself takes (the application, the
/// operations in front of this one) would be invisible if the departure were that time. So what was shown to the
/// device is measured when the clock is seen next, at the beginning of the next step: an upper bound that is at most
/// one step late, as the arrival's stamp is an upper bound.
pub(crate) struct Departures {
    pub(crate) meter: Meter,
    /// Arrival times of operations whose answer is queued.
    queued: Vec<u64>,
    /// Arrival times of operations whose answer was shown to the device.
    shown: Vec<u64>,
}

impl Departures {
    fn new() -> Self {
        Self {
            meter: Meter::new(),
            queued: Vec::with_capacity(DEPARTING),
            shown: Vec::with_capacity(2 * DEPARTING),
        }
    }

    /// An operation's answer was queued: it leaves with the next flush.
    #[inline(always)]
    pub(crate) fn queue(&mut self, arrived_ns: u64, now_ns: u64) {
        if self.queued.len() < DEPARTING {
            self.queued.push(arrived_ns);
        } else {
            self.meter.measure(now_ns.saturating_sub(arrived_ns));
        }
    }

    /// An operation has no answer that is still to leave.
    pub(crate) fn show(&mut self, arrived_ns: u64, now_ns: u64) {
        if self.shown.len() < DEPARTING {
            self.shown.push(arrived_ns);
        } else {
            self.meter.measure(now_ns.saturating_sub(arrived_ns));
        }
    }

    fn flush(&mut self, now_ns: u64) {
        if self.shown.len() > DEPARTING {
            self.measure(now_ns);
        }
        self.shown.append(&mut self.queued);
    }

    /// The clock was seen: whatever was shown before has left by now.
    #[inline]
    pub(crate) fn measure(&mut self, now_ns: u64) {
        if self.wait() {
            self.measure_shown(now_ns);
        }
    }

    #[inline(never)]
    fn measure_shown(&mut self, now_ns: u64) {
        for arrived_ns in self.shown.drain(..) {
            self.meter.measure(now_ns.saturating_sub(arrived_ns));
        }
    }

    /// Something waits for the clock to be seen.
    pub(crate) fn wait(&self) -> bool {
        !self.shown.is_empty()
    }
}

impl<E: Egress> Outbox<E> {
    pub(crate) fn new(egress: E) -> Self {
        Self {
            offloads: egress.offloads(),
            mtu: egress.mtu(),
            egress,
            counters: Counters::default(),
            departures: Departures::new(),
            gathering: Gathering { epoch_in: 1, epoch_out: 1, ..Gathering::default() },
            queued: 0,
            oldest_ns: 0,
            last: 0,
            patience: Patience::default(),
        }
    }

    /// Reminds a device that stands still although it was shown frames.
    #[inline]
    pub(crate) fn look_after(&mut self, completed: u64, now_ns: u64) {
        if self.patience.is_over(completed, self.last, now_ns) {
            self.egress.remind();
        }
    }

    pub(crate) fn offloads(&self) -> Offloads {
        self.offloads
    }

    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// Frames queued and not shown.
    pub(crate) fn queued(&self) -> u32 {
        self.queued
    }

    /// Since when the oldest of them waits.
    pub(crate) fn oldest_ns(&self) -> Option<u64> {
        (self.queued > 0).then_some(self.oldest_ns)
    }

    /// Queues a frame and says its number; nothing when the ring is full even after the device was told.
    #[inline(always)]
    pub(crate) fn send(
        &mut self,
        headers: &[u8],
        (payload, segment_len): (&[&[u8]], Option<u16>),
        checksum: Option<PartialChecksum>,
        now_ns: u64,
    ) -> Option<u64> {
        if self.egress.room() == 0 {
            self.flush(Flush::Ring, now_ns);
            // Taking back what was read makes room; what the number means is asked for again by the engine.
            self.egress.completed();
        }
        let frame = Frame { headers, payload, checksum, segment_len };
        let len = frame.len();
        let Ok(number) = self.egress.queue(frame) else {
            self.counters.drop(Drop::RingFull);
            return None;
        };
        if self.queued == 0 {
            self.oldest_ns = now_ns;
        }
        self.queued += 1;
        self.last = number;
        self.counters.frames_out += 1;
        self.counters.bytes_out += len as u64;
        Some(number)
    }

    /// Shows everything queued to the device.
    pub(crate) fn flush(&mut self, reason: Flush, now_ns: u64) {
        if self.queued == 0 {
            return;
        }
        self.queued = 0;
        self.counters.flushes_out += 1;
        self.counters.batches_out[reason as usize] += 1;
        self.counters.kicks += u64::from(self.egress.kick());
        self.departures.flush(now_ns);
        self.gathering.out_left();
    }
}

/// It is one of the open connections that others opened, with whose number those heard are compared: not half open, and
/// not ended for the application.
#[inline(always)]
fn counted(connection: &Connection) -> bool {
    connection.announced && !connection.outgoing
}

/// How many connections that others opened have a frame among those held on their way in, and among those queued on their way out.
/// Records carry the number of the last batch in which they were seen, so that nothing is cleared.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    epoch_in: u32,
    epoch_out: u32,
    count_in: u32,
    count_out: u32,
    either: u32,
}

impl Gathering {
    pub(crate) fn mark_in(&mut self, connection: &mut Connection) {
        if connection.heard_in == self.epoch_in || !counted(connection) {
            return;
        }
        self.either += u32::from(connection.heard_out != self.epoch_out);
        connection.heard_in = self.epoch_in;
        self.count_in += 1;
    }

    pub(crate) fn mark_out(&mut self, connection: &mut Connection) {
        if connection.heard_out == self.epoch_out || !counted(connection) {
            return;
        }
        self.either += u32::from(connection.heard_in != self.epoch_in);
        connection.heard_out = self.epoch_out;
        self.count_out += 1;
    }

    pub(crate) fn in_left(&mut self) {
        self.epoch_in = self.epoch_in.wrapping_add(1).max(1);
        self.count_in = 0;
        self.either = self.count_out;
    }

    fn out_left(&mut self) {
        self.epoch_out = self.epoch_out.wrapping_add(1).max(1);
        self.count_out = 0;
        self.either = self.count_in;
    }

    /// A connection is gone: what it had in a batch counts for nobody.
    pub(crate) fn forget(&mut self, connection: &Connection) {
        let (was_in, was_out) =
            (connection.heard_in == self.epoch_in, connection.heard_out == self.epoch_out);
        self.count_in -= u32::from(was_in);
        self.count_out -= u32::from(was_out);
        self.either -= u32::from(was_in || was_out);
    }

    /// Connections with a frame in either batch.
    pub(crate) fn heard(&self) -> u32 {
        self.either
    }

    /// Connections with an answer queued.
    pub(crate) fn answered(&self) -> u32 {
        self.count_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::REMIND_NS;

    /// A device that reads nothing until it is reminded.
    struct Deaf {
        sent: u64,
        completed: u64,
        reminders: u32,
    }

    impl Egress for Deaf {
        fn offloads(&self) -> Offloads {
            Offloads::default()
        }
        fn mtu(&self) -> usize {
            1500
        }
        fn room(&self) -> usize {
            8
        }
        fn capacity(&self) -> usize {
            8
        }
        fn queue(&mut self, _: Frame<'_>) -> Result<u64, crate::port::Full> {
            self.sent += 1;
            Ok(self.sent)
        }
        fn kick(&mut self) -> bool {
            true
        }
        fn completed(&mut self) -> u64 {
            self.completed
        }
        fn remind(&mut self) {
            self.reminders += 1;
            self.completed = self.sent;
        }
    }

    #[test]
    fn a_device_that_stands_still_is_reminded() {
        let mut out = Outbox::new(Deaf { sent: 0, completed: 0, reminders: 0 });
        let look = |out: &mut Outbox<Deaf>, now_ns| {
            let completed = out.egress.completed();
            out.look_after(completed, now_ns);
            out.egress.reminders
        };
        // Nothing was sent: nothing is owed, however long that lasts.
        assert_eq!(look(&mut out, 10 * REMIND_NS), 0);
        out.send(&[0; 54], (&[], None), None, 10 * REMIND_NS);
        assert_eq!(look(&mut out, 11 * REMIND_NS - 1), 0);
        assert_eq!(look(&mut out, 11 * REMIND_NS), 1);
        // It has read all of it.
        assert_eq!(look(&mut out, 20 * REMIND_NS), 1);
    }
}
