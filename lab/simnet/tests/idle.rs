//! Ten thousand connections on which nothing happens cost memory within a bound, and no work at all.

use nom_simnet::port::Device;
use nom_simnet::{Cost, End, Host, Link, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use std::net::Ipv4Addr;

const CONNECTIONS: u32 = 10_000;
const PORT: u16 = 7;
const SECOND_NS: u64 = 1_000_000_000;

struct Silent;

impl Application for Silent {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}
    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn writable(&mut self, _io: &mut impl Io) {}
    fn finished(&mut self, _io: &mut impl Io) {}
    fn ended(&mut self, _connection: ConnectionId, reason: Ended) {
        panic!("an idle connection ended: {reason:?}");
    }
    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }
    fn released(&mut self, _pin: Pin) {}
}

#[test]
fn idle_connections_cost_no_work_and_little_memory() {
    let mut simulation = Simulation::new(1);
    let host = |number: u8| {
        let config = Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 9, 0, number), 24);
        Host::new(
            config,
            Device { ring: 4096, ..Device::default() },
            Cost::default(),
            Silent,
            u64::from(number),
        )
    };
    let (left, client) = simulation.add(host(1));
    let (right, server) = simulation.add(host(2));
    simulation.connect(End { node: left, port: 0 }, End { node: right, port: 0 }, Link::gigabit());
    server.borrow_mut().engine_mut().listen(PORT);
    // The first one asks for the neighbour's address; the others follow in groups that the rings hold.
    for group in 0..CONNECTIONS / 100 {
        let now_ns = simulation.now_ns();
        for _ in 0..100 {
            client.borrow_mut().engine_mut().connect(Ipv4Addr::new(10, 9, 0, 2), PORT, now_ns).unwrap();
        }
        simulation.touch(left);
        simulation.run_until((u64::from(group) + 1) * SECOND_NS);
    }
    simulation.run_until(200 * SECOND_NS);
    assert_eq!(server.borrow().engine().open_connections(), CONNECTIONS);
    assert_eq!(client.borrow().engine().open_connections(), CONNECTIONS);
    let bytes = server.borrow().engine().idle_connection_bytes();
    assert!(bytes <= 1024, "{bytes} bytes");
    for host in [&client, &server] {
        let step = host.borrow_mut().engine_mut().step(simulation.now_ns());
        assert!(!step.worked && step.deadline_ns.is_none(), "something is due: {step:?}");
    }
    let events = simulation.events();
    simulation.run_until(10_000 * SECOND_NS);
    assert_eq!(simulation.events(), events, "nothing happens for hours");
}
