//! The cache's bench: one name, several questions.

use crate::figures::Figure;
use crate::{Settings, kv_cost, kv_hits};
use nom_machine::trouble::Outcome;

/// What is claimed.
pub const CLAIM: &str = "a GET takes at most 2,000 instructions in batches, 3,000 alone (--cost); \
                         as many items and hits as memcached (--hits)";

/// Measures what was asked for.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    match settings.question {
        "hits" => kv_hits::measure(settings, progress),
        _ => kv_cost::measure(settings, progress),
    }
}
