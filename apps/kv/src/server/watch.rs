//! `watch`: clients that are told what others do.
//!
//! A watcher has a bounded queue of lines. When it is full further lines are counted and dropped, and the watcher is
//! told how many once there is room again: nobody who serves waits for somebody who watches.

use super::dump::{connection_name, spell};
use super::{Connection, Kv, State};
use crate::store::{Item, Outcome, Verb};
use crate::text::Words;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use nom_stack::application::{ConnectionId, Io};

/// Watchers at the same time.
const WATCHERS_MAX: usize = 8;
/// Bytes that wait for a watcher.
const QUEUE_MAX: usize = 64 << 10;

/// What may be watched.
pub(super) mod topic {
    pub(crate) const FETCHERS: u8 = 1;
    pub(crate) const MUTATIONS: u8 = 2;
    pub(crate) const EVICTIONS: u8 = 4;
    pub(crate) const CONNECTIONS: u8 = 8;
    pub(crate) const DELETIONS: u8 = 16;
}

#[derive(Debug)]
struct Watcher {
    id: ConnectionId,
    topics: u8,
    queue: VecDeque<u8>,
    skipped: u64,
    /// There was no room; the stack says when there is.
    stuck: bool,
}

/// All watchers.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    watchers: Vec<Watcher>,
    /// Topics that somebody watches.
    pub(super) topics: u8,
    lines: u64,
    pub(super) sent: u64,
    pub(super) skipped: u64,
    /// The watcher that is called next when something waits.
    turn: usize,
}

impl Watchers {
    pub(super) fn len(&self) -> usize {
        self.watchers.len()
    }

    fn update(&mut self) {
        self.topics = self.watchers.iter().fold(0, |topics, watcher| topics | watcher.topics);
    }

    /// Whether somebody watches such events.
    #[inline]
    pub(super) fn watch(&self, topic: u8) -> bool {
        self.topics & topic != 0
    }

    /// Tells an event; the line's beginning is written here.
    fn tell(&mut self, topic: u8, unix_ns: u64, rest: &str) {
        self.lines += 1;
        let (seconds, micros) = (unix_ns / 1_000_000_000, unix_ns / 1_000 % 1_000_000);
        let line = alloc::format!("ts={seconds}.{micros:06} gid={} {rest}\r\n", self.lines);
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.topics & topic != 0) {
            if watcher.queue.len() + line.len() > QUEUE_MAX
                || watcher.skipped > 0 && watcher.queue.len() > QUEUE_MAX / 2
            {
                watcher.skipped += 1;
                self.skipped += 1;
                continue;
            }
            if watcher.skipped > 0 {
                watcher.queue.extend(alloc::format!("[skipped={}]\r\n", watcher.skipped).as_bytes());
                watcher.skipped = 0;
            }
            watcher.queue.extend(line.as_bytes());
            self.sent += 1;
        }
    }

    /// A watcher for whom something waits, one after the other.
    pub(super) fn waiting(&mut self) -> Option<ConnectionId> {
        while self.turn < self.watchers.len() {
            self.turn += 1;
            let watcher = &self.watchers[self.turn - 1];
            if !watcher.queue.is_empty() && !watcher.stuck {
                return Some(watcher.id);
            }
        }
        self.turn = 0;
        None
    }

    /// Sends what waits for a watcher, as far as there is room.
    pub(super) fn send(&mut self, io: &mut impl Io) {
        let id = io.connection();
        let Some(watcher) = self.watchers.iter_mut().find(|watcher| watcher.id == id) else { return };
        watcher.stuck = false;
        while !watcher.queue.is_empty() {
            let (first, _) = watcher.queue.as_slices();
            let (len, all) = (io.write_some(first), first.len());
            watcher.queue.drain(..len);
            if len < all {
                watcher.stuck = true;
                return;
            }
        }
    }

    /// The connection is gone.
    pub(super) fn left(&mut self, id: ConnectionId) {
        if !self.watchers.is_empty() {
            self.watchers.retain(|watcher| watcher.id != id);
            self.update();
        }
    }
}

impl Kv {
    /// `watch`, with the topics behind it.
    pub(super) fn watch(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        words: Words<'_>,
    ) -> &'static [u8] {
        let mut topics = 0;
        for word in words {
            topics |= match word {
                b"fetchers" => topic::FETCHERS,
                b"mutations" => topic::MUTATIONS,
                b"evictions" => topic::EVICTIONS,
                b"connevents" => topic::CONNECTIONS,
                b"deletions" => topic::DELETIONS,
                // Nothing is told under these.
                b"sysevents" | b"rawcmds" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => 0,
                _ => return b"ERROR\r\n",
            };
        }
        if self.watchers.len() == WATCHERS_MAX {
            return b"WATCHER_TOO_MANY log watcher limit reached\r\n";
        }
        let topics = if topics == 0 { topic::FETCHERS } else { topics };
        let id = io.connection();
        self.watchers.watchers.push(Watcher { id, topics, queue: VecDeque::new(), skipped: 0, stuck: false });
        self.watchers.update();
        self.store.note_evictions(self.watchers.watch(topic::EVICTIONS));
        connection.state = State::Watch;
        b"OK\r\n"
    }

    /// Somebody asked for a key.
    pub(super) fn tell_fetched(&mut self, io: &impl Io, key: &[u8], item: Option<Item>) {
        let mut line = String::from("type=item_get key=");
        spell(&mut line, key);
        let (status, class, len) = match item {
            Some(item) => ("found", self.store.class(item) + 1, self.store.data(item).len() - 2),
            None => ("not_found", 0, 0),
        };
        let name = connection_name(io.connection().slot as usize);
        let _ = write!(line, " status={status} clsid={class} cfd={name} size={len}");
        self.watchers.tell(topic::FETCHERS, self.unix_ns(io.now_ns()), &line);
    }

    /// Somebody stored, or tried to.
    pub(super) fn tell_stored(&mut self, io: &impl Io, key: &[u8], verb: Verb, outcome: Outcome, len: usize) {
        let mut line = String::from("type=item_store key=");
        spell(&mut line, key);
        let status = match outcome {
            Outcome::Stored => "stored",
            Outcome::NotStored => "not_stored",
            Outcome::Exists => "exists",
            Outcome::NotFound => "not_found",
            Outcome::BadChunk => return,
        };
        let verb = match verb {
            Verb::Set => "set",
            Verb::Add => "add",
            Verb::Replace => "replace",
            Verb::Append => "append",
            Verb::Prepend => "prepend",
            Verb::Cas => "cas",
        };
        let found = self.store.peek(key);
        let ttl_s = found.map_or(0, |item| match self.store.expires(item) {
            0 => 0,
            expires => expires.saturating_sub(self.second(io.now_ns())),
        });
        let class = found.map_or(0, |item| self.store.class(item) + 1);
        let name = connection_name(io.connection().slot as usize);
        let _ = write!(line, " status={status} cmd={verb} ttl={ttl_s} clsid={class} cfd={name} size={len}");
        self.watchers.tell(topic::MUTATIONS, self.unix_ns(io.now_ns()), &line);
    }

    /// Somebody deleted, or tried to.
    pub(super) fn tell_deleted(&mut self, io: &impl Io, key: &[u8], found: bool) {
        let mut line = String::from("type=deleted key=");
        spell(&mut line, key);
        let name = connection_name(io.connection().slot as usize);
        let status = if found { "found" } else { "not_found" };
        let _ = write!(line, " status={status} cmd=delete clsid=0 cfd={name} size=0");
        self.watchers.tell(topic::DELETIONS, self.unix_ns(io.now_ns()), &line);
    }

    /// Connections come and go.
    pub(super) fn tell_connection(&mut self, id: ConnectionId, now_ns: u64, reason: Option<&str>) {
        let name = connection_name(id.slot as usize);
        let line = match reason {
            None => alloc::format!("type=conn_new rip=unknown rport=0 transport=tcp cfd={name}"),
            Some(reason) => {
                alloc::format!("type=conn_close rip=unknown rport=0 transport=tcp reason={reason} cfd={name}")
            }
        };
        self.watchers.tell(topic::CONNECTIONS, self.unix_ns(now_ns), &line);
    }

    /// What was evicted since this was called last.
    pub(super) fn tell_evictions(&mut self, now_ns: u64) {
        let unix_ns = self.unix_ns(now_ns);
        for gone in self.store.take_evictions() {
            let mut line = String::from("type=eviction key=");
            spell(&mut line, &gone.key);
            let fetched = if gone.fetched { "yes" } else { "no" };
            let _ = write!(
                line,
                " fetch={fetched} ttl={} la={} clsid={} size={}",
                gone.ttl_s,
                gone.idle_s,
                gone.class + 1,
                gone.len
            );
            self.watchers.tell(topic::EVICTIONS, unix_ns, &line);
        }
    }
}
