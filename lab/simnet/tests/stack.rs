//! The stack that ships, in virtual time, over links with every fault: every byte once and in order, every
//! connection ended in order, every pin released, the same seed the same world.

use nom_load::random::Random;
use nom_simnet::port::Device;
use nom_simnet::stream::{Plan, Stream};
use nom_simnet::switch::Switch;
use nom_simnet::{Cost, End, Host, Link, NodeId, Simulation};
use nom_stack::Config;
use nom_stack::config::Agreement;
use nom_stack::knobs::{Batching, Early, Knobs};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

const PORT: u16 = 7;
const SECOND_NS: u64 = 1_000_000_000;

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

fn config(number: u8) -> Config {
    Config::new([2, 0, 0, 0, 0, number], address(number), 24)
}

fn end(node: NodeId) -> End {
    End { node, port: 0 }
}

/// What a seed decides.
#[derive(Debug, Clone, Copy)]
struct Case {
    link: Link,
    left: Plan,
    right: Plan,
    devices: [Device; 2],
    knobs: [Knobs; 2],
    connections: usize,
    /// What each side agrees on: time stamps, marks of congestion.
    agreements: [[Agreement; 2]; 2],
}

impl Case {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut part = |most: f64| if random.chance(0.5) { random.unit() * most } else { 0.0 };
        let (loss, duplication, reordering, corruption) = (part(0.08), part(0.1), part(0.3), part(0.03));
        let link = Link {
            rate_bits_per_s: [0, 10_000_000, 1_000_000_000][random.below(3) as usize],
            delay_ns: random.below(2_000_000),
            queue_bytes: 20_000 + random.below(200_000),
            loss,
            duplication,
            reordering,
            reordering_ns: 1 + random.below(1_000_000),
            corruption,
        };
        let lens = [random.below(200_000), random.below(200_000)];
        let mut plan = |send: usize, expect: usize| Plan {
            send: lens[send],
            expect: lens[expect],
            seed: seed ^ send as u64,
            expect_seed: seed ^ expect as u64,
            record: [1, 900, 3_000][random.below(3) as usize],
            pins: random.chance(0.5),
        };
        let (left, right) = (plan(0, 1), plan(1, 0));
        let mut device = || Device { checksum_offload: random.chance(0.3), ..Device::default() };
        let devices = [device(), device()];
        let connections = 1 + random.below(4) as usize;
        let mut knobs = || Knobs {
            batching: match random.below(3) {
                0 => Batching::RunToCompletion,
                1 => Batching::TakeQueued,
                _ => Batching::Hold { delay_ns: 1 + random.below(2_000_000) },
            },
            batch_bound: 1 + random.below(64) as u32,
            early: if random.chance(0.5) { Early::NoConnection } else { Early::EveryConnectionHeard },
            ack_delay_ns: random.below(2) * 40_000_000,
            ..Knobs::default()
        };
        let knobs = [knobs(), knobs()];
        let kinds = [Agreement::Never, Agreement::WhenAsked, Agreement::Always];
        let mut agreement = || kinds[random.below(3) as usize];
        let agreements = [[agreement(), agreement()], [agreement(), agreement()]];
        Self { link, left, right, devices, knobs, connections, agreements }
    }
}

struct World {
    simulation: Simulation,
    ids: [NodeId; 2],
    hosts: [Rc<RefCell<Host<Stream>>>; 2],
}

impl World {
    fn new(seed: u64, case: &Case) -> Self {
        let mut simulation = Simulation::new(seed);
        let mut add = |number: u8, device, plan| {
            let [time_stamps, congestion_marks] = case.agreements[usize::from(number) - 1];
            simulation.add(Host::new(
                Config { time_stamps, congestion_marks, ..config(number) },
                device,
                Cost::default(),
                Stream::new(plan),
                seed + u64::from(number),
            ))
        };
        let (left, client) = add(1, case.devices[0], case.left);
        let (right, server) = add(2, case.devices[1], case.right);
        simulation.connect(end(left), end(right), case.link);
        server.borrow_mut().engine_mut().listen(PORT);
        client.borrow_mut().engine_mut().set_knobs(case.knobs[0], 0);
        server.borrow_mut().engine_mut().set_knobs(case.knobs[1], 0);
        for _ in 0..case.connections {
            client.borrow_mut().engine_mut().connect(address(2), PORT, 0).unwrap();
        }
        simulation.touch(left);
        Self { simulation, ids: [left, right], hosts: [client, server] }
    }

    fn complete(&self, connections: usize) -> bool {
        self.hosts.iter().all(|host| host.borrow().engine().application().complete(connections))
    }

    fn story(&self) -> String {
        let host = |host: &Rc<RefCell<Host<Stream>>>| {
            let host = host.borrow();
            format!("{:?}\n{:?}\n", host.engine().application().courses(), host.engine().counters())
        };
        let links = self.ids.map(|id| self.simulation.link_counters(end(id)));
        format!(
            "{}{}{links:?} at {} ns",
            host(&self.hosts[0]),
            host(&self.hosts[1]),
            self.simulation.now_ns()
        )
    }
}

fn transfer(seed: u64) -> u64 {
    let case = Case::draw(seed);
    let mut world = World::new(seed, &case);
    let hosts = world.hosts.clone();
    let complete =
        move || hosts.iter().all(|host| host.borrow().engine().application().complete(case.connections));
    world.simulation.run_while(600 * SECOND_NS, || !complete());
    assert!(world.complete(case.connections), "seed {seed}: {case:?}\n{}", world.story());
    // What lingers after the end: timers, the last acknowledgements, pins that the device has still to read.
    world.simulation.run_until(world.simulation.now_ns() + 200 * SECOND_NS);
    for host in &world.hosts {
        let host = host.borrow();
        assert_eq!(host.engine().application().pins_held(), 0, "seed {seed}: {case:?}");
        assert_eq!(host.engine().open_connections(), 0, "seed {seed}");
    }
    world.simulation.trace_hash()
}

/// How many seeds are tried; more of them by `NOM_SEEDS=5000 cargo test --release -p nom-simnet --test stack`.
fn seeds() -> u64 {
    std::env::var("NOM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn every_byte_arrives_once_and_in_order_whatever_the_link_does() {
    for seed in 0..seeds() {
        transfer(seed);
    }
}

#[test]
fn a_seed_is_a_world() {
    for seed in [3, 14, 15] {
        assert_eq!(transfer(seed), transfer(seed));
    }
    assert_ne!(transfer(3), transfer(14));
}

#[test]
fn a_clean_fast_link_needs_no_retransmission() {
    let plan = |seed, expect_seed| Plan {
        send: 1_000_000,
        expect: 1_000_000,
        seed,
        expect_seed,
        record: 1,
        pins: true,
    };
    let case = Case {
        link: Link::gigabit(),
        left: plan(1, 2),
        right: plan(2, 1),
        devices: [Device::default(); 2],
        knobs: [Knobs::default(); 2],
        connections: 1,
        agreements: [[Agreement::Never; 2]; 2],
    };
    let mut world = World::new(1, &case);
    world.simulation.run_until(60 * SECOND_NS);
    assert!(world.complete(1), "{}", world.story());
    for host in &world.hosts {
        assert_eq!(host.borrow().engine().counters().retransmitted_segments, 0, "{}", world.story());
    }
}

#[test]
fn an_idle_world_comes_to_rest() {
    let case = Case { connections: 1, ..Case::draw(1) };
    let mut world = World::new(1, &Case { link: Link::gigabit(), ..case });
    let rested_ns = world.simulation.run_until(3_600 * SECOND_NS);
    assert!(rested_ns < 1_000 * SECOND_NS, "something is due for ever: {}", world.story());
}

#[test]
fn many_hosts_share_a_switch() {
    const CLIENTS: u8 = 20;
    let plan = |send, expect| Plan { send, expect, seed: 1, expect_seed: 1, record: 1, pins: false };
    let mut simulation = Simulation::new(9);
    let (switch, _) = simulation.add(Switch::new(usize::from(CLIENTS) + 1));
    let device = Device::default();
    let server = Host::new(config(1), device, Cost::default(), Stream::new(plan(30_000, 2_000)), 1);
    let (id, server) = simulation.add(server);
    server.borrow_mut().engine_mut().listen(PORT);
    simulation.connect(end(id), End { node: switch, port: 0 }, Link::gigabit());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let application = Stream::new(plan(2_000, 30_000));
        let mut client =
            Host::new(config(number + 2), device, Cost::default(), application, u64::from(number) + 2);
        client.engine_mut().connect(address(1), PORT, 0).unwrap();
        let (id, client) = simulation.add(client);
        simulation.connect(end(id), End { node: switch, port: usize::from(number) + 1 }, Link::gigabit());
        clients.push(client);
    }
    simulation.run_until(120 * SECOND_NS);
    assert!(server.borrow().engine().application().complete(usize::from(CLIENTS)));
    for client in clients {
        assert!(client.borrow().engine().application().complete(1));
    }
}

#[test]
fn work_that_costs_time_is_accounted() {
    let plan =
        |seed, expect_seed| Plan { send: 50_000, expect: 50_000, seed, expect_seed, record: 1, pins: false };
    let run = |cost: Cost| {
        let mut simulation = Simulation::new(1);
        let device = Device::default();
        let (left, client) =
            simulation.add(Host::new(config(1), device, Cost::default(), Stream::new(plan(1, 2)), 1));
        let (right, server) = simulation.add(Host::new(config(2), device, cost, Stream::new(plan(2, 1)), 2));
        simulation.connect(end(left), end(right), Link::gigabit());
        server.borrow_mut().engine_mut().listen(PORT);
        client.borrow_mut().engine_mut().connect(address(2), PORT, 0).unwrap();
        simulation.touch(left);
        let hosts = (Rc::clone(&client), Rc::clone(&server));
        simulation.run_while(60 * SECOND_NS, || {
            !(hosts.0.borrow().engine().application().complete(1)
                && hosts.1.borrow().engine().application().complete(1))
        });
        let usage = server.borrow().usage();
        (simulation.now_ns(), usage)
    };
    let (free_ns, free) = run(Cost::default());
    let cost = Cost { wake_ns: 1_000, batch_ns: 500, frame_ns: 2_000, kilobyte_ns: 300, kick_ns: 4_000 };
    let (dear_ns, dear) = run(cost);
    assert_eq!(free.busy_ns, 0);
    assert!(dear.wakes > 0 && dear.batches >= dear.wakes);
    assert!(dear.busy_ns > 0 && dear_ns > free_ns, "{dear:?} {dear_ns} {free_ns}");
}
