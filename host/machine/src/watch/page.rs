//! A guest's counters with words for its numbers. What a guest says is hostile until checked: whatever stands on the
//! page becomes a number or an unknown owner, nothing else.

use nom_abi::application::{Phase, Status};
use nom_abi::call::{CALLS, PAGE_LEN};
use nom_abi::channel::CHANNELS_MAX;
use nom_abi::statistics::{
    APPLICATION_WORDS, APPLICATIONS_AT, CALLS_AT, CHANNELS_AT, CORE_WORDS, CORES_AT, CORES_MAX, Counter, ends,
};
use nom_kernel_core::bundle::{Bundle, Kind};
use nom_kernel_core::configuration;
use nom_service::management::Machine;
use serde_json::{Map, Value, json};

const KIB_PER_FRAME: u64 = PAGE_LEN / 1024;

/// What an image calls its applications and channels.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By their numbers.
    pub applications: Vec<String>,
    /// By their numbers.
    pub channels: Vec<String>,
    /// Processors of the machine.
    pub cores: usize,
}

impl Names {
    /// The names in an image.
    pub fn of(bundle: &Bundle<'_>, cores: u32) -> Self {
        let applications = bundle.parts().filter(|part| part.kind == Kind::Application);
        let channels = configuration::read(bundle.configuration());
        Self {
            applications: applications.map(|part| part.name.into()).collect(),
            channels: channels.iter().flat_map(|read| read.channels()).map(|one| one.name.into()).collect(),
            cores: (cores as usize).min(CORES_MAX),
        }
    }

    fn application(&self, number: usize) -> String {
        self.applications.get(number).cloned().unwrap_or_else(|| format!("application {number}"))
    }
}

/// Counters that are shown under these names.
const COUNTERS: [(&str, Counter); 11] = [
    ("calls", Counter::Calls),
    ("waits", Counter::Waits),
    ("halts", Counter::Halts),
    ("device_interrupts", Counter::Interrupts),
    ("timer_interrupts", Counter::TimerInterrupts),
    ("core_interrupts", Counter::CoreInterrupts),
    ("spurious_interrupts", Counter::SpuriousInterrupts),
    ("event_upcalls", Counter::EventUpcalls),
    ("fault_upcalls", Counter::FaultUpcalls),
    ("upcall_restarts", Counter::UpcallRestarts),
    ("switches", Counter::Switches),
];

/// The page as an object.
pub fn describe(machine: &Machine, names: &Names) -> Value {
    let word = |place: usize| machine.words.get(place);
    let counter = |counter: Counter| word(counter as usize);
    let kib = |frames: u64| frames.saturating_mul(KIB_PER_FRAME);
    let owner = |word: u64| match word {
        0 => Value::Null,
        _ => json!(names.application(usize::try_from(word - 1).unwrap_or(usize::MAX))),
    };
    let cores = (0..names.cores).map(|core| {
        let at = CORES_AT + core * CORE_WORDS;
        let (halted_ns, since_ns) = (word(at + 1), word(at + 2));
        let now_ns = if since_ns == 0 { 0 } else { machine.at_ns.saturating_sub(since_ns) };
        json!({
            "core": core,
            "owner": owner(word(at)),
            "halted": since_ns != 0,
            "halted_ns": halted_ns.saturating_add(now_ns),
        })
    });
    let applications = (0..names.applications.len()).map(|number| {
        let at = APPLICATIONS_AT + number * APPLICATION_WORDS;
        let status = Status::from_word(word(at));
        let phase = match status.phase {
            Phase::Never => "not started",
            Phase::Running => "running",
            Phase::Ended => "ended",
        };
        json!({
            "name": names.application(number),
            "phase": phase,
            "code": status.code,
            "starts": status.starts,
            "memory_kib": kib(word(at + 1)),
        })
    });
    let channels = names.channels.iter().enumerate().take(CHANNELS_MAX as usize).map(|(number, name)| {
        let (ends, pages) = ends(word(CHANNELS_AT + number));
        let ends = ends.map(|end| end.map(|number| names.application(usize::from(number))));
        json!({ "name": name, "ends": ends, "memory_kib": kib(pages) })
    });
    let calls: Map<String, Value> = CALLS
        .iter()
        .enumerate()
        .map(|(kind, call)| (format!("{call:?}"), json!(word(CALLS_AT + kind))))
        .filter(|(_, count)| *count != json!(0))
        .collect();
    let counters: Map<String, Value> =
        COUNTERS.iter().map(|(name, which)| ((*name).into(), json!(counter(*which)))).collect();
    json!({
        "at_ns": machine.at_ns,
        "memory_kib": kib(counter(Counter::Frames)),
        "free_kib": kib(counter(Counter::FreeFrames)),
        "kernel_kib": kib(counter(Counter::KernelFrames)),
        "cores": cores.collect::<Vec<_>>(),
        "applications": applications.collect::<Vec<_>>(),
        "channels": channels.collect::<Vec<_>>(),
        "calls": calls,
        "counters": counters,
    })
}
