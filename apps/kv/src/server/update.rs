//! `set` and its family, and `ms`: a line, and then data that arrives in any pieces.

use super::watch::topic;
use super::{Connection, Kv, Progress, State, reply};
use crate::answer;
use crate::command::{self, Set};
use crate::store::{NoSpace, Outcome, Reserved, Verb};
use nom_stack::application::Io;
use nom_stack::meter::Answer;

impl Kv {
    /// Begins a value; `behind` is what has arrived behind the line.
    pub(super) fn set(&mut self, connection: &mut Connection, io: &mut impl Io, set: Set<'_>, behind: &[u8]) {
        let expires = self.expires(set.expires, io.now_ns());
        let Set { verb, key, flags, len, noreply, .. } = set;
        match self.reserve(connection, key, flags, expires, len, verb == Verb::Set, behind) {
            Ok(reserved) => {
                self.store.expect(&reserved, set.unique);
                let len = len as usize + 2;
                connection.state = State::Value { reserved, len, filled: 0, verb, noreply, meta: false };
            }
            Err(answer) => reply(connection, io, answer, Some(Answer::Refused), noreply),
        }
    }

    /// Memory for a value, or why there is none; the data is thrown away then. What `replaces` the old value as far
    /// as the client knows removes it even so: better none than a stale one.
    #[expect(clippy::too_many_arguments, reason = "they are the parts of one line")]
    pub(super) fn reserve(
        &mut self,
        connection: &mut Connection,
        key: &[u8],
        flags: u32,
        expires: u32,
        len: u32,
        replaces: bool,
        behind: &[u8],
    ) -> Result<Reserved, &'static [u8]> {
        let here = behind.len() >= len as usize + 2;
        self.store.reserve(key, flags, expires, len, here).map_err(|no_space| {
            if replaces {
                self.store.delete(key);
            }
            connection.state = State::Swallow { left: u64::from(len) + 2 };
            match no_space {
                NoSpace::TooLarge => {
                    self.tally.too_large += 1;
                    command::TOO_LARGE
                }
                NoSpace::Full => {
                    self.tally.no_memory += 1;
                    command::OUT_OF_MEMORY
                }
            }
        })
    }

    /// Takes what has arrived of a value.
    pub(super) fn value(&mut self, connection: &mut Connection, io: &mut impl Io, rest: &[u8]) -> Progress {
        let State::Value { reserved, len, filled, verb, noreply, meta } = &mut connection.state else {
            unreachable!("called for this state only")
        };
        let part = &rest[..rest.len().min(*len - *filled)];
        let (verb, noreply, meta) = (*verb, *noreply, *meta);
        let whole = *filled + part.len() == *len;
        if whole && meta && !super::has_room(io) {
            return Progress::Blocked;
        }
        self.store.fill(reserved, *filled, part);
        *filled += part.len();
        if whole && let State::Value { reserved, .. } = core::mem::take(&mut connection.state) {
            self.tally.sets += 1;
            if meta {
                self.meta_stored(connection, io, reserved, verb, noreply);
            } else {
                self.stored(connection, io, reserved, verb, noreply);
            }
        }
        Progress::Consumed(part.len())
    }

    fn stored(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        reserved: Reserved,
        verb: Verb,
        noreply: bool,
    ) {
        let observed = self.is_observed().then(|| {
            let item = self.store.reserved_item(&reserved);
            (self.store.key(item).to_vec(), self.store.data(item).len() - 2)
        });
        let outcome = if let Some((key, len)) = observed {
            let old = self.store.peek(&key);
            if self.watchers.watch(topic::FETCHERS) {
                self.tell_fetched(io, &key, old);
            }
            let outcome = self.store.commit(reserved, verb, false);
            if self.detail.on {
                self.detail.set(&key);
            }
            if self.watchers.watch(topic::MUTATIONS) {
                self.tell_stored(io, &key, verb, outcome, len);
            }
            outcome
        } else {
            self.store.commit(reserved, verb, false)
        };
        self.tally.stored(verb, outcome);
        let line = match outcome {
            Outcome::Stored => answer::STORED,
            Outcome::NotStored => answer::NOT_STORED,
            Outcome::Exists => answer::EXISTS,
            Outcome::NotFound => answer::NOT_FOUND,
            Outcome::BadChunk => command::BAD_CHUNK,
        };
        let counted = if outcome == Outcome::BadChunk { Answer::Refused } else { Answer::Accepted };
        reply(connection, io, line, Some(counted), noreply);
    }
}
