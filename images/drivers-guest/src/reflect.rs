//! The reflector: sends every datagram back, by the driver or by the least that does it, asleep or polling.
//!
//! `# reflect = WHO HOW` in the configuration, where WHO is `driver` or `bare` and HOW is `halt` or `poll`. A datagram
//! that begins with `counters` comes back with counters in it.

use crate::frames::{COUNTERS_ASKED, COUNTERS_AT, UDP_HEADERS, reflect};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::Ordering;
use nom_guest_devices::{Acquired, acquire, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::{Events, log, now_ns, statistics, wait};
use nom_stack::port::{Arrival, Egress, Frame, Ingress};
use nom_virtio_net::{Config, Network};
use nom_virtqueue::transport::Mapped;

/// The reflector's address.
const ADDRESS: [u8; 4] = [10, 77, 0, 2];
/// The longest frame that is reflected.
const FRAME_MAX: usize = 1514;
/// Payload shorter than this was copied by the driver, so its buffer is free at once.
const COPIED_BELOW: usize = 128;

/// Runs for ever.
pub fn run(words: &str) -> Result<(), String> {
    let memory = memory().map_err(|_| "the image must be trusted")?;
    let card = acquire(kind::NETWORK).map_err(|error| format!("no network card: {error:?}"))?;
    let vectors = card.vector(0).zip(card.vector(1));
    let Acquired { registers, device, .. } = card;
    let (who, how) = words.split_once(' ').ok_or("WHO HOW is expected")?;
    let halts = match how {
        "halt" => true,
        "poll" => false,
        _ => return Err(format!("{how:?}: halt or poll is expected")),
    };
    match who {
        "driver" => {
            let network = nom_virtio_net::start(registers, &memory, Config { vectors, ..Config::default() })
                .map_err(|error| format!("{error}"))?;
            driver(network, halts, device.event())
        }
        "bare" => {
            let bare = nom_bare::start(registers, &memory, vectors.map(|vectors| vectors.0))
                .map_err(|error| format!("{error}"))?;
            least(bare, halts, device.event())
        }
        _ => Err(format!("{who:?}: driver or bare is expected")),
    }
}

/// Kicks, interrupts and calls so far.
fn counters(kicks: u64) -> [u64; 3] {
    let of = |counter: Counter| statistics()[counter as usize].load(Ordering::Relaxed);
    [kicks, of(Counter::Interrupts), of(Counter::Calls)]
}

/// Puts counters into the answer to whoever asked for them.
fn tell(frame: &mut [u8], kicks: u64) {
    if frame[UDP_HEADERS..].starts_with(COUNTERS_ASKED) {
        for (place, value) in frame[COUNTERS_AT..].chunks_exact_mut(8).zip(counters(kicks)) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn least(mut bare: nom_bare::Bare<Mapped>, halts: bool, event: Events) -> Result<(), String> {
    log!("reflector: bare, {}", if halts { "halting" } else { "polling" });
    let mac = bare.mac;
    loop {
        let kicks = bare.kicks;
        let came = bare.turn(|frame| {
            let send = reflect(frame, mac, ADDRESS);
            if send {
                tell(frame, kicks);
            }
            send
        });
        if came == 0 {
            if halts && bare.arm() {
                wait(None, event);
            }
            core::hint::spin_loop();
        }
    }
}

fn driver(network: Network<Mapped>, halts: bool, event: Events) -> Result<(), String> {
    let Network { device, mut receiver, mut sender } = network;
    log!(
        "reflector: driver, {}, features {:#x}",
        if halts { "halting" } else { "polling" },
        device.features()
    );
    let mac = device.mac();
    let mut on_their_way: VecDeque<(u64, Arrival)> = VecDeque::with_capacity(sender.capacity());
    let mut head_room = [0; UDP_HEADERS + COPIED_BELOW];
    loop {
        let came = receiver.look(now_ns());
        let completed = sender.completed();
        while on_their_way.front().is_some_and(|(sequence, _)| *sequence <= completed) {
            on_their_way.pop_front().into_iter().for_each(|(_, arrival)| receiver.give_back(arrival));
        }
        while sender.room() > 0 {
            let Some(arrival) = receiver.take() else { break };
            let bytes = receiver.bytes(&arrival);
            // Only headers change; a short frame is changed as a whole.
            let short = bytes.len() < UDP_HEADERS + COPIED_BELOW;
            let head_len = if short { bytes.len() } else { UDP_HEADERS };
            head_room[..head_len].copy_from_slice(&bytes[..head_len]);
            let head = &mut head_room[..head_len];
            if bytes.len() > FRAME_MAX || !reflect(head, mac, ADDRESS) {
                receiver.give_back(arrival);
                continue;
            }
            if short {
                tell(head, sender.counters().kicks + receiver.counters().kicks);
            }
            let payload = &bytes[head_len..];
            let parts: &[&[u8]] = if short { &[] } else { &[payload] };
            let frame = Frame { headers: head, payload: parts, checksum: None, segment_len: None };
            // There is room: it was looked at above.
            let Ok(sequence) = sender.queue(frame) else { break };
            if short {
                receiver.give_back(arrival);
            } else {
                on_their_way.push_back((sequence, arrival));
            }
        }
        if came > 0 {
            sender.kick();
        } else if halts && receiver.arm() {
            wait(None, event);
        } else {
            core::hint::spin_loop();
        }
        if let Some(fault) = receiver.fault().or(sender.fault()) {
            return Err(format!("the card broke the contract: {fault:?}"));
        }
    }
}
