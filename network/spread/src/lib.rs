//! Several cores with a stack each, and the queues of one network device: one queue for all of them, or one for each.
//!
//! ```text
//!   device --> first core --+-- its own connections --> its stack
//!                           +-- ring of a core -------> that core's stack
//!   device <-- first core <----- ring of a core ------- what that stack sends
//! ```
//!
//! A connection to the served port belongs to a core by a hash of its client's address and port, so all its frames come to
//! the same stack, also after a restart. Everything else is the first core's; what others found out about neighbours is
//! told to all. The hash is no secret, as a card's is none: who chooses its ports can keep one core busy and slows down
//! whoever shares that core.
//!
//! Where each core has a pair of queues, the device or the host before it chooses the queue by a hash of its own, so a client's
//! connection stays where its first frame came. What the first core asks for itself (prices, a name) may be answered on any
//! queue, and so may a question for a neighbour: whoever finds such a frame hands it over by the same rings.
//!
//! Frames are copied into a ring and out of it. A core that does not keep up loses what comes to it, and its neighbours
//! lose nothing; what it sends and finds no room for waits in its own ring. The rings are those of `nom-port`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod back;
mod either;
mod front;
mod own;
mod peer;
mod steering;

pub use back::{BackReceiver, BackSender};
pub use either::{Incoming, Outgoing};
pub use front::{Counters, FrontReceiver, FrontSender};
pub use own::{OwnReceiver, Rings, rings};

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use nom_port::SLOT_WORDS;
pub use nom_port::{Bell, Gone, MTU};
use nom_stack::port::{Egress, Ingress};
use peer::Peer;

/// Frames that wait between the first core and another one, in each direction.
pub const SLOTS: usize = 128;
/// Words in front of a port's slots.
const CONTROL_WORDS: usize = 64;
/// Bytes that each further core takes here: its rings, and what the takers copy frames to.
pub const CORE_BYTES: usize = 4 * SLOTS * SLOT_WORDS * 8 + (64 << 10);
/// The Ethernet address by which a port's ends know that the other one is there; nothing is ever sent under it.
const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Memory that two cores share.
pub(crate) type Memory = Arc<[AtomicU64]>;

/// The halves of the first core, and those of each other one.
pub type Halves<I, E, B> = ((FrontReceiver<I, E, B>, FrontSender<E>), Vec<(BackReceiver<B>, BackSender<B>)>);

/// Divides a device among cores, of which the first has it. `bells` wake one core each, the first one's first. Connections
/// to `port` are spread.
///
/// The device must not hand over frames that are longer than [`nom_port::FRAME_MAX`] less one byte, as those that it merged.
pub fn spread<I: Ingress, E: Egress, B: Bell + Clone>(
    ingress: I,
    egress: E,
    bells: &[B],
    port: u16,
) -> Halves<I, E, B> {
    let mtu = egress.mtu().min(MTU);
    let (peers, others) = peer::between(bells);
    let back = |Peer { hears, says }| (BackReceiver::new(hears), BackSender::new(says, mtu));
    (front::halves(ingress, egress, peers, port), others.into_iter().map(back).collect())
}

#[cfg(test)]
mod tests;
