//! What the other side has received, and how much more it will take.

use super::connection::{Purpose, State};
use super::recover::News;
use super::{Tcp, World};
use crate::application::{Application, Ended};
use crate::port::Egress;
use crate::wire::tcp::Segment;

impl Tcp {
    /// Acts on the acknowledgement and window of an acceptable segment. False when the connection is gone.
    pub(super) fn acknowledge<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        segment: &Segment<'_>,
    ) -> bool {
        let acknowledgement = segment.acknowledgement;
        let connection = self.table.at(slot);
        let una = connection.una;
        let window = u32::from(segment.window) << connection.shift_in;
        let same_window = window == connection.window;
        // An older segment must not bring an older window back (RFC 9293, 3.10.7.4). Whatever acknowledges more is newer, a
        // repeated segment too: kept beside its acknowledgement, the window of the one before would reach further than was
        // ever offered. What acknowledges less is older, whatever its number.
        let newer = connection.window_sequence.before(segment.sequence)
            || (connection.window_sequence == segment.sequence
                && !acknowledgement.before(connection.window_acknowledgement));
        if acknowledgement.after(una) || (acknowledgement == una && newer) {
            connection.window = window;
            connection.window_max = connection.window_max.max(window);
            connection.window_sequence = segment.sequence;
            connection.window_acknowledgement = acknowledgement;
            if window > 0 && connection.probing {
                connection.probing = false;
                connection.purpose = Purpose::Nothing;
            }
        }
        let reported = connection.scoreboard.bytes;
        let flight_before = connection.max.since(una);
        let told =
            connection.sack && !segment.options.is_empty() && self.note_sack(slot, segment, world.now_ns);
        if !acknowledgement.after(una) {
            let connection = self.table.at(slot);
            let delivered = connection.scoreboard.bytes.saturating_sub(reported);
            if delivered > 0 {
                if connection.purpose != Purpose::Probe && connection.purpose != Purpose::Linger {
                    connection.purpose = Purpose::Nothing;
                }
                self.learn(world, slot, News { advance: 0, delivered, flight_before });
            } else if !told && acknowledgement == una && segment.span() == 0 && same_window {
                self.duplicate_acknowledgement(world, slot);
            }
            return true;
        }
        let connection = self.table.at(slot);
        if connection.timeline.count > 0 {
            connection.complete_timeline();
            connection.note_arrival(acknowledgement.minus(1), world.now_ns);
        }
        connection.measure_round_trip(&self.config, acknowledgement, world.now_ns);
        let count = acknowledgement.since(una);
        let bytes = count.min(connection.queue.bytes());
        let fin = count > bytes;
        connection.una = acknowledgement;
        let rewound = connection.nxt.before(acknowledgement);
        connection.nxt = connection.nxt.max(acknowledgement);
        connection.probing = false;
        connection.probes = 0;
        // What is still outstanding gets a new time-out from now (RFC 6298, 5.3).
        if connection.purpose != Purpose::Linger {
            connection.purpose = Purpose::Nothing;
        }
        self.send.acknowledge(&mut connection.queue, bytes, world.application);
        if rewound {
            connection.queue.rewind();
        }
        let connection = self.table.at(slot);
        connection.scoreboard.drop_before(acknowledgement);
        connection.timeline.drop_before(acknowledgement);
        let delivered = (count + connection.scoreboard.bytes).saturating_sub(reported);
        self.learn(world, slot, News { advance: count, delivered, flight_before });
        if fin && !self.fin_acknowledged(world, slot) {
            return false;
        }
        if self.table.get(slot).blocked {
            self.tell_writable(world, slot);
            return self.table.get(slot).state.is_open();
        }
        true
    }

    /// Our FIN was received. False when that was the last thing to know.
    fn fin_acknowledged<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let connection = self.table.at(slot);
        connection.fin_acknowledged = true;
        match connection.state {
            State::FinWait1 => connection.state = State::FinWait2,
            State::Closing => {
                self.linger(world, slot);
                return false;
            }
            State::LastAck => {
                self.end(world, slot, Ended::Closed);
                return false;
            }
            _ => {}
        }
        true
    }
}
