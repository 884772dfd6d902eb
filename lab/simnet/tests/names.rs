//! A price service that has a name: the application asks a name server over its own stack, in virtual time. Servers are
//! silent, lie, or know nothing; what is asked how often is bounded, and prices come as soon as somebody tells the truth.

use nom_feeds::metadata::Answer;
use nom_kv::Kv;
use nom_service::configuration::Configuration;
use nom_service::management::{Level, Message};
use nom_simnet::port::Device;
use nom_simnet::{Cost, Deployed, End, Host, Link, Node, Rest, Simulation, Switch};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use nom_stack::datagrams::Datagram;
use std::net::Ipv4Addr;

const SECOND: u64 = 1_000_000_000;
const PRICES: [u8; 4] = [10, 0, 2, 3];
const TOKEN: &str = "0123456789abcdef";

/// Answers every question for prices once, and holds the next one.
#[derive(Default)]
struct Prices {
    questions: u64,
    heads: Vec<u8>,
}

impl Application for Prices {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        self.heads.extend_from_slice(bytes);
        let held = bytes.windows(11).any(|window| window == b"generation=");
        if bytes.ends_with(b"\r\n\r\n") {
            self.questions += 1;
            if !held {
                let core = Some("2 $/core/h".parse().unwrap());
                let prices = nom_money::Prices { core, ..nom_money::Prices::NONE };
                let answer = Answer { generation: 1, provider_unix_ns: 0, prices, next: None, valid_s: 600 };
                let body = answer.to_json();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                io.write((head + &body).as_bytes()).unwrap();
            }
        }
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
}

/// A name server: what it answers is given by the number of the question.
struct Server {
    host: Host<Prices>,
    answer: fn(u64, &[u8]) -> Vec<Vec<u8>>,
    /// When questions came.
    asked_ns: Vec<u64>,
    ports: Vec<u16>,
}

impl Node for Server {
    fn deliver(&mut self, now_ns: u64, port: usize, frame: &[u8], damaged: bool) {
        self.host.deliver(now_ns, port, frame, damaged);
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        let rest = self.host.step(now_ns);
        let engine = self.host.engine_at(now_ns);
        let mut answered = false;
        while let Some(Datagram { source, source_port, payload, .. }) = engine.take_datagram(53) {
            for bytes in (self.answer)(self.asked_ns.len() as u64, &payload) {
                engine.send_datagram(53, (source, source_port), &bytes, now_ns).unwrap();
                answered = true;
            }
            self.asked_ns.push(now_ns);
            self.ports.push(source_port);
        }
        Rest { worked: rest.worked || answered, ..rest }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        self.host.depart()
    }
}

/// An answer with this address.
fn address(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes[6..8].copy_from_slice(&[0, 1]);
    bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend_from_slice(&address);
    bytes
}

/// An answer without any, by its code.
fn refusal(question: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    bytes
}

struct Course {
    /// Questions to the name server, in tenths of seconds.
    asked_ds: Vec<u64>,
    ports: Vec<u16>,
    /// Questions for prices.
    questions: u64,
    heads: String,
    warnings: Vec<String>,
    generation: u64,
}

fn run(answer: fn(u64, &[u8]) -> Vec<Vec<u8>>, until_ns: u64) -> Course {
    let text = format!(
        "utility = simple\nvalue = 1 $/Mop\nlatency.limit = 1 ms\nmanagement.token = {TOKEN}\n\
         prices = http://Prices.Example:8080/now\ndns = 10.0.2.4\n"
    );
    let configuration = Configuration::parse(&text).unwrap();
    let mut simulation = Simulation::new(1);
    let server = Deployed::new(
        configuration,
        Device::default(),
        Cost::default(),
        16 << 20,
        Vec::new(),
        5,
        |configuration, seed| Kv::new(nom_kv::Config::new(configuration.items_bytes, seed, 0)),
    )
    .unwrap();
    let (server_id, server) = simulation.add(server);
    let stack = |number: u8| {
        let config = Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 0, 2, number), 24);
        Host::new(config, Device::default(), Cost::default(), Prices::default(), u64::from(number))
    };
    let (prices_id, prices) = simulation.add(stack(3));
    prices.borrow_mut().engine_mut().listen(8080);
    let mut host = stack(4);
    host.engine_mut().bind(53).unwrap();
    let (names_id, names) = simulation.add(Server { host, answer, asked_ns: Vec::new(), ports: Vec::new() });
    let (switch, _) = simulation.add(Switch::new(3));
    for (port, node) in [server_id, prices_id, names_id].into_iter().enumerate() {
        simulation.connect(End { node, port: 0 }, End { node: switch, port }, Link::gigabit());
    }
    server.borrow_mut().command(&format!("hello {TOKEN}\n"));
    simulation.run_until(until_ns);
    let (mut warnings, mut generation) = (Vec::new(), 0);
    for message in server.borrow_mut().messages() {
        match message {
            Message::Log { level: Level::Warning, text, .. } => warnings.push(text),
            Message::Stats(stats) => generation = stats.price_generation,
            _ => {}
        }
    }
    let (names, prices) = (names.borrow(), prices.borrow());
    let application = prices.engine().application();
    Course {
        asked_ds: names.asked_ns.iter().map(|ns| ns * 10 / SECOND).collect(),
        ports: names.ports.clone(),
        questions: application.questions,
        heads: String::from_utf8(application.heads.clone()).unwrap(),
        warnings,
        generation,
    }
}

#[test]
fn a_name_is_asked_for_once_and_the_prices_come() {
    let course = run(|_, question| vec![address(question, PRICES)], 5 * SECOND);
    assert_eq!((course.asked_ds.as_slice(), course.warnings.len()), (&[0][..], 0), "{:?}", course.warnings);
    assert!(
        course.heads.starts_with("GET /now HTTP/1.1\r\nHost: prices.example:8080\r\n"),
        "{}",
        course.heads
    );
    assert_eq!(course.questions, 2, "the second one is held");
    assert!(course.generation > 0);
}

#[test]
fn who_is_silent_is_asked_again_later_and_later_from_another_port() {
    let course = run(
        |number, question| if number < 2 { vec![] } else { vec![address(question, PRICES)] },
        10 * SECOND,
    );
    assert_eq!(course.asked_ds, [0, 10, 30]);
    assert!(course.ports[0] != course.ports[1] && course.ports[1] != course.ports[2]);
    assert!(course.generation > 0 && course.warnings.is_empty(), "{:?}", course.warnings);
}

#[test]
fn lies_are_not_believed() {
    let course = run(
        |number, question| {
            let mut other = address(question, [10, 0, 2, 9]);
            other[1] ^= 1;
            let mut query = address(question, [10, 0, 2, 9]);
            query[2] = 1;
            let mut name = address(question, [10, 0, 2, 9]);
            name[14] ^= 1;
            let mut pointer = question.to_vec();
            pointer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
            pointer.extend_from_slice(&[
                0xc0,
                question.len() as u8,
                0,
                1,
                0,
                1,
                0,
                0,
                0,
                60,
                0,
                4,
                10,
                0,
                2,
                9,
            ]);
            let lies = vec![other, query, name, pointer, vec![], vec![0xff; 700], question[..7].to_vec()];
            if number == 0 { lies } else { vec![address(question, PRICES)] }
        },
        10 * SECOND,
    );
    assert!(course.generation > 0, "{:?}", course.warnings);
    assert!(course.asked_ds.len() <= 3, "{:?}", course.asked_ds);
}

#[test]
fn an_address_that_nobody_can_have_is_refused_in_words() {
    let course = run(|_, question| vec![address(question, [224, 0, 0, 1])], 30 * SECOND);
    assert_eq!((course.questions, course.generation), (0, 0));
    assert!(course.warnings.iter().any(|text| text.contains("prices.example has the address 224.0.0.1")));
    // It is remembered for as long as the server says.
    assert_eq!(course.asked_ds, [0], "{:?}", course.warnings);
}

#[test]
fn who_knows_nothing_is_asked_a_bounded_number_of_times() {
    for (code, word) in [(3, "does not exist"), (2, "is known to no name server")] {
        let answer: fn(u64, &[u8]) -> Vec<Vec<u8>> = if code == 3 {
            |_, question| vec![refusal(question, 3)]
        } else {
            |_, question| vec![refusal(question, 2)]
        };
        let course = run(answer, 120 * SECOND);
        assert!(course.warnings.iter().any(|text| text.contains(word)), "{:?}", course.warnings);
        assert!(course.warnings.len() < 60 && course.asked_ds.len() < 120, "{:?}", course.asked_ds);
        assert_eq!((course.questions, course.generation), (0, 0));
    }
}
