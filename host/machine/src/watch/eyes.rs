//! What is seen on the wire, for any number of watchers: one capture at the service, as long as somebody looks.
//!
//! Frames are kept here up to [`KEPT_BYTES_MAX`]; beyond that the oldest are forgotten, and a watcher that reads too
//! slowly is told how many it missed.

use nom_service::management::{Captured, Connections, Frame, Row, SNAP_MAX};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of frames that are kept for those who watch.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// What a frame counts beside its bytes.
const FRAME_BYTES: usize = 64;
/// A service that had nothing more to tell is asked again after this time.
const AGAIN: Duration = Duration::from_millis(20);
/// A question that nobody answered is repeated after this time: its answer was dropped.
const REPEAT: Duration = Duration::from_secs(1);
/// Connections in one line of an answer, so that it stays below what a watcher reads at a time.
const TOLD_AT_ONCE: usize = 1000;
/// Most connections that are told; a service that says more of them lies.
const CONNECTIONS_MAX: usize = 1 << 22;

/// One capture for all who watch.
#[derive(Debug, Default)]
pub(super) struct Capture {
    watchers: usize,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Number of the first frame that is kept.
    first: u64,
    /// Frames that the service did not keep, in its own count.
    lost: u64,
    asked: Option<Instant>,
    answered: Option<(Instant, bool)>,
}

impl Capture {
    /// Somebody looks from now on: the place of the next frame.
    pub(super) fn join(&mut self) -> u64 {
        self.watchers += 1;
        self.first + self.frames.len() as u64
    }

    pub(super) fn leave(&mut self) {
        self.watchers -= 1;
        if self.watchers == 0 {
            *self = Self { first: self.first + self.frames.len() as u64, ..Self::default() };
        }
    }

    /// How many bytes of each frame the service is to be asked for now.
    pub(super) fn asks(&mut self) -> Option<u32> {
        let waits = match (self.asked, self.answered) {
            (None, _) => false,
            (Some(asked), None) => asked.elapsed() < REPEAT,
            (Some(_), Some((at, more))) => !more && at.elapsed() < AGAIN,
        };
        if self.watchers == 0 || waits {
            return None;
        }
        self.asked = Some(Instant::now());
        self.answered = None;
        Some(SNAP_MAX)
    }

    /// A question is open.
    pub(super) fn waits(&self) -> bool {
        self.asked.is_some() && self.answered.is_none()
    }

    pub(super) fn heard(&mut self, captured: &Captured) {
        if self.watchers == 0 {
            return;
        }
        if captured.more != 1 {
            self.answered = Some((Instant::now(), captured.more != 0));
        }
        self.lost = captured.lost;
        for frame in &captured.frames.0 {
            self.bytes += FRAME_BYTES + frame.bytes.len();
            self.frames.push_back(frame.clone());
        }
        while self.bytes > KEPT_BYTES_MAX
            && let Some(frame) = self.frames.pop_front()
        {
            self.bytes -= FRAME_BYTES + frame.bytes.len();
            self.first += 1;
        }
    }

    /// Frames from a place on, at most so many; how many were missed before them; how many the service lost.
    pub(super) fn news(&self, place: u64, most: usize) -> (Vec<Frame>, u64, u64) {
        let missed = self.first.saturating_sub(place);
        let skip = place.saturating_sub(self.first) as usize;
        (self.frames.iter().skip(skip).take(most).cloned().collect(), missed, self.lost)
    }
}

/// Frames as they are told.
pub(super) fn told(frame: &Frame) -> Value {
    let bytes: String = frame.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "out": frame.out, "at_ns": frame.at_ns, "len": frame.len, "bytes": bytes })
}

/// One walk through a service's connections, for whoever waits for it.
#[derive(Debug, Default)]
pub(super) struct Walk {
    wanted: bool,
    /// The place that was asked for, and when.
    asked: Option<(u32, Instant)>,
    next: u32,
    rows: Vec<Row>,
    /// The clock at the end of the last walk, and what it found.
    found: Option<(u64, Vec<Row>)>,
    /// Counts the walks that ended.
    pub(super) walks: u64,
}

impl Walk {
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// From which place on the service is to be asked now.
    pub(super) fn asks(&mut self) -> Option<u32> {
        if !self.wanted || self.asked.is_some_and(|(_, at)| at.elapsed() < REPEAT) {
            return None;
        }
        self.asked = Some((self.next, Instant::now()));
        Some(self.next)
    }

    /// A question is open.
    pub(super) fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// True when the walk is at its end.
    pub(super) fn heard(&mut self, some: &Connections) -> bool {
        let Some((from, _)) = self.asked.take() else { return false };
        self.rows.extend(some.rows.0.iter().cloned());
        let over = some.next <= from || self.rows.len() > CONNECTIONS_MAX;
        self.next = if over { 0 } else { some.next };
        if over {
            self.found = Some((some.at_ns, std::mem::take(&mut self.rows)));
            self.wanted = false;
            self.walks += 1;
        }
        over
    }

    /// What the last walk found, a line each: whether there are more behind it stands in it.
    pub(super) fn told(&self) -> Vec<Value> {
        let (at_ns, rows) = self.found.as_ref().map_or((0, &[][..]), |(at_ns, rows)| (*at_ns, rows));
        let lines = rows.len().div_ceil(TOLD_AT_ONCE).max(1);
        let line = |line: usize| {
            let rows = rows.iter().skip(line * TOLD_AT_ONCE).take(TOLD_AT_ONCE);
            let rows: Vec<Value> = rows.map(connection).collect();
            json!({ "at_ns": at_ns, "connections": rows, "more": line + 1 < lines })
        };
        (0..lines).map(line).collect()
    }
}

fn connection(row: &Row) -> Value {
    json!({
        "peer": row.peer.to_string(),
        "peer_port": row.peer_port,
        "port": row.port,
        "opened_by": if row.outgoing { "us" } else { "peer" },
        "state": row.state,
        "congestion_window": row.congestion_window,
        "round_trip_ns": row.round_trip_ns,
        "round_trip_least_ns": row.round_trip_least_ns,
        "in_flight": row.in_flight,
        "queued": row.queued,
        "unread": row.unread,
        "sent": row.sent,
        "retries": row.retries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_service::management::{Frames, Rows};

    fn captured(count: usize, len: usize) -> Captured {
        let frame = Frame { out: false, at_ns: 1, len: len as u32, bytes: vec![7; len] };
        Captured { at_ns: 1, lost: 3, more: 2, frames: Frames(vec![frame; count]) }
    }

    #[test]
    fn the_oldest_frames_make_room_and_who_missed_them_is_told() {
        let mut capture = Capture::default();
        capture.heard(&captured(1, 10));
        assert!(capture.asks().is_none(), "nobody looks");
        assert!(capture.news(0, usize::MAX).0.is_empty(), "nothing is kept for nobody");
        let place = capture.join();
        assert_eq!(capture.asks(), Some(SNAP_MAX));
        assert!(capture.asks().is_none(), "it was asked just now");
        let all = KEPT_BYTES_MAX / (FRAME_BYTES + 1500);
        capture.heard(&captured(all, 1500));
        assert_eq!(capture.asks(), Some(SNAP_MAX), "there may be more at once");
        let (frames, missed, lost) = capture.news(place, usize::MAX);
        assert_eq!((frames.len(), missed, lost), (all, 0, 3));
        capture.heard(&captured(10, 1500));
        let (frames, missed, _) = capture.news(place, 5);
        assert_eq!((frames.len(), missed), (5, 10));
        capture.leave();
        let again = capture.join();
        assert!(capture.news(again, usize::MAX).0.is_empty(), "a new watcher begins with what comes");
    }

    #[test]
    fn a_walk_ends_where_the_service_says_and_also_where_it_turns_back() {
        let row = |port| Row {
            peer: "10.0.0.1".parse().unwrap(),
            peer_port: port,
            port: 1,
            outgoing: false,
            state: "established".into(),
            congestion_window: 1,
            round_trip_ns: 1,
            round_trip_least_ns: 1,
            in_flight: 0,
            queued: 0,
            unread: 0,
            sent: 0,
            retries: 0,
        };
        let part = |next, ports: &[u16]| Connections {
            at_ns: 9,
            next,
            rows: Rows(ports.iter().map(|port| row(*port)).collect()),
        };
        let mut walk = Walk::default();
        assert!(walk.asks().is_none() && !walk.heard(&part(0, &[1])), "nobody wants to know");
        walk.want();
        assert_eq!(walk.asks(), Some(0));
        assert!(!walk.heard(&part(5, &[1, 2])));
        assert_eq!(walk.asks(), Some(5));
        assert!(walk.heard(&part(0, &[3])));
        let told = walk.told();
        assert_eq!((told.len(), &told[0]["more"]), (1, &json!(false)));
        assert_eq!(told[0]["connections"].as_array().unwrap().len(), 3);
        assert_eq!(told[0]["connections"][2]["peer_port"], 3);
        walk.want();
        assert_eq!(walk.asks(), Some(0));
        assert!(!walk.heard(&part(5, &[1])));
        assert_eq!(walk.asks(), Some(5));
        assert!(walk.heard(&part(5, &[2])), "it would never end");
        assert_eq!(walk.told()[0]["connections"].as_array().unwrap().len(), 2);
    }
}
