//! Conditions of requests (RFC 9110, 13), in the order in which the standard has them.

use crate::date;
use crate::head::Head;
use crate::text::list;

/// What a condition is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The tag, with its quotes. Ours are strong.
    pub etag: &'a [u8],
    /// When the content changed last; 0 when not known.
    pub modified_s: u64,
    /// The time, for dates with two digits of a year.
    pub now_s: u64,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request is answered as if it had none.
    Go,
    /// The client has it already.
    NotModified,
    /// It wanted something else to be here.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD.
pub(crate) fn evaluate(head: &Head<'_>, known: &Known<'_>) -> Outcome {
    let mut matches = head.all(b"if-match").peekable();
    if matches.peek().is_some() {
        if !matches.any(|value| names(value, known.etag, true)) {
            return Outcome::Failed;
        }
    } else if let Some(date) = only_date(head, b"if-unmodified-since", known)
        && known.modified_s > date
    {
        return Outcome::Failed;
    }
    let mut none = head.all(b"if-none-match").peekable();
    if none.peek().is_some() {
        if none.any(|value| names(value, known.etag, false)) {
            return Outcome::NotModified;
        }
    } else if let Some(date) = only_date(head, b"if-modified-since", known)
        && known.modified_s <= date
    {
        return Outcome::NotModified;
    }
    Outcome::Go
}

/// Whether a range counts for what is here (RFC 9110, 13.1.5): without `If-Range` always.
pub(crate) fn in_range(value: Option<&[u8]>, known: &Known<'_>) -> bool {
    match value {
        None => true,
        Some(tag @ [b'"', ..]) => tag == known.etag,
        Some([b'W', b'/', ..]) => false,
        Some(date) => known.modified_s > 0 && date::read(date, known.now_s) == Some(known.modified_s),
    }
}

/// Whether a list of tags, or `*`, names this one. A weak tag is none for a strong comparison.
fn names(value: &[u8], etag: &[u8], strong: bool) -> bool {
    value == b"*"
        || list(value).any(|tag| match tag.strip_prefix(b"W/") {
            Some(tag) => !strong && tag == etag,
            None => tag == etag,
        })
}

/// The date of a field that stands there once and is one, where a time of change is known.
fn only_date(head: &Head<'_>, name: &'static [u8], known: &Known<'_>) -> Option<u64> {
    if known.modified_s == 0 {
        return None;
    }
    let mut all = head.all(name);
    let first = all.next()?;
    if all.next().is_some() { None } else { date::read(first, known.now_s) }
}
