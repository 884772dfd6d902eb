//! Requests that two readers on the way could read differently, with a further request behind each: one answer comes, which
//! refuses, and then the server ends the connection. The further request stands for what somebody would smuggle past a
//! reader who saw it as content of the first one.

use super::served::{ADDRESS, PATIENCE, Served, network};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// What must not be answered behind a request that is refused.
const SMUGGLED: &str = "GET /secret.txt HTTP/1.1\r\nHost: x\r\n\r\n";
const SECRET: &str = "what nobody asked for";

/// Heads with these fields, or lines, behind `POST /mirror HTTP/1.1` and `Host: x`; what is behind a blank line is content.
const FIELDS: &[(u16, &str)] = &[
    // Lengths.
    (400, "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (400, "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    (400, "Content-Length: 5\r\ncontent-length: 0\r\n\r\nhello"),
    (400, "Content-Length: 5, 5\r\n\r\nhello"),
    (400, "Content-Length: 5,6\r\n\r\nhello"),
    (400, "Content-Length: +5\r\n\r\nhello"),
    (400, "Content-Length: -5\r\n\r\nhello"),
    (400, "Content-Length: 0x5\r\n\r\nhello"),
    (400, "Content-Length: 5 5\r\n\r\nhello"),
    (400, "Content-Length: 5;\r\n\r\nhello"),
    (400, "Content-Length:\r\n\r\nhello"),
    (413, "Content-Length: 18446744073709551621\r\n\r\nhello"),
    // A length and a coding.
    (400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (400, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    // Codings.
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (501, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding\x00: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    (400, "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    // Lines.
    (400, "X: y\n\r\n"),
    (400, "X: y\r\n\n"),
    (400, "X: y\r\r\n\r\n"),
    (400, "X: y\r\n z\r\n\r\n"),
    (400, "X: y\r\n\tz\r\n\r\n"),
    (400, "Content-Length : 5\r\n\r\nhello"),
    (400, "Content-Length 5\r\n\r\nhello"),
    (400, "Content Length: 5\r\n\r\nhello"),
    (400, ": 5\r\n\r\n"),
    (400, "X\r\n\r\n"),
    (400, "X: \x00\r\n\r\n"),
    (400, "X: a\x00b\r\n\r\n"),
    (400, "X: \x7f\r\n\r\n"),
    (400, "X\u{e9}: y\r\n\r\n"),
    // Hosts, beside the one that is there.
    (400, "Host: x\r\n\r\n"),
    (400, "Host: y\r\n\r\n"),
    (400, "host:\r\n\r\n"),
];

/// Content behind a head that says `Transfer-Encoding: chunked`.
const CHUNKS: &[(u16, &str)] = &[
    (400, "5 \r\nhello\r\n0\r\n\r\n"),
    (400, " 5\r\nhello\r\n0\r\n\r\n"),
    (400, "+5\r\nhello\r\n0\r\n\r\n"),
    (400, "-5\r\nhello\r\n0\r\n\r\n"),
    (400, "0x5\r\nhello\r\n0\r\n\r\n"),
    (400, "5h\r\nhello\r\n0\r\n\r\n"),
    (400, "\r\nhello\r\n0\r\n\r\n"),
    (400, ";a\r\nhello\r\n0\r\n\r\n"),
    (413, "fffffff\r\nhello\r\n0\r\n\r\n"),
    (413, "fffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    (400, "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    (400, "ffffffffffffffffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    // Ends of lines.
    (400, "5\nhello\r\n0\r\n\r\n"),
    (400, "5\rhello\r\n0\r\n\r\n"),
    (400, "5\r\r\nhello\r\n0\r\n\r\n"),
    (400, "5\r\nhello\n0\r\n\r\n"),
    (400, "5\r\nhello0\r\n\r\n"),
    (400, "5\r\nhelloXX0\r\n\r\n"),
    (400, "5\r\nhello!\r\n0\r\n\r\n"),
    (400, "5\r\nhell\r\n0\r\n\r\n"),
    (400, "5\r\nhello\r\n0\n\n"),
    (400, "5\r\nhello\r\n0\r\n\n"),
    (400, "5\r\nhello\r\n0\r\nX\r\n\r\n"),
    (400, "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
    (400, "5\r\nhello\r\n0\r\n X: y\r\n\r\n"),
    (400, "5\r\nhello\r\n0\r\nX: \x00\r\n\r\n"),
    (400, "5\r\nhello\r\n0\r\n"),
    // Extensions.
    (400, "5;\r\nhello\r\n0\r\n\r\n"),
    (400, "5;a\nhello\r\n0\r\n\r\n"),
    (400, "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    (400, "5;a=\x00\r\nhello\r\n0\r\n\r\n"),
    (400, "5,a\r\nhello\r\n0\r\n\r\n"),
];

/// Whole heads.
const HEADS: &[(u16, &str)] = &[
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\nHost: x\r\n\r\n"),
    (400, "GET / HTTP/1.1\rHost: x\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: x y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: x:y\r\n\r\n"),
    (400, "GET http://x/ HTTP/1.1\r\nHost: y\r\n\r\n"),
    (400, "GET http://x/ HTTP/1.1\r\nHost: x:81\r\n\r\n"),
    (400, "GET http://x/ HTTP/1.1\r\nHost:\r\n\r\n"),
    (400, "GET http://x/ HTTP/1.1\r\n\r\n"),
    (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET /  HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    (400, "GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GE\x00T / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET / http/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET / HTTP/1.10\r\nHost: x\r\n\r\n"),
    (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    (400, "GET /\r\n"),
    (400, "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "POST /mirror HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

/// What is right, however odd it looks: it is answered well, and so is what follows.
const RIGHT: &[&str] = &[
    "POST /mirror HTTP/1.1\r\nHost: x\r\nContent-Length: 0000000005\r\n\r\nhello",
    "POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\t CHUNKED \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0005;a=\"b c\"\r\nhello\r\n000;d\r\nX: y\r\n\r\n",
    "POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 ;a\r\n\n\r\n\r\n\r\n0\r\n\r\n",
    "\r\nGET http://X:80/ HTTP/1.1\r\nhOST:x:80\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /",
];

/// Sends, whole or byte by byte, and reads until the server ends the connection.
fn ask(request: &str, by_bytes: bool, ends: bool) -> String {
    let mut stream = TcpStream::connect((ADDRESS, 80)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in request.as_bytes().chunks(if by_bytes { 1 } else { request.len() }) {
        // The server may have said its word, and be gone, before the last byte.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    if ends {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        panic!("{request:?} (by bytes: {by_bytes}): {error}, after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all answers; explanations may name the protocol, too.
fn answers(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

fn tries_to_smuggle() {
    let files = [("index.html", "hello"), ("secret.txt", SECRET)];
    let Some(_served) = Served::start("smuggling", &files, "web.mirror = /mirror\n") else { return };
    let fields =
        FIELDS.iter().map(|(status, rest)| (*status, format!("POST /mirror HTTP/1.1\r\nHost: x\r\n{rest}")));
    let chunks = CHUNKS.iter().map(|(status, rest)| {
        (*status, format!("POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{rest}"))
    });
    let heads = HEADS.iter().map(|(status, head)| (*status, head.to_string()));
    let mut wrong = Vec::new();
    for (status, request) in fields.chain(chunks).chain(heads) {
        for by_bytes in [false, true] {
            let answer = ask(&(request.clone() + SMUGGLED), by_bytes, false);
            let is_closed = answer.contains("\r\nConnection: close\r\n");
            if answers(&answer) != [status] || !is_closed || answer.contains(SECRET) {
                wrong.push(format!("{request:?} (by bytes: {by_bytes}): {status} is expected: {answer:?}"));
            }
        }
    }
    for request in RIGHT {
        for by_bytes in [false, true] {
            let answer = ask(&(request.to_string() + SMUGGLED), by_bytes, true);
            if answers(&answer) != [200, 200] || !answer.ends_with(SECRET) {
                wrong.push(format!("{request:?} (by bytes: {by_bytes}) is right: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are answered otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered() {
    network(tries_to_smuggle);
}
