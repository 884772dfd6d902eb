//! Content is compressed by gzip (RFC 1952), a piece at a time, so that requests never wait for more than one piece.
//!
//! Whether that pays is not decided here: [`Compressible`] tells what was asked for, and is told what to do. One content
//! is pressed at a time; what is made counts with the site's content and may take a quarter of its memory.

use crate::server::Httpd;
use crate::site::Slot;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use nom_stack::application::{Compressible, EFFORTS, Pressed, Wish};

/// Deflate's levels. Beyond the last one twice the time brings a thousandth of the bytes.
const LEVELS: [i32; EFFORTS] = [1, 3, 6];
/// Bytes that are pressed in one piece: some tenths of a millisecond.
const PIECE: usize = 4 << 10;
/// Raw deflate: gzip has a head and a tail of its own.
const RAW: i32 = -15;
/// Deflate, no name, no time, of an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The press, and what lies in it.
#[derive(Debug, Default)]
pub(crate) struct Press(Option<Job>);

struct Job {
    /// The content as it is, which is held.
    plain: Slot,
    effort: usize,
    /// Bytes that were pressed.
    at: usize,
    checksum: u32,
    out: Vec<u8>,
    /// Tables of some hundred KiB.
    compressor: Box<CompressorOxide>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("plain", &self.plain).field("at", &self.at).finish_non_exhaustive()
    }
}

/// What a piece came to.
enum Piece {
    More,
    /// It was the last one.
    Done,
    /// It grows.
    Useless,
}

impl Job {
    fn new(plain: Slot, effort: usize) -> Self {
        let flags = create_comp_flags_from_zip_params(LEVELS[effort], RAW, 0);
        let compressor = Box::new(CompressorOxide::new(flags));
        Self { plain, effort, at: 0, checksum: !0, out: HEAD.to_vec(), compressor }
    }

    fn piece(&mut self, body: &[u8]) -> Piece {
        let rest = &body[self.at..];
        let piece = &rest[..rest.len().min(PIECE)];
        let last = piece.len() == rest.len();
        let flush = if last { TDEFLFlush::Finish } else { TDEFLFlush::None };
        let out = &mut self.out;
        let (status, read) = compress_to_output(&mut self.compressor, piece, flush, |bytes| {
            out.extend_from_slice(bytes);
            out.len() < body.len()
        });
        self.checksum = checksum(self.checksum, &piece[..read]);
        self.at += read;
        match status {
            TDEFLStatus::Done => {
                self.out.extend_from_slice(&(!self.checksum).to_le_bytes());
                self.out.extend_from_slice(&(body.len() as u32).to_le_bytes());
                Piece::Done
            }
            TDEFLStatus::Okay if read > 0 => Piece::More,
            _ => Piece::Useless,
        }
    }
}

/// The checksum of gzip (RFC 1952, 8), begun with all ones and inverted at the end.
fn checksum(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8))
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut place = 0;
    while place < 256 {
        let mut sum = place as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[place] = sum;
        place += 1;
    }
    table
};

impl Httpd {
    /// Presses everything that becomes smaller, as hard as can be, at once: for a start before anybody asks.
    pub fn press_all(&mut self) {
        for plain in self.site.all_that_press() {
            self.press = Press(Some(self.job(plain, EFFORTS - 1)));
            while self.is_pressing() {
                self.go_on();
            }
        }
    }

    fn job(&mut self, plain: Slot, effort: usize) -> Job {
        self.site.hold(plain);
        Job::new(plain, effort)
    }
}

impl Compressible for Httpd {
    fn wish(&mut self) -> Option<Wish> {
        self.site.wish()
    }

    fn press(&mut self, content: u32, effort: usize) -> bool {
        match self.site.plain_of(content) {
            Some(plain) if !self.is_pressing() && effort < EFFORTS => {
                self.press = Press(Some(self.job(plain, effort)));
                true
            }
            _ => false,
        }
    }

    fn is_pressing(&self) -> bool {
        self.press.0.is_some()
    }

    fn go_on(&mut self) -> Option<Pressed> {
        let job = self.press.0.as_mut()?;
        let useful = match job.piece(&self.site.variant(job.plain).body) {
            Piece::More => return None,
            Piece::Done => true,
            Piece::Useless => false,
        };
        let Job { plain, effort, out, .. } = self.press.0.take()?;
        let (name, len) = (self.site.name_of(plain), self.site.variant(plain).len());
        let to = out.len() as u64;
        let kept = self.site.take_pressed(plain, useful.then_some(out), effort);
        self.site.release(plain);
        Some(Pressed { name, len, to: kept.then_some(to) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{self, Script};
    use crate::server::Config;
    use crate::site::File;
    use miniz_oxide::inflate::decompress_to_vec;
    use nom_stack::application::Application;
    use std::format;
    use std::string::String;

    fn server(files: &[(&str, Vec<u8>)], memory: usize) -> Script {
        let config = Config { presses: true, ..Config::new(memory, 0, 0) };
        let mut httpd = Httpd::new(config);
        for (path, bytes) in files {
            httpd.site_mut().put(path, File { plain: bytes.clone().into(), ..File::default() }).unwrap();
        }
        script::open(httpd, 0, usize::MAX)
    }

    fn lines(count: usize) -> Vec<u8> {
        let line = |line: usize| format!("line {line} of {}\n", line.wrapping_mul(0x9e37_79b9) % 9_973);
        (0..count).flat_map(|number| line(number).into_bytes()).collect()
    }

    /// Head and content of an answer.
    fn get(script: &mut Script, path: &str, fields: &str) -> (String, Vec<u8>) {
        script.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        script.settle();
        let answer = core::mem::take(&mut script.output);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
    }

    /// All wishes, once.
    fn wishes(httpd: &mut Httpd) -> Vec<Wish> {
        core::iter::from_fn(|| httpd.wish()).collect()
    }

    fn press(httpd: &mut Httpd, content: u32, effort: usize) -> Pressed {
        assert!(Compressible::press(httpd, content, effort));
        assert!(!Compressible::press(httpd, content, effort), "one at a time");
        core::iter::repeat_with(|| httpd.go_on()).find_map(|pressed| pressed).unwrap()
    }

    /// As RFC 1952 has it; the checksum is compared with one of a table-less kind.
    fn unpacked(gzip: &[u8]) -> Vec<u8> {
        assert_eq!(gzip[..10], HEAD);
        let (deflated, tail) = gzip[10..].split_at(gzip.len() - 18);
        let content = decompress_to_vec(deflated).unwrap();
        let sum = content.iter().fold(!0u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
        });
        assert_eq!(tail, [(!sum).to_le_bytes(), (content.len() as u32).to_le_bytes()].concat());
        content
    }

    #[test]
    fn what_is_asked_for_is_pressed_and_served_beside_the_plain_one() {
        let text = lines(5_000);
        let mut script = server(&[("/a.txt", text.clone()), ("/b.txt", lines(50))], 1 << 20);
        assert!(wishes(&mut script.app).is_empty(), "nobody asked");
        let (plain, _) = get(&mut script, "/a.txt", "");
        assert!(wishes(&mut script.app).is_empty(), "nobody would take it");
        for _ in 0..3 {
            let (head, content) = get(&mut script, "/a.txt", "Accept-Encoding: gzip, br\r\n");
            assert!(content == text && !head.contains("Vary"));
        }
        let found = wishes(&mut script.app);
        let [wish] = found[..] else { panic!("{found:?}") };
        assert_eq!((wish.len, wish.sent, wish.effort), (text.len() as u64, 3, None));

        let mut lens = Vec::from([text.len()]);
        for effort in 0..EFFORTS {
            let wish = wishes(&mut script.app)[0];
            assert_eq!(wish.effort, effort.checked_sub(1));
            let pressed = press(&mut script.app, wish.content, effort);
            let (head, content) = get(&mut script, "/a.txt", "Accept-Encoding: gzip\r\n");
            assert!(head.contains("Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"), "{head}");
            assert_eq!(unpacked(&content), text);
            assert_eq!((pressed.name.as_str(), pressed.to), ("/a.txt", Some(content.len() as u64)));
            lens.push(content.len());
        }
        assert!(lens.windows(2).all(|pair| pair[1] < pair[0]), "more effort, less bytes: {lens:?}");
        assert!(wishes(&mut script.app).is_empty(), "there is nothing harder");
        let (head, content) = get(&mut script, "/a.txt", "");
        assert_eq!((head.replace("Vary: Accept-Encoding\r\n", ""), content), (plain, text.clone()));
        let site = script.app.site();
        assert_eq!((site.bytes(), site.held()), (text.len() + lines(50).len() + lens[3], 0));
        script.app.site_mut().remove("/a.txt");
        assert_eq!(script.app.site().bytes(), lines(50).len());
    }

    #[test]
    fn each_variant_has_a_tag_of_its_own_for_conditions_and_ranges() {
        let mut script = server(&[("/a.txt", lines(500))], 1 << 20);
        script.app.press_all();
        let tag =
            |head: &str| head.lines().find_map(|line| line.strip_prefix("ETag: ")).map(String::from).unwrap();
        let gzip = "Accept-Encoding: gzip\r\n";
        let (plain, pressed) = (get(&mut script, "/a.txt", ""), get(&mut script, "/a.txt", gzip));
        let (plain_tag, gzip_tag) = (tag(&plain.0), tag(&pressed.0));
        assert_ne!(plain_tag, gzip_tag);
        let status =
            |script: &mut Script, fields: &str| -> String { get(script, "/a.txt", fields).0[9..12].into() };
        assert_eq!(status(&mut script, &format!("If-None-Match: {plain_tag}\r\n")), "304");
        assert_eq!(status(&mut script, &format!("{gzip}If-None-Match: {plain_tag}\r\n")), "200");
        assert_eq!(status(&mut script, &format!("{gzip}If-None-Match: {gzip_tag}\r\n")), "304");
        let part =
            get(&mut script, "/a.txt", &format!("{gzip}Range: bytes=5-20\r\nIf-Range: {gzip_tag}\r\n"));
        assert!(
            part.0.starts_with("HTTP/1.1 206") && part.0.contains("Content-Encoding: gzip\r\n"),
            "{}",
            part.0
        );
        assert!(part.0.contains("Vary: Accept-Encoding\r\n"));
        assert_eq!(part.1, pressed.1[5..=20]);
        let other =
            get(&mut script, "/a.txt", &format!("{gzip}Range: bytes=5-20\r\nIf-Range: {plain_tag}\r\n"));
        assert_eq!((&other.0[9..12], other.1), ("200", pressed.1));
    }

    #[test]
    fn what_grows_or_finds_no_room_stays_and_is_not_tried_again() {
        // Bytes without any pattern, as of a stream cipher.
        let mut state = 1u64;
        let noise: Vec<u8> = core::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(20_000)
        .collect();
        let short = noise.iter().take(130).map(|byte| b'0' + byte % 64).collect();
        for (bytes, memory) in [(noise, 1 << 20), (lines(2_000), 40_000), (short, 1 << 20)] {
            let mut script = server(&[("/a.txt", bytes.clone())], memory);
            get(&mut script, "/a.txt", "Accept-Encoding: gzip\r\n");
            let wish = wishes(&mut script.app)[0];
            assert_eq!(press(&mut script.app, wish.content, 2).to, None);
            let (head, content) = get(&mut script, "/a.txt", "Accept-Encoding: gzip\r\n");
            assert!(content == bytes && !head.contains("gzip"), "{head}");
            assert!(wishes(&mut script.app).is_empty());
            assert_eq!((script.app.site().bytes(), script.app.site().held()), (bytes.len(), 0));
        }
    }

    #[test]
    fn content_that_changes_while_it_is_pressed_is_let_go() {
        let mut script = server(&[("/a.txt", lines(5_000))], 1 << 20);
        get(&mut script, "/a.txt", "Accept-Encoding: gzip\r\n");
        let wish = wishes(&mut script.app)[0];
        assert!(Compressible::press(&mut script.app, wish.content, 1));
        assert!(script.app.go_on().is_none());
        let other = File { plain: b"other".as_slice().into(), ..File::default() };
        script.app.site_mut().put("/a.txt", other).unwrap();
        let pressed = core::iter::repeat_with(|| script.app.go_on()).find_map(|pressed| pressed).unwrap();
        assert_eq!(pressed.to, None);
        assert_eq!(get(&mut script, "/a.txt", "Accept-Encoding: gzip\r\n").1, b"other");
        assert_eq!((script.app.site().bytes(), script.app.site().held()), (5, 0));
        assert!(!Compressible::press(&mut script.app, 999, 1), "nothing has that name");
        assert!(Httpd::new(Config::new(1, 0, 0)).compressible().is_none(), "not allowed");
    }
}
