//! As much of HTTP/1.1 as asking for a price needs (RFC 9112): a GET, and a strict, bounded, incremental reader of
//! its answer. Lengths are given or the answer is chunked; everything else, and everything ambiguous, is refused.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

/// Longest status line and headers.
pub const HEAD_MAX: usize = 4096;
/// Longest body, unless the reader is told another bound.
pub const BODY_MAX: usize = 16 * 1024;
/// Longest line that gives the size of a chunk.
const CHUNK_LINE_MAX: usize = 64;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In figures.
    Address(Ipv4Addr),
    /// By name, in lower case: somebody has to be asked for the address.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, UrlError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // RFC 1123, 2.1: letters, digits and hyphens between dots. What ends in figures would be a mistyped address.
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let figures =
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() > 253 || figures || !text.split('.').all(label) {
            return Err(UrlError("the host is no IPv4 address and no name"));
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

/// Where to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Over TLS.
    pub secure: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Path, from the slash.
    pub path: String,
}

/// Why a text is no address to ask at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlError(pub &'static str);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected something like http://10.0.2.2:8080/prices", self.0)
    }
}

impl Url {
    /// Reads `http://HOST[:PORT]/PATH`, or the same with `https`. The host is an IPv4 address or a name.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(UrlError("it does not begin with http:// or https://")),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let usual = if secure { "443" } else { "80" };
        let (host, port) = authority.split_once(':').unwrap_or((authority, usual));
        let host = Host::parse(host)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port =
            port.parse().ok().filter(|port| *port != 0 && digits).ok_or(UrlError("the port is none"))?;
        // Anything but visible letters could end the request line and begin another.
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') || path.len() > 512 {
            return Err(UrlError("the path has letters that may not be there, or is longer than 512"));
        }
        Ok(Self { secure, host, port, path: path.into() })
    }
}

/// A GET request. With a known generation the service waits until there is another one.
pub fn get(url: &Url, known: Option<u64>) -> Vec<u8> {
    let mark = if url.path.contains('?') { '&' } else { '?' };
    let query = known.map_or(String::new(), |generation| alloc::format!("{mark}generation={generation}"));
    alloc::format!(
        "GET {}{query} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: nom\r\nAccept: application/json, */*;q=0.9\r\n\r\n",
        url.path,
        url.host,
        url.port
    )
    .into_bytes()
}

/// Why an answer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpError(pub &'static str);

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    /// Bytes of the body that are missing.
    Length(usize),
    /// At the line that gives a chunk's size.
    Size,
    /// Bytes of the chunk that are missing.
    Chunk(usize),
    /// At the line end behind a chunk.
    ChunkEnd,
    /// At the trailer's lines.
    Trailer,
    Done,
}

/// An answer while it arrives.
#[derive(Debug, Clone)]
pub struct Response {
    stage: Stage,
    /// Bytes of an unfinished head or line.
    pending: Vec<u8>,
    /// Lines of the trailer, in bytes: they share the head's bound.
    trailer: usize,
    status: u16,
    keep: bool,
    body: Vec<u8>,
    body_max: usize,
}

impl Default for Response {
    fn default() -> Self {
        Self::new()
    }
}

impl Response {
    /// Nothing has arrived.
    pub fn new() -> Self {
        Self::bounded(BODY_MAX)
    }

    /// The same with another bound on the body.
    pub fn bounded(body_max: usize) -> Self {
        Self {
            stage: Stage::Head,
            pending: Vec::new(),
            trailer: 0,
            status: 0,
            keep: true,
            body: Vec::new(),
            body_max,
        }
    }

    /// Takes bytes and says how many belong to this answer. After an error the connection is of no use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, HttpError> {
        let mut used = 0;
        while self.stage != Stage::Done && used < bytes.len() {
            used += self.step(&bytes[used..])?;
        }
        Ok(used)
    }

    /// Whether all of it has arrived.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// The status, once the head has arrived.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the connection may be used again.
    pub fn keeps(&self) -> bool {
        self.keep
    }

    /// The body as far as it has arrived.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, HttpError> {
        match self.stage {
            Stage::Head => {
                let used = self.gather(bytes, b"\r\n\r\n", HEAD_MAX, "the head is longer than 4096 bytes")?;
                if self.pending.ends_with(b"\r\n\r\n") {
                    let head = core::mem::take(&mut self.pending);
                    self.stage = self.head(&head)?;
                }
                Ok(used)
            }
            Stage::Length(missing) | Stage::Chunk(missing) => {
                let used = missing.min(bytes.len());
                self.body.extend_from_slice(&bytes[..used]);
                self.stage = match self.stage {
                    Stage::Length(_) if used == missing => Stage::Done,
                    Stage::Length(_) => Stage::Length(missing - used),
                    _ if used == missing => Stage::ChunkEnd,
                    _ => Stage::Chunk(missing - used),
                };
                Ok(used)
            }
            Stage::Size => {
                let used = self.gather(bytes, b"\r\n", CHUNK_LINE_MAX, "the size of a chunk is too long")?;
                if self.pending.ends_with(b"\r\n") {
                    let line = core::mem::take(&mut self.pending);
                    self.stage = match chunk_size(&line[..line.len() - 2])? {
                        0 => Stage::Trailer,
                        size if size > self.body_max - self.body.len() => {
                            return Err(HttpError("the body is longer than allowed"));
                        }
                        size => Stage::Chunk(size),
                    };
                }
                Ok(used)
            }
            Stage::ChunkEnd => {
                let used = self.gather(bytes, b"\r\n", 2, "a chunk does not end where it should")?;
                if self.pending == b"\r\n" {
                    self.pending.clear();
                    self.stage = Stage::Size;
                }
                Ok(used)
            }
            Stage::Trailer => {
                let bound = HEAD_MAX - self.trailer;
                let used = self.gather(bytes, b"\r\n", bound, "the trailer is longer than 4096 bytes")?;
                if self.pending == b"\r\n" {
                    self.stage = Stage::Done;
                } else if self.pending.ends_with(b"\r\n") {
                    self.trailer += self.pending.len();
                    self.pending.clear();
                }
                Ok(used)
            }
            Stage::Done => Ok(0),
        }
    }

    /// Gathers bytes until `end` stands at their end; never more than `bound`.
    fn gather(
        &mut self,
        bytes: &[u8],
        end: &[u8],
        bound: usize,
        long: &'static str,
    ) -> Result<usize, HttpError> {
        for (used, byte) in bytes.iter().enumerate() {
            if self.pending.len() == bound {
                return Err(HttpError(long));
            }
            self.pending.push(*byte);
            if self.pending.ends_with(end) {
                return Ok(used + 1);
            }
        }
        Ok(bytes.len())
    }

    fn head(&mut self, head: &[u8]) -> Result<Stage, HttpError> {
        let text = core::str::from_utf8(head).map_err(|_| HttpError("the head is no text"))?;
        let text = text.strip_suffix("\r\n\r\n").unwrap_or(text);
        if text.bytes().any(|byte| byte == 0 || byte == 0x7f)
            || text.split("\r\n").any(|line| line.contains(['\r', '\n']))
        {
            return Err(HttpError("the head has control characters"));
        }
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap_or("");
        let (version, rest) = status.split_at_checked(9).ok_or(HttpError("the status line is none"))?;
        self.keep = match version {
            "HTTP/1.1 " => true,
            "HTTP/1.0 " => false,
            _ => return Err(HttpError("it does not begin with HTTP/1.1")),
        };
        let code = rest.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let after = rest.as_bytes().get(3);
        self.status = match (code.and_then(|code| code.parse().ok()), after) {
            (Some(code @ 200..=599), None | Some(b' ')) => code,
            _ => return Err(HttpError("the status is none that we understand")),
        };
        let (mut length, mut chunked) = (None, false);
        for line in lines {
            // A line that begins with a space would continue the one before: RFC 9112 5.2 lets us refuse.
            let Some((name, value)) = line.split_once(':') else {
                return Err(HttpError("a header has no colon"));
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(HttpError("a header's name is none"));
            }
            let value = value.trim_matches([' ', '\t']);
            if name.eq_ignore_ascii_case("content-length") {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let value: usize =
                    value.parse().ok().filter(|_| digits).ok_or(HttpError("the length is no number"))?;
                if length.replace(value).is_some() {
                    return Err(HttpError("there are two lengths"));
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err(HttpError("the transfer encoding is not known"));
                }
                chunked = true;
            } else if name.eq_ignore_ascii_case("connection")
                && value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"))
            {
                self.keep = false;
            }
        }
        match (length, chunked) {
            _ if matches!(self.status, 204 | 304) => Ok(Stage::Done),
            (Some(_), true) => Err(HttpError("it has a length and is chunked")),
            (None, true) => Ok(Stage::Size),
            (Some(length), _) if length > self.body_max => Err(HttpError("the body is longer than allowed")),
            (Some(0), _) => Ok(Stage::Done),
            (Some(length), _) => Ok(Stage::Length(length)),
            (None, false) => Err(HttpError("it gives no length")),
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<usize, HttpError> {
    // Extensions behind a semicolon are allowed and mean nothing to us.
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
    let good = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    core::str::from_utf8(digits)
        .ok()
        .filter(|_| good)
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or(HttpError("the size of a chunk is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Response, usize), HttpError> {
        let mut response = Response::new();
        let used = response.push(text.as_bytes())?;
        Ok((response, used))
    }

    const PLAIN: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{\"a\"}";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n3;x=y\r\n{\"a\r\n2\r\n\"}\r\n0\r\nX: y\r\n\r\n";

    #[test]
    fn an_answer_is_read_however_it_is_cut() {
        for (text, keeps) in [(PLAIN, true), (CHUNKED, false)] {
            for cut in 0..text.len() {
                let mut response = Response::new();
                assert_eq!(response.push(&text.as_bytes()[..cut]), Ok(cut));
                assert!(!response.is_done());
                assert_eq!(response.push(&text.as_bytes()[cut..]), Ok(text.len() - cut));
                assert!(response.is_done());
                assert_eq!((response.status(), response.keeps()), (200, keeps));
                assert_eq!(response.body(), b"{\"a\"}");
            }
            let (response, used) = read(&alloc::format!("{text}HTTP/1.1 next")).unwrap();
            assert!(response.is_done() && used == text.len());
        }
    }

    #[test]
    fn what_is_ambiguous_or_too_long_is_refused() {
        let head = |lines: &str| alloc::format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        let long = alloc::format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(5_000));
        let chunks =
            alloc::format!("{}{}", head("transfer-encoding: chunked"), "1000\r\n".to_owned_chunk(20));
        let trailer =
            alloc::format!("{}0\r\n{}", head("transfer-encoding: chunked"), "a: b\r\n".repeat(1_000));
        for text in [
            &*head("content-length: 5\r\ncontent-length: 5"),
            &head("content-length: 5\r\ntransfer-encoding: chunked"),
            &head("content-length: +5"),
            &head("content-length: 99999"),
            &head("content-length: 99999999999999999999999"),
            &head("content-length:"),
            &head("transfer-encoding: gzip, chunked"),
            &head("x: y"),
            &head("x: y\r\n z: continued\r\ncontent-length: 1"),
            &head("x y"),
            &head(": y\r\ncontent-length: 1"),
            &head("x : y\r\ncontent-length: 1"),
            &head("x: y\rcontent-length: 1"),
            &head("x: \0y\r\ncontent-length: 1"),
            "HTTP/2 200 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 20 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 2000 OK\r\ncontent-length: 1\r\n\r\n",
            "é\r\n\r\n",
            "\r\n\r\n",
            &alloc::format!("{}x\r\n", head("transfer-encoding: chunked")),
            &alloc::format!("{}\r\n", head("transfer-encoding: chunked")),
            &alloc::format!("{}ffffffffff\r\n", head("transfer-encoding: chunked")),
            &alloc::format!("{}1\r\nab\r\n", head("transfer-encoding: chunked")),
            &long,
            &chunks,
            &trailer,
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    trait Chunks {
        fn to_owned_chunk(&self, times: usize) -> String;
    }

    impl Chunks for str {
        /// So many chunks of 4096 bytes each.
        fn to_owned_chunk(&self, times: usize) -> String {
            alloc::format!("{self}{}\r\n", "z".repeat(4096)).repeat(times)
        }
    }

    #[test]
    fn mutated_answers_never_break_the_reader() {
        let mut random = crate::json::tests::Random(9);
        let mut done = 0;
        for turn in 0..20_000 {
            let Some(text) = random.mutate(if turn % 2 == 0 { PLAIN } else { CHUNKED }) else { continue };
            if let Ok((response, used)) = read(&text) {
                assert!(used <= text.len() && response.body().len() <= BODY_MAX);
                done += u32::from(response.is_done());
            }
        }
        assert!(done > 1_000, "{done}");
    }

    #[test]
    fn addresses_are_read_and_requests_written() {
        let url = Url::parse("http://10.0.2.2:8080/prices").unwrap();
        let host = Host::Address(Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!((&url.host, url.secure, url.port, &*url.path), (&host, false, 8080, "/prices"));
        let named = Url::parse("https://API.Example.org/x?y=1").unwrap();
        assert_eq!((named.secure, named.port), (true, 443));
        assert_eq!(named.host, Host::Name("api.example.org".into()));
        assert!(get(&named, None).starts_with(b"GET /x?y=1 HTTP/1.1\r\nHost: api.example.org:443\r\n"));
        assert!(Url::parse("https://10.0.2.2:8443/").unwrap().secure);
        assert_eq!(Url::parse("http://localhost/").unwrap().host, Host::Name("localhost".into()));
        assert_eq!(Url::parse("http://10.0.2.2").map(|url| (url.port, url.path)), Ok((80, "/".into())));
        let request = String::from_utf8(get(&url, Some(3))).unwrap();
        assert!(request.starts_with("GET /prices?generation=3 HTTP/1.1\r\nHost: 10.0.2.2:8080\r\n"));
        assert!(request.ends_with("\r\n\r\n"));
        assert!(get(&url, None).starts_with(b"GET /prices HTTP/1.1\r\n"));
        for text in [
            "",
            "10.0.2.2",
            "ftp://10.0.2.2/",
            "https:///",
            "https://a..b/",
            "https://-a.b/",
            "https://a_b/",
            "https://user@host/",
            "https://10.0.2/",
            "https://10.0.2.256/",
            "https://[::1]/",
            "http://10.0.2.2:0/",
            "http://10.0.2.2:x/",
            "http://10.0.2.2:+8/",
            "http://10.0.2.2:99999/",
            "http://10.0.2.2/a b",
            "http://10.0.2.2/\r\nx",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
