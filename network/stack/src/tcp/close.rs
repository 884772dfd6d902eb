//! Ends of all kinds: in order, lingering, by reset, given up (RFC 9293, 3.6).

use super::connection::{Purpose, State};
use super::sequence::Seq;
use super::timeline::Timeline;
use super::{From, Tcp, World};
use crate::application::{Application, ConnectionId, Ended};
use crate::counters::Drop;
use crate::port::Egress;
use crate::wire::tcp::{ACK, FIN, Header, Options, RST, SYN, Segment};

impl Tcp {
    /// The other side's FIN was reached. False when the connection is gone.
    pub(super) fn finish<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let connection = self.table.at(slot);
        let last = connection.state == State::FinWait2;
        connection.state = match connection.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            other => other,
        };
        // What was not consumed is shown once more: nothing will follow it.
        if !self.offer(world, slot)
            || self.call(world, slot, |application, handle, _| application.finished(handle)).is_none()
        {
            return false;
        }
        if last {
            self.linger(world, slot);
        }
        !last
    }

    /// Both directions are closed; the record stays a while to answer what comes late (TIME-WAIT).
    pub(super) fn linger<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) {
        self.forget_application(world, slot, Ended::Closed);
        let connection = self.table.at(slot);
        connection.state = State::TimeWait;
        connection.purpose = Purpose::Nothing;
        connection.probing = false;
        if self.lingering.len() >= self.config.time_wait.max(1) as usize {
            self.forget_oldest_lingering();
        }
        let id = self.id(slot);
        self.lingering.push_back(id);
        self.make_due(slot);
    }

    /// Makes room by forgetting the connection that lingered longest.
    pub(super) fn forget_oldest_lingering(&mut self) {
        while let Some(id) = self.lingering.pop_front() {
            if let Some(slot) = self.table.resolve(id)
                && self.table.get(slot).state == State::TimeWait
            {
                self.timers.clear(slot);
                self.free_record(slot);
                return;
            }
        }
    }

    /// The connection is gone at once.
    pub(super) fn end<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        reason: Ended,
    ) {
        self.leave_half_open(slot);
        self.forget_application(world, slot, reason);
        if self.table.get(slot).state == State::SynSent && !self.table.get(slot).resolved {
            self.unresolved = self.unresolved.saturating_sub(1);
        }
        if self.table.get(slot).state == State::TimeWait {
            // It is the oldest one, or nearly so: what ended before it is in front of it.
            let id = self.id(slot);
            while self
                .lingering
                .front()
                .is_some_and(|&front| front == id || self.table.resolve(front).is_none())
            {
                self.lingering.pop_front();
            }
        }
        self.timers.clear(slot);
        self.free_record(slot);
    }

    /// Tells the application, and takes back everything that the connection held.
    fn forget_application<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        reason: Ended,
    ) {
        let id: ConnectionId = self.id(slot);
        let connection = self.table.at(slot);
        world.out.gathering.forget(connection);
        connection.heard_in = 0;
        connection.heard_out = 0;
        let announced = core::mem::replace(&mut connection.announced, false);
        if announced {
            self.open -= 1;
            self.incoming -= u32::from(!connection.outgoing);
            world.out.counters.ended += 1;
        }
        let opening = connection.outgoing && matches!(connection.state, State::SynSent | State::SynReceived);
        if announced || opening {
            world.application.ended(id, reason);
        }
        let connection = self.table.at(slot);
        self.send.clear(&mut connection.queue, world.application);
        self.receive.clear(&mut connection.held);
        self.operations.clear(&mut connection.operations);
        connection.range_count = 0;
        connection.scoreboard.clear();
        connection.timeline = Timeline::default();
    }

    /// The connection goes on elsewhere: everything that it held comes back, and nobody is told.
    pub(super) fn forget_exported<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) {
        let connection = self.table.at(slot);
        world.out.gathering.forget(connection);
        self.open -= 1;
        self.incoming -= u32::from(!connection.outgoing);
        world.out.counters.exported += 1;
        self.send.clear(&mut connection.queue, world.application);
        self.receive.clear(&mut connection.held);
        self.operations.clear(&mut connection.operations);
        self.timers.clear(slot);
        self.free_record(slot);
    }

    /// Its owner gives a connection up. One that lingers does so on.
    pub(crate) fn give_up<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) {
        if self.table.get(slot).state != State::TimeWait {
            self.abort(world, slot);
        }
    }

    /// This side gives the connection up and says so.
    pub(super) fn abort<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) {
        let connection = self.table.get(slot);
        if connection.state != State::SynSent {
            // Behind all that was sent, so that it is in order. After a time-out nothing of that is believed to have
            // arrived: then where the other side said that it stands, as for a segment that belongs nowhere.
            let (mut sequence, flags) = match connection.timed_out {
                true => (connection.una, RST),
                false => (connection.nxt.max(connection.max), RST | ACK),
            };
            // A reset beyond the window is passed over (RFC 9293, 3.10.7.4), as what asked about a closed one was: then
            // the other side expects what lies at the window's end.
            let edge = connection.una.plus(connection.window);
            if connection.state.is_open() && sequence.after(edge) {
                sequence = edge;
            }
            if self.control(world, slot, sequence, flags, &Options::default()).is_some() {
                world.out.counters.resets_out += 1;
            }
        }
        self.end(world, slot, Ended::Aborted);
    }

    /// A reset for a segment that belongs nowhere (RFC 9293, 3.5.2).
    pub(super) fn refuse<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: From,
        segment: &Segment<'_>,
    ) {
        if segment.has(RST) {
            return;
        }
        if !self.resets.take(world.now_ns) {
            world.out.counters.drop(Drop::RateLimited);
            return;
        }
        let (sequence, acknowledgement, flags) = if segment.has(ACK) {
            (segment.acknowledgement, Seq(0), RST)
        } else {
            (Seq(0), segment.sequence.plus(segment.span()), RST | ACK)
        };
        let header = Header {
            source_port: segment.destination_port,
            destination_port: segment.source_port,
            sequence,
            acknowledgement,
            flags,
            window: 0,
        };
        world.out.counters.resets_out += 1;
        self.reply(world, from, &header, &Options::default());
    }

    /// Something for a connection that lingers.
    pub(super) fn receive_in_time_wait<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        from: From,
        segment: &Segment<'_>,
    ) {
        let connection = self.table.get(slot);
        let expected = connection.expected;
        // By its clock it is newer than everything of the old one (RFC 6191).
        let newer = |value: u32| (value.wrapping_sub(connection.stamp_recent) as i32) > 0;
        let later = connection.stamp_of(segment).is_some_and(newer);
        // A reset must not end the lingering (RFC 1337).
        if segment.has(RST) {
            world.out.counters.drop(Drop::Unacceptable);
            return;
        }
        // The same peer opens again, with a later sequence number: that can be nothing old (RFC 9293, 3.10.7.4).
        if segment.flags & (SYN | ACK) == SYN
            && (segment.sequence.after(expected) || later)
            && self.listens(segment.destination_port)
        {
            self.end(world, slot, Ended::Closed);
            self.open_passively(world, from, segment);
            return;
        }
        world.out.counters.drop(Drop::Unacceptable);
        if !self.challenges.take(world.now_ns) {
            world.out.counters.drop(Drop::RateLimited);
            return;
        }
        let connection = self.table.at(slot);
        connection.acknowledge_now = true;
        if segment.has(FIN) {
            // Our last acknowledgement was lost; the time begins anew.
            connection.purpose = Purpose::Nothing;
        }
        self.make_due(slot);
    }
}
