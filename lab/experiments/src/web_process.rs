//! The web server as an ordinary process with content and prices of an experiment, ended with us.

use nom_abi::board::Prices;
use nom_ledger::Window;
use nom_linux_board::Publisher;
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::management::{Heard, Management, Silence};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_service::management::{Command as Order, Message};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// How long a word of the server may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_millis(20);

/// The server.
pub struct WebProcess {
    child: Child,
    /// Where clients ask.
    pub address: SocketAddr,
    _publisher: Publisher,
    folder: Scratch,
}

/// What it said until its end.
#[derive(Debug, Default)]
pub struct Told {
    /// Its ledger.
    pub windows: Vec<Window>,
    /// Its log.
    pub lines: Vec<String>,
}

impl WebProcess {
    /// Starts it with files, further lines of its configuration, and prices that stay.
    pub fn start(
        files: &[(String, Vec<u8>)],
        lines: &str,
        prices: &Prices,
        progress: &mut dyn FnMut(&str),
    ) -> Outcome<Self> {
        let program = artefacts::linux(&["nom-httpd-linux"], progress)?.remove(0);
        let folder = Scratch::new()?;
        let root = folder.file("content");
        let content = || "the content".to_string();
        fs::create_dir(&root).context(content)?;
        for (name, bytes) in files {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&root)).context(content)?;
            fs::write(file, bytes).context(content)?;
        }
        let configuration = folder.file("configuration");
        let text = format!(
            "listen = 80\naddress = 10.77.0.2/24\nweb.content = {}\nmanagement.token = {TOKEN}\n{lines}",
            root.display()
        );
        fs::write(&configuration, text).context(|| "a configuration".into())?;
        let board = folder.file("board");
        let said = |error: nom_linux_board::BoardError| Trouble::new(error.to_string());
        let mut publisher = Publisher::create(&board).map_err(said)?;
        publisher.publish(prices).map_err(said)?;
        let mut child = dying_with_us(&program)
            .arg("--config")
            .arg(configuration)
            .arg("--run")
            .arg(folder.path())
            .arg("--board")
            .arg(board)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "cannot start nom-httpd-linux".into())?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or_else(|| Trouble::new("the server has no output"))?;
        BufReader::new(out).read_line(&mut line).context(|| "the server's first line".into())?;
        let port = line.trim().strip_prefix("ready port=").and_then(|port| port.parse().ok());
        let Some(port) = port else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Trouble::new("nom-httpd-linux does not serve (see above)"));
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { child, address, _publisher: publisher, folder })
    }

    /// A file of its own, for a client beside it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// Its management channel.
    pub fn management(&self) -> Outcome<Management> {
        let stream = UnixStream::connect(self.folder.file("management.sock"));
        Management::open(stream.context(|| "the server's management socket".into())?, TOKEN)
    }

    /// Listens until a line of the log satisfies.
    pub fn listen(management: &Management, told: &mut Told, done: impl Fn(&Told) -> bool) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(told) {
            if Instant::now() > deadline {
                return Err(Trouble::new("the server did not say in time what was waited for"));
            }
            hear(management, told)?;
        }
        Ok(())
    }

    /// Drains it, and says all that it told.
    pub fn drain(mut self, mut management: Management, mut told: Told) -> Outcome<Told> {
        management.say(&Order::Drain)?;
        let deadline = Instant::now() + PATIENCE;
        while !hear(&management, &mut told)? {
            if Instant::now() > deadline {
                return Err(Trouble::new("the server did not settle in time"));
            }
        }
        let _ = self.child.wait();
        Ok(told)
    }
}

/// Hears a line. True when it was the last one.
fn hear(management: &Management, told: &mut Told) -> Outcome<bool> {
    match management.hear(TURN) {
        Ok(Heard::Message(message, _)) => match *message {
            Message::Window(text) => {
                told.windows.push(Window::parse(&text).context(|| "a window of the ledger".into())?);
            }
            Message::Log { text, .. } => told.lines.push(text),
            Message::Bye(_) => return Ok(true),
            Message::Refused { reason } => return Err(Trouble::new(format!("it refused us: {reason}"))),
            _ => {}
        },
        Ok(Heard::Malformed(text)) => return Err(Trouble::new(format!("it said what is no line: {text}"))),
        Err(Silence::ForGood) => return Err(Trouble::new("it closed its management channel")),
        Err(_) => {}
    }
    Ok(false)
}

impl Drop for WebProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
