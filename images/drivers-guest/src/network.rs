//! A network card: asked whether the gateway of QEMU's user networking is there, polling and asleep, before and after
//! a reset.

use crate::frames::{answers, who_has};
use crate::{Case, NotOk, Outcome, ensure};
use nom_guest_devices::{Acquired, acquire, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::{now_ns, wait};
use nom_stack::port::{Egress, Frame, Ingress};
use nom_virtio_net::{Config, Network, Wanted, start};
use nom_virtqueue::transport::Mapped;

pub const CASES: [Case; 1] = [("network_talks_and_starts_again", talks)];

const GATEWAY: [u8; 4] = [10, 0, 2, 2];
const OURS: [u8; 4] = [10, 0, 2, 15];
/// How long the gateway may take to answer.
const PATIENCE_NS: u64 = 40_000_000_000;
/// Questions in a row.
const ROUNDS: u32 = 50;
/// Everything that a card may be asked to do.
const ALL: Wanted = Wanted { checksum: true, segmentation: true, merging: true };

fn talks() -> Outcome {
    let memory = memory().map_err(|_| NotOk::Skipped("the image is not trusted"))?;
    let Ok(card) = acquire(kind::NETWORK) else {
        return Err(NotOk::Skipped("the machine has no network card"));
    };
    let vectors = card.vector(0).zip(card.vector(1));
    let Acquired { registers, device, .. } = card;
    let config = Config { vectors, wanted: ALL, ..Config::default() };
    let mut network = start(registers, &memory, config).map_err(|error| alloc::format!("{error}"))?;
    ensure!(network.device.link_up(), "the link is down");
    for _ in 0..3 {
        for sleeps in [false, true] {
            for round in 0..ROUNDS {
                ask(&mut network, sleeps, device.event()).map_err(|why| match why {
                    NotOk::Failed(why) => alloc::format!("round {round}, sleeps {sleeps}: {why}").into(),
                    other => other,
                })?;
            }
        }
        ensure!(
            network.device.link_change().is_none() && !network.device.needs_reset(),
            "the card says it is unwell"
        );
        let Network { device, receiver, sender } = &mut network;
        device.restart(receiver, sender).map_err(|error| alloc::format!("again: {error}"))?;
    }
    let counters = *network.receiver.counters();
    ensure!(counters.frames >= 6 * u64::from(ROUNDS), "{counters:?}");
    network.device.stop().map_err(|error| alloc::format!("{error}").into())
}

/// Asks once and waits for the answer.
fn ask(network: &mut Network<Mapped>, sleeps: bool, event: u64) -> Outcome {
    let Network { device, receiver, sender } = network;
    let question = who_has(GATEWAY, device.mac(), OURS);
    let frame = Frame { headers: &question, payload: &[], checksum: None, segment_len: None };
    ensure!(sender.queue(frame).is_ok(), "no room for a question");
    sender.kick();
    let until_ns = now_ns() + PATIENCE_NS;
    let mut answered = false;
    while !answered {
        let now = now_ns();
        ensure!(now < until_ns, "no answer: {:?} {:?}", receiver.counters(), sender.counters());
        receiver.look(now);
        while let Some(arrival) = receiver.take() {
            answered |= answers(receiver.bytes(&arrival), GATEWAY, device.mac());
            receiver.give_back(arrival);
        }
        if sleeps && !answered && receiver.arm() {
            wait(Some(until_ns), event);
        }
    }
    sender.completed();
    ensure!(receiver.fault().or(sender.fault()).is_none(), "the card broke the contract");
    Ok(())
}
