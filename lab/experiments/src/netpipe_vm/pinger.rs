//! A transmitter that notes how long each message took: `NPtcp` says no more than the mean of its quickest trial.
//!
//! The text of both sides is NetPIPE's own (`nom-netpipe` has it in words), so either receiver answers.

use super::PAPER;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_netpipe::PORT;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const SYNC: &[u8; 6] = b"SyncMe";
const QUIT: &[u8; 5] = b"QUIT\0";
const WARM_UP: usize = 100;
/// Messages of a trial, and how many trials Debian's receiver expects.
const REPEATS: u32 = 2_000;
const TRIALS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);

/// From the first byte of a message to the last one of its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pinged {
    pub mean_us: f64,
    /// Standard deviation.
    pub deviation_us: f64,
}

/// Measures one receiver to its end.
pub fn run(target: Ipv4Addr) -> Outcome<Pinged> {
    let target = SocketAddr::from((target, PORT));
    let what = || format!("the receiver at {target}");
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context(what)?;
    stream.set_nodelay(true).context(what)?;
    stream.set_read_timeout(Some(PATIENCE)).context(what)?;
    converse(&mut stream).context(what)?.ok_or_else(|| Trouble::new("the receiver speaks another language"))
}

/// `None`: it said something else than NetPIPE would.
fn converse(stream: &mut (impl Read + Write)) -> std::io::Result<Option<Pinged>> {
    let len = usize::try_from(PAPER.start).unwrap_or(usize::MAX);
    let message = vec![b'm'; len];
    let mut answer = vec![0; len];
    let mut took_us = Vec::with_capacity(REPEATS as usize * TRIALS);
    if !synchronised(stream)? {
        return Ok(None);
    }
    for _ in 0..WARM_UP {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
    }
    // After what is not measured, and before the only length.
    if !synchronised(stream)? || !synchronised(stream)? {
        return Ok(None);
    }
    stream.write_all(&REPEATS.to_be_bytes())?;
    for _ in 0..TRIALS {
        if !synchronised(stream)? {
            return Ok(None);
        }
        for _ in 0..REPEATS {
            let begun = Instant::now();
            stream.write_all(&message)?;
            stream.read_exact(&mut answer)?;
            took_us.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    stream.write_all(QUIT)?;
    Ok(Some(seen(&took_us)))
}

fn synchronised(stream: &mut (impl Read + Write)) -> std::io::Result<bool> {
    let mut heard = [0; SYNC.len()];
    stream.write_all(SYNC)?;
    stream.read_exact(&mut heard)?;
    Ok(heard == *SYNC)
}

fn seen(took_us: &[f64]) -> Pinged {
    let count = took_us.len() as f64;
    let mean_us = took_us.iter().sum::<f64>() / count;
    let squares: f64 = took_us.iter().map(|us| (us - mean_us).powi(2)).sum();
    Pinged { mean_us, deviation_us: (squares / count).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what NetPIPE's receiver would, and counts what it is sent.
    struct Receiver {
        heard: Vec<u8>,
        say: std::collections::VecDeque<u8>,
        strange: bool,
    }

    impl Write for Receiver {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.heard.extend_from_slice(bytes);
            match bytes.len() {
                6 if self.strange => self.say.extend(*b"Sync??"),
                6 => self.say.extend(*SYNC),
                1_024 => self.say.extend(bytes),
                _ => {}
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Read for Receiver {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.say.read(into)
        }
    }

    #[test]
    fn it_speaks_as_netpipe_does_and_counts_each_message() {
        let mut receiver = Receiver { heard: Vec::new(), say: Default::default(), strange: false };
        assert!(converse(&mut receiver).unwrap().is_some());
        let messages = 1_024 * (WARM_UP + TRIALS * REPEATS as usize);
        assert_eq!(receiver.heard.len(), messages + (3 + TRIALS) * SYNC.len() + 4 + QUIT.len());
        let mut strange = Receiver { strange: true, ..receiver };
        assert_eq!(converse(&mut strange).unwrap(), None);
        assert_eq!(seen(&[1.0, 3.0]), Pinged { mean_us: 2.0, deviation_us: 1.0 });
    }
}
