//! A transmitter that notes how long each message took: `NPtcp` says no more than the mean of its quickest trial.
//!
//! The text of both sides is NetPIPE's own (`nom-netpipe` has it in words), so either receiver answers: it sends back what
//! comes, one message after the other, however many wait for it. With several on their way both directions are busy,
//! which is what the paper's *many* (`NPtcp -2`) is about; a trial with one at a time is its *single*.

use super::PAPER;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_netpipe::PORT;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Messages on their way at once where there are many: as many as the other services have connections then.
pub const MANY: usize = crate::guests::PAPER_MANY as usize;
const SYNC: &[u8; 6] = b"SyncMe";
const QUIT: &[u8; 5] = b"QUIT\0";
const WARM_UP: usize = 100;
/// Messages of a trial.
const REPEATS: u32 = 8_000;
/// Messages on their way in each of the trials that Debian's receiver expects.
const TRIALS: [usize; 3] = [1, MANY, 1];
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers that took longer are late: the paper's limit.
const LIMIT_US: f64 = 750.0;

/// What was seen of messages, each from its first byte to the last one of its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pinged {
    /// Messages in a second.
    pub per_s: f64,
    pub mean_us: f64,
    /// Standard deviation.
    pub deviation_us: f64,
    /// The part that took longer than the limit.
    pub late: f64,
}

/// Both scenarios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Both {
    pub many: Pinged,
    pub single: Pinged,
}

/// Measures one receiver to its end.
pub fn run(target: Ipv4Addr) -> Outcome<Both> {
    let target = SocketAddr::from((target, PORT));
    let what = || format!("the receiver at {target}");
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context(what)?;
    stream.set_nodelay(true).context(what)?;
    stream.set_read_timeout(Some(PATIENCE)).context(what)?;
    converse(&mut stream).context(what)?.ok_or_else(|| Trouble::new("the receiver speaks another language"))
}

/// `None`: it said something else than NetPIPE would.
fn converse(stream: &mut (impl Read + Write)) -> std::io::Result<Option<Both>> {
    if !synchronised(stream)? {
        return Ok(None);
    }
    let _ = trial(stream, WARM_UP, 1)?;
    // After what is not measured, and before the only length.
    if !synchronised(stream)? || !synchronised(stream)? {
        return Ok(None);
    }
    stream.write_all(&REPEATS.to_be_bytes())?;
    let (mut many, mut single) = (Took::default(), Took::default());
    for at_once in TRIALS {
        if !synchronised(stream)? {
            return Ok(None);
        }
        let took = trial(stream, REPEATS as usize, at_once)?;
        if at_once == 1 { &mut single } else { &mut many }.add(took);
    }
    stream.write_all(QUIT)?;
    Ok(Some(Both { many: many.seen(), single: single.seen() }))
}

fn synchronised(stream: &mut (impl Read + Write)) -> std::io::Result<bool> {
    let mut heard = [0; SYNC.len()];
    stream.write_all(SYNC)?;
    stream.read_exact(&mut heard)?;
    Ok(heard == *SYNC)
}

/// So many messages, so many of them on their way at once.
fn trial(stream: &mut (impl Read + Write), messages: usize, at_once: usize) -> std::io::Result<Took> {
    let len = usize::try_from(PAPER.start).unwrap_or(usize::MAX);
    let message = vec![b'm'; len];
    let mut answer = vec![0; len];
    let mut sent = VecDeque::with_capacity(at_once);
    let mut took = Took { us: Vec::with_capacity(messages), seconds: 0.0 };
    let begun = Instant::now();
    for number in 0..messages + at_once {
        if number >= at_once {
            stream.read_exact(&mut answer)?;
            took.us.extend(sent.pop_front().map(|sent: Instant| sent.elapsed().as_secs_f64() * 1e6));
        }
        if number < messages {
            sent.push_back(Instant::now());
            stream.write_all(&message)?;
        }
    }
    took.seconds = begun.elapsed().as_secs_f64();
    Ok(took)
}

/// How long each message took, and all of them together.
#[derive(Debug, Default)]
struct Took {
    us: Vec<f64>,
    seconds: f64,
}

impl Took {
    fn add(&mut self, more: Self) {
        self.us.extend(more.us);
        self.seconds += more.seconds;
    }

    fn seen(&self) -> Pinged {
        let count = self.us.len() as f64;
        let mean_us = self.us.iter().sum::<f64>() / count;
        let squares: f64 = self.us.iter().map(|us| (us - mean_us).powi(2)).sum();
        let late = self.us.iter().filter(|us| **us > LIMIT_US).count() as f64 / count;
        Pinged { per_s: count / self.seconds, mean_us, deviation_us: (squares / count).sqrt(), late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what NetPIPE's receiver would, and counts what it is sent.
    #[derive(Default)]
    struct Receiver {
        heard: usize,
        say: VecDeque<u8>,
        strange: bool,
        /// Most bytes that waited to be read.
        most: usize,
    }

    impl Write for Receiver {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.heard += bytes.len();
            match bytes.len() {
                6 if self.strange => self.say.extend(*b"Sync??"),
                6 => self.say.extend(*SYNC),
                1_024 => self.say.extend(bytes),
                _ => {}
            }
            self.most = self.most.max(self.say.len());
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
        let mut receiver = Receiver::default();
        assert!(converse(&mut receiver).unwrap().is_some());
        let messages = 1_024 * (WARM_UP + TRIALS.len() * REPEATS as usize);
        assert_eq!(receiver.heard, messages + (3 + TRIALS.len()) * SYNC.len() + 4 + QUIT.len());
        assert_eq!((receiver.most, receiver.say.len()), (1_024 * MANY, 0));
        let mut strange = Receiver { strange: true, ..receiver };
        assert_eq!(converse(&mut strange).unwrap(), None);
    }

    #[test]
    fn what_all_took_becomes_a_mean_and_a_deviation() {
        let mut took = Took { us: vec![1.0, 3.0], seconds: 0.5 };
        assert_eq!(took.seen(), Pinged { per_s: 4.0, mean_us: 2.0, deviation_us: 1.0, late: 0.0 });
        took.add(Took { us: vec![1_000.0, 749.0], seconds: 0.5 });
        assert_eq!((took.seen().per_s, took.seen().late), (4.0, 0.25));
    }
}
