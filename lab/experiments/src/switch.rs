//! What it costs that applications share a card: instructions of a frame's hop through the switch, counted.

use crate::Settings;
use crate::figures::Figure;
use crate::instructions::{Counter, Play};
use nom_machine::trouble::Outcome;

/// What is claimed.
pub const CLAIM: &str = "a short frame's hop through the switch takes at most 600 instructions in batches";

/// Frames of a batch.
const BATCH: usize = 32;
/// Bytes of a request, and of a full frame.
const SHORT: usize = 128;
const LONG: usize = 1514;
/// A request of the program goes in and comes back: two hops.
const HOPS: f64 = 2.0;

/// Counts. One run: the same program gives the same number.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counter = Counter::new(progress)?;
    let mut hop = |len, batch| Ok(counter.per_request(Play::new("switch", len, batch), progress)? / HOPS);
    let (batched, single, long) = (hop(SHORT, BATCH)?, hop(SHORT, 1)?, hop(LONG, BATCH)?);
    let rings = |batch| Ok(counter.printed(Play::new("switch", SHORT, batch), "notifications")? / HOPS);
    let (rings_batched, rings_single) = (rings(BATCH)?, rings(1)?);
    let plain = |name, value, goal| Figure::of(name, "", goal, &[value]);
    let figures = [
        plain("switch.instructions_per_frame", batched, Some("<=600")),
        plain("switch.instructions_per_frame_single", single, None),
        plain("switch.instructions_per_frame_1514", long, None),
        plain("switch.notifications_per_frame", rings_batched, None),
        plain("switch.notifications_per_frame_single", rings_single, Some("<=1")),
    ];
    Ok(figures.into_iter().flatten().collect())
}
