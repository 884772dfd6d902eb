//! A port of a switch over one of the kernel's channels.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::AtomicU64;

use nom_port::{Bell, Gone, Receiver, Sender, Side};
use nom_runtime::abi::application::Phase;
use nom_runtime::call::application_status;
use nom_runtime::channel::Channel;
use nom_runtime::{CallError, Events};

/// What the names of a switch's channels begin with; an application's own name follows.
pub const CHANNELS: &str = "switch.";

/// The shared memory of a channel.
pub type Memory = &'static [AtomicU64];

/// Wakes the application at the other end of a channel, and knows whether it lives.
#[derive(Clone)]
pub struct Doorbell {
    channel: &'static Channel,
    peer: Rc<str>,
    deaths: Rc<Cell<u32>>,
}

impl Doorbell {
    /// The event by which the other end wakes us.
    pub fn event(&self) -> Events {
        self.channel.event()
    }

    /// To be called when an application of the guest has ended: looks whether it was this one. One call.
    pub fn look(&self) {
        if application_status(&self.peer).is_ok_and(|status| status.phase != Phase::Running) {
            self.deaths.set(self.deaths.get().wrapping_add(1));
        }
    }
}

impl Bell for Doorbell {
    fn ring(&self) -> Result<(), Gone> {
        self.channel.notify().map_err(|_| Gone)
    }

    fn deaths(&self) -> u32 {
        self.deaths.get()
    }
}

/// A port's receiving half.
pub type PortReceiver = Receiver<Memory, Doorbell>;
/// A port's sending half.
pub type PortSender = Sender<Memory, Doorbell>;

/// Why there is no port.
#[derive(Debug)]
pub enum NoPort {
    /// The kernel's answer to opening the channel.
    Channel(String, CallError),
    /// The channel is too small.
    TooSmall(String),
}

impl fmt::Display for NoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoPort::Channel(name, error) => write!(
                f,
                "channel {name} cannot be opened ({error:?}); the image needs kernel.channel.{name} = switch, APPLICATION, 512 KiB"
            ),
            NoPort::TooSmall(name) => write!(f, "channel {name} is too small for a port; say 512 KiB"),
        }
    }
}

/// Opens this end of the port of `application`; `mac` is given by the switch.
pub fn open_port(
    application: &str,
    peer: &str,
    mac: Option<[u8; 6]>,
) -> Result<(PortReceiver, PortSender, Doorbell), NoPort> {
    let name = format!("{CHANNELS}{application}");
    let channel = Channel::open(&name).map_err(|error| NoPort::Channel(name.clone(), error))?;
    // As long as the application lives: its halves read the memory until then.
    let channel: &'static Channel = Box::leak(Box::new(channel));
    let bell = Doorbell { channel, peer: peer.into(), deaths: Rc::new(Cell::new(0)) };
    let side = if mac.is_some() { Side::Switch } else { Side::Port };
    let (receiver, sender) = nom_port::open(channel.words(), side, mac, bell.clone(), nom_runtime::now_ns())
        .map_err(|_| NoPort::TooSmall(name))?;
    Ok((receiver, sender, bell))
}
