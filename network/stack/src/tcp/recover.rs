//! Losses: found by time (RACK, RFC 8985), provoked to show at the tail (TLP, the same), mended at the pace at which
//! bytes arrive (PRR, RFC 6937), and time-outs as the last resort (RFC 6298). Peers that do not report what arrived get
//! NewReno's recovery (RFC 6582). Whether a time-out came too early is found out in `early`.

use super::connection::{Connection, Extras, NEVER, Purpose, State};
use super::sequence::Seq;
use super::timeline::Stamp;
use super::{Tcp, World};
use crate::application::{Application, Ended};
use crate::config::{Config, CongestionControl};
use crate::port::Egress;
use crate::wire::tcp::{Options, Segment};

/// Duplicate acknowledgements, or segments beyond a hole, that mean a loss as long as nothing was seen out of order.
const DUPLICATES: u8 = 3;
/// Time-outs after which an opening is given up.
const SYN_RETRIES: u8 = 5;
/// Time-out before anything was measured (RFC 6298, 2.1).
pub(super) const TIMEOUT_INITIAL_NS: u64 = 1_000_000_000;
/// How long a tail probe leaves the other side to put off its acknowledgement, beyond two round trips: everybody's usual
/// delay is 40 ms, and farther ones take longer. Who got two segments has nothing to put off (RFC 8985, 7.2); what is left
/// for him is what a busy machine takes.
const PROBE_PATIENCE_NS: u64 = 50_000_000;
const PROBE_SLACK_NS: u64 = 10_000_000;
/// Quarters of a round trip by which frames are let overtake each other; more each time that this was too little.
const PATIENCE_QUARTERS_MAX: u8 = 16;

/// What an acknowledgement said.
#[derive(Clone, Copy)]
pub(super) struct News {
    /// Bytes acknowledged in order.
    pub(super) advance: u32,
    /// Bytes that arrived out of order or in order, for the first time.
    pub(super) delivered: u32,
    /// Outstanding before.
    pub(super) flight_before: u32,
}

impl Tcp {
    /// Draws the conclusions of an acknowledgement that said something new.
    pub(super) fn learn<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        news: News,
    ) {
        let control = self.config.congestion_control;
        let now_ns = world.now_ns;
        let connection = self.table.at(slot);
        if connection.timed_out && connection.time_out_was_early(news) {
            world.out.counters.early_timeouts += 1;
        }
        let (mut new_loss, was_recovering) = (false, connection.recovering);
        if news.delivered > 0 && connection.tail_probe.is_some() {
            connection.judge_tail_probe(control, news);
        }
        if connection.recovering && !connection.una.before(connection.recover) {
            connection.end_recovery();
        } else if connection.recovering && !connection.sack && news.advance > 0 {
            // What follows the bytes that filled one hole is the next hole.
            let heard = (news.advance / u32::from(connection.segment_max).max(1)).saturating_sub(1);
            connection.duplicates = connection.duplicates.saturating_sub(heard.min(255) as u8);
            if !connection.timed_out {
                connection.first_is_lost();
                new_loss = true;
            }
        }
        let lost_before = connection.lost;
        if connection.find_losses(now_ns) {
            new_loss |= connection.lost > lost_before;
            if !connection.recovering && !connection.probing && connection.may_recover() {
                connection.enter_recovery(control);
                world.out.counters.fast_retransmissions += 1;
            }
        }
        let connection = self.table.at(slot);
        if connection.recovering && !connection.timed_out {
            connection.pace_recovery(news, new_loss);
        } else if news.advance > 0 {
            if connection.timed_out {
                if !connection.asks_with_new_bytes() {
                    connection.grow_used(control, news.delivered, now_ns);
                }
            } else {
                // A recovery lets nothing grow: what arrived during it counts at its end.
                let bytes = if was_recovering { news.advance } else { connection.not_counted_yet(news) };
                connection.grow(control, bytes, news.flight_before, now_ns);
            }
        }
    }

    /// An acknowledgement that repeats the last one, from a peer that does not report what arrived.
    pub(super) fn duplicate_acknowledgement<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) {
        let control = self.config.congestion_control;
        let connection = self.table.at(slot);
        if connection.max == connection.una || connection.probing {
            return;
        }
        connection.duplicates = connection.duplicates.saturating_add(1);
        if connection.recovering {
            if !connection.timed_out {
                let size = u32::from(connection.segment_max);
                connection.pace_recovery(News { advance: 0, delivered: size, flight_before: 0 }, false);
            }
        } else if connection.duplicates >= DUPLICATES && connection.may_recover() {
            connection.first_is_lost();
            connection.enter_recovery(control);
            world.out.counters.fast_retransmissions += 1;
        }
    }

    /// Notes which bytes beyond the acknowledgement arrived, or arrived twice (RFC 2883). False when none were told.
    pub(super) fn note_sack(&mut self, slot: u32, segment: &Segment<'_>, now_ns: u64) -> bool {
        let options = Options::parse(segment.options);
        let connection = self.table.at(slot);
        connection.complete_timeline();
        for (place, &(start, end)) in options.ranges().iter().enumerate() {
            let twice = place == 0
                && (!end.after(segment.acknowledgement)
                    || options
                        .ranges()
                        .get(1)
                        .is_some_and(|next| !start.before(next.0) && !end.after(next.1)));
            if twice {
                connection.arrived_twice();
            }
            // Only what is outstanding; the rest is old, or made up.
            if start.after(connection.una) && start.before(end) && !end.after(connection.max) {
                connection.note_arrivals(start, end, now_ns);
                connection.scoreboard.add(start, end);
            }
        }
        options.sack_count > 0
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
        let mut purpose = core::mem::take(&mut connection.purpose);
        let opening = matches!(connection.state, State::SynSent | State::SynReceived);
        if purpose == Purpose::Retransmit && !opening && connection.tail_probe_wait_ns().is_some() {
            // What nobody asked about before, a reply in one segment, is asked about now: the path may be as good as ever
            // (RFC 8985, 7.2: a probe never comes after the time-out, but in its place).
            purpose = Purpose::TailProbe;
        }
        match purpose {
            Purpose::Nothing => return true,
            Purpose::Linger => {
                self.end(world, slot, Ended::TimedOut);
                return false;
            }
            Purpose::Reorder => {
                let control = self.config.congestion_control;
                if connection.find_losses(world.now_ns) && !connection.recovering && connection.may_recover()
                {
                    connection.enter_recovery(control);
                    world.out.counters.fast_retransmissions += 1;
                }
                return true;
            }
            Purpose::TailProbe => {
                connection.extras.set(Extras::TAIL_PROBE, true);
                return true;
            }
            Purpose::KeepAlive => {
                if self.ask_silent(world, slot) {
                    self.end(world, slot, Ended::TimedOut);
                    return false;
                }
                return true;
            }
            Purpose::Probe => {
                let waited_ns = connection.probe_wait_ns(timeout_max_ns);
                connection.note_silence(world.now_ns.saturating_sub(waited_ns));
                connection.probes = connection.probes.saturating_add(1);
                connection.extras.set(Extras::PROBE, true);
            }
            Purpose::Retransmit => {
                world.out.counters.timeouts += 1;
                let since_ns = world.now_ns.saturating_sub(connection.timeout_ns);
                connection.note_silence(since_ns.min(connection.sent_ns));
                connection.timeout_ns = (connection.timeout_ns * 2).min(timeout_max_ns);
                connection.timed = false;
                let control = self.config.congestion_control;
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
                    connection.collapse(control);
                    connection.suspect_path(world.now_ns);
                }
            }
        }
        let connection = self.table.get(slot);
        let terms = self.terms.get(connection.terms);
        let given_up = match connection.patience_left_ns(terms, world.now_ns) {
            Some(left_ns) => left_ns == 0,
            None => connection.retries > if opening { SYN_RETRIES } else { retries_max },
        };
        if given_up {
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
            self.least_ns = self.least_ns.min(sample_ns.max(1));
            self.slow_start.sample_ns = sample_ns;
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
        // The least comes on top of the round trip: it is there for acknowledgements that are put off, and on a path that is
        // steady for long those are all of the variation that there is.
        let timeout_ns = match self.smoothed_ns {
            0 => TIMEOUT_INITIAL_NS.max(least),
            smoothed_ns => smoothed_ns + (4 * self.variation_ns).max(least),
        };
        self.timeout_ns = timeout_ns.min(most);
    }

    /// What left by the short way since the last step of the timeline left by `sent_ns`.
    pub(super) fn complete_timeline(&mut self) {
        self.timeline.drop_before(self.una);
        if self.timeline.end(self.una).before(self.max) {
            self.timeline.append(self.una, self.max, self.sent_ns, self.smoothed_ns / 8);
        }
    }

    /// What an acknowledgement in order says for the first time: the rest was reported when it arrived out of order, and
    /// made room then.
    fn not_counted_yet(&self, news: News) -> u32 {
        let size = u32::from(self.segment_max);
        let told = if self.sack { 0 } else { u32::from(self.duplicates) * size };
        news.delivered.min(news.advance).saturating_sub(told).max(size.min(news.advance))
    }

    /// The byte at this place arrived: whatever was sent before it and is missing may be lost.
    pub(super) fn note_arrival(&mut self, place: Seq, now_ns: u64) {
        let Some(stamp) = self.timeline.stamp_of(place) else { return };
        let round_ns = now_ns.saturating_sub(stamp.at_ns());
        // What arrived sooner than anything can is what was sent the first time.
        if stamp == Stamp::LOST || stamp.is_again() && round_ns < self.least_ns {
            return;
        }
        let overtaken = self.scoreboard.end().is_some_and(|end| place.before(end));
        if !stamp.is_again() && overtaken && !self.is_reported(place) {
            // It was sent once and arrives after something that was sent later.
            self.reordering = true;
        }
        if stamp.at_ns() > self.newest_ns || stamp.at_ns() == self.newest_ns && place.after(self.newest) {
            self.newest_ns = stamp.at_ns();
            self.newest = place;
            self.newest_round_ns = round_ns;
        }
    }

    /// The same for a range of which parts may be known already: each part that is new has a last byte.
    fn note_arrivals(&mut self, start: Seq, end: Seq, now_ns: u64) {
        let known = self.scoreboard;
        let mut from = start;
        for &(known_start, known_end) in known.ranges() {
            if known_start.after(from) && known_start.before(end) {
                self.note_arrival(known_start.minus(1), now_ns);
            }
            if !known_start.after(end) {
                from = from.max(known_end);
            }
        }
        if from.before(end) {
            self.note_arrival(end.minus(1), now_ns);
        }
    }

    fn is_reported(&self, place: Seq) -> bool {
        self.scoreboard.ranges().iter().any(|range| !place.before(range.0) && place.before(range.1))
    }

    /// Something was sent again for nothing: frames overtake each other farther than was thought.
    fn arrived_twice(&mut self) {
        self.twice = true;
        if self.tail_probe.is_some() || self.timed_out {
            // That was to be expected.
        } else if !self.reordering {
            self.reordering = true;
        } else if self.recovering {
            self.patience = (self.patience + 1).min(PATIENCE_QUARTERS_MAX);
        }
    }

    /// Finds out which bytes are lost by now (RFC 8985, 6.2). Returns whether any are and were not sent again, and
    /// notes when more of them may be.
    pub(super) fn find_losses(&mut self, now_ns: u64) -> bool {
        self.reorder_ns = NEVER;
        if self.scoreboard.count == 0 && !self.recovering {
            return false;
        }
        self.complete_timeline();
        let size = u32::from(self.segment_max);
        let enough = self.recovering || self.scoreboard.bytes >= u32::from(DUPLICATES) * size;
        let patience_ns = if !self.reordering && enough {
            0
        } else {
            (self.least_ns / 4).saturating_mul(u64::from(self.patience.max(1))).min(self.smoothed_ns)
        };
        let waited_ns = self.newest_round_ns.saturating_add(patience_ns);
        self.lost_until_ns = self.lost_until_ns.max(now_ns.saturating_sub(waited_ns));
        let (mut lost, mut next_ns) = (0, NEVER);
        self.each_missing(|start, end, stamp| {
            if self.is_lost(end, stamp) {
                lost += end.since(start);
            } else if self.sent_before_newest(end, stamp) {
                next_ns = next_ns.min(stamp.at_ns().saturating_add(waited_ns).max(now_ns + 1));
            }
            true
        });
        self.reorder_ns = next_ns;
        self.lost = lost;
        lost > 0
    }

    fn sent_before_newest(&self, end: Seq, stamp: Stamp) -> bool {
        self.sack
            && (stamp.at_ns() < self.newest_ns
                || stamp.at_ns() == self.newest_ns && !stamp.is_again() && !end.after(self.newest))
    }

    fn is_lost(&self, end: Seq, stamp: Stamp) -> bool {
        stamp == Stamp::LOST || self.sent_before_newest(end, stamp) && stamp.at_ns() <= self.lost_until_ns
    }

    /// Visits every range that is outstanding and not reported, with the time at which it was sent, while the visitor
    /// wants more.
    fn each_missing(&self, mut visit: impl FnMut(Seq, Seq, Stamp) -> bool) {
        let mut ranges = self.scoreboard.ranges().iter().copied().peekable();
        let mut from = self.una;
        for (end, stamp) in self.timeline.steps() {
            while from.before(end) {
                match ranges.peek() {
                    Some(range) if !range.0.after(from) => {
                        from = from.max(range.1.min(end));
                        if range.1.after(end) {
                            break;
                        }
                        ranges.next();
                    }
                    next => {
                        let to = next.map_or(end, |range| range.0.min(end));
                        if !visit(from, to, stamp) {
                            return;
                        }
                        from = to;
                    }
                }
            }
        }
    }

    /// A recovery may begin: not for what was outstanding when the last one did.
    fn may_recover(&self) -> bool {
        self.una.after(self.recover) || self.sack && self.una == self.recover
    }

    fn enter_recovery(&mut self, control: CongestionControl) {
        self.reduce(control);
        self.recovery_flight = self.max.since(self.una).max(1);
        self.recovery_delivered = 0;
        self.recovery_sent = 0;
        self.recover = self.max;
        self.recovering = true;
        self.timed_out = false;
        // The first one goes whatever the window says.
        self.resend = true;
        self.timed = false;
        self.tail_probe = None;
        self.pace_recovery(News { advance: 0, delivered: 0, flight_before: 0 }, true);
    }

    fn end_recovery(&mut self) {
        if !self.timed_out {
            self.congestion_window = self.slow_start_end;
        }
        self.recovering = false;
        self.timed_out = false;
        self.resend = false;
        self.duplicates = 0;
    }

    /// Proportional rate reduction (RFC 6937): as much leaves as arrives, in the proportion of the new window to the old.
    fn pace_recovery(&mut self, news: News, new_loss: bool) {
        let size = u32::from(self.segment_max);
        self.recovery_delivered = self.recovery_delivered.saturating_add(news.delivered);
        let pipe = self.pipe();
        let target = self.slow_start_end;
        let allowed = if pipe > target {
            let due = u64::from(self.recovery_delivered) * u64::from(target);
            let due = due.div_ceil(u64::from(self.recovery_flight)).min(1 << 30) as u32;
            due.saturating_sub(self.recovery_sent)
        } else {
            let mut limit = self.recovery_delivered.saturating_sub(self.recovery_sent).max(news.delivered);
            if news.advance > 0 && !new_loss {
                limit += size;
            }
            limit.min(target - pipe)
        };
        self.congestion_window = pipe + allowed;
    }

    /// Everything outstanding and not reported counts as lost.
    fn collapse(&mut self, control: CongestionControl) {
        let size = u32::from(self.segment_max);
        self.doubt_time_out();
        if self.retries == 1 && !self.timed_out {
            if !self.recovering {
                self.reduce(control);
            }
            self.recover = self.max;
        }
        self.congestion_window = size;
        self.recovering = true;
        self.timed_out = true;
        self.resend = true;
        self.duplicates = 0;
        self.tail_probe = None;
        if self.retries > 1 {
            // A peer may take back what it reported (RFC 2018, 8).
            self.scoreboard.clear();
        }
        self.recover = self.recover.max(self.max);
        self.timeline.set(self.una, self.una, self.max, Stamp::LOST);
    }

    fn first_is_lost(&mut self) {
        self.complete_timeline();
        let end = self.una.plus(u32::from(self.segment_max)).min(self.max);
        if end.after(self.una) {
            self.timeline.set(self.una, self.una, end, Stamp::LOST);
        }
        self.resend = true;
    }

    /// What a tail probe that was answered says (RFC 8985, 7.4): when it was a repetition and did not arrive twice,
    /// the first one was lost.
    fn judge_tail_probe(&mut self, control: CongestionControl, news: News) {
        let Some((end, again)) = self.tail_probe else { return };
        if news.advance == 0 || self.una.before(end) {
            return;
        }
        self.tail_probe = None;
        if again && !self.twice && !self.recovering {
            self.reduce(control);
            self.congestion_window = self.slow_start_end;
        }
    }

    /// What is still in the network, as far as one can know (RFC 6675's pipe).
    #[inline]
    pub(super) fn pipe(&self) -> u32 {
        let flight = self.flight();
        if self.scoreboard.count == 0 && !self.recovering && self.duplicates == 0 {
            flight
        } else {
            self.pipe_disturbed(flight)
        }
    }

    fn pipe_disturbed(&self, flight: u32) -> u32 {
        let arrived = if self.sack {
            self.scoreboard.bytes
        } else {
            u32::from(self.duplicates) * u32::from(self.segment_max)
        };
        let mut lost = 0;
        self.each_missing(|start, end, stamp| {
            if self.is_lost(end, stamp) {
                lost += end.since(start);
            }
            true
        });
        flight.saturating_sub(arrived.saturating_add(lost))
    }

    /// The next bytes to send again.
    pub(super) fn next_lost(&self) -> Option<(Seq, u32)> {
        let size = u32::from(self.segment_max);
        let mut found = None;
        self.each_missing(|start, end, stamp| {
            if self.is_lost(end, stamp) {
                found = Some((start, end.since(start).min(size)));
            }
            found.is_none()
        });
        found
    }

    /// Bytes were sent again.
    pub(super) fn note_repetition(&mut self, start: Seq, end: Seq, now_ns: u64) {
        self.complete_timeline();
        // What arrived right before needs no time of its own, and so no step.
        let from =
            self.scoreboard.ranges().iter().find(|range| range.1 == start).map_or(start, |range| range.0);
        self.timeline.set(self.una, from, end, Stamp::again(now_ns));
        self.recovery_sent = self.recovery_sent.saturating_add(end.since(start));
        self.lost = self.lost.saturating_sub(end.since(start));
        self.doubt_less(end);
        self.resend = false;
        self.timed = false;
        if start == self.una && self.purpose == Purpose::Retransmit {
            self.purpose = Purpose::Nothing;
        }
    }

    /// How long to wait before the next question to a closed window.
    pub(super) fn probe_wait_ns(&self, timeout_max_ns: u64) -> u64 {
        self.timeout_ns.saturating_mul(1 << self.probes.min(16)).min(timeout_max_ns)
    }

    /// How long to wait for an acknowledgement of the last bytes before they are probed for; nothing when it is known
    /// already what is missing.
    pub(super) fn tail_probe_wait_ns(&self) -> Option<u64> {
        let known = self.recovering || self.scoreboard.count > 0 || self.tail_probe.is_some();
        if known || !self.sack || self.smoothed_ns == 0 || self.duplicates > 0 || self.retries > 0 {
            return None;
        }
        let patience_ns = if self.max.since(self.una) >= 2 * u32::from(self.segment_max) {
            PROBE_SLACK_NS
        } else {
            self.smoothed_ns.max(PROBE_PATIENCE_NS)
        };
        // It never comes after the time-out, but in its place.
        Some((2 * self.smoothed_ns + patience_ns).min(self.timeout_ns))
    }
}
