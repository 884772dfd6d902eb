//! Marks of congestion (RFC 3168): routers mark packets instead of losing them, and who gets one says so until the
//! sender has slowed down.
//!
//! They cost no byte. Connections that have agreed on them go the long way through the stack.

use super::connection::{Connection, Extras};
use super::{Tcp, World};
use crate::application::Application;
use crate::config::Agreement;
use crate::port::Egress;
use crate::wire::ipv4::{CAPABLE, CONGESTED, NOT_CAPABLE};
use crate::wire::tcp::{ACK, CWR, ECE, SYN, Segment};

impl Connection {
    /// The other side's SYN, or its answer to ours, says whether it listens to marks.
    pub(super) fn agree_on_marks(&mut self, wish: Agreement, segment: &Segment<'_>) {
        let agreed = if segment.has(ACK) {
            wish == Agreement::Always && segment.flags & (ECE | CWR) == ECE
        } else {
            wish != Agreement::Never && segment.has(ECE | CWR)
        };
        self.extras.set(Extras::MARKS, agreed);
        self.marked_until = self.una;
    }

    /// What our SYN, or our answer to one, says of marks. A SYN that was lost may have been lost for that.
    pub(super) fn syn_marks(&self, wish: Agreement, passive: bool) -> u8 {
        match (passive, wish) {
            (true, _) if self.extras.has(Extras::MARKS) => ECE,
            (false, Agreement::Always) if self.retries == 0 => ECE | CWR,
            _ => 0,
        }
    }

    /// A packet came: was it marked, and does its sender know of the last mark?
    pub(super) fn note_mark(&mut self, congestion: u8, segment: &Segment<'_>) {
        if segment.has(CWR) {
            self.extras.set(Extras::ECHO, false);
        }
        if congestion == CONGESTED && !self.extras.has(Extras::ECHO) {
            self.extras.set(Extras::ECHO, true);
            self.acknowledge_now = true;
        }
    }

    /// The flags and the packet's mark for a segment. Only new bytes may be marked (RFC 3168, 6.1.5), since a lost
    /// repetition would be no sign of congestion to anybody.
    pub(super) fn marks_out(&mut self, flags: u8, new_bytes: bool) -> (u8, u8) {
        if !self.extras.has(Extras::MARKS) || flags & SYN != 0 {
            return (0, NOT_CAPABLE);
        }
        let mut marks = if self.extras.has(Extras::ECHO) && flags & ACK != 0 { ECE } else { 0 };
        if !new_bytes {
            return (marks, NOT_CAPABLE);
        }
        if self.extras.has(Extras::SLOWED) {
            marks |= CWR;
            self.extras.set(Extras::SLOWED, false);
        }
        (marks, CAPABLE)
    }
}

impl Tcp {
    /// The other side got a marked packet: as if one were lost, but once a round trip and with nothing to repeat.
    pub(super) fn note_echo<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        segment: &Segment<'_>,
    ) {
        let control = self.config.congestion_control;
        let connection = self.table.at(slot);
        let heard = segment.has(ECE) && connection.extras.has(Extras::MARKS);
        // What was outstanding at the last time was sent before we knew.
        if !heard || connection.recovering || segment.acknowledgement.before(connection.marked_until) {
            return;
        }
        connection.reduce(control);
        connection.congestion_window = connection.slow_start_end;
        connection.marked_until = connection.max.plus(1);
        connection.extras.set(Extras::SLOWED, true);
        world.out.counters.congestion_echoes += 1;
    }
}
