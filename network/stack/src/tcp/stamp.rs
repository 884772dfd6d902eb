//! Time stamps, and the old duplicates that they show (RFC 7323).
//!
//! They cost twelve bytes in every segment, and connections that have them always go the long way. What they are for
//! happens to sequence numbers that come round within the life of a packet: 4 GiB within two minutes. So they are off
//! unless the configuration says otherwise.

use super::connection::{Connection, Extras};
use super::secrets::Secrets;
use crate::config::Agreement;
use crate::wire::tcp::{Options, RST, STAMP, Segment};

/// After this long what was seen last says nothing any more (RFC 7323, 5.5).
const FORGOTTEN_S: u32 = 24 * 24 * 3600;

impl Connection {
    /// Our clock of milliseconds. Each connection begins somewhere else, so that nobody learns how long we run.
    pub(super) fn stamp_now(&self, now_ns: u64) -> u32 {
        ((now_ns / 1_000_000) as u32).wrapping_add(self.stamp_offset)
    }

    /// Draws where our clock begins, when it may be told at all.
    pub(super) fn begin_stamps(&mut self, wish: Agreement, secrets: &Secrets) {
        if wish != Agreement::Never {
            self.stamp_offset = secrets.stamp_offset(self.key);
        }
    }

    /// The other side's SYN has one. It takes its place from every segment's payload.
    pub(super) fn agree_on_stamps(&mut self, wish: Agreement, theirs: &Options, now_ns: u64) {
        let asked = self.outgoing && wish == Agreement::Always;
        let answers = !self.outgoing && wish != Agreement::Never;
        if let Some((value, _)) = theirs.stamp
            && (asked || answers)
        {
            self.extras.set(Extras::STAMPS, true);
            self.note_stamp(value, now_ns);
        }
    }

    /// What it takes from every segment.
    pub(super) fn stamp_len(&self) -> u8 {
        if self.extras.has(Extras::STAMPS) { STAMP } else { 0 }
    }

    pub(super) fn note_stamp(&mut self, value: u32, now_ns: u64) {
        self.stamp_recent = value;
        self.stamp_recent_s = seconds(now_ns);
    }

    /// The segment's stamp, when stamps were agreed on and it has one. Some peers forget theirs; that is let pass.
    pub(super) fn stamp_of(&self, segment: &Segment<'_>) -> Option<u32> {
        if !self.extras.has(Extras::STAMPS) || segment.options.is_empty() {
            return None;
        }
        Options::parse(segment.options).stamp.map(|(value, _)| value)
    }

    /// It was sent before something that has arrived long since: its sequence numbers mean other bytes by now.
    /// Resets are believed by their place alone (RFC 7323, 5.2).
    pub(super) fn is_old_duplicate(&self, value: u32, segment: &Segment<'_>, now_ns: u64) -> bool {
        let older = (self.stamp_recent.wrapping_sub(value) as i32) > 0;
        older && !segment.has(RST) && seconds(now_ns).saturating_sub(self.stamp_recent_s) < FORGOTTEN_S
    }

    /// Takes the stamp over when the segment reaches back to what was acknowledged last (RFC 7323, 4.3).
    pub(super) fn keep_stamp(&mut self, value: u32, segment: &Segment<'_>, now_ns: u64) {
        if !segment.sequence.after(self.expected.minus(self.unacknowledged)) {
            self.note_stamp(value, now_ns);
        }
    }
}

fn seconds(now_ns: u64) -> u32 {
    (now_ns / 1_000_000_000) as u32
}
