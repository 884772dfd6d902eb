//! Watching a service that somebody else started: `nom run` answers `nom top` and `nom log` over a socket in a private
//! folder that only its owner may enter.
//!
//! The management channel has one peer, and stays the run's: whoever watches asks the run, never the service. However
//! many watch, a guest is asked for its counters at most once a [`ASK_INTERVAL`], and only while somebody watches.
//!
//! ```text
//! order freeze, order thaw, order reload, order set KEY = VALUE
//!              {"good":true,"text":".."}: what came of it
//! about        {"pid":..,"port":..,"home":"guest",..}
//! top          one JSON object: what there is, who has it, what it does
//! connections  JSON objects of some connections of the service's stack each, the last of which says that there are no more
//! capture      one JSON object a frame that is seen on the wire from now on, until the service ends
//! log, follow  one JSON object a line of the log; `log` ends with the last one there is, `follow` with the service
//! ```

mod eyes;
mod find;
mod page;

pub use find::{Found, Watched, all, choose};
pub use page::Names;

use crate::scratch::Scratch;
use crate::serial::{Line, Serial};
use crate::trouble::{Context, Outcome};
use eyes::{Capture, Walk};
use nom_service::management::{Command, Level, Machine, Message, Stats};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The socket in the folder of a run.
const SOCKET: &str = "watch.sock";
/// Those that may watch at a time; more are turned away.
const WATCHERS_MAX: usize = 16;
/// Longest request.
const REQUEST_LEN_MAX: u64 = 300;
/// Lines of the service's own log that are kept; beyond them the oldest are forgotten.
const LOG_LINES_MAX: usize = 4096;
/// How long a watcher may take to read what it asked for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A guest is not asked for its counters more often.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a guest may take to tell its counters; after that there are none.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Frames that are told before the lock is taken again.
const FRAMES_AT_ONCE: usize = 256;
/// How often the log is looked at for somebody who follows it.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// Who is watched, as far as it does not change.
#[derive(Debug)]
pub struct About {
    /// The port that it serves on the host.
    pub port: u16,
    /// `guest` or `linux`.
    pub home: &'static str,
    /// What the numbers in a guest's counters are called; `None` when the kernel is not ours.
    pub names: Option<Names>,
    /// Streams of text that belong to its log, with a name for each.
    pub serials: Vec<(&'static str, Serial)>,
    /// Its processes on this host, with a name for each.
    pub processes: Vec<(&'static str, u32)>,
}

#[derive(Debug, Default)]
struct State {
    application: String,
    stats: Option<Stats>,
    machine: Option<Machine>,
    /// Counts what the guest has answered.
    answers: u64,
    /// Somebody waits for counters.
    wanted: bool,
    asked: Option<Instant>,
    /// Why there are no counters.
    refused: Option<String>,
    capture: Capture,
    walk: Walk,
    /// An order of somebody, until it is passed on.
    order: Option<Command>,
    /// Somebody waits for what comes of an order: one at a time.
    ordering: bool,
    answer: Option<(bool, String)>,
    log: VecDeque<(Line, Level)>,
    log_forgotten: u64,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    about: About,
    started: Instant,
    state: Mutex<State>,
    changed: Condvar,
    watchers: AtomicUsize,
}

/// What a run tells those who watch it. It answers them by itself, in threads of its own.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    folder: Scratch,
}

impl Hub {
    /// Opens the socket.
    pub fn open(about: About) -> Outcome<Self> {
        let folder = Scratch::new()?;
        let socket = folder.file(SOCKET);
        let listener =
            UnixListener::bind(&socket).context(|| format!("cannot listen on {}", socket.display()))?;
        let shared = Arc::new(Shared {
            about,
            started: Instant::now(),
            state: Mutex::default(),
            changed: Condvar::new(),
            watchers: AtomicUsize::new(0),
        });
        let own = shared.clone();
        std::thread::spawn(move || accept(&listener, &own));
        Ok(Self { shared, folder })
    }

    /// The service said this.
    pub fn heard(&self, message: &Message) {
        let mut state = self.shared.lock();
        match message {
            Message::Hello(hello) => state.application.clone_from(&hello.application),
            Message::Stats(stats) => state.stats = Some(stats.clone()),
            Message::Machine(machine) => {
                state.machine = Some(machine.clone());
                state.answers += 1;
                self.shared.changed.notify_all();
            }
            Message::Captured(captured) => state.capture.heard(captured),
            Message::Connections(some) if state.walk.heard(some) => self.shared.changed.notify_all(),
            Message::Answered { good, text } if state.ordering => {
                state.answer = Some((*good == 1, text.clone()));
                self.shared.changed.notify_all();
            }
            Message::Log { level, text, .. } => {
                if state.log.len() == LOG_LINES_MAX {
                    state.log.pop_front();
                    state.log_forgotten += 1;
                }
                let text =
                    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
                state.log.push_back((Line { seen: Instant::now(), text }, *level));
            }
            _ => {}
        }
    }

    /// What the service is to be asked now for those who watch.
    pub fn asks(&self) -> Vec<Command> {
        let mut asked = Vec::new();
        if self.asks_for_counters() {
            asked.push(Command::Machine);
        }
        let mut state = self.shared.lock();
        asked.extend(state.order.take());
        if state.refused.is_none() {
            asked.extend(state.capture.asks().map(Command::Capture));
            asked.extend(state.walk.asks().map(Command::Connections));
        }
        asked
    }

    fn asks_for_counters(&self) -> bool {
        let mut state = self.shared.lock();
        let early = state.asked.is_some_and(|asked| asked.elapsed() < ASK_INTERVAL);
        if !state.wanted || early || state.refused.is_some() {
            return false;
        }
        state.wanted = false;
        state.asked = Some(Instant::now());
        true
    }

    /// The service refused something. True when it was our question: it is older than we are, and not asked again.
    pub fn refused(&self, reason: &str) -> bool {
        let mut state = self.shared.lock();
        if state.ordering && state.order.is_none() && state.answer.is_none() {
            state.answer = Some((false, reason.into()));
            self.shared.changed.notify_all();
            return true;
        }
        let ours = state.refused.is_none()
            && (state.asked.is_some() && state.answers == 0 || state.capture.waits() || state.walk.waits());
        if ours {
            state.refused = Some(reason.into());
            self.shared.changed.notify_all();
        }
        ours
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the thread that waits for watchers.
        let _ = UnixStream::connect(self.folder.file(SOCKET));
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().ended {
            return;
        }
        let Ok(stream) = stream else { continue };
        let watcher = Watcher::new(shared.clone());
        let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
        if watcher.shared.watchers.load(Ordering::Relaxed) > WATCHERS_MAX {
            let _ = tell(&stream, &json!({ "error": "too many watch this service already" }));
            continue;
        }
        std::thread::spawn(move || watcher.serve(&stream));
    }
}

fn tell(mut stream: &UnixStream, value: &Value) -> std::io::Result<()> {
    stream.write_all(format!("{value}\n").as_bytes())
}

/// Nobody reads there any more.
fn gone(stream: &UnixStream) -> std::io::Result<bool> {
    stream.set_nonblocking(true)?;
    let gone = matches!((&mut &*stream).read(&mut [0]), Ok(0));
    stream.set_nonblocking(false)?;
    Ok(gone)
}

/// Somebody who watches, counted as long as it lives.
struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    fn new(shared: Arc<Shared>) -> Self {
        shared.watchers.fetch_add(1, Ordering::Relaxed);
        Self { shared }
    }

    fn serve(&self, stream: &UnixStream) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut request = String::new();
            match reader.by_ref().take(REQUEST_LEN_MAX).read_line(&mut request) {
                Ok(count) if count > 0 && request.ends_with('\n') => {}
                _ => return,
            }
            let done = match request.trim_end() {
                "about" => tell(stream, &self.shared.about()),
                "top" => tell(stream, &self.shared.top()),
                "log" => return drop(self.shared.log(stream, false)),
                "connections" => self.shared.connections().iter().try_for_each(|some| tell(stream, some)),
                "capture" => return drop(self.shared.capture(stream)),
                "follow" => return drop(self.shared.log(stream, true)),
                order if order.starts_with("order ") => tell(stream, &self.shared.ordered(&order[6..])),
                _ => tell(
                    stream,
                    &json!({ "error": "there are about, top, connections, capture, log, follow and order" }),
                ),
            };
            if done.is_err() {
                return;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn about(&self) -> Value {
        json!({
            "pid": std::process::id(),
            "port": self.about.port,
            "home": self.about.home,
            "application": self.lock().application,
            "up_ms": self.started.elapsed().as_millis() as u64,
        })
    }

    /// Everything of the moment. A guest is asked for it.
    fn top(&self) -> Value {
        let mut top = json!({ "about": self.about() });
        if let Some(names) = &self.about.names {
            top["machine"] = match self.counters() {
                Ok(machine) => page::describe(&machine, names),
                Err(why) => json!({ "error": why }),
            };
        }
        let state = self.lock();
        if let Some(stats) = &state.stats {
            top["service"] = service(stats);
        }
        drop(state);
        top["processes"] = self.about.processes.iter().filter_map(|(name, id)| process(name, *id)).collect();
        top
    }

    fn counters(&self) -> Result<Machine, String> {
        let mut state = self.lock();
        let answers = state.answers;
        state.wanted = true;
        let waits = |state: &mut State| state.answers == answers && state.refused.is_none() && !state.ended;
        let waited = self.changed.wait_timeout_while(state, ANSWER_PATIENCE, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (&state.machine, &state.refused) {
            (Some(machine), _) if state.answers != answers => Ok(machine.clone()),
            (_, Some(reason)) => Err(format!("the service does not tell: {reason}")),
            _ => Err("the service did not answer in time".into()),
        }
    }

    /// Every connection of the moment.
    fn connections(&self) -> Vec<Value> {
        let mut state = self.lock();
        let walks = state.walk.walks;
        state.walk.want();
        let waits = |state: &mut State| state.walk.walks == walks && state.refused.is_none() && !state.ended;
        let waited = self.changed.wait_timeout_while(state, ANSWER_PATIENCE, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.refused {
            _ if state.walk.walks != walks => state.walk.told(),
            Some(reason) => vec![json!({ "error": format!("the service does not tell: {reason}") })],
            None => vec![json!({ "error": "the service did not answer in time" })],
        }
    }

    /// Tells frames as they come, and how many were lost or missed, for as long as somebody reads.
    fn capture(&self, stream: &UnixStream) -> std::io::Result<()> {
        let mut place = self.lock().capture.join();
        let told = self.tell_frames(stream, &mut place);
        self.lock().capture.leave();
        told
    }

    fn tell_frames(&self, stream: &UnixStream, place: &mut u64) -> std::io::Result<()> {
        let (mut begun, mut missed_all) = (false, 0);
        loop {
            let (news, lost, clock, ended, refused) = {
                let state = self.lock();
                let (frames, missed, lost) = state.capture.news(*place, FRAMES_AT_ONCE);
                *place += missed + frames.len() as u64;
                missed_all += missed;
                let clock = state.stats.as_ref().map(|stats| (stats.at_ns, stats.unix_ns));
                (frames, lost, clock, state.ended, state.refused.clone())
            };
            if let Some(reason) = refused {
                return tell(stream, &json!({ "error": format!("the service does not tell: {reason}") }));
            }
            // The first line says what the clock means, which the first statistics tell.
            if !begun && let Some((at_ns, unix_ns)) = clock {
                begun = true;
                tell(stream, &json!({ "at_ns": at_ns, "unix_ns": unix_ns }))?;
            }
            if begun {
                for frame in &news {
                    tell(stream, &eyes::told(frame))?;
                }
            }
            if news.is_empty() || !begun {
                if begun {
                    tell(stream, &json!({ "lost": lost.saturating_add(missed_all) }))?;
                }
                if ended || gone(stream)? {
                    return Ok(());
                }
                std::thread::sleep(FOLLOW_INTERVAL);
            }
        }
    }

    /// Passes an order on and waits for what comes of it.
    fn ordered(&self, line: &str) -> Value {
        let command = match Command::parse(line.as_bytes()) {
            Some(command @ (Command::Reload | Command::Set(..) | Command::Freeze | Command::Thaw)) => command,
            _ => return json!({ "error": "no order: there are reload, set KEY = VALUE, freeze and thaw" }),
        };
        let wait = |state, waits: &dyn Fn(&mut State) -> bool| {
            let waited = self.changed.wait_timeout_while(state, ANSWER_PATIENCE, waits);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        let mut state = wait(self.lock(), &|state| state.ordering && !state.ended);
        if state.ordering || state.ended {
            return json!({ "error": "the service is busy with another order, or has ended" });
        }
        (state.ordering, state.order, state.answer) = (true, Some(command), None);
        state = wait(state, &|state| state.answer.is_none() && !state.ended);
        (state.ordering, state.order) = (false, None);
        self.changed.notify_all();
        match state.answer.take() {
            Some((good, text)) => json!({ "good": good, "text": text }),
            None => json!({ "error": "the service did not answer in time" }),
        }
    }

    /// Tells the log from its beginning, as far as it is kept.
    fn log(&self, stream: &UnixStream, follow: bool) -> std::io::Result<()> {
        let mut places = vec![0; self.about.serials.len() + 1];
        loop {
            let ended = self.lock().ended;
            let (lines, missed) = self.news(&mut places);
            if missed > 0 {
                tell(stream, &json!({ "missed": missed }))?;
            }
            for (seen, line) in &lines {
                let mut line = line.clone();
                line["at_ms"] = json!(seen.saturating_duration_since(self.started).as_millis() as u64);
                tell(stream, &line)?;
            }
            if !follow || ended {
                return Ok(());
            }
            if lines.is_empty() {
                // Whoever does not listen any more is noticed here, since nothing is written.
                std::thread::sleep(FOLLOW_INTERVAL);
                if gone(stream)? {
                    return Ok(());
                }
            }
        }
    }

    /// Lines since these places, oldest first, and how many were forgotten before they could be told.
    fn news(&self, places: &mut [u64]) -> (Vec<(Instant, Value)>, u64) {
        let (mut lines, mut missed) = (Vec::new(), 0);
        let (own, others) = places.split_at_mut(1);
        {
            let state = self.lock();
            let skip = own[0].saturating_sub(state.log_forgotten);
            missed += state.log_forgotten.saturating_sub(own[0]);
            for (line, level) in state.log.iter().skip(skip as usize) {
                let level = format!("{level:?}").to_lowercase();
                lines.push((line.seen, json!({ "from": "service", "level": level, "text": line.text })));
            }
            own[0] = state.log_forgotten + state.log.len() as u64;
        }
        for ((name, serial), place) in self.about.serials.iter().zip(others) {
            let (news, from) = serial.since(*place);
            missed += from - *place;
            *place = from + news.len() as u64;
            lines
                .extend(news.into_iter().map(|line| (line.seen, json!({ "from": name, "text": line.text }))));
        }
        lines.sort_by_key(|(seen, _)| *seen);
        (lines, missed)
    }
}

fn service(stats: &Stats) -> Value {
    json!({
        "at_ns": stats.at_ns,
        "accepted": stats.accepted,
        "refused": stats.refused,
        "connections": stats.connections,
        "latency_p50_ns": stats.latency_p50_ns,
        "latency_p99_ns": stats.latency_p99_ns,
        "frames_in": stats.frames_in,
        "frames_out": stats.frames_out,
        "frames_lost": stats.frames_lost,
        "kicks": stats.kicks,
        "sleeps": stats.sleeps,
        "core_ns": stats.core_ns,
        "memory_bytes": stats.memory_bytes,
        "setting": stats.setting,
    })
}

/// A process of this host: processor time and resident memory; none when it is gone.
fn process(name: &str, id: u32) -> Option<Value> {
    const TICK_MS: u64 = 10;
    let stat = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    // The name in parentheses may contain anything.
    let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| words.get(place)?.parse::<u64>().ok();
    Some(json!({
        "name": name,
        "pid": id,
        "threads": number(17)?,
        "cpu_ms": (number(11)? + number(12)?) * TICK_MS,
        "resident_kib": number(21)? * 4,
    }))
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
