//! A hot restart as clients of the web server see it: connections that rest, or are within a head or an answer, go on over a TAP
//! device that outlives the process's program.

use super::served::{ADDRESS, PATIENCE, Served, network};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

fn ask(stream: &mut TcpStream, request: &str, end: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn restarts() {
    let Some(mut served) = Served::start("restart", &[("a.txt", "before")], "") else { return };
    let [mut rests, mut within] = [(); 2].map(|()| {
        let stream = TcpStream::connect((ADDRESS, 80)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    });
    for content in ["before", "then", "later"] {
        ask(&mut rests, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", content);
        within.write_all(b"GET /a.txt HTTP/1.1\r\nHo").unwrap();
        // Whoever is answered after it has spoken knows that it has arrived.
        ask(&mut rests, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", content);
        let next = if content == "before" { "then" } else { "later" };
        fs::write(served.content("a.txt"), next).unwrap();
        Command::new("kill").args(["-s", "USR2", &served.child.id().to_string()]).status().unwrap();
        assert_eq!(served.said.next().expect("a successor").unwrap(), "ready port=80");
        assert!(served.child.try_wait().unwrap().is_none(), "it is the same process");
        ask(&mut within, "st: x\r\n\r\n", next);
    }
}

/// Who was told the beginning of a large content by one process hears the rest from the next, and from the one after that.
fn restarts_within_an_answer() {
    // More than the stack and Linux's sockets hold, however much they like to.
    let large: String = (0..16 << 20).map(|at: usize| char::from(b' ' + (at * 7 % 89) as u8)).collect();
    let files = [("large.txt", &*large), ("a.txt", "before")];
    let Some(mut served) = Served::start("answers", &files, "memory.items = 64 MiB\n") else { return };
    let connect = || {
        let stream = TcpStream::connect((ADDRESS, 80)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let requests = [
        ("", "HTTP/1.1 200 ", true),
        ("Connection: close\r\n", "HTTP/1.1 200 ", true),
        ("Range: bytes=1-\r\n", "HTTP/1.1 206 ", false),
    ];
    let mut readers = requests.map(|(fields, status, whole)| {
        let mut stream = connect();
        write!(stream, "GET /large.txt HTTP/1.1\r\nHost: x\r\n{fields}\r\n").unwrap();
        let mut begin = [0; 1000];
        stream.read_exact(&mut begin).unwrap();
        assert!(begin.starts_with(status.as_bytes()));
        (stream, begin.to_vec(), if whole { &large[..] } else { &large[1..] })
    });
    // Within the range, a further request is behind it.
    readers[2].0.write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    for _ in 0..2 {
        Command::new("kill").args(["-s", "USR2", &served.child.id().to_string()]).status().unwrap();
        assert_eq!(served.said.next().expect("a successor").unwrap(), "ready port=80");
        for (stream, got, _) in &mut readers {
            let before = got.len();
            got.resize(before + 1_000_000, 0);
            stream.read_exact(&mut got[before..]).unwrap();
        }
    }
    for (place, (mut stream, mut got, expected)) in readers.into_iter().enumerate() {
        let head = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let rest = head + expected.len() - got.len();
        (&mut stream).take(rest as u64).read_to_end(&mut got).unwrap();
        assert!(got[head..] == *expected.as_bytes(), "other bytes came");
        match place {
            0 => ask(&mut stream, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", "before"),
            1 => assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it closes"),
            _ => ask(&mut stream, "", "before"),
        }
    }
}

#[test]
fn connections_that_rest_or_are_within_a_head_go_on() {
    network(restarts);
}

#[test]
fn answers_that_were_begun_are_ended_by_a_successor() {
    network(restarts_within_an_answer);
}
