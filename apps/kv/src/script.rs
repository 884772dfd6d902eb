//! A cache with one client and no stack: what tests, the fuzzer and the instruction counter drive.

pub mod cores;
pub mod lines;

use crate::{Config, Kv};
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
    /// The cache closed the connection.
    pub closed: bool,
}

impl Link {
    /// The connection's name.
    pub fn connection_id(&self) -> ConnectionId {
        self.id
    }
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
        if bytes.len() > self.room.saturating_sub(self.queued) {
            self.refused_writes.set(true);
            return Err(NoRoom);
        }
        self.queued += bytes.len();
        self.queue.push_back(Piece::Bytes(bytes.to_vec()));
        Ok(())
    }

    fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom> {
        if self.queued >= self.room {
            self.refused_writes.set(true);
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
    }
}

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
        let id = ConnectionId { slot: 0, generation: 1 };
        let mut link = Link {
            id,
            queue: VecDeque::new(),
            queued: 0,
            room: room.max(2048),
            refused_writes: Cell::new(false),
            now_ns: config.start_ns,
            accepted: 0,
            refused: 0,
            closed: false,
        };
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
        for _ in 0..pieces {
            match self.queue_front() {
                Some(Piece::Bytes(bytes)) => {
                    self.link.queued -= bytes.len();
                    self.output.extend_from_slice(&bytes);
                }
                Some(Piece::Pinned(pin)) => {
                    self.link.queued -= pin.len as usize;
                    self.output.extend_from_slice(self.kv.pinned(pin));
                    self.kv.released(pin);
                }
                None => break,
            }
        }
        if self.link.refused_writes.take() {
            self.kv.writable(&mut self.link);
            self.offer();
        }
    }

    fn queue_front(&mut self) -> Option<Piece> {
        self.link.queue.pop_front()
    }

    fn offer(&mut self) {
        if !self.waiting.is_empty() {
            let consumed = self.kv.received(&mut self.link, &self.waiting);
            self.waiting.drain(..consumed);
        }
    }

    /// Delivers until nothing is queued any more.
    pub fn settle(&mut self) {
        while !self.link.queue.is_empty() || self.link.refused_writes.get() {
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
        while let Some(piece) = self.queue_front() {
            if let Piece::Pinned(pin) = piece {
                self.kv.released(pin);
            }
        }
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
