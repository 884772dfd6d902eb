//! From the target of a request to the path under which content lies.

use crate::text::hexadecimal;

/// Longest path, decoded.
pub const PATH_MAX: usize = 1024;

/// A path that was decoded and has no dots to walk along: `/a/b` or `/a/`.
#[derive(Debug, Clone)]
pub struct Path {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Path {
    /// Room for one.
    pub(crate) fn new() -> Self {
        Self { bytes: [0; PATH_MAX], len: 0 }
    }

    /// The path.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Takes the path of a target in its origin form; what follows `?` does not matter. False when it is none, leads
    /// above the root or is too long.
    pub(crate) fn take(&mut self, target: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(..target.len()).filter(|_| is_plain(target)) else {
            return self.take_slowly(target);
        };
        place.copy_from_slice(target);
        self.len = target.len();
        true
    }

    fn take_slowly(&mut self, target: &[u8]) -> bool {
        self.len = 0;
        let mut rest = target;
        while let [byte, behind @ ..] = rest {
            let byte = match byte {
                b'?' => break,
                b'#' => return false,
                b'%' => {
                    let [high, low, after @ ..] = behind else { return false };
                    let (Some(high), Some(low)) = (hexadecimal(*high), hexadecimal(*low)) else {
                        return false;
                    };
                    rest = after;
                    high << 4 | low
                }
                byte => {
                    rest = behind;
                    *byte
                }
            };
            if byte == 0 || self.len == PATH_MAX {
                return false;
            }
            // A slash may end a segment that is dots.
            if byte == b'/' && !self.walk() {
                return false;
            }
            if byte == b'/' && self.bytes().ends_with(b"/") {
                continue;
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        self.walk() && self.bytes().first() == Some(&b'/')
    }

    /// Appends to it. False when that is too long; nothing has changed then.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        let Some(place) = self.bytes.get_mut(self.len..end) else { return false };
        place.copy_from_slice(bytes);
        self.len = end;
        true
    }

    /// Keeps its beginning.
    pub(crate) fn cut(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Resolves the last segment when it is `.` or `..`.
    fn walk(&mut self) -> bool {
        let bytes = &self.bytes[..self.len];
        if bytes.ends_with(b"/.") {
            self.len -= 1;
        } else if bytes.ends_with(b"/..") {
            let parent = bytes[..self.len - 3].iter().rposition(|byte| *byte == b'/');
            match parent {
                Some(place) => self.len = place + 1,
                None => return false,
            }
        }
        true
    }
}

/// Bytes that stand for themselves in a path.
const PLAIN: [bool; 256] = {
    let mut table = [true; 256];
    table[0] = false;
    table[b'%' as usize] = false;
    table[b'?' as usize] = false;
    table[b'#' as usize] = false;
    table
};

/// Whether a target is its path, letter by letter: most are. Segments that may be dots, or nothing, are looked at closely.
fn is_plain(target: &[u8]) -> bool {
    let mut before = 0;
    for byte in target {
        if !PLAIN[usize::from(*byte)] || before == b'/' && matches!(byte, b'/' | b'.') {
            return false;
        }
        before = *byte;
    }
    target.first() == Some(&b'/')
}

/// Bytes of a host's name or address.
const NAMED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'
                | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        byte += 1;
    }
    table
};

/// The part of a target that names a path here, or nothing when its form is not one that we serve (RFC 9112, 3.2): a path,
/// or an absolute one with scheme and authority.
pub(crate) fn origin_form(target: &[u8]) -> Option<&[u8]> {
    if target.first() == Some(&b'/') {
        return Some(target);
    }
    match absolute_form(target)? {
        (_, path @ [b'/', ..]) => Some(path),
        _ => Some(b"/"),
    }
}

/// The authority that an absolute target names, and what is behind it.
pub(crate) fn absolute_form(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = target.iter().position(|byte| *byte == b':')?;
    let known = [&b"http"[..], b"https"].iter().any(|scheme| target[..colon].eq_ignore_ascii_case(scheme));
    let rest = target[colon + 1..].strip_prefix(b"//").filter(|_| known)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    (end > 0 && is_authority(&rest[..end])).then(|| rest.split_at(end))
}

/// Whether this may be a host with a port: what stands in `Host` (RFC 9110, 7.2). It may be empty.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes {
        [b'[', inner @ ..] => {
            let Some(end) = inner.iter().position(|byte| *byte == b']') else { return false };
            let good = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if end == 0 || !inner[..end].iter().all(good) {
                return false;
            }
            (&b"x"[..], &inner[end + 1..])
        }
        _ => {
            let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
            bytes.split_at(end)
        }
    };
    let named = |byte: &u8| NAMED[usize::from(*byte)];
    let numbered = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    numbered && host.iter().all(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn path(target: &str) -> Option<String> {
        let mut path = Path::new();
        let form = origin_form(target.as_bytes())?;
        path.take(form).then(|| String::from_utf8_lossy(path.bytes()).into_owned())
    }

    #[test]
    fn paths_are_decoded_and_walked() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b.html?x=/../..", "/a/b.html"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/%61%2fb", "/a/b"),
            ("/a%2f..%2fb", "/b"),
            ("//a///b", "/a/b"),
            ("/...", "/..."),
            ("/a..", "/a.."),
            ("/%20", "/ "),
            ("http://host:80/a", "/a"),
            ("HTTPS://host", "/"),
            ("http://host?x", "/"),
        ] {
            assert_eq!(path(target).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn plain_paths_are_those_that_the_long_way_finds() {
        let letters = b"/.a%?#0";
        let mut targets = std::vec![std::vec::Vec::new()];
        for _ in 0..5 {
            let longer = targets.iter().flat_map(|target: &std::vec::Vec<u8>| {
                letters.iter().map(move |letter| [&target[..], &[*letter]].concat())
            });
            targets = longer.chain([std::vec::Vec::new()]).collect();
            for target in &targets {
                let (mut path, mut slow) = (Path::new(), Path::new());
                let taken = path.take(target);
                assert_eq!(taken, slow.take_slowly(target), "{target:?}");
                assert!(!taken || path.bytes() == slow.bytes(), "{target:?}");
            }
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for target in [
            "",
            "*",
            "a",
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/a#b",
            "ftp://host/",
            "http:///a",
            "http://ho st/",
            "host:80",
        ] {
            assert_eq!(path(target), None, "{target}");
        }
        assert_eq!(path(&(String::from("/") + &"a".repeat(PATH_MAX))), None);
        assert!(path(&(String::from("/") + &"a".repeat(PATH_MAX - 1))).is_some());
    }

    #[test]
    fn hosts() {
        for good in ["", "a", "a.b-c:80", "127.0.0.1:8080", "[::1]:80", "[::1]", "a:"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in
            ["a b", "a/b", "a@b", "a:b", "a:1:2", "[", "[]", "[g]", "[::1]a", "a?", "a:123456", "\"a\""]
        {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
