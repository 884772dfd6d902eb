//! One connection of the generator: what it still has to write, what it waits for, what it has read.

use crate::bounds;
use crate::mix::{Operation, Speaker, Verdict};
use crate::plan::LoadError;
use crate::tally::Tally;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request without its answer.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    operation: Operation,
    intended_ns: u64,
}

/// The connection is over; it may be opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    speaker: Speaker,
    outstanding: VecDeque<Outstanding>,
    out: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
    read: usize,
    /// The waiter watches for room to write.
    pub(crate) watched: bool,
}

/// Opens a socket that does not block and does not gather small writes.
pub(crate) fn open(target: SocketAddr, timeout: Duration) -> Result<TcpStream, LoadError> {
    let refuse = |error| LoadError::Connect(target, error);
    let stream = TcpStream::connect_timeout(&target, timeout).map_err(refuse)?;
    stream.set_nodelay(true).map_err(refuse)?;
    stream.set_nonblocking(true).map_err(refuse)?;
    Ok(stream)
}

/// Reads what there is. A process that was stopped and goes on is interrupted in the midst of waiting.
pub(crate) fn read(stream: &mut TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(scratch) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, speaker: Speaker) -> Self {
        Self {
            stream,
            speaker,
            outstanding: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            inbox: Vec::new(),
            read: 0,
            watched: false,
        }
    }

    /// Takes a fresh socket after the old one ended. What was outstanding is lost.
    pub(crate) fn reopen(&mut self, stream: TcpStream) {
        self.stream = stream;
        self.out.clear();
        self.written = 0;
        self.inbox.clear();
        self.read = 0;
        self.watched = false;
    }

    /// Forgets what is outstanding and says how much it was.
    pub(crate) fn abandon(&mut self) -> u64 {
        let lost = self.outstanding.len() as u64;
        self.outstanding.clear();
        lost
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.written < self.out.len()
    }

    /// Queues the next request and returns its bytes; `None` when too many are outstanding.
    pub(crate) fn issue(&mut self, intended_ns: u64) -> Option<&[u8]> {
        let operation = self.speaker.draw();
        if self.outstanding.len() >= bounds::OUTSTANDING_MAX {
            return None;
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        let start = self.out.len();
        self.speaker.request(operation, &mut self.out);
        self.outstanding.push_back(Outstanding { operation, intended_ns });
        Some(&self.out[start..])
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self, tally: &mut Tally) -> Result<(), Over> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(Over),
                Ok(len) => {
                    self.written += len;
                    tally.bytes_out += len as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    /// Reads once and judges every complete answer; returns how many there were.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        now_ns: impl Fn() -> u64,
        tally: &mut Tally,
    ) -> Result<usize, Over> {
        let len = match self.stream.read(scratch) {
            Ok(0) => return Err(Over),
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(0);
            }
            Err(_) => return Err(Over),
        };
        let now_ns = now_ns();
        tally.bytes_in += len as u64;
        self.inbox.extend_from_slice(&scratch[..len]);
        let mut answers = 0;
        while self.read < self.inbox.len() {
            let Some(&Outstanding { operation, intended_ns }) = self.outstanding.front() else {
                // Bytes that nobody asked for.
                tally.wrong += 1;
                return Err(Over);
            };
            let consumed = match self.speaker.judge(operation, &self.inbox[self.read..]) {
                Verdict::Incomplete => break,
                Verdict::Wrong => {
                    self.outstanding.pop_front();
                    tally.wrong += 1;
                    return Err(Over);
                }
                Verdict::Hit(len) => {
                    tally.hits += 1;
                    tally.answered += 1;
                    len
                }
                Verdict::Miss(len) => {
                    tally.misses += 1;
                    tally.answered += 1;
                    len
                }
                Verdict::Stored(len) => {
                    tally.stored += 1;
                    tally.answered += 1;
                    len
                }
                Verdict::Refused(len) => {
                    tally.refused += 1;
                    len
                }
            };
            self.read += consumed;
            self.outstanding.pop_front();
            tally.took(now_ns.saturating_sub(intended_ns));
            tally.last_answer_ns = now_ns;
            answers += 1;
        }
        if self.read == self.inbox.len() {
            self.inbox.clear();
            self.read = 0;
        } else if self.read > bounds::READ_LEN {
            self.inbox.drain(..self.read);
            self.read = 0;
        }
        Ok(answers)
    }
}
