//! The asking side alone: a mirror turns its requests into the frames that a server would answer with.

use super::{Asker, CLIENT, CLIENT_MAC, CONNECTIONS, PORT, SERVER, SERVER_MAC, Side, TURNS_MAX, side, until};
use nom_machine::trouble::{Outcome, Trouble};
use nom_memory_link::{LinkConfig, MemoryEgress, MemoryIngress, pair, ticks};
use nom_stack::application::Io;
use nom_stack::port::{Egress, Frame, Ingress};

const IP: usize = 14;
const TCP: usize = IP + 20;
const ARP_LEN: usize = 42;
const SYN: u8 = 2;
const ACK: u8 = 16;
const PUSH_ACK: u8 = 24;
/// Where the mirror's own numbers begin.
const FIRST: u32 = 1_000;
/// Window that the mirror grants.
const WINDOW: u16 = 60_000;

/// Turns frames around.
struct Glass {
    ingress: MemoryIngress,
    egress: MemoryEgress,
}

impl Glass {
    /// Answers what is there. Returns how many frames that were.
    fn turn(&mut self, now_ns: u64) -> u64 {
        self.ingress.look(now_ns);
        let mut count = 0;
        while let Some(arrival) = self.ingress.take() {
            count += 1;
            if let Some((bytes, len)) = reflect(self.ingress.bytes(&arrival)) {
                let frame = Frame { headers: &bytes[..len], payload: &[], checksum: None, segment_len: None };
                // As many slots as connections and more: one request of each is on its way.
                let _ = self.egress.queue(frame);
            }
            self.ingress.give_back(arrival);
        }
        self.egress.kick();
        count
    }
}

fn number(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

/// The answer to a frame and its length; nothing to an acknowledgement that brings nothing.
fn reflect(frame: &[u8]) -> Option<([u8; 64], usize)> {
    let mut out = [0; 64];
    out[..6].copy_from_slice(&CLIENT_MAC);
    out[6..12].copy_from_slice(&SERVER_MAC);
    if frame[12..IP] == [8, 6] {
        out[12..22].copy_from_slice(&frame[12..22]);
        // "Is at": the question's sender becomes the target.
        out[21] = 2;
        out[22..28].copy_from_slice(&SERVER_MAC);
        out[28..32].copy_from_slice(&SERVER.octets());
        out[32..ARP_LEN].copy_from_slice(&frame[22..32]);
        return Some((out, ARP_LEN));
    }
    let data = TCP + usize::from(frame[TCP + 12] >> 4) * 4;
    let total = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let payload = (IP + total).checked_sub(data)?;
    let opening = frame[TCP + 13] & SYN != 0;
    if payload == 0 && !opening {
        return None;
    }
    let len = TCP + 20 + payload;
    let packet = (len - IP) as u16;
    out[12..IP].copy_from_slice(&[8, 0]);
    out[IP] = 0x45;
    out[IP + 2..IP + 4].copy_from_slice(&packet.to_be_bytes());
    out[IP + 8] = 64;
    out[IP + 9] = 6;
    out[IP + 12..IP + 16].copy_from_slice(&SERVER.octets());
    out[IP + 16..IP + 20].copy_from_slice(&CLIENT.octets());
    let sum: u32 = out[IP..TCP].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    out[IP + 10..IP + 12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    out[TCP..TCP + 2].copy_from_slice(&frame[TCP + 2..TCP + 4]);
    out[TCP + 2..TCP + 4].copy_from_slice(&frame[TCP..TCP + 2]);
    let ours = if opening { FIRST } else { number(frame, TCP + 8) };
    out[TCP + 4..TCP + 8].copy_from_slice(&ours.to_be_bytes());
    let next = number(frame, TCP + 4).wrapping_add(payload as u32 + u32::from(opening));
    out[TCP + 8..TCP + 12].copy_from_slice(&next.to_be_bytes());
    out[TCP + 12] = 5 << 4;
    out[TCP + 13] = if opening { SYN | ACK } else { PUSH_ACK };
    out[TCP + 14..TCP + 16].copy_from_slice(&WINDOW.to_be_bytes());
    out[TCP + 20..len].copy_from_slice(&frame[data..data + payload]);
    Some((out, len))
}

/// The asking side and the glass.
pub(super) struct Mirror {
    asker: Side<Asker>,
    glass: Glass,
}

impl Mirror {
    pub(super) fn open() -> Outcome<Self> {
        let ((ingress, egress), right) = pair(LinkConfig::default());
        let mut asker = side(right, Asker::default(), CLIENT_MAC, CLIENT);
        let mut glass = Glass { ingress, egress };
        for _ in 0..CONNECTIONS {
            asker.connect(SERVER, PORT, 1).map_err(|error| Trouble::new(format!("{error:?}")))?;
        }
        for turn in 0..TURNS_MAX {
            if asker.application().connections.len() == CONNECTIONS {
                break;
            }
            asker.step(u64::from(turn) * 1_000 + 2);
            glass.turn(u64::from(turn) * 1_000 + 2);
        }
        for id in asker.application().connections.clone() {
            asker.with_connection(id, 1_000_000_000, |_, io| io.write(b"q"));
        }
        Ok(Self { asker, glass })
    }

    /// Ticks of the asking side for so many echoes: those of the two together, less those of the glass by itself for as
    /// many frames.
    pub(super) fn run(&mut self, echoes: u64) -> Outcome<f64> {
        let goal = self.asker.application().answers + echoes;
        let glass = &mut self.glass;
        let mut turned = 0;
        let begin = ticks();
        until(goal, &mut self.asker, |now_ns| turned += glass.turn(now_ns))?;
        let together = (ticks() - begin) as f64;
        Ok(together - turned as f64 * alone())
    }
}

/// Ticks of the glass for one frame, a batch at a time as it gets them in a run. Only its own turn is timed.
fn alone() -> f64 {
    const ROUNDS: u32 = 20_000;
    let ((ingress, egress), (mut back, mut out)) = pair(LinkConfig::default());
    let mut glass = Glass { ingress, egress };
    let mut request = [0; 55];
    request[12..IP].copy_from_slice(&[8, 0]);
    request[IP] = 0x45;
    request[IP + 3] = 41;
    request[TCP + 12] = 5 << 4;
    request[TCP + 13] = PUSH_ACK;
    let mut spent = 0;
    for round in 0..u64::from(ROUNDS) {
        for _ in 0..CONNECTIONS {
            let frame = Frame { headers: &request, payload: &[], checksum: None, segment_len: None };
            let _ = out.queue(frame);
        }
        out.kick();
        let begin = ticks();
        glass.turn(round + 1);
        spent += ticks() - begin;
        back.look(round + 1);
        while let Some(arrival) = back.take() {
            back.give_back(arrival);
        }
    }
    spent as f64 / f64::from(ROUNDS) / CONNECTIONS as f64
}
