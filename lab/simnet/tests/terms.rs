//! What a service wants of its connections, changed while it serves: whether silent clients are asked. Connections keep what
//! they began with, and what is refused changes nothing.

use nom_kv::Kv;
use nom_service::configuration::Configuration;
use nom_service::management::Message;
use nom_simnet::port::Device;
use nom_simnet::switch::Switch;
use nom_simnet::{Cost, Deployed, End, Host, Link, NodeId, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SECOND: u64 = 1_000_000_000;
/// The switch has as many ports.
const HOSTS: usize = 5;
/// Different terms that a stack remembers beside none at all.
const TERMS: u64 = 15;

/// A client that says nothing.
#[derive(Default)]
struct Mute;

impl Application for Mute {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}

    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, _io: &mut impl Io) {}

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
}

struct World {
    simulation: Simulation,
    server: Rc<RefCell<Deployed<Kv>>>,
    server_id: NodeId,
    switch_id: NodeId,
    clients: usize,
}

impl World {
    fn new() -> Self {
        let mut simulation = Simulation::new(1);
        let configuration = Configuration::parse("management.token = 0123456789abcdef\n").unwrap();
        let server = Deployed::new(
            configuration,
            Device::default(),
            Cost::default(),
            16 << 20,
            Vec::new(),
            1,
            |configuration, seed| Kv::new(nom_kv::Config::new(configuration.items_bytes, seed, 0)),
        )
        .unwrap();
        let (server_id, server) = simulation.add(server);
        let (switch_id, _) = simulation.add(Switch::new(HOSTS));
        simulation.connect(
            End { node: server_id, port: 0 },
            End { node: switch_id, port: 0 },
            Link::gigabit(),
        );
        server.borrow_mut().command("hello 0123456789abcdef\n");
        simulation.run_until(SECOND);
        Self { simulation, server, server_id, switch_id, clients: 0 }
    }

    /// A client that connects and is silent from then on. Returns where it is plugged in.
    fn opens(&mut self) -> End {
        self.clients += 1;
        let number = 20 + self.clients as u8;
        let config = Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 0, 2, number), 24);
        let mut client = Host::new(config, Device::default(), Cost::default(), Mute, u64::from(number));
        let now_ns = self.simulation.now_ns();
        client.engine_at(now_ns).connect(SERVER, 11211, now_ns).unwrap();
        let (id, _) = self.simulation.add(client);
        let plug = End { node: self.switch_id, port: self.clients };
        self.simulation.connect(End { node: id, port: 0 }, plug, Link::gigabit());
        self.simulation.touch(id);
        self.lasts(SECOND);
        plug
    }

    /// Nothing reaches the client any more.
    fn falls_off(&mut self, plug: End) {
        self.simulation.set_link(plug, Link { loss: 1.0, ..Link::gigabit() });
    }

    fn lasts(&mut self, span_ns: u64) {
        let now_ns = self.simulation.now_ns();
        self.simulation.run_until(now_ns + span_ns);
    }

    /// What an order was answered, and whether it was taken. Takes a second.
    fn order(&mut self, order: &str) -> (bool, String) {
        self.server.borrow_mut().command(order);
        self.simulation.touch(self.server_id);
        self.lasts(SECOND);
        let messages = self.server.borrow_mut().messages();
        let mut answers = messages.into_iter().filter_map(|message| match message {
            Message::Answered { good, text } => Some((good == 1, text)),
            _ => None,
        });
        answers.next().expect("an answer")
    }

    fn questions(&self) -> u64 {
        self.server.borrow().worker().engine().counters().keep_alives
    }

    fn open(&self) -> u32 {
        self.server.borrow().worker().engine().open_connections()
    }
}

#[test]
fn new_clients_are_asked_as_the_file_says_now_and_old_ones_as_it_said_then() {
    let mut world = World::new();
    let first = world.opens();
    world.lasts(1_000 * SECOND);
    assert_eq!(
        (world.questions(), world.open()),
        (0, 1),
        "nobody is asked where the configuration says nothing"
    );
    let file = "management.token = 0123456789abcdef\ntcp.keepalive = 10 s\n\
                tcp.keepalive.interval = 2 s\ntcp.keepalive.probes = 3\n";
    world.server.borrow_mut().write_file(file);
    let (taken, said) = world.order("reload\n");
    assert!(taken && said.contains("tcp.keepalive: absent -> 10 s"), "{said}");
    let second = world.opens();
    world.lasts(100 * SECOND);
    assert_eq!((world.questions(), world.open()), (10, 2), "one client, every ten seconds");
    world.falls_off(first);
    world.falls_off(second);
    // At most ten seconds to the next question, and two more after two seconds each.
    world.lasts(17 * SECOND);
    assert_eq!(world.open(), 1, "the first one keeps what it began with");
    assert_eq!(world.questions(), 13);
    // And back again.
    let (taken, said) = world.order("set tcp.keepalive = 0 s\n");
    assert!(taken && said == "tcp.keepalive: 10 s -> 0 s", "{said}");
    world.opens();
    world.lasts(1_000 * SECOND);
    assert_eq!((world.questions(), world.open()), (13, 2));
}

#[test]
fn terms_that_change_too_often_are_refused_and_the_last_ones_stay() {
    let mut world = World::new();
    for seconds in 1..=TERMS {
        let (taken, said) = world.order(&format!("set tcp.keepalive = {} s\n", 10 * seconds));
        assert!(taken, "{seconds}: {said}");
    }
    let (taken, said) = world.order("set tcp.keepalive = 5 s\n");
    assert!(!taken && said.contains("changed too often: start anew"), "{said}");
    // Those that are remembered may come again, and the refused ones are not in force.
    world.opens();
    world.lasts(1_000 * SECOND);
    assert_eq!(world.questions(), 1_001 / (10 * TERMS));
    let (taken, said) = world.order("set tcp.keepalive = 20 s\n");
    assert!(taken && said == "tcp.keepalive: 150 s -> 20 s", "{said}");
    let before = world.questions();
    world.opens();
    world.lasts(99 * SECOND);
    assert!((4..=6).contains(&(world.questions() - before)), "every twenty seconds now");
}
