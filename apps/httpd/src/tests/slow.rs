//! Clients that take their time, in virtual time: heads that do not end, content that does not come, answers that are not read.

use crate::script::{self, example};
use crate::server::{Config, Httpd, PIECE};
use crate::site::File;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use nom_stack::scripted::Link;
use std::format;
use std::string::String;
use std::vec::Vec;

#[test]
fn who_is_too_slow_is_cut() {
    let limits = Config::new(0, 0, 0);
    // A head that does not end.
    let mut script = script::open(example(0), 0, usize::MAX);
    script.send(b"GET / HTTP/1.1\r\nX");
    for _ in 0..limits.head_limit_s - 1 {
        script.pass(1);
        script.send(b"x");
        assert!(!script.link.closed);
    }
    script.pass(1);
    assert!(script.link.closed && script.app.tally().late == 1);
    assert!(String::from_utf8(script.finish().0).unwrap().starts_with("HTTP/1.1 408 "));
    // Content that does not come.
    let mut script = script::open(example(0), 0, usize::MAX);
    script.send(b"GET /large.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
    for _ in 0..limits.content_limit_s - 1 {
        script.pass(1);
        script.send(b"x");
        assert!(!script.link.closed);
    }
    script.pass(1);
    assert!(script.link.closed && script.app.site().held() == 0);
    // An answer that is not read.
    let mut script = script::open(example(0), 0, 4096);
    script.send(b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    script.pass(u64::from(limits.reading_limit_s) - 1);
    script.deliver(2);
    assert!(script.output.len() as u64 > PIECE);
    script.pass(u64::from(limits.reading_limit_s) - 1);
    assert!(!script.link.aborted, "it reads");
    script.pass(2);
    assert!(script.link.aborted, "it does not");
    assert_eq!(script.reset().site().held(), 0);
    // Nothing at all.
    let mut script = script::open(example(0), 0, usize::MAX);
    script.pass(u64::from(limits.idle_limit_s) - 1);
    script.send(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
    script.settle();
    script.pass(u64::from(limits.idle_limit_s) - 1);
    assert!(!script.link.closed);
    script.pass(1);
    assert!(script.link.closed && script.app.tally().idle == 1);
}

#[test]
fn who_reads_too_little_is_cut_though_nothing_is_left_to_send() {
    let limit_s = u64::from(Config::new(0, 0, 0).reading_limit_s);
    for head in ["", "Connection: close\r\n"] {
        let request = format!("GET /large.txt HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        // All of the answer lies with the stack, and nothing of it is read.
        let mut script = script::open(example(0), 0, usize::MAX);
        script.send(request.as_bytes());
        script.pass(limit_s - 1);
        assert!(!script.link.aborted);
        script.pass(1);
        assert!(script.link.aborted && script.app.tally().late == 1);
        assert_eq!(script.reset().site().held(), 0);
        // A piece in each limit is enough, for as long as it takes; then it rests, and that has a limit of its own.
        let mut script = script::open(example(0), 0, usize::MAX);
        script.send(request.as_bytes());
        for _ in 0..4 {
            script.pass(limit_s - 1);
            assert!(!script.link.aborted, "it reads");
            script.deliver(if script.output.is_empty() { 2 } else { 1 });
            script.pass(1);
        }
        assert_eq!(script.link.unacknowledged(), 0);
        assert_eq!(script.link.closed, !head.is_empty());
        script.pass(25);
        assert!(script.link.closed, "it rests too long");
        assert_eq!((script.app.tally().idle == 1, script.link.aborted), (head.is_empty(), !head.is_empty()));
    }
    // Small answers that are asked for all the time and never read.
    let mut script = script::open(example(0), 0, usize::MAX);
    for _ in 0..limit_s {
        assert!(!script.link.aborted);
        script.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        script.pass(1);
    }
    assert!(script.link.aborted, "asking is not reading");
}

#[test]
fn heads_that_do_not_end_hold_so_much_memory_and_no_more() {
    let mut httpd = Httpd::new(Config { heads_bytes: 5 * 2048, ..Config::new(1 << 20, 0, 0) });
    let file = File { plain: b"hello".as_slice().into(), ..File::default() };
    httpd.site_mut().put("/index.html", file).unwrap();
    let mut links: Vec<Link> = (0..8)
        .map(|slot| {
            let mut link = Link::new(0, usize::MAX);
            link.id = ConnectionId { slot, generation: 1 };
            httpd.opened(&mut link, 80, false);
            link
        })
        .collect();
    let now_ns = 1_000_000;
    let begin = b"GET / HTTP/1.1\r\nHost: x\r\nX: ";
    // Five fit. The third ends, and begins another one: from then on it is the youngest.
    for link in &mut links[..5] {
        assert_eq!(httpd.received(link, begin), 0);
    }
    assert_eq!(httpd.wanted(now_ns), None);
    let whole = [&begin[..], b"\r\n\r\n", begin].concat();
    assert_eq!(httpd.received(&mut links[2], &whole), begin.len() + 4);
    assert_eq!(links[2].accepted, 1);
    // The first one grows beyond a piece of memory, so it is ended itself: it began first.
    let long = [&begin[..], &[b'x'; 2048]].concat();
    httpd.received(&mut links[0], &long);
    let mut cut = Vec::new();
    let press = |httpd: &mut Httpd, links: &mut [Link], cut: &mut Vec<u32>| {
        while let Some(id) = httpd.wanted(now_ns) {
            let link = &mut links[id.slot as usize];
            httpd.writable(link);
            let mut output = Vec::new();
            link.deliver(httpd, 9, &mut output);
            assert!(output.starts_with(b"HTTP/1.1 408 ") && link.closed);
            assert_eq!(httpd.received(link, begin), begin.len(), "nothing of it is kept");
            cut.push(id.slot);
        }
    };
    press(&mut httpd, &mut links, &mut cut);
    for slot in [5, 6] {
        httpd.received(&mut links[slot], begin);
        press(&mut httpd, &mut links, &mut cut);
    }
    // Whoever is there as a whole is answered meanwhile, and who goes makes room.
    assert_eq!(httpd.received(&mut links[7], &whole[..begin.len() + 4]), begin.len() + 4);
    httpd.ended(links[3].id, Ended::Reset);
    httpd.received(&mut links[7], begin);
    press(&mut httpd, &mut links, &mut cut);
    assert_eq!(cut, [0, 1]);
    httpd.received(&mut links[7], &long);
    press(&mut httpd, &mut links, &mut cut);
    assert_eq!(cut, [0, 1, 4], "the third began anew");
    assert_eq!((httpd.tally().crowded, httpd.tally().late), (3, 3));
    for slot in [2, 5, 6, 7] {
        let mut rest = begin.to_vec();
        rest.extend_from_slice(b"\r\n\r\n");
        assert_eq!(httpd.received(&mut links[slot], &rest), rest.len());
        httpd.ended(links[slot].id, Ended::Closed);
    }
    assert_eq!(httpd.wanted(now_ns), None);
}
