//! Lines of one key: what stores, deletes, adds, touches, and what flushes.

use super::{
    BAD_DELETE, BAD_DELTA, BAD_FORMAT, BAD_TIME, Command, ERROR, KEY_MAX, LEN_MAX, Set, is_noreply, refuse,
    wrong,
};
use crate::store::Verb;
use crate::text::{Words, number, unsigned};

pub(super) fn set(mut words: Words<'_>, verb: Verb) -> Command<'_> {
    let (Some(key), Some(flags), Some(expires), Some(len)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return refuse(ERROR);
    };
    let mut last = len;
    let mut unique = None;
    if verb == Verb::Cas {
        let Some(word) = words.next() else { return refuse(ERROR) };
        last = word;
        unique = Some(word);
    }
    last = words.next().unwrap_or(last);
    if words.next().is_some() {
        return refuse(ERROR);
    }
    let noreply = is_noreply(last);
    let (Some(flags), Some(expires), Some(len)) = (unsigned(flags), number(expires), number(len)) else {
        return wrong(noreply);
    };
    let Some(unique) = unique.map_or(Some(0), unsigned) else { return wrong(noreply) };
    if key.len() > KEY_MAX {
        return wrong(noreply);
    }
    match u32::try_from(len) {
        // Flags and time beyond 32 bits lose their high bits, as in memcached. A length beyond them is refused:
        // memcached's cut length would make commands of the data that follows.
        Ok(len) if len <= LEN_MAX => {
            let (flags, expires) = (flags as u32, expires as i32);
            Command::Set(Set { verb, key, flags, expires, len, unique, noreply })
        }
        _ => wrong(noreply),
    }
}

pub(super) fn delete(mut words: Words<'_>) -> Command<'_> {
    let Some(key) = words.next() else { return refuse(ERROR) };
    let noreply = match (words.next(), words.next(), words.next()) {
        (None, ..) | (Some(b"0"), None, _) => false,
        (Some(b"noreply"), None, _) | (Some(b"0"), Some(b"noreply"), None) => true,
        (_, last, None) => {
            return Command::Refuse { answer: BAD_DELETE, silent: last == Some(b"noreply") };
        }
        _ => return refuse(ERROR),
    };
    if key.len() > KEY_MAX {
        return wrong(noreply);
    }
    Command::Delete { key, noreply }
}

/// A key, one argument, and whether an answer is wanted.
fn key_and_argument(mut words: Words<'_>) -> Result<(&[u8], &[u8], bool), Command<'static>> {
    let (Some(key), Some(argument), last, None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse(ERROR));
    };
    let noreply = is_noreply(last.unwrap_or(argument));
    if key.len() > KEY_MAX {
        return Err(Command::Refuse { answer: BAD_FORMAT, silent: noreply });
    }
    Ok((key, argument, noreply))
}

pub(super) fn add(words: Words<'_>, up: bool) -> Command<'_> {
    let (key, delta, noreply) = match key_and_argument(words) {
        Ok(parts) => parts,
        Err(refused) => return refused,
    };
    match unsigned(delta) {
        Some(delta) => Command::Add { key, delta, up, noreply },
        None => Command::Refuse { answer: BAD_DELTA, silent: noreply },
    }
}

pub(super) fn touch(words: Words<'_>) -> Command<'_> {
    let (key, expires, noreply) = match key_and_argument(words) {
        Ok(parts) => parts,
        Err(refused) => return refused,
    };
    match number(expires) {
        Some(expires) => Command::Touch { key, expires: expires as i32, noreply },
        None => Command::Refuse { answer: BAD_TIME, silent: noreply },
    }
}

pub(super) fn flush(mut words: Words<'_>) -> Command<'_> {
    let (first, second) = (words.next(), words.next());
    if words.next().is_some() {
        return refuse(ERROR);
    }
    let noreply = second.or(first).is_some_and(is_noreply);
    let delay = match (first, second) {
        (Some(_), None) if noreply => 0,
        (Some(delay), _) => match number(delay) {
            Some(delay) => delay as i32,
            None => return Command::Refuse { answer: BAD_TIME, silent: noreply },
        },
        (None, _) => 0,
    };
    Command::Flush { delay, noreply }
}
