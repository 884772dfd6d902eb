//! One connection of an application without a stack: what tests, fuzzers and instruction counters of applications drive.

use crate::application::{Application, ConnectionId, Ended, Io, NoRoom, Pin};
use crate::meter::Answer;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::Cell;

/// Somebody who is told of less room than this is called again, as by the stack.
const LOW_ROOM: usize = 2048;

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Pinned(Pin),
}

/// The stack's side of the connection, with a bounded queue.
#[derive(Debug)]
pub struct Link {
    /// The connection's name.
    pub id: ConnectionId,
    queue: VecDeque<Piece>,
    queued: usize,
    delivered: u32,
    room: usize,
    refused_writes: Cell<bool>,
    /// The time of the next calls.
    pub now_ns: u64,
    /// Operations answered as accepted.
    pub accepted: u64,
    /// Operations answered as refused.
    pub refused: u64,
    /// The application closed the connection.
    pub closed: bool,
    /// It did so without sending what was queued.
    pub aborted: bool,
}

impl Link {
    /// A connection on which so many bytes may be queued.
    pub fn new(now_ns: u64, room: usize) -> Self {
        Self {
            id: ConnectionId { slot: 0, generation: 1 },
            queue: VecDeque::new(),
            queued: 0,
            delivered: 0,
            room,
            refused_writes: Cell::new(false),
            now_ns,
            accepted: 0,
            refused: 0,
            closed: false,
            aborted: false,
        }
    }

    /// Sends pieces of the queue to the client: at most so many, oldest first. Pinned memory is read only now. True when
    /// the application is to be told that there is room again.
    pub fn deliver(&mut self, from: &mut impl Application, pieces: usize, to: &mut Vec<u8>) -> bool {
        for _ in 0..pieces {
            match self.queue.pop_front() {
                Some(Piece::Bytes(bytes)) => {
                    self.acknowledge(bytes.len());
                    to.extend_from_slice(&bytes);
                }
                Some(Piece::Pinned(pin)) => {
                    self.acknowledge(pin.len as usize);
                    to.extend_from_slice(from.pinned(pin));
                    from.released(pin);
                }
                None => break,
            }
        }
        self.refused_writes.take()
    }

    fn acknowledge(&mut self, len: usize) {
        self.queued -= len;
        self.delivered = self.delivered.wrapping_add(len as u32);
    }

    /// Nothing is queued, and nobody waits for room.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.refused_writes.get()
    }

    /// The queue is lost, as when the connection breaks.
    pub fn lose(&mut self, from: &mut impl Application) {
        while let Some(piece) = self.queue.pop_front() {
            if let Piece::Pinned(pin) = piece {
                from.released(pin);
            }
        }
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

    fn acknowledged(&self) -> u32 {
        self.delivered
    }

    fn unacknowledged(&self) -> u32 {
        self.queued as u32
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

/// An application and its only client.
#[derive(Debug)]
pub struct Script<A> {
    /// The application.
    pub app: A,
    /// The connection.
    pub link: Link,
    /// What the client sent and the application has not consumed.
    waiting: Vec<u8>,
    /// Everything that the client received.
    pub output: Vec<u8>,
}

impl<A: Application> Script<A> {
    /// A client connects to a port of an application.
    pub fn new(mut app: A, port: u16, mut link: Link) -> Self {
        app.opened(&mut link, port, false);
        Self { app, link, waiting: Vec::new(), output: Vec::new() }
    }

    /// The client sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.offer();
    }

    /// Sends pieces of the queue to the client: at most so many, oldest first. Pinned memory is read only now.
    pub fn deliver(&mut self, pieces: usize) {
        if self.link.deliver(&mut self.app, pieces, &mut self.output) {
            self.resume();
        }
    }

    /// The application is told that it may go on with the connection.
    pub fn resume(&mut self) {
        self.app.writable(&mut self.link);
        self.offer();
    }

    fn offer(&mut self) {
        if !self.waiting.is_empty() {
            let consumed = self.app.received(&mut self.link, &self.waiting);
            self.waiting.drain(..consumed);
        }
    }

    /// What the client sent and the application did not consume is lost.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Delivers until nothing is queued any more.
    pub fn settle(&mut self) {
        while !self.link.is_settled() {
            self.deliver(usize::MAX);
        }
    }

    /// Time passes, and the application looks at its connections each second.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.link.now_ns += 1_000_000_000;
            if let Some(id) = self.app.wanted(self.link.now_ns) {
                assert_eq!(id, self.link.id, "the only connection");
                self.app.writable(&mut self.link);
            }
        }
    }

    /// The client sends no more, reads everything, and the connection ends.
    pub fn finish(mut self) -> (Vec<u8>, A) {
        self.app.finished(&mut self.link);
        self.settle();
        assert!(self.link.closed, "a finished connection is closed");
        self.app.ended(self.link.id, Ended::Closed);
        (self.output, self.app)
    }

    /// The connection breaks with everything queued.
    pub fn reset(mut self) -> A {
        self.app.ended(self.link.id, Ended::Reset);
        self.link.lose(&mut self.app);
        self.app
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Io;

    struct Nobody;

    impl Application for Nobody {
        fn opened(&mut self, _: &mut impl Io, _: u16, _: bool) {}
        fn received(&mut self, _: &mut impl Io, bytes: &[u8]) -> usize {
            bytes.len()
        }
        fn writable(&mut self, _: &mut impl Io) {}
        fn finished(&mut self, _: &mut impl Io) {}
        fn ended(&mut self, _: ConnectionId, _: Ended) {}
    }

    #[test]
    fn who_could_not_write_all_is_told_of_room_and_nobody_else_is() {
        for room in [0, 1, LOW_ROOM - 1, LOW_ROOM, LOW_ROOM + 900, 6_000] {
            let mut link = Link::new(0, room);
            assert_eq!(link.write_some(&[7; 6_000]), room);
            assert_eq!(link.deliver(&mut Nobody, 9, &mut Vec::new()), room < 6_000, "{room}");
        }
    }
}
