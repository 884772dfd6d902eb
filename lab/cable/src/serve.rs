//! An application on a private stack, until it is told to stop.

use nom_stack::application::Application;
use nom_stack::counters::Counters;
use nom_stack::knobs::{Knobs, Wait};
use nom_stack::port::{Egress, Ingress};
use nom_stack::{Config, Engine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The echo's port.
pub const PORT: u16 = 7;
/// Longest sleep: so late it hears at most that it is to stop.
const SLEEP_MAX_NS: u64 = 5_000_000;
/// Turns between two looks at whether it is to stop, while it never sleeps.
const TURNS: u32 = 1_024;
/// How long connections may take to end once it is to stop.
const PARTING_NS: u64 = 2_000_000_000;

/// Serves on these halves. `turn` is called before each step and tells the stack what to listen for or whom to connect to.
/// Hands back what the application saw and what the stack counted.
pub fn serve<I: Ingress, E: Egress, A: Application + Default>(
    config: Config,
    knobs: Knobs,
    (ingress, egress): (I, E),
    (application, mut turn): (A, impl FnMut(&mut Engine<I, E, A>, u64)),
    wakes: &impl AsFd,
    stop: &AtomicBool,
) -> (A, Counters) {
    let start = Instant::now();
    let now_ns = || start.elapsed().as_nanos() as u64 + 1;
    let mut engine = Engine::new(config, ingress, egress, application, [7; 32], now_ns());
    engine.set_knobs(knobs, now_ns());
    let (mut turns, mut worked_ns) = (0u32, now_ns());
    let (mut slept, mut parting_ns) = (false, None);
    loop {
        turns = turns.wrapping_add(1);
        let at_ns = now_ns();
        if (slept || turns.is_multiple_of(TURNS)) && stop.load(Ordering::Relaxed) {
            // Who has left may still owe the last acknowledgement of its end.
            let until_ns = *parting_ns.get_or_insert(at_ns + PARTING_NS);
            if engine.open_connections() == 0 || at_ns > until_ns {
                break;
            }
        }
        slept = false;
        turn(&mut engine, at_ns);
        let step = engine.step(at_ns);
        if step.worked {
            worked_ns = at_ns;
            continue;
        }
        let rest = match knobs.wait {
            Wait::Halt => true,
            Wait::Spin { budget_ns } => at_ns - worked_ns >= budget_ns,
            Wait::Poll => false,
        };
        if !rest || !engine.ingress_mut().arm() {
            std::hint::spin_loop();
            continue;
        }
        let sleep_ns = step.deadline_ns.map_or(SLEEP_MAX_NS, |at| at.saturating_sub(now_ns()));
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns.min(SLEEP_MAX_NS) as i64 };
        let mut fds = [PollFd::new(wakes, PollFlags::IN)];
        // An interrupted sleep is an early one.
        let _ = poll(&mut fds, Some(&timeout));
        slept = true;
    }
    let counters = *engine.counters();
    (std::mem::take(engine.application_mut()), counters)
}
