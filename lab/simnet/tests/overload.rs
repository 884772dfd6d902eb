//! More is asked of the cache than it can serve: what it does then, in virtual time, where each frame has its cost.
//!
//! Nothing grows: what waits is in rings and windows of fixed size, so whoever is connected is served at full rate,
//! only later. Since a refusal of a request would cost as much as its answer, what is too much is refused at the door:
//! connections beyond `connections` by a reset, half-open ones beyond their bound by silence.

use nom_kv::Kv;
use nom_kv::script;
use nom_simnet::port::{Device, internet_checksum};
use nom_simnet::switch::Switch;
use nom_simnet::{Cost, End, Host, Link, Node, NodeId, Rest, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::knobs::{Batching, Knobs};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

const PORT: u16 = 11211;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// What a frame costs the server: about 300,000 requests a second is all that it can do.
const COST: Cost = Cost { wake_ns: 2_000, batch_ns: 500, frame_ns: 1_500, kilobyte_ns: 100, kick_ns: 300 };
const MS: u64 = 1_000_000;
/// Clients that it serves in time, each of which has one request open; and the promise.
const FITTING: usize = 100;
const PROMISE_NS: u64 = MS / 2;
const AT_ONCE: usize = 25;
/// So many of those who were refused try again in a millisecond.
const AGAIN_A_MS: usize = 10;
/// How long it is looked at, after it has come to rest.
const REST_MS: u64 = 50;
const LOOK_MS: u64 = 100;
const REQUEST: &[u8] = b"get key\r\n";
const ANSWER: &[u8] = b"VALUE key 0 10\r\n0123456789\r\nEND\r\n";

/// A connection's open request, what has come of its answer, and whether there was an answer before.
#[derive(Default)]
struct Asked {
    at_ns: u64,
    heard: Vec<u8>,
    was_answered: bool,
}

/// Clients that ask again as soon as they are answered.
#[derive(Default)]
struct Crowd {
    asked: HashMap<ConnectionId, Asked>,
    answered: u64,
    in_time: u64,
    worst_ns: u64,
    refused: u64,
    waiting: usize,
    lost: u64,
}

impl Crowd {
    fn ask(&mut self, io: &mut impl Io, was_answered: bool) {
        io.write(REQUEST).unwrap();
        self.asked.insert(io.connection(), Asked { at_ns: io.now_ns(), heard: Vec::new(), was_answered });
    }
}

impl Application for Crowd {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.ask(io, false);
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let asked = self.asked.get_mut(&io.connection()).unwrap();
        asked.heard.extend_from_slice(bytes);
        if asked.heard.len() >= ANSWER.len() {
            assert_eq!(asked.heard, ANSWER);
            let took_ns = io.now_ns() - asked.at_ns;
            self.answered += 1;
            self.in_time += u64::from(took_ns <= PROMISE_NS);
            self.worst_ns = self.worst_ns.max(took_ns);
            self.ask(io, true);
        }
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, _io: &mut impl Io) {}

    /// Who is refused hears a reset, at once or in answer to the end of the handshake.
    fn ended(&mut self, connection: ConnectionId, _reason: Ended) {
        if self.asked.remove(&connection).is_some_and(|asked| asked.was_answered) {
            self.lost += 1;
        } else {
            self.refused += 1;
            self.waiting += 1;
        }
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        unreachable!("nothing is pinned here")
    }

    fn released(&mut self, _pin: Pin) {}
}

/// Opens half connections from addresses that nobody has, and answers nothing.
struct Flood {
    every_ns: u64,
    due_ns: u64,
    until_ns: u64,
    count: u32,
    out: VecDeque<Vec<u8>>,
}

impl Flood {
    fn syn(number: u32) -> Vec<u8> {
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(10, 9, 64, 0).to_bits() + number % 16_000);
        let mut frame = Vec::from(SERVER_MAC);
        frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
        packet.extend(source.octets());
        packet.extend(SERVER.octets());
        let sum = internet_checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut segment = Vec::from((1_024 + (number / 16_000) as u16).to_be_bytes());
        segment.extend(PORT.to_be_bytes());
        segment.extend(number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        segment.extend([0, 0, 0, 0, 0x50, 0x02, 0x10, 0, 0, 0, 0, 0]);
        let mut summed = Vec::from(source.octets());
        summed.extend(SERVER.octets());
        summed.extend([0, 6, 0, 20]);
        summed.extend(&segment);
        let sum = internet_checksum(&summed);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        frame.extend(packet);
        frame.extend(segment);
        frame.resize(60, 0);
        frame
    }
}

impl Node for Flood {
    fn deliver(&mut self, _now_ns: u64, _port: usize, _frame: &[u8], _damaged: bool) {}

    fn step(&mut self, now_ns: u64) -> Rest {
        while self.due_ns <= now_ns && self.due_ns < self.until_ns {
            self.out.push_back(Self::syn(self.count));
            self.count += 1;
            self.due_ns += self.every_ns;
        }
        let deadline_ns = (self.due_ns < self.until_ns).then_some(self.due_ns);
        Rest { worked: false, deadline_ns, free_ns: now_ns }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        Some((0, self.out.pop_front()?))
    }
}

/// What clients got within the time that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    answered: u64,
    in_time: u64,
    worst_ns: u64,
    refused: u64,
    lost: u64,
}

struct World {
    simulation: Simulation,
    server: Rc<RefCell<Host<Kv>>>,
    crowd: Rc<RefCell<Host<Crowd>>>,
    crowds_place: NodeId,
}

impl World {
    /// `flood_per_ms` half connections are opened in a millisecond, until long after the look is over.
    fn new(connections_max: u32, flood_per_ms: u64) -> Self {
        let mut simulation = Simulation::new(3);
        let config = |mac, address| Config { connections: 1_000, ..Config::new(mac, address, 16) };
        let mut script = script::open(nom_kv::Config::new(1 << 20, [3; 16], 0), usize::MAX);
        script.send(b"set key 0 0 10\r\n0123456789\r\n");
        let (_, kv) = script.finish();
        let device = Device { ring: 256, ..Device::default() };
        let mut server = Host::new(config(SERVER_MAC, SERVER), device, COST, kv, 1);
        server.engine_mut().listen(PORT);
        let knobs = Knobs { batching: Batching::TakeQueued, connections_max, ..Knobs::default() };
        server.engine_mut().set_knobs(knobs, 0);
        let address = Ipv4Addr::new(10, 9, 0, 2);
        let device = Device { ring: 4_096, ..Device::default() };
        let crowd =
            Host::new(config([2, 0, 0, 0, 0, 2], address), device, Cost::default(), Crowd::default(), 2);
        let flood = Flood {
            every_ns: MS.checked_div(flood_per_ms).unwrap_or(MS),
            due_ns: if flood_per_ms == 0 { u64::MAX } else { REST_MS * MS },
            until_ns: 2 * (REST_MS + LOOK_MS) * MS,
            count: 0,
            out: VecDeque::new(),
        };
        let (server_place, server) = simulation.add(server);
        let (crowds_place, crowd) = simulation.add(crowd);
        let (floods_place, _) = simulation.add(flood);
        let (switch, _) = simulation.add(Switch::new(3));
        for (port, node) in [server_place, crowds_place, floods_place].into_iter().enumerate() {
            let link = Link { delay_ns: 5_000, ..Link::default() };
            simulation.connect(End { node, port: 0 }, End { node: switch, port }, link);
        }
        Self { simulation, server, crowd, crowds_place }
    }

    fn open(&mut self, count: usize) {
        let now_ns = self.simulation.now_ns();
        for _ in 0..count {
            self.crowd.borrow_mut().engine_mut().connect(SERVER, PORT, now_ns).unwrap();
        }
        self.simulation.touch(self.crowds_place);
    }

    /// Those who were refused come again, a few in a millisecond.
    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            let until_ns = self.simulation.now_ns() + MS;
            self.simulation.run_until(until_ns);
            let again = {
                let mut crowd = self.crowd.borrow_mut();
                let waiting = &mut crowd.engine_mut().application_mut().waiting;
                let again = AGAIN_A_MS.min(*waiting);
                *waiting -= again;
                again
            };
            self.open(again);
        }
    }

    /// So many clients come, and are looked at once they have been there for a while.
    fn look(&mut self, clients: usize) -> Seen {
        // A few at a time: a ring that is full of openings would drop some, and who opens waits for a second then.
        for _ in 0..clients / AT_ONCE {
            self.open(AT_ONCE);
            let until_ns = self.simulation.now_ns() + MS;
            self.simulation.run_until(until_ns);
        }
        self.run(REST_MS);
        *self.crowd.borrow_mut().engine_mut().application_mut() = {
            let crowd = std::mem::take(self.crowd.borrow_mut().engine_mut().application_mut());
            Crowd { asked: crowd.asked, waiting: crowd.waiting, ..Crowd::default() }
        };
        self.run(LOOK_MS);
        let crowd = self.crowd.borrow();
        let Crowd { answered, in_time, worst_ns, refused, lost, .. } = crowd.engine().application();
        Seen { answered: *answered, in_time: *in_time, worst_ns: *worst_ns, refused: *refused, lost: *lost }
    }
}

#[test]
fn goodput_is_flat_at_three_times_what_fits() {
    let fits = World::new(FITTING as u32, 0).look(FITTING);
    assert!(fits.answered > 15_000 && fits.lost == 0, "{fits:?}");
    assert!(fits.in_time * 100 >= fits.answered * 99, "{fits:?}");
    for times in [2, 3] {
        let seen = World::new(FITTING as u32, 0).look(times * FITTING);
        assert!(seen.in_time * 100 >= fits.in_time * 90, "{times} times: {seen:?} against {fits:?}");
        assert!(seen.refused as usize >= (times - 1) * FITTING && seen.lost == 0, "{seen:?}");
    }
    // Everybody let in: as many are served, nobody is lost, but hardly anybody in time.
    let open = World::new(1_000, 0).look(3 * FITTING);
    assert!(open.answered * 100 >= fits.answered * 95 && open.lost == 0, "{open:?}");
    assert!(open.in_time * 2 < fits.in_time, "{open:?}");
    assert!(open.worst_ns < 10 * MS, "what waits is bounded: {open:?}");
}

#[test]
fn a_flood_of_half_connections_costs_its_frames_and_nothing_else() {
    let quiet = World::new(FITTING as u32, 0).look(FITTING);
    let mut world = World::new(FITTING as u32, 50);
    let flooded = world.look(FITTING);
    // A sixth of the frames that it can handle are the flood's; two thirds of the answers are still there.
    assert!(flooded.answered * 3 > quiet.answered * 2 && flooded.lost == 0, "{flooded:?} against {quiet:?}");
    assert_eq!(world.server.borrow().engine().open_connections() as usize, FITTING);
}
