//! A cache with one client and no stack: what tests, the fuzzer and the instruction counter drive.

pub mod cores;
pub mod lines;

use crate::{Config, Kv};
use alloc::vec::Vec;
use nom_stack::scripted::{self, Link};

/// A cache and its only client.
pub type Script = scripted::Script<Kv>;

/// Opens a connection to a new cache. `room` bounds what may be queued towards the client; at least
/// 2048, the room that the longest reply needs.
pub fn open(config: Config, room: usize) -> Script {
    let link = Link::new(config.start_ns, room.max(2048));
    Script::new(Kv::new(config), 11211, link)
}

/// Takes arbitrary bytes as how to cut and deliver (the first 16) and as what the client sends (the rest). The
/// answers must not depend on the former, and nothing may be left behind.
pub fn fuzz(data: &[u8]) {
    let Some((plan, input)) = data.split_first_chunk::<16>() else { return };
    let config = Config { item_bytes_max: 4096, ..Config::new(32 << 10, [7; 16], 0) };
    let mut whole = open(config.clone(), usize::MAX);
    whole.send(input);
    let counts = (whole.link.accepted, whole.link.refused);
    let (expected, _) = whole.finish();

    // With eviction in play, memory pinned by a slow reader changes who is evicted, so the cut run reads at once.
    let mut cut = open(config, 2048);
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
