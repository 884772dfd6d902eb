//! Gives a terminal back for a run that was killed and cannot do so itself.

use nom_view::GIVE;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What it does: it waits for a line, which a run says that gives its screen back itself, or for the end of its pipe, which
/// the kernel closes for a run that is gone.
const WAIT: &str = "trap '' INT HUP TTOU; read -r line || printf '%s' \"$0\"";
/// What is said then.
const WORDS: &str = "nom: the run was killed\r\n";

/// Somebody who waits beside a screen that was taken.
pub struct Guard(Child);

impl Guard {
    /// Begins to wait. Without a shell a killed run leaves its screen as it is.
    pub fn of(terminal: OwnedFd) -> Option<Self> {
        Command::new("/bin/sh")
            .args(["-c", WAIT])
            .arg(format!("{GIVE}{WORDS}"))
            .stdin(Stdio::piped())
            .stdout(terminal)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()
            .map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"\n");
        }
        let _ = self.0.wait();
    }
}
