//! Clients that misbehave: garbage, giant keys, values that never end, one byte at a time, answers that are never read,
//! and resets in every state. Nothing of it is an operation that a server may count as accepted, so what others did can
//! be compared with its books.
//!
//! One thread, a bounded number of connections, and each act ends by itself.

use crate::generator::Stop;
use crate::random::Random;
use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Connections that send one byte now and then.
const SLOW: usize = 16;
/// How long an answer is waited for, and a piece may take to be taken.
const PATIENCE: Duration = Duration::from_millis(20);
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest giant key and unfinished value.
const GIANT: u64 = 200_000;
/// What a slow client would say if it ever came to the end.
const SLOW_LINES: &[u8] = b"set slow 0 0 1000000\r\nslow";

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abused {
    /// Connections opened.
    pub connections: u64,
    /// Of these, given up with a reset.
    pub resets: u64,
    /// Acts of each kind.
    pub acts: [u64; KINDS as usize],
}

/// How many kinds of acts there are.
pub const KINDS: u64 = 8;

/// Misbehaves towards an address until it is stopped. Connections that are refused are part of it.
pub fn abuse(target: SocketAddr, seed: u64, stop: &Stop) -> Abused {
    let mut random = Random::new(seed);
    let mut done = Abused::default();
    let mut slow: Vec<(TcpStream, usize)> = Vec::new();
    while !stop.is_stopped() {
        let kind = random.below(KINDS);
        done.acts[kind as usize] += 1;
        for (stream, place) in &mut slow {
            // One that was cut meanwhile is replaced when its turn comes.
            let _ = stream.write(&SLOW_LINES[*place % SLOW_LINES.len()..][..1]);
            *place = (*place + 1).min(SLOW_LINES.len() - 1);
        }
        let Ok(mut stream) = TcpStream::connect_timeout(&target, CONNECT) else { continue };
        done.connections += 1;
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_nodelay(true);
        let reset = match kind {
            // Garbage. High bytes only, so that no command is among them by chance.
            0 => {
                let bytes: Vec<u8> =
                    (0..random.below(4_000)).map(|_| (random.next() as u8 | 0x80).min(0xfe)).collect();
                send(&mut stream, &bytes, &mut random);
                send(&mut stream, b"\r\n", &mut random);
                drain(&mut stream);
                random.below(2) == 0
            }
            // A key without an end.
            1 => {
                let key = vec![b'k'; random.below(GIANT) as usize + 300];
                send(&mut stream, b"get ", &mut random);
                send(&mut stream, &key, &mut random);
                drain(&mut stream);
                random.below(2) == 0
            }
            // Within a value.
            2 => {
                let len = random.below(GIANT) + 10;
                send(&mut stream, format!("set half 0 0 {len}\r\n").as_bytes(), &mut random);
                let part = vec![b'x'; random.below(len) as usize];
                send(&mut stream, &part, &mut random);
                random.below(4) > 0
            }
            // Within a line.
            3 => {
                send(&mut stream, b"set line 0 ", &mut random);
                true
            }
            // Before a word, and after half a close.
            4 => true,
            5 => {
                send(&mut stream, b"bogus\r\nbog", &mut random);
                let _ = stream.shutdown(Shutdown::Write);
                random.below(2) == 0
            }
            // Never reads what it asked for.
            6 => {
                let lines = b"bogus\r\n".repeat(random.below(20_000) as usize);
                send(&mut stream, &lines, &mut random);
                true
            }
            _ => {
                if slow.len() == SLOW {
                    slow.remove(random.below(SLOW as u64) as usize);
                }
                slow.push((stream, 0));
                continue;
            }
        };
        if reset && set_socket_linger(&stream, Some(Duration::ZERO)).is_ok() {
            done.resets += 1;
        }
    }
    done
}

/// Sends in pieces of any size; false once the other side takes no more.
fn send(stream: &mut TcpStream, mut bytes: &[u8], random: &mut Random) -> bool {
    while !bytes.is_empty() {
        let len = (random.below(30_000) as usize + 1).min(bytes.len());
        match stream.write(&bytes[..len]) {
            Ok(0) => return false,
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

/// Reads until nothing came for a while, or the other side closed.
fn drain(stream: &mut TcpStream) {
    let mut scratch = [0; 4096];
    while matches!(stream.read(&mut scratch), Ok(1..)) {}
}
