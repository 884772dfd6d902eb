//! A server with one client and no stack: what tests, the fuzzer and the instruction counter drive.

use crate::server::{Config, Httpd};
use crate::site::File;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::Cell;
use nom_stack::application::{Application, ConnectionId, Ended, Io, NoRoom, Pin};
use nom_stack::meter::Answer;

/// Somebody who is told of less room than this is called again, as by the stack.
const LOW_ROOM: usize = 2048;

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Pinned(Pin),
}

/// The stack's side of one connection, with a bounded queue.
#[derive(Debug)]
pub struct Link {
    id: ConnectionId,
    queue: VecDeque<Piece>,
    queued: usize,
    room: usize,
    refused_writes: Cell<bool>,
    /// The time of the next calls.
    pub now_ns: u64,
    /// Operations answered as accepted.
    pub accepted: u64,
    /// Operations answered as refused.
    pub refused: u64,
    /// The server closed the connection.
    pub closed: bool,
    /// It did so without sending what was queued.
    pub aborted: bool,
}

impl Io for Link {
    fn connection(&self) -> ConnectionId {
        self.id
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn room(&self) -> usize {
        let room = self.room.saturating_sub(self.queued);
        if room < LOW_ROOM {
            self.refused_writes.set(true);
        }
        room
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        if self.closed || bytes.len() > self.room.saturating_sub(self.queued) {
            self.refused_writes.set(!self.closed);
            return Err(NoRoom);
        }
        self.queued += bytes.len();
        self.queue.push_back(Piece::Bytes(bytes.to_vec()));
        Ok(())
    }

    fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom> {
        if self.closed || self.queued >= self.room {
            self.refused_writes.set(!self.closed);
            return Err(NoRoom);
        }
        self.queued += pin.len as usize;
        self.queue.push_back(Piece::Pinned(pin));
        Ok(())
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted => self.accepted += 1,
            Answer::Refused => self.refused += 1,
        }
    }

    fn close(&mut self) {
        self.closed = true;
    }

    fn abort(&mut self) {
        self.closed = true;
        self.aborted = true;
    }
}

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
        let mut link = Link {
            id: ConnectionId { slot: 0, generation: 1 },
            queue: VecDeque::new(),
            queued: 0,
            room: room.max(4096),
            refused_writes: Cell::new(false),
            now_ns,
            accepted: 0,
            refused: 0,
            closed: false,
            aborted: false,
        };
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
        for _ in 0..pieces {
            match self.link.queue.pop_front() {
                Some(Piece::Bytes(bytes)) => {
                    self.link.queued -= bytes.len();
                    self.output.extend_from_slice(&bytes);
                }
                Some(Piece::Pinned(pin)) => {
                    self.link.queued -= pin.len as usize;
                    self.output.extend_from_slice(self.httpd.pinned(pin));
                    self.httpd.released(pin);
                }
                None => break,
            }
        }
        if self.link.refused_writes.take() {
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
        while !self.link.queue.is_empty() || self.link.refused_writes.get() {
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
        while let Some(piece) = self.link.queue.pop_front() {
            if let Piece::Pinned(pin) = piece {
                self.httpd.released(pin);
            }
        }
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
