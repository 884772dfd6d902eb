//! A card that does what a string of bytes says, against the driver: for fuzzers. Nothing it does may panic, hand a
//! buffer out twice, or move the watermark of completed frames back or ahead of what was queued.

use crate::fake::FakeCard;
use crate::{Config, Network, start};
use alloc::vec::Vec;
use nom_stack::port::{Arrival, Egress, Frame, Ingress};

/// Descriptors of the rings.
const RING: u16 = 8;

/// Plays the bytes; panics when the driver lets itself be fooled.
pub fn play(bytes: &[u8]) {
    let mut card =
        FakeCard::new([2, 0, 0, 0, 0, 1], RING, 1500, bytes.first().is_some_and(|byte| byte & 1 == 0));
    let config = Config { receive_buffers: RING, send_frames: RING / 2, vectors: None };
    let Ok(Network { mut receiver, mut sender, .. }) = start(card.device(), &card.memory(), config) else {
        unreachable!("an honest card starts");
    };
    let mut taken: Vec<Arrival> = Vec::new();
    let (mut queued, mut completed) = (0, 0);
    for (now_ns, step) in bytes.chunks(4).enumerate() {
        let argument = |at: usize| step.get(at).copied().unwrap_or(0);
        let (id, len) = (u32::from(argument(1)), u32::from(argument(2)) * 16);
        match argument(0) % 12 {
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
