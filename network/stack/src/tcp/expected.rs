//! The short way of what nearly every segment is (Van Jacobson's header prediction): the very bytes that an undisturbed
//! connection expects next, with an acknowledgement of something outstanding; and a reply that fits one segment and
//! both windows. What happens here is what happens on the long way, without what cannot matter then. Whatever is
//! not as expected is left untouched to the long way.

use core::cell::Cell;
use core::net::Ipv4Addr;

use super::connection::{Connection, NEVER, Purpose, State};
use super::deliver::SEGMENTS_PER_ACKNOWLEDGEMENT;
use super::output::emit;
use super::{Handle, Tcp, World};
use crate::application::{Application, ConnectionId};
use crate::port::Egress;
use crate::wire::ipv4::NOT_CAPABLE;
use crate::wire::tcp::{ACK, Header, PSH, Segment};

impl Connection {
    /// Established both ways, nothing lost, probed, blocked or out of order, nothing held for the application.
    #[inline(always)]
    fn is_undisturbed(&self) -> bool {
        self.state == State::Established
            && !(self.recovering | self.probing | self.blocked | self.closed)
            && self.retries
                | self.duplicates
                | self.scoreboard.count
                | self.timeline.count
                | self.range_count
                | self.extras.0
                == 0
            && self.held.ready() == 0
            && self.fin_at.is_none()
            && self.nxt == self.max
    }
}

impl Tcp {
    /// Acts on a segment when it is what was expected. False when it is not, and nothing was done.
    #[inline(always)]
    pub(super) fn receive_expected<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        arrived_ns: u64,
        segment: &Segment<'_>,
    ) -> bool {
        let full = SEGMENTS_PER_ACKNOWLEDGEMENT * u32::from(self.segment_limit());
        let connection = self.table.at(slot);
        let acknowledgement = segment.acknowledgement;
        let count = acknowledgement.since(connection.una);
        let len = segment.payload.len();
        // An acknowledgement outside of what is outstanding is far away when counted from its beginning.
        let expected = segment.sequence == connection.expected
            && segment.flags & !PSH == ACK
            && segment.options.is_empty()
            && len != 0
            && len <= connection.promised.since(connection.expected) as usize
            && count <= connection.flight()
            && connection.is_undisturbed();
        if !expected {
            return false;
        }
        if count > 0 {
            connection.measure_round_trip(&self.config, acknowledgement, world.now_ns);
            let flight_before = connection.flight();
            connection.una = acknowledgement;
            connection.probes = 0;
            connection.purpose = Purpose::Nothing;
            self.send.acknowledge(&mut connection.queue, count, world.application);
            connection.tail_probe = None;
            connection.grow(self.config.congestion_control, count, flight_before, world.now_ns);
        }
        // A segment with the next bytes is newer than all that were seen.
        let window = u32::from(segment.window) << connection.shift_in;
        connection.window = window;
        connection.window_max = connection.window_max.max(window);
        connection.window_sequence = segment.sequence;
        connection.window_acknowledgement = acknowledgement;
        connection.arrived_ns = arrived_ns;
        connection.expected = connection.expected.plus(len as u32);
        let mut handle = Handle {
            id: ConnectionId { slot, generation: connection.generation },
            now_ns: world.now_ns,
            limit: self.config.send_queue_bytes,
            connection,
            send: &mut self.send,
            operations: &mut self.operations,
            departures: &mut world.out.departures,
            counters: &mut world.out.counters,
            short: Cell::new(false),
        };
        let consumed = world.application.received(&mut handle, segment.payload);
        let short = handle.short.get();
        let Handle { connection, counters, .. } = handle;
        if consumed < len || short || connection.aborted {
            if self.after_call(world, slot, short) {
                self.delivered(world, slot, segment.payload, consumed);
            }
            return true;
        }
        counters.payload_in += len as u64;
        connection.owe_acknowledgement(len as u32, full, self.ack_delay_ns, world.now_ns);
        if !connection.due {
            connection.due = true;
            self.due.push(slot);
        }
        true
    }

    /// Sends everything that a connection has to send when that is one segment in one piece, and sets its timer. False when
    /// it is not, and nothing was done but that it is no longer marked as due.
    #[inline(always)]
    pub(super) fn send_expected<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let now_ns = world.now_ns;
        let limit = self.config.receive_window_bytes;
        let connection = self.table.at(slot);
        connection.due = false;
        let flight = connection.flight();
        let written = connection.queue.bytes();
        let len = written.wrapping_sub(flight);
        let after_pause = flight == 0 && now_ns.saturating_sub(connection.sent_ns) > connection.timeout_ns;
        let expected = len != 0
            && len <= u32::from(connection.segment_max)
            && written <= connection.window.min(connection.congestion_window)
            && !after_pause
            && connection.is_undisturbed();
        if !expected {
            return false;
        }
        let Some(whole) = self.send.whole(world.application, &connection.queue, len) else { return false };
        let shift = connection.shift_out;
        let wanted = connection.edge(limit).since(connection.expected);
        // Rounded up, so that the edge never moves left. That does not add up here, where everything was read.
        let window = ((wanted + (1 << shift) - 1) >> shift).min(0xffff) as u16;
        let header = Header {
            source_port: connection.key.local_port,
            destination_port: connection.key.remote_port,
            sequence: connection.nxt,
            acknowledgement: connection.expected,
            flags: ACK | PSH,
            window,
        };
        let destination = (connection.mac, Ipv4Addr::from_bits(connection.key.remote));
        let source = (self.config.mac, self.config.address);
        let Some(frame) =
            emit(world.out, now_ns, source, destination, &header, None, (&[whole.bytes], None, NOT_CAPABLE))
        else {
            return false;
        };
        let cursor = whole.end;
        self.send.sent_whole(cursor, frame);
        connection.queue.set_cursor(cursor);
        world.out.gathering.mark_out(connection);
        world.out.counters.payload_out += u64::from(len);
        let promised = connection.expected.plus(u32::from(window) << shift);
        connection.promised = connection.promised.max(promised);
        connection.acknowledge_now = false;
        connection.acknowledge_ns = NEVER;
        connection.unacknowledged = 0;
        connection.nxt = connection.nxt.plus(len);
        connection.max = connection.nxt;
        connection.sent_ns = now_ns;
        if !connection.timed {
            connection.timed = true;
            connection.timed_end = connection.nxt;
            connection.timed_ns = now_ns;
        }
        while let Some(arrived_ns) = self.operations.pop_sent(&mut connection.operations, connection.max) {
            world.out.departures.queue(arrived_ns, now_ns);
        }
        if connection.purpose != Purpose::Retransmit {
            connection.purpose = Purpose::Retransmit;
            connection.deadline_ns = now_ns.saturating_add(connection.timeout_ns);
        }
        self.timers.set(slot, connection.deadline_ns);
        true
    }
}
