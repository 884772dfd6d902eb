//! The bytes of a segment: handed over in place when they are the next ones, kept when they are early, and the end
//! of the stream.

use super::connection::{Connection, NEVER, Purpose, RANGES, State};
use super::sequence::Seq;
use super::{From, Tcp, World};
use crate::application::Application;
use crate::counters::Drop;
use crate::port::Egress;
use crate::wire::tcp::{FIN, Segment};

/// After this many full segments an acknowledgement waits no longer (RFC 9293, 3.8.6.3).
pub(super) const SEGMENTS_PER_ACKNOWLEDGEMENT: u32 = 2;

impl Tcp {
    /// Acts on payload and FIN of an acceptable segment. False when the connection is gone.
    pub(super) fn deliver<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        from: From,
        segment: &Segment<'_>,
    ) -> bool {
        let connection = self.table.at(slot);
        if !matches!(connection.state, State::Established | State::FinWait1 | State::FinWait2) {
            // After its FIN the other side has nothing more to say; what comes again is acknowledged again.
            connection.acknowledge_now = true;
            return true;
        }
        // Cut off what was received before and what is beyond the window.
        let (expected, edge) = (connection.expected, connection.promised);
        let mut start = segment.sequence;
        let mut bytes = segment.payload;
        let mut fin = segment.has(FIN);
        if start.before(expected) {
            let old = expected.since(start) as usize;
            bytes = bytes.get(old..).unwrap_or(&[]);
            start = expected;
            connection.acknowledge_now = true;
        }
        let room = edge.since(start) as usize;
        if bytes.len() > room {
            bytes = &bytes[..room];
            fin = false;
            connection.acknowledge_now = true;
        }
        let end = start.plus(bytes.len() as u32);
        if fin {
            // Bytes beyond an end that was told before are nobody's.
            connection.fin_at.get_or_insert(end);
        }
        if let Some(fin_at) = connection.fin_at
            && end.after(fin_at)
        {
            connection.acknowledge_now = true;
            return true;
        }
        if start == expected {
            if !bytes.is_empty() {
                connection.arrived_ns = from.arrived_ns;
                if connection.purpose == Purpose::Linger {
                    // The other direction is alive: the wait for its end begins anew.
                    connection.purpose = Purpose::Nothing;
                }
                if !self.deliver_in_order(world, slot, bytes) {
                    return false;
                }
            }
            return self.reach_end(world, slot);
        }
        if !bytes.is_empty() {
            self.keep_early(world, slot, start, bytes);
        }
        // The sender counts these (RFC 5681, 4.2), so each segment out of order gets its own.
        self.acknowledge_at_once(world, slot);
        true
    }

    fn deliver_in_order<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        bytes: &[u8],
    ) -> bool {
        let Connection { held, range_count, .. } = *self.table.get(slot);
        if held.ready() > 0 || range_count > 0 {
            return self.deliver_by_memory(world, slot, bytes);
        }
        let connection = self.table.at(slot);
        connection.expected = connection.expected.plus(bytes.len() as u32);
        let Some(consumed) =
            self.call(world, slot, |application, handle, _| application.received(handle, bytes))
        else {
            return false;
        };
        self.delivered(world, slot, bytes, consumed);
        true
    }

    /// The application consumed some of the next bytes: keeps the rest, and owes an acknowledgement.
    pub(super) fn delivered<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        bytes: &[u8],
        consumed: usize,
    ) {
        let rest = bytes.get(consumed..).unwrap_or(&[]);
        let connection = self.table.at(slot);
        let mut taken = bytes.len();
        if !rest.is_empty() {
            if self.receive.put(&mut connection.held, 0, rest, 0) {
                self.receive.advance(&mut connection.held, rest.len() as u32);
                world.out.counters.copied_in_bytes += rest.len() as u64;
            } else {
                // As if it had been lost: it comes again.
                connection.expected = connection.expected.minus(rest.len() as u32);
                taken -= rest.len();
                world.out.counters.drop(Drop::NoMemory);
            }
        }
        world.out.counters.payload_in += taken as u64;
        self.owe_acknowledgement(slot, taken as u32, world.now_ns);
    }

    fn deliver_by_memory<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        bytes: &[u8],
    ) -> bool {
        let connection = self.table.at(slot);
        let place = connection.held.ready() as usize;
        let extent = connection.extent();
        if !self.receive.put(&mut connection.held, place, bytes, extent) {
            world.out.counters.drop(Drop::NoMemory);
            connection.acknowledge_now = true;
            return true;
        }
        world.out.counters.copied_in_bytes += bytes.len() as u64;
        let before = connection.expected;
        let mut expected = before.plus(bytes.len() as u32);
        // Early bytes that now follow are in order, too.
        let mut merged = 0;
        while merged < usize::from(connection.range_count) && !connection.ranges[merged].0.after(expected) {
            expected = expected.max(connection.ranges[merged].1);
            merged += 1;
        }
        if merged > 0 {
            connection.ranges.copy_within(merged.., 0);
            connection.range_count -= merged as u8;
            // A hole was filled: the sender waits to hear of it (RFC 5681, 4.2).
            connection.acknowledge_now = true;
        }
        connection.expected = expected;
        let gained = expected.since(before);
        self.receive.advance(&mut connection.held, gained);
        world.out.counters.payload_in += u64::from(gained);
        self.owe_acknowledgement(slot, gained, world.now_ns);
        self.offer(world, slot)
    }

    /// Shows the application what it did not consume. False when the connection is gone.
    pub(super) fn offer<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let held = self.table.get(slot).held;
        if held.ready() == 0 {
            return true;
        }
        let Some(consumed) = self.call(world, slot, |application, handle, memory| {
            application.received(handle, memory.ready(&held))
        }) else {
            return false;
        };
        let connection = self.table.at(slot);
        let count = (consumed as u32).min(connection.held.ready());
        let more = connection.range_count > 0;
        self.receive.consume(&mut connection.held, count, more);
        // Tell of the larger window once it is worth a segment (RFC 9293, 3.8.6.2.2).
        // No more can be told than the field holds.
        let limit = self.config.receive_window_bytes.min(0xffff << self.table.get(slot).shift_out);
        let step = (limit / 2).min(SEGMENTS_PER_ACKNOWLEDGEMENT * u32::from(self.segment_limit()));
        let connection = self.table.at(slot);
        if connection.edge(limit).since(connection.promised) >= step
            && connection.promised.since(connection.expected) < limit / 2
        {
            connection.acknowledge_now = true;
        }
        true
    }

    fn owe_acknowledgement(&mut self, slot: u32, count: u32, now_ns: u64) {
        let full = SEGMENTS_PER_ACKNOWLEDGEMENT * u32::from(self.segment_limit());
        let delay_ns = self.ack_delay_ns;
        self.table.at(slot).owe_acknowledgement(count, full, delay_ns, now_ns);
    }

    fn keep_early<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        start: Seq,
        bytes: &[u8],
    ) {
        let connection = self.table.at(slot);
        let end = start.plus(bytes.len() as u32);
        let count = usize::from(connection.range_count);
        // Ranges that touch the new one become one with it.
        let first = connection.ranges[..count].iter().take_while(|range| range.1.before(start)).count();
        let last =
            first + connection.ranges[first..count].iter().take_while(|range| !range.0.after(end)).count();
        if first == last && count == RANGES {
            world.out.counters.drop(Drop::NoMemory);
            return;
        }
        let place = (start.since(connection.expected) + connection.held.ready()) as usize;
        let extent = connection.extent();
        if !self.receive.put(&mut connection.held, place, bytes, extent) {
            world.out.counters.drop(Drop::NoMemory);
            return;
        }
        let mut range = (start, end);
        if first < last {
            range = (start.min(connection.ranges[first].0), end.max(connection.ranges[last - 1].1));
            connection.ranges.copy_within(last..count, first + 1);
        } else {
            connection.ranges.copy_within(first..count, first + 1);
        }
        connection.ranges[first] = range;
        connection.range_count = (count + 1 - (last - first)) as u8;
        world.out.counters.out_of_order += 1;
        world.out.counters.copied_in_bytes += bytes.len() as u64;
    }

    /// The stream may have come to its end.
    fn reach_end<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) -> bool {
        let connection = self.table.at(slot);
        if connection.fin_at != Some(connection.expected) {
            return true;
        }
        connection.expected = connection.expected.plus(1);
        connection.promised = connection.promised.max(connection.expected);
        connection.acknowledge_now = true;
        connection.fin_at = None;
        self.finish(world, slot)
    }
}

impl Connection {
    /// Bytes were received that want an acknowledgement: at once after `full` of them, else after the delay.
    #[inline]
    pub(super) fn owe_acknowledgement(&mut self, count: u32, full: u32, delay_ns: u64, now_ns: u64) {
        self.unacknowledged = self.unacknowledged.saturating_add(count);
        if self.unacknowledged >= full.min(2 * u32::from(self.segment_max)) || delay_ns == 0 {
            self.acknowledge_now = true;
        } else if self.acknowledge_ns == NEVER {
            self.acknowledge_ns = now_ns + delay_ns;
        }
    }
}
