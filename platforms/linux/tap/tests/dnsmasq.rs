//! An address and names from Debian's dnsmasq, over a TAP device in a network of the test's own.

mod server;

use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::datagrams::Datagram;
use nom_stack::dhcp::{Change, Client};
use nom_stack::dns::{Found, Resolver};
use nom_stack::wire::dns::{Kind, Name};
use nom_stack::{Config, Engine};
use nom_tap::{TapEgress, TapIngress};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
const MAC: [u8; 6] = [2, 0x6e, 0x6f, 0x6d, 0, 2];
/// Names that the server knows beside the one of the prices.
const NAMES: [&str; 3] = [
    "--address=/prices.example/fd00::7",
    "--cname=alias.example,target.example",
    "--host-record=target.example,10.77.0.9",
];

/// Nobody connects here.
struct Nothing;

impl Application for Nothing {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}
    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn writable(&mut self, _io: &mut impl Io) {}
    fn finished(&mut self, _io: &mut impl Io) {}
    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }
    fn released(&mut self, _pin: Pin) {}
}

struct Tried {
    engine: Engine<TapIngress, TapEgress, Nothing>,
    tap: std::os::fd::OwnedFd,
    start: Instant,
}

impl Tried {
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }

    /// Steps, and waits for a frame, but never long.
    fn turn(&mut self) {
        assert!(self.start.elapsed() < DEADLINE, "no end: {:?}", self.engine.counters());
        let now_ns = self.now_ns();
        if self.engine.step(now_ns).worked || !nom_stack::port::Ingress::arm(self.engine.ingress_mut()) {
            return;
        }
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let mut fds = [rustix::event::PollFd::new(&self.tap, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
    }

    fn lease(&mut self) -> nom_stack::dhcp::Lease {
        let mut client = Client::new(MAC, 3, self.now_ns());
        self.engine.bind(68).expect("it is free");
        loop {
            let now_ns = self.now_ns();
            if let (Some(outgoing), _) = client.run(now_ns) {
                self.engine.send_datagram(68, (outgoing.to, 67), &outgoing.bytes, now_ns).expect("a route");
            }
            self.turn();
            while let Some(Datagram { payload, .. }) = self.engine.take_datagram(68) {
                if let Some(Change::Bound(lease)) = client.receive(&payload, now_ns) {
                    return lease;
                }
            }
        }
    }

    fn find(&mut self, resolver: &mut Resolver, name: &str, kind: Kind) -> Found {
        let name = Name::parse(name).expect("a name");
        loop {
            let now_ns = self.now_ns();
            match resolver.find(&name, kind, now_ns) {
                Found::Pending => {}
                found => return found,
            }
            let (outgoing, freed) = resolver.run(now_ns);
            if let Some(outgoing) = outgoing {
                outgoing.old_port.into_iter().for_each(|port| self.engine.unbind(port));
                self.engine.bind(outgoing.port).expect("it is free");
                let to = (outgoing.server, 53);
                self.engine.send_datagram(outgoing.port, to, &outgoing.bytes, now_ns).expect("a route");
            }
            freed.into_iter().for_each(|port| self.engine.unbind(port));
            self.turn();
            for port in resolver.ports().collect::<Vec<_>>() {
                while let Some(datagram) = self.engine.take_datagram(port) {
                    let source = (datagram.source, datagram.source_port);
                    let freed = resolver.receive(port, source, &datagram.payload, now_ns);
                    freed.into_iter().for_each(|port| self.engine.unbind(port));
                }
            }
        }
    }
}

#[test]
fn an_address_is_leased_and_names_are_found() {
    let Some((_server, ingress, egress)) = server::start(&NAMES) else { return };
    let tap = ingress.as_fd().try_clone_to_owned().unwrap();
    let config = Config::new(MAC, Ipv4Addr::UNSPECIFIED, 32);
    let engine = Engine::new(config, ingress, egress, Nothing, [7; 32], 1);
    let mut tried = Tried { engine, tap, start: Instant::now() };
    let lease = tried.lease();
    let kernel = Ipv4Addr::new(10, 77, 0, 1);
    assert_eq!((lease.address, lease.prefix_len), (server::LENT, 24));
    assert_eq!((lease.server, lease.gateway, lease.name_servers[0]), (kernel, Some(kernel), Some(kernel)));
    let now_ns = tried.now_ns();
    tried.engine.set_address(Some((lease.address, lease.prefix_len)), lease.gateway, now_ns);

    let mut resolver = Resolver::new(9);
    resolver.set_servers(lease.name_servers.into_iter().flatten());
    let found = |address: &str| Found::Address(address.parse::<IpAddr>().unwrap());
    assert_eq!(tried.find(&mut resolver, "prices.example", Kind::A), found("10.77.0.1"));
    assert_eq!(tried.find(&mut resolver, "Prices.Example", Kind::Aaaa), found("fd00::7"));
    assert_eq!(tried.find(&mut resolver, "alias.example", Kind::A), found("10.77.0.9"));
    assert_eq!(tried.find(&mut resolver, "nobody.example", Kind::A), Found::None);
    // It has nobody to ask itself, and says so: the next try of the same server says it again.
    assert_eq!(tried.find(&mut resolver, "elsewhere.test", Kind::A), Found::Failed);
    assert_eq!(resolver.ports().count(), 0, "no port is left bound");
}
