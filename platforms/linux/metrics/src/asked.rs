//! What every small server of this machine's loopback does with a client: hears it out to the end of its head, and parts.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long, and how much, a client that was answered may go on sending.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_LEN_MAX: u64 = 64 << 10;

/// What came of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The head of a request, and maybe some bytes behind it.
    Head(Vec<u8>),
    /// It took too long, or said too much: no request.
    None,
    /// It went away.
    Gone,
}

/// Reads until a head has ended, for so many bytes and so long; answers have as long to be taken.
pub fn hear(stream: &mut TcpStream, len_max: usize, patience: Duration) -> std::io::Result<Asked> {
    stream.set_write_timeout(Some(patience))?;
    let deadline = Instant::now() + patience;
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if head.len() > len_max || left.is_zero() {
            return Ok(Asked::None);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(Asked::Gone),
            Ok(len) => head.extend_from_slice(&bytes[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Asked::Head(head))
}

/// Answers and closes. What the client still sends is read for a while: a connection that is closed with unread bytes is
/// reset, and its answer may be lost with it.
pub fn part(stream: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.write_all(answer)?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(PARTING))?;
    std::io::copy(&mut stream.take(PARTING_LEN_MAX), &mut std::io::sink()).map(drop)
}
