//! A service as two ordinary processes: the application, and `priced` which writes the board that it reads.

use super::Service;
use super::options::Options;
use super::seen::Terms;
use crate::arguments::Typed;
use crate::service::{configuration, progress};
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::management::Management;
use nom_machine::scratch::Scratch;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::About;
use nom_service::configuration::{Configuration, Network};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The address inside the process's own network namespace.
const ADDRESS: &str = "10.77.0.2/24";
/// The kernel's side of the TAP device there.
const GATEWAY: &str = "10.77.0.1";
/// The management socket in the run folder.
const MANAGEMENT: &str = "management.sock";
/// The board in the run folder.
const BOARD: &str = "board";
/// How long the management socket may take to appear.
const SOCKET_PATIENCE: Duration = Duration::from_secs(10);

/// A process of ours and what it says.
struct Process {
    name: &'static str,
    child: Child,
    words: Serial,
    status: Option<ExitStatus>,
}

impl Process {
    fn start(name: &'static str, mut command: Command) -> Outcome<Self> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("cannot start {name}"))?;
        let words = Serial::read(child.stderr.take().expect("stderr is a pipe"));
        Ok(Self { name, child, words, status: None })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.words.wait_end(Duration::from_secs(1));
            self.status = Some(status);
        }
        self.status
    }

    fn gone(&mut self) -> Option<Trouble> {
        let status = self.ended()?;
        Some(Trouble::new(match (status.signal(), self.words.last_words()) {
            (Some(signal), _) => format!("{} was ended by signal {signal}, by somebody else", self.name),
            (None, Some(words)) => format!("{}: {words}", self.name),
            (None, None) => format!("{} ended ({status}) and said nothing", self.name),
        }))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The two processes. They are ended before the folder that they share is removed: fields are dropped in order.
struct Pair {
    application: Process,
    priced: Process,
    token: String,
    terms: Terms,
    folder: Scratch,
}

/// Builds them: the application, then `priced`.
pub fn build(application: &str) -> Outcome<Vec<PathBuf>> {
    artefacts::linux(&[&format!("nom-{application}-linux"), "nom-priced-linux"], &mut progress)
}

/// Starts them.
pub fn start(
    typed: &Typed,
    options: &Options,
    port: u16,
    metadata_port: u16,
    token: &str,
) -> Outcome<impl Service + use<>> {
    let ours = [("address", ADDRESS), ("gateway", GATEWAY), ("prices", "board"), ("management.token", token)];
    let text = configuration(typed, &ours)?;
    let read = Configuration::parse(&text).context(|| "the configuration".into())?;
    if read.network != (Network::Tap { interface: None }) {
        return Err(Trouble::new(
            "nom run reaches the service through this machine's loopback, which only network = tap without an interface \
             has: remove those lines, or start nom-kv-linux by itself (docs/platforms.md)",
        ));
    }
    let terms = Terms::of(&read);
    let programs = build(options.application)?;
    let folder = Scratch::new()?;
    let file = folder.file("configuration");
    std::fs::write(&file, &text).context(|| format!("cannot write {}", file.display()))?;

    let mut priced = dying_with_us(&programs[1]);
    priced.arg("--url").arg(format!("http://127.0.0.1:{metadata_port}/prices"));
    priced.arg("--board").arg(folder.file(BOARD));
    let priced = Process::start("priced", priced)?;
    let mut application = dying_with_us(&programs[0]);
    application
        .arg("--config")
        .arg(&file)
        .arg("--run")
        .arg(folder.path())
        .arg("--port")
        .arg(port.to_string());
    application.arg("--board").arg(folder.file(BOARD));
    let application = Process::start(options.application, application)?;
    Ok(Pair { application, priced, token: token.into(), terms, folder })
}

impl Service for Pair {
    fn management(&mut self) -> Outcome<Management> {
        let path = self.folder.file(MANAGEMENT);
        let deadline = Instant::now() + SOCKET_PATIENCE;
        loop {
            if let Some(trouble) = self.gone() {
                return Err(trouble);
            }
            match UnixStream::connect(&path) {
                Ok(stream) => return Management::open(stream, &self.token),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => {
                    return Err(Trouble::new(format!(
                        "{} opened no management socket: {error}",
                        self.application.name
                    )));
                }
            }
        }
    }

    /// There is no kernel of ours: what Linux counts for the processes is told instead.
    fn about(&self, port: u16) -> About {
        let both = [&self.application, &self.priced];
        About {
            port,
            home: "linux",
            names: None,
            serials: both.map(|process| (process.name, process.words.clone())).into(),
            processes: both.map(|process| (process.name, process.child.id())).into(),
        }
    }

    fn gone(&mut self) -> Option<Trouble> {
        self.application.gone().or_else(|| self.priced.gone())
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn ended(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.application.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.application.ended().is_some_and(|status| status.success())
    }
}
