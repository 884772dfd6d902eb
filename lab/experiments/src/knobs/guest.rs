//! A block in a guest: the cache over our kernel, under the emulator, with a client of Linux behind a TAP device in a
//! network of the bench's own. The emulator has one processor, the client the other.

use super::seen::{Seen, Used};
use super::sweep::{CONNECTIONS, LOADS, Load, Offloads, Value};
use crate::emulator_threads;
use crate::first_answer;
use crate::guests::TOKEN;
use crate::kv_vm::PROBE;
use crate::tap_home::{GUEST, Guest, PREFIX_LEN};
use nom_load::pace::Pace;
use nom_load::{Mix, Plan as LoadPlan, Stop, run};
use nom_machine::machine::Nameless;
use nom_machine::management::{Heard, Management};
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, image};
use nom_service::management::{Command, Message, Stats};
use nom_stack::knobs::{Batching, Wait};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MEMORY_MIB: u32 = 32;
/// Few enough that storing them before a block costs nothing beside it.
const KEYS: u32 = 64;
const VALUE_LEN: usize = 100;
/// How long the guest may take to say what it counted.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a guest is tried.
const TRIES: u32 = 3;

/// The kernel and the application.
pub struct Programs(Vec<PathBuf>);

impl Programs {
    /// Builds them.
    pub fn build(progress: &mut dyn FnMut(&str)) -> Outcome<Self> {
        Ok(Self(artefacts::guest(&["nom-kernel", "nom-kv-guest"], progress)?))
    }

    fn image(&self, value: &Value) -> Outcome<Nameless> {
        let programs = &self.0;
        Nameless::new(&image::assemble(&programs[0], &configuration(value), &[("kv", &programs[1])])?)
    }
}

/// The value as keys of a configuration.
fn configuration(value: &Value) -> String {
    let knobs = &value.knobs;
    let wait = match knobs.wait {
        Wait::Halt => "halt".to_string(),
        Wait::Spin { budget_ns } => format!("spin:{}us", budget_ns / 1_000),
        Wait::Poll => "poll".into(),
    };
    let batch = match knobs.batching {
        Batching::RunToCompletion => "0".to_string(),
        Batching::TakeQueued => "queued".into(),
        Batching::Hold { delay_ns } => format!("{} us", delay_ns / 1_000),
    };
    let offloads = match value.offloads {
        Offloads::Nothing => "none",
        Offloads::Checksum => "checksum",
        Offloads::Merging => "merging",
        Offloads::All => "all",
    };
    // As many again for those of the block before, of which the guest may not have heard yet that they ended, and one for
    // who looks whether it serves.
    format!(
        "listen = {}\naddress = {GUEST}/{PREFIX_LEN}\nconnections = {}\nwait = {wait}\nbatch = {batch}\n\
         batch.bound = {}\nack.delay = {} us\noffloads = {offloads}\nmemory.items = 8 MiB\n\
         memory.send = 512 KiB\nmemory.receive = 512 KiB\ntuner = off\nkernel.heap = 12 MiB\nimage.trusted = yes\n\
         management.token = {TOKEN}\n",
        PROBE.port,
        2 * knobs.connections_max + 1,
        knobs.batch_bound,
        knobs.ack_delay_ns / 1_000,
    )
}

fn stats(management: &mut Management) -> Outcome<Stats> {
    management.say(&Command::Report)?;
    let deadline = Instant::now() + PATIENCE;
    let mut newest = None;
    while Instant::now() < deadline {
        // A report is asked for: what stands in the queue before it is older.
        match management.hear(if newest.is_some() { Duration::from_millis(20) } else { PATIENCE }) {
            Ok(Heard::Message(message, _)) => {
                if let Message::Stats(stats) = *message {
                    newest = Some(stats);
                }
            }
            Ok(Heard::Malformed(line)) => {
                return Err(Trouble::new(format!("the guest's channel says {line:?}")));
            }
            Err(_) => break,
        }
    }
    newest.ok_or_else(|| Trouble::new("the guest does not say what it counted"))
}

/// Runs a block of this length under each load, in one guest; in another one where that failed, since a host that has no
/// time for one of a hundred guests should not cost what the others gave. The capacity is what a closed loop gets when it
/// is not known.
pub fn blocks(
    programs: &Programs,
    value: &Value,
    capacity_per_s: Option<f64>,
    span: Duration,
    seed: u64,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<(Load, Seen)>> {
    for _ in 1..TRIES {
        match in_one(programs, value, capacity_per_s, span, seed) {
            Ok(all) => return Ok(all),
            Err(trouble) => progress(&format!("{}: once more, since {trouble}", value.name)),
        }
    }
    in_one(programs, value, capacity_per_s, span, seed)
}

fn in_one(
    programs: &Programs,
    value: &Value,
    capacity_per_s: Option<f64>,
    span: Duration,
    seed: u64,
) -> Outcome<Vec<(Load, Seen)>> {
    let plan = Plan { memory_mib: MEMORY_MIB, entropy: true, management: true, ..Plan::new(Kind::Microvm) };
    let mut guest = Guest::start_as(plan, &programs.image(value)?, None)?;
    first_answer::wait(&mut guest, &PROBE)?;
    let channel = guest.take_management().ok_or_else(|| Trouble::new("the guest has no channel"))?;
    let mut management = Management::open(channel, TOKEN)?;
    let _apart = emulator_threads::apart(guest.id())?;
    let loads = if capacity_per_s.is_some() { &LOADS[..] } else { &LOADS[..1] };
    let mut all = Vec::new();
    for &load in loads {
        let per_s = capacity_per_s.and_then(|capacity| load.per_s(capacity));
        all.push((load, block(&mut guest, &mut management, value, per_s, span, seed)?));
    }
    Ok(all)
}

fn block(
    guest: &mut Guest,
    management: &mut Management,
    value: &Value,
    per_s: Option<f64>,
    span: Duration,
    seed: u64,
) -> Outcome<Seen> {
    // Fewer connections are let in than want to be: the load comes over those that are.
    let connections = value.knobs.connections_max.min(CONNECTIONS) as usize;
    let plan = LoadPlan {
        connections,
        pace: per_s.map_or(Pace::Closed, |per_s| Pace::Poisson { per_s }),
        duration: span,
        grace: Duration::from_millis(200),
        mix: Mix { keys: KEYS, value_len_min: VALUE_LEN, value_len_max: VALUE_LEN, ..Mix::default() },
        seed,
        ..LoadPlan::new(SocketAddr::from((GUEST, PROBE.port)))
    };
    let before = (stats(management)?, emulator_threads::times_ns(guest.id())?);
    let report = run(&plan, &Stop::default(), |_| {}).map_err(|error| Trouble::new(error.to_string()))?;
    let after = (stats(management)?, emulator_threads::times_ns(guest.id())?);
    if guest.ended() {
        return Err(guest.autopsy());
    }
    let answers = after.0.accepted - before.0.accepted;
    if report.tally.answered == 0 {
        let nom_load::tally::Tally { sent, lost, refused, closed, .. } = &report.tally;
        return Err(Trouble::new(format!(
            "the guest answered nothing of {sent} questions: {lost} lost, {refused} refused, {closed} connections closed by it"
        )));
    }
    let used = Used {
        span_ns: 0,
        answers,
        bytes: after.0.wire_out_bytes - before.0.wire_out_bytes,
        cpu_ns: (0..2).map(|place: usize| after.1[place] - before.1[place]).sum(),
        kicks: after.0.kicks - before.0.kicks,
    };
    Ok(Seen { per_s: report.per_s(), ..Seen::new(&report.tally, used) })
}
