//! Clients of an echo on Linux's sockets, for figures: the same code whoever serves.

use rustix::event::{Timespec, epoll};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes on their way of a bulk transfer in one call.
const BULK_LEN: usize = 64 * 1024;
/// Events taken in one wait.
const EVENTS_MAX: usize = 256;
/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What was answered, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// Round trips, or bytes of a bulk transfer.
    pub count: u64,
    /// How long they took.
    pub time: Duration,
}

impl Answered {
    /// In a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}

/// Keeps one request of `len` bytes on its way on each connection, never sleeping, and counts answers for `time` after
/// `warm_up`. `counting` is called when that begins and when it ends.
pub fn ask(
    target: SocketAddr,
    connections: usize,
    len: usize,
    warm_up: Duration,
    time: Duration,
    mut counting: impl FnMut(),
) -> std::io::Result<Answered> {
    let request = vec![b'q'; len];
    let mut answer = vec![0; len];
    let waiter = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut streams = Vec::with_capacity(connections);
    for name in 0..connections {
        let stream = connect(target)?;
        epoll::add(&waiter, &stream, epoll::EventData::new_u64(name as u64), epoll::EventFlags::IN)?;
        // What is read of the answer that is awaited.
        streams.push((stream, 0usize));
    }
    for (stream, _) in &mut streams {
        stream.write_all(&request)?;
    }
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let (begin, mut heard) = (Instant::now(), Instant::now());
    let mut counted: Option<(Instant, u64)> = None;
    loop {
        events.clear();
        // One connection needs no list of who is ready.
        if connections == 1 {
            events.push(epoll::Event { flags: epoll::EventFlags::IN, data: epoll::EventData::new_u64(0) });
        } else {
            let _ = epoll::wait(
                &waiter,
                rustix::buffer::spare_capacity(&mut events),
                Some(&Timespec { tv_sec: 0, tv_nsec: 0 }),
            );
        }
        let now = Instant::now();
        for event in &events {
            let (stream, read) = &mut streams[event.data.u64() as usize];
            match stream.read(&mut answer[*read..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(more) => *read += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if *read == len {
                if answer != request {
                    return Err(Error::other("an answer differs from its request"));
                }
                *read = 0;
                heard = now;
                if let Some((_, count)) = &mut counted {
                    *count += 1;
                }
                stream.write_all(&request)?;
            }
        }
        match counted {
            None if now - begin >= warm_up => {
                counting();
                counted = Some((Instant::now(), 0));
            }
            Some((since, count)) if now - since >= time => {
                counting();
                return Ok(Answered { count, time: now - since });
            }
            _ => {}
        }
        if now - heard > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// Sends as much as goes on one connection and reads it back; counts bytes that came back.
pub fn stream(target: SocketAddr, warm_up: Duration, time: Duration) -> std::io::Result<Answered> {
    let mut stream = connect(target)?;
    let out = vec![b'q'; BULK_LEN];
    let mut back = vec![0; BULK_LEN];
    let (begin, mut heard) = (Instant::now(), Instant::now());
    let mut counted: Option<(Instant, u64)> = None;
    loop {
        let now = Instant::now();
        match stream.write(&out) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match stream.read(&mut back) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                heard = now;
                if let Some((_, count)) = &mut counted {
                    *count += len as u64;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match counted {
            None if now - begin >= warm_up => counted = Some((now, 0)),
            Some((since, count)) if now - since >= time => {
                return Ok(Answered { count, time: now - since });
            }
            _ => {}
        }
        if now - heard > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}
