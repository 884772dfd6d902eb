//! Threads, sockets, progress, the report.

use crate::bounds;
use crate::connection::{Connection, Over, open, read};
use crate::mix::{Keys, Operation, Speaker, Verdict};
use crate::opener::Opener;
use crate::pace::{Pace, Schedule};
use crate::plan::{LoadError, Plan};
use crate::recording::{Arrival, Recording};
use crate::tally::Tally;
use crate::waiter::{Events, Waiter, raise_descriptor_limit, wake_on_time};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest sleep of a thread, so that a stop is seen soon.
const TURN_NS: u64 = 20_000_000;
/// Pause before a connection that ended is opened again.
const RECONNECT_PAUSE_NS: u64 = 50_000_000;
/// How long one opening may take during the run; it delays the thread's other connections.
const RECONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Requests that are outstanding at once while the keys are stored before the run.
const PRELOAD_BATCH: u32 = 32;

/// Ends a run early, from any thread or signal handler.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to end: outstanding answers are still waited for, within the grace time.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the progress callback sees.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Since the first request was due.
    pub elapsed: Duration,
    /// Since the last call.
    pub interval: Duration,
    /// What happened since the last call.
    pub recent: Tally,
    /// What happened in all.
    pub total: Tally,
    /// Keys that were stored before the run; a server counts them as operations too.
    pub preloaded: u64,
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Report {
    /// Counts and latencies.
    pub tally: Tally,
    /// Keys that were stored before the run and are not in the tally; a server counts them as operations too.
    pub preloaded: u64,
    /// Keys that the server refused to store before the run.
    pub preload_refused: u64,
    /// From the start of the run to the last answer.
    pub elapsed: Duration,
    /// The arrivals, when they were asked for.
    pub recording: Option<Recording>,
    /// The recording reached its bound and is shorter than the run.
    pub recording_full: bool,
}

impl Report {
    /// Answered operations a second.
    pub fn per_s(&self) -> f64 {
        self.tally.answered as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Operations that a server must have counted as accepted if nothing was lost: the right answers and the
    /// stored keys.
    pub fn accepted(&self) -> u64 {
        self.tally.answered + self.preloaded
    }
}

/// Runs a plan. The callback is called on the caller's thread.
pub fn run(plan: &Plan, stop: &Stop, mut progress: impl FnMut(&Progress)) -> Result<Report, LoadError> {
    plan.check()?;
    raise_descriptor_limit();
    let mut plan = plan.clone();
    let (preloaded, preload_refused) = match &mut plan.mix.web {
        Some(web) if plan.mix.preload => (web.learn(plan.target)?, 0),
        Some(_) => (0, 0),
        None => preload(&plan, stop)?,
    };
    let plan = &plan;
    let threads = plan.threads.min(plan.connections);
    let mut workers = Vec::with_capacity(threads);
    let shared = Arc::new(Shared { recent: Mutex::default(), issued: AtomicU64::new(0) });
    let mut opener = Opener::new(plan.target);
    for index in 0..threads {
        workers.push(Worker::open(plan, stop, &shared, &mut opener, (index, threads))?);
    }
    let start = Instant::now();
    thread::scope(|scope| {
        let handles: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(move || worker.run(start))).collect();
        let mut total = Tally::default();
        let mut last = start;
        loop {
            let done = handles.iter().all(|handle| handle.is_finished());
            if !done && last.elapsed() < plan.progress_every {
                thread::sleep(Duration::from_millis(5).min(plan.progress_every));
                continue;
            }
            let recent = std::mem::take(&mut *shared.lock());
            total.add(&recent);
            let interval = last.elapsed();
            last += interval;
            progress(&Progress { elapsed: last - start, interval, recent, total: total.clone(), preloaded });
            if done {
                break;
            }
        }
        let elapsed = Duration::from_nanos(total.last_answer_ns);
        let (mut arrivals, mut recording_full) = (Vec::new(), false);
        for handle in handles {
            let (recorded, full) = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            arrivals.extend(recorded);
            recording_full |= full;
        }
        let recording = plan.record.then(|| Recording::new(arrivals));
        Ok(Report { tally: total, preloaded, preload_refused, elapsed, recording, recording_full })
    })
}

/// Stores every shared key once, over one connection.
fn preload(plan: &Plan, stop: &Stop) -> Result<(u64, u64), LoadError> {
    if !plan.mix.preload || plan.mix.whose == Keys::Own {
        return Ok((0, 0));
    }
    let timeout = Duration::from_secs(bounds::CONNECT_TIMEOUT_S);
    let failed = |error| LoadError::System("storing the keys before the run", error);
    let mut stream = open(plan.target, timeout)?;
    stream.set_nonblocking(false).map_err(failed)?;
    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
    stream.set_write_timeout(Some(timeout)).map_err(failed)?;
    let mut speaker = Speaker::new(plan.mix.clone(), plan.seed, 0);
    let (mut stored, mut refused) = (0, 0);
    let mut scratch = vec![0; bounds::READ_LEN];
    for first in (0..plan.mix.keys).step_by(PRELOAD_BATCH as usize) {
        if stop.is_stopped() {
            break;
        }
        let keys = first..plan.mix.keys.min(first + PRELOAD_BATCH);
        let mut out = Vec::new();
        keys.clone().for_each(|key| speaker.request(Operation::Set(key), &mut out));
        stream.write_all(&out).map_err(failed)?;
        let (mut inbox, mut at) = (Vec::new(), 0);
        for key in keys {
            loop {
                match speaker.judge(Operation::Set(key), &inbox[at..]) {
                    Verdict::Stored(len) => {
                        stored += 1;
                        at += len;
                        break;
                    }
                    Verdict::Refused(len) => {
                        refused += 1;
                        at += len;
                        break;
                    }
                    Verdict::Incomplete => {
                        let len = read(&mut stream, &mut scratch).map_err(failed)?;
                        if len == 0 {
                            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
                        }
                        inbox.extend_from_slice(&scratch[..len]);
                    }
                    Verdict::Wrong | Verdict::Hit(_) | Verdict::Miss(_) => {
                        return Err(failed(std::io::Error::other("the server's answer is not one to a set")));
                    }
                }
            }
        }
    }
    Ok((stored, refused))
}

struct Shared {
    recent: Mutex<Tally>,
    issued: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        // A tally is counts only: one that a panicking thread left is still the best there is.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's connections.
struct Worker {
    plan: Plan,
    stop: Stop,
    shared: Arc<Shared>,
    waiter: Waiter,
    names: Vec<u32>,
    connections: Vec<Connection>,
    /// When a connection that ended may be opened again; `None` while it is open.
    reopen_ns: Vec<Option<u64>>,
    reconnects: Vec<u32>,
    /// Connections that ended and are not open again.
    ended: Vec<usize>,
    /// Connections with bytes to write.
    unwritten: Vec<usize>,
    schedule: Schedule,
    turn: usize,
    arrivals: Vec<Arrival>,
    recorded_bytes: usize,
    recording_full: bool,
    threads: usize,
}

impl Worker {
    fn open(
        plan: &Plan,
        stop: &Stop,
        shared: &Arc<Shared>,
        opener: &mut Opener,
        (index, threads): (usize, usize),
    ) -> Result<Self, LoadError> {
        let waiter = Waiter::new()?;
        let names: Vec<u32> = (index..plan.connections).step_by(threads).map(|name| name as u32).collect();
        let mut connections = Vec::with_capacity(names.len());
        for (place, &name) in names.iter().enumerate() {
            let stream = opener.next()?;
            waiter.add(&stream, place)?;
            connections.push(Connection::new(stream, Speaker::new(plan.mix.clone(), plan.seed, name)));
        }
        Ok(Self {
            schedule: Schedule::new(plan.pace, index, threads, plan.seed),
            reopen_ns: vec![None; names.len()],
            reconnects: vec![0; names.len()],
            ended: Vec::new(),
            unwritten: Vec::new(),
            plan: plan.clone(),
            stop: stop.clone(),
            shared: Arc::clone(shared),
            waiter,
            names,
            connections,
            turn: 0,
            arrivals: Vec::new(),
            recorded_bytes: 0,
            recording_full: false,
            threads,
        })
    }

    fn run(mut self, start: Instant) -> (Vec<Arrival>, bool) {
        wake_on_time();
        let now = || start.elapsed().as_nanos() as u64;
        let mut end_ns = self.plan.duration.as_nanos() as u64;
        let grace_ns = self.plan.grace.as_nanos() as u64;
        let (mut events, mut ready) = (Events::new(), Vec::new());
        let mut scratch = vec![0; bounds::READ_LEN];
        let shared = Arc::clone(&self.shared);
        let mut sending = true;
        if self.plan.pace == Pace::Closed {
            let mut tally = shared.lock();
            (0..self.connections.len()).for_each(|place| self.issue(place, now(), &mut tally));
        }
        loop {
            let now_ns = now();
            let last = sending && (now_ns >= end_ns || self.stop.is_stopped() || self.spent());
            end_ns = if last { now_ns.min(end_ns) } else { end_ns };
            let mut tally = shared.lock();
            if sending {
                self.reopen(now_ns, &mut tally);
                // In the last turn too: who wakes late at the end still sends what was due before it.
                self.issue_due(now_ns, end_ns, &mut tally);
                sending = !last;
                // Every connection is lost for good: nothing more can happen.
                if self.all_lost() {
                    sending = false;
                    end_ns = now_ns;
                }
            }
            self.flush(now_ns, &mut tally);
            drop(tally);
            let answered = || self.connections.iter().all(|connection| connection.outstanding() == 0);
            if !sending && (now_ns >= end_ns.saturating_add(grace_ns) || answered()) {
                break;
            }
            let until_ns = match self.schedule.due_ns() {
                Some(due_ns) if sending => due_ns.min(end_ns),
                _ if sending => end_ns,
                _ => end_ns.saturating_add(grace_ns),
            };
            self.waiter.wait(&mut events, until_ns.saturating_sub(now()).min(TURN_NS), &mut ready);
            let mut tally = shared.lock();
            for &place in &ready {
                if self.connections[place].wants_write() {
                    self.unwritten.push(place);
                }
                match self.connections[place].receive(&mut scratch, now, &mut tally) {
                    Ok(answers) if sending && self.plan.pace == Pace::Closed => {
                        for _ in 0..answers {
                            self.issue(place, now(), &mut tally);
                        }
                    }
                    Ok(_) => {}
                    Err(Over) => self.ended(place, now(), &mut tally),
                }
            }
        }
        let lost: u64 = self.connections.iter_mut().map(Connection::abandon).sum();
        shared.lock().lost += lost;
        (self.arrivals, self.recording_full)
    }

    fn spent(&self) -> bool {
        self.shared.issued.load(Ordering::Relaxed) >= self.plan.operations_max
    }

    fn all_lost(&self) -> bool {
        self.ended.len() == self.connections.len()
            && self.reconnects.iter().all(|count| *count >= bounds::RECONNECTS_MAX)
    }

    fn issue_due(&mut self, now_ns: u64, end_ns: u64, tally: &mut Tally) {
        let Some(mut due_ns) = self.schedule.due_ns() else { return };
        while due_ns <= now_ns && due_ns < end_ns {
            let place = self.turn % self.connections.len();
            self.turn += 1;
            self.issue(place, due_ns, tally);
            self.schedule.advance();
            due_ns = self.schedule.due_ns().unwrap_or(u64::MAX);
        }
    }

    fn issue(&mut self, place: usize, intended_ns: u64, tally: &mut Tally) {
        if self.shared.issued.fetch_add(1, Ordering::Relaxed) >= self.plan.operations_max {
            return;
        }
        tally.sent += 1;
        if self.reopen_ns[place].is_some() {
            tally.shed += 1;
            return;
        }
        let name = self.names[place];
        let idle = !self.connections[place].wants_write();
        let Some(request) = self.connections[place].issue(intended_ns) else {
            tally.shed += 1;
            return;
        };
        if idle {
            self.unwritten.push(place);
        }
        if self.plan.record {
            self.recorded_bytes += request.len();
            if self.arrivals.len() >= bounds::ARRIVALS_MAX / self.threads
                || self.recorded_bytes > bounds::RECORDED_BYTES_MAX / self.threads
            {
                self.recording_full = true;
            } else {
                let request = request.to_vec();
                self.arrivals.push(Arrival { time_us: intended_ns / 1000, connection: name, request });
            }
        }
    }

    fn flush(&mut self, now_ns: u64, tally: &mut Tally) {
        while let Some(place) = self.unwritten.pop() {
            if self.reopen_ns[place].is_some() {
                continue;
            }
            match self.connections[place].flush(tally) {
                Ok(()) => {
                    let connection = &mut self.connections[place];
                    let wants = connection.wants_write();
                    if wants != std::mem::replace(&mut connection.watched, wants) {
                        self.waiter.want_write(&connection.stream, place, wants);
                    }
                }
                Err(Over) => self.ended(place, now_ns, tally),
            }
        }
    }

    fn ended(&mut self, place: usize, now_ns: u64, tally: &mut Tally) {
        if self.reopen_ns[place].is_some() {
            return;
        }
        // The answers of a connection that ended will never come.
        tally.closed += 1;
        tally.lost += self.connections[place].abandon();
        self.waiter.remove(&self.connections[place].stream);
        let _ = self.connections[place].stream.shutdown(std::net::Shutdown::Both);
        self.reopen_ns[place] = Some(now_ns + RECONNECT_PAUSE_NS);
        self.ended.push(place);
    }

    fn reopen(&mut self, now_ns: u64, tally: &mut Tally) {
        for index in 0..self.ended.len() {
            let place = self.ended[index];
            let due = self.reopen_ns[place].is_some_and(|at_ns| at_ns <= now_ns);
            if !due || self.reconnects[place] >= bounds::RECONNECTS_MAX {
                continue;
            }
            self.reconnects[place] += 1;
            match open(self.plan.target, RECONNECT_TIMEOUT) {
                Ok(stream) if self.waiter.add(&stream, place).is_ok() => {
                    self.connections[place].reopen(stream);
                    self.reopen_ns[place] = None;
                    self.ended.swap_remove(index);
                    tally.reconnects += 1;
                    if self.plan.pace == Pace::Closed {
                        self.issue(place, now_ns, tally);
                    }
                }
                _ => self.reopen_ns[place] = Some(now_ns + RECONNECT_PAUSE_NS),
            }
            // One opening a turn: the others' requests are due meanwhile.
            return;
        }
    }
}
