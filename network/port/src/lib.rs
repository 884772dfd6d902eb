//! Frames between two applications over memory that they share: a port of a switch.
//!
//! One end is the switch's, the other one an application's; both implement the stack's `port` traits, so a stack runs
//! over a port as over a network card. Each direction is a ring of slots. Neither end trusts the other one: an end
//! keeps its own indices to itself, checks what the other one claims, and copies a frame out before anybody looks at
//! it, so what is written afterwards changes nothing.
//!
//! ```text
//! line 0     the switch's word: number of its life, Ethernet address of the port
//! line 1     the application's word: number of its life
//! lines 2-4  to the port:    produced, consumed, wanted
//! lines 5-7  to the switch:  produced, consumed, wanted
//! then       slots of the one, slots of the other direction: a word with the length, then the frame
//! ```
//!
//! Every index stands beside a tag, which is made of the numbers of both lives. An end that starts takes a new number;
//! what carries another tag than the present one does not count. So either end may die and come again at any time,
//! and the other one begins with empty rings the moment it sees the new number.
//!
//! Notifications are asked for: whoever is about to sleep says at which index it wants to be woken, and looks once
//! more. While it does not ask, nobody rings.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod receive;
mod ring;
mod send;
mod words;

pub use receive::{Receiver, ReceiverCounters};
pub use ring::{Fault, Side};
pub use send::{Sender, SenderCounters};
pub use words::Words;

use ring::{Ring, Way};

/// Words of a slot: its length and room for [`FRAME_MAX`] bytes.
pub const SLOT_WORDS: usize = 192;
/// Longest frame.
pub const FRAME_MAX: usize = (SLOT_WORDS - 1) * 8;
/// The shortest frame that has an Ethernet header.
pub const FRAME_MIN: usize = 14;
/// Most slots of a direction.
pub const SLOTS_MAX: u32 = 1024;
/// Fewest slots of a direction.
pub const SLOTS_MIN: u32 = 4;
/// Largest Ethernet payload: that of ordinary Ethernet.
pub const MTU: usize = 1500;

/// There is nobody at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// How the other end is woken, and how one learns that it died.
pub trait Bell {
    /// Wakes the other end.
    fn ring(&self) -> Result<(), Gone>;

    /// How often it was seen that nobody lives at the other end, by whoever can tell.
    fn deaths(&self) -> u32 {
        0
    }
}

/// Both halves of one end.
pub type Halves<W, B> = (Receiver<W, B>, Sender<W, B>);

/// The memory is too small for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSmall;

/// Slots of each direction in so many words.
pub fn slots(words: usize) -> Result<u32, TooSmall> {
    let most = words.saturating_sub(ring::SLOTS_AT) / (2 * SLOT_WORDS);
    let most = (most as u64).min(u64::from(SLOTS_MAX)) as u32;
    if most < SLOTS_MIN { Err(TooSmall) } else { Ok(1 << most.ilog2()) }
}

/// Begins a new life of one end and tells the other one. `mac` is what the switch gives the port; an application
/// leaves it away and asks for it by [`Sender::station`]. `novelty` differs from life to life, as a clock does.
pub fn open<W: Words + Clone, B: Bell + Clone>(
    words: W,
    side: Side,
    mac: Option<[u8; 6]>,
    bell: B,
    novelty: u64,
) -> Result<Halves<W, B>, TooSmall> {
    let slots = slots(words.count())?;
    let life = ring::begin(&words, side, mac, novelty);
    let ring = |way| Ring::new(words.clone(), side, way, slots, life);
    let (inward, outward) = match side {
        Side::Switch => (Way::ToSwitch, Way::ToPort),
        Side::Port => (Way::ToPort, Way::ToSwitch),
    };
    let halves = (Receiver::new(ring(inward), bell.clone()), Sender::new(ring(outward), bell.clone()));
    // Whoever waits for us hears it; whoever is not there yet will look.
    let _ = bell.ring();
    Ok(halves)
}
