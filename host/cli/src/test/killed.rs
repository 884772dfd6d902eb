//! Whoever is killed, whenever that is: nothing of it is left, and whoever lives on says what happened or serves on.
//!
//! Everything that a trial starts carries its mark in its environment, however it was orphaned, and has a folder of the
//! trial's own for its temporary files. What is left in the end is looked for there, for as long as cleaning up may take.

use super::client::converse;
use super::operation::drained;
use super::services::{END, ended_well};
use super::started::{Started, ourselves, runs};
use super::{Cases, Verdict};
use crate::image;
use crate::service::progress;
use nom_linux_interface::Interface;
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::serial::Serial;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use nom_tap::namespace;
use nom_view::GIVE;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The variable that carries a trial's mark.
const MARK: &str = "NOM_TRIAL";
/// Trials at a time: most of their time is waiting.
const AT_ONCE: usize = 2;
/// How long cleaning up may take: a process that loses its parent drains first, and guards of folders need their turn.
const CLEAN: Duration = Duration::from_secs(60);
/// How long a process may take to be there.
const APPEAR: Duration = Duration::from_secs(300);
/// How long a drain waits for clients: until somebody was killed, or not longer than it must.
const LONG_DRAIN: &str = "drain.limit=40 s";
const SHORT_DRAIN: &str = "drain.limit=1 s";
/// So much of a terminal that does not show what it should is told.
const SHOWN_MAX: usize = 400;
/// How often somebody who means it says so.
const AGAIN: Duration = Duration::from_millis(100);
/// The TAP device of a trial.
const INTERFACE: &str = "nom-kill0";

const GUEST: Home = Home { name: "guest", arguments: &["--on", "guest"] };
const LINUX: Home = Home { name: "linux", arguments: &["--on", "linux"] };
const TAP: Home = Home { name: "guest on a TAP device", arguments: &["--tap", INTERFACE] };
const EMULATOR: Victim = Victim::Process("the emulator", "qemu-system-x86_64");
const APPLICATION: Victim = Victim::Process("the application", "nom-kv-linux");
const PRICES: Victim = Victim::Process("the price daemon", "nom-priced-linux");

#[derive(Debug, Clone, Copy)]
struct Home {
    name: &'static str,
    arguments: &'static [&'static str],
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    /// The command itself.
    Tool,
    /// What it is, and its name among processes.
    Process(&'static str, &'static str),
}

/// What the command is about when somebody is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum While {
    /// The service's processes were just made.
    Starts,
    Serves,
    /// The command was told to end, and the service waits for a client who does not read what he is owed.
    Ends,
}

/// How the command has to end.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Killed,
    /// At once and unsettled, with 130.
    AtOnce,
    /// With 1 and one line that says this; what was settled before is told.
    Saying(&'static str),
    /// Settled with 0, or before it could serve, saying so.
    SettledOrInterrupted,
}

/// Where, who, by what, when, and how the command has to end.
type Trial = (Home, Victim, &'static str, While, Ends);

const TRIALS: &[Trial] = &[
    (GUEST, Victim::Tool, "KILL", While::Starts, Ends::Killed),
    (GUEST, Victim::Tool, "KILL", While::Serves, Ends::Killed),
    (GUEST, Victim::Tool, "KILL", While::Ends, Ends::Killed),
    (GUEST, Victim::Tool, "TERM", While::Starts, Ends::SettledOrInterrupted),
    // The second one means it.
    (GUEST, Victim::Tool, "TERM", While::Ends, Ends::AtOnce),
    (GUEST, EMULATOR, "KILL", While::Starts, Ends::Saying("the emulator ended")),
    (GUEST, EMULATOR, "KILL", While::Serves, Ends::Saying("the emulator ended")),
    (GUEST, EMULATOR, "KILL", While::Ends, Ends::Saying("the emulator ended")),
    (GUEST, EMULATOR, "TERM", While::Starts, Ends::Saying("the emulator")),
    (GUEST, EMULATOR, "TERM", While::Serves, Ends::Saying("the emulator was ended: ")),
    (LINUX, Victim::Tool, "KILL", While::Starts, Ends::Killed),
    (LINUX, Victim::Tool, "KILL", While::Serves, Ends::Killed),
    (LINUX, Victim::Tool, "KILL", While::Ends, Ends::Killed),
    (LINUX, Victim::Tool, "TERM", While::Starts, Ends::SettledOrInterrupted),
    (LINUX, Victim::Tool, "TERM", While::Ends, Ends::AtOnce),
    (LINUX, APPLICATION, "KILL", While::Starts, Ends::Saying("kv was ended by signal 9")),
    (LINUX, APPLICATION, "KILL", While::Serves, Ends::Saying("kv was ended by signal 9")),
    (LINUX, APPLICATION, "KILL", While::Ends, Ends::Saying("kv was ended by signal 9")),
    (LINUX, APPLICATION, "TERM", While::Serves, Ends::Saying("it settled first")),
    (LINUX, PRICES, "KILL", While::Starts, Ends::Saying("priced was ended by signal 9")),
    (LINUX, PRICES, "KILL", While::Serves, Ends::Saying("priced was ended by signal 9")),
    (LINUX, PRICES, "KILL", While::Ends, Ends::Saying("priced was ended by signal 9")),
    (LINUX, PRICES, "TERM", While::Serves, Ends::Saying("priced ended")),
    (TAP, Victim::Tool, "KILL", While::Serves, Ends::Killed),
    (TAP, EMULATOR, "KILL", While::Serves, Ends::Saying("the emulator ended")),
];

/// Each of them once, while it serves: what every change is checked by.
pub fn each(cases: &mut Cases) -> Outcome<()> {
    let once = |(home, victim, signal, when, _): &&Trial| {
        let elsewhere = matches!((home.name, victim), ("guest" | "linux", Victim::Tool));
        // A command that is killed is among the cases of the services.
        *signal == "KILL" && *when == While::Serves && !elsewhere
    };
    trials(cases, &TRIALS.iter().filter(once).copied().collect::<Vec<_>>())?;
    cases.note("linux: told to end twice at once is told once", told_twice(LINUX));
    cases.note("a live view that is killed gives its terminal back", terminal());
    Ok(())
}

/// All of it.
pub fn killed(cases: &mut Cases) -> Outcome<()> {
    trials(cases, TRIALS)?;
    cases.note("guest: its price source is killed, and it serves on", price_source());
    for home in [GUEST, LINUX] {
        cases.note(&format!("{}: generators are killed, and it serves on", home.name), generators(home));
    }
    cases.note("linux: told to end twice at once is told once", told_twice(LINUX));
    cases.note("a live view that is killed gives its terminal back", terminal());
    Ok(())
}

/// Several at a time.
fn trials(cases: &mut Cases, trials: &[Trial]) -> Outcome<()> {
    // Nobody is to be killed while cargo still builds.
    image::programs("kv")?;
    artefacts::linux(&["nom-kv-linux", "nom-priced-linux"], &mut progress)?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((name(trial), tried(trial)));
        }
        done
    };
    let verdicts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a trial panicked")).collect::<Vec<_>>()
    });
    for (name, verdict) in verdicts {
        cases.note(&name, verdict);
    }
    Ok(())
}

fn name((home, victim, signal, when, _): &Trial) -> String {
    let victim = match victim {
        Victim::Tool => "the command",
        Victim::Process(what, _) => what,
    };
    let when = match when {
        While::Starts => "it starts",
        While::Serves => "it serves",
        While::Ends => "it ends",
    };
    format!("{}: {victim} gets {signal} while {when}", home.name)
}

fn tried(trial: &Trial) -> Verdict {
    if trial.0.name != TAP.name {
        return one(trial).into();
    }
    // A thread, because there is no way back from a namespace; whatever it starts is there too.
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| match namespace::enter() {
            Err(error) => Verdict::Skipped(format!("no network of its own: {error}")),
            Ok(()) => one(trial).and_then(|()| device_gone()).into(),
        });
        ran.join()
    });
    ran.unwrap_or_else(|_| Verdict::Failed("the trial's thread ended in a panic".into()))
}

/// A process that ends has no memory any more, and so no mark, a moment before it lets its devices go.
fn device_gone() -> Outcome<()> {
    let deadline = Instant::now() + CLEAN;
    while Interface::find(INTERFACE).is_ok() {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("the device {INTERFACE} is left")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn one(&(home, victim, signal, when, ends): &Trial) -> Outcome<()> {
    let mark = Mark::new()?;
    let drain = if when == While::Ends { LONG_DRAIN } else { SHORT_DRAIN };
    let mut started = mark.start(home, drain)?;
    let mut owed = None;
    match when {
        While::Starts => mark.wait_for_service(home)?,
        While::Serves => started.up()?,
        While::Ends => {
            started.up()?;
            let metrics = started.told_port("figures on http://localhost:")?;
            owed = Some(drained(&mut started, metrics)?);
        }
    }
    let code = match victim {
        // He who was told already takes what comes soon for the same request.
        Victim::Tool if when == While::Ends && signal != "KILL" => insist(&mut started, signal)?,
        Victim::Tool => {
            started.signal(signal)?;
            started.ended(CLEAN)?
        }
        Victim::Process(_, program) => {
            send(signal, mark.wait_for(program)?)?;
            started.ended(CLEAN)?
        }
    };
    // A process that lost its parent drains, and waits no longer for him.
    drop(owed);
    as_expected(&started, code, ends)?;
    drop(started);
    mark.clean()
}

/// Sends a signal again and again until the command has ended.
fn insist(started: &mut Started, signal: &str) -> Outcome<Option<i32>> {
    let deadline = Instant::now() + CLEAN;
    loop {
        started.signal(signal)?;
        match started.ended(AGAIN) {
            Err(_) if Instant::now() < deadline => {}
            ended => return ended,
        }
    }
}

/// Two signals that come together, as from somebody who tells a whole group of processes, are one request: it settles.
fn told_twice(home: Home) -> Outcome<()> {
    let mark = Mark::new()?;
    let mut started = mark.start(home, SHORT_DRAIN)?;
    started.up()?;
    // Whoever is stopped gets both in the moment when he goes on.
    for signal in ["STOP", "INT", "TERM", "CONT"] {
        started.signal(signal)?;
    }
    ended_well(&mut started)?;
    drop(started);
    mark.clean()
}

fn as_expected(started: &Started, code: Option<i32>, ends: Ends) -> Outcome<()> {
    let said: Vec<String> = started.words.lines().into_iter().map(|line| line.text).collect();
    let last = said.last().map(String::as_str).unwrap_or_default();
    let complaints =
        said.iter().filter(|line| line.starts_with("nom: ") && !line.contains("building ")).count();
    let settled = || started.line("summary").is_some_and(|line| line.contains("\"adds_up\":true"));
    let right = match ends {
        Ends::Killed => code.is_none(),
        Ends::AtOnce => code == Some(130),
        Ends::Saying(words) => {
            let told = code == Some(1) && complaints == 1 && last.contains(words);
            told && (!words.contains("settled") || settled())
        }
        Ends::SettledOrInterrupted => {
            (code == Some(0) && settled()) || (code == Some(1) && last.contains("interrupted before"))
        }
    };
    match right && !said.iter().any(|line| line.contains("panicked")) {
        true => Ok(()),
        false => Err(Trouble::new(format!("it ended with {code:?} and {said:?}; {ends:?} is right"))),
    }
}

/// What the processes and files of one trial are known by.
struct Mark {
    name: String,
    folder: Scratch,
}

impl Mark {
    fn new() -> Outcome<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { name: format!("{}.{count}", std::process::id()), folder: Scratch::new()? })
    }

    fn put(&self, command: &mut Command) {
        command.env(MARK, &self.name).env("TMPDIR", self.folder.path());
    }

    /// A run with a small load, which is not waited for.
    fn start(&self, home: Home, drain: &str) -> Outcome<Started> {
        let port: &[&str] = if home.name == TAP.name { &[] } else { &["--port", "0"] };
        let more = ["--rate", "100", "--metrics", "0", "--set", drain];
        Started::launch(&[home.arguments, port, &more].concat(), |command| self.put(command))
    }

    /// Processes that carry the mark, with their names.
    fn processes(&self) -> Vec<(u32, String)> {
        let mark = format!("{MARK}={}", self.name).into_bytes();
        let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|process: &u32| {
                std::fs::read(format!("/proc/{process}/environ"))
                    .is_ok_and(|all| all.split(|byte| *byte == 0).any(|variable| variable == mark))
            })
            .filter(|process| runs(*process))
            .map(|process| {
                let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
                (process, name.trim_end().into())
            })
            .collect()
    }

    /// The process of a program, once there is one.
    fn wait_for(&self, program: &str) -> Outcome<u32> {
        // Linux keeps so much of a name.
        let short = &program[..program.len().min(15)];
        let deadline = Instant::now() + APPEAR;
        loop {
            let found = self.processes().into_iter().find(|(_, name)| name == short);
            match found {
                Some((process, _)) => return Ok(process),
                None if Instant::now() > deadline => {
                    return Err(Trouble::new(format!("there is no {program}")));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn wait_for_service(&self, home: Home) -> Outcome<()> {
        let programs: &[Victim] = if home.name == LINUX.name { &[PRICES, APPLICATION] } else { &[EMULATOR] };
        for program in programs {
            if let Victim::Process(_, program) = program {
                self.wait_for(program)?;
            }
        }
        Ok(())
    }

    /// Nothing is left, soon.
    fn clean(self) -> Outcome<()> {
        let deadline = Instant::now() + CLEAN;
        loop {
            let processes = self.processes();
            let files: Vec<_> = std::fs::read_dir(self.folder.path())
                .context(|| "the trial's folder".into())?
                .flatten()
                .map(|entry| entry.path())
                .collect();
            match (&processes[..], &files[..]) {
                ([], []) => return Ok(()),
                _ if Instant::now() > deadline => {
                    return Err(Trouble::new(format!("left are processes {processes:?}, files {files:?}")));
                }
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

fn send(signal: &str, process: u32) -> Outcome<()> {
    let status = Command::new("kill").args(["-s", signal, &process.to_string()]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(Trouble::new(format!("kill -s {signal} {process}: {other:?}"))),
    }
}

/// A process of ours that is ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A guest that asks another command for prices: when that is killed it says so, and goes on with those that it has.
fn price_source() -> Outcome<()> {
    let mark = Mark::new()?;
    let day = artefacts::root()?.join("examples/day.prices");
    let mut command = dying_with_us(&ourselves()?);
    mark.put(&mut command);
    command.args(["prices", "replay"]).arg(day).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut source = Running(command.spawn().context(|| "cannot start nom prices".into())?);
    let said = Serial::read(source.0.stdout.take().expect("stdout is a pipe"));
    let line = said.wait_for(END, |line| line.starts_with("prices on http://127.0.0.1:"));
    let line = line.ok_or_else(|| Trouble::new("nom prices replay does not say where"))?.text;
    let port = line.trim_start_matches("prices on http://127.0.0.1:").split('/').next().unwrap_or_default();
    let feed = format!("prices=http://10.0.2.2:{port}/prices");
    let mut started = Started::launch(&["--port", "0", "--rate", "100", "--set", &feed], |command| {
        mark.put(command);
    })?;
    started.up()?;
    let priced = |line: &str| line.starts_with("{\"stats\":") && !line.contains("\"price_generation\":0,");
    if started.json.wait_for(END, priced).is_none() {
        return Err(Trouble::new("the guest did not hear of prices"));
    }
    drop(source);
    if started.words.wait_for(END, |line| line.starts_with("warning: the price service ")).is_none() {
        return Err(Trouble::new("nobody says that prices do not come any more"));
    }
    converse(started.port)?;
    started.signal("INT")?;
    ended_well(&mut started)?;
    drop(started);
    mark.clean()
}

/// Generators that nobody here wrote are killed in the midst of what they do; then comes a client as if nothing were.
fn generators(home: Home) -> Verdict {
    let Some(caslap) = packages::find("memcaslap") else {
        return Verdict::Skipped("memcaslap is absent (Debian: libmemcached-tools)".into());
    };
    let kill = || -> Outcome<()> {
        let mark = Mark::new()?;
        let mut started = mark.start(home, SHORT_DRAIN)?;
        started.up()?;
        for signal in ["KILL", "TERM"] {
            let mut command = dying_with_us(&caslap);
            mark.put(&mut command);
            command.args(["-s", &format!("127.0.0.1:{}", started.port), "-T", "1", "-c", "8", "-t", "600s"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut load = Running(command.spawn().context(|| "cannot start memcaslap".into())?);
            busy(&started)?;
            send(signal, load.0.id())?;
            load.0.wait().context(|| "cannot wait for memcaslap".into())?;
            converse(started.port)?;
        }
        started.signal("INT")?;
        ended_well(&mut started)?;
        drop(started);
        mark.clean()
    };
    kill().into()
}

/// Far more is served than our own small load asks for.
fn busy(started: &Started) -> Outcome<()> {
    let accepted = || {
        let lines = started.json.lines();
        let last = lines.iter().rev().find(|line| line.text.starts_with("{\"stats\":"))?;
        let (_, rest) = last.text.split_once("\"accepted\":")?;
        rest.split([',', '}']).next()?.parse::<u64>().ok()
    };
    let before = accepted().unwrap_or(0);
    // A machine that is full of other work may take minutes for so many.
    let deadline = Instant::now() + APPEAR;
    while accepted().unwrap_or(0) < before + 10_000 {
        if Instant::now() > deadline {
            return Err(Trouble::new("the generator does not generate"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A run that shows its live view in a terminal is killed.
fn terminal() -> Outcome<()> {
    let mark = Mark::new()?;
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context(|| "cannot make a terminal".into())?;
    grantpt(&ours).and_then(|()| unlockpt(&ours)).context(|| "cannot unlock a terminal".into())?;
    let theirs = ptsname(&ours, Vec::new()).context(|| "a terminal's name".into())?;
    let theirs = theirs.to_string_lossy().into_owned();
    let terminal = || {
        let open = OpenOptions::new().read(true).write(true).open(&theirs);
        open.map(OwnedFd::from).context(|| theirs.clone())
    };
    let mut command = dying_with_us(&ourselves()?);
    mark.put(&mut command);
    command.args(["run", "--port", "0", "--rate", "100"]).env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdout(terminal()?).stderr(terminal()?);
    let mut run = Running(command.spawn().context(|| "cannot start nom".into())?);
    drop(command);
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let (mut ours, mut bytes) = (std::fs::File::from(ours), [0; 4096]);
        // When nobody has the other side any more, reading fails.
        while let Ok(count @ 1..) = ours.read(&mut bytes) {
            if tell.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut seen = Vec::new();
    let mut wait_for = |words: &str| {
        let deadline = Instant::now() + APPEAR;
        let shown = |seen: &[u8]| String::from_utf8_lossy(seen).into_owned();
        while !shown(&seen).contains(words) {
            let Ok(bytes) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                let last = shown(&seen[seen.len().saturating_sub(SHOWN_MAX)..]);
                return Err(Trouble::new(format!(
                    "the terminal does not show {words:?}, it ends with {last:?}"
                )));
            };
            seen.extend(bytes);
        }
        Ok(())
    };
    wait_for("throughput")?;
    run.0.kill().context(|| "cannot kill nom".into())?;
    wait_for(&format!("{GIVE}nom: the run was killed"))?;
    drop(run);
    mark.clean()
}
