//! A cache with one client and no stack: what tests, the fuzzer and the instruction counter drive.

pub mod cores;
pub mod lines;

use crate::{Config, Kv};
use alloc::vec::Vec;
use nom_stack::application::{Application, Ended};
use nom_stack::scripted::Link;

/// A cache and its only client.
#[derive(Debug)]
pub struct Script {
    /// The cache.
    pub kv: Kv,
    /// The connection.
    pub link: Link,
    /// What the client sent and the cache has not consumed.
    waiting: Vec<u8>,
    /// Everything that the client received.
    pub output: Vec<u8>,
}

impl Script {
    /// Opens a connection to a new cache. `room` bounds what may be queued towards the client; at least
    /// 2048, the room that the longest reply needs.
    pub fn new(config: Config, room: usize) -> Self {
        let mut link = Link::new(config.start_ns, room.max(2048));
        let mut kv = Kv::new(config);
        kv.opened(&mut link, 11211, false);
        Self { kv, link, waiting: Vec::new(), output: Vec::new() }
    }

    /// The client sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.offer();
    }

    /// Sends pieces of the queue to the client: at most so many, oldest first. Pinned memory is read only now.
    pub fn deliver(&mut self, pieces: usize) {
        if self.link.deliver(&mut self.kv, pieces, &mut self.output) {
            self.kv.writable(&mut self.link);
            self.offer();
        }
    }

    fn offer(&mut self) {
        if !self.waiting.is_empty() {
            let consumed = self.kv.received(&mut self.link, &self.waiting);
            self.waiting.drain(..consumed);
        }
    }

    /// Delivers until nothing is queued any more.
    pub fn settle(&mut self) {
        while !self.link.is_settled() {
            self.deliver(usize::MAX);
        }
    }

    /// The client sends no more, reads everything, and the connection ends.
    pub fn finish(mut self) -> (Vec<u8>, Kv) {
        self.kv.finished(&mut self.link);
        self.settle();
        assert!(self.link.closed, "a finished connection is closed");
        self.kv.ended(self.link.id, Ended::Closed);
        (self.output, self.kv)
    }

    /// The connection breaks with everything queued.
    pub fn reset(mut self) -> Kv {
        self.kv.ended(self.link.id, Ended::Reset);
        self.link.lose(&mut self.kv);
        self.kv
    }
}

/// Takes arbitrary bytes as how to cut and deliver (the first 16) and as what the client sends (the rest). The
/// answers must not depend on the former, and nothing may be left behind.
pub fn fuzz(data: &[u8]) {
    let Some((plan, input)) = data.split_first_chunk::<16>() else { return };
    let config = Config { item_bytes_max: 4096, ..Config::new(32 << 10, [7; 16], 0) };
    let mut whole = Script::new(config.clone(), usize::MAX);
    whole.send(input);
    let counts = (whole.link.accepted, whole.link.refused);
    let (expected, _) = whole.finish();

    // With eviction in play, memory pinned by a slow reader changes who is evicted, so the cut run reads at once.
    let mut cut = Script::new(config, 2048);
    let mut rest = input;
    let mut turn = 0;
    while !rest.is_empty() {
        let len = (usize::from(plan[turn % 16]) + 1).min(rest.len());
        cut.send(&rest[..len]);
        cut.settle();
        rest = &rest[len..];
        turn += 1;
    }
    assert_eq!((cut.link.accepted, cut.link.refused), counts, "operations depend on how bytes were cut");
    let (output, kv) = cut.finish();
    assert_eq!(
        without_bytes_read(&output),
        without_bytes_read(&expected),
        "answers depend on how bytes were cut"
    );
    assert_eq!(kv.store().counts().pins, 0, "pins were left behind");
}

/// Answers without the one line of `stats` that says how far the server has read when it is asked: with the same
/// input that depends on how it arrives, there as in memcached.
fn without_bytes_read(answers: &[u8]) -> Vec<&[u8]> {
    answers
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"STAT bytes_read "))
        .collect()
}
