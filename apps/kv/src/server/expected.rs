//! The short way of what nearly every request is: `get` with one key, on a connection that owes nothing. What happens
//! here is what happens on the long way, without what cannot matter then. Whatever is not as expected is left untouched
//! to the long way.

use super::{Connection, Kv, Owed, State};
use crate::answer;
use crate::command::single_get;
use nom_stack::application::Io;
use nom_stack::meter::Answer;

impl Connection {
    /// Before a command line, with nothing to pay first and nobody waiting to hear that it is done.
    #[inline]
    fn is_undisturbed(&self) -> bool {
        matches!(self.state, State::Line)
            && matches!(self.owed, Owed::Nothing)
            && !(self.blocked | self.finished)
            && self.away.is_none()
    }
}

impl Kv {
    /// Serves what comes first as long as it is what was expected, and says how many bytes are done with.
    #[inline]
    pub(super) fn serve_expected(&mut self, slot: usize, io: &mut impl Io, bytes: &[u8]) -> usize {
        let mut at = 0;
        if !self.connections[slot].is_undisturbed() || self.is_observed() {
            return 0;
        }
        while let Some((key, len)) = single_get(&bytes[at..]) {
            if self.shards.as_ref().is_some_and(|shards| shards.foreign(key).is_some()) {
                break;
            }
            let found = self.store.fetch(key);
            let is_found = found.is_some();
            let written = match found {
                Some(found) if found.value_len() > self.config.inline_value_bytes => {
                    let item = found.item;
                    return at + self.send_large(slot, io, key, item);
                }
                Some(found) => {
                    self.reply.clear();
                    self.reply.value(key, found.flags, found.value_len() as u32, None);
                    self.reply.text(found.data);
                    self.reply.text(answer::END);
                    io.write(self.reply.bytes())
                }
                None => io.write(answer::END),
            };
            if written.is_err() {
                // The long way says so, and finds it once more.
                break;
            }
            self.tally.fetched(is_found, false);
            io.answered(Answer::Accepted);
            at += len;
        }
        at
    }
}
