//! What an application that is alone costs: nothing of the kernel while it runs, next to nothing of the host while it
//! waits.
//!
//! - `idle.interrupts`, `idle.calls`: counted by the kernel while an application spins alone on its core for 10 s,
//!   looking at the clock.
//! - `idle.host_cpu_percent`: processor time that the emulator of a serving guest takes while nobody asks, as a share
//!   of one core, over 10 s. The guest halts; its service still settles a window each second.

use crate::figures::Figure;
use crate::{Settings, serving};
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str = "an application alone for 10 s sees no interrupt and makes no call; an idle guest uses under 1% of a host core";

const SPIN_S: u64 = 10;
const WATCH: Duration = Duration::from_secs(10);
/// What follows the first answer (a connection that closes, timers) is over by then.
const SETTLE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
const MEMORY_MIB: u32 = 16;
/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on x86-64.
const TICKS_PER_S: f64 = 100.0;

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counted = serving::spin(SPIN_S, progress)?;
    let image = serving::small_image(progress)?;
    let machine = serving::answered(&image, MEMORY_MIB, PATIENCE)?;
    std::thread::sleep(SETTLE);
    let mut shares = Vec::new();
    for _ in 0..settings.runs.unwrap_or(1) {
        let (before, start) = (ticks(machine.id())?, Instant::now());
        std::thread::sleep(WATCH);
        let used_s = (ticks(machine.id())? - before) as f64 / TICKS_PER_S;
        shares.push(used_s / start.elapsed().as_secs_f64() * 100.0);
    }
    let figures = [
        Figure::of("idle.interrupts", "", Some("<=0"), &[counted.interrupts as f64]),
        Figure::of("idle.calls", "", Some("<=0"), &[counted.calls as f64]),
        Figure::of("idle.host_cpu_percent", "%", Some("<1"), &shares),
    ];
    Ok(figures.into_iter().flatten().map(|figure| figure.emulated(true)).collect())
}

/// Processor time of a process and all its threads, in ticks.
fn ticks(process: u32) -> Outcome<u64> {
    let file = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&file).context(|| format!("cannot read {file}"))?;
    used(&text).ok_or_else(|| Trouble::new(format!("{file} is not as expected")))
}

/// User and system time: the 14th and 15th word, counted behind the name, which may contain anything.
pub(crate) fn used(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(words.get(11)?.parse::<u64>().ok()? + words.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_stands_behind_its_name() {
        assert_eq!(used("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14"), Some(42));
        assert_eq!(used("7 (a) S"), None);
    }
}
