//! What the cache knows of a connection, as bytes, so that a successor goes on in the middle of a line, of a value, or of
//! a list of keys.
//!
//! ```text
//! version (1)  state (1)  the client will send no more (1)  then by the state:
//! keys: numbers too (1), a new time (1), seconds left (4)      thrown away: bytes left (8)
//! value: verb (1)  bits (1)  key length (1)  flags (4)  seconds left (4)  length with its end (4)  the number that is expected (8)
//!        what `ms` answers: order (3)  opaque (32)  its length (1)      key  the bytes that came
//! ```
//!
//! What is read is checked like anything else from outside. Not handed over are connections that wait for room to be
//! answered, that watch, or that get a long list: they end.

use super::{Connection, Kv, Owed, Pending, State};
use crate::command::meta::OPAQUE_MAX;
use crate::command::{KEY_MAX, LEN_MAX};
use crate::store::Verb;
use alloc::vec::Vec;
use nom_stack::application::{ConnectionId, Io};

const VERSION: u8 = 1;
const FOR_EVER: u32 = u32::MAX;
const VERBS: [Verb; 6] = [Verb::Set, Verb::Add, Verb::Replace, Verb::Append, Verb::Prepend, Verb::Cas];

const LINE: u8 = 0;
const KEYS: u8 = 1;
const VALUE: u8 = 2;
const SWALLOW: u8 = 3;
const SKIP_LINE: u8 = 4;

/// Bits of a value that is arriving.
mod bit {
    pub(crate) const NOREPLY: u8 = 1;
    pub(crate) const META: u8 = 2;
    pub(crate) const BINARY: u8 = 4;
    pub(crate) const INVALIDATE: u8 = 8;
}

/// Takes numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }
}

impl Kv {
    /// Seconds that are left of a time of this cache's clock.
    fn left_s(&self, expires: u32) -> u32 {
        if expires == 0 { FOR_EVER } else { expires.saturating_sub(self.second(self.now_ns)) }
    }

    /// The other way around, by a successor's clock.
    fn ends(&self, left_s: u32, now_ns: u64) -> u32 {
        if left_s == FOR_EVER { 0 } else { self.second(now_ns).saturating_add(left_s).max(1) }
    }

    pub(super) fn connection_state(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let connection = self.connections.get_mut(id.slot as usize)?;
        if !connection.open || connection.generation != id.generation || connection.cut {
            return None;
        }
        // Who waits for its turn to ask another core asks again: what it said stays with the stack.
        let waits_for_room = connection.blocked && !connection.queued;
        if connection.owed != Owed::Nothing || waits_for_room || connection.away.is_some() {
            return None;
        }
        let connection = core::mem::take(connection);
        let mut out = Vec::from([VERSION, LINE, u8::from(connection.finished)]);
        match connection.state {
            State::Line => {}
            State::SkipLine => out[1] = SKIP_LINE,
            State::Swallow { left } => {
                out[1] = SWALLOW;
                out.extend(left.to_le_bytes());
            }
            State::Keys { unique, expires } => {
                out[1] = KEYS;
                out.extend([u8::from(unique), u8::from(expires.is_some())]);
                out.extend(self.left_s(expires.unwrap_or(0)).to_le_bytes());
            }
            State::Value { reserved, len, filled, verb, noreply, meta } => {
                out[1] = VALUE;
                let pending = self.pending[id.slot as usize];
                let item = self.store.reserved_item(&reserved);
                let mut bits = 0;
                for (bit, is_set) in [
                    (bit::NOREPLY, noreply),
                    (bit::META, meta),
                    (bit::BINARY, self.store.is_binary(item)),
                    (bit::INVALIDATE, pending.invalidate),
                ] {
                    bits |= if is_set { bit } else { 0 };
                }
                let key = self.store.key(item);
                out.extend([VERBS.iter().position(|known| *known == verb).unwrap_or(0) as u8, bits]);
                out.push(key.len() as u8);
                out.extend(self.store.flags(item).to_le_bytes());
                out.extend(self.left_s(self.store.expires(item)).to_le_bytes());
                out.extend((len as u32).to_le_bytes());
                out.extend(self.store.unique(item).to_le_bytes());
                out.extend(pending.order);
                out.extend(pending.opaque);
                out.push(pending.opaque_len);
                out.extend(key);
                out.extend(&self.store.data(item)[..filled]);
                self.store.discard(reserved);
            }
            State::Dump(_) | State::Watch | State::Closing | State::Forward { .. } => {
                // It is as it was: who hears that it ends finds everything in its place.
                self.connections[id.slot as usize] = connection;
                return None;
            }
        }
        self.watchers.left(id);
        self.tally.connections -= 1;
        Some(out)
    }

    /// Goes on with a connection of a predecessor; false when its bytes are wrong, or there is no room for its value.
    pub(super) fn restore(&mut self, io: &mut impl Io, bytes: &[u8]) -> bool {
        let Some((state, finished, pending)) = self.read_state(io.now_ns(), bytes) else { return false };
        let (id, slot) = (io.connection(), io.connection().slot as usize);
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, Connection::default);
            self.pending.resize_with(slot + 1, Pending::default);
        }
        let heard_s = self.second(io.now_ns());
        self.pending[slot] = pending;
        self.connections[slot] = Connection {
            open: true,
            generation: id.generation,
            heard_s,
            state,
            finished,
            ..Connection::default()
        };
        self.tally.connections += 1;
        self.tally.connections_total += 1;
        true
    }

    fn read_state(&mut self, now_ns: u64, bytes: &[u8]) -> Option<(State, bool, Pending)> {
        let mut input = Reader(bytes);
        let mut pending = Pending::default();
        if input.byte()? != VERSION {
            return None;
        }
        let (state, finished) = (input.byte()?, input.flag()?);
        let state = match state {
            LINE => State::Line,
            SKIP_LINE => State::SkipLine,
            SWALLOW => {
                State::Swallow { left: u64::from_le_bytes(input.array()?).min(u64::from(LEN_MAX) + 2) }
            }
            KEYS => {
                let (unique, has_time, left_s) = (input.flag()?, input.flag()?, input.word()?);
                State::Keys { unique, expires: has_time.then(|| self.ends(left_s, now_ns)) }
            }
            VALUE => {
                let [verb, bits, key_len] = input.array()?;
                let verb = *VERBS.get(usize::from(verb))?;
                let (flags, left_s, len) = (input.word()?, input.word()?, input.word()?);
                let unique = u64::from_le_bytes(input.array()?);
                (pending.order, pending.opaque, pending.opaque_len) =
                    (input.array()?, input.array()?, input.byte()?);
                pending.invalidate = bits & bit::INVALIDATE != 0;
                let key = input.take(usize::from(key_len))?;
                let filled = input.0.len();
                let fits = (1..=KEY_MAX).contains(&key.len())
                    && (2..=LEN_MAX + 2).contains(&len)
                    && filled < len as usize
                    && usize::from(pending.opaque_len) <= OPAQUE_MAX;
                if !fits {
                    return None;
                }
                let expires = self.ends(left_s, now_ns);
                let reserved = self.store.reserve(key, flags, expires, len - 2, false).ok()?;
                self.store.expect(&reserved, unique);
                if bits & bit::BINARY != 0 {
                    self.store.spell_binary(&reserved);
                }
                self.store.fill(&reserved, 0, input.take(filled)?);
                let (noreply, meta) = (bits & bit::NOREPLY != 0, bits & bit::META != 0);
                State::Value { reserved, len: len as usize, filled, verb, noreply, meta }
            }
            _ => return None,
        };
        if input.0.is_empty() { Some((state, finished, pending)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use crate::script::lines::{Random, random_commands};
    use crate::script::{self, Script};
    use crate::{Config, Kv};
    use nom_stack::application::{Application, ConnectionId};
    use std::string::String;
    use std::vec::Vec;

    const SECOND: u64 = 1_000_000_000;

    fn config(start_ns: u64) -> Config {
        Config { start_unix_ns: 1_800_000_000 * SECOND, ..Config::new(4 << 20, [8; 16], start_ns) }
    }

    /// The script's connection and contents go to a new cache.
    fn succeeded(mut script: Script) -> Script {
        script.settle();
        let now_ns = script.link.now_ns;
        let mut contents = Vec::new();
        script.app.save(now_ns, |part| contents.extend_from_slice(part));
        let id = ConnectionId { slot: 0, generation: 1 };
        let state = script.app.hand_over(id).expect("it is in a state that can be handed over");
        assert_eq!(script.app.hand_over(id), None, "once");
        let mut kv = Kv::new(config(now_ns));
        kv.load(now_ns, &contents).unwrap();
        assert!(kv.take_over(&mut script.link, &state));
        script.app = kv;
        script
    }

    #[test]
    fn answers_do_not_depend_on_how_often_somebody_succeeded() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let input = random_commands(&mut random, 60, 250);
            let mut whole = script::open(config(0), usize::MAX);
            whole.send(&input);
            let (expected, _) = whole.finish();
            let mut script = script::open(config(0), usize::MAX);
            let mut rest = &input[..];
            while !rest.is_empty() {
                let most = [40, 400, 3000][random.below(3)];
                let (part, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
                script.send(part);
                if random.below(3) == 0 && !script.link.closed {
                    script = succeeded(script);
                }
                rest = after;
            }
            let (output, kv) = script.finish();
            assert!(output == expected, "seed {seed}");
            assert_eq!(kv.store().counts().pins, 0);
        }
    }

    #[test]
    fn a_value_goes_on_and_old_numbers_fit_nothing() {
        let mut script = script::open(config(0), usize::MAX);
        script.send(b"set a 5 0 1\r\nx\r\ngets a\r\nms b 6 c T100 Oabc F7\r\n123");
        script.settle();
        let text = String::from_utf8_lossy(&script.output).into_owned();
        assert_eq!(text, "STORED\r\nVALUE a 5 1 1\r\nx\r\nEND\r\n");
        let mut script = succeeded(script);
        script.output.clear();
        script.send(b"456\r\nmg b v t f\r\ncas a 0 0 1 1\r\ny\r\nget a\r\n");
        script.settle();
        let text = String::from_utf8_lossy(&script.output).into_owned();
        assert!(text.starts_with("HD c"), "{text}");
        assert!(
            text.contains(" Oabc\r\nVA 6 t100 f7\r\n123456\r\nEXISTS\r\nVALUE a 5 1\r\nx\r\nEND\r\n"),
            "{text}"
        );
    }

    #[test]
    fn who_waits_for_room_stays_until_it_is_answered() {
        let mut script = script::open(config(0), 2048);
        script.send(&[b"set a 0 0 5000\r\n", &[b'v'; 5000][..], b"\r\n"].concat());
        script.settle();
        let id = ConnectionId { slot: 0, generation: 1 };
        script.send(b"get a\r\nget a\r\nget a\r\n");
        assert_eq!(script.app.hand_over(id), None);
        script.settle();
        assert!(script.app.hand_over(id).is_some());
    }

    #[test]
    fn wrong_bytes_are_refused_and_hold_nothing() {
        for input in [&b"ms b 6 c Oabc\r\n123"[..], b"get a ", b"set a 0 0 99999999\r\nxx", b"get"] {
            let mut script = script::open(config(0), usize::MAX);
            script.send(input);
            let state = script.app.hand_over(ConnectionId { slot: 0, generation: 1 }).unwrap();
            for place in 0..state.len() {
                for value in [0, 1, 3, 0x7f, 0xff] {
                    let mut wrong = state.clone();
                    wrong[place] = value;
                    let mut other = script::open(config(0), usize::MAX);
                    other.app = Kv::new(config(0));
                    if other.app.take_over(&mut other.link, &wrong) {
                        // Whatever it is, it ends like any other.
                        other.app.ended(other.link.id, nom_stack::application::Ended::Reset);
                    }
                    assert_eq!(
                        (other.app.store().counts().items, other.app.store().counts().used_bytes),
                        (0, 0)
                    );
                }
                let mut other = script::open(config(0), usize::MAX);
                assert!(!other.app.take_over(&mut other.link, &state[..place]) || input.starts_with(b"ms"));
            }
        }
    }
}
