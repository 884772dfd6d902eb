//! A page in fewer bytes: runs of equal words are told once, everything else as it is.
//!
//! A packed page is a row of pieces: a 16-bit number, then one word that is repeated so often (top bit set), or so many
//! words.

use crate::{Content, PAGE_LEN};

/// The most bytes that a page can take: one piece with all of its words.
pub const PACKED_MAX: usize = 2 + PAGE_LEN;
const WORD_LEN: usize = 8;
const REPEATED: u16 = 1 << 15;

/// Packs a page; answers how many bytes of `into` it took.
pub fn pack(page: &Content, into: &mut [u8; PACKED_MAX]) -> usize {
    let word = |place: usize| &page[place * WORD_LEN..(place + 1) * WORD_LEN];
    let words = PAGE_LEN / WORD_LEN;
    let (mut at, mut len) = (0, 0);
    while at < words {
        let run = (at + 1..words).take_while(|&place| word(place) == word(at)).count() + 1;
        let (number, piece) = if run > 1 {
            (run as u16 | REPEATED, word(at))
        } else {
            // Up to the next two words that are equal.
            let end = (at + 1..words).find(|&place| place + 1 < words && word(place) == word(place + 1));
            let end = end.unwrap_or(words);
            ((end - at) as u16, &page[at * WORD_LEN..end * WORD_LEN])
        };
        into[len..len + 2].copy_from_slice(&number.to_le_bytes());
        into[len + 2..len + 2 + piece.len()].copy_from_slice(piece);
        len += 2 + piece.len();
        at += usize::from(number & !REPEATED);
    }
    len
}

/// What was packed makes no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// Reverses [`pack`]; every byte of the page is written, or it is an error.
pub fn unpack(mut packed: &[u8], page: &mut Content) -> Result<(), Damaged> {
    let mut rest = &mut page[..];
    while !rest.is_empty() {
        let (number, behind) = packed.split_first_chunk::<2>().ok_or(Damaged)?;
        let number = u16::from_le_bytes(*number);
        let len = usize::from(number & !REPEATED) * WORD_LEN;
        let told = if number & REPEATED != 0 { WORD_LEN } else { len };
        let (words, behind) = behind.split_at_checked(told).ok_or(Damaged)?;
        let (here, after) = rest.split_at_mut_checked(len).filter(|_| len > 0).ok_or(Damaged)?;
        for place in here.chunks_exact_mut(told) {
            place.copy_from_slice(words);
        }
        (packed, rest) = (behind, after);
    }
    if packed.is_empty() { Ok(()) } else { Err(Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn pages_come_back_as_they_were() {
        let mut seed = 7;
        let mut packed = [0; PACKED_MAX];
        for round in 0..500_u64 {
            let mut page = [0; PAGE_LEN];
            // From one value everywhere to a new one at nearly every word.
            for place in page.chunks_exact_mut(8) {
                let value = number(&mut seed) % (1 + round);
                place.copy_from_slice(&value.to_le_bytes());
            }
            let len = pack(&page, &mut packed);
            let mut again = [0xee; PAGE_LEN];
            assert_eq!(unpack(&packed[..len], &mut again), Ok(()));
            assert!(again == page, "round {round}");
            assert_eq!(unpack(&packed[..len - 1], &mut again), Err(Damaged));
        }
        assert_eq!(pack(&[0; PAGE_LEN], &mut packed), 10);
        let mut page = [0; PAGE_LEN];
        page.chunks_exact_mut(8).for_each(|place| place.copy_from_slice(&number(&mut seed).to_le_bytes()));
        assert_eq!(pack(&page, &mut packed), PACKED_MAX);
    }

    #[test]
    fn damage_is_noticed() {
        let mut page = [0; PAGE_LEN];
        for packed in [&[][..], &[1], &[0, 0], &[0, 0x80, 1, 1, 1, 1, 1, 1, 1, 1], &[1, 0, 5]] {
            assert_eq!(unpack(packed, &mut page), Err(Damaged), "{packed:?}");
        }
        // One word too many, and something behind the end.
        let many = [1, 0x82, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(unpack(&many, &mut page), Err(Damaged));
        let behind = [0, 0x82, 1, 1, 1, 1, 1, 1, 1, 1, 9];
        assert_eq!(unpack(&behind, &mut page), Err(Damaged));
    }
}
