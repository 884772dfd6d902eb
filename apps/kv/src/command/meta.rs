//! The words of a meta command: its key, its flags and what they carry.

use super::KEY_MAX;
use crate::text::{Words, number, unsigned};

/// Most flags of a line (memcached's 20 words, with the command, the key and an end that it counts as one).
pub(crate) const FLAGS_MAX: usize = 17;
/// Longest opaque flag with its letter.
pub(crate) const OPAQUE_MAX: usize = 32;
/// Most bytes of a key that was spelled in base 64.
const DECODED_MAX: usize = KEY_MAX / 4 * 3;

pub(crate) const BAD_FLAGS: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
pub(crate) const OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";
pub(crate) const TOO_MANY_FLAGS: &[u8] = b"CLIENT_ERROR options flags too long\r\n";
/// What `mg` says instead.
pub(crate) const TOO_MANY_GET_FLAGS: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";

/// A key as it is stored.
#[derive(Debug, Clone)]
pub(crate) enum Key<'a> {
    Plain(&'a [u8]),
    Decoded([u8; DECODED_MAX], usize),
}

impl Key<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Key::Plain(bytes) => bytes,
            Key::Decoded(bytes, len) => &bytes[..*len],
        }
    }
}

/// What the flags of a line ask for. Flags without a field here are only seen by whoever walks through them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flags {
    pub(crate) binary: bool,
    pub(crate) quiet: bool,
    pub(crate) value: bool,
    /// `u` of `mg`: does not count as asked for.
    pub(crate) no_update: bool,
    /// `I`.
    pub(crate) invalidate: bool,
    /// `N`: an item is made on a miss, with this time.
    pub(crate) vivify: Option<i32>,
    /// `T`: a new time.
    pub(crate) time: Option<i32>,
    /// `R`: fetch anew when less time than this is left.
    pub(crate) recache: Option<i32>,
    /// `F`: the client's flags.
    pub(crate) client_flags: u32,
    /// `C`: the item must have this number.
    pub(crate) unique: Option<u64>,
    /// `M`: the mode.
    pub(crate) mode: Option<u8>,
    /// `J`: what a number begins with.
    pub(crate) initial: u64,
    /// `D`: what is added.
    pub(crate) delta: Option<u64>,
}

/// More flags than a line may have.
pub(crate) fn has_too_many_words(words: Words<'_>) -> bool {
    words.take(FLAGS_MAX + 1).count() > FLAGS_MAX
}

/// Reads all flags and checks them.
pub(crate) fn flags(words: Words<'_>) -> Result<Flags, &'static [u8]> {
    const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
    let mut flags = Flags::default();
    let mut seen = 0u128;
    // The last error that was found; only an unknown or repeated flag ends the reading at once.
    let mut error = None;
    for word in words {
        let letter = word[0];
        if letter >= 127 || seen & (1 << letter) != 0 {
            return Err(b"CLIENT_ERROR duplicate flag\r\n");
        }
        seen |= 1 << letter;
        let argument = &word[1..];
        let mut time = |place: &mut Option<i32>| match number(argument) {
            Some(time) => *place = Some(time as i32),
            None => error = Some(BAD_TOKEN),
        };
        match letter {
            b'b' => flags.binary = true,
            b'q' => flags.quiet = true,
            b'v' => flags.value = true,
            b'u' => flags.no_update = true,
            b'I' => flags.invalidate = true,
            b'N' => time(&mut flags.vivify),
            b'T' => time(&mut flags.time),
            b'R' => time(&mut flags.recache),
            b'F' => match unsigned(argument) {
                Some(value) => flags.client_flags = value as u32,
                None => error = error.or(Some(super::BAD_FORMAT)),
            },
            b'C' => match unsigned(argument) {
                Some(unique) => flags.unique = Some(unique),
                None => error = Some(BAD_TOKEN),
            },
            b'M' => match argument {
                [mode] => flags.mode = Some(*mode),
                _ => error = Some(b"CLIENT_ERROR incorrect length for M token\r\n"),
            },
            b'J' => match unsigned(argument) {
                Some(initial) => flags.initial = initial,
                None => error = Some(b"CLIENT_ERROR invalid numeric initial value\r\n"),
            },
            b'D' => match unsigned(argument) {
                Some(delta) => flags.delta = Some(delta),
                None => error = Some(b"CLIENT_ERROR invalid numeric delta value\r\n"),
            },
            b'l' | b'h' | b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' => {}
            _ => return Err(b"CLIENT_ERROR invalid flag\r\n"),
        }
    }
    error.map_or(Ok(flags), Err)
}

/// The key that a word spells.
pub(crate) fn key(word: &[u8], binary: bool) -> Option<Key<'_>> {
    if !binary {
        return Some(Key::Plain(word));
    }
    let mut bytes = [0; DECODED_MAX];
    let len = decode(word, &mut bytes)?;
    Some(Key::Decoded(bytes, len))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn sextet(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Base 64 with its padding; nothing else is allowed in it. Returns the number of bytes, at least one.
fn decode(word: &[u8], out: &mut [u8; DECODED_MAX]) -> Option<usize> {
    let (groups, []) = word.as_chunks::<4>() else { return None };
    let mut len = 0;
    for (place, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|letter| **letter == b'=').count();
        if padding > 2 || (padding > 0 && place + 1 < groups.len()) {
            return None;
        }
        let mut bits = 0;
        for letter in &group[..4 - padding] {
            bits = bits << 6 | sextet(*letter)?;
        }
        bits <<= 6 * padding;
        let count = 3 - padding;
        out.get_mut(len..len + count)?.copy_from_slice(&bits.to_be_bytes()[1..1 + count]);
        len += count;
    }
    (len > 0).then_some(len)
}

/// Gives the letters of base 64 for bytes, four at a time.
pub(crate) fn encode(bytes: &[u8], mut put: impl FnMut(&[u8])) {
    for group in bytes.chunks(3) {
        let mut whole = [0; 3];
        whole[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, whole[0], whole[1], whole[2]]);
        let mut letters = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift) as usize & 63]);
        letters[1 + group.len()..].fill(b'=');
        put(&letters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn base_64() {
        for (plain, spelled) in [
            (&b"f"[..], &b"Zg=="[..]),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"\xff\xfe\xfd\x00", b"//79AA=="),
        ] {
            assert_eq!(key(spelled, true).unwrap().bytes(), plain);
            let mut letters = Vec::new();
            encode(plain, |part| letters.extend_from_slice(part));
            assert_eq!(letters, spelled);
        }
        for wrong in [&b""[..], b"Zg=", b"Z===", b"====", b"Zg==Zg==", b"Zm9 "] {
            assert!(key(wrong, true).is_none(), "{wrong:?}");
        }
        assert_eq!(key(&[b'A'; 248], true).unwrap().bytes(), [0; 186]);
    }

    #[test]
    fn flags_and_what_is_wrong_with_them() {
        let read = |line: &'static [u8]| flags(Words::new(line));
        let all = read(b"v t q u I N30 T-1 R5 F7 C9 MA J3 D4 b Oabc k").unwrap();
        assert!(all.value && all.quiet && all.no_update && all.invalidate && all.binary);
        assert_eq!((all.vivify, all.time, all.recache), (Some(30), Some(-1), Some(5)));
        assert_eq!((all.client_flags, all.unique, all.mode), (7, Some(9), Some(b'A')));
        assert_eq!((all.initial, all.delta), (3, Some(4)));
        for (line, error) in [
            (&b"v v"[..], &b"CLIENT_ERROR duplicate flag\r\n"[..]),
            (b"Tx", b"CLIENT_ERROR bad token in command line format\r\n"),
            (b"Tx !", b"CLIENT_ERROR invalid flag\r\n"),
            (b"MAB", b"CLIENT_ERROR incorrect length for M token\r\n"),
            (b"\xff", b"CLIENT_ERROR duplicate flag\r\n"),
        ] {
            assert_eq!(read(line).unwrap_err(), error);
        }
    }
}
