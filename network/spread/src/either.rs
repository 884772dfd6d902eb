//! One type for all cores, whether they have the queue or not.

use crate::{BackReceiver, BackSender, FrontReceiver, FrontSender};
use nom_port::Bell;
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};

/// What comes to a core.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it a core")]
pub enum Incoming<I, E, B> {
    /// From the device.
    Queue(FrontReceiver<I, E, B>),
    /// From the core that has the device.
    Handed(BackReceiver<B>),
}

/// What leaves a core.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it a core")]
pub enum Outgoing<E, B> {
    /// To the device.
    Queue(FrontSender<E>),
    /// To the core that has the device.
    Handed(BackSender<B>),
}

/// The same for whichever it is.
macro_rules! either {
    ($self:ident, $kind:ident, $half:ident => $what:expr) => {
        match $self {
            $kind::Queue($half) => $what,
            $kind::Handed($half) => $what,
        }
    };
}

impl<I: Ingress, E: Egress, B: Bell> Ingress for Incoming<I, E, B> {
    #[inline]
    fn look(&mut self, now_ns: u64) -> usize {
        either!(self, Incoming, half => half.look(now_ns))
    }

    #[inline]
    fn oldest_ns(&self) -> Option<u64> {
        either!(self, Incoming, half => half.oldest_ns())
    }

    fn capacity(&self) -> usize {
        either!(self, Incoming, half => half.capacity())
    }

    #[inline]
    fn take(&mut self) -> Option<Arrival> {
        either!(self, Incoming, half => half.take())
    }

    #[inline]
    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        either!(self, Incoming, half => half.bytes(arrival))
    }

    #[inline]
    fn give_back(&mut self, arrival: Arrival) {
        either!(self, Incoming, half => half.give_back(arrival));
    }

    fn arm(&mut self) -> bool {
        either!(self, Incoming, half => half.arm())
    }
}

impl<E: Egress, B: Bell> Egress for Outgoing<E, B> {
    fn offloads(&self) -> Offloads {
        either!(self, Outgoing, half => half.offloads())
    }

    fn mtu(&self) -> usize {
        either!(self, Outgoing, half => half.mtu())
    }

    #[inline]
    fn room(&self) -> usize {
        either!(self, Outgoing, half => half.room())
    }

    fn capacity(&self) -> usize {
        either!(self, Outgoing, half => half.capacity())
    }

    #[inline]
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        either!(self, Outgoing, half => half.queue(frame))
    }

    #[inline]
    fn kick(&mut self) -> bool {
        either!(self, Outgoing, half => half.kick())
    }

    #[inline]
    fn completed(&mut self) -> u64 {
        either!(self, Outgoing, half => half.completed())
    }

    fn remind(&mut self) {
        either!(self, Outgoing, half => half.remind());
    }
}
