//! The corners of the protocol between our TCP and Linux's: openings and ends that cross, half-closed connections, resets,
//! closed windows, tiny segments. A gate in between makes what has to cross cross; no test looks at a clock.

use crate::between::{FIN, LINUX, OURS, Place, SYN, Terms, ip};
use crate::clients::{PORT, bytes, ended, exchange, join, opened, patient, plan, read_all};
use nom_simnet::Link;
use nom_simnet::stream::Stream;
use nom_stack::KeepAlive;
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn target() -> SocketAddr {
    (OURS, PORT).into()
}

/// A link that loses some frames in either direction.
fn lossy(seed: u64) -> Terms {
    Terms { link: Link { loss: 0.05, ..Link::default() }, seed, ..Terms::default() }
}

fn state(place: &Place<Stream>) -> &'static str {
    place.host.engine().view(0).map_or("none", |view| view.state)
}

#[test]
fn both_open_at_the_same_time() {
    const LINUX_PORT: u16 = 4_001;
    let plan = plan(100_000, 90_000);
    let Some(mut place) = Place::new(&Terms::default(), Stream::new(plan)) else { return };
    place.hold(|it| it.flags & SYN != 0);
    let now_ns = place.now_ns();
    place.host.engine_mut().connect(LINUX, LINUX_PORT, now_ns).unwrap();
    place.run("our opening", |place| !place.there.held.is_empty());
    let ours = place.host.engine().view(0).unwrap().port;
    let client = thread::spawn(move || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(LINUX, LINUX_PORT)).unwrap();
        connect(&socket, &SocketAddrV4::new(OURS, ours)).unwrap();
        exchange(patient(TcpStream::from(socket)), plan);
    });
    place.run("Linux' opening", |place| !place.back.held.is_empty());
    place.there.open_gate();
    place.back.open_gate();
    let clients = vec![client];
    place.run("a crossed opening", |place| ended(&clients) && place.host.engine().application().complete(1));
    join(clients);
    // Each side answered the other one's opening while its own was on its way.
    assert!(place.there.seen.opening_answers > 0 && place.back.seen.opening_answers > 0);
    assert_eq!(place.there.seen.resets + place.back.seen.resets, 0);
}

#[test]
fn both_close_at_the_same_time() {
    let plan = plan(30_000, 40_000);
    for ours_first in [false, true] {
        let Some(mut place) = Place::new(&Terms::default(), Stream::new(plan)) else { return };
        place.host.engine_mut().listen(PORT);
        place.hold(|it| it.flags & FIN != 0);
        let clients = vec![thread::spawn(move || exchange(opened(target()), plan))];
        place.run("two ends", |place| !place.there.held.is_empty() && !place.back.held.is_empty());
        assert_eq!(state(&place), "fin-wait-1");
        // Neither has seen the other's end: one of them sees it before its own is acknowledged.
        let crossed = if ours_first {
            place.there.open_gate();
            "fin-wait-2"
        } else {
            place.back.open_gate();
            "closing"
        };
        place.run("a crossed end", |place| state(place) == crossed);
        place.there.open_gate();
        place.back.open_gate();
        place.run("an end", |place| ended(&clients) && place.host.engine().application().complete(1));
        join(clients);
        assert_eq!(place.there.seen.resets + place.back.seen.resets, 0);
    }
}

#[test]
fn either_side_may_go_on_after_the_other_closed() {
    for (send, expect) in [(0, 300_000), (300_000, 0)] {
        let plan = plan(send, expect);
        let Some(mut place) = Place::new(&lossy(3), Stream::new(plan)) else { return };
        place.host.engine_mut().listen(PORT);
        let client = move || {
            let stream = opened(target());
            if send == 0 {
                // Ours closed: nothing comes, and what is sent then is taken.
                read_all(&stream, 0);
                (&stream).write_all(&bytes(expect)).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            } else {
                stream.shutdown(Shutdown::Write).unwrap();
                read_all(&stream, send);
            }
        };
        let clients = vec![thread::spawn(client)];
        place.run("a half-closed connection", |place| {
            ended(&clients) && place.host.engine().application().complete(1)
        });
        join(clients);
    }
}

/// Bytes that no test waits to the end for.
const MANY: u64 = 3_000_000;

fn reason(place: &Place<Stream>) -> Option<Ended> {
    place.host.engine().application().courses().first().and_then(|(_, course)| course.ended)
}

#[test]
fn a_reset_by_linux_ends_a_transfer_and_leaves_nothing() {
    for seed in 0..4 {
        let Some(mut place) = Place::new(&lossy(seed), Stream::new(plan(MANY, MANY))) else { return };
        place.host.engine_mut().listen(PORT);
        let clients = vec![thread::spawn(|| {
            let mut stream = opened(target());
            stream.write_all(&bytes(10_000)).unwrap();
            stream.read_exact(&mut [0; 50_000]).unwrap();
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        })];
        place.run("a reset", |place| reason(place).is_some());
        assert_eq!(reason(&place), Some(Ended::Reset));
        let engine = place.host.engine();
        assert_eq!((engine.open_connections(), engine.view(0)), (0, None));
        join(clients);
        // The device may still have read some of them for the last time.
        place.run("the pins", |place| place.host.engine().application().pins_held() == 0);
    }
}

#[test]
fn our_reset_ends_a_transfer_of_linux() {
    for seed in 10..14 {
        let Some(mut place) = Place::new(&lossy(seed), Stream::new(plan(MANY, 2 * MANY))) else { return };
        place.host.engine_mut().listen(PORT);
        let clients = vec![thread::spawn(|| {
            let mut stream = opened(target());
            // It writes until it hears of the end: a lost reset comes again as an answer.
            let error = stream.write_all(&bytes(2 * MANY)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        })];
        place.run("some bytes", |place| {
            let courses = place.host.engine().application().courses();
            courses.first().is_some_and(|(_, course)| course.received >= 90_000)
        });
        let (id, now_ns) = (place.host.engine().view(0).unwrap().id, place.now_ns());
        assert!(place.host.engine_mut().give_up(id, now_ns));
        assert_eq!(reason(&place), Some(Ended::Aborted));
        place.run("an answer", |_| ended(&clients));
        join(clients);
        place.run("the pins", |place| place.host.engine().application().pins_held() == 0);
    }
}

#[test]
fn closed_ports_refuse_on_either_side() {
    let Some(mut place) = Place::new(&lossy(20), Stream::new(plan(1, 1))) else { return };
    let clients = vec![thread::spawn(|| {
        let refused = TcpStream::connect_timeout(&target(), Duration::from_secs(90)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    })];
    let now_ns = place.now_ns();
    place.host.engine_mut().connect(LINUX, PORT, now_ns).unwrap();
    place.run("two refusals", |place| ended(&clients) && reason(place).is_some());
    join(clients);
    assert_eq!(reason(&place), Some(Ended::Refused));
}

#[test]
fn a_linux_that_does_not_read_is_asked_until_it_does() {
    let plan = plan(200_000, 0);
    let Some(mut place) = Place::new(&lossy(30), Stream::new(plan)) else { return };
    let listener = TcpListener::bind((LINUX, PORT)).unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 4_096).unwrap();
    let now_ns = place.now_ns();
    place.host.engine_mut().connect(LINUX, PORT, now_ns).unwrap();
    let (wake, woken) = mpsc::channel();
    let clients = vec![thread::spawn(move || {
        let stream = patient(listener.accept().unwrap().0);
        stream.shutdown(Shutdown::Write).unwrap();
        woken.recv().unwrap();
        read_all(&stream, plan.send);
    })];
    place.run("a closed window", |place| {
        place.host.engine().counters().window_probes >= 3 && place.back.seen.closed_windows >= 2
    });
    wake.send(()).unwrap();
    place.run("an open window", |place| ended(&clients) && place.host.engine().application().complete(1));
    join(clients);
}

/// Sends and takes nothing until it is woken.
struct Sleeper {
    stream: Stream,
    awake: bool,
}

impl Application for Sleeper {
    fn opened(&mut self, io: &mut impl Io, port: u16, outgoing: bool) {
        if self.awake {
            self.stream.opened(io, port, outgoing);
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        if self.awake { self.stream.received(io, bytes) } else { 0 }
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.stream.writable(io);
    }

    fn finished(&mut self, io: &mut impl Io) {
        self.stream.finished(io);
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        self.stream.ended(connection, reason);
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        self.stream.pinned(pin)
    }

    fn released(&mut self, pin: Pin) {
        self.stream.released(pin);
    }
}

#[test]
fn linux_hears_of_our_open_window_although_the_news_was_lost() {
    let plan = plan(0, 400_000);
    let sleeper = Sleeper { stream: Stream::new(plan), awake: false };
    let Some(mut place) = Place::new(&Terms::default(), sleeper) else { return };
    place.host.engine_mut().listen(PORT);
    let clients = vec![thread::spawn(move || exchange(opened(target()), plan))];
    place.run("a closed window", |place| place.there.seen.closed_windows > 0);
    let asked = place.back.seen.segments;
    place.run("questions", |place| place.back.seen.segments >= asked + 2);
    // The news of the open window is lost.
    place.there.gate = Some(|it| it.window > 0);
    place.host.engine_mut().application_mut().awake = true;
    let (id, now_ns) = (place.host.engine().view(0).unwrap().id, place.now_ns());
    place.host.engine_mut().with_connection(id, now_ns, |_, _| ());
    place.run("news", |place| !place.there.held.is_empty());
    place.there.held.clear();
    place.there.gate = None;
    place.run("an open window", |place| {
        ended(&clients) && place.host.engine().application().stream.complete(1)
    });
    join(clients);
}

#[test]
fn a_silent_linux_is_asked_and_one_that_is_gone_is_given_up() {
    const MS: u64 = 1_000_000;
    let sleeper = Sleeper { stream: Stream::new(plan(0, 0)), awake: false };
    // Linux answers such questions twice a second, if it is not told otherwise.
    let terms = Terms { settings: &[("tcp_invalid_ratelimit", "0")], ..Terms::default() };
    let Some(mut place) = Place::new(&terms, sleeper) else { return };
    let keep = KeepAlive { idle_ns: 50 * MS, interval_ns: 200 * MS, probes: 3 };
    let asks = nom_stack::Terms { keep_alive: Some(keep), ..nom_stack::Terms::default() };
    place.host.engine_mut().set_terms_of_ports(asks).unwrap();
    place.host.engine_mut().listen(PORT);
    let (wake, woken) = mpsc::channel();
    let clients = vec![thread::spawn(move || {
        let stream = opened(target());
        woken.recv().unwrap();
        drop(stream);
    })];
    place.run("questions", |place| place.host.engine().counters().keep_alives >= 5);
    assert_eq!(place.host.engine().open_connections(), 1, "whoever answers stays");
    place.hold(|_| true);
    place.run("an end", |place| place.host.engine().open_connections() == 0);
    let courses = place.host.engine().application().stream.courses();
    assert_eq!(courses[0].1.ended, Some(Ended::TimedOut));
    wake.send(()).unwrap();
    join(clients);
}

#[test]
fn segments_may_be_tiny_on_both_sides() {
    const LINUX_TAKES: usize = 72;
    for (mtu, told) in [(128, true), (1500, true), (128, false)] {
        let plan = plan(60_000, 60_000);
        let terms = Terms { mtu, ..lossy(40) };
        let Some(mut place) = Place::new(&terms, Stream::new(plan)) else { return };
        let route =
            ["route", "add", &format!("{OURS}/32"), "dev", "nom0", "advmss", &LINUX_TAKES.to_string()];
        if told && !ip(&route) {
            return;
        }
        place.host.engine_mut().listen(PORT);
        let clients = vec![thread::spawn(move || exchange(opened(target()), plan))];
        place.run("tiny segments", |place| ended(&clients) && place.host.engine().application().complete(1));
        join(clients);
        let (there, back) = (place.there.seen.len_max, place.back.seen.len_max);
        assert!(there <= if told { LINUX_TAKES } else { mtu - 40 }, "{there} bytes to Linux");
        assert!(back <= mtu - 40, "{back} bytes to us, of {mtu}");
    }
}
