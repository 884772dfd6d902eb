//! Answers that are longer than the room of a connection: sent in pieces as room comes.

use super::{Connection, Kv, State};
use crate::answer;
use crate::store::Item;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::Write;
use nom_stack::application::Io;

/// Bytes that are put together before they are sent; one entry is never longer than the room of a reply.
const PIECE: usize = 8 << 10;
/// Longest entry: a key that is spelled in three bytes each, and its words.
const ENTRY_MAX: usize = 1_000;
/// Buckets that one piece looks into at most.
const BUCKETS_A_PIECE: u32 = 1 << 14;

/// What is being sent.
#[derive(Debug)]
pub(super) enum Dump {
    /// A text that is there already.
    Text { text: String, at: usize },
    /// The items, in the order of the index. What changes meanwhile may be there or not.
    Items { bucket: u32, within: u32, style: Style, class: Option<usize>, left: u32 },
    /// The connections.
    Connections { slot: usize },
}

/// How an item is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `lru_crawler metadump`.
    Meta,
    /// `stats cachedump`.
    Cache,
}

impl Kv {
    /// Begins to send what may not fit.
    pub(super) fn begin_dump(&mut self, connection: &mut Connection, io: &mut impl Io, dump: Dump) {
        connection.state = State::Dump(Box::new(dump));
        self.continue_dump(connection, io);
    }

    /// Sends what there is room for. False when there is not enough for all.
    pub(super) fn continue_dump(&mut self, connection: &mut Connection, io: &mut impl Io) -> bool {
        let State::Dump(dump) = &mut connection.state else { return true };
        loop {
            let room = io.room().min(PIECE);
            let mut piece = String::new();
            let done = match dump.as_mut() {
                Dump::Text { text, at } => {
                    let len = (text.len() - *at).min(room);
                    if len == 0 && *at < text.len() {
                        return false;
                    }
                    // Reports are plain ASCII.
                    let written = io.write(&text.as_bytes()[*at..*at + len]);
                    debug_assert!(written.is_ok(), "room was asked for");
                    *at += len;
                    *at == text.len()
                }
                Dump::Items { bucket, within, style, class, left } => {
                    let mut looked = 0;
                    let mut done = *left == 0;
                    while !done && piece.len() + ENTRY_MAX < room && looked < BUCKETS_A_PIECE {
                        looked += 1;
                        match self.store.walk(*bucket, *within) {
                            Walk::End => done = true,
                            Walk::Next => (*bucket, *within) = (*bucket + 1, 0),
                            Walk::At(item) => {
                                *within += 1;
                                let wanted = class.is_none_or(|class| class == self.store.class(item));
                                if wanted && !self.store.is_past_time(item) {
                                    self.write_item(&mut piece, item, *style, io.now_ns());
                                    *left -= 1;
                                    done = *left == 0;
                                }
                            }
                        }
                    }
                    if done && piece.len() + ENTRY_MAX < room {
                        piece.push_str("END\r\n");
                    } else {
                        done = false;
                    }
                    let stuck = piece.is_empty() && looked < BUCKETS_A_PIECE;
                    let written = io.write(piece.as_bytes());
                    debug_assert!(written.is_ok(), "room was asked for");
                    if stuck {
                        return false;
                    }
                    done
                }
                Dump::Connections { slot } => {
                    while *slot < self.connections.len() && piece.len() + ENTRY_MAX < room {
                        self.write_connection(&mut piece, *slot, io);
                        *slot += 1;
                    }
                    let done = *slot == self.connections.len() && piece.len() + ENTRY_MAX < room;
                    if done {
                        piece.push_str("END\r\n");
                    }
                    let stuck = piece.is_empty();
                    let written = io.write(piece.as_bytes());
                    debug_assert!(written.is_ok(), "room was asked for");
                    if stuck {
                        return false;
                    }
                    done
                }
            };
            if done {
                connection.state = State::Line;
                return true;
            }
            if io.room() <= ENTRY_MAX {
                return false;
            }
        }
    }

    fn write_item(&self, out: &mut String, item: Item, style: Style, now_ns: u64) {
        let store = &self.store;
        let expires = store.expires(item);
        let unix = |second: u32| self.unix_second(second);
        match style {
            Style::Meta => {
                out.push_str("key=");
                spell(out, store.key(item));
                match expires {
                    0 => out.push_str(" exp=-1"),
                    at => {
                        let _ = write!(out, " exp={}", unix(at));
                    }
                }
                let last = self.second(now_ns).saturating_sub(store.idle_s(item));
                let fetched = if store.is_fetched(item) { "yes" } else { "no" };
                let _ = write!(
                    out,
                    " la={} cas={} fetch={fetched} cls={} size={}\r\n",
                    unix(last),
                    store.unique(item),
                    store.class(item) + 1,
                    store.item_bytes(item)
                );
            }
            Style::Cache => {
                let key = String::from_utf8_lossy(store.key(item));
                let len = store.data(item).len() - 2;
                let at = if expires == 0 { 0 } else { unix(expires) };
                let _ = write!(out, "ITEM {key} [{len} b; {at} s]\r\n");
            }
        }
    }

    fn write_connection(&self, out: &mut String, slot: usize, io: &impl Io) {
        let asking = io.connection().slot as usize == slot;
        let connection = &self.connections[slot];
        // Whoever asks is out of its place while it is served.
        if !connection.open && !asking {
            return;
        }
        let now_s = self.second(io.now_ns());
        let (state, idle_s) = match &connection.state {
            _ if asking => ("conn_parse_cmd", 0),
            State::Value { .. } => ("conn_nread", now_s.saturating_sub(connection.heard_s)),
            State::Swallow { .. } => ("conn_swallow", now_s.saturating_sub(connection.heard_s)),
            State::Closing => ("conn_closing", now_s.saturating_sub(connection.heard_s)),
            State::Watch => ("conn_watch", now_s.saturating_sub(connection.heard_s)),
            _ => ("conn_read", now_s.saturating_sub(connection.heard_s)),
        };
        let port = self.port;
        let name = connection_name(slot);
        let _ = write!(
            out,
            "STAT {name}:listen_addr tcp:0.0.0.0:{port}\r\nSTAT {name}:state {state}\r\n\
             STAT {name}:secs_since_last_cmd {idle_s}\r\n"
        );
    }

    /// The place that is listened at, before all connections.
    pub(super) fn listener(&self) -> String {
        alloc::format!(
            "STAT 1:addr tcp:0.0.0.0:{}\r\nSTAT 1:state conn_listening\r\nSTAT 1:secs_since_last_cmd 0\r\n",
            self.port
        )
    }
}

/// What a connection is called in reports: a small number, as descriptors are; 1 is the listener.
pub(super) fn connection_name(slot: usize) -> usize {
    slot + 2
}

/// Where a walk over the index is.
pub(crate) enum Walk {
    /// At an item.
    At(Item),
    /// At the end of a bucket.
    Next,
    /// At the end of the last.
    End,
}

/// A key as in a web address.
pub(super) fn spell(out: &mut String, key: &[u8]) {
    for byte in key {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Appends one line of `stats`.
pub(super) fn stats(out: &mut String, lines: &[(&str, u64)]) {
    for (name, value) in lines {
        answer::stat(out, name, *value);
    }
}
