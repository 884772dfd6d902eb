//! Connections: from bytes that arrive in any pieces to replies in the room that there is.
//!
//! Nothing is buffered here. A line that is not whole yet, or whose reply has no room, stays unconsumed with the
//! stack, which closes the window when it holds too much. A value is copied once, from where the driver put it into
//! its item. A reply that was begun is owed until there is room for the rest.

use crate::answer::{self, Reply};
use crate::command::{self, Command, meta::OPAQUE_MAX};
use crate::shards::{Away, GUEST, Shards};
use crate::store::{Item, Reserved, Store, Verb};
use crate::text::newline;
use alloc::boxed::Box;
use alloc::vec::Vec;
use nom_stack::application::{Application, ConnectionId, Elastic, Ended, Io, Pin};
use nom_stack::meter::Answer;

mod admin;
mod away;
mod contents;
mod detail;
mod dump;
mod elastic;
mod expected;
mod fetch;
mod idle;
mod meta;
mod report;
mod single;
mod succession;
mod update;
mod watch;

pub use contents::BadContents;
pub(crate) use dump::Walk;

/// Longest command line with its end; only a `get` may be longer, which is then served key by key.
pub const LINE_MAX: usize = 2048;
/// Values up to this size are copied into the reply rather than pinned: below it a copy costs less than a gather
/// entry, a pin and its release.
pub const INLINE_VALUE_BYTES: usize = 128;
/// Room that a reply without a value needs at most. A command that changes something is not begun with less.
const REPLY_ROOM: usize = 1536;
/// Relative times end here (30 days); larger ones are seconds since 1970.
const RELATIVE_SECONDS_MAX: i32 = 60 * 60 * 24 * 30;
/// The clock of items starts here, so that 0 can mean "never" and 1 "long ago".
const FIRST_SECOND: u64 = 2;

/// What a cache is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Memory for items and their index, allocated at once.
    pub memory_bytes: usize,
    /// Most that it may become while the cache serves (`cache_memlimit`).
    pub memory_bytes_max: usize,
    /// How long a client may take between two pieces of a value that it announced, in seconds; 0 for ever.
    pub sender_limit_s: u32,
    /// How long a client may be silent, in seconds; 0 for ever.
    pub idle_limit_s: u32,
    /// What has no room makes others leave. Otherwise it is refused.
    pub evicts: bool,
    /// Items past their time are looked for.
    pub crawls: bool,
    /// `flush_all` is obeyed.
    pub may_flush: bool,
    /// `watch` is obeyed.
    pub may_watch: bool,
    /// `debugtime` moves the clock of items: for tests of clients only.
    pub may_move_time: bool,
    /// Largest item with its key and 42 bytes of header and line end.
    pub item_bytes_max: usize,
    /// Values up to this size are copied into the reply.
    pub inline_value_bytes: usize,
    /// Secret of the hash table.
    pub seed: [u8; 16],
    /// The time of start.
    pub start_ns: u64,
    /// Nanoseconds since 1970 at that time. When it is 0 (not known), an item whose time is given as a date counts
    /// as past at once: a cache may forget, but not serve what is out of date.
    pub start_unix_ns: u64,
}

impl Config {
    /// A cache of this size with memcached's limits.
    pub fn new(memory_bytes: usize, seed: [u8; 16], start_ns: u64) -> Self {
        Self {
            memory_bytes,
            memory_bytes_max: memory_bytes,
            sender_limit_s: 30,
            idle_limit_s: 0,
            evicts: true,
            crawls: true,
            may_flush: true,
            may_watch: true,
            may_move_time: false,
            item_bytes_max: 1 << 20,
            inline_value_bytes: INLINE_VALUE_BYTES,
            seed,
            start_ns,
            start_unix_ns: 0,
        }
    }
}

/// What is due to a client before anything else.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Owed {
    #[default]
    Nothing,
    Line(&'static [u8], Option<Answer>),
    Value(Pin, Option<Answer>),
}

/// Where in the protocol a connection is.
#[derive(Debug, Default)]
enum State {
    /// Before a command line.
    #[default]
    Line,
    /// Within the keys of a `get` or `gat` line; the latter gives each item this second to be past its time from.
    Keys { unique: bool, expires: Option<u32> },
    /// Within the data of a `set` or another of its family; of `ms` the slot's [`Pending`] tells the rest.
    Value { reserved: Reserved, len: usize, filled: usize, verb: Verb, noreply: bool, meta: bool },
    /// Within data that is thrown away.
    Swallow { left: u64 },
    /// Within data that goes to the core that has the key.
    Forward { left: u64 },
    /// Within the rest of a line that is thrown away.
    SkipLine,
    /// Within an answer that did not fit.
    Dump(Box<dump::Dump>),
    /// After `watch`: the client only listens.
    Watch,
    /// After `quit`, or a line that was too long.
    Closing,
}

#[derive(Debug, Default)]
pub(crate) struct Connection {
    open: bool,
    generation: u32,
    /// When something arrived last.
    heard_s: u32,
    /// It was silent for too long.
    cut: bool,
    /// It ends because of what it said.
    wrong: bool,
    /// Watchers know that it ends.
    told: bool,
    state: State,
    owed: Owed,
    /// The last bytes could not be served for lack of room.
    blocked: bool,
    /// The client will send no more.
    finished: bool,
    /// The request that another core answers.
    away: Option<Away>,
    /// It waits for its turn to ask another core.
    queued: bool,
    /// That is one of all cores, and its answer is not the client's.
    touring: bool,
    /// Cores that have done what all have to do.
    toured: u8,
}

/// What serving a piece came to.
enum Progress {
    /// So many bytes are done with.
    Consumed(usize),
    /// More bytes are needed.
    Starved,
    /// There is no room for the reply.
    Blocked,
}

/// What an `ms` whose data is still arriving will be answered with.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Pending {
    /// The letters `O`, `k` and `c`, in the order in which they are answered.
    order: [u8; 3],
    opaque: [u8; OPAQUE_MAX],
    opaque_len: u8,
    invalidate: bool,
}

/// The cache: an application for a stack.
#[derive(Debug)]
pub struct Kv {
    config: Config,
    pub(crate) store: Store,
    connections: Vec<Connection>,
    pending: Vec<Pending>,
    /// That of a guest, while it is served.
    pub(crate) guest_pending: Pending,
    /// The other cores, where there are any.
    pub(crate) shards: Option<Box<Shards>>,
    reply: Reply,
    tally: report::Tally,
    detail: detail::Detail,
    watchers: watch::Watchers,
    sweep: idle::Sweep,
    /// The port that is listened at, once somebody came.
    port: u16,
    memory_bytes: usize,
    /// How far `debugtime` moved the clock.
    moved_s: u32,
    now_ns: u64,
}

impl Kv {
    /// An empty cache.
    pub fn new(config: Config) -> Self {
        let inline_value_bytes = config.inline_value_bytes.min(answer::INLINE_MAX);
        let mut store = Store::new(config.memory_bytes, config.item_bytes_max, config.seed);
        store.keep_all(!config.evicts);
        store.crawls = config.crawls;
        Self {
            store,
            connections: Vec::new(),
            pending: Vec::new(),
            guest_pending: Pending::default(),
            shards: None,
            reply: Reply::new(),
            tally: report::Tally::default(),
            detail: detail::Detail::default(),
            watchers: watch::Watchers::default(),
            sweep: idle::Sweep::default(),
            port: 0,
            memory_bytes: config.memory_bytes,
            moved_s: 0,
            now_ns: config.start_ns,
            config: Config { inline_value_bytes, ..config },
        }
    }

    /// The items.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn second(&self, now_ns: u64) -> u32 {
        (now_ns.saturating_sub(self.config.start_ns) / 1_000_000_000 + FIRST_SECOND) as u32 + self.moved_s
    }

    /// The time in seconds since 1970 of a second of the items' clock.
    fn unix_second(&self, second: u32) -> u64 {
        (self.config.start_unix_ns / 1_000_000_000 + u64::from(second)).saturating_sub(FIRST_SECOND)
    }

    fn unix_ns(&self, now_ns: u64) -> u64 {
        self.config.start_unix_ns + now_ns.saturating_sub(self.config.start_ns)
    }

    /// Somebody wants to know what is asked for.
    #[inline]
    fn is_observed(&self) -> bool {
        self.detail.on || self.watchers.topics != 0
    }

    /// The second from which an item is past its time, by memcached's rules; 0 for never.
    fn expires(&self, given: i32, now_ns: u64) -> u32 {
        match given {
            0 => 0,
            ..0 => 1,
            1..=RELATIVE_SECONDS_MAX => self.second(now_ns).saturating_add(given as u32),
            date => {
                let start = self.config.start_unix_ns / 1_000_000_000;
                match (date as u64).checked_sub(start) {
                    Some(after @ 1..) if start > 0 => (after + FIRST_SECOND) as u32,
                    _ => 1,
                }
            }
        }
    }

    /// Serves what it can and says how many bytes are done with.
    fn serve(&mut self, connection: &mut Connection, io: &mut impl Io, bytes: &[u8]) -> usize {
        let mut at = 0;
        connection.blocked = loop {
            if !settle(connection, io) {
                break true;
            }
            let rest = &bytes[at..];
            if connection.away.is_some() {
                at += self.forward(connection, io, rest);
                break true;
            }
            let progress = match &mut connection.state {
                State::Closing => Progress::Consumed(rest.len()),
                State::Dump(_) => {
                    if !self.continue_dump(connection, io) {
                        break true;
                    }
                    continue;
                }
                State::Forward { .. } => unreachable!("data goes to another core while it has the request"),
                State::Watch if !rest.is_empty() => Progress::Consumed(rest.len()),
                _ if rest.is_empty() => break false,
                State::Line => self.line(connection, io, rest, at == 0),
                State::Watch => break false,
                State::Keys { .. } => self.keys(connection, io, rest),
                State::Value { .. } => self.value(connection, io, rest),
                State::Swallow { left } => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= len as u64;
                    if *left == 0 {
                        connection.state = State::Line;
                    }
                    Progress::Consumed(len)
                }
                State::SkipLine => match newline(rest) {
                    Some(end) => {
                        connection.state = State::Line;
                        Progress::Consumed(end + 1)
                    }
                    None => Progress::Consumed(rest.len()),
                },
            };
            match progress {
                Progress::Consumed(len) => {
                    at += len;
                    if matches!(connection.state, State::Closing) {
                        at = bytes.len();
                        break false;
                    }
                }
                Progress::Starved => break connection.away.is_some() || connection.queued,
                Progress::Blocked => break true,
            }
        };
        connection.blocked &= at < bytes.len();
        close_if_done(connection, io);
        at
    }

    fn line(&mut self, connection: &mut Connection, io: &mut impl Io, rest: &[u8], first: bool) -> Progress {
        let Some(end) = newline(&rest[..rest.len().min(LINE_MAX)]) else {
            if rest.len() < LINE_MAX {
                return Progress::Starved;
            }
            return long_line(connection, io, rest);
        };
        let line = match &rest[..end] {
            // A line that is nothing but a carriage return keeps it, as in memcached.
            [line @ .., b'\r'] if !line.is_empty() => line,
            line => line,
        };
        let command = command::parse(line);
        if self.shards.is_some()
            && let Some(progress) = self.send_away(connection, io, &command, line, (rest, end + 1))
        {
            return progress;
        }
        match command {
            Command::Get { unique, keys_at } => {
                connection.state = State::Keys { unique, expires: None };
                return Progress::Consumed(keys_at);
            }
            Command::GetAndTouch { unique, expires, keys_at } => {
                let expires = Some(self.expires(expires, io.now_ns()));
                connection.state = State::Keys { unique, expires };
                return Progress::Consumed(keys_at);
            }
            Command::Set(set) => self.set(connection, io, set, &rest[end + 1..]),
            Command::Delete { key, noreply } => self.delete(connection, io, key, noreply),
            Command::Add { key, delta, up, noreply } => {
                if !has_room(io) {
                    return Progress::Blocked;
                }
                self.add(connection, io, key, delta, up, noreply);
            }
            Command::Touch { key, expires, noreply } => {
                let expires = self.expires(expires, io.now_ns());
                self.touch(connection, io, key, expires, noreply);
            }
            Command::Flush { noreply, .. } if !self.config.may_flush => {
                reply(connection, io, command::NO_FLUSH, Some(Answer::Refused), noreply);
            }
            Command::Flush { delay, noreply } => {
                self.tally.flushes += 1;
                let at_s = if delay > 0 { self.expires(delay, io.now_ns()) } else { 0 };
                self.store.flush(at_s);
                reply(connection, io, answer::OK, None, noreply);
            }
            Command::Verbosity { noreply } => reply(connection, io, answer::OK, None, noreply),
            Command::Version => reply(connection, io, answer::VERSION, None, false),
            Command::Admin => {
                if !has_room(io) {
                    return Progress::Blocked;
                }
                self.admin(connection, io, line, first);
            }
            end @ (Command::Quit | Command::HangUp) => {
                connection.wrong = end == Command::HangUp;
                if self.watchers.watch(watch::topic::CONNECTIONS) {
                    let reason = if connection.wrong { "error" } else { "normal" };
                    self.tell_connection(io.connection(), io.now_ns(), Some(reason));
                    connection.told = true;
                }
                io.close();
                connection.state = State::Closing;
            }
            Command::Meta { letter, words_at } => {
                if !has_room(io) {
                    return Progress::Blocked;
                }
                self.meta(connection, io, letter, &line[words_at..], &rest[end + 1..]);
            }
            Command::Refuse { answer, silent } => {
                reply(connection, io, answer, Some(Answer::Refused), silent);
            }
        }
        Progress::Consumed(end + 1)
    }

    /// Gives back what a connection holds.
    pub(crate) fn drop_connection(&mut self, connection: Connection) {
        if let State::Value { reserved, .. } = connection.state {
            self.store.discard(reserved);
        }
        if let Owed::Value(pin, _) = connection.owed {
            self.store.release(Item::from_token(pin.token));
        }
        if let (Some(away), Some(shards)) = (connection.away, &mut self.shards) {
            shards.leave(away);
        }
    }

    fn pending(&mut self, id: ConnectionId) -> &mut Pending {
        if id.slot & GUEST == 0 { &mut self.pending[id.slot as usize] } else { &mut self.guest_pending }
    }

    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        &mut self.connections[id.slot as usize]
    }
}

/// Closes this side once the other side has, and has been told everything it asked for.
fn close_if_done(connection: &Connection, io: &mut impl Io) {
    let dumping = matches!(connection.state, State::Dump(_));
    // Who waits for another core is closed later, unless that one waits for data that will not come.
    let waits = connection.away.is_some() && !matches!(connection.state, State::Forward { .. });
    if connection.finished && !connection.blocked && !dumping && !waits && connection.owed == Owed::Nothing {
        io.close();
    }
}

/// Pays what is owed. False when there is no room for it yet.
fn settle(connection: &mut Connection, io: &mut impl Io) -> bool {
    match connection.owed {
        Owed::Nothing => return true,
        Owed::Line(line, answer) => {
            if io.write(line).is_err() {
                return false;
            }
            if let Some(answer) = answer {
                io.answered(answer);
            }
        }
        Owed::Value(pin, answer) => {
            if io.write_pinned(pin).is_err() {
                return false;
            }
            if let Some(answer) = answer {
                io.answered(answer);
            }
        }
    }
    connection.owed = Owed::Nothing;
    true
}

/// Whether a command may begin whose reply is written as a whole. Asking lets the stack call again when there is.
fn has_room(io: &impl Io) -> bool {
    io.room() >= REPLY_ROOM
}

/// Sends a line and counts its operation, now or as soon as there is room. Nothing else may be owed.
fn reply(
    connection: &mut Connection,
    io: &mut impl Io,
    line: &'static [u8],
    answer: Option<Answer>,
    silent: bool,
) {
    debug_assert_eq!(connection.owed, Owed::Nothing);
    connection.owed = Owed::Line(if silent { b"" } else { line }, answer);
    settle(connection, io);
}

/// A line beyond [`LINE_MAX`]: a `get` is served key by key, anything else ends the connection.
fn long_line(connection: &mut Connection, io: &mut impl Io, rest: &[u8]) -> Progress {
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    for (word, unique) in [(&b"get "[..], false), (b"gets ", true)] {
        if rest[spaces..].starts_with(word) {
            connection.state = State::Keys { unique, expires: None };
            return Progress::Consumed(spaces + word.len());
        }
    }
    if io.write(answer::LINE_TOO_LONG).is_err() {
        return Progress::Blocked;
    }
    io.answered(Answer::Refused);
    io.close();
    connection.state = State::Closing;
    Progress::Consumed(rest.len())
}

impl Application for Kv {
    fn opened(&mut self, io: &mut impl Io, port: u16, _outgoing: bool) {
        let id = io.connection();
        let slot = id.slot as usize;
        self.port = port;
        if self.connections.len() <= slot {
            // Grows to the stack's own bound on connections, only when one is opened.
            self.connections.resize_with(slot + 1, Connection::default);
            self.pending.resize_with(slot + 1, Pending::default);
        }
        let heard_s = self.second(io.now_ns());
        self.connections[slot] =
            Connection { open: true, generation: id.generation, heard_s, ..Connection::default() };
        if self.watchers.watch(watch::topic::CONNECTIONS) {
            self.tell_connection(id, io.now_ns(), None);
        }
        self.tally.connections += 1;
        self.tally.connections_total += 1;
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let id = io.connection();
        let second = self.second(io.now_ns());
        self.store.tick(second);
        self.connection(id).heard_s = second;
        let mut consumed = self.serve_expected(id.slot as usize, io, bytes);
        if consumed < bytes.len() {
            let mut connection = core::mem::take(self.connection(id));
            consumed += self.serve(&mut connection, io, &bytes[consumed..]);
            *self.connection(id) = connection;
        }
        self.tally.received_bytes += consumed as u64;
        consumed
    }

    fn writable(&mut self, io: &mut impl Io) {
        // What stayed unconsumed for lack of room is offered again by the stack.
        let id = io.connection();
        let mut connection = core::mem::take(self.connection(id));
        connection.queued = false;
        if connection.cut {
            io.abort();
        } else if matches!(connection.state, State::Watch) {
            if settle(&mut connection, io) {
                self.watchers.send(io);
            }
        } else if settle(&mut connection, io) {
            self.relay(&mut connection, io);
            self.continue_dump(&mut connection, io);
        }
        close_if_done(&connection, io);
        *self.connection(id) = connection;
    }

    fn wanted(&mut self, now_ns: u64) -> Option<ConnectionId> {
        self.attend(now_ns)
    }

    fn finished(&mut self, io: &mut impl Io) {
        let id = io.connection();
        let connection = self.connection(id);
        connection.finished = true;
        close_if_done(connection, io);
    }

    fn ended(&mut self, id: ConnectionId, reason: Ended) {
        // A connection that was never opened has no place here.
        let Some(place) = self.connections.get_mut(id.slot as usize) else { return };
        let connection = core::mem::take(place);
        self.watchers.left(id);
        if connection.open && !connection.told && self.watchers.watch(watch::topic::CONNECTIONS) {
            let wrong = connection.wrong || reason != Ended::Closed;
            let reason = if connection.cut {
                "idle_timeout"
            } else if wrong {
                "error"
            } else {
                "normal"
            };
            self.tell_connection(id, self.now_ns, Some(reason));
        }
        self.tally.connections -= u64::from(connection.open);
        if let Some(shards) = self.shards.as_mut().filter(|_| connection.queued || connection.toured > 0) {
            shards.forget(id);
        }
        self.drop_connection(connection);
    }

    fn may_rest(&mut self) -> bool {
        self.shards.as_mut().is_none_or(|shards| shards.may_rest())
    }

    fn withdraw(&mut self) -> bool {
        self.shards.as_mut().is_none_or(|shards| {
            shards.pause();
            shards.is_idle()
        })
    }

    fn elastic(&mut self) -> Option<&mut dyn Elastic> {
        Some(self)
    }

    fn hand_over(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        self.connection_state(id)
    }

    fn take_over(&mut self, io: &mut impl Io, state: &[u8]) -> bool {
        self.restore(io, state)
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        &self.store.data(Item::from_token(pin.token))[..pin.len as usize]
    }

    fn released(&mut self, pin: Pin) {
        self.store.release(Item::from_token(pin.token));
    }
}
