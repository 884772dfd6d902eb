//! Meta commands: `mg`, `ms`, `md`, `ma`, `mn`, `me`. The caller has made sure that there is room for the reply.

use super::{Connection, Kv, Pending, State, reply};
use crate::answer;
use crate::command::meta::{
    self, BAD_FLAGS, Flags, Key, OPAQUE_MAX, OPAQUE_TOO_LONG, TOO_MANY_FLAGS, TOO_MANY_GET_FLAGS, encode,
};
use crate::command::{BAD_CHUNK, BAD_FORMAT, ERROR, KEY_MAX, LEN_MAX};
use crate::store::{Changed, Item, Outcome, Reserved, Verb};
use crate::text::{Words, number};
use nom_stack::application::Io;
use nom_stack::meter::Answer;

const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const BAD_SET_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
const BAD_ADD_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";

/// A line after its key, checked.
struct Request<'a> {
    key: Key<'a>,
    flags: Flags,
    words: Words<'a>,
}

impl<'a> Request<'a> {
    fn read(key: &'a [u8], words: Words<'a>) -> Result<Self, &'static [u8]> {
        let flags = meta::flags(words.clone())?;
        let key = meta::key(key, flags.binary).ok_or(BAD_KEY)?;
        Ok(Self { key, flags, words })
    }

    fn check_opaque(self) -> Result<Self, &'static [u8]> {
        let too_long = self.words.clone().any(|word| word[0] == b'O' && word.len() > OPAQUE_MAX);
        if too_long { Err(OPAQUE_TOO_LONG) } else { Ok(self) }
    }
}

impl Kv {
    /// Serves a line; `behind` is what has arrived behind it.
    pub(super) fn meta(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        letter: u8,
        line: &[u8],
        behind: &[u8],
    ) {
        let mut words = Words::new(line);
        let done = match (letter, words.next()) {
            (b'n', _) => {
                reply(connection, io, b"MN\r\n", None, false);
                return;
            }
            (b'e', None) => Err(BAD_FORMAT),
            (_, None) => Err(ERROR),
            (_, Some(key)) if key.len() > KEY_MAX => Err(BAD_FORMAT),
            (b'e', Some(key)) => self.meta_debug(connection, io, key, words),
            (b'g', Some(key)) => self.meta_get(connection, io, key, words),
            (b's', Some(key)) => self.meta_set(connection, io, key, words, behind),
            (b'd', Some(key)) => self.meta_delete(io, key, words),
            (_, Some(key)) => self.meta_add(io, key, words),
        };
        if let Err(error) = done {
            reply(connection, io, error, Some(Answer::Refused), false);
        }
    }

    fn meta_get(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        key: &[u8],
        words: Words<'_>,
    ) -> Result<(), &'static [u8]> {
        if meta::has_too_many_words(words.clone()) {
            return Err(TOO_MANY_GET_FLAGS);
        }
        let request = Request::read(key, words)?.check_opaque()?;
        let (key, flags) = (request.key.bytes(), &request.flags);
        let mut created = false;
        let mut found = self.store.look(key);
        if found.is_none() && flags.vivify.is_some() {
            found = self.store.put(key, b"", 0, flags.binary).ok();
            created = found.is_some();
        }
        if self.is_observed() {
            self.observe_fetch(io, key, found);
        }
        self.tally.fetched(found.is_some(), found.is_some() && flags.time.is_some());
        self.reply.clear();
        let Some(item) = found else {
            if flags.quiet {
                io.answered(Answer::Accepted);
            } else {
                self.reply.text(b"EN");
                self.echo(&request);
                self.send(io, false);
            }
            return Ok(());
        };
        let len = self.store.data(item).len() - 2;
        if flags.value {
            self.reply.text(b"VA ");
            self.reply.number(len as u64);
        } else {
            self.reply.text(b"HD");
        }
        let now_ns = io.now_ns();
        let mut won = false;
        for word in request.words.clone() {
            match word[0] {
                b'T' => self.store.set_expires(item, self.expires(flags.time.unwrap_or(0), now_ns)),
                b'N' if created => {
                    self.store.set_expires(item, self.expires(flags.vivify.unwrap_or(0), now_ns));
                    won = true;
                }
                b'R' => {
                    let least = self.expires(flags.recache.unwrap_or(0), now_ns);
                    let expires = self.store.expires(item);
                    won |= !created && !self.store.is_won(item) && expires != 0 && expires < least;
                }
                b's' => self.reply.flag(b's', len as u64),
                b't' => self.time_left(item, now_ns),
                b'c' => self.reply.flag(b'c', self.store.unique(item)),
                b'f' => self.reply.flag(b'f', u64::from(self.store.flags(item))),
                b'l' => self.reply.flag(b'l', u64::from(self.store.idle_s(item))),
                b'h' => self.reply.flag(b'h', u64::from(self.store.is_fetched(item))),
                b'O' => self.reply.word(word),
                b'k' => self.reply.key_flag(key, self.store.is_binary(item)),
                _ => {}
            }
        }
        let already_won = self.store.is_won(item);
        if already_won {
            self.reply.text(b" Z");
        }
        if self.store.is_stale(item) {
            self.reply.text(b" X");
            won |= !already_won;
        }
        if won {
            self.reply.text(b" W");
            self.store.set_won(item);
        }
        if !flags.no_update {
            self.store.asked_for(item);
        }
        self.reply.text(b"\r\n");
        if flags.value && len <= self.config.inline_value_bytes {
            self.reply.text(self.store.data(item));
        }
        let written = io.write(self.reply.bytes());
        debug_assert!(written.is_ok(), "room was asked for");
        if flags.value && len > self.config.inline_value_bytes {
            self.send_pinned(connection, io, item, Some(Answer::Accepted));
        } else {
            io.answered(Answer::Accepted);
        }
        Ok(())
    }

    fn meta_set(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        key: &[u8],
        mut words: Words<'_>,
        behind: &[u8],
    ) -> Result<(), &'static [u8]> {
        let Some(len) = words.next() else { return Err(BAD_FORMAT) };
        // The length is a word more than other meta commands have.
        if words.clone().count() > meta::FLAGS_MAX - 1 {
            return Err(TOO_MANY_FLAGS);
        }
        let len = number(len).and_then(|len| u32::try_from(len).ok()).filter(|len| *len <= LEN_MAX);
        let len = len.ok_or(BAD_FORMAT)?;
        // From here on the data that follows is thrown away when something is wrong.
        connection.state = State::Swallow { left: u64::from(len) + 2 };
        let request = Request::read(key, words)?.check_opaque()?;
        let flags = &request.flags;
        let verb = match flags.mode {
            None | Some(b'S') if flags.unique.is_some() => Verb::Cas,
            None | Some(b'S') => Verb::Set,
            Some(b'E') => Verb::Add,
            Some(b'A') => Verb::Append,
            Some(b'P') => Verb::Prepend,
            Some(b'R') if flags.unique.is_some() => Verb::Cas,
            Some(b'R') => Verb::Replace,
            Some(_) => return Err(BAD_SET_MODE),
        };
        let expires = self.expires(flags.time.unwrap_or(0), io.now_ns());
        let key = request.key.bytes();
        let reserved = self.reserve(connection, key, flags.client_flags, expires, len, true, behind)?;
        self.store.expect(&reserved, flags.unique.unwrap_or(0));
        if flags.binary {
            self.store.spell_binary(&reserved);
        }
        let pending = self.pending(io.connection());
        *pending = Pending { invalidate: flags.invalidate && verb == Verb::Cas, ..Pending::default() };
        let answered = request.words.clone().filter(|word| matches!(word[0], b'O' | b'k' | b'c'));
        for (place, word) in pending.order.iter_mut().zip(answered) {
            *place = word[0];
            if word[0] == b'O' {
                pending.opaque[..word.len()].copy_from_slice(word);
                pending.opaque_len = word.len() as u8;
            }
        }
        connection.state = State::Value {
            reserved,
            len: len as usize + 2,
            filled: 0,
            verb,
            noreply: flags.quiet,
            meta: true,
        };
        Ok(())
    }

    /// The data of an `ms` has arrived.
    pub(super) fn meta_stored(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        reserved: Reserved,
        verb: Verb,
        quiet: bool,
    ) {
        let pending = *self.pending(io.connection());
        let item = self.store.reserved_item(&reserved);
        let binary = self.store.is_binary(item);
        let mut key = [0; KEY_MAX];
        let key_len = self.store.key(item).len();
        key[..key_len].copy_from_slice(self.store.key(item));
        let outcome = self.store.commit(reserved, verb, pending.invalidate);
        self.tally.stored(verb, outcome);
        let code: &[u8] = match outcome {
            Outcome::Stored => b"HD",
            Outcome::NotStored => b"NS",
            Outcome::Exists => b"EX",
            Outcome::NotFound => b"NF",
            Outcome::BadChunk => {
                reply(connection, io, BAD_CHUNK, Some(Answer::Refused), false);
                return;
            }
        };
        let stored = outcome == Outcome::Stored;
        self.reply.clear();
        self.reply.text(code);
        for letter in pending.order {
            match letter {
                b'O' => self.reply.word(&pending.opaque[..usize::from(pending.opaque_len)]),
                b'k' => self.reply.key_flag(&key[..key_len], binary),
                b'c' => self.reply.flag(b'c', if stored { self.store.last_unique() } else { 0 }),
                _ => {}
            }
        }
        self.send(io, quiet && stored);
    }

    fn meta_delete(&mut self, io: &mut impl Io, key: &[u8], words: Words<'_>) -> Result<(), &'static [u8]> {
        if meta::has_too_many_words(words.clone()) {
            return Err(TOO_MANY_FLAGS);
        }
        let request = Request::read(key, words).map_err(|_| BAD_FLAGS)?.check_opaque()?;
        let flags = &request.flags;
        let mut quiet = false;
        let code: &[u8] = match self.store.peek(request.key.bytes()) {
            None => {
                self.tally.delete_misses += 1;
                b"NF"
            }
            Some(item) if flags.unique.is_some_and(|unique| unique != self.store.unique(item)) => {
                self.tally.delete_misses += 1;
                b"EX"
            }
            Some(item) => {
                if flags.invalidate {
                    if let Some(time) = flags.time {
                        self.store.set_expires(item, self.expires(time, io.now_ns()));
                    }
                    self.store.set_stale(item);
                } else {
                    self.tally.delete_hits += 1;
                    self.store.remove(item);
                }
                quiet = flags.quiet;
                b"HD"
            }
        };
        self.reply.clear();
        self.reply.text(code);
        self.echo(&request);
        self.send(io, quiet);
        Ok(())
    }

    fn meta_add(&mut self, io: &mut impl Io, key: &[u8], words: Words<'_>) -> Result<(), &'static [u8]> {
        if meta::has_too_many_words(words.clone()) {
            return Err(TOO_MANY_FLAGS);
        }
        let request = Request::read(key, words).map_err(|_| BAD_FLAGS)?.check_opaque()?;
        let (key, flags) = (request.key.bytes(), &request.flags);
        let up = match flags.mode {
            None | Some(b'I' | b'+') => true,
            Some(b'D' | b'-') => false,
            Some(_) => return Err(BAD_ADD_MODE),
        };
        let changed = self.store.add(key, flags.delta.unwrap_or(1), up, flags.unique.unwrap_or(0));
        let mut created = false;
        let number = match changed {
            Changed::Number(item, value) => Some((item, value)),
            Changed::NotNumeric => return Err(answer::NOT_NUMERIC),
            Changed::NoMemory => return Err(answer::OUT_OF_MEMORY),
            Changed::NotFound if flags.vivify.is_some() => {
                created = true;
                Some((self.create_number(key, flags)?, flags.initial))
            }
            Changed::NotFound | Changed::Mismatch => None,
        };
        if !created {
            self.tally.added(up, changed);
        }
        self.reply.clear();
        let Some((item, value)) = number else {
            self.reply.text(if changed == Changed::Mismatch { b"EX" } else { b"NF" });
            self.echo(&request);
            self.send(io, false);
            return Ok(());
        };
        let mut digits = [0; 20];
        let digits_len = crate::text::decimal(value, &mut digits);
        if flags.value {
            self.reply.text(b"VA ");
            self.reply.number(digits_len as u64);
        } else {
            self.reply.text(b"HD");
        }
        let now_ns = io.now_ns();
        for word in request.words.clone() {
            match word[0] {
                b'c' => self.reply.flag(b'c', self.store.unique(item)),
                b't' => self.time_left(item, now_ns),
                b'T' => self.store.set_expires(item, self.expires(flags.time.unwrap_or(0), now_ns)),
                b'N' if created => {
                    self.store.set_expires(item, self.expires(flags.vivify.unwrap_or(0), now_ns));
                }
                b'O' => self.reply.word(word),
                b'k' => self.reply.key_flag(key, flags.binary),
                _ => {}
            }
        }
        if flags.value {
            self.reply.text(b"\r\n");
            self.reply.text(&digits[..digits_len]);
        }
        self.send(io, flags.quiet && !created);
        Ok(())
    }

    fn create_number(&mut self, key: &[u8], flags: &Flags) -> Result<Item, &'static [u8]> {
        const NO_MEMORY: &[u8] = b"SERVER_ERROR Out of memory allocating new item\r\n";
        let mut digits = [0; 20];
        let len = crate::text::decimal(flags.initial, &mut digits);
        self.store.put(key, &digits[..len], 0, flags.binary).map_err(|_| NO_MEMORY)
    }

    /// `me`: what is known of an item, for people.
    fn meta_debug(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        key: &[u8],
        mut words: Words<'_>,
    ) -> Result<(), &'static [u8]> {
        let key = meta::key(key, words.next() == Some(b"b")).ok_or(BAD_FORMAT)?;
        self.tally.metas += 1;
        let Some(item) = self.store.peek(key.bytes()) else {
            reply(connection, io, b"EN\r\n", None, false);
            return Ok(());
        };
        let now_s = self.second(io.now_ns());
        self.reply.clear();
        self.reply.text(b"ME ");
        if self.store.is_binary(item) {
            encode(key.bytes(), |part| self.reply.text(part));
        } else {
            self.reply.text(key.bytes());
        }
        // Seconds since its end, so less than nothing as long as it lives, as memcached has it; -1 for no end.
        self.reply.text(b" exp=-");
        let expires = self.store.expires(item);
        self.reply.number(u64::from(if expires == 0 { 1 } else { expires.saturating_sub(now_s) }));
        for (name, value) in
            [(&b" la="[..], u64::from(self.store.idle_s(item))), (b" cas=", self.store.unique(item))]
        {
            self.reply.text(name);
            self.reply.number(value);
        }
        self.reply.text(if self.store.is_fetched(item) { b" fetch=yes" } else { b" fetch=no" });
        self.reply.text(b" cls=1 size=");
        self.reply.number(self.store.item_bytes(item) as u64);
        self.reply.text(b"\r\n");
        let written = io.write(self.reply.bytes());
        debug_assert!(written.is_ok(), "room was asked for");
        Ok(())
    }

    /// Answers the flags that need no item.
    fn echo(&mut self, request: &Request<'_>) {
        for word in request.words.clone() {
            match word[0] {
                b'O' => self.reply.word(word),
                b'k' => self.reply.key_flag(request.key.bytes(), request.flags.binary),
                _ => {}
            }
        }
    }

    fn time_left(&mut self, item: Item, now_ns: u64) {
        match self.store.expires(item) {
            0 => self.reply.word(b"t-1"),
            expires => self.reply.flag(b't', u64::from(expires.saturating_sub(self.second(now_ns)))),
        }
    }

    /// Ends the reply, sends it unless it is not wanted, and counts the operation.
    fn send(&mut self, io: &mut impl Io, silent: bool) {
        self.reply.text(b"\r\n");
        if !silent {
            let written = io.write(self.reply.bytes());
            debug_assert!(written.is_ok(), "room was asked for");
        }
        io.answered(Answer::Accepted);
    }
}
