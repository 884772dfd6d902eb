//! What a command line means. Knows the protocol's words and limits, not the store.

use crate::store::Verb;
use crate::text::{Words, blank, key_end, number, unsigned};

pub(crate) mod meta;
mod storage;
#[cfg(test)]
mod tests;

/// Longest key in bytes.
pub(crate) const KEY_MAX: usize = 250;
/// Longest data that a line may announce; what does not fit the store is read and thrown away.
pub(crate) const LEN_MAX: u32 = i32::MAX as u32 - 3;

pub(crate) const ERROR: &[u8] = b"ERROR\r\n";
pub(crate) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
pub(crate) const BAD_DELETE: &[u8] =
    b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
pub(crate) const BAD_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
pub(crate) const NO_FLUSH: &[u8] = b"CLIENT_ERROR flush_all not allowed\r\n";
pub(crate) const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
pub(crate) const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

const NO_SHUTDOWN: &[u8] = b"ERROR: shutdown not enabled\r\n";
pub(crate) const BAD_TIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
pub(crate) const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";

/// A `set` line or one of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set<'a> {
    pub(crate) verb: Verb,
    pub(crate) key: &'a [u8],
    pub(crate) flags: u32,
    pub(crate) expires: i32,
    pub(crate) len: u32,
    /// The number that `cas` expects; 0 for the others.
    pub(crate) unique: u64,
    pub(crate) noreply: bool,
}

/// A command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// `get` or `gets`; its keys begin at this place of the line.
    Get { unique: bool, keys_at: usize },
    /// `gat` or `gats`: the same, and a new time for each item.
    GetAndTouch { unique: bool, expires: i32, keys_at: usize },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`: data follows.
    Set(Set<'a>),
    /// `delete`.
    Delete { key: &'a [u8], noreply: bool },
    /// `incr` and `decr`.
    Add { key: &'a [u8], delta: u64, up: bool, noreply: bool },
    /// `touch`.
    Touch { key: &'a [u8], expires: i32, noreply: bool },
    /// `flush_all`, in so many seconds.
    Flush { delay: i32, noreply: bool },
    /// `verbosity`, which changes nothing here.
    Verbosity { noreply: bool },
    /// `version`.
    Version,
    /// `stats` and what else operators ask for; the line is read where it is served.
    Admin,
    /// `quit`.
    Quit,
    /// Something that makes memcached hang up.
    HangUp,
    /// A meta command (`mg`, `ms`, `md`, `ma`, `mn`, `me`) by its second letter; its words begin at this place.
    Meta { letter: u8, words_at: usize },
    /// Not a command; answered by this error line unless `silent`.
    Refuse { answer: &'static [u8], silent: bool },
}

const fn refuse(answer: &'static [u8]) -> Command<'static> {
    Command::Refuse { answer, silent: false }
}

const fn wrong(silent: bool) -> Command<'static> {
    Command::Refuse { answer: BAD_FORMAT, silent }
}

/// Reads a line without its line end. What most lines are is found out without the many others.
#[inline]
pub(crate) fn parse(line: &[u8]) -> Command<'_> {
    if line.starts_with(b"get ") { get(Words::from(line, 3), false) } else { parse_any(line) }
}

fn parse_any(line: &[u8]) -> Command<'_> {
    let mut words = Words::new(line);
    let Some(command) = words.next() else { return refuse(ERROR) };
    match command {
        b"get" | b"bget" => get(words, false),
        b"set" => storage::set(words, Verb::Set),
        [b'm', letter @ (b'g' | b's' | b'd' | b'a' | b'n' | b'e')] => {
            Command::Meta { letter: *letter, words_at: words.place() }
        }
        b"gets" => get(words, true),
        b"gat" => get_and_touch(words, false),
        b"gats" => get_and_touch(words, true),
        b"add" => storage::set(words, Verb::Add),
        b"replace" => storage::set(words, Verb::Replace),
        b"append" => storage::set(words, Verb::Append),
        b"prepend" => storage::set(words, Verb::Prepend),
        b"cas" => storage::set(words, Verb::Cas),
        b"delete" => storage::delete(words),
        b"incr" => storage::add(words, true),
        b"decr" => storage::add(words, false),
        b"touch" => storage::touch(words),
        b"flush_all" => storage::flush(words),
        b"verbosity" => match (words.next(), words.next(), words.next()) {
            (Some(level), last, None) => {
                let noreply = is_noreply(last.unwrap_or(level));
                if unsigned(level).is_some() { Command::Verbosity { noreply } } else { wrong(noreply) }
            }
            _ => refuse(ERROR),
        },
        b"version" => Command::Version,
        b"stats" | b"watch" | b"lru_crawler" | b"lru" | b"slabs" | b"cache_memlimit" | b"debugtime" => {
            Command::Admin
        }
        b"quit" => Command::Quit,
        b"shutdown" => refuse(NO_SHUTDOWN),
        // Somebody takes this for a web server.
        _ if words.last().is_some_and(|word| word.starts_with(b"HTTP/")) => Command::HangUp,
        _ => refuse(ERROR),
    }
}

fn is_noreply(word: &[u8]) -> bool {
    word == b"noreply"
}

fn get(words: Words<'_>, unique: bool) -> Command<'_> {
    let keys_at = words.place();
    let rest = words.rest();
    if rest.iter().all(|byte| *byte == b' ') {
        refuse(ERROR)
    } else if has_long_key(words) {
        refuse(BAD_FORMAT)
    } else {
        Command::Get { unique, keys_at }
    }
}

fn has_long_key(mut words: Words<'_>) -> bool {
    // In fewer bytes than that no key can be too long.
    words.rest().len() > KEY_MAX && words.any(|key| key.len() > KEY_MAX)
}

fn get_and_touch(mut words: Words<'_>, unique: bool) -> Command<'_> {
    let Some(expires) = words.next() else { return refuse(ERROR) };
    let Some(expires) = number(expires) else { return refuse(BAD_TIME) };
    let keys_at = words.place();
    if has_long_key(words) {
        return refuse(BAD_FORMAT);
    }
    Command::GetAndTouch { unique, expires: expires as i32, keys_at }
}

/// How a line begins that gets keys.
pub(crate) const GET: &[u8; 4] = b"get ";

/// The key of a line that gets one key and has nothing remarkable about it, and how many bytes the line takes.
#[inline]
pub(crate) fn single_get(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (GET, rest) = bytes.split_first_chunk()? else { return None };
    let len = blank(&rest[..rest.len().min(KEY_MAX + 1)])?;
    let line_end = match rest[len..] {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return None,
    };
    (len > 0).then(|| (&rest[..len], GET.len() + len + line_end))
}

/// What comes next in a line of keys.
pub(crate) enum NextKey {
    Word(core::ops::Range<usize>),
    /// Nothing but the end of the line, which takes so many bytes.
    LineEnd(usize),
    TooLong,
    /// It has not arrived; so many spaces may be skipped.
    Unknown(usize),
}

/// Looks for the next key; `rest` begins behind the word before it.
pub(crate) fn next_key(rest: &[u8]) -> NextKey {
    let Some(start) = rest.iter().position(|byte| *byte != b' ') else {
        return NextKey::Unknown(rest.len());
    };
    let word = &rest[start..];
    // A key and the carriage return that may stand behind it; further on there is no need to look.
    let view = &word[..word.len().min(KEY_MAX + 2)];
    match key_end(view) {
        Some(mut len) => {
            let line_end = word[len] == b'\n';
            if line_end && len > 0 && word[len - 1] == b'\r' {
                if len == 1 {
                    return NextKey::LineEnd(start + 2);
                }
                len -= 1;
            } else if line_end && len == 0 {
                return NextKey::LineEnd(start + 1);
            }
            if len > KEY_MAX { NextKey::TooLong } else { NextKey::Word(start..start + len) }
        }
        None if view.len() == KEY_MAX + 2 => NextKey::TooLong,
        None => NextKey::Unknown(start),
    }
}
