//! Requests for items of other cores: which they are, how they leave, and how their answers come back.

use super::{Connection, Kv, Progress, State, has_room, reply};
use crate::answer;
use crate::command::meta;
use crate::command::{Command, KEY_MAX, LEN_MAX};
use crate::shards::{Asked, LINE_PART_MAX, ShardCounters, Shards, Wait};
use crate::text::{Words, number};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use nom_stack::application::Io;
use nom_stack::meter::Answer;

/// What a line is about, where that is not only the core that it came to.
enum Target {
    /// The item of this key; so many bytes of data follow the line.
    Key { owner: usize, data_len: u64 },
    /// All cores do it, the others first, by a line whose answer nobody hears.
    All(String),
    /// All cores are asked what they count.
    Counts,
}

impl Connection {
    /// A guest asks for the keys that follow.
    pub(crate) fn begin_keys(&mut self, unique: bool, expires: Option<u32>) {
        self.state = State::Keys { unique, expires };
    }

    /// All keys came.
    pub(crate) fn end_keys(&mut self) {
        self.state = State::Line;
    }

    /// Everything came, and was answered.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.state, State::Line) && self.owed == super::Owed::Nothing
    }
}

impl Kv {
    /// Makes this cache one part of a larger one.
    pub fn join(&mut self, shards: Shards) {
        self.shards = (shards.count() > 1).then(|| Box::new(shards));
    }

    /// What was exchanged with other cores.
    pub fn shard_counters(&self) -> ShardCounters {
        self.shards.as_ref().map_or_else(ShardCounters::default, |shards| shards.counters())
    }

    /// Serves a guest from another core.
    pub(crate) fn serve_guest(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        bytes: &[u8],
    ) -> usize {
        let second = self.second(io.now_ns());
        self.store.tick(second);
        self.serve(connection, io, bytes)
    }

    /// Asks another core; false when the connection has to wait for that, and will be called.
    pub(super) fn ask(
        &mut self,
        connection: &mut Connection,
        io: &impl Io,
        owner: usize,
        asked: Asked<'_>,
    ) -> bool {
        let Some(shards) = &mut self.shards else { unreachable!("there are other cores") };
        match shards.ask(owner, io.connection(), asked) {
            Ok(away) => connection.away = Some(away),
            Err(wait) => {
                if !core::mem::replace(&mut connection.queued, true) {
                    shards.queue(io.connection(), owner, wait);
                }
            }
        }
        connection.away.is_some()
    }

    fn target(&self, command: &Command<'_>, line: &[u8]) -> Option<Target> {
        let shards = self.shards.as_ref()?;
        let key = |key: &[u8], data_len| shards.foreign(key).map(|owner| Target::Key { owner, data_len });
        match command {
            Command::Set(set) => key(set.key, u64::from(set.len) + 2),
            Command::Delete { key: name, .. }
            | Command::Add { key: name, .. }
            | Command::Touch { key: name, .. } => key(name, 0),
            Command::Meta { letter, words_at } => {
                let mut words = Words::new(&line[*words_at..]);
                let name = words.next().filter(|name| *letter != b'n' && name.len() <= KEY_MAX)?;
                let mut data_len = 0;
                if *letter == b's' {
                    let len = number(words.next()?).and_then(|len| u32::try_from(len).ok())?;
                    data_len = u64::from(Some(len).filter(|len| *len <= LEN_MAX)?) + 2;
                }
                // What is wrong is answered here.
                let flags = meta::flags(words).ok()?;
                key(meta::key(name, flags.binary)?.bytes(), data_len)
            }
            Command::Flush { delay, .. } if self.config.may_flush => {
                Some(Target::All(format!("flush_all {delay} noreply\r\n")))
            }
            Command::Admin => {
                let mut words = Words::new(line);
                match (words.next(), words.next(), words.next()) {
                    (Some(b"stats"), None, _) => Some(Target::Counts),
                    (Some(b"stats"), Some(b"reset"), None) => Some(Target::All("stats reset\r\n".into())),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Sends a line to where it belongs; nothing when that is here. `rest` begins with the line, which takes so many bytes.
    pub(super) fn send_away(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        command: &Command<'_>,
        line: &[u8],
        (rest, line_len): (&[u8], usize),
    ) -> Option<Progress> {
        let target = self.target(command, line)?;
        if !has_room(io) {
            return Some(Progress::Blocked);
        }
        match target {
            Target::Key { data_len, .. } if line_len > LINE_PART_MAX => {
                // Only spaces make a line so long.
                reply(connection, io, answer::LINE_TOO_LONG, Some(Answer::Refused), false);
                if data_len > 0 {
                    connection.state = State::Swallow { left: data_len };
                }
                Some(Progress::Consumed(line_len))
            }
            Target::Key { owner, data_len } => {
                let here = (rest.len() - line_len).min(LINE_PART_MAX - line_len);
                let data_here = here.min(usize::try_from(data_len).unwrap_or(usize::MAX));
                let bytes = &rest[..line_len + data_here];
                if !self.ask(connection, io, owner, Asked::Line(bytes)) {
                    return Some(Progress::Starved);
                }
                let left = data_len - data_here as u64;
                connection.state = if left > 0 { State::Forward { left } } else { State::Line };
                if let (true, Some(away), Some(shards)) = (left > 0, connection.away, &mut self.shards) {
                    shards.sends(away, true);
                }
                Some(Progress::Consumed(bytes.len()))
            }
            Target::All(_) | Target::Counts => {
                let next =
                    self.shards.as_ref().and_then(|shards| shards.other(usize::from(connection.toured)));
                let Some(next) = next else {
                    connection.toured = 0;
                    return None;
                };
                let asked = match &target {
                    Target::All(line) => Asked::Line(line.as_bytes()),
                    _ => Asked::Report,
                };
                // The line stays until all have done it.
                connection.touring = self.ask(connection, io, next, asked);
                Some(Progress::Starved)
            }
        }
    }

    /// Sends data on to the core that has the key, and says how much.
    pub(super) fn forward(&mut self, connection: &mut Connection, io: &impl Io, bytes: &[u8]) -> usize {
        let (State::Forward { left }, Some(away)) = (&mut connection.state, connection.away) else {
            return 0;
        };
        let Some(shards) = &mut self.shards else { return 0 };
        let part = &bytes[..usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len())];
        let sent = shards.forward(away, part);
        *left -= sent as u64;
        if sent < part.len() && !core::mem::replace(&mut connection.queued, true) {
            shards.queue(io.connection(), away.owner(), Wait::ForRoom);
        }
        if *left == 0 {
            connection.state = State::Line;
            shards.sends(away, false);
        }
        sent
    }

    /// Writes what came of the answer of another core.
    pub(super) fn relay(&mut self, connection: &mut Connection, io: &mut impl Io) {
        let (Some(away), Some(shards)) = (connection.away, &mut self.shards) else { return };
        if connection.touring {
            if shards.gather(io.connection(), away) {
                connection.touring = false;
                connection.away = None;
                connection.toured += 1;
            }
            return;
        }
        let (inbox, done) = shards.answer(away);
        let len = io.write_some(inbox);
        let is_all = len == inbox.len();
        shards.wrote(away, len);
        if let Some((accepted, refused)) = done.filter(|_| is_all) {
            (0..accepted).for_each(|_| io.answered(Answer::Accepted));
            (0..refused).for_each(|_| io.answered(Answer::Refused));
            shards.end(away);
            connection.away = None;
            if let State::Forward { left } = connection.state {
                connection.state = State::Swallow { left };
            }
        }
    }
}
