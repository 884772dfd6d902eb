//! kv with its whole service against recorded clients, in virtual time: settlement, tuning, drain, determinism.

use nom_abi::board::{Announced, Prices, Rate, Resource};
use nom_feeds::metadata::Answer;
use nom_kv::Kv;
use nom_ledger::{Window, verify};
use nom_load::mix::{Keys, Mix};
use nom_load::pace::Pace;
use nom_load::recording::{Answers, Recording};
use nom_service::configuration::Configuration;
use nom_service::management::{KnobChange, Level, Message};
use nom_simnet::port::Device;
use nom_simnet::switch::Switch;
use nom_simnet::{Cost, Deployed, End, Host, Link, Player, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use std::collections::HashMap;
use std::net::Ipv4Addr;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SECOND: u64 = 1_000_000_000;
/// A halting core that takes 30 us to wake, against a polling one.
const COST: Cost = Cost { wake_ns: 30_000, batch_ns: 500, frame_ns: 800, kilobyte_ns: 100, kick_ns: 300 };

/// Where a core is cheap, polling earns more: it keeps the promise. Where it is dear, halting does.
const CONFIGURATION: &str = "\
utility = penalty
value = 10 $/Mop
latency.limit = 20 us
penalty.factor = 0.5
window = 500 ms
management.token = 0123456789abcdef
points = nom-points 1
points = application kv
points = noise 0.02
points = capacity_per_s 100000
points = class all open utilisation 0.. connections 0..
points = point wait=halt batch=0 : throughput_per_s=90000 useful_bytes=500 wire_bytes=600 core_ns=35000 idle_cores=0 memory_bytes=16777216 mean_ns=40000 jitter_ns=3000 p99_ns=50000 samples=10000 late=20us:10000
points = point wait=poll batch=0 : throughput_per_s=100000 useful_bytes=500 wire_bytes=600 core_ns=5000 idle_cores=1 memory_bytes=16777216 mean_ns=10000 jitter_ns=1000 p99_ns=15000 samples=10000 late=20us:0
";

fn prices(core_dollars_per_hour: u64) -> Prices {
    let mut prices = Prices::NONE;
    let atto = i128::from(core_dollars_per_hour) * 1_000_000_000_000_000_000 / 3_600_000_000_000;
    prices.rates[Resource::Core as usize] = Some(Rate { atto_per_unit: atto, valid_until_ns: 0 });
    prices.rates[Resource::Bandwidth as usize] = Some(Rate { atto_per_unit: 90_000_000, valid_until_ns: 0 });
    prices
}

/// A metadata service as a host of the simulation: holds a question about what it has, as a cloud's does.
struct Metadata {
    answer: Answer,
    asked: HashMap<ConnectionId, Vec<u8>>,
    /// Bytes that make answers longer.
    padding: usize,
}

impl Metadata {
    fn serve(&mut self, io: &mut impl Io) {
        let held = format!("generation={}", self.answer.generation);
        let Some(asked) = self.asked.get_mut(&io.connection()) else { return };
        let text = String::from_utf8_lossy(asked).into_owned();
        if text.ends_with("\r\n\r\n") && !text.contains(&held) {
            asked.clear();
            let body = self.answer.to_json();
            let body = body + &" ".repeat(self.padding);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Padding: {}\r\nContent-Length: {}\r\n\r\n",
                "x".repeat(self.padding / 4),
                body.len()
            );
            io.write((head + &body).as_bytes()).unwrap();
        }
    }
}

impl Application for Metadata {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.asked.insert(io.connection(), Vec::new());
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        self.asked.entry(io.connection()).or_default().extend_from_slice(bytes);
        self.serve(io);
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, connection: ConnectionId, _reason: Ended) {
        self.asked.remove(&connection);
    }
}

#[test]
fn prices_come_over_the_applications_own_stack() {
    let mut simulation = Simulation::new(5);
    let text = CONFIGURATION.to_owned() + "prices = http://10.0.2.3:8080/prices\n";
    let configuration = Configuration::parse(&text).unwrap();
    let server = serving(configuration, COST, Vec::new(), 5);
    let (server_id, server) = simulation.add(server);
    let answer = |generation, core: &str| Answer {
        generation,
        provider_unix_ns: 0,
        prices: nom_money::Prices { core: Some(core.parse().unwrap()), ..nom_money::Prices::NONE },
        next: None,
        valid_s: 600,
    };
    let metadata = Metadata { answer: answer(1, "200 $/core/h"), asked: HashMap::new(), padding: 0 };
    let config = Config::new([2, 0, 0, 0, 0, 3], Ipv4Addr::new(10, 0, 2, 3), 24);
    let mut host = Host::new(config, Device::default(), Cost::default(), metadata, 7);
    // Not there at first: the question is asked again, later and later.
    let config = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let client = Player::new(config, Device::default(), recording(3), (SERVER, 11211), 9);
    host.engine_mut().unlisten(8080);
    let (host_id, host) = simulation.add(host);
    let (client_id, client) = simulation.add(client);
    let (switch_id, _) = simulation.add(Switch::new(3));
    for (port, node) in [server_id, host_id, client_id].into_iter().enumerate() {
        simulation.connect(End { node, port: 0 }, End { node: switch_id, port }, Link::gigabit());
    }
    server.borrow_mut().command("hello 0123456789abcdef\n");
    simulation.run_until(SECOND / 2);
    host.borrow_mut().engine_mut().listen(8080);
    simulation.run_until(2 * SECOND);
    let changed_ns = simulation.now_ns();
    {
        let mut host = host.borrow_mut();
        host.engine_mut().application_mut().answer = answer(2, "50 $/core/h");
        let waiting: Vec<ConnectionId> = host.engine().application().asked.keys().copied().collect();
        assert_eq!(waiting.len(), 1, "one question is held");
        host.engine_mut().with_connection(waiting[0], changed_ns, |metadata, io| metadata.serve(io));
    }
    simulation.touch(host_id);
    simulation.run_until(3 * SECOND);
    // The service goes away; the last prices stay, and the cache serves on.
    {
        let mut host = host.borrow_mut();
        let waiting: Vec<ConnectionId> = host.engine().application().asked.keys().copied().collect();
        host.engine_mut().unlisten(8080);
        host.engine_mut().with_connection(waiting[0], 3 * SECOND, |_, io| io.abort());
    }
    simulation.touch(host_id);
    simulation.run_until(6 * SECOND);
    server.borrow_mut().command("drain\n");
    simulation.touch(server_id);
    assert!(simulation.run_while(20 * SECOND, || !server.borrow().is_over()));
    let messages = server.borrow_mut().messages();
    let warnings = |messages: &[Message]| {
        messages
            .iter()
            .filter_map(|message| match message {
                Message::Log { level: Level::Warning, text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let warned = warnings(&messages);
    assert!(warned.iter().any(|text| text.contains("cannot be reached")), "{warned:?}");
    assert!(warned.len() <= 4, "the same failure is said once: {warned:?}");
    let knobs: Vec<&KnobChange> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Knobs(change) => Some(change),
            _ => None,
        })
        .collect();
    assert_eq!((knobs[0].after.as_str(), knobs[0].price_generation), ("wait=poll batch=0", 2));
    assert_eq!(knobs[0].published_ns, knobs[0].seen_ns, "published and seen in one round");
    let reaction_ns = knobs[0].in_force_ns - changed_ns;
    assert!(reaction_ns < 2_000_000, "the change arrives at once, not at the next question: {reaction_ns}");
    assert_eq!(client.borrow().answers().difference(&run(Link::gigabit(), 1).answers), None);
}

struct Run {
    answers: Answers,
    windows: Vec<Window>,
    knobs: Vec<KnobChange>,
    messages: Vec<Message>,
    sent: u64,
    trace: u64,
}

/// kv as it is deployed, with prices to come.
fn serving(configuration: Configuration, cost: Cost, prices: Vec<(u64, Prices)>, seed: u64) -> Deployed<Kv> {
    Deployed::new(configuration, Device::default(), cost, 16 << 20, prices, seed, |configuration, seed| {
        Kv::new(nom_kv::Config::new(configuration.items_bytes, seed, 0))
    })
    .unwrap()
}

fn recording(seed: u64) -> Recording {
    let mix = Mix { whose: Keys::Own, keys: 50, preload: false, ..Mix::default() };
    Recording::draw(&mix, Pace::Poisson { per_s: 4_000.0 }, 8, seed, 4_000_000)
}

fn run(link: Link, seed: u64) -> Run {
    let schedule = vec![(SECOND / 2, prices(1)), (2 * SECOND, prices(200)), (3 * SECOND, prices(1))];
    run_at(schedule, link, seed)
}

fn run_at(schedule: Vec<(u64, Prices)>, link: Link, seed: u64) -> Run {
    let mut simulation = Simulation::new(seed);
    let recording = recording(3);
    let sent = recording.arrivals.len() as u64;
    let configuration = Configuration::parse(CONFIGURATION).unwrap();
    let server = serving(configuration, COST, schedule, seed);
    let (server_id, server) = simulation.add(server);
    let client = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let (client_id, client) =
        simulation.add(Player::new(client, Device::default(), recording, (SERVER, 11211), 9));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, link);
    server.borrow_mut().command("hello 0123456789abcdef\n");
    simulation.run_until(10 * SECOND);
    server.borrow_mut().command("drain\n");
    simulation.touch(server_id);
    assert!(simulation.run_while(20 * SECOND, || !server.borrow().is_over()), "the drain ends");
    let messages = server.borrow_mut().messages();
    let windows = messages
        .iter()
        .filter_map(|message| match message {
            Message::Window(text) => Some(Window::parse(text).unwrap()),
            _ => None,
        })
        .collect();
    let knobs = messages
        .iter()
        .filter_map(|message| match message {
            Message::Knobs(change) => Some(change.clone()),
            _ => None,
        })
        .collect();
    let answers = client.borrow().answers();
    Run { answers, windows, knobs, messages, sent, trace: simulation.trace_hash() }
}

#[test]
fn the_ledger_adds_up_and_counts_what_the_clients_sent() {
    let run = run(Link::gigabit(), 1);
    let contract = Configuration::parse(CONFIGURATION).unwrap().contract;
    let totals = verify(&run.windows, contract.as_ref()).unwrap();
    assert_eq!(totals.accepted, run.sent);
    assert_eq!(totals.refused, 0);
    // Split where prices changed, and otherwise every half second.
    let generations: Vec<u64> = run.windows.iter().map(|window| window.generation).collect();
    assert!(generations.is_sorted() && generations.first() == Some(&0) && generations.last() == Some(&3));
    let old = run.windows.iter().rfind(|window| window.generation == 1).unwrap();
    assert!(
        (2 * SECOND..2 * SECOND + 1_000_000).contains(&old.end_ns),
        "split when the price changed: {old:?}"
    );
    let Some(Message::Bye(bye)) = run.messages.last() else {
        panic!("bye comes last: {:?}", run.messages.last())
    };
    assert_eq!((bye.accepted, bye.windows, bye.windows_dropped), (run.sent, run.windows.len() as u64, 0));
    assert_eq!(bye.connections_cut, 0);
    assert!(matches!(
        run.messages.first(),
        Some(Message::Log { .. } | Message::Hello(_) | Message::Stats(_))
    ));
    let stats = run.messages.iter().filter(|message| matches!(message, Message::Stats(_))).count();
    assert!((45..=60).contains(&stats), "five a second: {stats}");
}

#[test]
fn a_price_moves_a_knob_at_once_and_says_why() {
    let run = run(Link::gigabit(), 1);
    let moves: Vec<(u64, &str)> =
        run.knobs.iter().map(|change| (change.price_generation, change.after.as_str())).collect();
    let (poll, halt) = ("wait=poll batch=0", "wait=halt batch=0");
    // The last one is no matter of price: the recording is over, and polling for nobody pays at no price.
    assert_eq!(moves, [(1, poll), (2, halt), (3, poll), (3, halt)]);
    assert!(run.knobs[3].published_ns == 0 && run.knobs[3].seen_ns > 4 * SECOND);
    for change in &run.knobs[..3] {
        assert!(change.published_ns <= change.seen_ns && change.seen_ns <= change.in_force_ns, "{change:?}");
        assert!(change.in_force_ns - change.published_ns < 1_000_000, "{change:?}");
        assert!(!change.why.is_empty());
    }
}

#[test]
fn what_the_board_announces_is_prepared_for_followed_and_noted() {
    let at_ns = 2 * SECOND;
    let next = |dollars| {
        let atto_per_unit = prices(dollars).rates.map(|rate| rate.map(|rate| rate.atto_per_unit));
        Some(Announced { at_ns, provider_unix_ns: 7, atto_per_unit })
    };
    let announcing = Prices { next: next(200), ..prices(1) };
    // What is no announcement: for earlier than it was published, and of a price that nobody believes.
    let hostile = [
        Prices { next: next(200).map(|next| Announced { at_ns: SECOND, ..next }), ..prices(1) },
        Prices { next: next(u64::MAX / 2), ..prices(1) },
    ];
    let schedule = vec![
        (SECOND / 2, announcing),
        (2 * SECOND, prices(200)),
        (3 * SECOND, hostile[0]),
        (3 * SECOND + SECOND / 4, hostile[1]),
    ];
    let run = run_at(schedule, Link::gigabit(), 1);
    let first = run.knobs.iter().find(|change| change.price_generation == 1).unwrap();
    assert!(first.why.ends_with(" is announced"), "{}", first.why);
    let followed = run.knobs.iter().find(|change| change.price_generation == 2).unwrap();
    assert!(followed.why.contains(" by announced price: "), "{}", followed.why);
    assert!(followed.in_force_ns - at_ns < 1_000_000, "{followed:?}");
    for window in &run.windows {
        // The first step after the change is a little late, as the one after the announcement was.
        let ahead_ms = window.announced_ns.map(|ns| ns.next_multiple_of(10_000_000) / 1_000_000);
        assert!(ahead_ms == (window.generation == 2).then_some(1_510), "{window:?}");
    }
    let refused = run.messages.iter().filter(
        |message| matches!(message, Message::Log { text, .. } if text.contains("announces is refused")),
    );
    assert_eq!(refused.count(), 1, "said once");
    let contract = Configuration::parse(CONFIGURATION).unwrap().contract;
    assert_eq!(verify(&run.windows, contract.as_ref()).unwrap().accepted, run.sent);
}

#[test]
fn a_load_about_the_even_point_of_two_settings_does_not_move_the_knob_to_and_fro() {
    // At 4,000 a second polling earns 0.02 $/s more and uses 0.86 cores more: even at 84 $/core/h.
    for dollars in [80, 84, 88] {
        let run = run_at(vec![(SECOND / 2, prices(dollars))], Link::gigabit(), 1);
        let moves: Vec<&KnobChange> = run.knobs.iter().collect();
        assert!(moves.len() <= 2, "at most there, and back when the load has ended: {moves:?}");
    }
    // And with a small change of the price about it, at most one move each.
    let schedule = (0..6).map(|step| (SECOND / 2 * (step + 1), prices(82 + step % 2 * 4))).collect();
    let moves = run_at(schedule, Link::gigabit(), 1).knobs;
    assert!(moves.len() <= 2, "{moves:?}");
}

#[test]
fn the_same_seed_is_the_same_run_and_faults_change_no_answer() {
    let (one, two) = (run(Link::gigabit(), 1), run(Link::gigabit(), 1));
    assert_eq!((one.trace, &one.windows), (two.trace, &two.windows));
    let lossy = run(Link { loss: 0.01, ..Link::gigabit() }, 1);
    assert_eq!(one.answers.difference(&lossy.answers), None);
    let contract = Configuration::parse(CONFIGURATION).unwrap().contract;
    let totals = verify(&lossy.windows, contract.as_ref()).unwrap();
    assert_eq!(totals.accepted, lossy.sent);
}

#[test]
fn a_drain_waits_for_nobody_for_ever() {
    let mut simulation = Simulation::new(1);
    let configuration = Configuration::parse("drain.limit = 200 ms\nwindow = 500 ms\n").unwrap();
    let server = serving(configuration, COST, Vec::new(), 1);
    let (server_id, server) = simulation.add(server);
    let config = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let (client_id, client) =
        simulation.add(Player::new(config, Device::default(), recording(3), (SERVER, 11211), 9));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, Link::gigabit());
    simulation.run_until(SECOND);
    server.borrow_mut().command("drain\ndrain\nset batch = 1 ms\n");
    simulation.touch(server_id);
    assert!(
        simulation.run_while(2 * SECOND, || !server.borrow().is_over()),
        "eight busy clients do not hold it"
    );
    assert!(simulation.now_ns() < SECOND + SECOND / 2);
    let messages = server.borrow_mut().messages();
    assert_eq!(answers(&messages), [(0, String::from("it drains"))]);
    let Some(Message::Bye(bye)) = messages.last() else { panic!("{:?}", messages.last()) };
    assert_eq!(bye.connections_cut, 8);
    let windows: Vec<Window> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Window(text) => Some(Window::parse(text).unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(verify(&windows, None).unwrap().accepted, bye.accepted);
    simulation.run_until(5 * SECOND);
    let cut = client.borrow().answers();
    assert!(
        cut.connections.values().all(|answered| !answered.complete),
        "the clients see that they were cut"
    );
}

/// A client that asks for much at once and reads nothing before it is told to.
#[derive(Default)]
struct Slow {
    connection: Option<ConnectionId>,
    reading: bool,
    read: usize,
    ended: Option<Ended>,
}

impl Application for Slow {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.connection = Some(io.connection());
        let value = [b'x'; SLOW_VALUE_BYTES];
        io.write(format!("set slow 0 0 {SLOW_VALUE_BYTES}\r\n").as_bytes()).unwrap();
        io.write(&value).unwrap();
        io.write(b"\r\n").unwrap();
        io.write("get slow\r\n".repeat(SLOW_GETS).as_bytes()).unwrap();
    }

    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        let len = if self.reading { bytes.len() } else { 0 };
        self.read += len;
        len
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, _connection: ConnectionId, reason: Ended) {
        self.ended = Some(reason);
    }
}

const SLOW_VALUE_BYTES: usize = 20_000;
const SLOW_GETS: usize = 100;

#[test]
fn a_drain_answers_everything_that_a_slow_reader_asked_for() {
    let mut simulation = Simulation::new(1);
    let configuration = Configuration::parse("drain.limit = 5 s\nwindow = 500 ms\n").unwrap();
    let server = serving(configuration, COST, Vec::new(), 1);
    let (server_id, server) = simulation.add(server);
    let config = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let mut client = Host::new(config, Device::default(), Cost::default(), Slow::default(), 7);
    client.engine_mut().connect(SERVER, 11211, 0).unwrap();
    let (client_id, client) = simulation.add(client);
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, Link::gigabit());
    simulation.run_until(SECOND);
    server.borrow_mut().command("drain\n");
    simulation.touch(server_id);
    simulation.run_until(2 * SECOND);
    assert!(!server.borrow().is_over(), "the client is owed answers and does not read");
    {
        let mut client = client.borrow_mut();
        let id = client.engine().application().connection.unwrap();
        client.engine_mut().with_connection(id, 2 * SECOND, |slow, _| slow.reading = true).unwrap();
    }
    simulation.touch(client_id);
    assert!(simulation.run_while(6 * SECOND, || !server.borrow().is_over()));
    let head = format!("VALUE slow 0 {SLOW_VALUE_BYTES}\r\n").len();
    let answer = head + SLOW_VALUE_BYTES + "\r\nEND\r\n".len();
    let client = client.borrow();
    assert_eq!(client.engine().application().read, "STORED\r\n".len() + SLOW_GETS * answer);
    assert_ne!(client.engine().application().ended, Some(Ended::Reset));
    let messages = server.borrow_mut().messages();
    let Some(Message::Bye(bye)) = messages.last() else { panic!("{:?}", messages.last()) };
    assert_eq!((bye.accepted, bye.connections_cut), (SLOW_GETS as u64 + 1, 0));
}

/// The answers to orders since the last look, in order.
fn answers(messages: &[Message]) -> Vec<(u32, String)> {
    let answer = |message: &Message| match message {
        Message::Answered { good, text } => Some((*good, text.clone())),
        _ => None,
    };
    messages.iter().filter_map(answer).collect()
}

#[test]
fn a_frozen_setting_stays_and_a_thawed_tuner_goes_on() {
    // Prices that move the knob, as in the test above; the knob is frozen before the second one.
    let run = |orders: &'static [(u64, &'static str)]| {
        let mut simulation = Simulation::new(1);
        let schedule = vec![(0, prices(1)), (2 * SECOND, prices(200)), (4 * SECOND, prices(1))];
        let server = serving(Configuration::parse(CONFIGURATION).unwrap(), COST, schedule, 1);
        let (server_id, server) = simulation.add(server);
        let client = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
        let mix = Mix { whose: Keys::Own, keys: 50, preload: false, ..Mix::default() };
        let recording = Recording::draw(&mix, Pace::Poisson { per_s: 4_000.0 }, 8, 3, 8_000_000);
        let (client_id, _) =
            simulation.add(Player::new(client, Device::default(), recording, (SERVER, 11211), 2));
        let ends = (End { node: server_id, port: 0 }, End { node: client_id, port: 0 });
        simulation.connect(ends.0, ends.1, Link::gigabit());
        server.borrow_mut().command("hello 0123456789abcdef\n");
        for (at_ns, order) in orders {
            simulation.run_until(*at_ns);
            server.borrow_mut().command(order);
            simulation.touch(server_id);
        }
        simulation.run_until(8 * SECOND);
        let messages = server.borrow_mut().messages();
        let moves: Vec<u64> = messages
            .iter()
            .filter_map(|message| match message {
                Message::Knobs(change) => Some(change.in_force_ns / SECOND),
                _ => None,
            })
            .collect();
        (moves, answers(&messages))
    };
    let (free, _) = run(&[]);
    assert!(free.contains(&2) && free.contains(&4), "{free:?}");
    let (frozen, said) = run(&[(SECOND + SECOND / 2, "freeze\n"), (6 * SECOND, "freeze\n")]);
    assert!(frozen.iter().all(|at_s| *at_s < 2), "{frozen:?}");
    assert!(said[0].0 == 1 && said[0].1.starts_with("frozen at ") && said[1].0 == 0, "{said:?}");
    let (thawed, said) =
        run(&[(SECOND + SECOND / 2, "freeze\n"), (3 * SECOND, "thaw\n"), (7 * SECOND, "thaw\n")]);
    assert!(thawed.contains(&3) && !thawed.contains(&2), "{thawed:?}");
    assert_eq!(said[2], (0, "it is not frozen".into()));
}

#[test]
fn keys_are_set_while_it_serves_and_a_bad_one_changes_nothing() {
    let mut simulation = Simulation::new(1);
    let server = serving(Configuration::parse(CONFIGURATION).unwrap(), COST, Vec::new(), 1);
    let (server_id, server) = simulation.add(server);
    server.borrow_mut().command("hello 0123456789abcdef\n");
    simulation.run_until(SECOND);
    let mut order = |order: &str| {
        server.borrow_mut().command(order);
        simulation.touch(server_id);
        let now_ns = simulation.now_ns();
        simulation.run_until(now_ns + SECOND);
        let messages = server.borrow_mut().messages();
        let stats = last_stats(&messages).clone();
        (answers(&messages), stats.setting)
    };
    let (_, before) = order("report\n");
    for bad in ["set bacth = 1 ms\n", "set batch = 1\n", "set batch =\n", "set points = x\n", "reload\n"] {
        let (said, setting) = order(bad);
        assert!(said.len() == 1 && said[0].0 == 0 && setting == before, "{bad}: {said:?}");
    }
    assert!(order("set bacth = 1 ms\n").0[0].1.contains("did you mean 'batch'?"));
    let (said, _) = order("set tuner = off\n");
    assert_eq!(said, [(1, String::from("tuner: absent -> off"))]);
    let (said, setting) = order("set batch = 2 ms\n");
    assert!(said[0].0 == 1 && said[0].1.starts_with("batch: "), "{said:?}");
    assert!(setting.contains("batch=2ms"), "{setting}");
    let (said, setting) = order("set listen = 80\n");
    assert!(said[0].1.starts_with("nothing changes now; after a restart: listen: "), "{said:?}");
    assert!(setting.contains("batch=2ms"));
    assert_eq!(order("set batch = 2 ms\n").0, [(1, String::from("nothing has changed"))]);
    let (said, _) = order("set connections = 1000000\n");
    assert!(said[0].1.contains("after a restart: connections"), "more than tables were made for: {said:?}");
}

fn last_stats(messages: &[Message]) -> &nom_service::management::Stats {
    let last = messages.iter().rev().find_map(|message| match message {
        Message::Stats(stats) => Some(stats),
        _ => None,
    });
    last.expect("statistics")
}

fn said(messages: &[Message], what: &str) -> usize {
    messages
        .iter()
        .filter(|message| matches!(message, Message::Log { text, .. } if text.contains(what)))
        .count()
}

#[test]
fn rates_beyond_all_measure_are_refused_and_the_next_ones_are_taken() {
    let mut absurd = prices(1);
    let rate = Rate { atto_per_unit: i128::MAX / 2, valid_until_ns: 0 };
    absurd.rates[Resource::Core as usize] = Some(rate);
    let run = run_at(vec![(SECOND / 2, absurd), (2 * SECOND, prices(1))], Link::gigabit(), 1);
    assert_eq!(said(&run.messages, "are refused"), 1);
    let generations: Vec<u64> = run.windows.iter().map(|window| window.generation).collect();
    assert_eq!((generations.first(), generations.last()), (Some(&0), Some(&2)));
    assert!(!generations.contains(&1));
    let contract = Configuration::parse(CONFIGURATION).unwrap().contract;
    assert_eq!(verify(&run.windows, contract.as_ref()).unwrap().accepted, run.sent);
}

#[test]
fn a_ledger_that_cannot_settle_lets_the_core_sleep() {
    let mut simulation = Simulation::new(1);
    let server = serving(Configuration::parse("window = 500 ms\n").unwrap(), COST, Vec::new(), 1);
    let (server_id, server) = simulation.add(server);
    let config = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let (client_id, _client) =
        simulation.add(Player::new(config, Device::default(), recording(3), (SERVER, 11211), 9));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, Link::gigabit());
    // The recording ends after four seconds: what is used later does not come to what was used until here.
    simulation.run_until(7 * SECOND / 2);
    server.borrow_mut().reset_core_meter();
    simulation.run_until(6 * SECOND);
    let before = server.borrow_mut().messages();
    assert_eq!(said(&before, "the ledger cannot settle"), 1, "{before:?}");
    simulation.run_until(8 * SECOND);
    let after = server.borrow_mut().messages();
    let sleeps = last_stats(&after).sleeps - last_stats(&before).sleeps;
    assert!(sleeps <= 300, "it looks again at the chores' pace: {sleeps} times in two seconds");
    assert_eq!(said(&after, "the ledger cannot settle"), 0, "and has said so once");
}

#[test]
fn an_answer_that_is_larger_than_the_inbox_is_read_at_once() {
    let mut simulation = Simulation::new(5);
    // The core is busy for so long after the first segment that the others are taken in one step.
    let slow = Cost { wake_ns: 5_000_000, ..COST };
    let text = "prices = http://10.0.2.3:8080/prices\nbatch = queued\n";
    let server = serving(Configuration::parse(text).unwrap(), slow, Vec::new(), 5);
    let (server_id, server) = simulation.add(server);
    let prices = nom_money::Prices { core: Some("1 $/core/h".parse().unwrap()), ..nom_money::Prices::NONE };
    let answer = Answer { generation: 1, provider_unix_ns: 0, prices, next: None, valid_s: 600 };
    let metadata = Metadata { answer, asked: HashMap::new(), padding: 15_000 };
    let config = Config {
        initial_window_segments: 20,
        ..Config::new([2, 0, 0, 0, 0, 3], Ipv4Addr::new(10, 0, 2, 3), 24)
    };
    let mut host = Host::new(config, Device::default(), Cost::default(), metadata, 7);
    host.engine_mut().listen(8080);
    let (host_id, _host) = simulation.add(host);
    simulation.connect(End { node: server_id, port: 0 }, End { node: host_id, port: 0 }, Link::gigabit());
    simulation.run_until(SECOND / 2);
    // It is of no use, but was read to its end long before the question would have timed out.
    let messages = server.borrow_mut().messages();
    assert_eq!(said(&messages, "the answer is longer than"), 1, "{messages:?}");
}

#[test]
fn what_is_counted_waiting_is_as_long_as_what_the_stamps_say() {
    // Little's law: what waits on average is what comes in a second times how long each waits.
    let mut simulation = Simulation::new(11);
    let configuration = Configuration::parse("batch = 2 ms\nwindow = 500 ms\n").unwrap();
    let (server_id, server) = simulation.add(serving(configuration, COST, Vec::new(), 11));
    let config = Config::new([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 2, 2), 24);
    let (client_id, _) =
        simulation.add(Player::new(config, Device::default(), recording(3), (SERVER, 11211), 9));
    simulation.connect(End { node: server_id, port: 0 }, End { node: client_id, port: 0 }, Link::gigabit());
    let figures = || {
        let server = server.borrow();
        let engine = server.worker().engine();
        let (counters, meter) = (engine.counters(), engine.meter());
        ([counters.frames_in, counters.frames_out], meter.measured(), meter.latency_sum_ns())
    };
    simulation.run_until(SECOND / 2);
    let (from, looks) = (figures(), 3_000);
    let mut waited = [0.0; 2];
    for _ in 0..looks {
        simulation.run_until(simulation.now_ns() + SECOND / 1_000);
        let gathered = server.borrow().worker().engine().gathered();
        for (sum, waiting) in waited.iter_mut().zip(gathered) {
            *sum += f64::from(waiting);
        }
    }
    let to = figures();
    let way =
        |way: usize| waited[way] / f64::from(looks) / (to.0[way] - from.0[way]) as f64 * 3.0 * SECOND as f64;
    let counted_ns = way(0) + way(1);
    let stamped_ns = (to.2 - from.2) as f64 / (to.1 - from.1) as f64;
    assert!((0.8..1.1).contains(&(counted_ns / stamped_ns)), "{counted_ns} {stamped_ns}");
}
