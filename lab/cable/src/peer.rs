//! What Linux's own stack does at the client's end, each byte checked.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// A client waits this long for a step. Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(target: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&target, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Sends `len` bytes to an echo in pieces while reading them back, half-closes, and checks every byte and the end.
///
/// # Panics
/// When anything differs.
pub fn exchange(target: SocketAddr, len: usize, piece: usize) {
    let stream = connect(target);
    let bytes: Vec<u8> =
        (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    let (mut out, sent) = (stream.try_clone().expect("a second handle"), bytes.clone());
    let writer = thread::spawn(move || {
        for part in sent.chunks(piece) {
            out.write_all(part).expect("room to write");
        }
        out.shutdown(Shutdown::Write).expect("a half close");
    });
    let mut answer = Vec::new();
    (&stream).read_to_end(&mut answer).expect("an end");
    writer.join().expect("a writer that got through");
    assert_eq!(answer.len(), len);
    let differs = answer.iter().zip(&bytes).position(|(got, sent)| got != sent);
    assert_eq!(differs, None, "the first byte that differs");
}

/// Opens connections to an echo, and sends on all of them before it reads from any, some rounds.
///
/// # Panics
/// When anything differs.
pub fn rounds(target: SocketAddr, connections: usize, rounds: u8) {
    let streams: Vec<TcpStream> = (0..connections).map(|_| connect(target)).collect();
    for round in 0..rounds {
        for mut stream in &streams {
            stream.write_all(&[round; 100]).expect("room to write");
        }
        for mut stream in &streams {
            let mut answer = [0; 100];
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, [round; 100]);
        }
    }
}
