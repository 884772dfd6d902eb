//! How long a new price, or another load, takes until the knob of the stack is in force, hop by hop.
//!
//! A provider on this machine writes a price now and then, at moments that have nothing to do with what the service
//! does; a light load is there, since without one nothing is worth a change. The times of a change are the service's own, out of
//! its management channel. In a process all clocks are this machine's, so the way is counted from the provider's writing; a guest's
//! clock is its own, so there it is counted from the board, and what the host hears is a figure beside it. The guest has a
//! processor of the host to itself, as it would have where cores are owned; beside it stands one whose processor the
//! emulator's other threads share, and what the host's scheduler did to both is counted.
//!
//! Files: `prices` (a provider that writes when told), `terms` (configurations), `load` (arrivals that step between
//! two rates), `listening` (what the service says), `floor` (the way without us).

mod floor;
mod listening;
mod load;
mod prices;
mod terms;

use crate::emulator_threads::{self, Scheduled};
use crate::figures::Figure;
use crate::homes::{Guest, Home, Linux};
use crate::{Settings, quiet};
use floor::Floor;
use listening::Listener;
use nom_load::random::Random;
use nom_machine::qemu::Kind;
use nom_machine::trouble::{Outcome, Trouble};
use nom_service::management::KnobChange;
use prices::Prices;
use std::time::Duration;

/// What the bench claims.
pub const CLAIM: &str = "from a price to the knob at most 200 us (guest, from the board) or 1 ms (process, from the \
                         provider); from another load to the knob at most 50 ms";

/// Price changes in each home, and changes of load.
const PRICES: usize = 300;
const LOADS: usize = 25;
/// What a guest may take from the board to the knob.
const GUEST_MAX_US: f64 = 200.0;
/// Time between a change and the next price: longer than the tuner stays with what a price brought it to, and of no
/// rhythm.
const PAUSE_MS: (u64, u64) = (130, 230);
/// More of the machine than this busy with other work counts as noise.
const QUIET: f64 = 0.25;

/// A part of the way: its name, what it takes, and what it should take.
type Hop = (&'static str, fn(&Way) -> f64, Option<&'static str>);

/// One price on its way.
struct Way {
    /// When the provider wrote it.
    written_unix_ns: u64,
    /// When the host heard that the knob was in force.
    heard_unix_ns: u64,
    change: KnobChange,
    /// What the host's scheduler did with a guest's processor from one to the other.
    scheduled: Scheduled,
}

impl Way {
    fn board_to_seen_us(&self) -> f64 {
        us(self.change.published_ns, self.change.seen_ns)
    }

    fn seen_to_force_us(&self) -> f64 {
        us(self.change.seen_ns, self.change.in_force_ns)
    }

    fn board_to_force_us(&self) -> f64 {
        us(self.change.published_ns, self.change.in_force_ns)
    }

    /// Where both clocks are this machine's.
    fn written_to_force_us(&self) -> f64 {
        us(self.written_unix_ns, self.change.in_force_unix_ns)
    }

    fn written_to_board_us(&self) -> f64 {
        self.written_to_force_us() - self.board_to_force_us()
    }

    fn written_to_heard_us(&self) -> f64 {
        us(self.written_unix_ns, self.heard_unix_ns)
    }
}

fn us(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns as f64 - from_ns as f64) / 1e3
}

/// The bench.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let prices = settings.runs.unwrap_or(PRICES);
    let busy = quiet::wait_for_quiet(QUIET, Duration::from_secs(1), 30);
    if busy >= QUIET {
        progress(&format!(
            "{:.0}% of the machine is busy with other work: times are longer than they are",
            busy * 100.0
        ));
    }
    let mut figures = Vec::new();
    progress(&format!("linux: {prices} prices"));
    let (mut floor, mut bare) = (Floor::new()?, Vec::with_capacity(prices));
    let linux = follow(
        prices,
        None,
        |source| Linux::start(terms::PRICES, source),
        || {
            bare.push(floor.pass()?);
            Ok(())
        },
    )?;
    let hops: [Hop; 4] = [
        ("reaction.linux", Way::written_to_force_us, Some("<=1000")),
        ("reaction.linux_provider", Way::written_to_board_us, None),
        ("reaction.linux_seen", Way::board_to_seen_us, None),
        ("reaction.linux_decided", Way::seen_to_force_us, None),
    ];
    for (name, hop, goal) in hops {
        let times: Vec<f64> = linux.iter().map(hop).collect();
        figures.extend([quantile(name, "us", 0.99, goal, &times), quantile(name, "us", 0.5, None, &times)]);
    }
    for part in [0.99, 0.5] {
        figures.push(quantile("reaction.linux_floor", "us", part, None, &bare));
    }
    progress(&format!("guest: {prices} prices"));
    let start = |source| Guest::start(terms::PRICES, Kind::Microvm, source);
    let guest = follow(prices, Some(Processor::Own), start, || Ok(()))?;
    tell_late(&guest, progress);
    let hops: [Hop; 4] = [
        ("reaction.guest", Way::board_to_force_us, Some("<=200")),
        ("reaction.guest_seen", Way::board_to_seen_us, None),
        ("reaction.guest_decided", Way::seen_to_force_us, None),
        ("reaction.guest_heard", Way::written_to_heard_us, None),
    ];
    for (name, hop, goal) in hops {
        let times: Vec<f64> = guest.iter().map(hop).collect();
        let both = [quantile(name, "us", 0.99, goal, &times), quantile(name, "us", 0.5, None, &times)];
        figures.extend(both.map(|figure| figure.emulated(true)));
    }
    progress(&format!("guest that shares its processor: {prices} prices"));
    let shared = follow(prices, Some(Processor::Shared), start, || Ok(()))?;
    tell_late(&shared, progress);
    let times: Vec<f64> = shared.iter().map(Way::board_to_force_us).collect();
    for part in [0.99, 0.5] {
        figures.push(quantile("reaction.guest_shared", "us", part, None, &times).emulated(true));
    }
    let loads = settings.runs.map_or(LOADS, |runs| runs.min(LOADS));
    progress(&format!("linux: {loads} changes of load"));
    let times = load::follow(loads)?;
    figures.push(quantile("reaction.load", "ms", 0.99, Some("<=50"), &times));
    figures.push(quantile("reaction.load", "ms", 0.5, None, &times));
    Ok(figures)
}

/// Who has the processor of the host that executes a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processor {
    /// The guest alone: the emulator's other threads, the clients and we have the others.
    Own,
    /// Whoever the host's scheduler thinks right.
    Shared,
}

/// Tells of what took longer than it should in a guest, and what the host did meanwhile.
fn tell_late(ways: &[Way], progress: &mut dyn FnMut(&str)) {
    let late: Vec<&Way> = ways.iter().filter(|way| way.board_to_force_us() > GUEST_MAX_US).collect();
    for way in &late {
        let Scheduled { waited_ns, forced } = way.scheduled;
        progress(&format!(
            "late: {:.0} us until seen, {:.0} us until decided, in which {} interrupts came; from the provider to the answer ({:.0} us) the guest's \
             processor was taken away {forced} times and waited for {:.0} us",
            way.board_to_seen_us(),
            way.seen_to_force_us(),
            way.change.interrupts,
            way.written_to_heard_us(),
            waited_ns as f64 / 1e3,
        ));
    }
    let all: u64 = ways.iter().map(|way| way.scheduled.forced).sum();
    let interrupted =
        |ways: &mut dyn Iterator<Item = &Way>| ways.filter(|way| way.change.interrupts > 0).count();
    progress(&format!(
        "{} of {} prices took more than {GUEST_MAX_US} us, {} of them interrupted, as {} of the others were; taken away {:.1} \
         times a price",
        late.len(),
        ways.len(),
        interrupted(&mut late.iter().copied()),
        interrupted(&mut ways.iter().filter(|way| way.board_to_force_us() <= GUEST_MAX_US)),
        all as f64 / ways.len().max(1) as f64
    ));
}

/// Writes so many prices, each some time after the knob had followed the one before, and does something else in between.
fn follow<H: Home>(
    count: usize,
    processor: Option<Processor>,
    start: impl FnOnce(Prices) -> Outcome<H>,
    mut beside: impl FnMut() -> Outcome<()>,
) -> Outcome<Vec<Way>> {
    let prices = Prices::new(&terms::CORE);
    let mut home = start(prices.clone())?;
    let mut listener = Listener::new(&mut home)?;
    let emulator = home.emulator();
    let _own = match (processor, emulator) {
        (Some(Processor::Own), Some(emulator)) => Some(emulator_threads::own_processor(emulator)?),
        _ => None,
    };
    let scheduled = || emulator.map_or(Ok(Scheduled::default()), Scheduled::of);
    let light = load::light(home.port());
    // The first price is not the one of the configured setting: once the load is seen, the knob goes there.
    listener.until(&mut home, "follow the first price", |heard| heard.change.is_some())?;
    let mut random = Random::new(1);
    let mut ways = Vec::with_capacity(count);
    let (least, most) = PAUSE_MS;
    for _ in 0..count {
        let pause = Duration::from_millis(least + random.below(most - least));
        listener.rest(&mut home, pause / 2)?;
        beside()?;
        listener.rest(&mut home, pause / 2)?;
        let before = scheduled()?;
        let (generation, written_unix_ns) = prices.write();
        home.wake();
        let wanted = |change: &KnobChange| change.price_generation == generation && change.published_ns != 0;
        listener.until(&mut home, "follow a price", |heard| {
            heard.change.as_ref().is_some_and(|(it, _)| wanted(it))
        })?;
        let (change, heard_unix_ns) =
            listener.change.take().ok_or_else(|| Trouble::new("a change was heard and lost"))?;
        let scheduled = scheduled()?.since(before);
        ways.push(Way { written_unix_ns, heard_unix_ns, change, scheduled });
    }
    light.finish()?;
    listener.drain(&mut home)?;
    Ok(ways)
}

/// A quantile of all times; least and most are theirs.
fn quantile(name: &str, unit: &'static str, part: f64, goal: Option<&'static str>, times: &[f64]) -> Figure {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    Figure {
        name: format!("{name}_p{:.0}_{unit}", part * 100.0),
        value: at(place),
        unit,
        goal,
        runs: sorted.len(),
        min: at(0),
        max: at(sorted.len().wrapping_sub(1)),
        emulated: false,
        against: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_of_few_is_the_largest() {
        let figure = quantile("reaction.load", "ms", 0.99, Some("<=50"), &[3.0, 1.0, 2.0]);
        assert_eq!((figure.name.as_str(), figure.value, figure.runs), ("reaction.load_p99_ms", 3.0, 3));
        assert_eq!((figure.min, figure.max, figure.met()), (1.0, 3.0, Some(true)));
        let times: Vec<f64> = (1..=300).map(f64::from).collect();
        assert_eq!(quantile("a", "us", 0.99, None, &times).value, 297.0);
        assert_eq!(quantile("a", "us", 0.5, None, &times).name, "a_p50_us");
    }

    #[test]
    fn every_configuration_is_one_and_both_prices_move_the_knob() {
        terms::check();
    }
}
