//! A block natively: two threads with a processor each, and memory between them. The server waits as the knob says; the
//! client never sleeps.

use super::asker::{Driver, Span};
use super::seen::{Seen, Used};
use super::sweep::{Offloads, Value};
use nom_echo::Echo;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_memory_link::{End, LinkConfig, pair};
use nom_stack::knobs::Wait;
use nom_stack::port::Ingress;
use nom_stack::{Config, Engine};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 7;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const PROCESSORS: [usize; 2] = [0, 1];
const MS: u64 = 1_000_000;
/// From the begin of the load until it counts.
const REST_NS: u64 = 20 * MS;
/// How long answers are waited for behind the load.
const GRACE_NS: u64 = 50 * MS;
/// How often one is tried.
const TRIES: u32 = 5;
/// How long connections may take to open.
const PATIENCE_NS: u64 = 60_000 * MS;
/// Longest sleep of the server: then it looks whether it is over.
const SLEEP_MAX: Duration = Duration::from_millis(5);

/// What the client tells the server.
const COUNT: u32 = 1;
const STOP_COUNTING: u32 = 2;
const END: u32 = 3;

/// What the server used so far.
#[derive(Clone, Copy, Default)]
struct Sums {
    bytes: u64,
    cpu_ns: u64,
    kicks: u64,
}

/// Processor time of the calling thread.
fn cpu_ns() -> Outcome<u64> {
    let file = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {file}"))?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| Trouble::new(format!("{file} is not as expected")))
}

fn serve((ingress, egress): End, value: &Value, start: Instant, word: &AtomicU32) -> Outcome<[Sums; 2]> {
    nom_cable::pin(PROCESSORS[0]).map_err(Trouble::new)?;
    let now = || start.elapsed().as_nanos() as u64 + 1;
    let config = Config::new([2, 0, 0, 0, 0, 1], SERVER, 24);
    let mut engine = Engine::new(config, ingress, egress, Echo::default(), [1; 32], now());
    engine.listen(PORT);
    engine.set_knobs(value.knobs, now());
    let (mut sums, mut heard, mut worked_ns) = ([Sums::default(); 2], 0, 0);
    loop {
        let said = word.load(Ordering::Relaxed);
        while heard < said.min(STOP_COUNTING) {
            let counters = engine.counters();
            let (bytes, kicks) = (counters.bytes_out, counters.kicks);
            sums[heard as usize] = Sums { bytes, cpu_ns: cpu_ns()?, kicks };
            heard += 1;
        }
        if said == END {
            return Ok(sums);
        }
        let now_ns = now();
        let step = engine.step(now_ns);
        if step.worked {
            worked_ns = now_ns;
            continue;
        }
        let sleep = match engine.knobs().wait {
            Wait::Halt => true,
            Wait::Spin { budget_ns } => now_ns.saturating_sub(worked_ns) >= budget_ns,
            Wait::Poll => false,
        };
        if sleep && engine.ingress_mut().arm() {
            let due = step
                .deadline_ns
                .map_or(SLEEP_MAX, |due_ns| Duration::from_nanos(due_ns - now_ns.min(due_ns)));
            let ingress: &nom_memory_link::MemoryIngress = engine.halves().0;
            ingress.wait(due.min(SLEEP_MAX));
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Runs one, of this length; again where the threads had no turn, since others have the processors.
pub fn block(value: &Value, per_s: Option<f64>, span_ns: u64, seed: u64) -> Outcome<Seen> {
    for _ in 0..TRIES {
        if let Some(seen) = once(value, per_s, span_ns, seed)? {
            return Ok(seen);
        }
    }
    Err(Trouble::new(format!("{}: nothing was answered over memory: is the machine that busy?", value.name)))
}

fn once(value: &Value, per_s: Option<f64>, span_ns: u64, seed: u64) -> Outcome<Option<Seen>> {
    let checksum_offload = value.offloads != Offloads::Nothing;
    let (left, right) = pair(LinkConfig { slots: 1024, checksum_offload, ..LinkConfig::default() });
    let never = Span { begin_ns: u64::MAX, from_ns: u64::MAX, to_ns: u64::MAX };
    let (start, word) = (Instant::now(), AtomicU32::new(0));
    let (tally, answers, counted_ns, [before, after]) = thread::scope(|scope| {
        let server = scope.spawn(|| serve(left, value, start, &word));
        let client = scope.spawn(|| -> Outcome<_> {
            nom_cable::pin(PROCESSORS[1]).map_err(Trouble::new)?;
            let now = || start.elapsed().as_nanos() as u64 + 1;
            let config = Config::new([2, 0, 0, 0, 0, 2], CLIENT, 24);
            let (mut driver, asker) = Driver::new((SERVER, PORT), per_s, never, seed);
            let mut engine = Engine::new(config, right.0, right.1, asker, [2; 32], now());
            let mut span = never;
            loop {
                let now_ns = now();
                if span == never && engine.application().is_settled() {
                    let from_ns = now_ns + REST_NS;
                    span = Span { begin_ns: now_ns, from_ns, to_ns: from_ns + span_ns };
                    driver.set_span(engine.application_mut(), span);
                }
                let said = match now_ns {
                    early if early < span.from_ns.min(PATIENCE_NS) => 0,
                    within if within < span.to_ns && span != never => COUNT,
                    late if late < span.to_ns.saturating_add(GRACE_NS) && span != never => STOP_COUNTING,
                    _ => break,
                };
                word.store(said, Ordering::Relaxed);
                driver.drive(&mut engine, now_ns);
                engine.step(now_ns);
            }
            let counted_ns = span.to_ns.saturating_sub(span.from_ns);
            let asker = engine.application();
            Ok((asker.tally.clone(), asker.answers, counted_ns))
        });
        let asked = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Whatever became of the client, the server ends.
        word.store(END, Ordering::Relaxed);
        let served = server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (tally, answers, counted_ns) = asked?;
        Outcome::Ok((tally, answers, counted_ns, served?))
    })?;
    if answers == 0 || tally.answered == 0 {
        return Ok(None);
    }
    let used = Used {
        span_ns: counted_ns,
        answers,
        bytes: after.bytes - before.bytes,
        cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
        kicks: after.kicks - before.kicks,
    };
    Ok(Some(Seen::new(&tally, used)))
}
