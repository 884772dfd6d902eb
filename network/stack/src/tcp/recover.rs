//! Losses and how fast to send: round-trip times (RFC 6298), slow start and congestion avoidance (RFC 5681), fast
//! recovery by duplicate acknowledgements (NewReno, RFC 6582) or by selective ones (RFC 6675), time-outs.

use super::connection::{Connection, Purpose, RANGES, State};
use super::sequence::Seq;
use super::{Tcp, World};
use crate::application::{Application, Ended};
use crate::config::Config;
use crate::port::Egress;
use crate::wire::tcp::{Options, Segment};

/// Duplicate acknowledgements that mean a loss.
const DUPLICATES: u8 = 3;
/// More than this is never outstanding, whatever the window.
const CONGESTION_WINDOW_MAX: u32 = 1 << 26;
/// Time-outs after which an opening is given up.
const SYN_RETRIES: u8 = 5;
/// Time-out before anything was measured (RFC 6298, 2.1).
pub(super) const TIMEOUT_INITIAL_NS: u64 = 1_000_000_000;
/// RFC 6298's G, the clock's step as far as time-outs are concerned.
const GRANULARITY_NS: u64 = 1_000_000;

impl Tcp {
    /// Bytes were acknowledged for the first time.
    pub(super) fn progress<A: Application, E: Egress>(
        &mut self,
        _world: &mut World<'_, A, E>,
        slot: u32,
        bytes: u32,
        flight_before: u32,
    ) {
        let connection = self.table.at(slot);
        connection.drop_sacked();
        let size = u32::from(connection.segment_max);
        if connection.recovering {
            if !connection.una.before(connection.recover) {
                connection.recovering = false;
                connection.resend = false;
                connection.duplicates = 0;
                let flight = connection.max.since(connection.una);
                connection.congestion_window = connection.slow_start_end.min(flight.max(size) + size);
            } else {
                // What follows the bytes that filled one hole is the next hole.
                connection.resend |= !connection.resent.after(connection.una);
                if !connection.sack {
                    connection.resend = true;
                    connection.congestion_window =
                        (connection.congestion_window.saturating_sub(bytes) + size).max(size);
                }
            }
            return;
        }
        connection.grow(bytes, flight_before);
    }

    pub(super) fn duplicate_acknowledgement<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) {
        let connection = self.table.at(slot);
        if connection.max == connection.una || connection.probing {
            return;
        }
        connection.duplicates = connection.duplicates.saturating_add(1);
        if connection.recovering {
            if !connection.sack {
                let size = u32::from(connection.segment_max);
                connection.congestion_window =
                    (connection.congestion_window + size).min(CONGESTION_WINDOW_MAX);
            }
        } else if connection.duplicates >= DUPLICATES && connection.una.after(connection.recover) {
            connection.enter_recovery();
            world.out.counters.fast_retransmissions += 1;
        }
    }

    /// Notes which bytes beyond the acknowledgement arrived.
    pub(super) fn note_sack(&mut self, slot: u32, segment: &Segment<'_>) {
        let options = Options::parse(segment.options);
        let connection = self.table.at(slot);
        for &(start, end) in options.ranges() {
            // Only what is outstanding; the rest is old, a duplicate report (RFC 2883), or made up.
            if start.after(connection.una) && start.before(end) && !end.after(connection.max) {
                connection.add_sacked(start, end);
            }
        }
    }

    /// A connection's timer is due. False when the connection is gone.
    pub(super) fn time_out<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let retries_max = self.config.retransmissions_max;
        let timeout_max_ns = self.config.retransmission_max_ns;
        let connection = self.table.at(slot);
        let purpose = core::mem::take(&mut connection.purpose);
        let opening = matches!(connection.state, State::SynSent | State::SynReceived);
        match purpose {
            Purpose::Nothing => return true,
            Purpose::Linger => {
                self.end(world, slot, Ended::TimedOut);
                return false;
            }
            Purpose::Probe => {
                connection.retries = connection.retries.saturating_add(1);
                connection.probes = connection.probes.saturating_add(1);
                connection.probe = true;
            }
            Purpose::Retransmit => {
                world.out.counters.timeouts += 1;
                connection.retries = connection.retries.saturating_add(1);
                connection.timeout_ns = (connection.timeout_ns * 2).min(timeout_max_ns);
                connection.timed = false;
                if opening {
                    connection.nxt = connection.una;
                    if connection.state == State::SynSent
                        && connection.resolved
                        && connection.retries.is_multiple_of(2)
                    {
                        // Perhaps the neighbour is no longer where it was.
                        self.doubt_neighbour(world, slot);
                    }
                } else {
                    connection.collapse();
                }
            }
        }
        let connection = self.table.get(slot);
        if connection.retries > if opening { SYN_RETRIES } else { retries_max } {
            self.end(world, slot, Ended::TimedOut);
            return false;
        }
        true
    }
}

impl Connection {
    /// Takes a sample when the timed bytes are acknowledged.
    #[inline(always)]
    pub(super) fn measure_round_trip(&mut self, config: &Config, acknowledgement: Seq, now_ns: u64) {
        let (least, most) = (config.retransmission_min_ns, config.retransmission_max_ns);
        if self.timed && !acknowledgement.before(self.timed_end) {
            self.timed = false;
            let sample_ns = now_ns.saturating_sub(self.timed_ns);
            if self.smoothed_ns == 0 {
                self.smoothed_ns = sample_ns.max(1);
                self.variation_ns = sample_ns / 2;
            } else {
                let difference = self.smoothed_ns.abs_diff(sample_ns);
                self.variation_ns = self.variation_ns - self.variation_ns / 4 + difference / 4;
                self.smoothed_ns = self.smoothed_ns - self.smoothed_ns / 8 + sample_ns / 8;
            }
        }
        // Progress ends the doubling of time-outs, with a new sample or without one: a path that carries bytes again
        // is not a path that is dead.
        let timeout_ns = match self.smoothed_ns {
            0 => TIMEOUT_INITIAL_NS,
            smoothed_ns => smoothed_ns + (4 * self.variation_ns).max(GRANULARITY_NS),
        };
        self.timeout_ns = timeout_ns.min(most).max(least);
    }

    /// Acknowledged bytes open the congestion window, outside of a recovery.
    #[inline(always)]
    pub(super) fn grow(&mut self, bytes: u32, flight_before: u32) {
        self.duplicates = 0;
        // A window that was not used says nothing about the path (RFC 7661).
        if flight_before < self.congestion_window / 2 {
            return;
        }
        let size = u32::from(self.segment_max);
        let window = self.congestion_window.max(1);
        let growth = if window < self.slow_start_end {
            bytes.min(2 * size)
        } else {
            ((u64::from(size) * u64::from(bytes.min(2 * size)) / u64::from(window)) as u32).max(1)
        };
        self.congestion_window = (window + growth).min(CONGESTION_WINDOW_MAX);
    }

    fn enter_recovery(&mut self) {
        let size = u32::from(self.segment_max);
        let flight = self.max.since(self.una);
        self.slow_start_end = (flight / 2).max(2 * size);
        self.congestion_window = self.slow_start_end + if self.sack { 0 } else { 3 * size };
        self.recover = self.max;
        self.recovering = true;
        self.resent = self.una;
        self.resend = true;
        self.timed = false;
    }

    /// Everything outstanding counts as lost; it is sent again from the front.
    fn collapse(&mut self) {
        let size = u32::from(self.segment_max);
        let flight = self.max.since(self.una);
        if self.retries == 1 {
            self.slow_start_end = (flight / 2).max(2 * size);
        }
        self.congestion_window = size;
        self.recovering = false;
        self.resend = false;
        self.duplicates = 0;
        self.scoreboard_count = 0;
        self.recover = self.max;
        self.nxt = self.una;
        self.queue.rewind();
    }

    fn sacked(&self) -> &[(Seq, Seq)] {
        &self.scoreboard[..usize::from(self.scoreboard_count)]
    }

    fn drop_sacked(&mut self) {
        let old = self.sacked().iter().take_while(|range| !range.1.after(self.una)).count();
        if old > 0 {
            self.scoreboard.copy_within(old.., 0);
            self.scoreboard_count -= old as u8;
        }
    }

    /// Adds a range, in order and joined with what it touches. When there is no place for another range the one
    /// that is farthest away is forgotten: at worst its bytes are sent again.
    fn add_sacked(&mut self, start: Seq, end: Seq) {
        let count = usize::from(self.scoreboard_count);
        let first = self.scoreboard[..count].iter().take_while(|range| range.1.before(start)).count();
        let last =
            first + self.scoreboard[first..count].iter().take_while(|range| !range.0.after(end)).count();
        let mut range = (start, end);
        if first < last {
            range = (start.min(self.scoreboard[first].0), end.max(self.scoreboard[last - 1].1));
            self.scoreboard.copy_within(last..count, first + 1);
        } else if first == RANGES {
            return;
        } else {
            self.scoreboard.copy_within(first..count.min(RANGES - 1), first + 1);
        }
        self.scoreboard[first] = range;
        self.scoreboard_count = (count + 1 - (last - first)).min(RANGES) as u8;
    }

    /// What is still in the network, as far as one can know (RFC 6675's pipe).
    pub(super) fn pipe(&self) -> u32 {
        let flight = self.flight();
        if !self.recovering || !self.sack {
            return flight;
        }
        let mut sacked = 0;
        let mut lost = 0;
        let mut hole = self.una;
        let lost_before = self.lost_before();
        for &(start, end) in self.sacked() {
            let from = hole.max(self.resent);
            let to = start.min(lost_before);
            if from.before(to) {
                lost += to.since(from);
            }
            sacked += end.since(start);
            hole = end;
        }
        flight.saturating_sub(sacked + lost)
    }

    /// Bytes before this are lost unless reported: at least three segments beyond them have arrived.
    fn lost_before(&self) -> Seq {
        let enough = u32::from(DUPLICATES) * u32::from(self.segment_max);
        let mut beyond = 0;
        for &(start, end) in self.sacked().iter().rev() {
            beyond += end.since(start);
            if beyond >= enough {
                return start;
            }
        }
        self.una
    }

    /// The next bytes to send again in a recovery, and whether that must wait for the window.
    pub(super) fn next_lost(&self) -> Option<(Seq, u32)> {
        let size = u32::from(self.segment_max);
        let first = self.sacked().first().map_or(self.max, |range| range.0);
        if self.resend {
            return Some((self.una, first.since(self.una).min(size)));
        }
        if !self.sack {
            return None;
        }
        let lost_before = self.lost_before();
        let mut hole = self.una;
        for &(start, end) in self.sacked() {
            let from = hole.max(self.resent);
            let to = start.min(lost_before);
            if from.before(to) {
                return Some((from, to.since(from).min(size)));
            }
            hole = end;
        }
        None
    }
}
