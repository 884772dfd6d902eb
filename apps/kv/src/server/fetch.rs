//! `get`, `gets`, `gat`, `gats`: key by key, each with its reply.

use super::watch::topic;
use super::{Connection, Kv, Owed, Progress, State, reply, settle};
use crate::answer;
use crate::command::{self, GET, NextKey, next_key};
use crate::shards::Asked;
use crate::store::Item;
use nom_stack::application::{Io, Pin};
use nom_stack::meter::Answer;

impl Kv {
    /// Serves the next key of a `get` line, or its end.
    pub(super) fn keys(&mut self, connection: &mut Connection, io: &mut impl Io, rest: &[u8]) -> Progress {
        let State::Keys { unique, expires } = connection.state else {
            unreachable!("called for this state only")
        };
        let word = match next_key(rest) {
            NextKey::Word(word) => word,
            NextKey::LineEnd(len) => {
                connection.state = State::Line;
                reply(connection, io, answer::END, Some(Answer::Accepted), false);
                return Progress::Consumed(len);
            }
            NextKey::TooLong => {
                connection.state = State::SkipLine;
                reply(connection, io, command::BAD_FORMAT, Some(Answer::Refused), false);
                return Progress::Consumed(0);
            }
            NextKey::Unknown(0) => return Progress::Starved,
            NextKey::Unknown(spaces) => return Progress::Consumed(spaces),
        };
        let key = &rest[word.clone()];
        if let Some(owner) = self.shards.as_ref().and_then(|shards| shards.foreign(key)) {
            if !super::has_room(io) {
                return Progress::Blocked;
            }
            let asked = Asked::Key { key, unique, expires };
            return match self.ask(connection, io, owner, asked) {
                true => Progress::Consumed(word.end),
                false => Progress::Starved,
            };
        }
        let found = self.store.find(key);
        if self.is_observed() {
            self.observe_fetch(io, key, found);
        }
        let Some(item) = found else {
            self.tally.fetched(false, expires.is_some());
            return Progress::Consumed(word.end);
        };
        let data = self.store.data(item);
        let unique = unique.then(|| self.store.unique(item));
        self.reply.clear();
        self.reply.value(key, self.store.flags(item), data.len() as u32 - 2, unique);
        if data.len() - 2 <= self.config.inline_value_bytes {
            self.reply.text(data);
            let last = match next_key(&rest[word.end..]) {
                NextKey::LineEnd(len) => Some(word.end + len),
                _ => None,
            };
            if last.is_some() {
                self.reply.text(answer::END);
            }
            if io.write(self.reply.bytes()).is_err() {
                return Progress::Blocked;
            }
            self.fetched(item, expires);
            let Some(len) = last else { return Progress::Consumed(word.end) };
            io.answered(Answer::Accepted);
            connection.state = State::Line;
            return Progress::Consumed(len);
        }
        if io.write(self.reply.bytes()).is_err() {
            return Progress::Blocked;
        }
        self.fetched(item, expires);
        self.send_pinned(connection, io, item, None);
        Progress::Consumed(word.end)
    }

    /// An item was found, and its reply found room: a reply that is tried again must find the item again, although its new
    /// time may be over already.
    fn fetched(&mut self, item: Item, expires: Option<u32>) {
        if let Some(expires) = expires {
            self.store.set_expires(item, expires);
        }
        self.tally.fetched(true, expires.is_some());
    }

    /// Begins the reply to `get` with one key whose value is not copied; the end of the line is left to what follows.
    pub(super) fn send_large(&mut self, slot: usize, io: &mut impl Io, key: &[u8], item: Item) -> usize {
        self.reply.clear();
        self.reply.value(key, self.store.flags(item), self.store.data(item).len() as u32 - 2, None);
        if io.write(self.reply.bytes()).is_err() {
            return 0;
        }
        let mut connection = core::mem::take(&mut self.connections[slot]);
        connection.state = State::Keys { unique: false, expires: None };
        self.send_pinned(&mut connection, io, item, None);
        self.connections[slot] = connection;
        self.tally.fetched(true, false);
        GET.len() + key.len()
    }

    /// Tells whoever wants to know.
    #[cold]
    pub(super) fn observe_fetch(&mut self, io: &impl Io, key: &[u8], found: Option<Item>) {
        if self.detail.on {
            self.detail.got(key, found.is_some());
        }
        if self.watchers.watch(topic::FETCHERS) {
            self.tell_fetched(io, key, found);
        }
    }

    /// Sends a value without copying it, now or as soon as there is room, and counts the operation then.
    pub(super) fn send_pinned(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        item: Item,
        answer: Option<Answer>,
    ) {
        let pin = Pin { token: item.token(), len: self.store.data(item).len() as u32 };
        assert!(self.store.pin(item), "fewer pins than the stack has room for");
        connection.owed = Owed::Value(pin, answer);
        settle(connection, io);
    }
}
