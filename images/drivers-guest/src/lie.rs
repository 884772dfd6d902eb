//! A card that lies, by a process of the host's: with `# lie = WHAT` in the configuration the driver must find what is
//! wrong (`WHAT` is its word for it), and then the card is stopped, started again, and given back.

use crate::frames::who_has;
use crate::{Outcome, ensure, report};
use alloc::format;
use nom_guest_devices::{Acquired, acquire, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::{log, now_ns, wait};
use nom_stack::port::{Egress, Frame, Ingress};
use nom_virtio_net::{Config, Network, start};

/// How long the lie may take.
const PATIENCE_NS: u64 = 60_000_000_000;
const LOOK_NS: u64 = 1_000_000;
/// What lies beside the driver's memory must stay as it is.
const CANARY_WORDS: usize = 4096;
const CANARY: u64 = 0x0123_4567_89ab_cdef;

/// Runs the one case.
pub fn run(expected: &str) -> bool {
    report("liar_is_found_out", found_out(expected))
}

fn found_out(expected: &str) -> Outcome {
    let before = alloc::vec![CANARY; CANARY_WORDS];
    let memory = memory().map_err(|_| alloc::string::String::from("the image is not trusted"))?;
    let card = acquire(kind::NETWORK).map_err(|error| format!("no network card: {error:?}"))?;
    let vectors = card.vector(0).zip(card.vector(1));
    let Acquired { registers, .. } = card;
    let config = Config { vectors, receive_buffers: 64, send_frames: 32, ..Config::default() };
    let network = start(registers, &memory, config).map_err(|error| format!("{error}"))?;
    let behind = alloc::vec![CANARY; CANARY_WORDS];
    let Network { mut device, mut receiver, mut sender } = network;
    let question = who_has([10, 0, 2, 2], device.mac(), [10, 0, 2, 15]);
    let frame = Frame { headers: &question, payload: &[], checksum: None, segment_len: None };
    ensure!(sender.queue(frame).is_ok(), "no room for a frame");
    sender.kick();
    let limit = now_ns() + PATIENCE_NS;
    let fault = loop {
        receiver.look(now_ns());
        while let Some(arrival) = receiver.take() {
            let len = receiver.bytes(&arrival).len();
            ensure!(len <= 4096, "{len} bytes were read");
            receiver.give_back(arrival);
        }
        sender.completed();
        if let Some(fault) = receiver.fault().or(sender.fault()) {
            break format!("{fault:?}");
        }
        ensure!(now_ns() < limit, "nothing was found");
        wait(Some(now_ns() + LOOK_NS), 0);
    };
    log!("the driver says: {fault}");
    ensure!(fault == expected, "{fault} was found, not {expected}");
    // It stays so, and nothing more comes out of these rings.
    receiver.look(now_ns());
    ensure!(receiver.take().is_none(), "a frame of a liar");
    let whole = |words: &[u64]| words.iter().all(|&word| word == CANARY);
    ensure!(whole(&before) && whole(&behind), "memory beside the card's has changed");
    device.stop().map_err(|error| format!("{error}"))?;
    Ok(())
}
