//! The content of a request: read by its framing, thrown away, and counted against a limit (RFC 9112, 6 and 7).

use crate::head::field;
use crate::text::{hexadecimal, is_value, line_feed};

/// Longest line that begins a chunk, its extensions included.
const CHUNK_LINE_MAX: usize = 256;
/// Most bytes of chunk lines and trailers of one request.
const OVERHEAD_MAX: u64 = 64 << 10;
/// Longest line of a trailer.
const TRAILER_LINE_MAX: usize = 1024;

/// Where in the content of a request its reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// So many bytes are to come.
    Length(u64),
    /// Before a chunk's line.
    Chunk { budget: u64, overhead: u64 },
    /// Within a chunk, with the two bytes of its end.
    Data { left: u64, budget: u64, overhead: u64 },
    /// Before a line of the trailer.
    Trailer { overhead: u64 },
}

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many bytes are done with, and more is to come.
    More(usize),
    /// So many bytes are done with, and the request ends there.
    End(usize),
    /// It is malformed.
    Malformed,
    /// There is too much of it.
    TooLarge,
}

impl Content {
    /// Chunks that hold at most so many bytes.
    pub(crate) fn chunked(bytes_max: u64) -> Self {
        Self::Chunk { budget: bytes_max, overhead: OVERHEAD_MAX }
    }

    /// Reads on, and throws away.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Progress {
        self.read_to(bytes, |_| {})
    }

    /// Reads on; what is content goes to `to`, in order.
    pub(crate) fn read_to(&mut self, bytes: &[u8], mut to: impl FnMut(&[u8])) -> Progress {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match *self {
                Self::Length(left) => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    to(&rest[..len]);
                    *self = Self::Length(left - len as u64);
                    return if left == len as u64 {
                        Progress::End(at + len)
                    } else {
                        Progress::More(at + len)
                    };
                }
                Self::Chunk { budget, overhead } => {
                    let Some(feed) = line_feed(&rest[..rest.len().min(CHUNK_LINE_MAX)]) else {
                        return if rest.len() < CHUNK_LINE_MAX && may_begin_a_chunk(rest) {
                            Progress::More(at)
                        } else {
                            Progress::Malformed
                        };
                    };
                    let Some(size) = feed.checked_sub(1).and_then(|end| chunk_size(&rest[..feed], end))
                    else {
                        return Progress::Malformed;
                    };
                    let Some(overhead) = overhead.checked_sub(feed as u64 + 3) else {
                        return Progress::TooLarge;
                    };
                    let Some(budget) = budget.checked_sub(size) else { return Progress::TooLarge };
                    at += feed + 1;
                    *self = match size {
                        0 => Self::Trailer { overhead },
                        _ => Self::Data { left: size + 2, budget, overhead },
                    };
                }
                Self::Data { left, budget, overhead } => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    // The last two bytes end the chunk, and are nothing else.
                    for (place, byte) in rest[..len]
                        .iter()
                        .enumerate()
                        .skip(usize::try_from(left.saturating_sub(2)).unwrap_or(len).min(len))
                    {
                        let expected = if left - place as u64 == 2 { b'\r' } else { b'\n' };
                        if *byte != expected {
                            return Progress::Malformed;
                        }
                    }
                    let content = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX);
                    to(&rest[..len.min(content)]);
                    at += len;
                    if left > len as u64 {
                        *self = Self::Data { left: left - len as u64, budget, overhead };
                        return Progress::More(at);
                    }
                    *self = Self::Chunk { budget, overhead };
                }
                Self::Trailer { overhead } => {
                    let Some(feed) = line_feed(&rest[..rest.len().min(TRAILER_LINE_MAX)]) else {
                        return if rest.len() < TRAILER_LINE_MAX {
                            Progress::More(at)
                        } else {
                            Progress::TooLarge
                        };
                    };
                    let line = &rest[..=feed];
                    if line == b"\r\n" {
                        return Progress::End(at + 2);
                    }
                    if feed == 0 || line[feed - 1] != b'\r' || field(line).is_none() {
                        return Progress::Malformed;
                    }
                    let Some(overhead) = overhead.checked_sub(feed as u64 + 1) else {
                        return Progress::TooLarge;
                    };
                    at += feed + 1;
                    *self = Self::Trailer { overhead };
                }
            }
        }
    }
}

/// The size that a chunk's line says; `end` is where its carriage return has to be.
fn chunk_size(line: &[u8], end: usize) -> Option<u64> {
    if line[end] != b'\r' {
        return None;
    }
    let line = &line[..end];
    let digits = line.iter().take_while(|byte| hexadecimal(**byte).is_some()).count();
    if digits == 0 || digits > 15 {
        return None;
    }
    match &line[digits..] {
        [] => {}
        // An extension; what it says does not matter, but it must not hide a line's end.
        [b';' | b' ' | b'\t', ..] if is_extension(&line[digits..]) => {}
        _ => return None,
    }
    line[..digits].iter().try_fold(0, |size, digit| Some(size << 4 | u64::from(hexadecimal(*digit)?)))
}

/// `BWS ; name ...`: blanks alone are none.
fn is_extension(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    start.is_some_and(|start| bytes[start] == b';' && bytes.len() > start + 1) && is_value(bytes)
}

/// Whether a line that is not whole yet can still become right.
fn may_begin_a_chunk(bytes: &[u8]) -> bool {
    let Some(first) = bytes.first() else { return true };
    let carriage = bytes.iter().position(|byte| *byte == b'\r');
    hexadecimal(*first).is_some() && carriage.is_none_or(|place| place + 1 == bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, max: u64) -> Progress {
        let whole = Content::chunked(max).read(text.as_bytes());
        // In any pieces it comes to the same.
        for step in 1..8 {
            let (mut content, mut waiting, mut done) = (Content::chunked(max), std::vec::Vec::new(), 0);
            let mut last = Progress::More(0);
            for piece in text.as_bytes().chunks(step) {
                waiting.extend_from_slice(piece);
                last = content.read(&waiting);
                let (Progress::More(len) | Progress::End(len)) = last else { break };
                waiting.drain(..len);
                done += len;
                if matches!(last, Progress::End(_)) {
                    break;
                }
            }
            match (whole, last) {
                (Progress::End(end), Progress::End(_)) => assert_eq!(end, done, "{text:?} by {step}"),
                (Progress::More(_), Progress::More(_)) => {}
                (whole, last) => assert_eq!(whole, last, "{text:?} by {step}"),
            }
        }
        whole
    }

    #[test]
    fn chunks_are_read_to_their_end() {
        for text in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a\r\n0123456789\r\n00\r\n\r\n",
            "5;name=value\r\nhello\r\n0 ;x\r\n\r\n",
            "5\r\nhello\r\n0\r\nTrailer: yes\r\n\r\n",
            "000000000000005\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(read(text, 100), Progress::End(text.len()), "{text:?}");
        }
        assert_eq!(read("5\r\nhello\r\n0\r\n\r\nGET", 100), Progress::End(15));
    }

    #[test]
    fn odd_chunks_are_refused() {
        for text in [
            "5\nhello\r\n0\r\n\r\n",
            "x\r\n",
            "\r\n",
            "-5\r\n",
            "+5\r\n",
            "0x5\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\rhello",
            " 5\r\n",
            "5 \r\nhello\r\n",
            "5;\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5;a\nb\r\nhello\r\n",
            "0\r\nbad trailer\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\n a: b\r\n\r\n",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "10000000000000000\r\n",
            "5,5\r\nhello\r\n",
            "0\r\na\r: b\r\n\r\n",
        ] {
            assert_eq!(read(text, 100), Progress::Malformed, "{text:?}");
        }
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(read("65\r\n", 100), Progress::TooLarge);
        assert_eq!(read("64\r\n", 100), Progress::More(4));
        assert_eq!(read("fffffffffffffff\r\n", 100), Progress::TooLarge);
        let long = std::string::String::from("5;") + &"x".repeat(300);
        assert_eq!(read(&long, 100), Progress::Malformed);
        let many = "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n".repeat(2_000);
        assert_eq!(Content::chunked(1 << 20).read(many.as_bytes()), Progress::TooLarge);
        let trailers = std::string::String::from("0\r\n") + &"a: b\r\n".repeat(20_000);
        assert_eq!(Content::chunked(100).read(trailers.as_bytes()), Progress::TooLarge);
    }
}
