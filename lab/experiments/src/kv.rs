//! The cache's bench: one name, several questions.

use crate::figures::Figure;
use crate::guests::PAPER_MANY;
use crate::{Settings, kv_cost, kv_cycles, kv_hits, kv_linux, kv_overload, kv_soak, kv_vm};
use nom_machine::trouble::{Outcome, Trouble};

/// What is claimed.
pub const CLAIM: &str = "a GET takes at most 2,000 instructions in batches, 3,000 alone (--cost), 1,200 cycles where the link costs nothing (--cycles); \
                         as many items and hits as memcached (--hits); beside it 1.3x as many requests, \
                         2.5x as fast alone, 1.5x less CPU (--on linux); in a guest beside one of Linux 8x as \
                         many, 3x as fast alone, a tenth of the jitter, the first answer within 120 ms (--on vm); \
                         10,000 connections, moving prices, half-open floods and misbehaving clients for a minute, and the \
                         books agree (--soak); goodput flat at 3 times the capacity (--overload)";

/// Measures what was asked for.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    match (settings.on.as_deref(), settings.question) {
        (Some("linux"), _) => kv_linux::measure(settings, progress),
        (Some("vm"), _) => kv_vm::measure(settings, progress),
        (Some("paper"), _) => kv_vm::measure_as_the_paper(PAPER_MANY, settings, progress),
        (Some(other), _) => Err(Trouble::new(format!("--on {other}: linux, vm or paper is expected"))),
        (None, "cycles") => kv_cycles::measure(settings, progress),
        (None, "hits") => kv_hits::measure(settings, progress),
        (None, "overload") => kv_overload::measure(settings, progress),
        (None, "soak") => kv_soak::measure(settings, progress),
        (None, _) => kv_cost::measure(settings, progress),
    }
}
