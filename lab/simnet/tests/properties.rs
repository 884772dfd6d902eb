//! What must hold whatever happens, in virtual time and from seeds. A client and a service that two stacks have in turn:
//! several connections at once, bytes both ways, ends that come at different times, every fault of a link and whole
//! silences, readers that stop for a while, knobs that change at random, connections that are moved in mid-transfer. At random moments all of it is
//! looked at:
//! - bytes arrive exactly once and in order, and each connection ends in order (`stream` asserts it);
//! - no frame is held longer than the batching delay that was in force;
//! - who waits for an answer has a time at which it acts without one: no timer is lost, and who waits for nothing has none;
//! - windows never shrink, and nobody sends beyond one;
//! - every bound holds;
//! - once the link is good again, everything is over soon.
//!
//! More seeds: `NOM_SEEDS=5000 cargo test --release -p nom-simnet --test properties`.

use nom_load::random::Random;
use nom_simnet::port::Device;
use nom_simnet::stream::{Plan, Stream};
use nom_simnet::{Cost, End, Host, Link, Node, NodeId, Rest, Simulation, Witness};
use nom_stack::application::{ConnectionId, Ended};
use nom_stack::config::{Agreement, CongestionControl};
use nom_stack::knobs::{Batching, Early, Knobs};
use nom_stack::{Config, ImportError};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

const PORT: u16 = 7;
const SECOND_NS: u64 = 1_000_000_000;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Nothing waits longer than this for something that can be repeated.
const PATIENCE_NS: u64 = 60 * SECOND_NS;

/// Bytes of a pin of `stream`, and what a connection may have queued beyond its bound: a block, and with pins one of them.
const CHUNK: usize = 700;
const BLOCK: u32 = 2_048;

type Shared = Rc<RefCell<Host<Stream>>>;

fn end(node: NodeId, port: usize) -> End {
    End { node, port }
}

fn seeds(few: u64) -> u64 {
    std::env::var("NOM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Port 0 talks to the port of the server that has the connection, by the client's port; to the first one otherwise.
#[derive(Default)]
struct Steering {
    places: HashMap<u16, usize>,
    out: VecDeque<(usize, Vec<u8>)>,
}

impl Node for Steering {
    fn deliver(&mut self, _now_ns: u64, port: usize, frame: &[u8], _damaged: bool) {
        if port > 0 {
            self.out.push_back((0, frame.to_vec()));
            return;
        }
        let arp = frame.get(12..14) == Some(&[8, 6]);
        let source = frame.get(34..36).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
        let place = self.places.get(&source).copied().unwrap_or(0);
        // Both learn where the client is, and the first one answers for both.
        for server in 0..2 {
            if arp && server == 0 || !arp && server == place {
                self.out.push_back((server + 1, frame.to_vec()));
            }
        }
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        Rest { worked: false, deadline_ns: None, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.out.pop_front()
    }
}

fn knobs(random: &mut Random) -> Knobs {
    Knobs {
        batching: match random.below(4) {
            0 => Batching::RunToCompletion,
            1 => Batching::TakeQueued,
            _ => Batching::Hold { delay_ns: 1 + random.below(3_000_000) },
        },
        batch_bound: 1 + random.below(64) as u32,
        early: if random.chance(0.5) { Early::NoConnection } else { Early::EveryConnectionHeard },
        ack_delay_ns: random.below(2) * 40_000_000,
        ..Knobs::default()
    }
}

struct World {
    simulation: Simulation,
    random: Random,
    client: Shared,
    servers: [Shared; 2],
    ids: [NodeId; 3],
    steering: Rc<RefCell<Steering>>,
    witnesses: [Rc<RefCell<Witness>>; 2],
    /// The two directions of the link that has the faults.
    bad: [End; 2],
    link: Link,
    connections: usize,
    /// Some of what is sent is pinned.
    pins: bool,
    moves: u32,
    returned: u32,
    checks: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let connections = 1 + random.below(5) as usize;
        let (there, back) = (random.below(150_000), random.below(150_000));
        let pins = random.chance(0.5);
        let plan =
            |send, expect, seed, expect_seed, record| Plan { send, expect, seed, expect_seed, record, pins };
        let agreement = |random: &mut Random| {
            [Agreement::Never, Agreement::WhenAsked, Agreement::Always][random.below(3) as usize]
        };
        let receive_window_bytes = [4_000, 65_535, 100_000, 400_000][random.below(4) as usize];
        let (stamps, marks) = (agreement(&mut random), agreement(&mut random));
        let control = [CongestionControl::Cubic, CongestionControl::NewReno][random.below(2) as usize];
        let config = |number: u8, address| Config {
            receive_window_bytes,
            time_stamps: stamps,
            congestion_marks: marks,
            congestion_control: control,
            connections: 16,
            half_open: 8,
            time_wait: 8,
            send_memory_bytes: 256 << 10,
            receive_memory_bytes: if receive_window_bytes > 100_000 { 512 << 10 } else { 128 << 10 },
            send_queue_bytes: 32 << 10,
            ..Config::new([2, 0, 0, 0, 0, number], address, 24)
        };
        let mut simulation = Simulation::new(seed);
        // Lengths of segments that are no whole number of units in which windows are told.
        let mtu = 1_500 - random.below(2) as usize * random.below(900) as usize;
        let device = Device { ring: 128, mtu, ..Device::default() };
        let record = [1, 700, 2_000][random.below(3) as usize];
        let mut host = |number: u8, address, plan, secret| {
            simulation.add(Host::new(
                config(number, address),
                device,
                Cost::default(),
                Stream::new(plan),
                secret,
            ))
        };
        let (left, client) = host(1, CLIENT, plan(there, back, 5, 6, record), seed);
        let servers = [1, 2].map(|more| host(2, SERVICE, plan(back, there, 6, 5, record), seed + more));
        let (bend, steering) = simulation.add(Steering::default());
        let witnesses = [0; 2].map(|_| simulation.add(Witness::new()));
        let mut part = |most: f64| if random.chance(0.5) { random.unit() * most } else { 0.0 };
        let faults = Link {
            loss: part(0.1),
            duplication: part(0.1),
            reordering: part(0.3),
            corruption: part(0.03),
            ..Link::default()
        };
        let link = Link {
            rate_bits_per_s: [5_000_000, 50_000_000, 1_000_000_000][random.below(3) as usize],
            delay_ns: random.below(5_000_000),
            queue_bytes: 10_000 + random.below(200_000),
            reordering_ns: 1 + random.below(2_000_000),
            ..faults
        };
        let bad = [end(witnesses[0].0, 1), end(witnesses[1].0, 1)];
        simulation.connect(end(left, 0), end(witnesses[0].0, 0), Link::default());
        simulation.connect(bad[0], bad[1], link);
        simulation.connect(end(witnesses[1].0, 0), end(bend, 0), Link::default());
        for (place, (id, _)) in servers.iter().enumerate() {
            simulation.connect(end(*id, 0), end(bend, place + 1), Link::default());
        }
        let ids = [left, servers[0].0, servers[1].0];
        let servers = servers.map(|(_, server)| server);
        for host in [&client, &servers[0], &servers[1]] {
            host.borrow_mut().set_knobs(knobs(&mut random), 0);
        }
        for server in &servers {
            server.borrow_mut().engine_mut().listen(PORT);
        }
        for _ in 0..connections {
            client.borrow_mut().engine_at(0).connect(SERVICE, PORT, 0).unwrap();
        }
        simulation.touch(left);
        let witnesses = witnesses.map(|(_, witness)| witness);
        let (moves, returned, checks) = (0, 0, 0);
        let random = random.fork(1);
        Self {
            simulation,
            random,
            client,
            servers,
            ids,
            steering,
            witnesses,
            bad,
            link,
            connections,
            pins,
            moves,
            returned,
            checks,
        }
    }

    fn hosts(&self) -> [&Shared; 3] {
        [&self.client, &self.servers[0], &self.servers[1]]
    }

    /// Moves one of the connections that are open to the other server.
    fn turn(&mut self) {
        let now_ns = self.simulation.now_ns();
        let old = self.random.below(2) as usize;
        let (mut from, mut to) = (self.servers[old].borrow_mut(), self.servers[1 - old].borrow_mut());
        let open: Vec<ConnectionId> = from
            .engine()
            .application()
            .courses()
            .into_iter()
            .filter(|(_, course)| course.ended.is_none())
            .map(|(id, _)| id)
            .collect();
        let Some(&id) = open.get(self.random.below(open.len() as u64) as usize) else { return };
        let view = from.engine().view(id.slot).expect("it is open");
        assert_eq!((view.id, view.peer), (id, IpAddr::V4(CLIENT)));
        let Some(value) = from.engine_at(now_ns).export(id, now_ns) else { return };
        let course = from.engine_mut().application_mut().hand_over(id).expect("it was there");
        match to.engine_at(now_ns).import(&value, now_ns) {
            Ok(id) => {
                to.engine_at(now_ns).with_connection(id, now_ns, |stream, io| stream.take_over(io, course));
                self.steering.borrow_mut().places.insert(view.peer_port, 1 - old);
                self.moves += 1;
            }
            // There is no room for what it holds. It goes on where there was.
            Err(ImportError::NoMemory) => {
                let id = from.engine_at(now_ns).import(&value, now_ns).expect("it was here before");
                from.engine_at(now_ns).with_connection(id, now_ns, |stream, io| stream.take_over(io, course));
                self.returned += 1;
            }
            Err(error) => panic!("a good value: {error:?}"),
        }
        drop((from, to));
        for id in self.ids {
            self.simulation.touch(id);
        }
    }

    fn change_knobs(&mut self) {
        let (now_ns, which) = (self.simulation.now_ns(), self.random.below(3) as usize);
        let knobs = knobs(&mut self.random);
        self.hosts()[which].borrow_mut().set_knobs(knobs, now_ns);
        self.simulation.touch(self.ids[which]);
    }

    /// Somebody reads no more, so that windows close, or reads again.
    fn change_hearing(&mut self) {
        let which = self.random.below(3) as usize;
        let deaf = self.hosts()[which].borrow().engine().application().is_deaf();
        if deaf {
            self.wake(which);
        } else {
            self.hosts()[which].borrow_mut().engine_mut().application_mut().set_deaf(true);
        }
    }

    fn wake(&mut self, which: usize) {
        let now_ns = self.simulation.now_ns();
        {
            let mut host = self.hosts()[which].borrow_mut();
            host.engine_mut().application_mut().set_deaf(false);
            for (id, _) in host.engine().application().courses() {
                // Whoever has ended is not called.
                host.engine_at(now_ns).with_connection(id, now_ns, |_, _| ());
            }
        }
        self.simulation.touch(self.ids[which]);
    }

    /// What must hold at every moment.
    fn check(&mut self, what: &str) {
        let now_ns = self.simulation.now_ns();
        for (place, host) in self.hosts().into_iter().enumerate() {
            let host = host.borrow();
            let (engine, config) = (host.engine(), host.engine().config());
            assert_eq!(host.usage().overheld, 0, "{what}: host {place} held frames too long");
            let (mut queued, mut unread, mut records, mut half_open, mut lingering) = (0, 0, 0, 0, 0);
            let mut expects = None;
            let pin = if self.pins { CHUNK as u32 } else { 0 };
            // Windows above 64 KiB are told in units, rounded up.
            let limit = config.receive_window_bytes;
            let unread_max = if limit > 0xffff { limit + limit / 32 } else { limit };
            let mut slot = 0;
            while let Some(view) = engine.view(slot) {
                slot = view.id.slot + 1;
                records += 1;
                half_open += u32::from(view.state == "syn-received");
                lingering += u32::from(view.state == "time-wait");
                queued += view.queued;
                unread += view.unread;
                assert!(view.queued <= config.send_queue_bytes + BLOCK + pin, "{what}: {view:?}");
                assert!(view.unread <= unread_max, "{what}: {view:?}");
                assert!(view.in_flight <= view.queued + 1, "{what}: {view:?}");
                // An end that was sent and not acknowledged is on its way as a byte is; a closed window is asked.
                let waits = view.in_flight > 0
                    || view.queued > 0
                    || !matches!(view.state, "established" | "close-wait");
                if waits {
                    expects = Some(view);
                }
            }
            assert!(records <= config.connections && half_open <= config.half_open, "{what}");
            assert!(lingering <= config.time_wait, "{what}");
            let pinned = engine.application().pins_held() * CHUNK;
            assert!(queued as usize <= config.send_memory_bytes + pinned, "{what}");
            assert!(unread as usize <= config.receive_memory_bytes, "{what}");
            match (expects, host.deadline_ns()) {
                (Some(view), None) => panic!("{what}: host {place} lost a timer of {view:?}"),
                (Some(view), Some(deadline_ns)) => {
                    assert!(deadline_ns <= now_ns + PATIENCE_NS, "{what}: host {place} sleeps on {view:?}");
                }
                (None, _) => {}
            }
        }
        for witness in &self.witnesses {
            let witness = witness.borrow();
            let (violations, told, _) = witness.verdict();
            assert_eq!(violations, 0, "{what}: {told:?}");
        }
        self.checks += 1;
    }

    /// Each connection ended in order at the client, and at one of the servers.
    fn complete(&self) -> bool {
        let over = |host: &Shared| {
            let host = host.borrow();
            let courses = host.engine().application().courses();
            let closed = courses.iter().filter(|(_, course)| course.ended == Some(Ended::Closed)).count();
            (courses.len() == closed).then_some(closed)
        };
        over(&self.client) == Some(self.connections)
            && over(&self.servers[0]).zip(over(&self.servers[1])).map(|(one, other)| one + other)
                == Some(self.connections)
    }

    fn story(&self) -> String {
        let host = |host: &Shared| {
            let host = host.borrow();
            format!("{:?}\n{:?}\n", host.engine().application().courses(), host.engine().counters())
        };
        self.hosts().map(host).concat()
    }
}

/// What happened, added up over seeds, to see that it did.
#[derive(Default)]
struct Tally {
    moves: u32,
    returned: u32,
    checks: u32,
    judged: u64,
    silences: u32,
    recovered: u64,
    /// Questions to closed windows.
    asked: u64,
}

fn play(seed: u64, tally: &mut Tally) -> u64 {
    let mut world = World::new(seed);
    let bad_for_ns = 5 * SECOND_NS + world.random.below(20 * SECOND_NS);
    while world.simulation.now_ns() < bad_for_ns && !world.complete() {
        let until_ns = world.simulation.now_ns() + 1 + world.random.below(40_000_000);
        world.simulation.run_until(until_ns);
        match world.random.below(8) {
            0 | 1 => world.turn(),
            2 => world.change_knobs(),
            4 => world.change_hearing(),
            3 if world.random.chance(0.03) => {
                // Nothing gets through for a while, in one direction or both.
                tally.silences += 1;
                let both = world.random.chance(0.5);
                let silent = Link { loss: 1.0, ..world.link };
                world.bad[..1 + usize::from(both)]
                    .iter()
                    .for_each(|&from| world.simulation.set_link(from, silent));
                let silence_ns = world.random.below(15 * SECOND_NS);
                for _ in 0..10 {
                    world.simulation.run_until(world.simulation.now_ns() + silence_ns / 10);
                    world.check(&format!("seed {seed} in silence"));
                }
                world.bad.iter().for_each(|&from| world.simulation.set_link(from, world.link));
            }
            _ => {}
        }
        // Whoever was touched has to step before it can say what it waits for.
        world.simulation.run_until(world.simulation.now_ns());
        world.check(&format!("seed {seed}"));
    }
    // The link is good again, and everybody reads. Whatever is left is over within the longest pause and what the link needs.
    let good = Link {
        rate_bits_per_s: 100_000_000,
        queue_bytes: 1 << 20,
        delay_ns: world.link.delay_ns,
        ..Link::default()
    };
    world.bad.iter().for_each(|&from| world.simulation.set_link(from, good));
    (0..3).for_each(|which| world.wake(which));
    let good_ns = world.simulation.now_ns();
    while !world.complete() {
        let now_ns = world.simulation.now_ns();
        assert!(
            now_ns < good_ns + PATIENCE_NS + 20 * SECOND_NS,
            "seed {seed}: no progress\n{}",
            world.story()
        );
        world.simulation.run_until(now_ns + SECOND_NS);
        world.check(&format!("seed {seed}, good again"));
    }
    let rested_ns = world.simulation.run_until(world.simulation.now_ns() + 10_000 * SECOND_NS);
    world.check(&format!("seed {seed} at the end"));
    assert!(
        rested_ns < good_ns + 600 * SECOND_NS,
        "seed {seed}: something is due for ever\n{}",
        world.story()
    );
    for host in world.hosts() {
        let host = host.borrow();
        assert!(host.engine().is_unused() && host.engine().application().pins_held() == 0, "seed {seed}");
        assert_eq!(host.deadline_ns(), None, "seed {seed}: a timer of nobody");
        tally.recovered += host.engine().counters().retransmitted_segments;
        tally.asked += host.engine().counters().window_probes;
    }
    tally.moves += world.moves;
    tally.returned += world.returned;
    tally.checks += world.checks;
    tally.judged += world.witnesses.iter().map(|witness| witness.borrow().verdict().2).sum::<u64>();
    world.simulation.trace_hash()
}

#[test]
fn what_must_hold_holds_whatever_happens() {
    let mut tally = Tally::default();
    let count = seeds(120);
    for seed in 0..count {
        play(seed, &mut tally);
    }
    let Tally { moves, returned, checks, judged, silences, recovered, asked } = tally;
    let each = [u64::from(moves), u64::from(checks), judged, u64::from(silences) * 20, recovered, asked * 10];
    assert!(returned > 0, "there was a move without room");
    assert!(each.iter().all(|sum| *sum > count), "it has to have happened: {each:?}");
}

#[test]
fn the_same_seed_is_the_same_course() {
    let run = |seed| play(seed, &mut Tally::default());
    assert_eq!((run(3), run(4)), (run(3), run(4)));
    assert_ne!(run(3), run(4));
}
