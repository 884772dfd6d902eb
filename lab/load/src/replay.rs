//! A recording over sockets.
//!
//! Every connection is opened before the clock starts, sends its requests when they are due, closes its sending
//! side after its last request, and reads until the other side closes too. So the answers are complete without
//! knowing the protocol.

use crate::bounds;
use crate::opener::Opener;
use crate::plan::LoadError;
use crate::recording::{Answered, Answers, Recording};
use crate::waiter::{Events, Waiter, raise_descriptor_limit};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest sleep of the loop.
const TURN_NS: u64 = 20_000_000;

struct Line {
    name: u32,
    stream: TcpStream,
    requests: Vec<(u64, usize)>,
    next: usize,
    out: Vec<u8>,
    written: usize,
    shut: bool,
    over: bool,
    answered: Answered,
}

/// Plays a recording and returns every connection's answers. `grace` is how long answers are waited for after the
/// last request; connections that have not closed by then are marked as cut.
pub fn replay(recording: &Recording, target: SocketAddr, grace: Duration) -> Result<Answers, LoadError> {
    replay_from(recording, target, grace, || {})
}

/// As [`replay`], and calls `begin` when all connections are open and the recording's clock starts.
pub fn replay_from(
    recording: &Recording,
    target: SocketAddr,
    grace: Duration,
    begin: impl FnOnce(),
) -> Result<Answers, LoadError> {
    raise_descriptor_limit();
    let waiter = Waiter::new()?;
    let mut lines = open_all(recording, target, &waiter)?;
    let last_us = recording.arrivals.last().map_or(0, |arrival| arrival.time_us);
    let end_ns = last_us * 1000 + grace.as_nanos() as u64;
    begin();
    let start = Instant::now();
    let (mut events, mut ready) = (Events::new(), Vec::new());
    let mut scratch = vec![0; bounds::READ_LEN];
    loop {
        let now_ns = start.elapsed().as_nanos() as u64;
        let mut due_ns = end_ns;
        for (place, line) in lines.iter_mut().enumerate().filter(|(_, line)| !line.over) {
            while let Some(&(time_us, arrival)) = line.requests.get(line.next) {
                if time_us * 1000 > now_ns {
                    due_ns = due_ns.min(time_us * 1000);
                    break;
                }
                line.out.extend_from_slice(&recording.arrivals[arrival].request);
                line.next += 1;
            }
            let wanted = line.written < line.out.len();
            line.flush();
            if wanted {
                waiter.want_write(&line.stream, place, line.written < line.out.len());
            }
        }
        if now_ns >= end_ns || lines.iter().all(|line| line.over) {
            break;
        }
        waiter.wait(
            &mut events,
            due_ns.saturating_sub(start.elapsed().as_nanos() as u64).min(TURN_NS),
            &mut ready,
        );
        for &place in &ready {
            lines[place].receive(&mut scratch);
            if lines[place].over {
                waiter.remove(&lines[place].stream);
            }
        }
    }
    Ok(Answers { connections: lines.into_iter().map(|line| (line.name, line.answered)).collect() })
}

fn open_all(recording: &Recording, target: SocketAddr, waiter: &Waiter) -> Result<Vec<Line>, LoadError> {
    let mut requests = vec![Vec::new(); recording.connections() as usize];
    for (place, arrival) in recording.arrivals.iter().enumerate() {
        requests[arrival.connection as usize].push((arrival.time_us, place));
    }
    let mut lines = Vec::new();
    let mut opener = Opener::new(target);
    for (name, requests) in requests.into_iter().enumerate() {
        let stream = opener.next()?;
        waiter.add(&stream, lines.len())?;
        lines.push(Line {
            name: name as u32,
            stream,
            requests,
            next: 0,
            out: Vec::new(),
            written: 0,
            shut: false,
            over: false,
            answered: Answered::default(),
        });
    }
    Ok(lines)
}

impl Line {
    fn flush(&mut self) {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reading side will say that it is over.
                Err(_) => return,
            }
        }
        self.out.clear();
        self.written = 0;
        if self.next == self.requests.len() && !self.shut {
            self.shut = true;
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    fn receive(&mut self, scratch: &mut [u8]) {
        match self.stream.read(scratch) {
            Ok(0) => {
                self.over = true;
                self.answered.complete = self.shut;
            }
            Ok(len) if self.answered.bytes.len() + len > bounds::ANSWER_BYTES_MAX => self.over = true,
            Ok(len) => self.answered.bytes.extend_from_slice(&scratch[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.over = true,
        }
        if self.over {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}
