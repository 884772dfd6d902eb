//! All items as bytes, for whoever takes over: written when a cache ends, read when its successor begins.
//!
//! ```text
//! "nom-kv contents 2\n"   seconds since 1970 (8)   the last number of an item (8)
//! an item: key length (1, never 0)  marks (1)  flags (4)  seconds left (4, all ones: for ever)  value length (4)
//!          key  value
//! end:     0   number of items (8)
//! ```
//!
//! Numbers are little-endian. What is read is checked like anything else from outside: a length that does not fit, or
//! an end that does not come, ends the reading; what was read until then stays.

use super::Kv;
use crate::store::NoSpace;

const MAGIC: &[u8] = b"nom-kv contents 2\n";
const FOR_EVER: u32 = u32::MAX;
const BINARY: u8 = 1;

/// Why contents could not be read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadContents {
    /// They are not contents of a cache, or of another version of one.
    Unknown,
    /// They end before their end, or their lengths are wrong.
    Broken,
}

impl core::fmt::Display for BadContents {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(match self {
            Self::Unknown => "these are not the contents of a cache",
            Self::Broken => "the contents are incomplete; what came before is kept",
        })
    }
}

/// Takes bytes off the front of others.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], BadContents> {
    let (first, rest) = bytes.split_at_checked(len).ok_or(BadContents::Broken)?;
    *bytes = rest;
    Ok(first)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], BadContents> {
    let (first, rest) = bytes.split_first_chunk().ok_or(BadContents::Broken)?;
    *bytes = rest;
    Ok(*first)
}

impl Kv {
    /// Writes all items that are alive.
    pub fn save(&self, now_ns: u64, mut write: impl FnMut(&[u8])) {
        let now_s = self.second(now_ns);
        write(MAGIC);
        write(&(self.unix_ns(now_ns) / 1_000_000_000).to_le_bytes());
        write(&self.store.last_unique().to_le_bytes());
        let mut count = 0u64;
        for item in self.store.iter() {
            let expires = self.store.expires(item);
            let left_s = if expires == 0 { FOR_EVER } else { expires.saturating_sub(now_s) };
            if self.store.is_past_time(item) || left_s == 0 {
                continue;
            }
            let (key, data) = (self.store.key(item), self.store.data(item));
            let value = &data[..data.len() - 2];
            write(&[key.len() as u8, if self.store.is_binary(item) { BINARY } else { 0 }]);
            for number in [self.store.flags(item), left_s, value.len() as u32] {
                write(&number.to_le_bytes());
            }
            write(key);
            write(value);
            count += 1;
        }
        write(&[0]);
        write(&count.to_le_bytes());
    }

    /// Stores the items of a predecessor and says how many there were. Those that ended meanwhile, find no room, or are
    /// another core's are left out.
    pub fn load(&mut self, now_ns: u64, mut bytes: &[u8]) -> Result<u64, BadContents> {
        bytes = bytes.strip_prefix(MAGIC).ok_or(BadContents::Unknown)?;
        let now_s = self.second(now_ns);
        self.store.tick(now_s);
        let written_s = u64::from_le_bytes(array(&mut bytes)?);
        self.store.number_from(u64::from_le_bytes(array(&mut bytes)?));
        let gone_s = (self.unix_ns(now_ns) / 1_000_000_000).saturating_sub(written_s);
        let mut count = 0;
        loop {
            let [key_len] = array(&mut bytes)?;
            if key_len == 0 {
                let said = u64::from_le_bytes(array(&mut bytes)?);
                return if said == count { Ok(count) } else { Err(BadContents::Broken) };
            }
            let [marks] = array(&mut bytes)?;
            let flags = u32::from_le_bytes(array(&mut bytes)?);
            let left_s = u32::from_le_bytes(array(&mut bytes)?);
            let value_len = u32::from_le_bytes(array(&mut bytes)?) as usize;
            if usize::from(key_len) > crate::command::KEY_MAX {
                return Err(BadContents::Broken);
            }
            let key = take(&mut bytes, usize::from(key_len))?;
            let value = take(&mut bytes, value_len)?;
            count += 1;
            if self.shards.as_ref().is_some_and(|shards| shards.foreign(key).is_some()) {
                continue;
            }
            let expires_s = match left_s {
                FOR_EVER => 0,
                left_s if u64::from(left_s) <= gone_s => continue,
                left_s => now_s.saturating_add(left_s - gone_s as u32),
            };
            match self.store.put(key, value, expires_s, marks & BINARY != 0) {
                Ok(item) => self.store.set_flags(item, flags),
                Err(NoSpace::TooLarge | NoSpace::Full) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MAGIC;
    use crate::Config;
    use crate::script::{self, Script};
    use std::string::String;
    use std::vec::Vec;

    const SECOND: u64 = 1_000_000_000;

    fn config(start_ns: u64) -> Config {
        Config { start_unix_ns: 1_800_000_000 * SECOND + start_ns, ..Config::new(1 << 20, [8; 16], start_ns) }
    }

    fn saved(script: &Script) -> Vec<u8> {
        let mut bytes = Vec::new();
        script.app.save(script.link.now_ns, |part| bytes.extend_from_slice(part));
        bytes
    }

    #[test]
    fn a_successor_answers_as_its_predecessor() {
        let mut first = script::open(config(0), usize::MAX);
        first.send(b"set a 7 0 1\r\nx\r\nset b 0 10 2\r\nyy\r\nset c 0 100 0\r\n\r\nms Zm9v 3 b\r\nzzz\r\nset d 1 1 1\r\nd\r\n");
        first.link.now_ns = 2 * SECOND;
        let bytes = saved(&first);
        // Twenty seconds pass between the two.
        let mut second = script::open(config(22 * SECOND), usize::MAX);
        assert_eq!(second.app.load(22 * SECOND, &bytes), Ok(4));
        second.send(b"get a b c d foo\r\nmg c t\r\nmg Zm9v b k\r\n");
        second.settle();
        let text = String::from_utf8_lossy(&second.output).into_owned();
        assert_eq!(
            text,
            "VALUE a 7 1\r\nx\r\nVALUE c 0 0\r\n\r\nVALUE foo 0 3\r\nzzz\r\nEND\r\nHD t78\r\nHD kZm9v b\r\n"
        );
    }

    #[test]
    fn whatever_is_wrong_ends_the_reading() {
        let mut first = script::open(config(0), usize::MAX);
        first.send(b"set a 7 0 1\r\nx\r\nset b 0 10 2\r\nyy\r\n");
        let bytes = saved(&first);
        for len in 0..bytes.len() {
            let mut second = script::open(config(0), usize::MAX);
            assert!(second.app.load(0, &bytes[..len]).is_err(), "cut at {len}");
        }
        for place in 0..bytes.len() {
            for value in [0, 1, 0xff] {
                let mut wrong = bytes.clone();
                wrong[place] = value;
                // No panic, and never more than is there.
                let mut second = script::open(config(0), usize::MAX);
                let read = second.app.load(0, &wrong);
                assert!(read.is_err() || read.is_ok_and(|count| count <= 2));
                assert!(second.app.store().counts().items <= 2);
            }
        }
    }

    /// Where an item begins in contents that have one.
    const ITEM: usize = MAGIC.len() + 16;

    #[test]
    fn a_key_that_no_client_could_say_is_not_taken() {
        let mut first = script::open(config(0), usize::MAX);
        first.send(&[b"set k 0 0 300\r\n", &[b'v'; 300][..], b"\r\n"].concat());
        let mut bytes = saved(&first);
        assert_eq!(bytes[ITEM], 1);
        // Bytes of the value become bytes of the key; all lengths still fit together.
        for key_len in [250_u8, 251, 255] {
            bytes[ITEM] = key_len;
            bytes[ITEM + 10..ITEM + 14].copy_from_slice(&(301 - u32::from(key_len)).to_le_bytes());
            let mut second = script::open(config(0), usize::MAX);
            assert_eq!(second.app.load(0, &bytes).is_ok(), key_len == 250, "{key_len}");
            assert_eq!(second.app.store().counts().items, u64::from(key_len == 250));
        }
    }

    #[test]
    fn what_ends_in_this_very_second_is_left_out() {
        let mut first = script::open(config(0), usize::MAX);
        first.send(b"set a 0 10 1\r\nx\r\n");
        let bytes = saved(&first);
        for (gone_s, items) in [(9, 1), (10, 0)] {
            let mut second = script::open(config(gone_s * SECOND), usize::MAX);
            assert_eq!(second.app.load(gone_s * SECOND, &bytes), Ok(1));
            assert_eq!(second.app.store().counts().items, items, "after {gone_s} s");
        }
    }

    #[test]
    fn a_number_from_which_no_cache_could_have_counted_is_not_believed() {
        let mut bytes = saved(&script::open(config(0), usize::MAX));
        bytes[MAGIC.len() + 8..ITEM].fill(0xff);
        let mut second = script::open(config(0), usize::MAX);
        assert_eq!(second.app.load(0, &bytes), Ok(0));
        second.send(b"set a 0 0 1\r\nx\r\ngets a\r\n");
        second.settle();
        assert!(second.output.ends_with(b"VALUE a 0 1 1\r\nx\r\nEND\r\n"));
    }
}
