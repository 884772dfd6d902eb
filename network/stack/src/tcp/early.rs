//! Time-outs that came too early (F-RTO, RFC 5682, for peers that report what arrived).
//!
//! After a time-out one segment is repeated, and then nobody knows: was everything lost, or did the path only pause? What
//! arrives tells. Bytes that were never repeated and arrive now were on their way all the time: nothing was lost, and the
//! window is again what it was. While only the repeated ones are acknowledged, new bytes are sent in place of old ones,
//! where there are any, so that the next acknowledgement tells.
//!
//! ```text
//!   una           repeated                    until         max
//!    | sent again  |  sent once, counted in `missing`  |  probed  |
//! ```

use super::connection::Connection;
use super::recover::News;
use super::sequence::Seq;
use super::timeline::Stamp;

/// New segments that ask whether the old ones were lost (RFC 5682, 3.1, step 2b).
const NEW_SEGMENTS: u32 = 2;

/// How far the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    /// There is none.
    #[default]
    None,
    /// One segment was repeated, or is about to be.
    Repeated,
    /// It arrived, and new ones are sent.
    New,
}

/// What was before a time-out that may have come too early.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Doubt {
    step: Step,
    repeated: Seq,
    until: Seq,
    /// Bytes between these two that have not arrived.
    missing: u32,
    window: u32,
    slow_start_end: u32,
}

impl Connection {
    /// A time-out begins to be acted upon.
    pub(super) fn doubt_time_out(&mut self) {
        self.doubt = Doubt::default();
        if !self.sack || self.recovering || self.retries != 1 {
            return;
        }
        // A tail probe repeats what was sent last.
        let tail = if matches!(self.tail_probe, Some((_, true))) { u32::from(self.segment_max) } else { 0 };
        let flight = self.max.since(self.una);
        self.doubt = Doubt {
            step: Step::Repeated,
            repeated: self.una,
            until: self.una.plus(flight.saturating_sub(tail)),
            missing: 0,
            window: self.congestion_window,
            slow_start_end: self.slow_start_end,
        };
        self.doubt.missing = self.missing_in_doubt();
    }

    /// Bytes were sent again.
    pub(super) fn doubt_less(&mut self, end: Seq) {
        if self.doubt.step != Step::None {
            self.doubt.repeated = self.doubt.repeated.max(end);
            self.doubt.missing = self.missing_in_doubt();
        }
    }

    /// New bytes go first, since they tell whether the old ones are lost.
    pub(super) fn asks_with_new_bytes(&self) -> bool {
        self.doubt.step == Step::New
    }

    fn missing_in_doubt(&self) -> u32 {
        let (start, end) = (self.doubt.repeated.max(self.una), self.doubt.until);
        if !start.before(end) {
            return 0;
        }
        let arrived = |range: &(Seq, Seq)| {
            let (from, to) = (range.0.max(start), range.1.min(end));
            if from.before(to) { to.since(from) } else { 0 }
        };
        end.since(start) - self.scoreboard.ranges().iter().map(arrived).sum::<u32>()
    }

    /// What an acknowledgement says of the last time-out. True when it had come too early: then the connection is as if it
    /// had not come.
    pub(super) fn time_out_was_early(&mut self, news: News) -> bool {
        if self.doubt.step == Step::None {
            return false;
        }
        let before = self.doubt.missing;
        self.doubt.missing = self.missing_in_doubt();
        if self.doubt.missing < before {
            self.undo_time_out();
            return true;
        }
        let unsent = self.written().since(self.una).saturating_sub(self.flight());
        let room = self.window.saturating_sub(self.flight());
        let size = u32::from(self.segment_max);
        let asks = self.doubt.step == Step::Repeated
            && news.advance > 0
            && self.una.before(self.doubt.until)
            && unsent > 0
            && room >= size.min(unsent);
        if asks {
            self.doubt.step = Step::New;
            self.resend = false;
            self.congestion_window = self.pipe() + NEW_SEGMENTS * size;
        } else {
            self.doubt.step = Step::None;
        }
        false
    }

    fn undo_time_out(&mut self) {
        let doubt = core::mem::take(&mut self.doubt);
        self.congestion_window = self.congestion_window.max(doubt.window);
        self.slow_start_end = doubt.slow_start_end;
        // A new curve begins where the old one was left.
        self.cubic.plateau = self.cubic.plateau.max(doubt.window);
        self.recover = self.una.minus(1);
        self.recovering = false;
        self.timed_out = false;
        self.resend = false;
        self.lost = 0;
        // Later than it was: so losses are found later, and none that is none.
        self.timeline.set(self.una, self.una, self.max, Stamp::first(self.sent_ns));
    }
}
