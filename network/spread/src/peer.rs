//! The rings between the first core and another one.

use crate::back::{NOT_VOUCHED, VOUCHED};
use crate::{CONTROL_WORDS, Memory, SLOTS, STATION};
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use nom_port::{Bell, FRAME_MAX, Receiver, SLOT_WORDS, Sender, Side, open};
use nom_stack::port::{Egress, Frame};

/// One core's end of the rings that it shares with another one.
#[derive(Debug)]
pub(crate) struct Peer<B> {
    pub(crate) hears: Receiver<Memory, B>,
    pub(crate) says: Sender<Memory, B>,
}

/// Gives another core a frame; false when there is no room for it, or it is longer than any slot.
pub(crate) fn give<B: Bell>(says: &mut Sender<Memory, B>, frame: &[u8], checksum_good: bool) -> bool {
    let behind: &[u8] = if checksum_good { &VOUCHED } else { &NOT_VOUCHED };
    let frame = Frame { headers: frame, payload: &[behind], checksum: None, segment_len: None };
    frame.len() <= FRAME_MAX && says.queue(frame).is_ok()
}

/// The first core's ends of the rings with each other core, and theirs.
pub(crate) fn between<B: Bell + Clone>(bells: &[B]) -> (Vec<Peer<B>>, Vec<Peer<B>>) {
    let Some((first, others)) = bells.split_first() else { return (Vec::new(), Vec::new()) };
    let rings = |bell: &B| {
        let words = CONTROL_WORDS + 2 * SLOTS * SLOT_WORDS;
        let memory: Memory = (0..words).map(|_| AtomicU64::new(0)).collect();
        let end = |side, rings: &B, mac| {
            let (hears, says) =
                open(memory.clone(), side, mac, rings.clone(), 0).expect("there is room for the slots");
            Peer { hears, says }
        };
        // Each end rings the other one.
        (end(Side::Switch, bell, Some(STATION)), end(Side::Port, first, None))
    };
    others.iter().map(rings).unzip()
}
