//! An application that attacks the switch whose port it has, in every way that the shared memory lets it, and dies in
//! the middle of it. Whether its neighbours notice is seen from outside.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::boxed::Box;
use nom_port::{Bell, Gone, SLOT_WORDS, Sender, Side};
use nom_runtime::call::{application_status, end_application, start_application};
use nom_runtime::channel::Channel;
use nom_runtime::{log, now_ns, wait};
use nom_stack::port::{Egress, Frame, Ingress};

/// Lives of the one that attacks: the first, and as many as its restart policy grants.
const LIVES: u32 = 4;
const FLOOD: u64 = 4_000;
const SCRIBBLES: u64 = 40_000;
const LIE_NS: u64 = 100_000_000;
/// Words of a port before its slots, and the one in which an application says how much it has produced.
const CONTROL: usize = 64;
const PRODUCED: usize = 40;
/// A bound on how long it waits for what must come: virtual time, and generous.
const PATIENCE_NS: u64 = 60_000_000_000;
/// How often the keeper ends its neighbour, and how long each may live.
const KEEPS: u32 = 3;
const KEEP_NS: u64 = 3_000_000_000;

type Sending = Sender<&'static [AtomicU64], Notify>;

#[derive(Clone)]
struct Notify(&'static Channel);

impl Bell for Notify {
    fn ring(&self) -> Result<(), Gone> {
        self.0.notify().map_err(|_| Gone)
    }
}

/// One life of the rogue.
pub fn attack() -> u8 {
    let starts = application_status(nom_runtime::name()).map_or(0, |status| status.starts);
    let Ok(channel) = Channel::open("switch.rogue") else {
        log!("rogue: it has no port");
        return 1;
    };
    let channel: &'static Channel = Box::leak(Box::new(channel));
    let words = channel.words();
    let Ok((mut receiver, mut sender)) = nom_port::open(words, Side::Port, None, Notify(channel), now_ns())
    else {
        return 1;
    };
    let limit_ns = now_ns() + PATIENCE_NS;
    // However the last life left the memory, this one is let in.
    let station = loop {
        receiver.look(now_ns());
        if let Some(station) = sender.station() {
            break station;
        }
        if now_ns() > limit_ns {
            log!("rogue: the switch never saw its life {starts}");
            return 1;
        }
        wait(Some(now_ns() + 1_000_000), 0);
    };
    log!("rogue: life {starts} has a port");
    let mut dice = now_ns() | 1;
    let mut next = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    // Frames to everybody, in one's own name and in others', as many as go in.
    for round in 0..FLOOD {
        let mut frame = [0xff; 1500];
        frame[6..12].copy_from_slice(&station);
        frame[12..14].copy_from_slice(&[8, 0]);
        if round % 3 == 1 {
            // The first port's: the place in the line is in the first byte.
            frame[6] = 1 << 2 | 2;
        }
        let _ = sender.queue(Frame { headers: &frame, payload: &[], checksum: None, segment_len: None });
        sender.kick();
    }
    // One lie a life, until it is seen; what comes after it would hide it.
    if let Some(lie) = [lie_of_index, lie_of_length].get((starts as usize).wrapping_sub(1)) {
        while sender.station().is_some() {
            if now_ns() > limit_ns {
                log!("rogue: the switch never saw the lie of life {starts}");
                return 1;
            }
            lie(words, &mut sender);
            let _ = channel.notify();
            wait(Some(now_ns() + LIE_NS), 0);
        }
        return 9;
    }
    // The others write anything anywhere.
    for round in 0..SCRIBBLES {
        scribble(words, next(), next());
        if round % 8 == 0 {
            let _ = channel.notify();
        }
    }
    if starts >= LIVES {
        log!("rogue: done");
        return 0;
    }
    // In the middle of it.
    9
}

/// Claims more than there is room for.
fn lie_of_index(words: &[AtomicU64], _: &mut Sending) {
    words[PRODUCED].fetch_add(5_000, Ordering::Relaxed);
}

/// Sends a frame that is longer than its slot.
fn lie_of_length(words: &[AtomicU64], sender: &mut Sending) {
    let _ = sender.queue(Frame { headers: &[0; 60], payload: &[], checksum: None, segment_len: None });
    for slot in words[CONTROL..].iter().step_by(SLOT_WORDS) {
        slot.store(u64::MAX, Ordering::Relaxed);
    }
    sender.kick();
}

/// Writes something somewhere: most of it where it hurts.
fn scribble(words: &[AtomicU64], where_to: u64, what: u64) {
    let (len, control, slot) = (words.len() as u64, CONTROL as u64, SLOT_WORDS as u64);
    let (at, word) = match where_to % 8 {
        0 => (where_to / 8 % len, what),
        // The first words of a slot: a length.
        1 | 2 => (control + where_to / 8 % ((len - control) / slot) * slot, what % 3_000),
        // Any index, with the tag that stands there and a number that is nearly right.
        3..=6 => {
            let at = 16 + where_to / 8 % 6 * 8;
            let old = words[at as usize].load(Ordering::Relaxed);
            (at, old & !0xffff_ffff | (old.wrapping_add(what % 300).wrapping_sub(150) & 0xffff_ffff))
        }
        // A life, ours or theirs.
        _ => (where_to / 8 % 2 * 8, what),
    };
    words[at as usize].store(word, Ordering::Relaxed);
}

/// Starts a neighbour, ends it a few times in whatever it does, and leaves it running.
pub fn keep() -> u8 {
    const KEPT: &str = "kv-2";
    for round in 0..=KEEPS {
        if let Err(error) = start_application(KEPT) {
            log!("keeper: {KEPT} cannot be started: {error:?}");
            return 1;
        }
        if round == KEEPS {
            break;
        }
        let until_ns = now_ns() + KEEP_NS;
        while now_ns() < until_ns {
            wait(Some(until_ns), 0);
        }
        if let Err(error) = end_application(KEPT) {
            log!("keeper: {KEPT} cannot be ended: {error:?}");
            return 1;
        }
        log!("keeper: ended {KEPT}");
    }
    log!("keeper: done");
    0
}
