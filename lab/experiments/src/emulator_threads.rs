//! Which processor each side has.

use nom_machine::trouble::{Context, Outcome, Trouble};
use rustix::process::Pid;
use rustix::thread::CpuSet;

/// How the emulator names the threads that execute the guest.
const PROCESSOR: &str = "CPU ";
/// The lowest priority.
const NICE: i32 = 19;

/// The calling thread has a processor of its own until this is dropped.
pub struct Apart(Option<CpuSet>);

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}

/// Puts the calling thread on the first processor that it may use, and all threads of a process on the second. On a
/// machine with a single one nothing is moved.
pub fn apart(process: u32) -> Outcome<Apart> {
    let cannot = || "cannot choose processors".to_string();
    let before = rustix::thread::sched_getaffinity(None).context(cannot)?;
    let mut there = (0..CpuSet::MAX_CPU).filter(|processor| before.is_set(*processor));
    let (Some(first), Some(second)) = (there.next(), there.next()) else { return Ok(Apart(None)) };
    let only = |processor: usize| {
        let mut set = CpuSet::new();
        set.set(processor);
        set
    };
    for (thread, _) in threads(process)? {
        rustix::thread::sched_setaffinity(Some(thread), &only(second)).context(cannot)?;
    }
    rustix::thread::sched_setaffinity(None, &only(first)).context(cannot)?;
    Ok(Apart(Some(before)))
}

/// Gives the threads that execute the guest the last processor that we may use, and everything else of the emulator and of
/// this process the others, until this is dropped. On a machine with a single one nothing is moved.
pub fn own_processor(emulator: u32) -> Outcome<Own> {
    let cannot = || "cannot choose processors".to_string();
    let before = rustix::thread::sched_getaffinity(None).context(cannot)?;
    let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|processor| before.is_set(*processor)) else {
        return Ok(Own(None));
    };
    if before.count() < 2 {
        return Ok(Own(None));
    }
    let (mut own, mut others) = (CpuSet::new(), before);
    own.set(last);
    others.unset(last);
    // Whoever is started later is where its starter is.
    move_all(std::process::id(), &others)?;
    let held = Own(Some(before));
    for (thread, name) in threads(emulator)? {
        let there = if name.starts_with(PROCESSOR) { &own } else { &others };
        rustix::thread::sched_setaffinity(Some(thread), there).context(cannot)?;
    }
    Ok(held)
}

/// The guest has a processor of its own until this is dropped.
pub struct Own(Option<CpuSet>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = move_all(std::process::id(), before);
        }
    }
}

fn move_all(process: u32, there: &CpuSet) -> Outcome<()> {
    for (thread, _) in threads(process)? {
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
