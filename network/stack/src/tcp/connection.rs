//! One connection's record: plain data. What is done with it stands in the files beside, by what happens.

use super::congestion::{Cubic, SlowStart};
use super::early::Doubt;
use super::operations::OperationList;
use super::receive_memory::{Held, ReceiveMemory};
use super::recover::TIMEOUT_INITIAL_NS;
use super::scoreboard::Scoreboard;
use super::send_memory::SendQueue;
use super::sequence::Seq;
use super::table::Key;
use super::timeline::Timeline;

/// RFC 9293, 3.3.2. A passive opening begins in SYN-RECEIVED; LISTEN is a set of ports, not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// The record is not in use.
    #[default]
    Free,
    SynSent,
    SynReceived,
    Established,
    /// The application closed; our FIN is queued, sent or lost, but not acknowledged.
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

impl State {
    pub(crate) fn is_used(self) -> bool {
        self != Self::Free
    }

    /// Both sides have agreed on sequence numbers and the application knows the connection.
    pub(crate) fn is_open(self) -> bool {
        !matches!(self, Self::Free | Self::SynSent | Self::SynReceived | Self::TimeWait)
    }
}

/// What the one timer of a connection is set for; delayed acknowledgements have their own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    #[default]
    Nothing,
    Retransmit,
    /// Something may be lost once frames have had time to overtake each other.
    Reorder,
    /// Nothing was heard of the last bytes.
    TailProbe,
    /// The other side's window is closed.
    Probe,
    /// Nothing is waited for, but the other side is to be asked whether it is there.
    KeepAlive,
    Linger,
}

/// What few connections have, or have at few moments. Those that have anything here go the long way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extras(pub(crate) u8);

impl Extras {
    /// Time stamps.
    pub(crate) const STAMPS: Self = Self(1);
    /// Marks of congestion.
    pub(crate) const MARKS: Self = Self(2);
    /// A marked packet came and the other side does not know yet that we told it.
    pub(crate) const ECHO: Self = Self(4);
    /// We slowed down because of a mark and have not told it yet.
    pub(crate) const SLOWED: Self = Self(8);

    /// A probe of a closed window is due.
    pub(crate) const PROBE: Self = Self(16);
    /// A probe for what arrived of the last bytes is due.
    pub(crate) const TAIL_PROBE: Self = Self(32);
    /// The other side is known by a name ([`super::peers`]): everything goes the long way.
    pub(crate) const NAMED: Self = Self(64);
    /// Our FIN left without bytes before it.
    pub(crate) const LONE_FIN: Self = Self(128);
    /// What was agreed on, and what follows from it.
    pub(crate) const AGREED: u8 = 15;

    pub(crate) fn has(self, what: Self) -> bool {
        self.0 & what.0 != 0
    }

    pub(crate) fn set(&mut self, what: Self, to: bool) {
        self.0 = if to { self.0 | what.0 } else { self.0 & !what.0 };
    }
}

/// No time.
pub(crate) const NEVER: u64 = u64::MAX;
/// Ranges out of order that are remembered.
pub(crate) const RANGES: usize = 16;

/// The record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) key: Key,
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// This side opened it.
    pub(crate) outgoing: bool,
    /// The application was told that it is open.
    pub(crate) announced: bool,
    /// It is in the list of connections that have something to send.
    pub(crate) due: bool,
    /// The application found no room.
    pub(crate) blocked: bool,
    /// It is in the list of connections that wait for memory.
    pub(crate) waiting: bool,
    /// The application gave it up.
    pub(crate) aborted: bool,
    /// Our SYN left at least once.
    pub(crate) syn_sent: bool,
    /// The next hop's Ethernet address is known.
    pub(crate) resolved: bool,
    pub(crate) mac: [u8; 6],

    // Sending.
    /// First byte that is not acknowledged.
    pub(crate) una: Seq,
    /// Next byte to send; behind `max` while bytes are sent again after a time-out.
    pub(crate) nxt: Seq,
    /// Behind everything that was ever sent.
    pub(crate) max: Seq,
    pub(crate) window: u32,
    pub(crate) window_max: u32,
    pub(crate) window_sequence: Seq,
    pub(crate) window_acknowledgement: Seq,
    /// Shift of the other side's windows, and of ours.
    pub(crate) shift_in: u8,
    pub(crate) shift_out: u8,
    pub(crate) segment_max: u16,
    pub(crate) sack: bool,
    pub(crate) extras: Extras,
    pub(crate) queue: SendQueue,
    /// The application closed its direction.
    pub(crate) closed: bool,
    pub(crate) fin_acknowledged: bool,

    // Congestion and loss.
    pub(crate) congestion_window: u32,
    pub(crate) slow_start_end: u32,
    pub(crate) duplicates: u8,
    pub(crate) recovering: bool,
    /// What was outstanding when the last loss was found.
    pub(crate) recover: Seq,
    /// The recovery is one after a time-out; and what was before it.
    pub(crate) timed_out: bool,
    pub(crate) doubt: Doubt,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) timeline: Timeline,
    /// The next lost segment is sent again whatever the window says.
    pub(crate) resend: bool,
    /// Of the bytes that arrived, those sent last: when, where, and how long ago that was then.
    pub(crate) newest_ns: u64,
    pub(crate) newest: Seq,
    pub(crate) newest_round_ns: u64,
    /// What was sent until then and before the newest arrival is lost.
    pub(crate) lost_until_ns: u64,
    /// Bytes that were lost and not sent again when that was found out last.
    pub(crate) lost: u32,
    /// When more may be lost.
    pub(crate) reorder_ns: u64,
    /// Frames overtook each other; and for how many quarters of a round trip that is allowed for.
    pub(crate) reordering: bool,
    pub(crate) patience: u8,
    /// The other side reported bytes that came twice.
    pub(crate) twice: bool,
    /// Where the last tail probe ended, and whether it carried old bytes.
    pub(crate) tail_probe: Option<(Seq, bool)>,
    /// Outstanding when the recovery began, arrived and sent since.
    pub(crate) recovery_flight: u32,
    pub(crate) recovery_delivered: u32,
    pub(crate) recovery_sent: u32,
    pub(crate) cubic: Cubic,
    pub(crate) slow_start: SlowStart,
    /// The other side's window is closed and bytes wait.
    pub(crate) probing: bool,
    /// How many probes of it went out.
    pub(crate) probes: u8,
    /// Time-outs since anything was heard.
    pub(crate) retries: u8,
    pub(crate) smoothed_ns: u64,
    /// The shortest round trip that was seen.
    pub(crate) least_ns: u64,
    pub(crate) variation_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) timed: bool,
    pub(crate) timed_end: Seq,
    pub(crate) timed_ns: u64,
    pub(crate) sent_ns: u64,

    // Receiving.
    /// Next byte that is expected.
    pub(crate) expected: Seq,
    /// Right edge of the window as it was told.
    pub(crate) promised: Seq,
    pub(crate) held: Held,
    pub(crate) ranges: [(Seq, Seq); RANGES],
    pub(crate) range_count: u8,
    /// Where the other side's stream ends, once that is known.
    pub(crate) fin_at: Option<Seq>,
    /// When the newest bytes arrived.
    pub(crate) arrived_ns: u64,
    pub(crate) unacknowledged: u32,
    pub(crate) acknowledge_now: bool,
    pub(crate) acknowledge_ns: u64,

    pub(crate) purpose: Purpose,
    pub(crate) deadline_ns: u64,
    pub(crate) operations: OperationList,
    /// Where our stream began: only to tell how far it came.
    pub(crate) first: Seq,
    /// Batches in which it has a frame.
    pub(crate) heard_in: u32,
    pub(crate) heard_out: u32,

    // Seldom looked at.
    /// Where its terms stand.
    pub(crate) terms: u8,
    /// The segment's size before the path turned out to be narrower, and when that was; 0: it did not.
    pub(crate) segment_agreed: u16,
    pub(crate) narrowed_s: u32,
    /// Where our clock of time stamps begins; the other side's clock as it was seen last, and when.
    pub(crate) stamp_offset: u32,
    pub(crate) stamp_recent: u32,
    pub(crate) stamp_recent_s: u32,
    /// Echoes of marks for what was sent before this say nothing new.
    pub(crate) marked_until: Seq,
    /// Since when nothing is heard, while `retries` counts.
    pub(crate) silent_ns: u64,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            key: Key::default(),
            generation: 0,
            state: State::Free,
            outgoing: false,
            announced: false,
            due: false,
            blocked: false,
            waiting: false,
            aborted: false,
            syn_sent: false,
            resolved: false,
            mac: [0; 6],
            una: Seq(0),
            nxt: Seq(0),
            max: Seq(0),
            window: 0,
            window_max: 0,
            window_sequence: Seq(0),
            window_acknowledgement: Seq(0),
            shift_in: 0,
            shift_out: 0,
            segment_max: 536,
            sack: false,
            extras: Extras::default(),
            queue: SendQueue::default(),
            closed: false,
            fin_acknowledged: false,
            congestion_window: 0,
            slow_start_end: u32::MAX,
            duplicates: 0,
            recovering: false,
            recover: Seq(0),
            timed_out: false,
            doubt: Doubt::default(),
            scoreboard: Scoreboard::default(),
            timeline: Timeline::default(),
            resend: false,
            newest_ns: 0,
            newest: Seq(0),
            newest_round_ns: 0,
            lost_until_ns: 0,
            lost: 0,
            reorder_ns: NEVER,
            reordering: false,
            patience: 1,
            twice: false,
            tail_probe: None,
            recovery_flight: 0,
            recovery_delivered: 0,
            recovery_sent: 0,
            cubic: Cubic::default(),
            slow_start: SlowStart::default(),
            probing: false,
            probes: 0,
            retries: 0,
            smoothed_ns: 0,
            least_ns: NEVER,
            variation_ns: 0,
            timeout_ns: TIMEOUT_INITIAL_NS,
            timed: false,
            timed_end: Seq(0),
            timed_ns: 0,
            sent_ns: 0,
            expected: Seq(0),
            promised: Seq(0),
            held: Held::default(),
            ranges: [(Seq(0), Seq(0)); RANGES],
            range_count: 0,
            fin_at: None,
            arrived_ns: 0,
            unacknowledged: 0,
            acknowledge_now: false,
            acknowledge_ns: NEVER,
            purpose: Purpose::Nothing,
            deadline_ns: NEVER,
            operations: OperationList::default(),
            first: Seq(0),
            heard_in: 0,
            heard_out: 0,
            terms: 0,
            segment_agreed: 0,
            narrowed_s: 0,
            stamp_offset: 0,
            stamp_recent: 0,
            stamp_recent_s: 0,
            marked_until: Seq(0),
            silent_ns: 0,
        }
    }
}

/// How far what was promised may lie beyond what may be held, since windows are told in units: many units, of which a window
/// has at least 32,768.
pub(crate) const fn rounded_up_max(limit: u32) -> u32 {
    limit / 32
}

/// The largest window. It is a promise: never more than one piece of memory can hold, with what is rounded up where windows are
/// told in units.
pub(crate) fn window_max(receive_memory_bytes: usize) -> u32 {
    let piece = ReceiveMemory::piece_max(receive_memory_bytes) as u32;
    (piece - piece / 33).max(piece.min(0xffff))
}

impl Connection {
    /// Bytes (and FIN) sent and not acknowledged.
    pub(crate) fn flight(&self) -> u32 {
        self.nxt.since(self.una)
    }

    /// Behind the last byte that was written: where FIN stands.
    pub(crate) fn written(&self) -> Seq {
        self.una.plus(self.queue.bytes())
    }

    /// A FIN has still to be sent, or sent again.
    pub(crate) fn fin_wanted(&self) -> bool {
        self.closed && !self.fin_acknowledged && !self.nxt.after(self.written())
    }

    /// How far bytes reach in receive memory, from the first unconsumed one.
    pub(crate) fn extent(&self) -> usize {
        let end = match self.range_count {
            0 => self.expected,
            count => self.ranges[usize::from(count) - 1].1,
        };
        (end.since(self.expected) + self.held.ready()) as usize
    }

    /// The right edge of the window now: never left of what was promised, and as much as may be held.
    pub(crate) fn edge(&self, limit: u32) -> Seq {
        let free = limit.saturating_sub(self.held.ready());
        self.expected.plus(free).max(self.promised)
    }

    /// The window to tell, in units of `1 << shift` bytes: rounded up, so that the edge never moves left. What is rounded up adds
    /// up when the other side sends a few bytes at a time and nobody reads them, and must not do so for ever: at
    /// [`rounded_up_max`] beyond what may be held it is rounded down, which peers bear (RFC 7323, 2.4).
    pub(crate) fn window_to_tell(&self, limit: u32, shift: u8) -> u16 {
        let wanted = self.edge(limit).since(self.expected);
        let unit = 1 << shift;
        let most = (limit + rounded_up_max(limit)).saturating_sub(self.held.ready());
        let up = if wanted + unit - 1 > most { 0 } else { unit - 1 };
        ((wanted + up) >> shift).min(0xffff) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_less_than_a_kibibyte() {
        // Beside the record: two places in the index, a free-list entry, a timer link, list entries.
        assert!(size_of::<Connection>() + 2 * 2 * 8 + 4 + 24 + 3 * 4 <= 1024, "{}", size_of::<Connection>());
    }
}
