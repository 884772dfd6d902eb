//! `nom attach FOLDER`: stands beside a service that a person or a service manager started as a process. It says what the
//! service says, and answers whoever watches or orders, as `nom run` does for what it has started.
//!
//! The management channel has one peer; this is it, until it ends. The service serves on before, meanwhile and after.

use crate::arguments::Typed;
use crate::interrupted::interrupts;
use crate::service::read_text;
use nom_machine::management::{Heard, Management, Silence};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::{About, Hub};
use nom_service::configuration::Configuration;
use nom_service::management::{Hello, Level, Message};
use rustix::net::sockopt::socket_peercred;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The management socket in the folder of `--run`.
const SOCKET: &str = "management.sock";
/// How long one wait for words lasts: Ctrl-C and those who watch are looked at in between.
const TURN: Duration = Duration::from_millis(50);
/// How long a service may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(30);

/// The command.
pub fn attach(typed: &Typed) -> Outcome<ExitCode> {
    let Some(folder) = typed.words.first() else {
        return Err(Trouble::new("nom attach FOLDER: say the folder that the service has for --run"));
    };
    let (token, port) = known(typed)?;
    let interrupted = interrupts()?;
    let path = Path::new(folder).join(SOCKET);
    let stream = UnixStream::connect(&path).map_err(|error| unreachable(&path, &error))?;
    let process = socket_peercred(&stream).ok().and_then(|peer| u32::try_from(peer.pid.as_raw_pid()).ok());
    // Whoever is turned away may see it before the first word or after it.
    let mut management = Management::open(stream, &token).map_err(|_| taken(&path))?;
    let hub = Hub::open(About {
        port,
        home: "linux",
        names: None,
        serials: Vec::new(),
        processes: process.map(|process| ("service", process)).into_iter().collect(),
    })?;
    let (mut known, deadline) = (false, Instant::now() + HELLO_PATIENCE);
    while !interrupted.load(Ordering::SeqCst) {
        if known {
            hub.asks().iter().try_for_each(|question| management.say(question))?;
        } else if Instant::now() > deadline {
            let seconds = HELLO_PATIENCE.as_secs();
            return Err(Trouble::new(format!("the service did not say hello within {seconds} s")));
        }
        let message = match management.hear(TURN) {
            Ok(Heard::Message(message, _)) => *message,
            Ok(Heard::Malformed(text)) => {
                say(&format!("a line of the service is malformed and was dropped: {text}"));
                continue;
            }
            Err(Silence::Yet) => continue,
            Err(Silence::ForGood) if known => return Err(Trouble::new("the service has closed its channel")),
            Err(Silence::ForGood) => return Err(taken(&path)),
        };
        hub.heard(&message);
        match message {
            Message::Hello(Hello { application, version, .. }) => {
                known = true;
                let process = process.map(|process| format!(", process {process}")).unwrap_or_default();
                say(&format!("attached to {application} {version}{process}; it serves on when this ends"));
            }
            Message::Refused { reason } if known && hub.refused(&reason) => {}
            Message::Refused { reason } => {
                return Err(Trouble::new(format!(
                    "the service refused us: {reason}; --config FILE names its configuration, which has its word"
                )));
            }
            Message::Log { level: Level::Info, text, .. } => say(&text),
            Message::Log { level, text, .. } => say(&format!("{level:?}: {text}").to_lowercase()),
            Message::Knobs(change) => {
                say(&format!("knob: {} -> {} ({})", change.before, change.after, change.why));
            }
            Message::Bye(_) => {
                say("the service has settled and ended");
                return Ok(ExitCode::SUCCESS);
            }
            _ => {}
        }
    }
    say("the service serves on");
    Ok(ExitCode::SUCCESS)
}

/// The word that the service wants to hear, and the port that it is known by.
fn known(typed: &Typed) -> Outcome<(String, u16)> {
    let Some(file) = typed.text("config") else { return Ok((String::new(), 0)) };
    let text = read_text(Path::new(file))?;
    let read = Configuration::parse(&text).context(|| file.to_string())?;
    Ok((read.token.unwrap_or_default(), read.listen))
}

/// The service has one peer.
fn taken(path: &Path) -> Trouble {
    let path = path.display();
    Trouble::new(format!("{path} is taken: another `nom attach` or `nom run` stands there already"))
}

/// Why nobody is there, and what to do.
fn unreachable(path: &Path, error: &std::io::Error) -> Trouble {
    let path = path.display();
    Trouble::new(match error.kind() {
        ErrorKind::NotFound => {
            format!("{path} is not there: no service was started with this folder as --run")
        }
        ErrorKind::ConnectionRefused => format!("nobody listens on {path}: the service has ended"),
        ErrorKind::PermissionDenied => {
            format!("{path} is not for you: be who started the service (sudo, for one of a service manager)")
        }
        _ => format!("cannot connect to {path}: {error}"),
    })
}

/// A line; a reader who has left is no reason to end.
fn say(line: &str) {
    let line: String = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
