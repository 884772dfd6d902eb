//! Who was answered has to read: until nothing is left that the other side has not acknowledged, [`PIECE`] bytes of it, or
//! all there are, within each `reading_limit_s`. That all of an answer lies in the stack's memory ends nothing, and neither
//! do further requests or acknowledgements of single bytes.

use super::{Connection, Httpd, PIECE};
use nom_stack::application::Io;

/// How far a client has to come.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Reading {
    /// Something was sent that may not be acknowledged. It is looked at again at the end of the limit only, so that a client
    /// that is answered often costs nothing more.
    pub(super) owed: bool,
    since_s: u32,
    /// Where its acknowledgements have to be by then.
    goal: u32,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// There is nothing to read, or time is left.
    Good,
    /// It read too little in its time.
    Slow,
}

impl Reading {
    /// The time for what is owed is over.
    pub(super) fn is_due(&self, now_s: u32, limit_s: u32) -> bool {
        self.owed && now_s.saturating_sub(self.since_s) >= limit_s
    }
}

impl Httpd {
    /// Something may have been written: from now on it has to be read.
    #[inline]
    pub(super) fn expect_reader(&self, connection: &mut Connection, io: &impl Io) {
        if !connection.reading.owed {
            self.expect_more(connection, io);
        }
    }

    fn expect_more(&self, connection: &mut Connection, io: &impl Io) {
        let left = io.unacknowledged();
        connection.reading = Reading {
            owed: left > 0 && self.config.reading_limit_s > 0,
            since_s: self.second(io.now_ns()),
            goal: io.acknowledged().wrapping_add(left.min(PIECE as u32)),
        };
    }

    /// Looks at what was read, when it is time.
    pub(super) fn look_at_reader(&self, connection: &mut Connection, io: &impl Io) -> Reader {
        let now_s = self.second(io.now_ns());
        if !connection.reading.is_due(now_s, self.config.reading_limit_s) {
            return Reader::Good;
        }
        let beyond = io.acknowledged().wrapping_sub(connection.reading.goal);
        if io.unacknowledged() > 0 && beyond > u32::MAX / 2 {
            return Reader::Slow;
        }
        self.expect_more(connection, io);
        Reader::Good
    }
}
