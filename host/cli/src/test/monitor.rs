//! The emulator's monitor (QMP), by which a test changes the machine while it runs.

use super::guest::PATIENCE;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Where the emulator listens: a socket that nobody else reaches, gone with this value.
pub struct Place {
    path: PathBuf,
    _folder: Scratch,
}

impl Place {
    /// A fresh one.
    pub fn new() -> Outcome<Self> {
        let folder = Scratch::new()?;
        Ok(Self { path: folder.file("monitor"), _folder: folder })
    }

    /// What the emulator has to be told so that it listens there.
    pub fn arguments(&self) -> [String; 4] {
        let socket = format!("socket,id=monitor,path={},server=on,wait=off", self.path.display());
        ["-chardev", &socket, "-mon", "chardev=monitor,mode=control"].map(String::from)
    }
}

/// A conversation with the emulator.
pub struct Monitor(BufReader<UnixStream>);

impl Monitor {
    /// Begins it. The emulator makes its socket before the guest runs: who has heard from the guest will be heard.
    pub fn open(place: &Place) -> Outcome<Self> {
        let stream =
            UnixStream::connect(&place.path).context(|| "cannot reach the emulator's monitor".into())?;
        stream.set_read_timeout(Some(PATIENCE)).context(|| "cannot set a time-out".into())?;
        let mut monitor = Self(BufReader::new(stream));
        monitor.command("{\"execute\":\"qmp_capabilities\"}")?;
        Ok(monitor)
    }

    /// Gives an order and waits until it is taken.
    pub fn command(&mut self, command: &str) -> Outcome<()> {
        let silent = || format!("the emulator's monitor does not answer {command}");
        self.0.get_mut().write_all(format!("{command}\n").as_bytes()).context(silent)?;
        // Events and the greeting come in between.
        self.until(command, |line| line.starts_with("{\"return\""))
    }

    /// Waits until it has told such an event of such a device.
    pub fn event(&mut self, event: &str, device: &str) -> Outcome<()> {
        let device = format!("\"device\": \"{device}\"");
        self.until(event, |line| line.contains(event) && line.contains(&device))
    }

    fn until(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> Outcome<()> {
        let silent = || format!("the emulator's monitor says nothing about {what}");
        let mut line = String::new();
        while self.0.read_line(&mut line).context(silent)? > 0 {
            if is_it(&line) {
                return Ok(());
            }
            if line.starts_with("{\"error\"") {
                return Err(Trouble::new(format!("{what}: {}", line.trim())));
            }
            line.clear();
        }
        Err(Trouble::new(silent()))
    }
}
