//! Small scanners over hostile bytes: lines, tokens, lists, numbers.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Place of the first line feed. Eight bytes at a time, since it is run over every byte of every request.
#[inline]
pub(crate) fn line_feed(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let difference = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'\n'));
        // The lowest mark is exact, higher ones may be false.
        let marks = difference.wrapping_sub(ONES) & !difference & HIGHS;
        if marks != 0 {
            return Some(place * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let start = words.len() * 8;
    rest.iter().position(|byte| *byte == b'\n').map(|place| start + place)
}

/// Bytes of a token (RFC 9110, 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric()
            || matches!(
                letter,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Bytes of a field's value: visible ones, the blanks, and those beyond ASCII (RFC 9110, 5.5). A carriage return, line
/// feed or zero is none.
const VALUE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte == 0x09 || (byte >= 0x20 && byte != 0x7f);
        byte += 1;
    }
    table
};

/// Whether these bytes are a token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[*byte as usize])
}

/// Whether these bytes may be the value of a field.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    // Eight at a time: a byte below the blank, or a delete, leaves a mark. Tabs do too, and are looked at one by one.
    let odd = |word: u64| {
        let delete = word ^ (ONES * 0x7f);
        (word.wrapping_sub(ONES * 0x20) & !word | delete.wrapping_sub(ONES) & !delete) & HIGHS != 0
    };
    let slowly = |bytes: &[u8]| bytes.iter().all(|byte| VALUE[*byte as usize]);
    words.iter().all(|word| !odd(u64::from_le_bytes(*word)) || slowly(word)) && slowly(rest)
}

/// Without the blanks on both sides (OWS).
pub(crate) fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a list between commas, without those that are empty (RFC 9110, 5.6.1). A comma within quotes ends
/// none.
pub(crate) fn list(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    core::iter::from_fn(move || {
        loop {
            let bytes = rest?;
            let mut quoted = false;
            let mut end = bytes.len();
            for (place, byte) in bytes.iter().enumerate() {
                match byte {
                    b'"' => quoted = !quoted,
                    b',' if !quoted => {
                        end = place;
                        break;
                    }
                    _ => {}
                }
            }
            rest = bytes.get(end + 1..);
            let element = trimmed(&bytes[..end]);
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

/// A number that is nothing but digits. None when it is not, or beyond 2^63.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in bytes {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (value <= i64::MAX as u64).then_some(value)
}

/// What a hexadecimal digit is worth.
pub(crate) fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn lists_are_cut_at_commas_outside_of_quotes() {
        let cut = |text: &'static str| list(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(cut(" a , ,\"b,c\",d\t"), [&b"a"[..], b"\"b,c\"", b"d"]);
        assert!(cut(", ,").is_empty() && cut("").is_empty());
    }

    #[test]
    fn values_have_no_control_characters_wherever_they_stand() {
        for byte in 0..=255u8 {
            let good = byte == b'\t' || byte >= 0x20 && byte != 0x7f;
            for place in 0..20 {
                let mut text = [b'~'; 20];
                text[place] = byte;
                assert_eq!(is_value(&text), good, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(decimal(b"0042"), Some(42));
        for bad in ["", "+1", "-1", " 1", "1,1", "0x1", "9223372036854775808", "99999999999999999999"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn lines_end_where_they_do() {
        for before in 0..40 {
            let mut text = std::vec![b'x'; before];
            assert_eq!(line_feed(&text), None);
            text.extend_from_slice(b"\n\n");
            assert_eq!(line_feed(&text), Some(before));
        }
    }
}
