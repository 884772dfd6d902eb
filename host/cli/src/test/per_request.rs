//! What a request makes a guest do: interrupts, kicks and calls of the cache, bounded. Counts, not times, so they hold on a
//! busy machine too; half as much again is allowed for what timers do when the host stalls (an acknowledgement by
//! itself, something sent again).
//!
//! The host's own kernel is the peer, in a network namespace of the test's own; where that is not allowed, it is skipped.

use super::client::Client;
use super::{Cases, Verdict};
use crate::image;
use nom_experiments::first_answer;
use nom_experiments::guests::TOKEN;
use nom_experiments::guests::counted::{Asked, Counts};
use nom_experiments::kv_vm::{PROBE, configuration};
use nom_experiments::tap_home::{GUEST, Guest};
use nom_machine::machine::Nameless;
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_tap::namespace;

/// Requests one by one, and batches in one segment each.
const ALONE: u64 = 400;
const BATCHES: u64 = 100;
const BATCH: u64 = 64;
/// What may come on top of what is bounded, for each request or batch, and what asking for counts takes.
const SLACK: f64 = 0.5;
const ASKING: f64 = 8.0;
/// How often it is asked again when an answer is not counted yet.
const LOOKS: u32 = 3;

/// On both machine types.
pub fn per_request(cases: &mut Cases) -> Outcome<()> {
    for kind in Kind::ALL {
        for wait in ["halt", "poll"] {
            let title = format!("guest on {}, {wait}: interrupts and kicks of a request", kind.name());
            let image = Nameless::new(&image::build("kv", &configuration(wait))?)?;
            // A thread, because there is no way back from a namespace; whatever it starts is there too.
            let verdict = std::thread::scope(|scope| {
                let ran = scope.spawn(|| match namespace::enter() {
                    Err(error) => Verdict::Skipped(format!("no network of its own: {error}")),
                    Ok(()) => one(kind, &image, wait == "halt").into(),
                });
                ran.join().unwrap_or_else(|_| Verdict::Failed("the test's thread ended in a panic".into()))
            });
            cases.note(&title, verdict);
        }
    }
    Ok(())
}

fn one(kind: Kind, image: &Nameless, halts: bool) -> Outcome<()> {
    let plan = Plan { memory_mib: 32, management: true, ..Plan::new(kind) };
    let mut guest = Guest::start_as(plan, image, None)?;
    first_answer::wait(&mut guest, &PROBE)?;
    let mut asked = Asked::open(&mut guest, TOKEN)?;
    let mut client = Client::reach((GUEST, PROBE.port).into())?;
    client.ask(b"set key 0 0 5\r\nvalue\r\n", b"STORED\r\n", 1)?;

    let before = asked.counts()?;
    for _ in 0..ALONE {
        client.ask(b"get key\r\n", b"VALUE key 0 5\r\nvalue\r\nEND\r\n", 1)?;
    }
    let alone = settled(&mut asked, &before, ALONE)?;
    bounded("alone", &alone.since(&before), ALONE, 1, halts)?;

    let (questions, answers) = (b"get nothing\r\n".repeat(BATCH as usize), b"END\r\n".repeat(BATCH as usize));
    for _ in 0..BATCHES {
        client.ask(&questions, &answers, BATCH)?;
    }
    let together = settled(&mut asked, &alone, BATCHES * BATCH)?;
    bounded("together", &together.since(&alone), BATCHES, BATCH, halts)
}

/// Counts that have so many operations in them: an answer is counted in the step after the one in which it left.
fn settled(asked: &mut Asked, before: &Counts, operations: u64) -> Outcome<Counts> {
    let mut counts = asked.counts()?;
    for _ in 0..LOOKS {
        if counts.since(before).operations >= operations as f64 {
            break;
        }
        counts = asked.counts()?;
    }
    Ok(counts)
}

/// Each turn of the conversation may take one interrupt, one kick, one call, one halt; a guest that polls takes none of
/// these but the kick.
fn bounded(how: &str, counts: &Counts, turns: u64, requests: u64, halts: bool) -> Outcome<()> {
    let wrong = |what: &str| {
        Err(Trouble::new(format!("{turns} turns of {requests} requests {how}: {what}: {counts:?}")))
    };
    if counts.operations != (turns * requests) as f64 {
        return wrong("the service counted others");
    }
    let most = turns as f64 * (1.0 + SLACK) + ASKING;
    let asleep = if halts { most } else { ASKING };
    let bounds = [
        ("frames that came", counts.frames_in, most),
        ("frames that went", counts.frames_out, most),
        ("kicks", counts.kicks, most),
        ("interrupts", counts.interrupts, asleep),
        ("calls", counts.calls, asleep),
        ("halts", counts.halts, asleep),
    ];
    match bounds.into_iter().find(|(_, count, most)| count > most) {
        Some((what, count, most)) => wrong(&format!("{count} {what}, at most {most}")),
        None if counts.frames_out < turns as f64 => wrong("fewer frames went than there were turns"),
        None => Ok(()),
    }
}
