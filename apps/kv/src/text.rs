//! Small scanners: newlines, words, decimal numbers.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks bytes of a word that equal `byte`. The lowest mark is exact; higher ones may be false.
#[inline(always)]
fn marks(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// Place of the first byte that is marked. Eight bytes at a time, since it is run over every byte of every request.
#[inline(always)]
fn scan(bytes: &[u8], marked: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let marks = marked(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(place * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let start = words.len() * 8;
    rest.iter().position(|byte| is(*byte)).map(|place| start + place)
}

/// Place of the first newline.
pub(crate) fn newline(bytes: &[u8]) -> Option<usize> {
    scan(bytes, |word| marks(word, b'\n'), |byte| byte == b'\n')
}

/// Place of the first space or newline: where a key ends.
pub(crate) fn key_end(bytes: &[u8]) -> Option<usize> {
    scan(bytes, |word| marks(word, b'\n') | marks(word, b' '), |byte| matches!(byte, b'\n' | b' '))
}

/// Place of the first byte that is a space or a control character below it: where a key ends, and what is odd in one.
#[inline]
pub(crate) fn blank(bytes: &[u8]) -> Option<usize> {
    // As with `marks`, only the lowest mark is exact: what is taken away there never borrows from below.
    let below = |word: u64| word.wrapping_sub(ONES * 0x21) & !word & HIGHS;
    scan(bytes, below, |byte| byte <= b' ')
}

/// Words between spaces, with their places.
#[derive(Debug, Clone)]
pub(crate) struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Begins behind so many bytes.
    pub(crate) fn from(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// What has not been searched yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Where the next search begins.
    pub(crate) fn place(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let word = &rest[start..];
        let len = word.iter().position(|byte| *byte == b' ').unwrap_or(word.len());
        self.at += start + len;
        Some(&word[..len])
    }
}

/// White space as C's `isspace` has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// Sign, size and rest of a number at the beginning of a text, as C's `strtoull` reads it: white space, a sign,
/// digits, and then the end or white space.
fn leading(text: &[u8]) -> Option<(bool, u64)> {
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut value = 0u64;
    let mut len = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        len += 1;
    }
    let ends = digits.get(len).is_none_or(|byte| is_space(*byte));
    (len > 0 && ends).then_some((negative, value))
}

/// A signed number. `None` when it is none or its size is beyond any use.
pub(crate) fn number(word: &[u8]) -> Option<i64> {
    match leading(word)? {
        (true, value) => 0i64.checked_sub_unsigned(value),
        (false, value) => i64::try_from(value).ok(),
    }
}

/// An unsigned number; a negative one wraps when that leaves it small, as in memcached.
pub(crate) fn unsigned(word: &[u8]) -> Option<u64> {
    let (negative, value) = leading(word)?;
    if !negative {
        return Some(value);
    }
    Some(value.wrapping_neg()).filter(|value| *value <= i64::MAX as u64)
}

/// Writes a number's decimal digits to the front of `out` and says how many there are.
#[inline]
pub(crate) fn decimal(mut value: u64, out: &mut [u8]) -> usize {
    // Most flags are 0, and most lengths have few digits.
    if value < 10 {
        out[0] = b'0' + value as u8;
        return 1;
    }
    if value < 1000 {
        let value = value as u32;
        let (hundreds, rest) = (value / 100, value % 100);
        let mut at = 0;
        if hundreds > 0 {
            out[0] = b'0' + hundreds as u8;
            at = 1;
        }
        out[at..at + 2].copy_from_slice(&[b'0' + (rest / 10) as u8, b'0' + (rest % 10) as u8]);
        return at + 2;
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    let len = digits.len() - at;
    out[..len].copy_from_slice(&digits[at..]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn newlines_are_found_wherever_they_are() {
        for len in 0..40 {
            assert_eq!(newline(&std::vec![b'\x0b'; len]), None);
            for place in 0..len {
                let mut bytes = std::vec![0x8a; len];
                bytes[place..].fill(b'\n');
                assert_eq!(newline(&bytes), Some(place));
                for key in [0x0a ^ 0x80, 0x20 ^ 0x80, 0x21, 0x0b, 0x1f, 0x09] {
                    bytes[..place].fill(key);
                    bytes[place] = if len % 2 == 0 { b' ' } else { b'\n' };
                    assert_eq!(key_end(&bytes), Some(place));
                    let first = if matches!(key, 0x0b | 0x1f | 0x09) { 0 } else { place };
                    assert_eq!(blank(&bytes), Some(first));
                }
            }
        }
    }

    #[test]
    fn words_know_their_places() {
        let mut words = Words::new(b"  a bc  d ");
        assert_eq!((words.next(), words.place()), (Some(&b"a"[..]), 3));
        assert_eq!((words.next(), words.place()), (Some(&b"bc"[..]), 6));
        assert_eq!((words.next(), words.place()), (Some(&b"d"[..]), 9));
        assert_eq!(words.next(), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"-12"), Some(-12));
        assert_eq!(number(b"+12"), Some(12));
        for wrong in ["", "-", "1a", "a", " ", "- 1", "99999999999999999999"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
            assert_eq!(unsigned(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(number(b"\t7 x"), Some(7));
        assert_eq!(number(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(number(b"9223372036854775808"), None);
        assert_eq!(unsigned(b"18446744073709551615\r\n"), Some(u64::MAX));
        assert_eq!(unsigned(b"-1"), None);
        assert_eq!(unsigned(b"-0"), Some(0));
        for value in (0..1100).chain([12345, u64::MAX]) {
            let mut out = [0; 20];
            let len = decimal(value, &mut out);
            assert_eq!(out[..len], *value.to_string().as_bytes());
        }
    }
}
