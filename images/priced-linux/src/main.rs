//! priced as a Linux process: asks the metadata service or other feeds, checks what they say with `nom_feeds`, and
//! writes the bulletin board in shared memory, whose readers it notifies.
//!
//! Feeds over TLS are believed when the system's authorities, or those of `--ca FILE` alone, vouch for them.
//! Refused prices and lost connections are lines on standard error. SIGTERM, SIGINT or the death of the parent end
//! it; the board's file stays, with the last prices and the time until which they are valid.

#![forbid(unsafe_code)]

mod arguments;

use arguments::Arguments;
use nom_feeds::priced::{Action, Priced};
use nom_linux_board::Publisher;
use nom_linux_provider::{Connection, Event, Trust};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest sleep; only a bound, since everything that happens has a descriptor or a deadline.
const SLEEP_MAX_NS: u64 = 1_000_000_000;
/// Bytes of one reading turn; an answer is smaller.
const READ_LEN: usize = 16 * 1024;

fn main() -> ExitCode {
    if std::env::args_os().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{}", arguments::USAGE);
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::read(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("nom-priced-linux: {what}");
            return ExitCode::from(2);
        }
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("nom-priced-linux: {what}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // Whoever started this process is the one who ends it; when that one is gone, so is this.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| text(&error))?;
    let asked = Arc::new(AtomicBool::new(false));
    let stop = stop_signals(&asked).map_err(|error| format!("no signal handler: {error}"))?;
    let publisher = Publisher::create(&arguments.board).map_err(|error| text(&error))?;
    let priced = Priced::new(arguments.settings.clone(), entropy()?, now_ns());
    let trust = trust(arguments)?;
    let mut process =
        Process { priced, publisher, trust, connection: None, stop, scratch: vec![0; READ_LEN] };
    while !asked.load(Ordering::Relaxed) {
        process.turn();
    }
    Ok(())
}

struct Process {
    priced: Priced,
    publisher: Publisher,
    /// Who is believed over TLS; nobody, where no feed needs it.
    trust: Option<Trust>,
    connection: Option<Connection>,
    stop: UnixStream,
    scratch: Vec<u8>,
}

impl Process {
    /// Does what is due, then sleeps until something happens.
    fn turn(&mut self) {
        while let Some(action) = self.priced.poll(now_ns()) {
            self.act(action);
        }
        self.wait();
        self.publisher.accept();
        let Some(connection) = &mut self.connection else { return };
        match connection.turn(&mut self.scratch) {
            None => {}
            Some(Event::Open) => self.priced.connected(now_ns()),
            Some(Event::Bytes(len)) => self.priced.received(now_ns(), unix_ns(), &self.scratch[..len]),
            Some(Event::Over) => {
                self.connection = None;
                self.priced.closed(now_ns());
            }
            Some(Event::Failed(why)) => {
                self.connection = None;
                self.priced.failed(now_ns(), &why);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(url) => match Connection::begin(&url, self.trust.as_ref()) {
                Ok(connection) => self.connection = Some(connection),
                Err(why) => self.priced.failed(now_ns(), &why),
            },
            Action::Send(bytes) => {
                if let Some(connection) = &mut self.connection {
                    connection.send(&bytes);
                }
            }
            Action::Disconnect => self.connection = None,
            Action::Publish(prices) => {
                if let Err(error) = self.publisher.publish(&prices) {
                    eprintln!("priced: {error}");
                }
            }
            Action::Report(line) => eprintln!("priced: {line}"),
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&self) {
        // A place without a connection watches the signals twice.
        let nobody = (self.stop.as_fd(), PollFlags::empty());
        let Some((fd, flags)) = self.connection.as_ref().map_or(Some(nobody), Connection::interest) else {
            return;
        };
        let sleep_ns = self.priced.deadline_ns().saturating_sub(now_ns()).min(SLEEP_MAX_NS);
        let timeout = Timespec {
            tv_sec: (sleep_ns / 1_000_000_000) as i64,
            tv_nsec: (sleep_ns % 1_000_000_000) as i64,
        };
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds =
            [PollFd::from_borrowed_fd(fd, flags), watch(self.stop.as_fd()), watch(self.publisher.as_fd())];
        // An interrupted sleep is an early one.
        let _ = poll(&mut fds, Some(&timeout));
    }
}

/// Whom the feeds' certificates may come from, when one of them has any.
fn trust(arguments: &Arguments) -> Result<Option<Trust>, String> {
    match &arguments.authorities {
        Some(file) => Trust::file(file).map(Some),
        None if arguments.settings.feeds().iter().any(|feed| feed.url.secure) => Trust::system().map(Some),
        None => Ok(None),
    }
}

/// SIGTERM and SIGINT as a flag, and as bytes in a socket, which wake a sleeper.
fn stop_signals(asked: &Arc<AtomicBool>) -> std::io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(asked))?;
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// The same clock for all processes of a machine: the board's stamps are on it.
fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn entropy() -> Result<u64, String> {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Ok(u64::from_le_bytes(bytes)),
        _ => Err("no entropy: getrandom failed".into()),
    }
}
