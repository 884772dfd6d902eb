//! The least that could echo over a device: each frame goes back where it came from, by nobody who knows TCP. What that
//! reaches is the most that a stack on this device could.
//!
//! To the other side's TCP it looks like a simultaneous opening with somebody who chose the same numbers: it gets its own
//! bytes, windows and acknowledgements, which fit each other.

use nom_cable::Opened;
use nom_stack::port::{Arrival, Egress, Frame, Ingress, PartialChecksum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

const ETHERNET: usize = 14;
const IP: usize = 20;
const TCP: usize = ETHERNET + IP;
const CHECKSUM: u16 = 16;
const HEADERS_MAX: usize = TCP + 60;
/// Longer frames are many segments. Nothing of them is cut on the way back; the length is only to be one.
const WHOLE_MAX: usize = ETHERNET + 1500;
const SEGMENT_LEN: u16 = 1448;
/// Longest sleep: so late it hears at most that it is to stop.
const SLEEP_MAX_NS: i64 = 5_000_000;

/// Turns frames round until it is told to stop.
pub(super) fn turn_round<I: Ingress, E: Egress>(opened: Opened<I, E>, spinning: bool, stop: &AtomicBool) {
    let Opened { config, halves: (mut ingress, mut egress), wakes } = opened;
    // Frames that are on their way out: their bytes are needed until the device has read them.
    let mut leaving: VecDeque<(u64, Arrival)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        if ingress.look(1) == 0 && !spinning && ingress.arm() {
            let timeout = Timespec { tv_sec: 0, tv_nsec: SLEEP_MAX_NS };
            // An interrupted sleep is an early one.
            let _ = poll(&mut [PollFd::new(&wakes, PollFlags::IN)], Some(&timeout));
        }
        while let Some(arrival) = ingress.take() {
            let sent = match turned(ingress.bytes(&arrival), config.mac) {
                Some((headers, len)) => {
                    let whole = ingress.bytes(&arrival);
                    let payload = [&whole[len..]];
                    let tcp = whole[12..14] == [8, 0];
                    let checksum = (tcp && egress.offloads().checksum)
                        .then_some(PartialChecksum { start: TCP as u16, offset: CHECKSUM });
                    let segment_len = (tcp && whole.len() > WHOLE_MAX).then_some(SEGMENT_LEN);
                    let frame = Frame { headers: &headers[..len], payload: &payload, checksum, segment_len };
                    if egress.room() == 0 {
                        egress.kick();
                        egress.completed();
                    }
                    egress.queue(frame).ok()
                }
                None => None,
            };
            match sent {
                Some(number) => leaving.push_back((number, arrival)),
                // Lost, as on any wire.
                None => ingress.give_back(arrival),
            }
        }
        egress.kick();
        let done = egress.completed();
        while let Some((_, arrival)) = leaving.pop_front_if(|(number, _)| *number <= done) {
            ingress.give_back(arrival);
        }
    }
}

/// The headers of the frame with both ends exchanged, and how long they are: TCP over IPv4, and questions for addresses,
/// which get `mac`. Nothing for other frames. Checksums stay true, since the ends are only exchanged.
fn turned(frame: &[u8], mac: [u8; 6]) -> Option<([u8; HEADERS_MAX], usize)> {
    let mut headers = [0; HEADERS_MAX];
    let len = match frame.get(12..14)? {
        [8, 6] => 42,
        [8, 0] if frame.get(14..24)?[0] == 0x45 && frame[23] == 6 => {
            TCP + usize::from(frame.get(TCP + 12)? >> 4) * 4
        }
        _ => return None,
    };
    headers.get_mut(..len)?.copy_from_slice(frame.get(..len)?);
    headers.copy_within(6..12, 0);
    headers[6..12].copy_from_slice(&mac);
    if frame[13] == 6 {
        if frame[20..22] != [0, 1] {
            return None;
        }
        let (asker, asked) = (&frame[22..32], &frame[38..42]);
        headers[21] = 2;
        headers[22..28].copy_from_slice(&mac);
        headers[28..32].copy_from_slice(asked);
        headers[32..42].copy_from_slice(asker);
    } else {
        headers[26..30].copy_from_slice(&frame[30..34]);
        headers[30..34].copy_from_slice(&frame[26..30]);
        headers[34..36].copy_from_slice(&frame[36..38]);
        headers[36..38].copy_from_slice(&frame[34..36]);
    }
    Some((headers, len))
}
