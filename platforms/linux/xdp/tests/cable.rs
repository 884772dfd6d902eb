//! The private stack on AF_XDP against Linux's own TCP over a cable, byte for byte, and beside the kernel's own
//! services on the same interface.

use nom_cable::{
    ADDRESS, CLIENT_ADDRESS, Cable, End, Opened, PORT, PREFIX_LEN, Refused, Running, SERVER, SERVER_KERNEL,
    exchange, rounds,
};
use nom_stack::Config;
use nom_stack::knobs::{Batching, Knobs, Wait};
use nom_xdp::{Copying, Ours, XdpConfig, XdpError, open};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc;

const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ADDRESS), PORT);

/// Starts an echo at the server's end. `None` when this machine does not let us.
fn start(cable: &Cable, config: XdpConfig, knobs: Knobs) -> Option<Running> {
    Running::try_start(cable, knobs, move || {
        let refuse = |error: XdpError| Refused { missing: error.is_missing_right(), text: error.to_string() };
        let (ingress, egress) = open(&config).map_err(refuse)?;
        let wakes = ingress.as_fd().try_clone_to_owned().unwrap();
        let (Ours::Address(address) | Ours::Ports(address, _)) = config.ours;
        let config = Config::new(ingress.mac(), address, PREFIX_LEN);
        Ok(Opened { halves: (ingress, egress), config, wakes })
    })
}

fn private() -> XdpConfig {
    XdpConfig::new(SERVER, Ours::Address(ADDRESS))
}

#[test]
fn sizes_and_pieces_are_echoed_however_frames_gather() {
    for batching in [Batching::RunToCompletion, Batching::TakeQueued, Batching::Hold { delay_ns: 20_000 }] {
        let Some(cable) = Cable::try_lay() else { return };
        let knobs = Knobs { batching, ..Knobs::default() };
        let Some(server) = start(&cable, private(), knobs) else { return };
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
    let config = XdpConfig { copying: Copying::Copy, ..private() };
    let Some(server) = start(&cable, config, knobs) else { return };
    cable.clients(4, || rounds(TARGET, 25, 20));
    let (echo, counters) = server.end();
    assert_eq!(echo.opened, 100, "{counters:?}");
}

#[test]
fn bulk_on_several_connections_survives_a_full_ring() {
    let Some(cable) = Cable::try_lay() else { return };
    let Some(server) = start(&cable, private(), Knobs::default()) else { return };
    cable.clients(8, || exchange(TARGET, 3_000_000, 100_000));
    let (echo, counters) = server.end();
    assert_eq!((echo.opened, echo.closed), (8, 8), "{counters:?}");
}

/// A service of the server's own kernel on the same interface, as SSH is, and a connection to it that stays open.
struct Neighbour {
    stream: TcpStream,
}

const SSH: u16 = 22;

impl Neighbour {
    fn connect(cable: &Cable) -> Self {
        let (say, heard) = mpsc::channel();
        let listening = move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, SSH)).unwrap();
            say.send(()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 64];
            while let Ok(len @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..len]).unwrap();
            }
        };
        cable.spawn(End::Server, None, listening).unwrap();
        heard.recv().unwrap();
        let connect = || TcpStream::connect((SERVER_KERNEL, SSH)).unwrap();
        let stream = cable.spawn(End::Client, None, connect).unwrap().join().unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        Self { stream }
    }

    fn speak(&mut self, word: &[u8]) {
        self.stream.write_all(word).unwrap();
        let mut answer = vec![0; word.len()];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, word);
    }
}

#[test]
fn what_is_not_ours_goes_on_before_during_and_after() {
    let Some(cable) = Cable::try_lay() else { return };
    let mut neighbour = Neighbour::connect(&cable);
    neighbour.speak(b"before");
    for round in 0..3 {
        let Some(server) = start(&cable, private(), Knobs::default()) else { return };
        neighbour.speak(b"during");
        cable.clients(1, || exchange(TARGET, 100_000, 1_000));
        neighbour.speak(format!("round {round}").as_bytes());
        server.end();
        neighbour.speak(b"after");
    }
}

#[test]
fn a_port_of_an_address_is_ours_and_the_rest_stays_the_kernels() {
    let Some(cable) = Cable::try_lay() else { return };
    let mut neighbour = Neighbour::connect(&cable);
    let config = XdpConfig::new(SERVER, Ours::Ports(SERVER_KERNEL, vec![9, PORT]));
    let Some(server) = start(&cable, config, Knobs::default()) else { return };
    cable.clients(2, || exchange((SERVER_KERNEL, PORT).into(), 300_000, 10_000));
    neighbour.speak(b"the same address, another port");
    let (echo, counters) = server.end();
    assert_eq!((echo.opened, echo.closed), (2, 2), "{counters:?}");
    neighbour.speak(b"after");
}

#[test]
fn two_services_do_not_fight_over_an_interface() {
    let Some(cable) = Cable::try_lay() else { return };
    let Some(server) = start(&cable, private(), Knobs::default()) else { return };
    let second = || match open(&private()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("both have it"),
    };
    let said = cable.spawn(End::Server, None, second).unwrap().join().unwrap();
    assert!(said.contains("another socket has") || said.contains("another XDP program"), "{said}");
    cable.clients(1, || exchange(TARGET, 10_000, 1_000));
    server.end();
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let Some(cable) = Cable::try_lay() else { return };
    let refused = |config: XdpConfig| {
        let said = move || match open(&config) {
            Err(error) => (error.is_missing_right(), error.to_string()),
            Ok(_) => panic!("it opened"),
        };
        cable.spawn(End::Server, None, said).unwrap().join().unwrap().1
    };
    let absent = XdpConfig::new("eth7", Ours::Address(CLIENT_ADDRESS));
    assert_eq!(refused(absent), "there is no interface \"eth7\" here: `ip link` lists those that are");
    let queue = XdpConfig { queue: Some(3), ..private() };
    assert_eq!(refused(queue), "interface \"nom-s\" has 1 queues, counted from 0: there is no queue 3");
    let copying = refused(XdpConfig { copying: Copying::ZeroCopy, ..private() });
    assert!(copying.contains("use copy") || copying.contains("CAP_NET_ADMIN"), "{copying}");
    let denied = XdpError::Kernel("opening a socket", std::io::Error::from_raw_os_error(1)).to_string();
    assert!(denied.contains("CAP_NET_RAW"), "{denied}");
}
