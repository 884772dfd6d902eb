//! How soon a guest serves: from the start of the emulator's process to the first request that was answered.

use crate::tap_home::{GUEST, Guest};
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a guest may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one attempt may take before the next one is made: a segment that nobody was there for is not sent again
/// for a second.
const ATTEMPT: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_micros(500);
const ANSWER_MAX: usize = 4096;

/// What shows that a service serves.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Its port.
    pub port: u16,
    /// What it is asked.
    pub question: &'static [u8],
    /// How its answer begins.
    pub answer: &'static [u8],
}

/// Asks a guest again and again. Milliseconds from its start to the answer.
pub fn wait(guest: &mut Guest, probe: &Probe) -> Outcome<f64> {
    let deadline = guest.started() + PATIENCE;
    while Instant::now() < deadline {
        if ask(probe)? {
            return Ok(guest.started().elapsed().as_secs_f64() * 1e3);
        }
        if guest.ended() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Err(guest.autopsy())
}

/// Whether it answers. Something else than the expected answer ends the wait: it would never be right.
fn ask(probe: &Probe) -> Outcome<bool> {
    let address = SocketAddr::from((GUEST, probe.port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, ATTEMPT) else { return Ok(false) };
    let cannot = || "cannot ask a guest".to_string();
    stream.set_read_timeout(Some(PATIENCE)).context(cannot)?;
    if stream.write_all(probe.question).is_err() {
        return Ok(false);
    }
    let (mut answer, mut len) = ([0; ANSWER_MAX], 0);
    while len < probe.answer.len() {
        match stream.read(&mut answer[len..]) {
            Ok(0) => return Ok(false),
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(Trouble::new(format!("a guest took a request and is silent: {error}"))),
        }
    }
    if answer[..len].starts_with(probe.answer) {
        return Ok(true);
    }
    let words = String::from_utf8_lossy(&answer[..len]).lines().next().unwrap_or_default().to_string();
    Err(Trouble::new(format!("a guest's first answer is {words:?}")))
}
