//! The load: datagrams through the host's own kernel, so many on their way at a time, each checked when it is back.

use crate::tap_home::Guest;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// The reflector.
const TO: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 2), 7);
/// The host's end.
const FROM: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 1), 0);
/// What is on its way for longer is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a datagram: a number, and a word that says what it is.
const LEN: usize = 18;
const WORD: &[u8; 10] = b"reflect me";
/// Asks for counters; the guest writes them behind it.
const ASK: &[u8; 8] = b"counters";
const COUNTERS: usize = 3;

/// What the guest counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    pub kicks: u64,
    pub interrupts: u64,
}

impl Counted {
    pub fn since(self, before: Self) -> Self {
        Self { kicks: self.kicks - before.kicks, interrupts: self.interrupts - before.interrupts }
    }
}

/// What came of a run.
#[derive(Debug, Clone, Copy)]
pub struct Sum {
    pub answered: u64,
    pub lost: u64,
    outstanding: usize,
    seconds: f64,
}

impl Sum {
    /// Datagrams a second.
    pub fn per_s(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    /// How long one took, on the average: with a fixed number outstanding, Little's law.
    pub fn mean_us(&self) -> f64 {
        self.outstanding as f64 * self.seconds * 1e6 / self.answered.max(1) as f64
    }
}

/// A client of the reflector.
pub struct Pinger {
    socket: UdpSocket,
    next: u64,
}

impl Pinger {
    pub fn new() -> Outcome<Self> {
        let socket = UdpSocket::bind(FROM).context(|| "cannot bind a socket beside the guest".into())?;
        socket.connect(TO).context(|| "cannot reach the guest's network".into())?;
        socket.set_read_timeout(Some(LOST_AFTER)).context(|| "cannot set a time-out".into())?;
        Ok(Self { socket, next: 0 })
    }

    /// Pings until something comes back.
    pub fn wait_for_answer(&mut self, guest: &Guest) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.run(1, Duration::from_millis(1))?.answered > 0 {
                return Ok(());
            }
        }
        Err(Trouble::new(format!("the reflector is silent; its last words: {}", guest.last_words())))
    }

    /// Keeps so many datagrams on their way for so long.
    pub fn run(&mut self, outstanding: usize, time: Duration) -> Outcome<Sum> {
        let started = Instant::now();
        let first = self.next;
        let (mut on_the_way, mut answered, mut lost) = (0, 0, 0);
        let mut bytes = [0; 64];
        while started.elapsed() < time {
            while on_the_way < outstanding {
                self.send()?;
                on_the_way += 1;
            }
            match self.socket.recv(&mut bytes) {
                // One of an earlier run is late, not ours.
                Ok(len) if number(&bytes[..len])? < first => {}
                Ok(_) => {
                    answered += 1;
                    on_the_way -= 1;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    lost += on_the_way as u64;
                    on_the_way = 0;
                }
                // The guest is not there yet.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable) =>
                {
                    on_the_way = 0;
                }
                Err(error) => return Err(Trouble::new(format!("the load cannot receive: {error}"))),
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        // What is still on its way is not waited for: the next run knows it by its number.
        Ok(Sum { answered, lost, outstanding, seconds })
    }

    fn send(&mut self) -> Outcome<()> {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.next.to_le_bytes());
        bytes[8..].copy_from_slice(WORD);
        self.next += 1;
        match self.socket.send(&bytes) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable) =>
            {
                Err(Trouble::new(format!("the load cannot send: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Asks the guest what it counted.
    pub fn counters(&mut self) -> Outcome<Counted> {
        const LEN: usize = ASK.len() + 8 * COUNTERS;
        let mut question = [0; LEN];
        question[..ASK.len()].copy_from_slice(ASK);
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 64];
        while Instant::now() < deadline {
            self.socket.send(&question).context(|| "the load cannot ask".into())?;
            while let Ok(len) = self.socket.recv(&mut bytes) {
                if len == LEN && bytes.starts_with(ASK) {
                    let word = |at: usize| {
                        let start = ASK.len() + 8 * at;
                        u64::from_le_bytes(bytes[start..start + 8].try_into().expect("eight"))
                    };
                    return Ok(Counted { kicks: word(0), interrupts: word(1) });
                }
            }
        }
        Err(Trouble::new("the reflector does not say what it counted"))
    }
}

/// The number of a datagram that came back as it went.
fn number(bytes: &[u8]) -> Outcome<u64> {
    if bytes.starts_with(ASK) {
        return Ok(0);
    }
    if bytes.len() != LEN || &bytes[8..] != WORD {
        return Err(Trouble::new("a datagram came back as another one"));
    }
    Ok(u64::from_le_bytes(bytes[..8].try_into().expect("eight")))
}
