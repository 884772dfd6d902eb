//! The private stack on AF_PACKET against Linux's own TCP over a cable, byte for byte.

use nom_cable::{
    ADDRESS, Cable, End, Opened, PORT, PREFIX_LEN, Refused, Running, SERVER, SERVER_KERNEL, exchange, rounds,
};
use nom_packet::{PacketConfig, PacketError, open};
use nom_stack::Config;
use nom_stack::knobs::{Batching, Knobs, Wait};
use nom_stack::port::Offloads;
use std::net::SocketAddr;
use std::os::fd::AsFd;

const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ADDRESS), PORT);

const ALL: Offloads = Offloads { checksum: true, segmentation: true };

/// Starts an echo at the server's end. `None` when this machine does not let us.
fn start(cable: &Cable, offloads: Offloads, knobs: Knobs) -> Option<Running> {
    Running::try_start(cable, knobs, move || {
        let refuse =
            |error: PacketError| Refused { missing: error.is_missing_right(), text: error.to_string() };
        let config = PacketConfig { offloads, ..PacketConfig::new(SERVER, ADDRESS) };
        let (ingress, egress) = open(&config).map_err(refuse)?;
        let wakes = ingress.as_fd().try_clone_to_owned().unwrap();
        let config = Config::new(ingress.mac(), ADDRESS, PREFIX_LEN);
        Ok(Opened { halves: (ingress, egress), config, wakes })
    })
}

#[test]
fn sizes_and_pieces_are_echoed_however_frames_gather() {
    for batching in [Batching::RunToCompletion, Batching::TakeQueued, Batching::Hold { delay_ns: 20_000 }] {
        let Some(cable) = Cable::try_lay() else { return };
        let knobs = Knobs { batching, ..Knobs::default() };
        let Some(server) = start(&cable, ALL, knobs) else { return };
        for (len, piece) in [(0, 1), (1, 1), (1_460, 1_460), (100_000, 333), (8_000_000, 65_536)] {
            cable.clients(1, move || exchange(TARGET, len, piece));
        }
        let (echo, counters) = server.end();
        assert_eq!((echo.opened, echo.closed, echo.broken), (5, 5, 0), "{counters:?}");
    }
}

#[test]
fn a_hundred_connections_share_the_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let knobs = Knobs { wait: Wait::Spin { budget_ns: 50_000 }, ..Knobs::default() };
    let Some(server) = start(&cable, ALL, knobs) else { return };
    cable.clients(4, || rounds(TARGET, 25, 20));
    let (echo, counters) = server.end();
    assert_eq!(echo.opened, 100, "{counters:?}");
}

#[test]
fn bulk_on_several_connections_and_software_checksums() {
    let Some(cable) = Cable::try_lay() else { return };
    let Some(server) = start(&cable, Offloads::default(), Knobs::default()) else { return };
    cable.clients(8, || exchange(TARGET, 2_000_000, 100_000));
    let (echo, counters) = server.end();
    assert_eq!((echo.opened, echo.closed), (8, 8), "{counters:?}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let Some(cable) = Cable::try_lay() else { return };
    let refused = |config: PacketConfig| {
        let said = move || open(&config).map(drop).unwrap_err().to_string();
        cable.spawn(End::Server, None, said).unwrap().join().unwrap()
    };
    assert_eq!(
        refused(PacketConfig::new("eth7", ADDRESS)),
        "there is no interface \"eth7\" here: `ip link` lists those that are"
    );
    let said = refused(PacketConfig::new(SERVER, SERVER_KERNEL));
    assert!(said.starts_with("the kernel has the address 10.99.0.3 itself"), "{said}");
}
