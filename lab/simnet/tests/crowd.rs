//! Too many: a flood of openings that nobody means, and more connections than a server takes. Who is in stays
//! undisturbed; who is too many is told so at once.

use nom_load::random::Random;
use nom_simnet::port::{Device, internet_checksum};
use nom_simnet::stream::{Plan, Stream};
use nom_simnet::switch::Switch;
use nom_simnet::{Cost, End, Host, Link, Node, NodeId, Rest, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use nom_stack::knobs::Knobs;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

const PORT: u16 = 7;
const SECOND_NS: u64 = 1_000_000_000;
/// Two hundred openings come in this time.
const FAST_NS: u64 = 1_000_000;
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

fn config(number: u8) -> Config {
    Config::new([2, 0, 0, 0, 0, number], address(number), 24)
}

fn end(node: NodeId, port: usize) -> End {
    End { node, port }
}

fn device() -> Device {
    Device { ring: 4096, ..Device::default() }
}

/// Sends openings from made-up addresses, so many at a time, and never answers.
struct Flood {
    left: u64,
    at_once: u64,
    every_ns: u64,
    due_ns: u64,
    random: Random,
    out: VecDeque<Vec<u8>>,
}

impl Flood {
    fn opening(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 58];
        frame[..6].copy_from_slice(&SERVER);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 99]);
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14..18].copy_from_slice(&[0x45, 0, 0, 44]);
        frame[22..24].copy_from_slice(&[64, 6]);
        let source = 0x0b00_0000 + self.random.below(1 << 24) as u32;
        frame[26..30].copy_from_slice(&source.to_be_bytes());
        frame[30..34].copy_from_slice(&address(1).octets());
        let sum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[34..36].copy_from_slice(&(1 + self.random.below(65_535) as u16).to_be_bytes());
        frame[36..38].copy_from_slice(&PORT.to_be_bytes());
        frame[38..42].copy_from_slice(&(self.random.next() as u32).to_be_bytes());
        frame[46..50].copy_from_slice(&[6 << 4, 2, 0xff, 0xff]);
        frame[54..58].copy_from_slice(&[2, 4, 5, 180]);
        // The pseudo-header, and the segment behind it.
        let mut summed = frame[26..34].to_vec();
        summed.extend_from_slice(&[0, 6, 0, 24]);
        summed.extend_from_slice(&frame[34..]);
        let sum = internet_checksum(&summed);
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

impl Node for Flood {
    fn deliver(&mut self, _now_ns: u64, _port: usize, _frame: &[u8], _damaged: bool) {}

    fn step(&mut self, now_ns: u64) -> Rest {
        if self.left > 0 && now_ns >= self.due_ns {
            for _ in 0..self.at_once.min(self.left) {
                let frame = self.opening();
                self.out.push_back(frame);
            }
            self.left -= self.at_once.min(self.left);
            self.due_ns += self.every_ns;
        }
        Rest { worked: false, deadline_ns: (self.left > 0).then_some(self.due_ns), free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        Some((0, self.out.pop_front()?))
    }
}

/// What four transfers through a flood came to.
struct Flooded {
    finished_ns: u64,
    repeated: u64,
    cookies_sent: u64,
    cookies_accepted: u64,
    overflows: u64,
}

/// Four connections carry a megabyte each way; a fifth is opened in the midst of `openings` that nobody means.
fn through_a_flood(openings: u64) -> Flooded {
    const CONNECTIONS: usize = 5;
    let plan = |seed, expect_seed| Plan {
        send: 1_000_000,
        expect: 1_000_000,
        seed,
        expect_seed,
        record: 1,
        pins: false,
    };
    let mut simulation = Simulation::new(5);
    let (switch, _) = simulation.add(Switch::new(3));
    let (one, server) =
        simulation.add(Host::new(config(1), device(), Cost::default(), Stream::new(plan(1, 2)), 1));
    let (two, client) =
        simulation.add(Host::new(config(2), device(), Cost::default(), Stream::new(plan(2, 1)), 2));
    // The server's wire carries some 2 Gbit/s of openings beside the transfers.
    let wire = Link { rate_bits_per_s: 10_000_000_000, delay_ns: 2_000_000, ..Link::default() };
    simulation.connect(end(one, 0), end(switch, 0), wire);
    simulation.connect(end(two, 0), end(switch, 1), Link { delay_ns: 3_000_000, ..Link::gigabit() });
    server.borrow_mut().engine_mut().listen(PORT);
    for _ in 1..CONNECTIONS {
        client.borrow_mut().engine_mut().connect(address(1), PORT, 0).expect("a route");
    }
    simulation.touch(two);
    simulation.run_until(SECOND_NS / 50);
    let flood = Flood {
        left: openings,
        at_once: 32,
        every_ns: 10_000,
        due_ns: simulation.now_ns(),
        random: Random::new(3),
        out: VecDeque::new(),
    };
    let (three, _) = simulation.add(flood);
    simulation.connect(end(three, 0), end(switch, 2), Link::default());
    simulation.run_until(SECOND_NS / 40);
    let now_ns = simulation.now_ns();
    client.borrow_mut().engine_mut().connect(address(1), PORT, now_ns).expect("a route");
    simulation.touch(two);
    let done = |host: &Rc<RefCell<Host<Stream>>>| host.borrow().engine().application().complete(CONNECTIONS);
    assert!(simulation.run_while(600 * SECOND_NS, || !(done(&server) && done(&client))), "all are served");
    let finished_ns = simulation.now_ns();
    simulation.run_until(1_000 * SECOND_NS);
    assert!(server.borrow().engine().is_unused(), "nothing is left of a flood");
    let (server, client) = (server.borrow(), client.borrow());
    let counters = server.engine().counters();
    Flooded {
        finished_ns,
        repeated: counters.retransmitted_segments + client.engine().counters().retransmitted_segments,
        cookies_sent: counters.cookies_sent,
        cookies_accepted: counters.cookies_accepted,
        overflows: server.usage().overflows,
    }
}

/// How many openings; a million by `NOM_FLOOD=1000000 cargo test --release -p nom-simnet --test crowd`.
fn openings() -> u64 {
    std::env::var("NOM_FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

#[test]
fn a_flood_of_openings_disturbs_nobody_who_is_in() {
    let quiet = through_a_flood(0);
    let flooded = through_a_flood(openings());
    assert_eq!((quiet.repeated, flooded.repeated, flooded.overflows), (0, 0, 0));
    assert!(flooded.cookies_sent > openings() * 9 / 10, "{}", flooded.cookies_sent);
    assert_eq!(flooded.cookies_accepted, 1, "a client who means it comes in");
    let later_ns = flooded.finished_ns - quiet.finished_ns;
    assert!(later_ns < quiet.finished_ns / 20, "{} and {} ns", quiet.finished_ns, flooded.finished_ns);
}

/// Asks once on each connection, and counts. A server answers what it is asked.
#[derive(Default)]
struct Crowd {
    open: Vec<ConnectionId>,
    heard: u64,
    refused: u64,
    lost: u64,
}

impl Application for Crowd {
    fn opened(&mut self, io: &mut impl Io, _port: u16, outgoing: bool) {
        self.open.push(io.connection());
        if outgoing {
            io.write(b"ask!").expect("there is room");
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        self.heard += bytes.len() as u64 / 4;
        if bytes == b"ask!" {
            io.write(b"told").expect("there is room");
        }
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        self.open.retain(|open| *open != connection);
        match reason {
            Ended::Refused => self.refused += 1,
            Ended::Closed => {}
            _ => self.lost += 1,
        }
    }
}

struct Room {
    simulation: Simulation,
    server: Rc<RefCell<Host<Crowd>>>,
    clients: [(NodeId, Rc<RefCell<Host<Crowd>>>); 2],
}

impl Room {
    /// A server that takes so many connections, and two clients.
    fn new(most: u32) -> Self {
        let mut simulation = Simulation::new(8);
        let (switch, _) = simulation.add(Switch::new(3));
        let mut host = |number: u8, most: u32| {
            // What is written waits in a block of its own until it is acknowledged.
            let config =
                Config { connections: most + most / 5, send_memory_bytes: 128 << 20, ..config(number) };
            let host = Host::new(config, device(), Cost::default(), Crowd::default(), u64::from(number));
            let (id, host) = simulation.add(host);
            simulation.connect(end(id, 0), end(switch, usize::from(number) - 1), Link::gigabit());
            (id, host)
        };
        let (_, server) = host(1, most);
        let clients = [host(2, 12_000), host(3, 12_000)];
        server.borrow_mut().engine_mut().listen(PORT);
        server.borrow_mut().engine_mut().set_knobs(Knobs { connections_max: most, ..Knobs::default() }, 0);
        Self { simulation, server, clients }
    }

    /// So many more connections are opened, a hundred by each client at a time.
    fn come(&mut self, count: u32, every_ns: u64) {
        for _ in 0..count / 200 {
            let now_ns = self.simulation.now_ns();
            for (id, client) in &self.clients {
                for _ in 0..100 {
                    client.borrow_mut().engine_mut().connect(address(1), PORT, now_ns).expect("a port");
                }
                self.simulation.touch(*id);
            }
            self.simulation.run_until(now_ns + every_ns);
        }
        self.simulation.run_until(self.simulation.now_ns() + SECOND_NS);
    }

    /// Everybody who is in asks again. How long until all were told.
    fn ask(&mut self) -> u64 {
        let begin_ns = self.simulation.now_ns();
        let wanted = self.heard() + u64::from(self.server.borrow().engine().open_connections());
        for (id, client) in &self.clients {
            let mut client = client.borrow_mut();
            for connection in client.engine().application().open.clone() {
                client.engine_mut().with_connection(connection, begin_ns, |_, io| {
                    io.write(b"ask!").expect("there is room");
                });
            }
            self.simulation.touch(*id);
        }
        let clients = self.clients.clone();
        let heard =
            || clients.iter().map(|(_, client)| client.borrow().engine().application().heard).sum::<u64>();
        assert!(self.simulation.run_while(begin_ns + 60 * SECOND_NS, || heard() < wanted), "all are told");
        self.simulation.now_ns() - begin_ns
    }

    fn sum(&self, what: impl Fn(&Crowd) -> u64) -> u64 {
        self.clients.iter().map(|(_, client)| what(client.borrow().engine().application())).sum()
    }

    fn heard(&self) -> u64 {
        self.sum(|crowd| crowd.heard)
    }
}

#[test]
fn beyond_the_limit_new_ones_are_refused_at_once_and_the_others_served() {
    let mut room = Room::new(10_000);
    room.come(10_000, FAST_NS);
    assert_eq!(room.heard(), 10_000);
    let alone_ns = room.ask();
    for (more, refused) in [(4_000, 4_000), (6_000, 10_000)] {
        // No more than a thousand resets leave in a second; whoever gets none tries again.
        room.come(more, SECOND_NS / 4);
        assert_eq!(room.server.borrow().engine().open_connections(), 10_000);
        assert_eq!((room.sum(|crowd| crowd.refused), room.sum(|crowd| crowd.lost)), (refused, 0));
        let crowded_ns = room.ask();
        assert!(crowded_ns <= alone_ns + alone_ns / 10, "{alone_ns} and {crowded_ns} ns");
    }
    // Whoever leaves makes room for one.
    let now_ns = room.simulation.now_ns();
    {
        let (id, client) = &room.clients[0];
        let leaving: Vec<_> = client.borrow().engine().application().open[..200].to_vec();
        for connection in leaving {
            client.borrow_mut().engine_mut().with_connection(connection, now_ns, |_, io| io.close());
        }
        room.simulation.touch(*id);
    }
    room.simulation.run_until(now_ns + SECOND_NS);
    assert_eq!(room.server.borrow().engine().open_connections(), 9_800);
    room.come(200, FAST_NS);
    assert_eq!(room.server.borrow().engine().open_connections(), 10_000);
    assert_eq!(room.sum(|crowd| crowd.refused), 10_000);
}

#[test]
fn a_server_that_was_given_room_for_twenty_thousand_serves_them() {
    let mut room = Room::new(20_000);
    room.come(14_000, FAST_NS);
    let fewer_ns = room.ask();
    room.come(6_000, FAST_NS);
    assert_eq!(room.server.borrow().engine().open_connections(), 20_000);
    assert_eq!((room.sum(|crowd| crowd.refused), room.sum(|crowd| crowd.lost)), (0, 0));
    let more_ns = room.ask();
    assert!(more_ns * 14 <= fewer_ns * 20 * 12 / 10, "in proportion: {fewer_ns} and {more_ns} ns");
    assert!(room.server.borrow().engine().idle_connection_bytes() <= 1024);
}
