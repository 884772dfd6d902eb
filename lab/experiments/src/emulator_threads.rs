//! Which processor each side has.

use nom_machine::trouble::{Context, Outcome, Trouble};
use rustix::process::Pid;
use rustix::thread::CpuSet;

/// How the emulator names the threads that execute the guest.
const PROCESSOR: &str = "CPU ";
/// The lowest priority.
const NICE: i32 = 19;

/// Threads of ours were moved; they go back to where they could run before when this is dropped.
#[must_use = "the threads go back at once"]
pub struct Moved {
    /// Nothing on a machine with a single processor, where nobody is moved.
    before: Option<CpuSet>,
    /// All threads of this process were, not only the calling one.
    all: bool,
}

impl Drop for Moved {
    fn drop(&mut self) {
        match &self.before {
            Some(before) if self.all => drop(move_ours(before)),
            Some(before) => drop(rustix::thread::sched_setaffinity(None, before)),
            None => {}
        }
    }
}

/// Puts the calling thread on the first processor that it may use, and all threads of a process on the second. On a
/// machine with a single one nothing is moved.
pub fn apart(process: u32) -> Outcome<Moved> {
    let (before, processors) = allowed()?;
    let [first, second, ..] = processors[..] else { return Ok(Moved { before: None, all: false }) };
    let (mut ours, mut theirs) = (CpuSet::new(), CpuSet::new());
    ours.set(first);
    theirs.set(second);
    for (thread, _) in threads(process)? {
        put(Some(thread), &theirs)?;
    }
    put(None, &ours)?;
    Ok(Moved { before: Some(before), all: false })
}

/// Gives the threads that execute the guest the last processor that we may use, and everything else of the emulator and of
/// this process the others. On a machine with a single one nothing is moved.
pub fn own_processor(emulator: u32) -> Outcome<Moved> {
    let (before, processors) = allowed()?;
    let [.., _, last] = processors[..] else { return Ok(Moved { before: None, all: true }) };
    let (mut own, mut others) = (CpuSet::new(), before);
    own.set(last);
    others.unset(last);
    // Whoever is started later is where its starter is.
    move_ours(&others)?;
    let moved = Moved { before: Some(before), all: true };
    for (thread, name) in threads(emulator)? {
        put(Some(thread), if name.starts_with(PROCESSOR) { &own } else { &others })?;
    }
    Ok(moved)
}

/// Where the calling thread may run: as a set, and one by one.
fn allowed() -> Outcome<(CpuSet, Vec<usize>)> {
    let set = rustix::thread::sched_getaffinity(None).context(cannot)?;
    Ok((set, (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect()))
}

fn put(thread: Option<Pid>, there: &CpuSet) -> Outcome<()> {
    rustix::thread::sched_setaffinity(thread, there).context(cannot)
}

fn cannot() -> String {
    "cannot choose processors".into()
}

/// Moves all threads of this process.
fn move_ours(there: &CpuSet) -> Outcome<()> {
    for (thread, _) in threads(std::process::id())? {
        // It may have ended since.
        let _ = rustix::thread::sched_setaffinity(Some(thread), there);
    }
    Ok(())
}

/// What the scheduler did with the threads that execute the guest, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduled {
    /// How long they could have run and had to wait.
    pub waited_ns: u64,
    /// How often they were taken off their processor.
    pub forced: u64,
}

impl Scheduled {
    /// The counts of now.
    pub fn of(emulator: u32) -> Outcome<Self> {
        let mut all = Self::default();
        for (thread, _) in threads(emulator)?.into_iter().filter(|(_, name)| name.starts_with(PROCESSOR)) {
            let folder = format!("/proc/{emulator}/task/{}", thread.as_raw_nonzero());
            let read = |name| std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
            let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0u64);
            all.waited_ns += number(read("schedstat").split_whitespace().nth(1));
            let forced = read("status");
            let forced = forced.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
            all.forced += number(forced.map(str::trim));
        }
        Ok(all)
    }

    /// What happened since.
    pub fn since(self, before: Self) -> Self {
        Self { waited_ns: self.waited_ns - before.waited_ns, forced: self.forced - before.forced }
    }
}

/// Lets the threads that execute the guest run only when nobody else of its emulator wants to.
pub fn demote_processors(process: u32) -> Outcome<()> {
    let mut any = false;
    for (thread, _) in threads(process)?.into_iter().filter(|(_, name)| name.starts_with(PROCESSOR)) {
        rustix::process::setpriority_process(Some(thread), NICE)
            .context(|| "cannot demote the guest's processor".into())?;
        any = true;
    }
    if any { Ok(()) } else { Err(Trouble::new("the emulator has no thread that is named after a processor")) }
}

/// Processor time that the threads which execute the guest have had so far, and that of the emulator's others.
pub fn times_ns(process: u32) -> Outcome<[u64; 2]> {
    let mut times = [0; 2];
    for (thread, name) in threads(process)? {
        let file = format!("/proc/{process}/task/{}/schedstat", thread.as_raw_nonzero());
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let ns: u64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        times[usize::from(!name.starts_with(PROCESSOR))] += ns;
    }
    Ok(times)
}

/// The threads of a process with their names.
fn threads(process: u32) -> Outcome<Vec<(Pid, String)>> {
    let folder = format!("/proc/{process}/task");
    let entries = std::fs::read_dir(&folder).context(|| format!("cannot read {folder}"))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_string_lossy().parse().ok();
        let Some(thread) = number.and_then(Pid::from_raw) else { continue };
        // A thread may end while it is looked at.
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        found.push((thread, name.trim().into()));
    }
    Ok(found)
}
