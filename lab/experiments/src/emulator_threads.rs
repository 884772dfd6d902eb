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
