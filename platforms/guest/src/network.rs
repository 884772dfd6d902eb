//! Where frames come from: a card of one's own, or a port of the switch that has it.

use crate::team::Bell;
use alloc::format;
use alloc::string::String;
use nom_guest_devices::{Doorbell, PortReceiver, PortSender, open_port};
use nom_runtime::{log, now_ns, wait};
use nom_spread::{BackReceiver, BackSender, FrontReceiver, FrontSender, OwnReceiver};
use nom_stack::port::Ingress;
use nom_virtio_net::{Receiver, Sender};
use nom_virtqueue::transport::MappedBell;

/// The application that has the card.
const SWITCH: &str = "switch";
/// How long the switch may take to be there.
const PATIENCE_NS: u64 = 20_000_000_000;

/// The receiving half, whatever it is.
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Incoming {
    Card(Receiver<MappedBell>),
    /// A pair of queues of one's own, where other cores have theirs.
    Own(OwnReceiver<Receiver<MappedBell>, Bell>),
    /// A card with one pair of queues for several cores, on the one that has it, ...
    Shared(FrontReceiver<Receiver<MappedBell>, Sender<MappedBell>, Bell>),
    /// ... and on the others.
    Handed(BackReceiver<Bell>),
    Port(PortReceiver),
}

/// The sending half, whatever it is.
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Outgoing {
    Card(Sender<MappedBell>),
    Shared(FrontSender<Sender<MappedBell>>),
    Handed(BackSender<Bell>),
    Port(PortSender),
}

/// A port: its Ethernet address, its halves, and how the switch is woken.
pub fn plug_in() -> Result<([u8; 6], Incoming, Outgoing, Doorbell), String> {
    let (mut receiver, mut sender, bell) = open_port(nom_runtime::name(), SWITCH, None)
        .map_err(|why| format!("no port of the switch: {why}"))?;
    let limit_ns = now_ns() + PATIENCE_NS;
    loop {
        receiver.look(now_ns());
        if let Some(mac) = sender.station() {
            return Ok((mac, Incoming::Port(receiver), Outgoing::Port(sender), bell));
        }
        if now_ns() >= limit_ns {
            return Err("the switch is not there; name it first in kernel.application".into());
        }
        // It rings when it begins; a moment's sleep covers what it says after that.
        wait(Some(now_ns() + 1_000_000), 0);
    }
}

/// Says when a switch is gone or has begun anew.
pub struct Watch {
    name: &'static str,
    /// Whether it was there, and in which of its lives that were seen.
    known: Option<(bool, u64)>,
}

impl Watch {
    /// Nothing seen yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, known: None }
    }

    /// Looks how it is.
    pub fn look(&mut self, incoming: &Incoming) {
        let Incoming::Port(port) = incoming else { return };
        let now = (port.is_up(), port.counters().lives);
        let name = self.name;
        match self.known.replace(now) {
            Some((_, lives)) if lives != now.1 => {
                log!("{name}: the switch is back, in life {} from here", now.1)
            }
            Some((true, _)) if !now.0 => log!("{name}: the switch is gone"),
            _ => {}
        }
    }
}

/// Why the card cannot be gone on with. A switch that broke the contract counts as gone until it begins anew.
pub fn fault(incoming: &Incoming, outgoing: &Outgoing) -> Option<String> {
    let fault = match (incoming, outgoing) {
        (Incoming::Card(receiver), Outgoing::Card(sender)) => receiver.fault().or(sender.fault()),
        (Incoming::Own(receiver), Outgoing::Card(sender)) => receiver.device().fault().or(sender.fault()),
        (Incoming::Shared(receiver), Outgoing::Shared(sender)) => {
            receiver.device().fault().or(sender.with_device(Sender::fault))
        }
        _ => None,
    }?;
    Some(format!("the network device broke the contract of its rings: {fault:?}"))
}

nom_stack::ingress_of_whichever!([] Incoming: Card, Own, Shared, Handed, Port);
nom_stack::egress_of_whichever!([] Outgoing: Card, Shared, Handed, Port);
