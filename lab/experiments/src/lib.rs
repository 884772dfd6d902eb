//! One experiment, one claim, one command: `nom bench` lists what stands here.
//!
//! An experiment measures ours and the alternative in one run, alternating, and says how quiet the machine was. Its
//! figures have one form ([`figures`]), and their names are kept for good.

#![forbid(unsafe_code)]

pub mod beside;
pub mod boot;
pub mod caslap;
pub mod conformance;
mod contest;
pub mod emulator_threads;
pub mod figures;
pub mod first_answer;
mod flood;
mod floor;
pub mod guards;
pub mod guests;
mod homes;
pub mod httpd;
mod httpd_bytes;
mod httpd_coalesce;
pub mod httpd_cost;
pub mod httpd_linux;
pub mod httpd_vm;
pub mod idle;
pub mod instructions;
pub mod kernel;
pub mod knobs;
pub mod kv;
pub mod kv_cost;
pub mod kv_cycles;
pub mod kv_hits;
pub mod kv_linux;
pub mod kv_overload;
pub mod kv_soak;
pub mod kv_vm;
pub mod link;
pub mod linux_guest;
pub mod memcached_suite;
pub mod memory_link;
pub mod netpipe;
pub mod netpipe_vm;
pub mod packetdrill;
pub mod paper;
pub mod profile;
pub mod profit;
pub mod quiet;
pub mod reaction;
pub mod recovery;
pub mod replay;
pub mod serving;
pub mod size;
pub mod stack;
pub mod switch;
pub mod tap_home;
pub mod tuner;
pub mod virtio;
pub mod web_process;
mod wrk;

use figures::Figure;
use nom_machine::trouble::Outcome;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a person asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Runs of each side; `None`: what the bench thinks right.
    pub runs: Option<usize>,
    /// Where fetched peers are kept.
    pub cache: PathBuf,
    /// Which question a bench with several is to answer; empty: its usual one.
    pub question: &'static str,
    /// Where the service runs, for a bench that asks (`linux`, `vm`).
    pub on: Option<String>,
    /// Shorter blocks and fewer runs, for a bench that has a short form.
    pub quick: bool,
    /// Hardware virtualisation instead of the emulator.
    pub kvm: bool,
    /// A checkout of a system that is compared with.
    pub peer: Option<PathBuf>,
    /// Recorded arrivals to play; `None`: those of the bench.
    pub recording: Option<PathBuf>,
    /// A price schedule; `None`: that of the bench.
    pub prices: Option<PathBuf>,
    /// One claim of a bench with several.
    pub claim: Option<String>,
    /// Where a report goes; `None`: beside fetched peers.
    pub out: Option<PathBuf>,
    /// What an interrupted run has finished already is taken from where the report goes.
    pub resume: bool,
    /// When a part of a bench that has several is not begun any more; `None`: never.
    pub until: Option<Instant>,
}

impl Settings {
    /// Where a report goes.
    fn out_folder(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| self.cache.join("paper"))
    }

    /// Before a round: waits for quiet, at most `tries` looks (one in a quick run, which shows that everything works), and
    /// says how busy others are. 1 when that is more than `share`: such a round is disturbed.
    fn quiet(
        &self,
        share: f64,
        look: Duration,
        tries: u32,
        round: usize,
        progress: &mut dyn FnMut(&str),
    ) -> usize {
        let load = quiet::wait_for_quiet(share, look, if self.quick { 1 } else { tries });
        let disturbed = load >= share;
        let busy = if disturbed { "; others are busy, these figures are disturbed" } else { "" };
        progress(&format!(
            "round {}: {:.0}% of the machine busy with other work{busy}",
            round + 1,
            load * 100.0
        ));
        usize::from(disturbed)
    }
}

/// What carries a bench out. The callback gets lines for the person who waits.
pub type Measure = fn(&Settings, &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>>;

/// A bench.
pub struct Bench {
    /// Its name, the first part of its figures' names.
    pub name: &'static str,
    /// What it claims.
    pub claim: &'static str,
    /// What carries it out.
    pub measure: Measure,
}

/// All benches.
pub static BENCHES: &[Bench] = &[
    Bench { name: "boot", claim: boot::CLAIM, measure: boot::measure },
    Bench { name: "size", claim: size::CLAIM, measure: size::measure },
    Bench { name: "idle", claim: idle::CLAIM, measure: idle::measure },
    Bench { name: "kernel", claim: kernel::CLAIM, measure: kernel::measure },
    Bench { name: "stack", claim: stack::CLAIM, measure: stack::measure },
    Bench { name: "switch", claim: switch::CLAIM, measure: switch::measure },
    Bench { name: "kv", claim: kv::CLAIM, measure: kv::measure },
    Bench { name: "httpd", claim: httpd::CLAIM, measure: httpd::measure },
    Bench { name: "conformance", claim: conformance::CLAIM, measure: conformance::measure },
    Bench { name: "memcached-suite", claim: memcached_suite::CLAIM, measure: memcached_suite::measure },
    Bench { name: "packetdrill", claim: packetdrill::CLAIM, measure: packetdrill::measure },
    Bench { name: "virtio", claim: virtio::CLAIM, measure: virtio::measure },
    Bench { name: "memory_link", claim: memory_link::CLAIM, measure: memory_link::measure },
    Bench { name: "link", claim: link::CLAIM, measure: link::measure },
    Bench { name: "netpipe", claim: netpipe::CLAIM, measure: netpipe::measure },
    Bench { name: "knobs", claim: knobs::CLAIM, measure: knobs::measure },
    Bench { name: "recovery", claim: recovery::CLAIM, measure: recovery::measure },
    Bench { name: "replay", claim: replay::CLAIM, measure: replay::measure },
    Bench { name: "reaction", claim: reaction::CLAIM, measure: reaction::measure },
    Bench { name: "profit", claim: profit::CLAIM, measure: profit::measure },
    Bench { name: "paper", claim: paper::CLAIM, measure: paper::measure },
    Bench { name: "tuner", claim: tuner::CLAIM, measure: tuner::measure },
];
