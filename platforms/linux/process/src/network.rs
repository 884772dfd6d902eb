//! The platform that the configuration names: a TAP device, AF_XDP or AF_PACKET.

use crate::team::{Bell, Team};
use nom_packet::{PacketConfig, PacketIngress, Socket};
use nom_service::configuration::{Configuration, Copying, Network};
use nom_spread::{Incoming, Outgoing, spread};
use nom_stack::port::{Egress, Ingress};
use nom_tap::{Porch, TapConfig, TapEgress, TapIngress, namespace};
use nom_xdp::{Ours, XdpConfig};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Our Ethernet address where nobody shares it, in the range that anybody may use.
const MAC: [u8; 6] = [0x02, 0x6e, 0x6f, 0x6d, 0x00, 0x02];

/// A device of some platform.
pub struct Device<I, E> {
    /// What is received.
    pub ingress: I,
    /// What is sent.
    pub egress: E,
    /// Our Ethernet address on it.
    pub mac: [u8; 6],
    /// Becomes readable when a frame waits.
    pub wakes: OwnedFd,
    /// Where clients on this machine connect, once somebody listens there.
    pub reached: Reached,
    /// It works on for a successor of this process that is left the descriptor.
    pub lasts: bool,
    /// Further queues, for further cores. Which queue a connection's frames come to stays the same.
    pub more: Vec<More<I, E>>,
}

/// Makes both halves of a queue and what wakes, in the thread that they belong to. It needs no rights any more.
pub type More<I, E> = Box<dyn FnOnce() -> Result<(I, E, OwnedFd), String> + Send>;

/// How clients come.
pub enum Reached {
    /// To our own address.
    Address,
    /// To the host's loopback; carried to this address.
    Porch(Porch, SocketAddr),
}

/// The first queue of a device, and what makes the others.
type Queues<I, E> = (I, E, Vec<More<I, E>>);

/// Goes on with a device, whatever its types are.
pub trait Serve {
    /// Serves until the end, or keeps the device for whoever does.
    fn serve<I: Ingress + 'static, E: Egress + 'static>(self, device: Device<I, E>) -> Result<(), String>;
}

/// What has to be opened before the host's network is left.
pub fn porch(configuration: &Configuration, port: u16) -> Result<Option<Porch>, String> {
    match configuration.network {
        Network::Tap { interface: None } => Porch::bind(port).map(Some).map_err(text),
        _ => Ok(None),
    }
}

/// Goes on with the device that a predecessor opened.
pub fn resume(configuration: &Configuration, queues: Vec<OwnedFd>, next: impl Serve) -> Result<(), String> {
    if queues.len() != configuration.cores {
        return Err(format!("a predecessor left {} queues for {} cores", queues.len(), configuration.cores));
    }
    match &configuration.network {
        Network::Tap { interface: Some(name) } => {
            let (ingress, egress, more) = taps(queues, &tap(configuration, Some(name)))?;
            let wakes = ingress.as_fd().try_clone_to_owned().map_err(text)?;
            let reached = Reached::Address;
            next.serve(Device { ingress, egress, mac: MAC, wakes, reached, lasts: true, more })
        }
        Network::Packet { interface } => {
            let config = PacketConfig::new(interface, configuration.address);
            let resume = |queue| Socket::resume(queue, &config).map_err(text);
            serve_packets(queues.into_iter().map(resume).collect::<Result<_, _>>()?, next)
        }
        _ => {
            let what = "a predecessor's device can only be gone on with when it is a TAP device with a name, or AF_PACKET";
            Err(what.into())
        }
    }
}

/// Serves on sockets that hear the same address.
fn serve_packets(sockets: Vec<Socket>, next: impl Serve) -> Result<(), String> {
    let mut sockets = sockets.into_iter();
    let first = sockets.next().ok_or("an interface has a socket")?;
    let (ingress, egress) = first.halves().map_err(text)?;
    let more = sockets.map(|socket| more(move || socket.halves(), PacketIngress::as_fd)).collect();
    let wakes = ingress.as_fd().try_clone_to_owned().map_err(text)?;
    let (mac, reached) = (ingress.mac(), Reached::Address);
    next.serve(Device { mac, ingress, egress, wakes, reached, lasts: true, more })
}

/// Opens the device and serves on it.
pub fn serve(
    configuration: &Configuration,
    team: &Arc<Team>,
    porch: Option<Porch>,
    next: impl Serve,
) -> Result<(), String> {
    match &configuration.network {
        Network::Tap { interface } => {
            if porch.is_some() {
                namespace::enter().map_err(text)?;
            }
            let config = tap(configuration, interface.as_deref());
            let queues = nom_tap::open_queues(&config, configuration.cores).map_err(text)?;
            let (ingress, egress, more) = taps(queues, &config)?;
            let target = SocketAddr::from((configuration.address, configuration.listen));
            let reached = porch.map_or(Reached::Address, |porch| Reached::Porch(porch, target));
            let wakes = ingress.as_fd().try_clone_to_owned().map_err(text)?;
            let lasts = interface.is_some();
            next.serve(Device { ingress, egress, mac: MAC, wakes, reached, lasts, more })
        }
        Network::Xdp { interface, queue, copying, busy_poll_ns } => {
            let config = XdpConfig {
                interface: interface.clone(),
                queue: *queue,
                ours: ours(configuration),
                copying: match copying {
                    Copying::Automatic => nom_xdp::Copying::Automatic,
                    Copying::Copy => nom_xdp::Copying::Copy,
                    Copying::Zero => nom_xdp::Copying::ZeroCopy,
                },
                busy_poll: busy_poll_ns.map(Duration::from_nanos),
            };
            let (ingress, egress) = nom_xdp::open(&config).map_err(text)?;
            let wakes = ingress.as_fd().try_clone_to_owned().map_err(text)?;
            let (mac, reached, lasts) = (ingress.mac(), Reached::Address, false);
            if team.cores() == 1 {
                return next.serve(Device { mac, ingress, egress, wakes, reached, lasts, more: Vec::new() });
            }
            let bells: Vec<Bell> = (0..team.cores()).map(|core| team.bell(core).clone()).collect();
            let ((ingress, egress), backs) = spread(ingress, egress, &bells, configuration.listen);
            let more = bells.into_iter().skip(1).zip(backs).map(|(bell, (ingress, egress))| {
                Box::new(move || {
                    let wakes = bell.instead_of_a_queue().map_err(text)?;
                    Ok((Incoming::Handed(ingress), Outgoing::Handed(egress), wakes))
                }) as More<_, _>
            });
            let (ingress, egress) = (Incoming::Queue(ingress), Outgoing::Queue(egress));
            next.serve(Device { mac, more: more.collect(), ingress, egress, wakes, reached, lasts })
        }
        Network::Packet { interface } => {
            let config = PacketConfig::new(interface, configuration.address);
            serve_packets(nom_packet::sockets(&config, configuration.cores).map_err(text)?, next)
        }
        Network::Switch => {
            Err("network = switch is for applications of a guest; say tap, xdp or packet".into())
        }
    }
}

/// The first queue of a TAP device, and what makes the others.
fn taps(queues: Vec<OwnedFd>, config: &TapConfig) -> Result<Queues<TapIngress, TapEgress>, String> {
    let mut queues = queues.into_iter();
    let first = queues.next().ok_or("a TAP device has a queue")?;
    let (ingress, egress) = nom_tap::resume(first, config).map_err(text)?;
    let more = queues.map(|queue| {
        let config = config.clone();
        more(move || nom_tap::resume(queue, &config), TapIngress::as_fd)
    });
    Ok((ingress, egress, more.collect()))
}

/// A queue that is made in its thread.
fn more<I: 'static, E: 'static, X: Display>(
    halves: impl FnOnce() -> Result<(I, E), X> + Send + 'static,
    fd: fn(&I) -> BorrowedFd<'_>,
) -> More<I, E> {
    Box::new(move || {
        let (ingress, egress) = halves().map_err(text)?;
        let wakes = fd(&ingress).try_clone_to_owned().map_err(text)?;
        Ok((ingress, egress, wakes))
    })
}

/// An address that the kernel has too is shared: only our port of it is ours.
fn ours(configuration: &Configuration) -> Ours {
    if nom_linux_interface::is_kernels(configuration.address) {
        Ours::Ports(configuration.address, vec![configuration.listen])
    } else {
        Ours::Address(configuration.address)
    }
}

/// The kernel's end of the link is the gateway, or the first other address of the network.
fn tap(configuration: &Configuration, name: Option<&str>) -> TapConfig {
    let first = (u32::from(configuration.address) & network_mask(configuration.prefix_len)) | 1;
    let first = if first == u32::from(configuration.address) { first + 1 } else { first };
    let address = configuration.gateway.unwrap_or(Ipv4Addr::from(first));
    let config = TapConfig { address, prefix_len: configuration.prefix_len, ..TapConfig::default() };
    match name {
        Some(name) => TapConfig { name: name.into(), ..config },
        None => config,
    }
}

fn network_mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
