//! Parts of content that are asked for (RFC 9110, 14).

use crate::text::{decimal, list};
use alloc::vec::Vec;

/// Most parts of one answer. Who asks for more, or for more bytes than there are, gets the whole (RFC 9110, 14.2 allows
/// it): such requests are attacks far more often than not.
pub const PARTS_MAX: usize = 16;

/// From a byte to before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub from: u64,
    pub to: u64,
}

/// What a range comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// It is none that we know, or one that is better answered by everything.
    Whole,
    /// Nothing of it is there.
    Unsatisfiable,
    One(Part),
    Several(Vec<Part>),
}

/// Reads a `Range` for content of this length.
pub(crate) fn read(value: &[u8], len: u64) -> Ranges {
    let Some((unit, set)) = value.iter().position(|byte| *byte == b'=').map(|at| value.split_at(at)) else {
        return Ranges::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Ranges::Whole;
    }
    let (mut parts, mut count, mut sum) = (Vec::new(), 0, 0u64);
    for spec in list(&set[1..]) {
        count += 1;
        if count > PARTS_MAX {
            return Ranges::Whole;
        }
        match part(spec, len) {
            None => return Ranges::Whole,
            Some(None) => {}
            Some(Some(part)) => {
                sum += part.to - part.from;
                parts.push(part);
            }
        }
    }
    match parts[..] {
        _ if count == 0 => Ranges::Whole,
        [] => Ranges::Unsatisfiable,
        [part] => Ranges::One(part),
        _ if sum > len => Ranges::Whole,
        _ => Ranges::Several(parts),
    }
}

/// `first-last`, `first-` or `-suffix`. None when malformed, nothing within when it lies outside.
fn part(spec: &[u8], len: u64) -> Option<Option<Part>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        let from = len.saturating_sub(suffix);
        return Some((from < len).then_some(Part { from, to: len }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX - 1 } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < len).then_some(Part { from: first, to: len.min(last + 1) }))
}

/// A number beyond all bounds is as good as the largest one.
fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| decimal(digits).unwrap_or(i64::MAX as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_the_standard_says() {
        let one = |from, to| Ranges::One(Part { from, to });
        for (text, expected) in [
            ("bytes=0-0", one(0, 1)),
            ("bytes=0-99999999999999999999", one(0, 100)),
            ("BYTES=5-", one(5, 100)),
            ("bytes=-5", one(95, 100)),
            ("bytes=-500", one(0, 100)),
            ("bytes=100-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=100-,200-300", Ranges::Unsatisfiable),
            ("bytes=99-,100-", one(99, 100)),
            ("bytes= 0-1 ,, 2-3", Ranges::Several([Part { from: 0, to: 2 }, Part { from: 2, to: 4 }].into())),
            ("bytes=5-1", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=1", Ranges::Whole),
            ("bytes", Ranges::Whole),
            ("lines=0-1", Ranges::Whole),
            ("bytes=0-,0-", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
        ] {
            assert_eq!(read(text.as_bytes(), 100), expected, "{text}");
        }
        assert_eq!(read(b"bytes=0-", 0), Ranges::Unsatisfiable);
        let many = std::string::String::from("bytes=0-0") + &",1-1".repeat(PARTS_MAX);
        assert_eq!(read(many.as_bytes(), 100), Ranges::Whole);
    }
}
