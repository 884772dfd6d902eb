//! Single requests and their exact answers, and what counts as an operation.

use super::{ask, config, text};
use crate::script;
use std::string::String;
use std::vec::Vec;

#[test]
fn exact_answers() {
    let key = "k".repeat(250);
    let large = "x".repeat(300);
    for (input, output) in [
        ("get a\r\n", "END\r\n"),
        ("set a 5 0 1\r\nx\r\nget a b a\r\n", "STORED\r\nVALUE a 5 1\r\nx\r\nVALUE a 5 1\r\nx\r\nEND\r\n"),
        ("set a 5 0 1\r\nx\r\ngets a\r\n", "STORED\r\nVALUE a 5 1 1\r\nx\r\nEND\r\n"),
        ("set a 0 0 0\n\r\nget a\n", "STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n"),
        ("set a 0 0 1 noreply\r\nx\r\ndelete a\r\ndelete a\r\n", "DELETED\r\nNOT_FOUND\r\n"),
        ("set a 0 0 1\r\nabc\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
        ("set a 0 -5 1\r\nx\r\nget a\r\n", "STORED\r\nEND\r\n"),
        ("version\r\n", concat!("VERSION 1.6.18-nom-", env!("CARGO_PKG_VERSION"), "\r\n")),
        ("quit\r\nget a\r\n", ""),
        (
            "gets a\r\ncas a 0 0 1 9\r\nx\r\nset a 0 0 1\r\nx\r\ncas a 0 0 1 9\r\ny\r\ncas a 0 0 1 1\r\nz\r\nget a\r\n",
            "END\r\nNOT_FOUND\r\nSTORED\r\nEXISTS\r\nSTORED\r\nVALUE a 0 1\r\nz\r\nEND\r\n",
        ),
        (
            "append a 0 0 1\r\nx\r\nadd a 3 0 1\r\nb\r\nadd a 0 0 1\r\nx\r\nappend a 9 0 1\r\nc\r\nprepend a 9 0 1\r\na\r\nget a\r\n",
            "NOT_STORED\r\nSTORED\r\nNOT_STORED\r\nSTORED\r\nSTORED\r\nVALUE a 3 3\r\nabc\r\nEND\r\n",
        ),
        (
            "set a 0 0 2\r\n10\r\ndecr a 1\r\nget a\r\nincr a 1000\r\nincr b 1\r\nset b 0 0 1\r\nx\r\nincr b 1\r\n",
            "STORED\r\n9\r\nVALUE a 0 2\r\n9 \r\nEND\r\n1009\r\nNOT_FOUND\r\nSTORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        (
            "set a 0 0 1\r\n1\r\nincr a x\r\nincr a 18446744073709551615\r\ntouch a 5\r\ntouch b 5\r\ntouch a x\r\n",
            "STORED\r\nCLIENT_ERROR invalid numeric delta argument\r\n0\r\nTOUCHED\r\nNOT_FOUND\r\nCLIENT_ERROR invalid exptime argument\r\n",
        ),
        (
            "set a 0 0 1\r\n1\r\ngats 9 a b\r\ngat -1 a\r\nget a\r\n",
            "STORED\r\nVALUE a 0 1 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\nEND\r\n",
        ),
        (
            "set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\nset a 0 0 1\r\ny\r\nget a\r\nflush_all noreply\r\nget a\r\n",
            "STORED\r\nOK\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\ny\r\nEND\r\nEND\r\n",
        ),
        (
            "verbosity 1\r\nverbosity\r\nstats reset\r\nstats sizes\r\nstats other\r\nshutdown\r\n",
            "OK\r\nERROR\r\nRESET\r\nSTAT sizes_status disabled\r\nEND\r\nERROR\r\nERROR: shutdown not enabled\r\n",
        ),
        ("GET / HTTP/1.1\r\nget a\r\n", ""),
        (
            "ms Zm9v 2 b F7\r\nab\r\nmg Zm9v b v f k\r\nmg foo v k\r\nget foo\r\nms a 1\r\nx\r\nme a\r\nmn\r\n",
            "HD\r\nVA 2 f7 kZm9v b\r\nab\r\nVA 2 kZm9v b\r\nab\r\nVALUE foo 7 2\r\nab\r\nEND\r\nHD\r\n\
             ME a exp=-1 la=0 cas=2 fetch=no cls=1 size=40\r\nMN\r\n",
        ),
        (
            "mg a N30 t v\r\nmg a v\r\nms a 1 T0\r\nx\r\nmd a I T30\r\nmg a v c t\r\nmg a\r\nms a 1 C1 I\r\ny\r\nmg a v\r\nms a 1 C3\r\nz\r\n",
            "VA 0 t30 W\r\n\r\nVA 0 Z\r\n\r\nHD\r\nHD\r\nVA 1 c3 t30 X W\r\nx\r\nHD Z X\r\nHD\r\nVA 1 Z X\r\ny\r\nEX\r\n",
        ),
        (
            "mg a q\r\nms a 1 q\r\nx\r\nmd a q\r\nmd a q\r\nma a N0 J5 v\r\nma a q\r\nma a D10 MD v\r\nmn\r\n",
            "NF\r\nVA 1\r\n5\r\nVA 1\r\n0\r\nMN\r\n",
        ),
        ("\r\n", "ERROR\r\n"),
        (
            &std::format!("set a 0 0 1\r\nx\r\nset a 0 0 1048576\r\n{}\r\nget a\r\n", "x".repeat(1 << 20)),
            "STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n",
        ),
        (
            &std::format!("set {key} 1 0 300\r\n{large}\r\nget {key}\r\n"),
            &std::format!("STORED\r\nVALUE {key} 1 300\r\n{large}\r\nEND\r\n"),
        ),
        (&std::format!("get a {key}k a\r\n"), "CLIENT_ERROR bad command line format\r\n"),
        (&"x".repeat(2048), "CLIENT_ERROR line too long\r\n"),
        (&std::format!("{}\r\nget a\r\n", "x".repeat(3000)), "CLIENT_ERROR line too long\r\n"),
        (&std::format!("get {}", "x".repeat(3000)), "CLIENT_ERROR bad command line format\r\n"),
        (
            &std::format!("set b 0 0 1\r\ny\r\nget{} b\r\n", " none".repeat(3000)),
            "STORED\r\nVALUE b 0 1\r\ny\r\nEND\r\n",
        ),
    ] {
        assert_eq!(text(&ask(input.as_bytes()).0), output, "{}", &input[..input.len().min(80)]);
    }
}

#[test]
fn each_operation_counts_once() {
    for (input, accepted, refused) in [
        ("get a b c\r\n", 1, 0),
        ("set a 0 0 1\r\nx\r\n", 1, 0),
        ("set a 0 0 1 noreply\r\nx\r\nget a\r\n", 2, 0),
        ("set a 0 0 1 noreply\r\nxyz", 0, 1),
        ("set a 0 0 9\r\nxyz", 0, 0),
        ("delete a\r\ndelete a noreply\r\n", 2, 0),
        ("version\r\nstats\r\nquit\r\n", 0, 0),
        ("bogus\r\nget\r\n\r\n", 0, 3),
        ("add a 0 0 1\r\nx\r\nadd a 0 0 1\r\nx\r\ncas a 0 0 1 9 noreply\r\nx\r\n", 3, 0),
        ("incr a 1\r\nincr a x\r\ntouch a 1\r\ngat 5 a b c\r\n", 3, 1),
        ("mg a\r\nmg a q\r\nms a 1\r\nx\r\nmd a q\r\nma a\r\nma a !\r\nms a 1 !\r\nx\r\n", 5, 2),
        ("mn\r\nme a\r\nflush_all\r\nverbosity 1\r\n", 0, 0),
    ] {
        let mut script = script::open(config(), usize::MAX);
        script.send(input.as_bytes());
        assert_eq!((script.link.accepted, script.link.refused), (accepted, refused), "{input}");
    }
}

#[test]
fn the_short_way_and_the_long_way_answer_and_count_alike() {
    // A second space is all that it takes to be sent the long way.
    let both = |gets: &dyn Fn(&str) -> String, capacity: usize| {
        let mut script = script::open(config(), capacity);
        for len in [0, 1, 99, 128, 129, 1000] {
            script.send(std::format!("set k{len} {len} 0 {len}\r\n{}\r\n", "v".repeat(len)).as_bytes());
        }
        script.send(b"set old 0 -1 1\r\nx\r\n");
        script.settle();
        let long = "k".repeat(250);
        for key in ["k0", "k1", "none", "k99", "k128", "k129", "k1000", "old", "\u{1}", "a\tb", "\r", &long] {
            script.send(gets(key).as_bytes());
            script.deliver(1);
        }
        script.settle();
        script.output.push(b'|');
        script.send(b"stats\r\n");
        script.settle();
        let stats = text(&script.output);
        let (answers, stats) = stats.split_once('|').unwrap();
        let counted = ["cmd_get", "get_hits", "get_misses", "get_expired"];
        let counted: Vec<&str> =
            stats.lines().filter(|line| counted.iter().any(|name| line.contains(name))).collect();
        assert!(counted.len() >= 3, "{stats}");
        (String::from(answers), counted.join("\n"), script.link.accepted, script.app.store().counts())
    };
    for capacity in [usize::MAX, 2048] {
        for end in ["\r\n", "\n"] {
            let short = |key: &str| std::format!("get {key}{end}get {key}{end}");
            let long = |key: &str| std::format!("get  {key}{end}get  {key}{end}");
            let (short, long) = (both(&short, capacity), both(&long, capacity));
            assert_eq!(short, long, "{capacity} {end:?}");
        }
    }
}
