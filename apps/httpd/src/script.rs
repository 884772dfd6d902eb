//! A server with one client and no stack: what tests, the fuzzer and the instruction counter drive.

use crate::server::{Config, Httpd};
use crate::site::File;
use alloc::vec::Vec;
use nom_stack::application::{Application, Ended};
use nom_stack::scripted::Link;

/// A server and its only client.
#[derive(Debug)]
pub struct Script {
    /// The server.
    pub httpd: Httpd,
    /// The connection.
    pub link: Link,
    /// What the client sent and the server has not consumed.
    waiting: Vec<u8>,
    /// Everything that the client received.
    pub output: Vec<u8>,
}

impl Script {
    /// Opens a connection to a server. `room` bounds what may be queued towards the client; at least 4096, the room that
    /// the longest head needs.
    pub fn new(httpd: Httpd, now_ns: u64, room: usize) -> Self {
        let mut httpd = httpd;
        let mut link = Link::new(now_ns, room.max(4096));
        httpd.opened(&mut link, 80, false);
        Self { httpd, link, waiting: Vec::new(), output: Vec::new() }
    }

    /// The client sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.offer();
    }

    /// Sends pieces of the queue to the client: at most so many, oldest first. Pinned memory is read only now.
    pub fn deliver(&mut self, pieces: usize) {
        if self.link.deliver(&mut self.httpd, pieces, &mut self.output) {
            self.httpd.writable(&mut self.link);
            self.offer();
        }
    }

    fn offer(&mut self) {
        if !self.waiting.is_empty() {
            let consumed = self.httpd.received(&mut self.link, &self.waiting);
            self.waiting.drain(..consumed);
        }
    }

    /// Delivers until nothing is queued any more.
    pub fn settle(&mut self) {
        while !self.link.is_settled() {
            self.deliver(usize::MAX);
        }
    }

    /// Time passes, and the server looks at its connections.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.link.now_ns += 1_000_000_000;
            if let Some(id) = self.httpd.wanted(self.link.now_ns) {
                assert_eq!(id, self.link.id, "the only connection");
                self.httpd.writable(&mut self.link);
            }
        }
    }

    /// The client sends no more, reads everything, and the connection ends.
    pub fn finish(mut self) -> (Vec<u8>, Httpd) {
        self.httpd.finished(&mut self.link);
        self.settle();
        assert!(self.link.closed, "a finished connection is closed");
        self.httpd.ended(self.link.id, Ended::Closed);
        (self.output, self.httpd)
    }

    /// The connection breaks with everything queued.
    pub fn reset(mut self) -> Httpd {
        self.httpd.ended(self.link.id, Ended::Reset);
        self.link.lose(&mut self.httpd);
        self.httpd
    }
}

/// A server with content of every kind.
pub fn example(now_ns: u64) -> Httpd {
    let mut httpd = Httpd::new(Config {
        lean: false,
        logs: true,
        ..Config::new(1 << 20, now_ns, 1_794_000_000_000_000_000)
    });
    let site = httpd.site_mut();
    let put = [
        ("/index.html", 612, false),
        ("/a/index.html", 175, false),
        ("/large.txt", 200_000, true),
        ("/empty", 0, false),
    ];
    for (path, len, coded) in put {
        let plain: Vec<u8> = (0..len).map(|at: usize| b' ' + (at * 7 % 89) as u8).collect();
        let coded = |begin: u8| coded.then(|| [&[begin][..], &plain[..len / 4]].concat().into());
        let file = File {
            gzip: coded(b'g'),
            brotli: coded(b'b'),
            plain: plain.clone().into(),
            modified_s: 1_700_000_000,
        };
        site.put(path, file).expect("there is room");
    }
    httpd
}

/// Takes arbitrary bytes as how to cut and deliver (the first 16) and as what the client sends (the rest). The
/// answers must not depend on the former, and nothing may be left behind.
pub fn fuzz(data: &[u8]) {
    let Some((plan, input)) = data.split_first_chunk::<16>() else { return };
    let mut whole = Script::new(example(0), 0, usize::MAX);
    whole.send(input);
    let counts = (whole.link.accepted, whole.link.refused);
    let (expected, httpd) = whole.finish();
    assert_eq!(httpd.site().held(), 0, "content is held by nobody");

    let room = 4096 << (plan[0] % 8);
    let mut cut = Script::new(example(0), 0, room);
    let mut rest = input;
    let mut turn = 0;
    while !rest.is_empty() {
        let step = plan[turn % 16];
        let len = (usize::from(step & 0x3f) + 1).min(rest.len());
        cut.send(&rest[..len]);
        cut.deliver(usize::from(step >> 6));
        rest = &rest[len..];
        turn += 1;
    }
    cut.settle();
    assert_eq!((cut.link.accepted, cut.link.refused), counts, "operations depend on how bytes were cut");
    let (output, httpd) = cut.finish();
    assert!(output == expected, "answers depend on how bytes were cut");
    assert_eq!(httpd.site().held(), 0, "content is held by nobody");

    let mut broken = Script::new(example(0), 0, room);
    broken.send(&input[..input.len() * usize::from(plan[1]) / 256]);
    broken.deliver(usize::from(plan[2]));
    assert_eq!(broken.reset().site().held(), 0, "content is held by nobody");
}
