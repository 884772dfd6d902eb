//! A server with one client and no stack: what tests, the fuzzer and the instruction counter drive.

use crate::server::{Config, Httpd};
use crate::site::File;
use alloc::vec::Vec;
use nom_stack::scripted::{self, Link};

/// A server and its only client.
pub type Script = scripted::Script<Httpd>;

/// Opens a connection to a server. `room` bounds what may be queued towards the client; at least 4096, the room that
/// the longest head needs.
pub fn open(httpd: Httpd, now_ns: u64, room: usize) -> Script {
    Script::new(httpd, 80, Link::new(now_ns, room.max(4096)))
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
    let mut whole = open(example(0), 0, usize::MAX);
    whole.send(input);
    let counts = (whole.link.accepted, whole.link.refused);
    let (expected, httpd) = whole.finish();
    assert_eq!(httpd.site().held(), 0, "content is held by nobody");

    let room = 4096 << (plan[0] % 8);
    let mut cut = open(example(0), 0, room);
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

    let mut broken = open(example(0), 0, room);
    broken.send(&input[..input.len() * usize::from(plan[1]) / 256]);
    broken.deliver(usize::from(plan[2]));
    assert_eq!(broken.reset().site().held(), 0, "content is held by nobody");
}
