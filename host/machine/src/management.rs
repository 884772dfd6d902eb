//! The host's end of the management channel: shows the token, reads what the application says, asks it to drain.
//!
//! What comes from a guest is hostile until checked: lines are bounded, parsed strictly, and what is malformed is
//! counted and forgotten.

use crate::trouble::{Context, Outcome, Trouble};
use nom_service::management::{Command, LINE_MAX, Message};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that wait for us; the application waits behind them, as its own policy says.
const WAITING_MAX: usize = 1024;
/// How long a command may take to be written before the application counts as hung.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// What came over the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A good line, and its text as it came.
    Message(Box<Message>, String),
    /// A line that is not one of ours; the beginning of it, printable.
    Malformed(String),
}

/// Why nothing was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The time is over.
    Yet,
    /// The other side is gone.
    ForGood,
}

/// The host's end.
#[derive(Debug)]
pub struct Management {
    stream: UnixStream,
    heard: Receiver<Heard>,
}

impl Management {
    /// Takes the channel over and shows the token.
    pub fn open(stream: UnixStream, token: &str) -> Outcome<Self> {
        let reader = stream.try_clone().context(|| "cannot copy the management channel".into())?;
        stream
            .set_write_timeout(Some(WRITE_TIMEOUT))
            .context(|| "cannot set up the management channel".into())?;
        let (sender, heard) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || listen(reader, &sender));
        let mut management = Self { stream, heard };
        management.say(&Command::Hello(token.into()))?;
        Ok(management)
    }

    /// Says a command.
    pub fn say(&mut self, command: &Command) -> Outcome<()> {
        self.stream
            .write_all(command.line().as_bytes())
            .map_err(|error| Trouble::new(format!("the application does not take commands: {error}")))
    }

    /// The next line, waiting for it at most so long.
    pub fn hear(&self, timeout: Duration) -> Result<Heard, Silence> {
        self.heard.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => Silence::Yet,
            RecvTimeoutError::Disconnected => Silence::ForGood,
        })
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        // Wakes the reading thread, which holds a copy of the stream.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Cuts the stream into lines until it ends or nobody listens any more.
fn listen(mut stream: UnixStream, sender: &SyncSender<Heard>) {
    let mut line = Vec::new();
    let mut overlong = false;
    let mut buffer = [0; 4096];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        for &byte in &buffer[..count] {
            if byte != b'\n' {
                overlong |= line.len() >= LINE_MAX;
                if !overlong {
                    line.push(byte);
                }
                continue;
            }
            let heard = if overlong { malformed(&line) } else { understand(&line) };
            line.clear();
            overlong = false;
            if sender.send(heard).is_err() {
                return;
            }
        }
    }
}

fn understand(line: &[u8]) -> Heard {
    match std::str::from_utf8(line).ok().and_then(|text| Some((Message::parse(text).ok()?, text))) {
        Some((message, text)) => Heard::Message(Box::new(message), text.into()),
        None => malformed(line),
    }
}

fn malformed(line: &[u8]) -> Heard {
    let text = String::from_utf8_lossy(&line[..line.len().min(80)]);
    Heard::Malformed(text.chars().filter(|letter| !letter.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_are_heard_and_bad_ones_are_named() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut management = Management::open(ours, "feed").unwrap();
        management.say(&Command::Drain).unwrap();
        let mut said = [0; 17];
        theirs.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello feed\ndrain\n");

        let refused = Message::Refused { reason: "wrong token".into() };
        theirs.write_all(refused.line().as_bytes()).unwrap();
        theirs.write_all(&vec![b'x'; 3 * LINE_MAX]).unwrap();
        theirs.write_all(b"\n\x1b{nonsense\n").unwrap();
        drop(theirs);
        let wait = Duration::from_secs(5);
        assert!(matches!(management.hear(wait), Ok(Heard::Message(message, _)) if *message == refused));
        assert!(matches!(management.hear(wait), Ok(Heard::Malformed(text)) if text.len() == 80));
        assert_eq!(management.hear(wait), Ok(Heard::Malformed("{nonsense".into())));
        assert_eq!(management.hear(wait), Err(Silence::ForGood));
    }
}
