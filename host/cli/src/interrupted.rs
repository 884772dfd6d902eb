//! Ctrl-C, a closed terminal and a polite kill all mean the same: settle and end. A second one means now.
//!
//! Whoever tells a whole process group tells its leader twice (`timeout` does): what comes together is one request.

use nom_machine::trouble::{Context, Outcome};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use std::io::{Read, Result};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What comes within this time of the first one is still the same request.
const SAME_REQUEST: Duration = Duration::from_millis(500);
/// How a process ends that was told twice.
const TOLD_TWICE: i32 = 130;

/// A flag that is set from the first such signal on.
pub fn interrupts() -> Outcome<Arc<AtomicBool>> {
    listen().context(|| "cannot listen for Ctrl-C".into())
}

fn listen() -> Result<Arc<AtomicBool>> {
    let (interrupted, meant) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (mut first, tell) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && is_ignored(signal) {
            continue;
        }
        flag::register_conditional_shutdown(signal, TOLD_TWICE, Arc::clone(&meant))?;
        flag::register(signal, Arc::clone(&interrupted))?;
        pipe::register(signal, tell.try_clone()?)?;
    }
    std::thread::Builder::new().name("interrupts".into()).spawn(move || {
        if first.read_exact(&mut [0]).is_ok() {
            std::thread::sleep(SAME_REQUEST);
            meant.store(true, Ordering::SeqCst);
        }
    })?;
    Ok(interrupted)
}

/// Whether we were started with this signal ignored: `nohup` wants a closed terminal to mean nothing.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, signal)
}

fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_seen() {
        let status = |mask: &str| format!("Name:\tnom\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\n");
        assert!(ignores(&status("0000000000000001"), SIGHUP));
        assert!(!ignores(&status("0000000000000001"), SIGINT));
        assert!(!ignores(&status("fffffffffffffffe"), SIGHUP));
        assert!(!ignores("", SIGHUP));
    }
}
