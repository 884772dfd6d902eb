//! The same echo on Linux's sockets, by the best means that an ordinary program has: epoll, one thread, no copies
//! beyond its one buffer.

use rustix::event::{Timespec, epoll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes taken from a connection at once.
const BUFFER_LEN: usize = 64 * 1024;
/// Events taken in one wait.
const EVENTS_MAX: usize = 256;
/// Longest sleep: so late it hears at most that it is to stop.
const SLEEP_MAX_NS: i64 = 5_000_000;
/// Name of the listener among the events.
const LISTENER: u64 = u64::MAX;

/// A connection, and what could not be sent back yet.
struct Connection {
    stream: TcpStream,
    owed: Vec<u8>,
}

/// Serves on a port of any address until it is told to stop. `spinning` never sleeps.
pub fn serve_linux(
    port: u16,
    spinning: bool,
    ready: impl FnOnce(),
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    let waiter = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&waiter, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    ready();
    let timeout = Timespec { tv_sec: 0, tv_nsec: if spinning { 0 } else { SLEEP_MAX_NS } };
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut buffer = vec![0; BUFFER_LEN];
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        // An interrupted wait is an early one.
        let _ = epoll::wait(&waiter, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        for event in &events {
            let name = event.data.u64();
            if name == LISTENER {
                accept(&listener, &waiter, &mut connections)?;
                continue;
            }
            let place = &mut connections[name as usize];
            let over = place.as_mut().is_some_and(|connection| {
                let was_owing = !connection.owed.is_empty();
                let over = turn(connection, &mut buffer).is_err();
                let owing = !connection.owed.is_empty();
                if !over && was_owing != owing {
                    let flags = if owing { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                    let name = epoll::EventData::new_u64(name);
                    let _ = epoll::modify(&waiter, &connection.stream, name, flags);
                }
                over
            });
            if over {
                *place = None;
            }
        }
    }
    Ok(())
}

fn accept(
    listener: &TcpListener,
    waiter: &OwnedFd,
    connections: &mut Vec<Option<Connection>>,
) -> std::io::Result<()> {
    // Bounded by the backlog of the listener.
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let name = epoll::EventData::new_u64(connections.len() as u64);
        epoll::add(waiter, &stream, name, epoll::EventFlags::IN)?;
        connections.push(Some(Connection { stream, owed: Vec::new() }));
    }
    Ok(())
}

/// The connection is over.
struct Over;

fn turn(connection: &mut Connection, buffer: &mut [u8]) -> Result<(), Over> {
    if !connection.owed.is_empty() {
        let sent = write(&mut connection.stream, &connection.owed)?;
        connection.owed.drain(..sent);
        return Ok(());
    }
    let len = match connection.stream.read(buffer) {
        Ok(0) => return Err(Over),
        Ok(len) => len,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(_) => return Err(Over),
    };
    let sent = write(&mut connection.stream, &buffer[..len])?;
    connection.owed.extend(&buffer[sent..len]);
    Ok(())
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Over> {
    match stream.write(bytes) {
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(Over),
    }
}
