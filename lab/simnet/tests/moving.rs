//! A connection that is taken out of one stack and put into another in mid-transfer, again and again, over a link with
//! faults of every kind: every byte arrives once and in order, and nothing is left behind.

use nom_load::random::Random;
use nom_simnet::port::Device;
use nom_simnet::stream::{Plan, Stream};
use nom_simnet::{Cost, End, Host, Link, Node, NodeId, Rest, Simulation};
use nom_stack::config::{Agreement, CongestionControl};
use nom_stack::knobs::{Batching, Knobs};
use nom_stack::{Config, ImportError};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

const PORT: u16 = 7;
const SECOND_NS: u64 = 1_000_000_000;

/// Port 0 talks to one of the other ports: to the host that has the connection now.
struct Points {
    to: usize,
    out: VecDeque<(usize, Vec<u8>)>,
}

impl Node for Points {
    fn deliver(&mut self, _now_ns: u64, port: usize, frame: &[u8], _damaged: bool) {
        self.out.push_back((if port == 0 { self.to } else { 0 }, frame.to_vec()));
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        Rest { worked: false, deadline_ns: None, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.out.pop_front()
    }
}

type Shared = Rc<RefCell<Host<Stream>>>;

struct World {
    simulation: Simulation,
    client: Shared,
    points: Rc<RefCell<Points>>,
    servers: [Shared; 2],
    ids: [NodeId; 2],
    has: usize,
}

fn end(node: NodeId, port: usize) -> End {
    End { node, port }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (there, back) = (random.below(300_000), random.below(300_000));
        let plan = |send, expect, seed, expect_seed, record| Plan {
            send,
            expect,
            seed,
            expect_seed,
            record,
            pins: true,
        };
        let control =
            if seed.is_multiple_of(2) { CongestionControl::Cubic } else { CongestionControl::NewReno };
        let config = |number: u8| Config {
            congestion_control: control,
            time_stamps: if seed.is_multiple_of(3) { Agreement::Always } else { Agreement::Never },
            congestion_marks: if seed.is_multiple_of(5) { Agreement::Always } else { Agreement::Never },
            ..Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 9, 0, number), 24)
        };
        let mut simulation = Simulation::new(seed);
        let device = Device { ring: 1024, ..Device::default() };
        let host = |number: u8, plan, secret| {
            Host::new(config(number), device, Cost::default(), Stream::new(plan), secret)
        };
        let (left, client) = simulation.add(host(1, plan(there, back, 5, 6, 1), seed));
        let (bend, points) = simulation.add(Points { to: 1, out: VecDeque::new() });
        let record = [1, 900, 3_000][random.below(3) as usize];
        let servers =
            [10, 20].map(|more| simulation.add(host(2, plan(back, there, 6, 5, record), seed + more)));
        let mut part = |most: f64| if random.chance(0.5) { random.unit() * most } else { 0.0 };
        let faults = Link {
            loss: part(0.06),
            duplication: part(0.05),
            reordering: part(0.2),
            reordering_ns: 500_000,
            corruption: part(0.02),
            ..Link::default()
        };
        let link = Link { rate_bits_per_s: 20_000_000, delay_ns: 3_000_000, queue_bytes: 100_000, ..faults };
        simulation.connect(end(left, 0), end(bend, 0), link);
        for (place, (id, _)) in servers.iter().enumerate() {
            simulation.connect(end(*id, 0), end(bend, place + 1), Link::default());
        }
        for (_, server) in &servers {
            server.borrow_mut().engine_mut().listen(PORT);
            let batching = [Batching::RunToCompletion, Batching::Hold { delay_ns: 700_000 }];
            let knobs = Knobs { batching: batching[random.below(2) as usize], ..Knobs::default() };
            server.borrow_mut().engine_mut().set_knobs(knobs, 0);
        }
        client.borrow_mut().engine_mut().connect(Ipv4Addr::new(10, 9, 0, 2), PORT, 0).unwrap();
        simulation.touch(left);
        let ids = [servers[0].0, servers[1].0];
        let servers = servers.map(|(_, server)| server);
        Self { simulation, client, points, servers, ids, has: 0 }
    }

    /// Moves the connection to the other server. False when it is not open.
    fn turn(&mut self) -> bool {
        let now_ns = self.simulation.now_ns();
        let (old, new) = (self.has, 1 - self.has);
        let (mut from, mut to) = (self.servers[old].borrow_mut(), self.servers[new].borrow_mut());
        let Some((id, _)) =
            from.engine().application().courses().into_iter().find(|(_, course)| course.ended.is_none())
        else {
            return false;
        };
        self.points.borrow_mut().to = new + 1;
        let Some(value) = from.engine_mut().export(id, now_ns) else {
            self.points.borrow_mut().to = old + 1;
            return false;
        };
        let course = from.engine_mut().application_mut().hand_over(id).expect("it was there");
        assert!(
            from.engine().is_unused() || from.engine().application().pins_held() == 0,
            "nothing is left behind"
        );
        let id = to.engine_mut().import(&value, now_ns).expect("a good value");
        assert_eq!(to.engine_mut().import(&value, now_ns), Err(ImportError::Exists));
        to.engine_mut().with_connection(id, now_ns, |stream, io| stream.take_over(io, course));
        self.has = new;
        drop((from, to));
        for id in self.ids {
            self.simulation.touch(id);
        }
        true
    }
}

fn play(seed: u64) -> (u32, u64) {
    let mut world = World::new(seed);
    let mut random = Random::new(seed ^ 0x5555);
    let mut turns = 0;
    while world.simulation.now_ns() < 600 * SECOND_NS {
        let rest_ns = 1 + random.below(60_000_000);
        let until_ns = world.simulation.now_ns() + rest_ns;
        world.simulation.run_until(until_ns);
        if world.client.borrow().engine().application().complete(1) {
            break;
        }
        turns += u32::from(turns < 200 && world.turn());
    }
    world.simulation.run_until(world.simulation.now_ns() + 200 * SECOND_NS);
    let story = || {
        let hosts = [&world.client, &world.servers[0], &world.servers[1]];
        hosts.map(|host| {
            let host = host.borrow();
            format!("{:?}\n{:?}\n", host.engine().application().courses(), host.engine().counters())
        })
    };
    assert!(world.client.borrow().engine().application().complete(1), "seed {seed} {:?}", story());
    let ended =
        world.servers.iter().filter(|server| server.borrow().engine().application().complete(1)).count();
    assert_eq!(ended, 1, "seed {seed} {:?}", story());
    for host in [&world.client, &world.servers[0], &world.servers[1]] {
        assert_eq!(host.borrow().engine().application().pins_held(), 0, "seed {seed}");
        assert_eq!(host.borrow().engine().open_connections(), 0, "seed {seed}");
    }
    (turns, world.simulation.trace_hash())
}

#[test]
fn a_moved_connection_loses_and_doubles_nothing() {
    let turns: u32 = (0..180).map(|seed| play(seed).0).sum();
    assert!(turns > 1_000, "only {turns} moves");
}

#[test]
fn a_seed_is_a_world_with_moves_too() {
    assert_eq!(play(7), play(7));
}

#[test]
fn a_changed_value_is_refused_or_whole() {
    let mut random = Random::new(1);
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.simulation.run_until(40_000_000);
        let now_ns = world.simulation.now_ns();
        let value = {
            let mut server = world.servers[0].borrow_mut();
            let Some((id, _)) = server.engine().application().courses().pop() else { continue };
            let Some(value) = server.engine_mut().export(id, now_ns) else { continue };
            value
        };
        let mut to = world.servers[1].borrow_mut();
        for len in 0..value.len().min(300) {
            assert!(to.engine_mut().import(&value[..len], now_ns).is_err(), "cut at {len}");
        }
        for _ in 0..300 {
            let mut changed = value.clone();
            let head = changed.len().min(400) as u64;
            changed[random.below(head) as usize] ^= 1 << random.below(8);
            match to.engine_mut().import(&changed, now_ns) {
                Err(_) => refused += 1,
                Ok(id) => {
                    taken += 1;
                    assert!(to.engine_mut().export(id, now_ns).is_some(), "what is taken can be given");
                }
            }
            assert!(to.engine().open_connections() == 0);
        }
    }
    assert!(refused > 500 && taken > 100, "{refused} {taken}");
}

#[test]
fn a_full_stack_takes_no_connection_of_another() {
    let mut world = World::new(1);
    world.simulation.run_until(40_000_000);
    let now_ns = world.simulation.now_ns();
    let value = {
        let mut server = world.servers[0].borrow_mut();
        let (id, _) = server.engine().application().courses().pop().expect("it is open");
        server.engine_mut().export(id, now_ns).expect("it can be moved")
    };
    let mut to = world.servers[1].borrow_mut();
    let knobs = *to.engine().knobs();
    to.engine_mut().set_knobs(Knobs { connections_max: 0, ..knobs }, now_ns);
    assert_eq!(to.engine_mut().import(&value, now_ns), Err(ImportError::NoRecord));
    to.engine_mut().set_knobs(knobs, now_ns);
    assert!(to.engine_mut().import(&value, now_ns).is_ok());
}
