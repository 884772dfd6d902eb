//! The head of a request: its line and its fields (RFC 9112, 2 to 6), read strictly.
//!
//! A head is read when it is there as a whole. What could be understood in two ways by two readers on the way is refused
//! rather than repaired: a line feed or carriage return alone, a blank before the colon, a continued line, two lengths, a
//! length beside a transfer coding, a transfer coding before HTTP/1.1, a target for another host than `Host`. Limits are named here.

use crate::coding::Codings;
use crate::status::Status;
use crate::target::{absolute_form, is_authority};
use crate::text::{decimal, is_token, is_value, line_feed, list, trimmed};

/// Longest head of a request, its line included; a longer one is refused with 431.
pub const HEAD_MAX: usize = 16 << 10;
/// Longest target; a longer one is refused with 414.
pub const TARGET_MAX: usize = 8 << 10;
/// Most fields of one request; more are refused with 431.
pub const FIELDS_MAX: usize = 100;
/// Empty lines that may precede a request (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 2;
/// Longest method.
const METHOD_MAX: usize = 32;
/// Bytes of the first line beside its target.
const LINE_OVERHEAD: usize = METHOD_MAX + 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Options,
    Post,
    /// Known to the standard, and never allowed on static content.
    Other,
    /// Known to nobody here.
    Unknown,
}

/// How long the content of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    None,
    Length(u64),
    Chunked,
}

/// A request, up to its content.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub method: Method,
    pub target: &'a [u8],
    /// The first line without its end, for the log.
    pub line: &'a [u8],
    /// HTTP/1.0: no persistence, chunks or expectations unless said.
    pub old: bool,
    pub content: Content,
    /// The client waits for `100 Continue`.
    pub expects: bool,
    /// It expects something that is not known here.
    pub expects_other: bool,
    pub close: bool,
    pub keep_alive: bool,
    pub range: Option<&'a [u8]>,
    pub if_range: Option<&'a [u8]>,
    /// Fields that begin with `If-` are there, besides `If-Range`.
    pub conditional: bool,
    /// One of them names a date.
    pub dated: bool,
    pub codings: Codings,
    /// All fields, for those that are looked at again.
    fields: &'a [u8],
}

/// Where a head ends, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Behind so many bytes.
    At(usize),
    /// More is needed; so many bytes have been looked at.
    NotYet(usize),
    /// It can never be right.
    Bad(Status),
}

/// Looks for the end of a head. `seen` is what was looked at before, and begins a line. What is wrong is found in the
/// order in which it stands there, so that it does not matter in which pieces a head arrives.
pub(crate) fn end(bytes: &[u8], seen: usize) -> End {
    let begin = leading_lines(bytes);
    if begin > EMPTY_LINES_MAX * 2 {
        return End::Bad(Status::BadRequest);
    }
    let mut at = seen.max(begin);
    loop {
        let rest = &bytes[at..];
        let feed = line_feed(rest);
        let len = feed.unwrap_or(rest.len());
        if at == begin && len > TARGET_MAX + LINE_OVERHEAD {
            let named = rest.iter().take(METHOD_MAX + 1).any(|byte| *byte == b' ');
            return End::Bad(if named { Status::UriTooLong } else { Status::NotImplemented });
        }
        if at - begin + len >= HEAD_MAX {
            return End::Bad(Status::HeaderFieldsTooLarge);
        }
        let Some(feed) = feed else { return End::NotYet(at) };
        if feed == 0 || rest[feed - 1] != b'\r' {
            return End::Bad(Status::BadRequest);
        }
        at += feed + 1;
        if feed == 1 {
            return End::At(at);
        }
    }
}

/// Bytes of empty lines at the beginning.
fn leading_lines(bytes: &[u8]) -> usize {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().take_while(|pair| *pair == b"\r\n").take(EMPTY_LINES_MAX + 1).count() * 2
}

/// Reads a head that [`end`] found to be whole.
pub(crate) fn read(bytes: &[u8]) -> Result<Head<'_>, Status> {
    let bytes = &bytes[leading_lines(bytes)..];
    let line_end = line_feed(bytes).ok_or(Status::BadRequest)?;
    let line = &bytes[..line_end - 1];
    let fields = &bytes[line_end + 1..bytes.len() - 2];
    let mut head = first_line(line)?;
    head.fields = fields;
    let mut rest = fields;
    let (mut count, mut hosts, mut codings) = (0, 0, 0);
    let mut chunked = false;
    let mut length = None;
    let mut host: &[u8] = &[];
    while !rest.is_empty() {
        let (name, value, behind) = field(rest).ok_or(Status::BadRequest)?;
        rest = behind;
        count += 1;
        if count > FIELDS_MAX {
            return Err(Status::HeaderFieldsTooLarge);
        }
        // Names of the same length are told apart by their letters; most that come are none of these.
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => {
                hosts += 1;
                if hosts > 1 || !is_authority(value) {
                    return Err(Status::BadRequest);
                }
                host = value;
            }
            5 if is(b"range") => head.range = Some(value),
            6 if is(b"expect") => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                head.expects |= known;
                head.expects_other |= !known;
            }
            8 if is(b"if-match") => head.conditional = true,
            8 if is(b"if-range") => head.if_range = Some(value),
            10 if is(b"connection") => {
                for option in list(value) {
                    head.close |= option.eq_ignore_ascii_case(b"close");
                    head.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            13 if is(b"if-none-match") => head.conditional = true,
            14 if is(b"content-length") => {
                if length.is_some() {
                    return Err(Status::BadRequest);
                }
                length = Some(content_length(value)?);
            }
            15 if is(b"accept-encoding") => head.codings.take(value),
            17 if is(b"if-modified-since") => (head.conditional, head.dated) = (true, true),
            17 if is(b"transfer-encoding") => {
                codings += 1;
                chunked = transfer_coding(value)?;
            }
            19 if is(b"if-unmodified-since") => (head.conditional, head.dated) = (true, true),
            _ => {}
        }
    }
    if hosts == 0 && !head.old {
        return Err(Status::BadRequest);
    }
    // Who routes by the one and who routes by the other could disagree whom it is for (RFC 9112, 3.2.2).
    if head.target.first() != Some(&b'/')
        && let Some((authority, _)) = absolute_form(head.target)
        && hosts > 0
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(Status::BadRequest);
    }
    // Two readers could disagree where such a request ends (RFC 9112, 6.1 and 11.2).
    if codings > 0 && (length.is_some() || head.old || codings > 1 || !chunked) {
        return Err(Status::BadRequest);
    }
    head.content = match length {
        _ if chunked => Content::Chunked,
        Some(len @ 1..) => Content::Length(len),
        _ => Content::None,
    };
    if head.old {
        // RFC 9110, 10.1.1: what such a client expects is ignored.
        (head.expects, head.expects_other) = (false, false);
    }
    if head.content == Content::None {
        head.expects = false;
    }
    Ok(head)
}

fn first_line(line: &[u8]) -> Result<Head<'_>, Status> {
    let space = line.iter().position(|byte| *byte == b' ').ok_or(Status::BadRequest)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    if !is_token(method) {
        return Err(Status::BadRequest);
    }
    if method.len() > METHOD_MAX {
        return Err(Status::NotImplemented);
    }
    let space = rest.iter().position(|byte| *byte == b' ').ok_or(Status::BadRequest)?;
    let (target, version) = (&rest[..space], &rest[space + 1..]);
    if target.is_empty() || !target.iter().all(|byte| (0x21..0x7f).contains(byte)) {
        return Err(Status::BadRequest);
    }
    if target.len() > TARGET_MAX {
        return Err(Status::UriTooLong);
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        // A higher minor version is one that we may answer as if it were ours (RFC 9110, 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Status::VersionNotSupported);
        }
        _ => return Err(Status::BadRequest),
    };
    let method = match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"OPTIONS" => Method::Options,
        b"POST" => Method::Post,
        b"PUT" | b"DELETE" | b"PATCH" | b"TRACE" | b"CONNECT" => Method::Other,
        _ => Method::Unknown,
    };
    Ok(Head {
        method,
        target,
        line,
        old,
        content: Content::None,
        expects: false,
        expects_other: false,
        close: false,
        keep_alive: false,
        range: None,
        if_range: None,
        conditional: false,
        dated: false,
        codings: Codings::default(),
        fields: &[],
    })
}

/// The next field's name and value, and what is behind its line. None when it is malformed. Each line ends with CR LF.
pub(crate) fn field(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let feed = line_feed(rest)?;
    let line = &rest[..feed.checked_sub(1)?];
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    (is_token(name) && is_value(value)).then(|| (name, trimmed(value), &rest[feed + 1..]))
}

/// A length is digits alone: no sign, no list (RFC 9112, 6.3). One beyond all bounds is too much content.
fn content_length(value: &[u8]) -> Result<u64, Status> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    decimal(value).ok_or(Status::ContentTooLarge)
}

/// Whether the content is in chunks. Other codings are not known here.
fn transfer_coding(value: &[u8]) -> Result<bool, Status> {
    let mut codings = list(value);
    let last = codings.next().ok_or(Status::BadRequest)?;
    if codings.next().is_some() {
        let chunked_last = list(value).last().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
        let twice = list(value).filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count() > 1;
        return Err(if chunked_last && !twice { Status::NotImplemented } else { Status::BadRequest });
    }
    if last != value {
        // An empty element is one that another reader may see differently.
        return Err(Status::BadRequest);
    }
    if last.eq_ignore_ascii_case(b"chunked") { Ok(true) } else { Err(Status::BadRequest) }
}

impl<'a> Head<'a> {
    /// All values of a field.
    pub(crate) fn all(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.fields;
        core::iter::from_fn(move || {
            loop {
                // Everything was checked when the head was read.
                let feed = line_feed(rest)?;
                let line = rest.get(..feed.checked_sub(1)?)?;
                rest = &rest[feed + 1..];
                if line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name) {
                    return Some(trimmed(&line[name.len() + 1..]));
                }
            }
        })
    }

    /// Whether the connection stays after this request (RFC 9112, 9.3).
    pub(crate) fn persists(&self) -> bool {
        !self.close && (!self.old || self.keep_alive)
    }
}

#[cfg(test)]
mod tests;
