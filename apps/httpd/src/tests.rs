//! The protocol as a client sees it: answers byte for byte, cut anywhere, slow, and hostile.

use crate::script::{self, Script, example, fuzz};
use crate::server::{Config, Httpd};
use crate::site::File;
use nom_stack::application::Application;
use std::format;
use std::string::String;
use std::vec::Vec;

mod slow;
mod succession;

/// 2026-11-06, as in [`example`].
const DATE: &str = "Date: Fri, 06 Nov 2026 21:20:00 GMT\r\n";

fn ask(input: &[u8]) -> (String, Httpd) {
    let mut script = script::open(example(0), 0, usize::MAX);
    script.send(input);
    let (output, httpd) = script.finish();
    assert_eq!(httpd.site().held(), 0, "content is held by nobody");
    (output.into_iter().map(char::from).collect(), httpd)
}

fn get(target: &str, fields: &str) -> String {
    ask(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).0
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn large() -> String {
    (0..200_000).map(|at: usize| char::from(b' ' + (at * 7 % 89) as u8)).collect()
}

#[test]
fn the_usual_answer_byte_for_byte() {
    let answer = get("/", "");
    let etag = field(&answer, "ETag").unwrap();
    let expected = format!(
        "HTTP/1.1 200 OK\r\n{DATE}Content-Type: text/html; charset=utf-8\r\nContent-Length: 612\r\nETag: {etag}\r\n\
         Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\nAccept-Ranges: bytes\r\n\r\n{}",
        &large()[..612]
    );
    assert_eq!(answer, expected);
    let head = ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").0;
    assert_eq!(head, expected[..expected.len() - 612]);
}

#[test]
fn lean_answers_have_what_the_standard_demands() {
    let mut httpd = Httpd::new(Config::new(1 << 20, 0, 1_794_000_000_000_000_000));
    let file = File { plain: b"hello\n".as_slice().into(), modified_s: 5, ..File::default() };
    httpd.site_mut().put("/a.txt", file).unwrap();
    let mut script = script::open(httpd, 0, usize::MAX);
    script.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = String::from_utf8(script.finish().0).unwrap();
    let etag = field(&answer, "ETag").unwrap();
    assert_eq!(
        answer,
        format!(
            "HTTP/1.1 200 OK\r\n{DATE}Content-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\nETag: {etag}\r\n\r\nhello\n"
        )
    );
}

#[test]
fn time_goes_on_in_answers_and_may_be_unknown() {
    let mut script = script::open(example(0), 0, usize::MAX);
    let request = b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n";
    for (second, expected) in [(0, "20:00"), (1, "20:01"), (61, "21:01")] {
        script.link.now_ns = second * 1_000_000_000;
        script.send(request);
        script.settle();
        let answer = String::from_utf8(core::mem::take(&mut script.output)).unwrap();
        assert_eq!(field(&answer, "Date").unwrap(), format!("Fri, 06 Nov 2026 21:{expected} GMT"));
    }
    let mut httpd = Httpd::new(Config::new(1 << 20, 0, 0));
    httpd.site_mut().put("/empty", File::default()).unwrap();
    let mut script = script::open(httpd, 0, usize::MAX);
    script.send(request);
    script.send(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    let answers = String::from_utf8(script.finish().0).unwrap();
    assert!(!answers.contains("Date") && answers.contains(" 404 "), "{answers}");
}

#[test]
fn statuses() {
    for (request, status) in [
        ("GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 301),
        ("GET /a/ HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET http://other:80/a/ HTTP/1.1\r\nHost: OTHER:80\r\n\r\n", 200),
        ("GET http://other/a/ HTTP/1.0\r\n\r\n", 200),
        ("GET http://other/a/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204),
        ("OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", 204),
        ("OPTIONS /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("get / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: coffee\r\n\r\n", 417),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413),
    ] {
        let (answer, _) = ask(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(field(&answer, "Allow").is_some(), matches!(status, 405 | 204), "{request}");
        let none = matches!(status, 204);
        assert_eq!(field(&answer, "Content-Length").is_none(), none, "{request}: {answer}");
    }
    assert_eq!(field(&get("/a", ""), "Location"), Some("/a/"));
}

#[test]
fn connections_stay_and_end_as_the_standard_says() {
    for (request, answers, connection) in [
        ("GET /empty HTTP/1.1\r\nHost: x\r\n\r\n", 2, None),
        ("GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1, Some("close")),
        ("GET /empty HTTP/1.0\r\n\r\n", 1, Some("close")),
        ("GET /empty HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 2, Some("keep-alive")),
        ("GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 2, None),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET ", 2, None),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n", 2, None),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n", 1, Some("close")),
    ] {
        let (answer, httpd) = ask(&[request.as_bytes(), request.as_bytes()].concat());
        assert_eq!(httpd.tally().answers, answers, "{request}");
        assert_eq!(field(&answer, "Connection"), connection, "{request}");
    }
    let mut httpd = example(0);
    httpd.draining();
    let mut script = script::open(httpd, 0, usize::MAX);
    script.send(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(script.link.closed, "a drain ends connections with their next answer");
    assert!(String::from_utf8(script.finish().0).unwrap().contains("Connection: close\r\n"));
}

#[test]
fn expectations() {
    let (answer, _) =
        ask(b"GET /empty HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab");
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "), "{answer}");
    let (answer, httpd) =
        ask(b"PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nabGET");
    assert!(answer.starts_with("HTTP/1.1 405 ") && field(&answer, "Connection") == Some("close"), "{answer}");
    assert_eq!(httpd.tally().answers, 1);
    let (answer, _) = ask(b"GET /empty HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "nothing is to come: {answer}");
}

#[test]
fn conditions_in_their_order() {
    let etag = field(&get("/", ""), "ETag").map(String::from).unwrap();
    let (same, older, newer) =
        ("Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT");
    for (fields, status) in [
        (format!("If-None-Match: {etag}"), 304),
        (format!("If-None-Match: W/{etag}"), 304),
        (format!("If-None-Match: \"x,y\", {etag}"), 304),
        ("If-None-Match: *".into(), 304),
        (format!("If-None-Match: \"x\"\r\nIf-None-Match: {etag}"), 304),
        ("If-None-Match: \"x\"".into(), 200),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {newer}"), 200),
        (format!("If-Modified-Since: {same}"), 304),
        (format!("If-Modified-Since: {newer}"), 304),
        (format!("If-Modified-Since: {older}"), 200),
        ("If-Modified-Since: yesterday".into(), 200),
        (format!("If-Modified-Since: {same}\r\nIf-Modified-Since: {same}"), 200),
        (format!("If-Match: {etag}"), 200),
        ("If-Match: *".into(), 200),
        (format!("If-Match: W/{etag}"), 412),
        ("If-Match: \"x\"".into(), 412),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {etag}"), 412),
        (format!("If-Match: {etag}\r\nIf-None-Match: {etag}"), 304),
        (format!("If-Unmodified-Since: {same}"), 200),
        (format!("If-Unmodified-Since: {older}"), 412),
        (format!("If-Match: {etag}\r\nIf-Unmodified-Since: {older}"), 200),
        (format!("If-Unmodified-Since: {older}\r\nIf-None-Match: *"), 412),
    ] {
        let answer = get("/", &format!("{fields}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
        if status == 304 {
            assert_eq!(answer, format!("HTTP/1.1 304 Not Modified\r\n{DATE}ETag: {etag}\r\n\r\n"));
        }
    }
    assert!(get("/none", "If-Match: *\r\n").starts_with("HTTP/1.1 404 "));
}

#[test]
fn ranges() {
    let (whole, etag) = (large(), field(&get("/large.txt", ""), "ETag").map(String::from).unwrap());
    let answer = get("/large.txt", "Range: bytes=100-70099\r\n");
    assert!(answer.starts_with("HTTP/1.1 206 Partial Content\r\n"));
    assert_eq!(field(&answer, "Content-Range"), Some("bytes 100-70099/200000"));
    assert_eq!(field(&answer, "Content-Length"), Some("70000"));
    assert!(content(&answer) == &whole[100..70_100]);
    let answer = get("/large.txt", "Range: bytes=200000-\r\n");
    assert!(answer.starts_with("HTTP/1.1 416 "));
    assert_eq!(field(&answer, "Content-Range"), Some("bytes */200000"));
    for (condition, status) in [
        (etag.as_str(), 206),
        ("\"x\"", 200),
        ("W/\"x\"", 200),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 206),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 200),
        ("nonsense", 200),
    ] {
        let answer = get("/large.txt", &format!("Range: bytes=0-0\r\nIf-Range: {condition}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{condition}");
    }
    let head = ask(b"HEAD /large.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\n\r\n").0;
    assert!(head.starts_with("HTTP/1.1 200 ") && content(&head).is_empty());
}

#[test]
fn several_ranges_are_parts_of_a_multipart_answer() {
    let whole = large();
    let answer = get("/large.txt", "Range: bytes=0-1, -3, 300000-, 5-70004\r\n");
    let media = field(&answer, "Content-Type").unwrap();
    let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let body = content(&answer);
    assert_eq!(field(&answer, "Content-Length"), Some(format!("{}", body.len()).as_str()));
    let parts: Vec<&str> = body.split(&format!("\r\n--{boundary}")).collect();
    assert_eq!((parts.len(), parts[0], parts[4]), (5, "", "--\r\n"));
    for (part, (range, expected)) in parts[1..4].iter().zip([
        ("bytes 0-1/200000", &whole[..2]),
        ("bytes 199997-199999/200000", &whole[199_997..]),
        ("bytes 5-70004/200000", &whole[5..70_005]),
    ]) {
        assert_eq!(field(part.trim_start(), "Content-Range"), Some(range));
        assert!(content(part) == expected);
    }
}

#[test]
fn codings_are_chosen_and_told() {
    for (accepted, coding, begin) in [
        ("", None, " '."),
        ("Accept-Encoding: gzip\r\n", Some("gzip"), "g '"),
        ("Accept-Encoding: gzip;q=0.5\r\nAccept-Encoding: br\r\n", Some("br"), "b '"),
        ("Accept-Encoding: identity;q=0\r\n", None, " '."),
        ("Accept-Encoding: identity;q=0, *\r\n", Some("br"), "b '"),
    ] {
        let answer = get("/large.txt", accepted);
        assert_eq!(field(&answer, "Content-Encoding"), coding, "{accepted}");
        assert_eq!(field(&answer, "Vary"), Some("Accept-Encoding"));
        assert!(content(&answer).starts_with(begin), "{accepted}: {}", &content(&answer)[..3]);
    }
    assert_eq!(field(&get("/", "Accept-Encoding: gzip\r\n"), "Vary"), None);
    let tags: Vec<_> = ["gzip", "br", "identity"]
        .map(|coding| {
            field(&get("/large.txt", &format!("Accept-Encoding: {coding}\r\n")), "ETag").map(String::from)
        })
        .into();
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
}

#[test]
fn a_slow_reader_gets_the_version_that_it_asked_for() {
    let mut script = script::open(example(0), 0, 4096);
    script.send(b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    let other = File { plain: b"changed".as_slice().into(), ..File::default() };
    script.app.site_mut().put("/large.txt", other).unwrap();
    script.settle();
    let output = core::mem::take(&mut script.output);
    let text = String::from_utf8(output).unwrap();
    let (first, second) = text.split_at(text.rfind("HTTP/1.1 200").unwrap());
    assert!(content(first) == large() && content(second) == "changed");
    let (_, httpd) = script.finish();
    assert_eq!((httpd.site().held(), httpd.tally().answers), (0, 2));
}

#[test]
fn answers_are_logged() {
    let (_, mut httpd) =
        ask(b"GET /?a HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
          POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nxBAD\r\n\r\n");
    let mut text = String::new();
    httpd.log_mut().take(|bytes| text = String::from_utf8(bytes.into()).unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let begin = "- - - [06/Nov/2026:21:20:00 +0000] ";
    let expected = [
        "\"GET /?a HTTP/1.1\" 200 612",
        "\"HEAD / HTTP/1.0\" 200 0",
        "\"POST / HTTP/1.1\" 405 39",
        "\"BAD\" 400 26",
    ];
    assert_eq!(lines, expected.map(|line| format!("{begin}{line}")));
}

/// Requests of every kind, some of them broken, in a row.
fn random_requests(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    };
    let lines = [
        "GET / HTTP/1.1",
        "GET /large.txt HTTP/1.1",
        "HEAD /large.txt HTTP/1.1",
        "GET /a HTTP/1.1",
        "POST / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /empty HTTP/1.0",
        "GET /none HTTP/1.1",
    ];
    let fields = [
        "Range: bytes=5-9",
        "Range: bytes=0-66000,-5",
        "Accept-Encoding: gzip",
        "If-None-Match: *",
        "Connection: keep-alive",
        "Expect: 100-continue",
        "X: y",
        "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    ];
    let contents = [
        "\r\n",
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n0\r\nT: v\r\n\r\n",
    ];
    let mut all = Vec::new();
    for _ in 0..count {
        let mut request = format!("{}\r\nHost: x\r\n", lines[below(lines.len())]);
        for _ in 0..below(3) {
            request += &format!("{}\r\n", fields[below(fields.len())]);
        }
        request += contents[below(contents.len())];
        let mut request = request.into_bytes();
        if below(40) == 0 {
            let place = below(request.len());
            request[place] = b"\r\n \0;:\xff"[below(7)];
        }
        all.extend_from_slice(&request);
    }
    all
}

#[test]
fn answers_do_not_depend_on_how_requests_are_cut() {
    for seed in 0..150 {
        let mut data: Vec<u8> = (0..16).map(|place| (seed * 37 + place * 101) as u8).collect();
        data.extend(random_requests(seed, 12));
        fuzz(&data);
    }
}

/// A server with a mirror, and the lines that a connection to it is sent.
fn mirror(room: usize) -> Script {
    let config =
        Config { mirror: Some("/mirror".into()), request_content_max: 100_000, ..Config::new(1000, 0, 0) };
    script::open(Httpd::new(config), 0, room)
}

/// The content of a chunked answer; its framing is checked.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        bytes = &bytes[end + 2..];
        content.extend_from_slice(&bytes[..len]);
        assert_eq!(&bytes[len..len + 2], b"\r\n");
        bytes = &bytes[len + 2..];
        if len == 0 {
            assert!(bytes.is_empty(), "nothing follows");
            return content;
        }
    }
}

fn posted(len: usize, chunk: usize) -> (Vec<u8>, Vec<u8>) {
    let content: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8).collect();
    let mut request = b"POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in content.chunks(chunk) {
        request.extend_from_slice(format!("{:x};ext=1\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\nTrailer: yes\r\n\r\n");
    (content, request)
}

#[test]
fn what_is_posted_to_the_mirror_comes_back_however_it_arrives_and_leaves() {
    for (len, chunk, cut, room) in [
        (0, 1, 1, 4096),
        (12, 12, 1000, usize::MAX),
        (1024, 5, 7, 4096),
        (1025, 1025, 3, 4096),
        (60_000, 999, 1500, 4096),
        (60_000, 40_000, 64, 8192),
        (30_000, 7, 30_000, usize::MAX),
    ] {
        let (content, request) = posted(len, chunk);
        let mut script = mirror(room);
        for piece in request.chunks(cut) {
            script.send(piece);
            script.deliver(1);
        }
        script.settle();
        assert_eq!((script.link.accepted, script.link.refused), (1, 0), "{len} {chunk} {cut}");
        let (output, _) = script.finish();
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(output[..end].to_vec()).unwrap();
        if len <= 1024 {
            assert!(head.contains(&format!("Content-Length: {len}\r\n")), "{head}");
            assert_eq!(output[end..], content);
        } else {
            assert!(
                head.contains("Transfer-Encoding: chunked\r\n") && !head.contains("Content-Length"),
                "{head}"
            );
            assert!(unchunked(&output[end..]) == content, "{len} {chunk} {cut}");
        }
    }
}

#[test]
fn the_mirror_says_lengths_that_it_knows_and_ends_what_goes_wrong() {
    let ask = |request: &[u8]| {
        let mut script = mirror(usize::MAX);
        script.send(request);
        script.settle();
        let counts = (script.link.accepted, script.link.refused, script.link.aborted);
        (String::from_utf8_lossy(&script.output).into_owned(), counts)
    };
    let (answer, counts) = ask(b"POST /mirror HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");
    assert!(answer.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\nhello"), "{answer}");
    assert_eq!(counts, (1, 0, false));
    let twice = "POST /x/../mirror?y HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".repeat(2);
    assert_eq!(ask(twice.as_bytes()).1, (2, 0, false));
    let expects = b"POST /mirror HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
    assert!(ask(expects).0.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    // Before the answer begins it can be another one, then it can only break off.
    let head = "POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (answer, counts) = ask(format!("{head}5\r\nhello\r\nx\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Connection: close"), "{answer}");
    assert_eq!(counts, (0, 1, false));
    let long = "y".repeat(5_000);
    let (answer, counts) = ask(format!("{head}1388\r\n{long}\r\nx\r\n").as_bytes());
    assert!(answer.contains("chunked") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(counts, (0, 1, true));
    let (answer, _) = ask(format!("{head}fffff\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        ask(b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").0.starts_with("HTTP/1.1 405 ")
    );
    assert!(ask(b"GET /mirror HTTP/1.1\r\nHost: x\r\n\r\n").0.starts_with("HTTP/1.1 404 "));
    // Whoever sends too slowly is told so while that is possible.
    for (sent, said) in [("ff\r\nhel", "HTTP/1.1 408 "), ("1388\r\n", "HTTP/1.1 200 ")] {
        let mut script = mirror(usize::MAX);
        script.send(head.as_bytes());
        script.send(sent.as_bytes());
        script.send(if said.contains("200") { &long.as_bytes()[..3_000] } else { b"" });
        // Byte by byte is too slow as well.
        for _ in 0..61 {
            script.send(b"l");
            script.pass(1);
        }
        assert!(script.link.closed);
        script.settle();
        assert!(String::from_utf8_lossy(&script.output).starts_with(said));
    }
}

#[test]
fn the_same_request_again_is_the_same_answer_until_the_content_changes() {
    let mut script = script::open(example(0), 0, usize::MAX);
    let ask = |script: &mut Script, request: &str| {
        script.send(request.as_bytes());
        script.settle();
        String::from_utf8_lossy(&core::mem::take(&mut script.output)).into_owned()
    };
    let tag = String::from(field(&get("/large.txt", "Accept-Encoding: br\r\n"), "ETag").unwrap());
    let requests = [
        "GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n".into(),
        "GET /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".into(),
        "HEAD /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".into(),
        "GET /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n".into(),
        format!("GET /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\nIf-None-Match: {tag}\r\n\r\n"),
        "GET /large.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=5-9\r\n\r\n".into(),
        "GET /large.txt HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n"
            .into(),
        "GET /nothing-at-all.txt HTTP/1.1\r\nHost: x\r\n\r\n".into(),
    ];
    let requests: [String; 8] = requests;
    let first: Vec<String> = requests.iter().map(|request| ask(&mut script, request)).collect();
    let statuses: Vec<&str> = first.iter().map(|answer| &answer[9..12]).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "304", "206", "304", "404"]);
    for _ in 0..4 {
        for (request, expected) in requests.iter().zip(&first) {
            assert!(ask(&mut script, request) == *expected, "{request}");
        }
        // Several at once, cut in the midst of one.
        let all = requests.concat();
        let (begin, rest) = all.split_at(70);
        let both = ask(&mut script, begin) + &ask(&mut script, rest);
        assert!(both == first.concat());
    }
    let other = File { plain: b"other".as_slice().into(), ..File::default() };
    script.app.site_mut().put("/large.txt", other).unwrap();
    for request in &requests[1..5] {
        let answer = ask(&mut script, request);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Content-Length: 5\r\n"), "{answer}");
    }
    script.app.site_mut().remove("/index.html");
    assert!(ask(&mut script, &requests[0]).starts_with("HTTP/1.1 404 "));
    script.app.draining();
    assert!(ask(&mut script, &requests[1]).contains("Connection: close\r\n"), "a drain is told");
}
