//! Is a segment acceptable, and what does it do to a connection that is synchronised (RFC 9293, 3.10.7.4)?

use super::connection::{Extras, Purpose, State};
use super::{From, Tcp, World};
use crate::application::{Application, Ended};
use crate::counters::Drop;
use crate::port::Egress;
use crate::wire::tcp::{ACK, RST, SYN, Segment};

impl Tcp {
    /// A segment for a connection in any state but SYN-SENT and TIME-WAIT.
    pub(super) fn receive_in_window<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        from: From,
        segment: &Segment<'_>,
    ) {
        let connection = self.table.at(slot);
        let stamp = connection.stamp_of(segment);
        if stamp.is_some_and(|value| connection.is_old_duplicate(value, segment, world.now_ns)) {
            world.out.counters.old_duplicates += 1;
            self.receive_outside(world, slot, segment);
            return;
        }
        let len = segment.span();
        let (expected, edge) = (connection.expected, connection.promised);
        let end = segment.sequence.plus(len);
        // First: does any of it lie in the window? A segment right at the expected byte always counts, so that
        // acknowledgements and resets are heard while the window is closed.
        let acceptable = segment.sequence == expected
            || (!segment.sequence.before(expected) && segment.sequence.before(edge))
            || (len > 0 && end.after(expected) && !end.after(edge.max(expected.plus(1))));
        if !acceptable {
            self.receive_outside(world, slot, segment);
            return;
        }
        // Second: resets only exactly where they are expected (RFC 5961, 3.2).
        if segment.has(RST) {
            if segment.sequence == expected {
                let refused = connection.state == State::SynReceived && connection.outgoing;
                self.end(world, slot, if refused { Ended::Refused } else { Ended::Reset });
            } else {
                self.challenge(world, slot);
            }
            return;
        }
        // Third: nobody opens what is open (RFC 5961, 4.2).
        if segment.has(SYN) {
            if connection.state == State::SynReceived && segment.sequence.plus(1) == expected {
                self.answer_syn_again(world, slot, segment);
            } else {
                self.challenge(world, slot);
            }
            return;
        }
        if !segment.has(ACK) {
            world.out.counters.drop(Drop::Unacceptable);
            return;
        }
        // Fourth: the acknowledgement must be for something that was sent, and not be age-old (RFC 5961, 5.2).
        let acknowledgement = segment.acknowledgement;
        if connection.state == State::SynReceived {
            if !acknowledgement.after(connection.una) || acknowledgement.after(connection.max) {
                world.out.counters.drop(Drop::Unacceptable);
                self.refuse(world, from, segment);
                return;
            }
            if !connection.outgoing && self.incoming >= self.connections_max {
                world.out.counters.drop(Drop::NoRecord);
                self.abort(world, slot);
                return;
            }
            self.leave_half_open(slot);
            if !self.establish(world, slot, acknowledgement) {
                return;
            }
        } else if acknowledgement.after(connection.max)
            || acknowledgement.before(connection.una.minus(connection.window_max.max(1)))
        {
            self.challenge(world, slot);
            return;
        }
        let connection = self.table.at(slot);
        if connection.retries > 0 {
            // Nobody answered for a while: perhaps the way to the other side changed, and this is the new one.
            connection.mac = from.mac;
            connection.retries = 0;
            if connection.purpose == Purpose::KeepAlive {
                // The silence that is waited for begins anew.
                connection.purpose = Purpose::Nothing;
            }
        }
        if let Some(value) = stamp {
            connection.keep_stamp(value, segment, world.now_ns);
        }
        if connection.extras.has(Extras::MARKS) {
            connection.note_mark(from.congestion, segment);
            self.note_echo(world, slot, segment);
        }
        if !self.acknowledge(world, slot, segment) {
            return;
        }
        if len > 0 && !self.deliver(world, slot, from, segment) {
            return;
        }
        self.make_due(slot);
    }

    /// Nothing of the segment is in the window: it is old, or someone guesses.
    fn receive_outside<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        segment: &Segment<'_>,
    ) {
        world.out.counters.drop(Drop::Unacceptable);
        if segment.has(RST) {
            return;
        }
        if self.table.get(slot).state == State::SynReceived && segment.has(SYN) {
            self.answer_syn_again(world, slot, segment);
            return;
        }
        // Bytes that came again want an acknowledgement at once: ours may have been lost. So do keep-alive
        // probes, but nothing tells those from two stacks that answer each other for ever: hence the bound.
        if !self.challenges.take(world.now_ns) {
            world.out.counters.drop(Drop::RateLimited);
            return;
        }
        self.table.at(slot).acknowledge_now = true;
        self.make_due(slot);
    }

    /// The same SYN again while its answer may have been lost.
    fn answer_syn_again<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        segment: &Segment<'_>,
    ) {
        let connection = self.table.at(slot);
        if segment.sequence.plus(1) != connection.expected || segment.has(ACK) && !connection.outgoing {
            world.out.counters.drop(Drop::Unacceptable);
            return;
        }
        if segment.has(ACK) && segment.acknowledgement == connection.una.plus(1) {
            // A simultaneous opening whose other half crossed ours: the SYN is old, its acknowledgement is not.
            connection.window_sequence = segment.sequence;
            connection.acknowledge_now = true;
            self.leave_half_open(slot);
            self.establish(world, slot, segment.acknowledgement);
            return;
        }
        connection.nxt = connection.una;
        self.make_due(slot);
    }

    /// RFC 5961: says where we are, so that a peer that means it can say it exactly, and one that guesses learns
    /// nothing.
    fn challenge<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) {
        world.out.counters.drop(Drop::Unacceptable);
        if !self.challenges.take(world.now_ns) {
            world.out.counters.drop(Drop::RateLimited);
            return;
        }
        world.out.counters.challenges += 1;
        self.table.at(slot).acknowledge_now = true;
        self.make_due(slot);
    }
}
