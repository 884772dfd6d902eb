//! Requests to a web server, and what their answers must be: the content that was there before the run, byte for byte.

use crate::bounds;
use crate::connection::{open, read};
use crate::mix::Verdict;
use crate::plan::LoadError;
use std::io::{Error, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// Longest content of an answer.
const CONTENT_MAX: usize = 64 << 20;

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq)]
struct Page {
    request: Vec<u8>,
    /// What lies there, once that was learned.
    content: Option<Arc<[u8]>>,
}

/// Pages that are asked for, each as often as the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Web {
    pages: Vec<Page>,
}

impl Web {
    /// GETs of these paths, with these fields besides `Host` (each line with its end).
    pub fn new(paths: &[&str], fields: &str) -> Self {
        let page = |path: &&str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: nom\r\n{fields}\r\n");
            Page { request: request.into_bytes(), content: None }
        };
        Self { pages: paths.iter().map(page).collect() }
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> u32 {
        self.pages.len() as u32
    }

    pub(crate) fn check(&self) -> Result<(), LoadError> {
        if self.pages.is_empty() || self.pages.len() > bounds::PAGES_MAX {
            let most = bounds::PAGES_MAX;
            return Err(LoadError::Plan(format!("{} pages, give 1 to {most}", self.pages.len())));
        }
        Ok(())
    }

    /// Appends the request for a page.
    pub(crate) fn request(&self, page: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pages[page as usize].request);
    }

    /// Judges what came for a page.
    pub(crate) fn judge(&self, page: u32, bytes: &[u8]) -> Verdict {
        let Some(answer) = answer(bytes) else { return Verdict::Wrong };
        let Some(Answer { status, content, len }) = answer else { return Verdict::Incomplete };
        match (status, &self.pages[page as usize].content) {
            (200, Some(expected)) if **expected != *content => Verdict::Wrong,
            (200, _) => Verdict::Hit(len),
            (400..600, _) => Verdict::Refused(len),
            _ => Verdict::Wrong,
        }
    }

    /// Asks for each page once, to know what lies there. How many were asked for.
    pub(crate) fn learn(&mut self, target: SocketAddr) -> Result<u64, LoadError> {
        let failed = |error| LoadError::System("asking for the pages before the run", error);
        let timeout = Duration::from_secs(bounds::CONNECT_TIMEOUT_S);
        let mut stream = open(target, timeout)?;
        stream.set_nonblocking(false).map_err(failed)?;
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(timeout)).map_err(failed)?;
        let mut scratch = vec![0; bounds::READ_LEN];
        for page in &mut self.pages {
            stream.write_all(&page.request).map_err(failed)?;
            let mut inbox = Vec::new();
            let content = loop {
                let read = read(&mut stream, &mut scratch).map_err(failed)?;
                if read == 0 {
                    return Err(failed(ErrorKind::UnexpectedEof.into()));
                }
                inbox.extend_from_slice(&scratch[..read]);
                match answer(&inbox) {
                    Some(None) => {}
                    Some(Some(Answer { status: 200, content, len })) if len == inbox.len() => {
                        break content.into();
                    }
                    Some(Some(Answer { status, .. })) => {
                        return Err(failed(Error::other(format!(
                            "the server answers {status}, not 200 alone"
                        ))));
                    }
                    None => {
                        return Err(failed(Error::other("what the server answers is no HTTP with a length")));
                    }
                }
            };
            page.content = Some(content);
        }
        Ok(self.pages.len() as u64)
    }
}

/// An answer that is there as a whole.
struct Answer<'a> {
    status: u16,
    content: &'a [u8],
    /// Bytes of all of it.
    len: usize,
}

/// Reads an answer; `Some(None)` while more bytes are needed, `None` when it is none that may be given.
fn answer(bytes: &[u8]) -> Option<Option<Answer<'_>>> {
    const BEGIN: &[u8] = b"HTTP/1.1 ";
    let known = BEGIN.len().min(bytes.len());
    if bytes[..known] != BEGIN[..known] {
        return None;
    }
    let Some(end) = bytes.windows(4).take(HEAD_MAX).position(|four| four == b"\r\n\r\n") else {
        return (bytes.len() < HEAD_MAX).then_some(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status: u16 = head.get(BEGIN.len()..BEGIN.len() + 3)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value.trim())
    });
    let content_len: usize = length?.parse().ok()?;
    if content_len > CONTENT_MAX {
        return None;
    }
    let len = end + 4 + content_len;
    Some(bytes.get(end + 4..len).map(|content| Answer { status, content, len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_incomplete_and_other_content_is_wrong() {
        let mut web = Web::new(&["/a"], "");
        web.pages[0].content = Some(b"hello".as_slice().into());
        let right = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello";
        for len in 0..right.len() {
            assert_eq!(web.judge(0, &right[..len]), Verdict::Incomplete, "{len}");
        }
        assert_eq!(web.judge(0, right), Verdict::Hit(right.len()));
        assert_eq!(web.judge(0, &[&right[..], b"HTTP/1.1"].concat()), Verdict::Hit(right.len()));
        for (answer, verdict) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellO", Verdict::Wrong),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", Verdict::Wrong),
            ("HTTP/1.1 200 OK\r\n\r\n", Verdict::Wrong),
            ("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Verdict::Wrong),
            ("HTTP/1.0 200 OK\r\n", Verdict::Wrong),
            ("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", Verdict::Wrong),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", Verdict::Refused(47)),
        ] {
            assert_eq!(web.judge(0, answer.as_bytes()), verdict, "{answer:?}");
        }
        assert_eq!(web.judge(0, &[b'H'; 1]), Verdict::Incomplete);
        let endless = [b"HTTP/1.1 200 OK\r\n".as_slice(), &[b'x'; HEAD_MAX]].concat();
        assert_eq!(web.judge(0, &endless), Verdict::Wrong);
        assert!(Web::new(&[], "").check().is_err() && web.check().is_ok());
    }
}
