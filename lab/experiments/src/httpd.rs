//! The web server's bench: one name, several questions.

use crate::figures::Figure;
use crate::guests::PAPER_MANY;
use crate::{Settings, httpd_bytes, httpd_cost, httpd_linux, httpd_vm};
use nom_machine::trouble::{Outcome, Trouble};

/// What is claimed.
pub const CLAIM: &str = "a request takes at most 2,500 instructions in batches, 3,500 alone (--cost); beside nginx with one \
                         worker 1.3x as many requests, 2.5x as fast alone, 1.5x less CPU (--on linux); in a guest beside one of \
                         Linux 8x as many, 3x as fast alone, a tenth of the jitter (--on vm)";

/// Measures what was asked for.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    match settings.on.as_deref() {
        Some("linux") => httpd_linux::measure(settings, progress),
        Some("vm") => httpd_vm::measure(settings, progress),
        Some("paper") => httpd_vm::measure_as_the_paper(PAPER_MANY, settings, progress),
        Some(other) => Err(Trouble::new(format!("--on {other}: linux, vm or paper is expected"))),
        None if settings.question == "bytes" => httpd_bytes::measure(settings, progress),
        None => httpd_cost::measure(settings, progress),
    }
}
