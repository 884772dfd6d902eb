//! netpipe in a guest, in both roles, with Debian's `NPtcp` on the host's own kernel, in a network namespace of the test's own;
//! where that is not allowed, or without `NPtcp`, it is skipped.

use super::{Cases, Verdict};
use crate::image;
use nom_experiments::netpipe_vm::{Schedule, configuration, lengths, to_its_end, wait_for_network};
use nom_experiments::tap_home::{GUEST, Guest, HOST};
use nom_machine::machine::{Nameless, dying_with_us};
use nom_machine::packages;
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_tap::namespace;
use std::path::Path;
use std::time::{Duration, Instant};

/// Below and above what one segment carries; few lengths, since either side takes three trials of each.
const SCHEDULE: Schedule = Schedule { start: 1_024, end: 65_536, perturbation: 0 };
const REPEATS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Both roles, each on another machine type.
pub fn netpipe(cases: &mut Cases) -> Outcome<()> {
    let roles = [("NPtcp measures it", Kind::Microvm, false), ("it measures NPtcp", Kind::Q35, true)];
    for (what, kind, transmits) in roles {
        let target = transmits.then_some((HOST, REPEATS));
        let image = Nameless::new(&image::build("netpipe", &configuration("halt", SCHEDULE, target))?)?;
        // A thread, because there is no way back from a namespace; whatever it starts is there too.
        let verdict = std::thread::scope(|scope| {
            let ran = scope.spawn(|| match (namespace::enter(), packages::find("NPtcp")) {
                (Err(error), _) => Verdict::Skipped(format!("no network of its own: {error}")),
                (_, None) => Verdict::Skipped("NPtcp is absent (Debian: netpipe-tcp)".into()),
                (Ok(()), Some(program)) if transmits => measures(kind, &image, &program).into(),
                (Ok(()), Some(program)) => is_measured(kind, &image, &program).into(),
            });
            ran.join().unwrap_or_else(|_| Verdict::Failed("the test's thread ended in a panic".into()))
        });
        cases.note(&format!("netpipe in a guest on {}: {what}", kind.name()), verdict);
    }
    Ok(())
}

fn start(kind: Kind, image: &Nameless) -> Outcome<Guest> {
    Guest::start_as(Plan { memory_mib: 32, ..Plan::new(kind) }, image, None)
}

fn is_measured(kind: Kind, image: &Nameless, program: &Path) -> Outcome<()> {
    let mut guest = start(kind, image)?;
    wait_for_network(&mut guest)?;
    let mut command = dying_with_us(program);
    command.args(["-h", &GUEST.to_string(), "-n", &REPEATS.to_string()]);
    let said = to_its_end(command.args(lengths(SCHEDULE)).args(["-o", "/dev/null"]), PATIENCE)?;
    let (measured, all) = (said.matches(" Mbps in ").count(), SCHEDULE.lengths().count());
    if measured == all {
        return Ok(());
    }
    Err(Trouble::new(format!("NPtcp measured {measured} lengths of {all}; it said: {said}")))
}

fn measures(kind: Kind, image: &Nameless, program: &Path) -> Outcome<()> {
    let mut guest = start(kind, image)?;
    // The guest opens again and again until somebody listens.
    let said = to_its_end(dying_with_us(program).args(lengths(SCHEDULE)), PATIENCE)?;
    let expected = format!("netpipe: measured {} lengths", SCHEDULE.lengths().count());
    let deadline = Instant::now() + PATIENCE;
    while guest.last_words() != expected {
        if guest.ended() || Instant::now() > deadline {
            return Err(Trouble::new(format!("{}; NPtcp said: {said}", guest.autopsy())));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
