//! The content that is served: what lies under which path, in which codings, ready to be sent.
//!
//! Everything that can be decided before a request comes is decided when content is put here: its tag, and the bytes of the
//! usual answer's head, small content included. Content that is replaced stays until the last answer that
//! holds it has been read by the device; so an answer never mixes two versions.

use crate::coding::{CODINGS, Coding, Codings};
use crate::date;
use crate::media;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

mod pressed;

/// Most paths.
pub const PATHS_MAX: usize = 100_000;
/// Most bytes of one content: its place and offset fit into the name of a pin.
pub const CONTENT_MAX: usize = 1 << 32;
/// Content up to this size stands in one piece with its head and is copied; larger one is sent from its place.
pub const INLINE_MAX: usize = 1024;
/// What begins every head with the time in it.
const BEGIN: &[u8] = b"HTTP/1.1 200 OK\r\nDate: ";

/// What is put under a path.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// The content.
    pub plain: Cow<'static, [u8]>,
    /// The same compressed by gzip, when there is such a file beside it.
    pub gzip: Option<Cow<'static, [u8]>>,
    /// The same compressed by Brotli.
    pub brotli: Option<Cow<'static, [u8]>>,
    /// When it changed last, in seconds since 1970; 0 when not known.
    pub modified_s: u64,
}

/// Why content is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// More than [`PATHS_MAX`].
    TooMany,
    /// There is no room for so many bytes.
    NoRoom(usize),
    /// The path does not begin with a slash, or has parts that no request can name.
    Path,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {PATHS_MAX} files"),
            Self::NoRoom(bytes) => write!(f, "no room for its {bytes} bytes; raise memory.items"),
            Self::Path => f.write_str("no request can name its path"),
        }
    }
}

/// One content in one coding.
#[derive(Debug)]
pub(crate) struct Variant {
    pub body: Cow<'static, [u8]>,
    /// With its quotes.
    pub etag: Box<[u8]>,
    pub modified_s: u64,
    pub media: &'static str,
    pub coding: Coding,
    /// What is only recommended is left out of answers.
    lean: bool,
    /// There are others under the same path.
    pub varies: bool,
    /// The usual answer as it goes out: head, and the content where that is small.
    answer: Box<[u8]>,
    head_len: usize,
    /// The second that stands in it.
    dated_s: u64,
    /// Answers and pins that hold it, and one more while it lies under its path.
    holds: u32,
    /// How hard it was pressed here; none for what was put here as it is.
    made: Option<usize>,
    /// It may become smaller.
    presses: bool,
    /// How often it was sent to somebody who would have taken it smaller.
    sent: u64,
}

impl Variant {
    /// The head of the usual answer without the empty line at its end.
    pub(crate) fn open_head(&self) -> &[u8] {
        &self.answer[..self.head_len - 2]
    }

    /// The usual answer, with or without what stands in one piece with the head.
    pub(crate) fn answer(&self, content: bool) -> &[u8] {
        if content { &self.answer } else { &self.answer[..self.head_len] }
    }

    /// Whether the content stands in one piece with the head.
    pub(crate) fn is_inline(&self) -> bool {
        self.answer.len() - self.head_len == self.body.len()
    }

    /// When it changed, where answers tell that.
    pub(crate) fn told_modified_s(&self) -> Option<u64> {
        (!self.lean && self.modified_s > 0).then_some(self.modified_s)
    }

    pub(crate) fn len(&self) -> u64 {
        self.body.len() as u64
    }

    /// Bytes of the usual answer.
    fn answer_len(&self) -> usize {
        self.head_len + self.body.len()
    }

    /// Writes the time into the head.
    #[inline]
    fn date(&mut self, now_s: u64) {
        if self.dated_s != now_s && self.dated_s != 0 {
            self.dated_s = now_s;
            self.answer[BEGIN.len()..BEGIN.len() + date::LEN].copy_from_slice(&date::written(now_s));
        }
    }
}

/// Names a [`Variant`]; the low bits of a pin's token.
pub(crate) type Slot = u32;

/// What lies under one path, by [`Coding`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub slots: [Option<Slot>; 3],
}

impl Entry {
    /// The coding that the client takes most gladly; the smallest of equals. None when it takes none of them.
    #[inline]
    pub(crate) fn choose(&self, codings: &Codings) -> Option<Slot> {
        if codings.is_plain() {
            return self.slots[Coding::Identity as usize];
        }
        let mut best = (0, None);
        for coding in CODINGS {
            let weight = codings.weight(coding);
            if let Some(slot) = self.slots[coding as usize]
                && weight > best.0
            {
                best = (weight, Some(slot));
            }
        }
        best.1
    }
}

/// All content.
#[derive(Debug)]
pub struct Site {
    paths: BTreeMap<Box<[u8]>, Entry>,
    variants: Vec<Option<Variant>>,
    free: Vec<Slot>,
    bytes: usize,
    bytes_max: usize,
    /// Fields that the standard only recommends are left out.
    lean: bool,
    /// The time is known, so that answers carry it.
    dated: bool,
    inline_max: usize,
    /// Bytes of what was pressed here.
    made_bytes: usize,
    /// Where the search for what may be pressed goes on.
    looked: usize,
    /// Another number whenever something under a path is other than before.
    pub(crate) generation: u64,
    /// What is posted there is sent back.
    pub(crate) mirror: Option<Box<[u8]>>,
}

/// What the head of a content says beside its length and tag.
struct Outline {
    coding: Coding,
    media: &'static str,
    modified_s: u64,
    varies: bool,
}

impl Site {
    /// Nothing yet. `dated` says whether the time is known.
    pub fn new(bytes_max: usize, lean: bool, dated: bool, inline_max: usize) -> Self {
        Self {
            paths: BTreeMap::new(),
            variants: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            bytes_max,
            lean,
            dated,
            inline_max: inline_max.min(INLINE_MAX),
            made_bytes: 0,
            looked: 0,
            generation: 0,
            mirror: None,
        }
    }

    /// Puts content under a path, or other content in its place.
    pub fn put(&mut self, path: &str, file: File) -> Result<(), Refused> {
        if !is_nameable(path) {
            return Err(Refused::Path);
        }
        let presses = file.gzip.is_none() && pressed::presses(&file.plain, path);
        let bodies = [Some(file.plain), file.gzip, file.brotli];
        let bytes: usize = bodies.iter().flatten().map(|body| body.len()).sum();
        let place = self.paths.get(path.as_bytes()).copied();
        if place.is_none() && self.paths.len() == PATHS_MAX {
            return Err(Refused::TooMany);
        }
        // What it replaces may be held for long, and counts as long as it is.
        let fits = self.bytes.checked_add(bytes).is_some_and(|sum| sum <= self.bytes_max);
        if !fits || bodies.iter().flatten().any(|body| body.len() >= CONTENT_MAX) {
            return Err(Refused::NoRoom(bytes));
        }
        let varies = bodies.iter().flatten().count() > 1;
        let media = media::of(path.as_bytes());
        let mut slots = [None; 3];
        for (place, body) in bodies.into_iter().enumerate() {
            let Some(body) = body else { continue };
            let coding = [Coding::Identity, Coding::Gzip, Coding::Brotli][place];
            let slot = self.store(body, Outline { coding, media, modified_s: file.modified_s, varies });
            slots[place] = Some(slot);
            if let Some(variant) = &mut self.variants[slot as usize] {
                variant.presses = presses && coding == Coding::Identity;
            }
        }
        self.paths.insert(path.as_bytes().into(), Entry { slots });
        self.generation += 1;
        if let Some(old) = place {
            self.leave(old);
        }
        Ok(())
    }

    /// Takes content away. False when there was none.
    pub fn remove(&mut self, path: &str) -> bool {
        let old = self.paths.remove(path.as_bytes());
        self.generation += 1;
        if let Some(old) = old {
            self.leave(old);
        }
        old.is_some()
    }

    /// How many paths there are.
    pub fn paths(&self) -> usize {
        self.paths.len()
    }

    /// Bytes of all content, with what was replaced and is still being sent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Answers and pins that hold content now.
    pub fn held(&self) -> u64 {
        let listed = self.paths.values().flat_map(|entry| entry.slots).flatten().count() as u64;
        self.variants.iter().flatten().map(|variant| u64::from(variant.holds)).sum::<u64>() - listed
    }

    #[inline]
    pub(crate) fn find(&self, path: &[u8]) -> Option<Entry> {
        self.paths.get(path).copied()
    }

    /// What lies under some path and has this tag.
    pub(crate) fn tagged(&self, etag: &[u8]) -> Option<Slot> {
        let mut all = self.paths.values().flat_map(|entry| entry.slots).flatten();
        all.find(|slot| *self.variant(*slot).etag == *etag)
    }

    /// A variant with this second in its head.
    #[inline]
    pub(crate) fn dated(&mut self, slot: Slot, now_s: u64) -> &Variant {
        let variant = self.variants[slot as usize].as_mut().expect("a slot that is named is held");
        variant.date(now_s);
        variant
    }

    #[inline]
    pub(crate) fn variant(&self, slot: Slot) -> &Variant {
        self.variants[slot as usize].as_ref().expect("a slot that is named is held")
    }

    /// Keeps a variant until [`Site::release`].
    pub(crate) fn hold(&mut self, slot: Slot) {
        self.variants[slot as usize].as_mut().expect("a slot that is named is held").holds += 1;
    }

    pub(crate) fn release(&mut self, slot: Slot) {
        let place = &mut self.variants[slot as usize];
        let variant = place.as_mut().expect("a slot that is named is held");
        variant.holds -= 1;
        if variant.holds == 0 {
            self.bytes -= variant.body.len();
            if variant.made.is_some() {
                self.made_bytes -= variant.body.len();
            }
            *place = None;
            self.free.push(slot);
        }
    }

    fn leave(&mut self, entry: Entry) {
        for slot in entry.slots.into_iter().flatten() {
            self.release(slot);
        }
    }

    fn store(&mut self, body: Cow<'static, [u8]>, outline: Outline) -> Slot {
        let etag = tag(&body);
        let (answer, head_len) = self.answer(&body, &etag, &outline);
        self.bytes += body.len();
        let Outline { coding, media, modified_s, varies } = outline;
        let variant = Variant {
            body,
            etag,
            modified_s,
            media,
            coding,
            lean: self.lean,
            varies,
            answer,
            head_len,
            dated_s: u64::from(self.dated),
            holds: 1,
            made: None,
            presses: false,
            sent: 0,
        };
        match self.free.pop() {
            Some(slot) => {
                self.variants[slot as usize] = Some(variant);
                slot
            }
            None => {
                self.variants.push(Some(variant));
                self.variants.len() as Slot - 1
            }
        }
    }

    /// The usual answer, and how long its head is.
    fn answer(&self, body: &[u8], etag: &[u8], outline: &Outline) -> (Box<[u8]>, usize) {
        let Outline { coding, media, modified_s, varies } = outline;
        let mut head: Vec<u8> = Vec::new();
        match self.dated {
            true => {
                head.extend_from_slice(BEGIN);
                head.extend_from_slice(&date::written(1));
                head.extend_from_slice(b"\r\n");
            }
            false => head.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        }
        let mut field = |name: &str, value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        field("Content-Type", media.as_bytes());
        field("Content-Length", body.len().to_string().as_bytes());
        if *coding != Coding::Identity {
            field("Content-Encoding", coding.name().as_bytes());
        }
        if *varies {
            field("Vary", b"Accept-Encoding");
        }
        field("ETag", etag);
        if !self.lean {
            if *modified_s > 0 {
                field("Last-Modified", &date::written(*modified_s));
            }
            field("Accept-Ranges", b"bytes");
        }
        head.extend_from_slice(b"\r\n");
        let head_len = head.len();
        if body.len() <= self.inline_max {
            head.extend_from_slice(body);
        }
        (head.into(), head_len)
    }
}

/// Whether a request can name this path: it begins with a slash and has no part that would be walked away.
fn is_nameable(path: &str) -> bool {
    let mut parts = path.split('/');
    path.starts_with('/')
        && parts.next() == Some("")
        && path.len() < crate::target::PATH_MAX
        && !path.contains('\0')
        && parts.all(|part| !matches!(part, "" | "." | ".."))
}

/// A strong tag: 64 bits of the content's hash. Whoever owns the content decides what lies here, so nobody gains from two
/// contents with one tag.
fn tag(body: &[u8]) -> Box<[u8]> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let mixed = u128::from(hash ^ word) * u128::from(MULTIPLIER);
        (mixed as u64) ^ (mixed >> 64) as u64 ^ MULTIPLIER.rotate_left(17)
    };
    let (words, rest) = body.as_chunks::<8>();
    let mut hash =
        words.iter().fold(body.len() as u64 ^ MULTIPLIER, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    for byte in rest {
        hash = mix(hash, u64::from(*byte) + 1);
    }
    let mut text = String::from("\"");
    for place in 0..11 {
        text.push(char::from(ALPHABET[(hash >> (place * 6)) as usize & 63]));
    }
    text.push('"');
    text.into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { plain: text.as_bytes().to_vec().into(), ..File::default() }
    }

    #[test]
    fn what_is_held_stays_until_it_is_released() {
        let mut site = Site::new(100, true, true, 1024);
        site.put("/a", file("one")).unwrap();
        let slot = site.find(b"/a").unwrap().slots[0].unwrap();
        site.hold(slot);
        site.put("/a", file("three")).unwrap();
        assert_eq!((&site.variant(slot).body[..], site.bytes(), site.held()), (&b"one"[..], 8, 1));
        site.release(slot);
        assert_eq!((site.bytes(), site.held()), (5, 0));
        assert!(site.remove("/a") && !site.remove("/a"));
        assert_eq!((site.bytes(), site.paths(), site.variants.len()), (0, 0, 2));
    }

    #[test]
    fn limits_and_paths_are_checked_and_change_nothing() {
        let mut site = Site::new(10, true, true, 1024);
        site.put("/a", file("12345")).unwrap();
        assert_eq!(site.put("/a", file("123456")), Err(Refused::NoRoom(6)));
        assert_eq!(&site.variant(site.find(b"/a").unwrap().slots[0].unwrap()).body[..], b"12345");
        for path in ["", "a", "/a/../b", "/a//b", "/.", "/a/", "/\0"] {
            assert_eq!(site.put(path, file("")), Err(Refused::Path), "{path:?}");
        }
    }

    #[test]
    fn tags_follow_the_content() {
        let all: Vec<_> = [&b""[..], b"\0", b"\0\0", b"12345678", b"123456789", b"12345679"].map(tag).into();
        for (place, one) in all.iter().enumerate() {
            assert!(one.len() == 13 && all[place + 1..].iter().all(|other| other != one));
        }
        assert_eq!(tag(b"same"), tag(&b"same, cut off"[..4]));
    }
}
