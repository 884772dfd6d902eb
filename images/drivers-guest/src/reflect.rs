//! The reflector and the source.
//!
//! The reflector sends every datagram back, by the driver or by the least that does it, asleep or polling.
//!
//! `# reflect = WHO HOW` in the configuration, where WHO is `driver` or `bare` and HOW is `halt` or `poll`. A datagram
//! that begins with `counters` comes back with counters in it. The source (`# reflect = source HOW`, where HOW is `large` or
//! `plain`) sends segments of TCP to nobody as fast as they leave, cut by the card or by itself.

use crate::frames::{COUNTERS_ASKED, COUNTERS_AT, UDP_HEADERS, reflect};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::Ordering;
use nom_dma::HeapMemory;
use nom_guest_devices::{Acquired, acquire, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::{Events, log, now_ns, statistics, wait};
use nom_stack::port::{Arrival, Egress, Frame, Ingress, PartialChecksum};
use nom_virtio_net::{Config, Network, Wanted};
use nom_virtqueue::transport::Mapped;

/// The reflector's address.
const ADDRESS: [u8; 4] = [10, 77, 0, 2];
/// Payload of a segment: an MTU of 1500 without the headers of IPv4 and TCP.
const SEGMENT_LEN: usize = 1460;
/// Payload of a large one: as many segments as fit into the longest packet.
const LARGE_LEN: usize = 44 * SEGMENT_LEN;
/// Ethernet, IPv4 and TCP headers.
const TCP_HEADERS: usize = 54;
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
    if who == "source" {
        return source(registers, &memory, vectors, how == "large");
    }
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

/// Sends for ever, each frame to a hardware address that is nobody's, so that the host counts it and looks no further.
fn source(
    registers: Mapped,
    memory: &HeapMemory,
    vectors: Option<(u16, u16)>,
    large: bool,
) -> Result<(), String> {
    let wanted = Wanted { checksum: true, segmentation: large, merging: false };
    let network = nom_virtio_net::start(registers, memory, Config { vectors, wanted, ..Config::default() })
        .map_err(|error| format!("{error}"))?;
    let Network { device, mut sender, receiver: _receiver } = network;
    if large && !sender.offloads().segmentation {
        return Err("the card cuts nothing".into());
    }
    let payload = alloc::vec![0x5a_u8; if large { LARGE_LEN } else { SEGMENT_LEN }];
    let headers = tcp_headers(device.mac(), payload.len());
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    let segment_len = large.then_some(SEGMENT_LEN as u16);
    log!("reflector: source, {}", if large { "large" } else { "plain" });
    loop {
        let parts: &[&[u8]] = &[&payload];
        while sender.room() > 0 {
            if sender.queue(Frame { headers: &headers, payload: parts, checksum, segment_len }).is_err() {
                break;
            }
        }
        sender.kick();
        sender.completed();
        if let Some(fault) = sender.fault() {
            return Err(format!("the card broke the contract: {fault:?}"));
        }
    }
}

/// Headers of a segment with so many bytes of payload, to an address that is nobody's.
fn tcp_headers(mac: [u8; 6], payload_len: usize) -> [u8; TCP_HEADERS] {
    let mut headers = [0; TCP_HEADERS];
    headers[..6].copy_from_slice(&[2, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    headers[6..12].copy_from_slice(&mac);
    headers[12..15].copy_from_slice(&[8, 0, 0x45]);
    let packet_len = (TCP_HEADERS - 14 + payload_len) as u16;
    headers[16..18].copy_from_slice(&packet_len.to_be_bytes());
    headers[22..24].copy_from_slice(&[64, 6]);
    headers[26..30].copy_from_slice(&ADDRESS);
    headers[30..34].copy_from_slice(&[10, 77, 0, 1]);
    headers[34..38].copy_from_slice(&[0, 9, 0, 9]);
    headers[46..48].copy_from_slice(&[0x50, 0x10]);
    headers
}
