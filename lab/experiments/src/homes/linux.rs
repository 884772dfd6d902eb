//! The home of ordinary processes: the application, and `priced`, which writes the board that it reads.

use super::{END, Home, TOKEN};
use nom_machine::machine::dying_with_us;
use nom_machine::management::Management;
use nom_machine::metadata::{Metadata, Source};
use nom_machine::scratch::Scratch;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, configuration};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The address inside the process's own network namespace, and the kernel's side there.
const ADDRESS: [(&str, &str); 2] = [("address", "10.77.0.2/24"), ("gateway", "10.77.0.1")];
/// How long the application may take until it serves.
const READY: Duration = Duration::from_secs(20);

/// A process, ended when this is dropped.
struct Process {
    name: &'static str,
    child: Child,
    out: Serial,
    words: Serial,
}

impl Process {
    fn start(name: &'static str, command: &mut Command) -> Outcome<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("cannot start {name}"))?;
        let out = Serial::read(child.stdout.take().expect("stdout is a pipe"));
        let words = Serial::read(child.stderr.take().expect("stderr is a pipe"));
        Ok(Self { name, child, out, words })
    }

    fn gone(&mut self) -> Option<Trouble> {
        let status = self.child.try_wait().ok().flatten()?;
        self.words.wait_end(Duration::from_secs(1));
        let words = self.words.last_words().unwrap_or_else(|| "it said nothing".into());
        Some(Trouble::new(format!("{} ended ({status}): {words}", self.name)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two processes, in a folder of their own.
pub struct Linux {
    kv: Process,
    priced: Process,
    metadata: Metadata,
    port: u16,
    // Declared last, dropped last: the processes are gone before their folder is.
    folder: Scratch,
}

impl Linux {
    /// Starts them with a configuration to which address, price source and token are added.
    pub fn start(text: &str, source: impl Source) -> Outcome<Self> {
        let programs = artefacts::linux(&["nom-kv-linux", "nom-priced-linux"], &mut |_| {})?;
        let metadata = Metadata::start(source)?;
        let folder = Scratch::new()?;
        let ours = [&ADDRESS[..], &[("prices", "board"), ("management.token", TOKEN)]].concat();
        let file = folder.file("configuration");
        std::fs::write(&file, configuration::with(text, &ours))
            .context(|| format!("cannot write {}", file.display()))?;
        let board = folder.file("board");
        let url = format!("http://127.0.0.1:{}/prices", metadata.port());
        let mut priced = dying_with_us(&programs[1]);
        let priced = Process::start("priced", priced.args(["--url", &url, "--board"]).arg(&board))?;
        let mut command = dying_with_us(&programs[0]);
        command.arg("--config").arg(&file).arg("--run").arg(folder.path());
        command.args(["--port", "0", "--board"]).arg(&board);
        let mut kv = Process::start("kv", &mut command)?;
        let ready = kv.out.wait_for(READY, |line| line.starts_with("ready port="));
        let port = ready.and_then(|line| line.text.trim().strip_prefix("ready port=")?.parse().ok());
        let Some(port) = port else {
            return Err(kv.gone().unwrap_or_else(|| Trouble::new("kv does not serve")));
        };
        Ok(Self { kv, priced, metadata, port, folder })
    }
}

impl Home for Linux {
    fn management(&mut self) -> Outcome<Management> {
        let stream = UnixStream::connect(self.folder.file("management.sock"));
        Management::open(stream.context(|| "kv's management socket".into())?, TOKEN)
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn wake(&self) {
        self.metadata.wake();
    }

    fn gone(&mut self) -> Option<Trouble> {
        self.kv.gone().or_else(|| self.priced.gone())
    }

    fn ended(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + END;
        loop {
            match self.kv.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => return Err(Trouble::new("it settled but did not end by itself")),
                _ => {
                    return Err(self.kv.gone().unwrap_or_else(|| Trouble::new("kv cannot be waited for")));
                }
            }
        }
    }
}
