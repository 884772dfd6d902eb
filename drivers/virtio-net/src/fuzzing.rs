//! A card that does what a string of bytes says, against the driver: for fuzzers. Nothing it does may panic, hand a
//! buffer out twice, or move the watermark of completed frames back or ahead of what was queued.

use crate::fake::FakeCard;
use crate::{Config, Network, Wanted, start};
use alloc::vec::Vec;
use nom_stack::port::{Arrival, Egress, Frame, Ingress};

/// Descriptors of the rings.
const RING: u16 = 8;

/// Plays the bytes; panics when the driver lets itself be fooled.
pub fn play(bytes: &[u8]) {
    let (event_index, large) = bytes.first().map_or((true, false), |byte| (byte & 1 == 0, byte & 2 != 0));
    let mac = [2, 0, 0, 0, 0, 1];
    let mut card = if large {
        FakeCard::large(mac, RING, event_index, 1)
    } else {
        FakeCard::new(mac, RING, 1500, event_index)
    };
    let memory = card.memory();
    with(&mut card, bytes);
    drop(card);
    // SAFETY: the card is gone, and the driver with its blocks went before it.
    unsafe { memory.free() };
}

fn with(card: &mut FakeCard, bytes: &[u8]) {
    let wanted = Wanted { checksum: true, segmentation: true, merging: true };
    let config = Config { receive_buffers: RING, send_frames: RING / 2, wanted, ..Default::default() };
    let Ok(Network { mut receiver, mut sender, mut device }) = start(card.device(), &card.memory(), config)
    else {
        unreachable!("an honest card starts");
    };
    let mut taken: Vec<Arrival> = Vec::new();
    let (mut queued, mut completed) = (0, 0);
    for (now_ns, step) in bytes.chunks(4).enumerate() {
        let argument = |at: usize| step.get(at).copied().unwrap_or(0);
        let (id, len) = (u32::from(argument(1)), u32::from(argument(2)) * 16);
        match argument(0) % 15 {
            0 => {
                let payload = [argument(1); 300];
                let parts: [&[u8]; 2] = [&payload[..usize::from(argument(2))], &payload];
                let frame = Frame { headers: &[0; 54], payload: &parts, checksum: None, segment_len: None };
                if let Ok(sequence) = sender.queue(frame) {
                    assert_eq!(sequence, queued + 1);
                    queued = sequence;
                }
            }
            1 => _ = sender.kick(),
            2 => _ = card.queues().0.pop(),
            3 => _ = card.queues().1.pop(),
            4 => card.queues().0.push_raw(id % 16, len),
            5 => card.queues().1.push_raw(id % 16, len),
            6 => _ = card.queues().0.finish(),
            7 => _ = card.queues().1.finish(),
            8 => card.queues().0.set_used_index(u16::from(argument(1)) << 8 | u16::from(argument(2))),
            9 => {
                receiver.look(now_ns as u64);
                while let Some(arrival) = receiver.take() {
                    assert!(
                        taken.iter().all(|other| other.buffer != arrival.buffer),
                        "a buffer was handed out twice"
                    );
                    assert_eq!(receiver.bytes(&arrival).len(), arrival.len as usize);
                    taken.push(arrival);
                }
            }
            // A header and a frame of any kind, in as many buffers as it takes, or as the header says.
            11 => {
                let head = [argument(1), 1, 0, 0, 0, 0, 0, 0, 0, 0, argument(2) % 12, argument(3) / 128];
                let frame = [argument(3); 7_000];
                card.deliver(head, &frame[..usize::from(argument(3)) * 27]);
            }
            12 => {
                let mut headers = [0; 54];
                headers[12..14].copy_from_slice(&[8 * (argument(3) & 1), 0]);
                let checksum = (argument(3) & 2 == 0)
                    .then_some(nom_stack::port::PartialChecksum { start: 34, offset: 16 });
                let payload = [1; 60_000];
                let parts =
                    [&payload[..usize::from(argument(1)) * 235], &payload[..usize::from(argument(2))]];
                let segment_len = Some(u16::from(argument(2)) * 8);
                if let Ok(sequence) =
                    sender.queue(Frame { headers: &headers, payload: &parts, checksum, segment_len })
                {
                    assert_eq!(sequence, queued + 1);
                    queued = sequence;
                }
            }
            13 => {
                device.restart(&mut receiver, &mut sender).expect("an honest card starts again");
                card.forget();
                taken.clear();
            }
            10 => {
                if let Some(arrival) = taken.pop() {
                    receiver.give_back(arrival);
                }
            }
            _ => _ = receiver.arm(),
        }
        let now = sender.completed();
        assert!(
            completed <= now && now <= queued,
            "the watermark went from {completed} to {now} of {queued}"
        );
        completed = now;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn noise_fools_nobody() {
        let mut state = 1u64;
        for _ in 0..400 {
            let bytes: alloc::vec::Vec<u8> = (0..1_000)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            super::play(&bytes);
        }
    }
}
