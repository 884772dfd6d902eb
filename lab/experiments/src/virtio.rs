//! What the network driver costs: datagrams echoed a second by the driver alone, beside the least that could do it.
//!
//! A guest that only turns datagrams round runs twice: over the driver, and over two raw rings that know nothing of
//! drivers (`drivers/bare`), the ceiling. Both run over our kernel on the same machine, in turns, asleep between
//! datagrams, polling, and polling with the guest's processor demoted (nice 19) against the emulator's other threads.
//! The load is a client of the host's own kernel, on a TAP device in a network namespace of the bench's own, on one
//! processor; the emulator has the other one.
//!
//! - `virtio.many_ratio_of_ceiling`: the driver's share of the ceiling with 64 datagrams outstanding, the worst of the
//!   three ways to wait.
//! - `virtio.many_WAY_per_s`, `virtio.one_WAY_us`: 64 outstanding and one, with the ceiling's beside them.
//! - `virtio.guest_us_per_packet`, `virtio.emulator_us_per_packet`: processor time of the threads that execute the guest
//!   and of the emulator's others, a datagram, asleep between them: less disturbed by other work than rates are.
//! - `virtio.instructions_per_packet`: of the driver for one short datagram each way, 32 at a time, counted over a card in
//!   software; `virtio.ceiling_instructions_per_packet` those of the raw rings.
//! - `virtio.lost`: datagrams that never came back, of all sides.
//! - `virtio.interrupts_under_load`: device interrupts while polling. Kicks and interrupts a datagram explain the rest.
//! - `virtio.bulk_...`: see [`bulk`].

mod bulk;
mod pinger;

use crate::figures::Figure;
use crate::instructions::{Counter, Play};
use crate::tap_home::{Guest, in_own_network};
use crate::{Settings, emulator_threads as threads, quiet};
use nom_machine::machine::Nameless;
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, image};
use pinger::{Counted, Pinger, Sum};
use std::time::Duration;

/// What is claimed.
pub const CLAIM: &str =
    "the network driver echoes at least 85% of what raw rings do, and no interrupt comes while it polls";

/// Rounds through all sides unless somebody asks otherwise.
const RUNS: usize = 5;
/// How long one side is measured in a round, and how long it warms up.
const MEASURED: Duration = Duration::from_millis(1500);
const WARM: Duration = Duration::from_millis(300);
/// Datagrams on their way at the same time.
const MANY: usize = 64;
/// Datagrams that come together where instructions are counted.
const COUNTED_BATCH: usize = 32;
/// A machine busier than this disturbs the figures.
const QUIET_SHARE: f64 = 0.1;
/// What the ceilings were with an ideal guest without a kernel, on the machine where they were first measured.
const IDEAL: &str = "an ideal guest without a kernel once echoed here: halting 337000/s and 99 us, polling 119000/s, demoted 235000/s and 62-70 us";

/// How a guest waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Halt,
    Poll,
    Demoted,
}

impl Way {
    const ALL: [Way; 3] = [Way::Halt, Way::Poll, Way::Demoted];

    fn name(self) -> &'static str {
        match self {
            Way::Halt => "halt",
            Way::Poll => "poll",
            Way::Demoted => "demoted",
        }
    }

    fn word(self) -> &'static str {
        if self == Way::Halt { "halt" } else { "poll" }
    }
}

/// Who turns the datagrams round.
const SIDES: [&str; 2] = ["bare", "driver"];

/// What one side did in one round.
#[derive(Debug, Clone, Copy)]
struct Seen {
    many: Sum,
    one: Sum,
    counted: Counted,
    /// Processor time meanwhile: of the threads that execute the guest, and of the emulator's others.
    times_ns: [u64; 2],
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let programs = artefacts::guest(&["nom-kernel", "nom-drivers-guest", "nom-kv-guest"], progress)?;
    let image = |who: &str, way: Way| {
        let configuration =
            format!("image.trusted = yes\nkernel.heap = 4 MiB\n# reflect = {who} {}\n", way.word());
        let bytes = image::assemble(&programs[0], &configuration, &[("drivers", &programs[1])])?;
        Nameless::new(&bytes)
    };
    let mut images = Vec::new();
    // Side by side: the ceiling of each way right before the driver's.
    for way in Way::ALL {
        for who in SIDES {
            images.push((who, way, image(who, way)?));
        }
    }
    let runs = settings.runs.unwrap_or(RUNS);
    let load = quiet::wait_for_quiet(QUIET_SHARE, Duration::from_secs(1), 20);
    if load >= QUIET_SHARE {
        progress(&format!(
            "{:.0}% of the machine is busy with other work: do not believe times",
            load * 100.0
        ));
    }
    progress(IDEAL);
    let (mut seen, mut figures) = (Vec::new(), Vec::new());
    for run in 0..runs {
        for (who, way, image) in &images {
            let one = in_own_network(|| look(image, *way))?;
            progress(&format!(
                "round {} of {runs}: {who} {}: {:.0}/s with {MANY}, {:.2} us of the guest's processor each, {:.1} us with one",
                run + 1,
                way.name(),
                one.many.per_s(),
                one.times_ns[0] as f64 / 1e3 / one.many.answered.max(1) as f64,
                one.one.mean_us()
            ));
            seen.push((*who, *way, one));
        }
    }
    figures.extend(reflected(&seen)?);
    figures.extend(bulk::measure(&programs, runs, progress)?);
    let emulated = figures.into_iter().map(|figure| figure.emulated(true));
    Ok(counted(progress)?.into_iter().chain(emulated).collect())
}

/// Instructions of the driver and of the ceiling: the same whoever else uses the machine.
fn counted(progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let counter = Counter::new(progress)?;
    let mut figures = Vec::new();
    for (name, program) in
        [("virtio.instructions_per_packet", "driver"), ("virtio.ceiling_instructions_per_packet", "least")]
    {
        let each = counter.per_request(Play::new(program, 1, COUNTED_BATCH), progress)?;
        figures.extend(Figure::of(name, "", None, &[each]));
    }
    Ok(figures)
}

/// One guest, measured with many outstanding and with one.
fn look(image: &Nameless, way: Way) -> Outcome<Seen> {
    let guest = Guest::start(image, 1)?;
    let mut pinger = Pinger::new()?;
    pinger.wait_for_answer(&guest)?;
    let apart = threads::apart(guest.id())?;
    if way == Way::Demoted {
        threads::demote_processors(guest.id())?;
    }
    pinger.run(MANY, WARM)?;
    let (before, times) = (pinger.counters()?, threads::times_ns(guest.id())?);
    let many = pinger.run(MANY, MEASURED)?;
    let (after, later) = (pinger.counters()?, threads::times_ns(guest.id())?);
    let times_ns = [later[0] - times[0], later[1] - times[1]];
    pinger.run(1, WARM)?;
    let one = pinger.run(1, MEASURED)?;
    drop(apart);
    if many.answered == 0 || one.answered == 0 {
        return Err(Trouble::new("the reflector fell silent"));
    }
    Ok(Seen { many, one, counted: after.since(before), times_ns })
}

/// The figures of all rounds.
fn reflected(seen: &[(&str, Way, Seen)]) -> Outcome<Vec<Figure>> {
    let of = |who: &str, way: Way, what: &dyn Fn(&Seen) -> f64| -> Vec<f64> {
        let rounds = seen.iter().filter(|(side, how, _)| *side == who && *how == way);
        rounds.map(|(_, _, seen)| what(seen)).collect()
    };
    let mut figures = Vec::new();
    let mut worst: Option<Vec<f64>> = None;
    for way in Way::ALL {
        let per_s = |seen: &Seen| seen.many.per_s();
        let us = |seen: &Seen| seen.one.mean_us();
        let (ours, ceiling) = (of("driver", way, &per_s), of("bare", way, &per_s));
        let ratios: Vec<f64> = ours.iter().zip(&ceiling).map(|(ours, ceiling)| ours / ceiling).collect();
        let name = way.name();
        let packets = |seen: &Seen| seen.many.answered.max(1) as f64;
        let list: [(String, &'static str, Vec<f64>); 7] = [
            (format!("virtio.many_{name}_per_s"), "/s", ours),
            (format!("virtio.ceiling_many_{name}_per_s"), "/s", ceiling),
            (format!("virtio.many_{name}_ratio"), "x", ratios.clone()),
            (format!("virtio.one_{name}_us"), "us", of("driver", way, &us)),
            (format!("virtio.ceiling_one_{name}_us"), "us", of("bare", way, &us)),
            (
                format!("virtio.kicks_per_packet_{name}"),
                "",
                of("driver", way, &|seen| seen.counted.kicks as f64 / packets(seen)),
            ),
            (
                format!("virtio.interrupts_per_packet_{name}"),
                "",
                of("driver", way, &|seen| seen.counted.interrupts as f64 / packets(seen)),
            ),
        ];
        figures
            .extend(list.into_iter().filter_map(|(name, unit, runs)| Figure::of(&name, unit, None, &runs)));
        let median = |runs: &[f64]| Figure::of("", "", None, runs).map_or(f64::MAX, |figure| figure.value);
        if worst.as_ref().is_none_or(|worst| median(&ratios) < median(worst)) {
            worst = Some(ratios);
        }
    }
    // Asleep between datagrams the guest's processor takes time for nothing else.
    let guest_us = |seen: &Seen| seen.times_ns[0] as f64 / 1e3 / seen.many.answered.max(1) as f64;
    let emulator_us = |seen: &Seen| seen.times_ns[1] as f64 / 1e3 / seen.many.answered.max(1) as f64;
    for (name, who, what) in [
        ("virtio.guest_us_per_packet", "driver", &guest_us as &dyn Fn(&Seen) -> f64),
        ("virtio.ceiling_guest_us_per_packet", "bare", &guest_us),
        ("virtio.emulator_us_per_packet", "driver", &emulator_us),
        ("virtio.ceiling_emulator_us_per_packet", "bare", &emulator_us),
    ] {
        figures.extend(Figure::of(name, "us", None, &of(who, Way::Halt, what)));
    }
    let ratio = worst.and_then(|runs| Figure::of("virtio.many_ratio_of_ceiling", "x", Some(">=0.85"), &runs));
    let ratio = ratio.ok_or_else(|| Trouble::new("nothing was measured"))?;
    let interrupts =
        [Way::Poll, Way::Demoted].map(|way| of("driver", way, &|seen| seen.counted.interrupts as f64));
    let interrupts = Figure::of("virtio.interrupts_under_load", "", Some("<=0"), &interrupts.concat());
    figures.insert(0, ratio.against("the least that reflects, over raw rings"));
    figures.extend(interrupts);
    let lost: u64 = seen.iter().map(|(_, _, seen)| seen.many.lost + seen.one.lost).sum();
    figures.extend(Figure::of("virtio.lost", "", None, &[lost as f64]));
    Ok(figures)
}
