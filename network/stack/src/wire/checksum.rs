//! The internet checksum (RFC 1071), over pieces, eight bytes at a time.
//!
//! The sum is taken in native byte order and turned once at the end (RFC 1071, 2.B). A piece that begins at an odd
//! place contributes its sum with the two bytes swapped.

use core::net::Ipv6Addr;

/// A sum in the making.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    sum: u64,
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// The sum of one piece.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::new();
        sum.add(bytes);
        sum
    }

    /// The sum of a header of 20 bytes, the length that all IPv4 headers without options have.
    #[inline]
    pub fn of_words(header: &[u8; 20]) -> Self {
        let (words, _) = header.as_chunks::<4>();
        let sum = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        Self { sum, odd: false }
    }

    /// The same for a header that was not written just now: by loads that are wider than what writes its fields.
    #[inline]
    pub fn of_received(header: &[u8; 20]) -> Self {
        let (words, last) = header.as_chunks::<8>();
        let word = |at: usize| u64::from_ne_bytes(words[at]);
        let last = last.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let (sum, carry) = word(0).overflowing_add(word(1));
        let (sum, again) = sum.overflowing_add(u64::from(u32::from_le(last)) + u64::from(carry));
        Self { sum: sum + u64::from(again), odd: false }
    }

    /// Adds the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut sum = 0u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let word = u64::from_ne_bytes(*word);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        if !rest.is_empty() {
            let mut last = [0u8; 8];
            last[..rest.len()].copy_from_slice(rest);
            let word = u64::from_ne_bytes(last);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        let folded = fold(sum);
        self.sum += u64::from(if self.odd { folded.swap_bytes() } else { folded });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds the pseudo-header of a transport protocol over IPv4.
    pub fn add_pseudo_header(&mut self, source: [u8; 4], destination: [u8; 4], protocol: u8, len: usize) {
        self.sum += u64::from(u32::from_ne_bytes(source)) + u64::from(u32::from_ne_bytes(destination));
        self.sum += u64::from(u16::from(protocol).to_be()) + u64::from((len as u16).to_be());
    }

    /// Adds the pseudo-header of a transport protocol over IPv6 (RFC 8200, 8.1).
    pub fn add_pseudo_header6(&mut self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) {
        self.add(&source.octets());
        self.add(&destination.octets());
        self.add(&(len as u32).to_be_bytes());
        self.add(&[0, 0, 0, protocol]);
    }

    /// The sum, not complemented, as two bytes in the order of the wire: what a device expects in the checksum
    /// field of a partial checksum, and 0xffff for a piece that carries a correct checksum.
    pub fn folded(self) -> [u8; 2] {
        fold(self.sum).to_ne_bytes()
    }

    /// The checksum as two bytes in the order of the wire.
    pub fn finish(self) -> [u8; 2] {
        (!fold(self.sum)).to_ne_bytes()
    }

    /// What was added carries a correct checksum.
    pub fn is_good(self) -> bool {
        fold(self.sum) == 0xffff
    }
}

fn fold(sum: u64) -> u16 {
    let (low, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = low + u32::from(carry);
    // Both halves added to each other twice, in either order: one of the two sums has the carry of the other.
    !((!sum).wrapping_sub(sum.rotate_right(16)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec::Vec;

    #[test]
    fn a_header_sums_alike_however_it_is_read() {
        let mut random = Random::new(3);
        for case in 0..3_000 {
            // Bytes of 0xff alone make every carry.
            let header = core::array::from_fn(|_| if case == 0 { 0xff } else { random.next() as u8 });
            assert_eq!(Sum::of_received(&header).folded(), Sum::of(&header).folded());
            assert_eq!(Sum::of_words(&header).folded(), Sum::of(&header).folded());
        }
        assert_eq!(Sum::of_received(&[0; 20]).folded(), [0; 2]);
    }

    #[test]
    fn pieces_of_any_length_sum_to_what_a_plain_loop_finds() {
        let mut random = Random::new(7);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            let mut plain = 0u32;
            for pair in bytes.chunks(2) {
                plain += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            }
            while plain >> 16 != 0 {
                plain = (plain & 0xffff) + (plain >> 16);
            }
            let mut sum = Sum::new();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
                sum.add(piece);
                rest = after;
            }
            assert_eq!(u16::from_be_bytes(sum.folded()), plain as u16);
        }
    }
}
