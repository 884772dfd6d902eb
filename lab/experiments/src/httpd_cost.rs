//! What a request to the web server costs: instructions from the device's ring to the device's ring, stack and application
//! together, as wrk asks for 612 bytes, and as a browser asks for a page that it has already.

use crate::Settings;
use crate::figures::Figure;
use crate::instructions::{Counter, Play};
use nom_machine::trouble::Outcome;

const BATCH: usize = 32;
const CONNECTIONS: usize = 64;

/// Counts.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counter = Counter::new(progress)?;
    let mut count = |program, batch| counter.per_request(Play::new(program, CONNECTIONS, batch), progress);
    let plain = |name, value, goal| Figure::of(name, "", goal, &[value]);
    let figures = [
        plain("httpd.instructions_batched", count("httpd", BATCH)?, Some("<=2500")),
        plain("httpd.instructions_single", count("httpd", 1)?, Some("<=3500")),
        plain("httpd.instructions_new", count("httpd-new", BATCH)?, None),
        plain("httpd.instructions_browser", count("httpd-browser", BATCH)?, None),
        plain("httpd.instructions_pinned", count("httpd-pinned", BATCH)?, None),
    ];
    Ok(figures.into_iter().flatten().collect())
}
