//! Opening: looks at the interface, binds a socket, and last of all hangs the program on it.

use crate::bpf::{self, Attached};
use crate::egress::XdpEgress;
use crate::error::XdpError;
use crate::ingress::{Kind, XdpIngress};
use crate::program::Ours;
use crate::socket::{RECEIVE, Socket, Wanted, mtu_limit};
use nom_linux_interface::Interface;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// Whether the kernel copies frames between the card's memory and ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Copying {
    /// Not where the driver can do without.
    #[default]
    Automatic,
    /// Always: works with every driver.
    Copy,
    /// Never: refused where the driver cannot.
    ZeroCopy,
}

/// The interface, and what is taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdpConfig {
    /// Its name in the network of the calling thread.
    pub interface: String,
    /// The queue that is served; without one the interface must have a single one.
    pub queue: Option<u32>,
    /// Which frames are ours.
    pub ours: Ours,
    /// Whether frames are copied.
    pub copying: Copying,
    /// Lets the card's interrupts rest and drives it from our own looks, each for at most this long.
    pub busy_poll: Option<Duration>,
}

impl XdpConfig {
    /// One queue, copying as the driver likes, no busy polling.
    pub fn new(interface: &str, ours: Ours) -> Self {
        let copying = Copying::default();
        Self { interface: interface.into(), queue: None, ours, copying, busy_poll: None }
    }
}

/// What both halves share. The program goes first when it is dropped: frames go to the kernel again before their
/// rings end.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) attached: Attached,
    pub(crate) socket: Socket,
}

/// Takes what is ours from the interface. It stays until both halves are dropped, or the process ends.
pub fn open(config: &XdpConfig) -> Result<(XdpIngress, XdpEgress), XdpError> {
    let interface = Interface::find(&config.interface)?;
    if !interface.up {
        return Err(XdpError::Down(interface.name));
    }
    if interface.mtu > mtu_limit() {
        return Err(XdpError::Mtu(interface.name, interface.mtu, mtu_limit()));
    }
    let queue = match config.queue {
        None if interface.receive_queues > 1 => {
            return Err(XdpError::Queues(interface.name, interface.receive_queues));
        }
        Some(queue) if queue >= interface.receive_queues => {
            return Err(XdpError::NoQueue(interface.name, queue, interface.receive_queues));
        }
        queue => queue.unwrap_or(0),
    };
    let flags = match config.copying {
        Copying::Automatic => 0,
        Copying::Copy => libc::XDP_COPY,
        Copying::ZeroCopy => libc::XDP_ZEROCOPY,
    };
    let wanted =
        Wanted { interface: interface.index, queue, mtu: interface.mtu, flags, busy_poll: config.busy_poll };
    let (socket, mut receiving, sending) = Socket::bind(&wanted)?;
    // The kernel has all receive chunks before the first frame can come.
    for chunk in 0..RECEIVE {
        receiving.fill.push(u64::from(chunk) * socket.chunk_len as u64);
    }
    receiving.fill.publish();
    let attached = bpf::attach(&interface.name, interface.index, queue, socket.fd.as_fd(), &config.ours)?;
    let device = Rc::new(Device { attached, socket });
    let kind = Kind { virtual_cable: interface.driver == "veth", busy_poll: config.busy_poll.is_some() };
    let ingress = XdpIngress::new(Rc::clone(&device), receiving, interface.mac, kind);
    Ok((ingress, XdpEgress::new(device, sending, interface.mtu)))
}
