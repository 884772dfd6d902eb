use super::*;
use std::format;
use std::string::String;
use std::vec::Vec;

fn whole(text: &str) -> Result<Head<'_>, Status> {
    match end(text.as_bytes(), 0) {
        End::At(len) => {
            assert_eq!(len, text.len(), "{text:?}");
            read(text.as_bytes())
        }
        End::Bad(status) => Err(status),
        End::NotYet(_) => panic!("not whole: {text:?}"),
    }
}

fn status(text: &str) -> Option<Status> {
    whole(text).err()
}

#[test]
fn what_is_said_is_read() {
    let head = whole(
        "\r\nHEAD /a?b HTTP/1.1\r\nhOST: x:80\r\nRange:bytes=0-1 \r\nIf-Match: a\r\nX: \r\nif-match:\tb\r\n\
         Connection: x, Close\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.method, head.target, head.old), (Method::Head, &b"/a?b"[..], false));
    assert_eq!((head.content, head.expects, head.conditional), (Content::Length(5), true, true));
    assert_eq!(head.range, Some(&b"bytes=0-1"[..]));
    assert_eq!(head.all(b"if-match").collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(!head.persists());
    assert!(!whole("GET / HTTP/1.0\r\n\r\n").unwrap().persists());
    assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().persists());
    assert!(whole("GET / HTTP/1.9\r\nHost:\r\n\r\n").unwrap().persists());
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let bad = Some(Status::BadRequest);
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: -5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;x=y",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\rb",
        "X: a\nb",
        "X: a\n",
        "X: a\0b",
        "X: a\x7fb",
        "X\0: a",
        "X Y: a",
        ": a",
        "X",
        "Host: y",
        "\"X\": a",
        "X(: a",
        "Transfer\u{212a}: a",
    ] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")), bad, "{fields:?}");
    }
    for line in [
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/\tHTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / HTTP/1",
        "GET /a b HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET HTTP/1.1",
        "/ HTTP/1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.1\r",
    ] {
        assert_eq!(status(&format!("{line}\r\nHost: x\r\n\r\n")), bad, "{line:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), bad, "no host");
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), bad);
    assert_eq!(status("GET / HTTP/1.1\nHost: x\n\n"), bad);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\n\r\n"), bad);
    assert_eq!(status("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), bad);
    assert_eq!(status("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), bad);
    assert_eq!(status("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), bad);
}

#[test]
fn other_refusals_have_their_own_status() {
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    assert_eq!(status(&with("Transfer-Encoding: gzip, chunked")), Some(Status::NotImplemented));
    assert_eq!(status(&with("Content-Length: 99999999999999999999")), Some(Status::ContentTooLarge));
    assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), Some(Status::VersionNotSupported));
    assert_eq!(status("GET / HTTP/0.9\r\n\r\n"), Some(Status::VersionNotSupported));
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(TARGET_MAX));
    assert_eq!(status(&target), Some(Status::UriTooLong));
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(TARGET_MAX - 1));
    assert_eq!(status(&target), None);
    let method = format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "A".repeat(METHOD_MAX + 1));
    assert_eq!(status(&method), Some(Status::NotImplemented));
    assert_eq!(status(&with(&format!("X: {}", "a".repeat(HEAD_MAX)))), Some(Status::HeaderFieldsTooLarge));
    let fields = "a: b\r\n".repeat(FIELDS_MAX);
    assert_eq!(status(&with(fields.trim_end())), Some(Status::HeaderFieldsTooLarge));
    let fields = "a: b\r\n".repeat(FIELDS_MAX - 1);
    assert_eq!(status(&with(fields.trim_end())), None);
}

#[test]
fn a_head_ends_at_the_same_place_in_any_pieces() {
    let texts: Vec<String> = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "\r\n\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\n\r\n\r\n",
        "\r\r\n",
    ]
    .map(String::from)
    .into_iter()
    .chain([
        format!("GET /{} HTTP/1.1\n\n", "a".repeat(9_000)),
        format!("GET / HTTP/1.1\r\nX: {}\n\r\n\r\n", "a".repeat(17_000)),
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_MAX - 23)),
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_MAX - 22)),
        "a".repeat(9_000),
    ])
    .collect();
    for text in texts {
        let bytes = text.as_bytes();
        let expected = end(bytes, 0);
        let mut seen = 0;
        let mut found = End::NotYet(0);
        for len in 1..=bytes.len() {
            found = end(&bytes[..len], seen);
            match found {
                End::NotYet(place) => seen = place,
                _ => break,
            }
        }
        assert_eq!(found, expected, "{:?}", &text[..text.len().min(40)]);
    }
}
