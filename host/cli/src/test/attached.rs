//! A process that was started as a service manager starts it: `nom attach` stands beside it, comes and goes, and what
//! people ask of a running service is answered as for one of `nom run`.

use super::client::converse;
use super::operation::{orders, told};
use super::services::END;
use super::started::ourselves;
use crate::arguments::Typed;
use crate::service::{configuration, progress};
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the service wants to hear.
const TOKEN: &str = "0123456789abcdef";

/// All of it.
pub fn attached() -> Outcome<()> {
    let programs = artefacts::linux(&["nom-kv-linux"], &mut progress)?;
    let scratch = Scratch::new()?;
    let (file, folder) = (text(&scratch.file("configuration")), text(scratch.path()));
    let ours = [
        ("address", "10.77.0.2/24"),
        ("gateway", "10.77.0.1"),
        ("prices", "board"),
        ("management.token", TOKEN),
    ];
    let written = configuration(&Typed::default().with("on", "linux"), &ours)?;
    std::fs::write(&file, written).context(|| file.clone())?;
    let mut service =
        Running::start(&programs[0], &["--config", &file, "--run", &folder, "--port", "0"], "ready port=")?;
    let port = service.began.trim_start_matches("ready port=").parse().context(|| service.began.clone())?;
    told(&["attach", &folder], 1, "wrong token; --config FILE")?;
    let attach = ["attach", &folder, "--config", &file];
    let nom = ourselves()?;
    let mut first = Running::start(&nom, &attach, "attached to kv")?;
    told(&attach, 1, "is taken: another `nom attach`")?;
    let process = first.child.id().to_string();
    orders(&process, true)?;
    let accepted = converse(port)?;
    let log = told(&["log", &process], 0, "tuner: off -> on")?;
    if !first.said.lines().iter().any(|line| line.text.contains("tuner: off -> on")) {
        return Err(Trouble::new(format!("nom log has {:?}, and nom attach said nothing of it", log.out)));
    }
    first.signal("INT")?;
    first.ends()?;
    // Nobody stands there now, and it serves; who comes next is told what was said meanwhile.
    let accepted = accepted + converse(port)?;
    let mut second = Running::start(&nom, &attach, "attached to kv")?;
    let process = second.child.id().to_string();
    let counted = format!("\"accepted\":{accepted},");
    let deadline = Instant::now() + END;
    while !told(&["top", &process, "--once", "--json"], 0, "about")?.out.contains(&counted) {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("nom top never says {counted}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    service.signal("TERM")?;
    service.ends()?;
    second.ends()?;
    match second.said.lines().iter().any(|line| line.text.contains("has settled and ended")) {
        true => Ok(()),
        false => Err(Trouble::new("nom attach did not say that the service settled")),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A program that has said that it has begun. Dropping it ends it.
struct Running {
    child: Child,
    said: Serial,
    /// The line in which it did.
    began: String,
}

impl Running {
    fn start(program: &Path, words: &[&str], begins: &str) -> Outcome<Self> {
        let name = || text(program);
        let mut child = dying_with_us(program)
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context(name)?;
        let said = Serial::read(child.stdout.take().expect("stdout is a pipe"));
        let began = said.wait_for(END, |line| line.starts_with(begins)).map(|line| line.text);
        let mut running = Self { child, said, began: String::new() };
        running.began = began.ok_or_else(|| Trouble::new(format!("{} never says {begins:?}", name())))?;
        Ok(running)
    }

    fn signal(&self, name: &str) -> Outcome<()> {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        status.is_ok_and(|status| status.success()).then_some(()).ok_or_else(|| Trouble::new("kill"))
    }

    /// It ends soon, and well.
    fn ends(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + END;
        loop {
            match self.child.try_wait().context(|| "cannot wait".into())? {
                Some(status) if status.success() => {
                    self.said.wait_end(Duration::from_secs(2));
                    return Ok(());
                }
                Some(status) => return Err(Trouble::new(format!("{} ended with {status}", self.began))),
                None if Instant::now() > deadline => return Err(Trouble::new("it did not end in time")),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
