//! What others must not guess: initial sequence numbers (RFC 6528), SYN cookies, ports, the connection table's hash.

use core::net::Ipv6Addr;

use super::peers::Ends;
use super::sequence::Seq;
use super::table::Key;
use crate::random::Random;

/// Segment sizes that a cookie can remember, in three bits.
pub(crate) const COOKIE_SEGMENT_MAX: [u16; 8] = [216, 536, 1024, 1220, 1360, 1400, 1440, 1460];
/// A cookie is good in the period in which it was made and in the next one.
pub(crate) const COOKIE_PERIOD_NS: u64 = 1 << 36;

/// Keys drawn from the seed.
pub(crate) struct Secrets {
    sequence: [u64; 2],
    cookie: [u64; 2],
    table: [u64; 2],
    peers: [u64; 2],
    ports: Random,
}

impl Secrets {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&seed[at * 8..at * 8 + 8]);
            u64::from_le_bytes(bytes)
        };
        // Every key is derived from all 256 bits, so that knowing one of them tells nothing about another.
        let derive = |purpose: u64| {
            siphash([word(0), word(1)], [purpose, word(2)]) ^ siphash([word(2), word(3)], [!purpose, word(0)])
        };
        Self {
            sequence: [derive(1), derive(2)],
            cookie: [derive(3), derive(4)],
            table: [derive(5) | 1, derive(6) | 1],
            peers: [derive(8), derive(9)],
            ports: Random::new(derive(7)),
        }
    }

    /// A clock of 4 us plus a keyed hash of who speaks with whom (RFC 6528, 3).
    pub(crate) fn initial_sequence(&self, key: Key, now_ns: u64) -> Seq {
        let offset = siphash(self.sequence, [key.word(), 0]) as u32;
        Seq(offset.wrapping_add((now_ns >> 12) as u32))
    }

    /// Where a connection's clock of time stamps begins.
    pub(crate) fn stamp_offset(&self, key: Key) -> u32 {
        siphash(self.sequence, [key.word(), 1]) as u32
    }

    /// A place in the connection table. Two keyed multiplications: not a secret-keeping hash, but nobody who
    /// does not know the keys can aim at one place.
    #[inline(always)]
    pub(crate) fn table_hash(&self, key: Key) -> u32 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let mixed = fold(key.word() ^ self.table[0], self.table[1]);
        fold(mixed ^ self.table[1], self.table[0]) as u32
    }

    /// The key of [`name_hash`].
    pub(crate) fn peers(&self) -> [u64; 2] {
        self.peers
    }

    pub(crate) fn port(&mut self, count: u16) -> u16 {
        self.ports.below(u64::from(count)) as u16
    }

    /// A sequence number that remembers a SYN, so that we need not: 5 bits of time, 3 of segment size, 24 of hash.
    pub(crate) fn cookie(&self, key: Key, peer: Seq, segment_max: u16, now_ns: u64) -> Seq {
        let size = COOKIE_SEGMENT_MAX.iter().rposition(|&size| size <= segment_max).unwrap_or(0) as u32;
        self.cookie_of(key, peer, size, now_ns / COOKIE_PERIOD_NS)
    }

    fn cookie_of(&self, key: Key, peer: Seq, size: u32, period: u64) -> Seq {
        let hash =
            siphash(self.cookie, [key.word(), u64::from(peer.0) << 32 | (period << 3) | u64::from(size)]);
        Seq(((period as u32 & 31) << 27) | (size << 24) | (hash as u32 & 0xff_ffff))
    }

    /// The segment size that a returned cookie remembers; nothing when it is not ours or too old.
    pub(crate) fn check_cookie(&self, key: Key, peer: Seq, cookie: Seq, now_ns: u64) -> Option<u16> {
        let size = (cookie.0 >> 24) & 7;
        let period = now_ns / COOKIE_PERIOD_NS;
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| self.cookie_of(key, peer, size, period) == cookie)
            .then(|| COOKIE_SEGMENT_MAX[size as usize])
    }
}

/// Of two addresses, for a name that nobody can aim at.
pub(super) fn name_hash(key: [u64; 2], ends: Ends) -> u32 {
    let words = |address: Ipv6Addr| [(address.to_bits() >> 64) as u64, address.to_bits() as u64];
    let ours = siphash(key, words(ends.ours));
    siphash([key[0] ^ ours, key[1]], words(ends.theirs)) as u32
}

/// SipHash-2-4 of two words.
fn siphash(key: [u64; 2], words: [u64; 2]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    for word in [words[0], words[1], 16 << 56] {
        v[3] ^= word;
        sip_round(&mut v);
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_agrees_with_the_published_vectors() {
        // From the reference implementation: key 00..0f, message 00..0f (16 bytes).
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, key), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn a_cookie_is_good_for_its_connection_and_a_little_while() {
        let secrets = Secrets::new([3; 32]);
        let key = Key { remote: 1, remote_port: 2, local_port: 3 };
        let now = 10 * COOKIE_PERIOD_NS;
        let cookie = secrets.cookie(key, Seq(99), 1460, now);
        assert_eq!(secrets.check_cookie(key, Seq(99), cookie, now), Some(1460));
        assert_eq!(secrets.check_cookie(key, Seq(99), cookie, now + COOKIE_PERIOD_NS), Some(1460));
        assert_eq!(secrets.check_cookie(key, Seq(99), cookie, now + 2 * COOKIE_PERIOD_NS), None);
        assert_eq!(secrets.check_cookie(key, Seq(98), cookie, now), None);
        let other = Key { remote_port: 3, ..key };
        assert_eq!(secrets.check_cookie(other, Seq(99), cookie, now), None);
    }
}
