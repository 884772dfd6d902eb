//! Finding the services that run, by the sockets in their private folders.

use super::SOCKET;
use crate::trouble::{Context, Outcome, Trouble};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long a run may take to answer; it answers by itself, whatever its service does.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest line that is taken from a run.
pub(super) const LINE_LEN_MAX: u64 = 1 << 20;

/// A service that runs.
#[derive(Debug)]
pub struct Found {
    /// The process of its `nom run`.
    pub pid: u64,
    /// The port it serves.
    pub port: u64,
    /// Where it runs.
    pub home: String,
    /// What it is.
    pub application: String,
    watched: Watched,
}

/// A connection to a run.
#[derive(Debug)]
pub struct Watched {
    stream: BufReader<UnixStream>,
}

impl Watched {
    /// Asks for something.
    pub fn ask(&mut self, request: &str) -> Outcome<()> {
        let sent = self.stream.get_mut().write_all(format!("{request}\n").as_bytes());
        sent.context(|| "the service has ended".into())
    }

    /// The next line of the answer; `None` when there are no more.
    pub fn line(&mut self) -> Outcome<Option<Value>> {
        let mut line = String::new();
        match self.stream.by_ref().take(LINE_LEN_MAX).read_line(&mut line) {
            Ok(0) => return Ok(None),
            // A run that is killed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            read => drop(read.context(|| "the service does not answer".into())?),
        }
        let value: Value =
            serde_json::from_str(&line).context(|| "the run says what is no JSON; is it older?".into())?;
        match value.get("error").and_then(Value::as_str) {
            Some(error) => Err(Trouble::new(error.to_string())),
            None => Ok(Some(value)),
        }
    }

    /// Waits for lines as long as it takes.
    pub fn wait_for_ever(&mut self) -> Outcome<()> {
        self.stream.get_ref().set_read_timeout(None).context(|| "cannot wait".into())
    }
}

/// All services of ours that run.
pub fn all() -> Vec<Found> {
    let Ok(folders) = std::fs::read_dir(std::env::temp_dir()) else { return Vec::new() };
    // Everybody may make a folder there: only what is ours is believed.
    let us = rustix::process::geteuid().as_raw();
    let ours = folders.flatten().filter(|entry| {
        let named = entry.file_name().to_string_lossy().starts_with("nom-");
        named && entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == us)
    });
    let mut found: Vec<Found> = ours.filter_map(|entry| meet(entry.path().join(SOCKET))).collect();
    found.sort_by_key(|one| (one.port, one.pid));
    found
}

fn meet(socket: PathBuf) -> Option<Found> {
    // One that was killed leaves its socket for a moment: nobody listens there.
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut watched = Watched { stream: BufReader::new(stream) };
    watched.ask("about").ok()?;
    let about = watched.line().ok()??;
    let text = |key: &str| about[key].as_str().unwrap_or_default().to_string();
    Some(Found {
        pid: about["pid"].as_u64()?,
        port: about["port"].as_u64()?,
        home: text("home"),
        application: text("application"),
        watched,
    })
}

/// The one that a person means: by port or process, or the only one.
pub fn choose(mut found: Vec<Found>, word: Option<&str>) -> Outcome<Watched> {
    let listed = |found: &[Found]| {
        let one = |one: &Found| format!("port {} (process {}, {})", one.port, one.pid, one.home);
        found.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    if found.is_empty() {
        return Err(Trouble::new("no service of yours runs; `nom run` in another terminal starts one"));
    }
    if let Some(word) = word {
        let number: u64 = word.parse().map_err(|_| {
            Trouble::new(format!("{word:?}: the port or the process of a service is expected"))
        })?;
        // Each network of its own may have a service on the same port.
        let with_port = found.iter().filter(|one| one.port == number).count();
        if with_port > 1 {
            let listed = listed(&found);
            return Err(Trouble::new(format!(
                "{with_port} services have port {number}: {listed}; say the process of one"
            )));
        }
        let place = found.iter().position(|one| one.port == number);
        let place = place.or_else(|| found.iter().position(|one| one.pid == number));
        return match place {
            Some(place) => Ok(found.swap_remove(place).watched),
            None => Err(Trouble::new(format!("no service has {number}; there are {}", listed(&found)))),
        };
    }
    if found.len() > 1 {
        return Err(Trouble::new(format!(
            "{} services run: {}; say the port or the process of one",
            found.len(),
            listed(&found)
        )));
    }
    Ok(found.remove(0).watched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pid: u64, port: u64) -> Found {
        let (stream, _) = UnixStream::pair().unwrap();
        let watched = Watched { stream: BufReader::new(stream) };
        Found { pid, port, home: "guest".into(), application: "kv".into(), watched }
    }

    #[test]
    fn who_is_meant_is_beyond_doubt_or_asked_for() {
        let all = || vec![found(100, 7), found(200, 7), found(300, 8)];
        let refused = |word| choose(all(), word).unwrap_err().to_string();
        let both = refused(Some("7"));
        assert!(both.starts_with("2 services have port 7: ") && both.contains("process 200"), "{both}");
        assert!(refused(None).starts_with("3 services run"));
        assert!(refused(Some("9")).starts_with("no service has 9"));
        assert!(refused(Some("kv")).contains("the port or the process"));
        for word in ["8", "100", "200", "300"] {
            assert!(choose(all(), Some(word)).is_ok(), "{word}");
        }
    }
}
