//! Lines that change one item without data: `delete`, `incr`, `decr`, `touch`.

use super::{Connection, Kv, reply};
use crate::answer;
use crate::store::Changed;
use nom_stack::application::Io;
use nom_stack::meter::Answer;

impl Kv {
    pub(super) fn delete(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        key: &[u8],
        noreply: bool,
    ) {
        let found = self.store.delete(key);
        if self.is_observed() {
            if self.detail.on {
                self.detail.deleted(key);
            }
            if self.watchers.watch(super::watch::topic::DELETIONS) {
                self.tell_deleted(io, key, found);
            }
        }
        let line = if found {
            self.tally.delete_hits += 1;
            answer::DELETED
        } else {
            self.tally.delete_misses += 1;
            answer::NOT_FOUND
        };
        reply(connection, io, line, Some(Answer::Accepted), noreply);
    }

    /// Adds to a number or takes from it. There is room for the reply.
    pub(super) fn add(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        key: &[u8],
        delta: u64,
        up: bool,
        noreply: bool,
    ) {
        let changed = self.store.add(key, delta, up, 0);
        self.tally.added(up, changed);
        let (line, counted) = match changed {
            Changed::Number(_, value) => {
                self.reply.clear();
                self.reply.number(value);
                self.reply.text(b"\r\n");
                if !noreply {
                    let written = io.write(self.reply.bytes());
                    debug_assert!(written.is_ok(), "room was asked for");
                }
                io.answered(Answer::Accepted);
                return;
            }
            Changed::NotFound | Changed::Mismatch => (answer::NOT_FOUND, Answer::Accepted),
            Changed::NotNumeric => (answer::NOT_NUMERIC, Answer::Refused),
            Changed::NoMemory => (answer::OUT_OF_MEMORY, Answer::Refused),
        };
        reply(connection, io, line, Some(counted), noreply);
    }

    pub(super) fn touch(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        key: &[u8],
        expires: u32,
        noreply: bool,
    ) {
        let item = self.store.find(key);
        self.tally.touched(item.is_some());
        let line = match item {
            Some(item) => {
                self.store.set_expires(item, expires);
                answer::TOUCHED
            }
            None => answer::NOT_FOUND,
        };
        reply(connection, io, line, Some(Answer::Accepted), noreply);
    }
}
