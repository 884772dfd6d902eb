//! A `nom run` that was started as a person starts it, and read as a program reads it.

use nom_machine::machine::dying_with_us;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a service may take to be up: it may have to be built first.
const UP: Duration = Duration::from_secs(600);

/// Our own program.
pub fn ourselves() -> Outcome<PathBuf> {
    std::env::current_exe().context(|| "cannot tell which program this is".into())
}

/// A command of ours that ended: its status, its standard output and its standard error.
pub struct Ended {
    /// `None` when it was killed.
    pub code: Option<i32>,
    /// What a program reads.
    pub out: String,
    /// What a person reads.
    pub words: String,
}

/// Runs a command of ours to its end.
pub fn command(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Outcome<Ended> {
    let mut command = dying_with_us(&ourselves()?);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    let output = command.output().context(|| "cannot start nom".into())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), out: text(&output.stdout), words: text(&output.stderr) })
}

/// A `nom run --json -` that serves.
pub struct Started {
    child: Child,
    /// Its JSON lines.
    pub json: Serial,
    /// Its words for people.
    pub words: Serial,
    /// The port it serves.
    pub port: u16,
}

impl Started {
    /// Starts it and waits until it serves.
    pub fn new(port: u16, arguments: &[&str]) -> Outcome<Self> {
        Self::start(port, &[&["--port", &port.to_string()], arguments].concat())
    }

    /// The same where it has no port on localhost.
    pub fn elsewhere(arguments: &[&str]) -> Outcome<Self> {
        Self::start(0, arguments)
    }

    fn start(port: u16, arguments: &[&str]) -> Outcome<Self> {
        let mut started = Self::launch(arguments, |_| {})?;
        started.up()?;
        started.port = port;
        Ok(started)
    }

    /// Starts it with these arguments and waits for nothing.
    pub fn launch(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Outcome<Self> {
        let mut command = dying_with_us(&ourselves()?);
        command.args(["run", "--json", "-"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().context(|| "cannot start nom".into())?;
        let json = Serial::read(child.stdout.take().expect("stdout is a pipe"));
        let words = Serial::read(child.stderr.take().expect("stderr is a pipe"));
        Ok(Self { child, json, words, port: 0 })
    }

    /// Waits until it serves, and hears on which port.
    pub fn up(&mut self) -> Outcome<()> {
        if self.words.wait_for(UP, |line| line.contains("serving on")).is_none() {
            let last = self.words.last_words().unwrap_or_default();
            return Err(Trouble::new(format!("the service did not come up: {last}")));
        }
        self.port = self.told_port("serving on localhost:").unwrap_or(0);
        Ok(())
    }

    /// The port that it says behind these words.
    pub fn told_port(&self, words: &str) -> Outcome<u16> {
        let lines = self.words.lines();
        let said = lines.iter().find_map(|line| line.text.split_once(words));
        said.and_then(|(_, rest)| rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok())
            .ok_or_else(|| Trouble::new(format!("it does not say {words:?} and a port")))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) -> Outcome<()> {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(Trouble::new(format!("kill -s {name}: {other:?}"))),
        }
    }

    /// Waits for its end; the code.
    pub fn wait(&mut self, timeout: Duration) -> Outcome<i32> {
        self.ended(timeout)?.ok_or_else(|| Trouble::new("it was killed"))
    }

    /// The same; no code when it was killed.
    pub fn ended(&mut self, timeout: Duration) -> Outcome<Option<i32>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait().context(|| "cannot wait for nom".into())? {
                Some(status) => {
                    self.json.wait_end(Duration::from_secs(2));
                    self.words.wait_end(Duration::from_secs(2));
                    return Ok(status.code());
                }
                None if Instant::now() > deadline => return Err(Trouble::new("it did not end in time")),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Processes that it started and that still run.
    pub fn children(&self) -> Vec<u32> {
        let id = self.id().to_string();
        let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|process: &u32| parent_of(*process).as_deref() == Some(id.as_str()))
            .collect()
    }

    /// The text of the first JSON line that begins with this key.
    pub fn line(&self, key: &str) -> Option<String> {
        let start = format!("{{\"{key}\":");
        self.json.lines().into_iter().map(|line| line.text).find(|line| line.starts_with(&start))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parent_of(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may contain anything; what follows its last parenthesis is plain.
    Some(stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_string())
}

/// Whether a process is still there and not only waits to be counted.
pub fn runs(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}
