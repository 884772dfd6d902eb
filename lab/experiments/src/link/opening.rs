//! The devices on which a private stack is tried beside Linux's own, at the server's end of a cable.

use nom_cable::{ADDRESS, CLIENT_ADDRESS, Cable, End, Opened, PREFIX_LEN, Refused, SERVER};
use nom_packet::{PacketConfig, PacketEgress, PacketIngress};
use nom_stack::Config;
use nom_tap::{TapConfig, TapEgress, TapIngress};
use nom_xdp::{Ours, XdpConfig, XdpEgress, XdpIngress};
use std::os::fd::AsFd;

/// Our Ethernet address where nobody shares it.
const MAC: [u8; 6] = [2, 0x6e, 0x6f, 0x6d, 0, 2];

/// What one connection may hold in either direction (`tcp.window`, `memory.send` of a service): three large segments. With
/// one the two sides would work in turns, and many more leave the processors' caches before they are read again.
const CONNECTION_BYTES: u32 = 192 << 10;
/// What all of them may hold together.
const MEMORY_BYTES: usize = 8 << 20;

fn text(error: impl std::fmt::Display) -> Refused {
    Refused { missing: false, text: error.to_string() }
}

fn opened<I: AsFd, E>(mac: [u8; 6], ingress: I, egress: E) -> Result<Opened<I, E>, Refused> {
    let wakes = ingress.as_fd().try_clone_to_owned().map_err(text)?;
    let config = Config {
        receive_window_bytes: CONNECTION_BYTES,
        receive_memory_bytes: MEMORY_BYTES,
        send_queue_bytes: CONNECTION_BYTES,
        send_memory_bytes: MEMORY_BYTES,
        ..Config::new(mac, ADDRESS, PREFIX_LEN)
    };
    Ok(Opened { config, halves: (ingress, egress), wakes })
}

/// AF_XDP on the cable.
pub(crate) fn xdp() -> Result<Opened<XdpIngress, XdpEgress>, Refused> {
    let (ingress, egress) = nom_xdp::open(&XdpConfig::new(SERVER, Ours::Address(ADDRESS))).map_err(text)?;
    opened(ingress.mac(), ingress, egress)
}

/// AF_PACKET on the cable.
pub(crate) fn packet() -> Result<Opened<PacketIngress, PacketEgress>, Refused> {
    let (ingress, egress) = nom_packet::open(&PacketConfig::new(SERVER, ADDRESS)).map_err(text)?;
    opened(ingress.mac(), ingress, egress)
}

/// A TAP device. The kernel's end of it is the clients': it is made in their network.
pub(crate) fn tap(cable: &Cable) -> Result<Opened<TapIngress, TapEgress>, Refused> {
    cable.enter(End::Client).map_err(text)?;
    let config = TapConfig { address: CLIENT_ADDRESS, prefix_len: PREFIX_LEN, ..TapConfig::default() };
    let (ingress, egress) = nom_tap::open(&config).map_err(text)?;
    opened(MAC, ingress, egress)
}
