//! One type for all cores, whether they have the queue or not.

use crate::{BackReceiver, BackSender, FrontReceiver, FrontSender};
use nom_port::Bell;
use nom_stack::port::{Egress, Ingress};

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

nom_stack::ingress_of_whichever!([I: Ingress, E: Egress, B: Bell] Incoming<I, E, B>: Queue, Handed);
nom_stack::egress_of_whichever!([E: Egress, B: Bell] Outgoing<E, B>: Queue, Handed);
