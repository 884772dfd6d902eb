//! What a client shows of a server that costs next to nothing: one thread on Linux's sockets, on the other end of a `veth`
//! cable, that has its answer ready and sends it for whatever comes. What latency and jitter a client sees of it are the
//! client's and the host's own.

use crate::beside::{CLIENTS_PROCESSOR, SERVERS_PROCESSOR};
use nom_cable::{Cable, End, SERVER_KERNEL};
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A question is shorter, and comes at once.
const QUESTION_LEN_MAX: usize = 4096;
/// So late it hears at most that it is to stop, or that somebody connects.
const PAUSE: Duration = Duration::from_millis(5);

/// What a client hears that asks such a server, each on a processor of its own.
pub fn asked<R: Send + 'static>(
    port: u16,
    answer: Vec<u8>,
    client: impl FnOnce(SocketAddr) -> Outcome<R> + Send + 'static,
) -> Outcome<R> {
    let cable = Cable::lay().map_err(Trouble::new)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (say, listens) = std::sync::mpsc::channel();
    let told = stop.clone();
    let server = cable.spawn(End::Server, Some(SERVERS_PROCESSOR), move || {
        let listener = TcpListener::bind((SERVER_KERNEL, port))?;
        let _ = say.send(());
        serve(&listener, &answer, &told)
    });
    let server = server.map_err(Trouble::new)?;
    let heard = match listens.recv() {
        Ok(()) => {
            let run = move || client(SocketAddr::from((SERVER_KERNEL, port)));
            let client = cable.spawn(End::Client, Some(CLIENTS_PROCESSOR), run).map_err(Trouble::new);
            client.and_then(|client| client.join().map_err(|_| Trouble::new("the client failed"))?)
        }
        Err(_) => Err(Trouble::new("the server that costs nothing does not listen")),
    };
    stop.store(true, Ordering::Relaxed);
    let served = server.join().map_err(|_| Trouble::new("the server that costs nothing failed"))?;
    served.context(|| "the server that costs nothing".into())?;
    heard
}

/// Serves one connection after the other until it is told to stop.
fn serve(listener: &TcpListener, answer: &[u8], stop: &AtomicBool) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut question = [0; QUESTION_LEN_MAX];
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PAUSE))?;
        while !stop.load(Ordering::Relaxed) {
            match stream.read(&mut question) {
                Ok(0) => break,
                Ok(_) if stream.write_all(answer).is_ok() => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(_) | Err(_) => break,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn each_question_is_answered_on_one_connection_after_the_other() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener, b"answer", &stop));
            for _ in 0..2 {
                let mut stream = TcpStream::connect(address).unwrap();
                for _ in 0..3 {
                    stream.write_all(b"question").unwrap();
                    let mut heard = [0; 6];
                    stream.read_exact(&mut heard).unwrap();
                    assert_eq!(&heard, b"answer");
                }
            }
            stop.store(true, Ordering::Relaxed);
            server.join().unwrap().unwrap();
        });
    }
}
