//! Requests that were understood before. Clients ask for the same again and again in the same bytes: programs that poll,
//! proxies, browsers of one kind at one page.
//!
//! Whoever begins with exactly the bytes of a whole head that was read before asks for just that, and as long as the
//! content is the same the answer is, too. Only what depends on nothing else is kept: a GET without content on a connection
//! that stays, answered by all of a content, or by the word that a tag still holds. A head is kept when it came twice.

use crate::site::Slot;
use alloc::vec::Vec;

/// Heads that are kept. Of two that want one place the later one stays.
const PLACES: usize = 64;
/// Longest head that is kept.
const LEN_MAX: usize = 1024;
/// Bytes at its beginning by which its place is found; no shorter head is kept.
const BEGIN: usize = 32;

/// What a head asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// All of a content. The client takes gzip, or not.
    Whole(Slot, bool),
    /// The client has it.
    NotModified(Slot),
}

/// A head that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub again: Again,
    pub len: usize,
    /// Bytes of its first line, without the end.
    pub line_len: usize,
}

#[derive(Debug, Default)]
struct Place {
    bytes: Vec<u8>,
    known: Option<Recalled>,
    /// The content at that time.
    generation: u64,
    /// Of the head that came last and is not kept: it is when it comes again.
    once: u64,
}

/// The memory of heads.
#[derive(Debug)]
pub(crate) struct Memo(Vec<Place>);

impl Memo {
    pub(crate) fn new() -> Self {
        let mut places = Vec::new();
        places.resize_with(PLACES, Place::default);
        Self(places)
    }

    /// The head with which these bytes begin, where it is known.
    #[inline]
    pub(crate) fn recall(&self, bytes: &[u8], generation: u64) -> Option<Recalled> {
        let place = &self.0[place(hash(bytes)?)];
        let known = place.known?;
        (place.generation == generation && bytes.starts_with(&place.bytes)).then_some(known)
    }

    /// Takes note of a head that was read.
    pub(crate) fn learn(&mut self, head: &[u8], line_len: usize, generation: u64, again: Again) {
        let Some(hash) = hash(head).filter(|_| head.len() <= LEN_MAX) else { return };
        let place = &mut self.0[place(hash)];
        // Which one it was need not be certain: bytes decide when one is recalled.
        let name = hash ^ head.len() as u64 ^ u64::from_le_bytes(last(head)).rotate_left(32);
        if core::mem::replace(&mut place.once, name) != name {
            return;
        }
        place.bytes.clear();
        place.bytes.extend_from_slice(head);
        place.generation = generation;
        place.known = Some(Recalled { again, len: head.len(), line_len });
    }
}

fn hash(bytes: &[u8]) -> Option<u64> {
    let (words, _) = bytes.first_chunk::<BEGIN>()?.as_chunks::<8>();
    let mix = |sum: u64, word: &[u8; 8]| {
        (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    Some(words.iter().fold(0, mix))
}

fn place(hash: u64) -> usize {
    (hash >> 7) as usize % PLACES
}

/// Some of the last bytes, without the empty line that every head has.
fn last(head: &[u8]) -> [u8; 8] {
    head[..head.len() - 4].last_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /612.html HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n";

    #[test]
    fn a_head_that_came_twice_is_known_while_the_content_is_the_same() {
        let mut memo = Memo::new();
        let again = Again::Whole(3, true);
        memo.learn(HEAD, 22, 7, again);
        assert_eq!(memo.recall(HEAD, 7), None, "once is nothing");
        memo.learn(HEAD, 22, 7, again);
        let known = Recalled { again, len: HEAD.len(), line_len: 22 };
        assert_eq!(memo.recall(HEAD, 7), Some(known));
        assert_eq!(memo.recall(&[HEAD, b"GET"].concat(), 7), Some(known));
        assert_eq!(memo.recall(HEAD, 8), None, "other content");
        for len in 0..HEAD.len() {
            assert_eq!(memo.recall(&HEAD[..len], 7), None, "{len} bytes are no head");
            let mut other = HEAD.to_vec();
            other[len] ^= 1;
            assert_eq!(memo.recall(&other, 7), None, "another byte at {len}");
        }
        memo.learn(&[b'x'; BEGIN - 1], 5, 7, again);
        memo.learn(&[b'x'; LEN_MAX + 1], 5, 7, again);
        memo.learn(&[b'x'; LEN_MAX + 1], 5, 7, again);
        assert_eq!(memo.recall(&[b'x'; LEN_MAX + 1], 7), None, "too long");
    }
}
