//! A person's eyes: what goes over the wire, and which connections there are, when the host asks.
//!
//! Frames are kept only while somebody asks for them again and again; [`PATIENCE_NS`] after the last question nothing is
//! kept any more. Answers never take more than half of the channel's places: what does not fit waits in the tap's ring,
//! whose own policy says what is lost.

use super::Worker;
use crate::management::{Captured, Connections, Frame, Frames, Message, Row, Rows, SNAP_MAX, TEXT_MAX};
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use nom_stack::View;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use nom_stack::tap::Tap;

/// How long frames are kept for somebody who does not ask again.
const PATIENCE_NS: u64 = 3_000_000_000;

/// The tap, and until when it is worth being on.
pub(super) struct Eyes {
    pub(super) tap: Rc<Tap>,
    until_ns: u64,
}

impl Eyes {
    pub(super) fn new() -> Self {
        Self { tap: Rc::default(), until_ns: 0 }
    }

    /// Closes when nobody has asked for too long.
    pub(super) fn rest(&self, now_ns: u64) {
        if self.tap.is_on() && now_ns >= self.until_ns {
            self.tap.stop();
        }
    }

    /// The frames of one line.
    fn frames(&self) -> Vec<Frame> {
        let (mut frames, mut text) = (Vec::new(), 0);
        while let Some(seen) = self.tap.first() {
            text += Frame::text_len(seen.kept as usize);
            if text > TEXT_MAX {
                break;
            }
            let mut bytes = Vec::with_capacity(seen.kept as usize);
            self.tap.take(&mut bytes);
            frames.push(Frame { out: seen.out, at_ns: seen.at_ns, len: seen.len, bytes });
        }
        frames
    }
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Tells what was seen since the last time, and keeps on seeing.
    pub(super) fn show_frames(&mut self, snap: u32, now_ns: u64) {
        self.eyes.until_ns = now_ns + PATIENCE_NS;
        if !self.eyes.tap.is_on() && !self.eyes.tap.start(snap.clamp(1, SNAP_MAX) as usize) {
            let reason = "no memory for a capture is left; give the machine more".to_string();
            self.channel.push(&Message::Refused { reason });
            return;
        }
        loop {
            let frames = Frames(self.eyes.frames());
            let more = match (self.eyes.tap.first().is_some(), self.channel.room() > 1) {
                (false, _) => 0,
                (true, true) => 1,
                (true, false) => 2,
            };
            let lost = self.eyes.tap.lost();
            self.channel.push(&Message::Captured(Captured { at_ns: now_ns, lost, more, frames }));
            if more != 1 {
                return;
            }
        }
    }

    /// Tells connections from a place on, as many as stand in a line.
    pub(super) fn show_connections(&mut self, from: u32, now_ns: u64) {
        let (mut rows, mut next) = (Vec::new(), from);
        while rows.len() < TEXT_MAX / Row::TEXT_MAX {
            let Some(view) = self.engine.view(next) else {
                next = 0;
                break;
            };
            next = view.id.slot + 1;
            rows.push(row(&view));
        }
        self.channel.push(&Message::Connections(Connections { at_ns: now_ns, next, rows: Rows(rows) }));
    }
}

fn row(view: &View) -> Row {
    Row {
        peer: view.peer,
        peer_port: view.peer_port,
        port: view.port,
        outgoing: view.outgoing,
        state: view.state.to_string(),
        congestion_window: view.congestion_window,
        round_trip_ns: view.round_trip_ns,
        round_trip_least_ns: view.round_trip_least_ns,
        in_flight: view.in_flight,
        queued: view.queued,
        unread: view.unread,
        sent: view.sent,
        retries: u32::from(view.retries),
    }
}
