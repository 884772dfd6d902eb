//! What a C program hears of a connection when either end closes, shuts or resets it: stacks at both ends, virtual time.

use super::*;
use nom_memory_link::{End, LinkConfig, MemoryEgress, MemoryIngress, pair};
use nom_stack::application::Application;
use nom_stack::{Config, Engine};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::rc::Rc;

const PORT: u16 = 7007;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
/// As many steps let everything arrive that is under way, or, with somebody who is deaf, everything be given up.
const STEPS: u32 = 1_000;
const STEP_NS: u64 = 100_000;
const DEAF_STEP_NS: u64 = 1_000_000_000;

/// What the other end saw of a connection.
#[derive(Default)]
struct Seen {
    got: Vec<u8>,
    finished: bool,
    ended: Option<Ended>,
}

/// The other end, which does nothing by itself.
#[derive(Default)]
struct Client(HashMap<ConnectionId, Seen>);

impl Application for Client {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.0.insert(io.connection(), Seen::default());
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        self.0.entry(io.connection()).or_default().got.extend(bytes);
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        self.0.entry(io.connection()).or_default().finished = true;
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        self.0.entry(connection).or_default().ended = Some(reason);
    }
}

type Side<A> = Engine<MemoryIngress, MemoryEgress, A>;

fn side<A: Application>((ingress, egress): End, number: u8, application: A) -> Side<A> {
    let mut config = Config::new([2, 0, 0, 0, 0, number], Ipv4Addr::new(10, 8, 0, number), 24);
    config.time_wait_ns = STEP_NS;
    Engine::new(config, ingress, egress, application, [number; 32], 1)
}

/// A stack beside that of the service.
struct Two {
    server: Side<Bridge>,
    client: Rc<RefCell<Side<Client>>>,
    /// The client does not hear any more.
    deaf: Rc<Cell<bool>>,
    now_ns: u64,
}

impl Drive for Two {
    fn turn(&mut self, _until_ns: u64) -> bool {
        for _ in 0..STEPS {
            self.now_ns += if self.deaf.get() { DEAF_STEP_NS } else { STEP_NS };
            if !self.deaf.get() {
                self.client.borrow_mut().step(self.now_ns);
            }
            self.server.step(self.now_ns);
        }
        true
    }

    fn bridge(&mut self) -> &mut Bridge {
        self.server.application_mut()
    }

    fn with(&mut self, id: ConnectionId, call: &mut dyn FnMut(&mut Bridge, &mut Handle<'_>)) -> bool {
        self.server.with_connection(id, self.now_ns, call).is_some()
    }

    fn listen(&mut self, port: u16) {
        self.server.listen(port);
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn generation(&self) -> u64 {
        0
    }

    fn prices(&self) -> Option<Prices> {
        None
    }

    fn change_key(&mut self, _key: &str, _value: &str) -> Result<String, String> {
        Err("there are no keys here".into())
    }

    fn setting(&self) -> String {
        String::new()
    }

    fn drain(&mut self) {}
}

/// A service, and who connects to it.
struct Place {
    c: Instance,
    far: Rc<RefCell<Side<Client>>>,
    deaf: Rc<Cell<bool>>,
}

impl Place {
    fn new() -> Self {
        let (near, far) = pair(LinkConfig::default());
        let client = Rc::new(RefCell::new(side(far, 1, Client::default())));
        let deaf = Rc::new(Cell::new(false));
        let server = side(near, 2, Bridge::default());
        let drive = Two { server, client: Rc::clone(&client), deaf: Rc::clone(&deaf), now_ns: 1 };
        let mut c =
            Instance { drive: Box::new(drive), timers: Timers::default(), generation: 0, over: false };
        assert_eq!(c.listen(0), PORT);
        Self { c, far: client, deaf }
    }

    /// Everything that is under way arrives, and nobody is told of it yet.
    fn settle(&mut self) {
        self.c.drive.turn(0);
    }

    fn connect(&mut self) -> ConnectionId {
        let id = self.far.borrow_mut().connect(ADDRESS, PORT, self.c.drive.now_ns()).unwrap();
        self.settle();
        id
    }

    /// A connection as both ends call it.
    fn accepted(&mut self, tag: u64) -> (i64, ConnectionId) {
        let far = self.connect();
        (self.c.accept(0, tag).unwrap(), far)
    }

    /// The other end does something, which arrives.
    fn far(&mut self, id: ConnectionId, act: impl FnOnce(&mut Handle<'_>)) {
        let now_ns = self.c.drive.now_ns();
        self.far.borrow_mut().with_connection(id, now_ns, |_, io| act(io)).expect("it is there");
        self.settle();
    }

    fn seen<R>(&self, id: ConnectionId, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.far.borrow().application().0[&id])
    }

    /// What is told, at most so much.
    fn told(&mut self, most: usize) -> Vec<Event> {
        let mut places = [MaybeUninit::uninit(); 8];
        let mut events = Events::new(&mut places[..most]);
        self.c.wait(0, &mut events).unwrap();
        let len = events.len();
        // SAFETY: so many were written.
        places[..len].iter().map(|place| unsafe { place.assume_init() }).collect()
    }

    fn read(&mut self, connection: i64, room: usize) -> Result<Vec<u8>, Code> {
        let mut bytes = vec![0; room];
        let len = self.c.read(connection, bytes.as_mut_ptr(), room, false).map_err(|why| why.code)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    fn write(&mut self, connection: i64, bytes: &[u8]) -> Result<usize, Code> {
        let written = self.c.write(connection, bytes).map_err(|why| why.code);
        self.settle();
        written
    }

    /// Nothing can be done with it any more.
    fn is_gone(&mut self, connection: i64) {
        assert_eq!(self.read(connection, 9), Err(Code::Gone), "read");
        assert_eq!(self.write(connection, b"x"), Err(Code::Gone), "write");
        for outcome in
            [self.c.shut(connection), self.c.answered(connection, true), self.c.peer(connection).map(drop)]
        {
            assert_eq!(outcome.map_err(|why| why.code), Err(Code::Gone));
        }
    }
}

fn event(what: u32, detail: u32, connection: i64, tag: u64) -> Event {
    Event { what, detail, connection, tag }
}

/// The header's word for each reason.
const CLOSED: u32 = 0;
const RESET: u32 = 1;
const TIMED_OUT: u32 = 2;

#[test]
fn a_name_is_its_connection_s_alone() {
    for (slot, generation) in [(0, 0), (0, 1), (1, 0), (9_999, u32::MAX), ((1 << 30) - 1, 7)] {
        let connection = ConnectionId { slot, generation };
        assert!(name(connection) > 0);
        assert_eq!(id(name(connection)), Some(connection));
    }
    for wrong in [0, -1, i64::MIN, 1 << SLOT_BITS] {
        assert_eq!(id(wrong), None, "{wrong}");
    }
}

#[test]
fn reasons_are_those_of_the_header() {
    let reasons = [Ended::Closed, Ended::Reset, Ended::TimedOut, Ended::Refused, Ended::Aborted].map(reason);
    assert_eq!(reasons, [0, 1, 2, 3, 4]);
    let header = include_str!("../../include/nom.h");
    let said =
        "enum { NOM_CLOSED = 0, NOM_RESET = 1, NOM_TIMED_OUT = 2, NOM_NOT_TAKEN = 3, NOM_ABORTED = 4 };";
    assert!(header.contains(said));
}

#[test]
fn of_an_end_that_closes_the_last_bytes_are_read_and_then_its_end() {
    let mut place = Place::new();
    let (near, far) = place.accepted(7);
    assert_eq!(place.read(near, 9), Err(Code::Again), "nothing has come");
    place.far(far, |io| {
        io.write(b"last words").unwrap();
        io.close();
    });
    let readable = event(READABLE, 0, near, 7);
    assert_eq!(place.told(8), [readable]);
    assert_eq!(place.read(near, 4), Ok(b"last".into()));
    assert_eq!(place.told(8), [readable], "a read left some");
    assert_eq!(place.read(near, 99), Ok(b" words".into()));
    assert_eq!(place.told(8), [readable], "nothing will follow");
    assert_eq!(place.read(near, 99), Ok(vec![]));
    assert_eq!((place.read(near, 99), place.told(8)), (Ok(vec![]), vec![]), "as often as one likes");

    // This half goes on until it is shut as well.
    assert_eq!(place.write(near, b"answer"), Ok(6));
    assert_eq!(place.seen(far, |seen| (seen.got.clone(), seen.finished)), (b"answer".to_vec(), false));
    place.c.shut(near).unwrap();
    assert_eq!(place.told(8), [event(ENDED, CLOSED, near, 7)]);
    assert!(place.seen(far, |seen| seen.finished && seen.ended == Some(Ended::Closed)));
    place.is_gone(near);
    assert_eq!(place.c.close(near, false).unwrap_err().code, Code::Gone);
    assert_eq!(place.told(8), []);
}

#[test]
fn of_an_end_that_resets_it_is_told_once_and_bytes_are_lost() {
    let mut place = Place::new();
    let ends: Vec<(i64, ConnectionId)> = (0..3).map(|tag| place.accepted(tag)).collect();
    let [first, second, third] = [ends[0].0, ends[1].0, ends[2].0];
    place.far(ends[2].1, |io| io.write(b"unread").unwrap());
    assert_eq!(place.told(8), [event(READABLE, 0, third, 2)]);
    for (_, far) in ends {
        place.far(far, |io| io.abort());
    }
    assert_eq!(place.told(1), [event(ENDED, RESET, first, 0)]);
    place.is_gone(first);
    // The others have ended too, though nobody was told.
    place.is_gone(second);
    place.is_gone(third);
    assert_eq!(place.told(1), [event(ENDED, RESET, second, 1)]);
    // Whoever closes it before is told nothing.
    place.c.close(third, false).unwrap();
    assert_eq!(place.told(8), []);
}

#[test]
fn of_an_end_that_does_not_hear_any_more_it_is_told_that_too() {
    let mut place = Place::new();
    let (near, _) = place.accepted(5);
    place.deaf.set(true);
    place.c.write(near, b"anybody?").unwrap();
    let ended = (0..100).find_map(|_| place.told(8).pop());
    assert_eq!(ended, Some(event(ENDED, TIMED_OUT, near, 5)));
    place.is_gone(near);
}

#[test]
fn a_half_that_was_shut_says_nothing_more_and_still_hears() {
    let mut place = Place::new();
    let (near, far) = place.accepted(3);
    assert_eq!(place.write(near, b"all"), Ok(3));
    place.c.shut(near).unwrap();
    place.settle();
    assert!(place.seen(far, |seen| seen.finished && seen.got == b"all" && seen.ended.is_none()));
    assert_eq!(place.write(near, b"more"), Err(Code::Refused));
    place.c.shut(near).unwrap();
    place.far(far, |io| io.write(b"heard").unwrap());
    assert_eq!(place.told(8), [event(READABLE, 0, near, 3)]);
    assert_eq!(place.read(near, 99), Ok(b"heard".into()));
    assert_eq!(place.read(near, 99), Err(Code::Again), "the other half is open");
    place.far(far, |io| io.close());
    assert_eq!(
        place.read(near, 99),
        Ok(vec![]),
        "everything was read, though it is gone and nobody was told"
    );
    assert_eq!(place.told(8), [event(READABLE | ENDED, CLOSED, near, 3)]);
    assert!(place.seen(far, |seen| seen.got == b"all" && seen.ended == Some(Ended::Closed)));
    place.is_gone(near);
}

#[test]
fn what_the_other_end_sees_of_a_close_depends_on_what_was_read() {
    let mut place = Place::new();
    let close = |place: &mut Place, near, abort| {
        place.c.close(near, abort).unwrap();
        assert_eq!(place.told(8), [], "its end is no news for who closed it");
        place.is_gone(near);
        assert_eq!(place.c.close(near, abort).unwrap_err().code, Code::Gone);
    };
    let (near, far) = place.accepted(0);
    close(&mut place, near, false);
    assert!(place.seen(far, |seen| seen.finished && seen.ended.is_none()), "in order");
    place.far(far, |io| {
        io.write(b"to nobody").unwrap();
        io.close();
    });
    assert_eq!((place.seen(far, |seen| seen.ended), place.told(8)), (Some(Ended::Closed), vec![]));

    let (near, far) = place.accepted(0);
    close(&mut place, near, true);
    assert_eq!(place.seen(far, |seen| seen.ended), Some(Ended::Reset), "it was told to be cut");

    // Bytes that were looked at only are unread.
    for peeks in [false, true] {
        let (near, far) = place.accepted(0);
        place.far(far, |io| io.write(b"unread").unwrap());
        assert_eq!(place.told(8).len(), 1);
        let mut byte = 0;
        if peeks {
            assert_eq!(place.c.read(near, &mut byte, 1, true), Ok(1));
        }
        close(&mut place, near, false);
        assert_eq!(place.seen(far, |seen| seen.ended), Some(Ended::Reset), "bytes were left unread");
    }

    let (near, far) = place.accepted(0);
    place.far(far, |io| {
        io.write(b"read").unwrap();
        io.close();
    });
    assert_eq!(place.told(8).len(), 1);
    assert_eq!((place.read(near, 9), place.read(near, 9)), (Ok(b"read".into()), Ok(vec![])));
    close(&mut place, near, false);
    assert_eq!(place.seen(far, |seen| seen.ended), Some(Ended::Closed), "everything was read");
}

#[test]
fn what_came_before_a_connection_was_accepted_is_told_then() {
    let mut place = Place::new();
    let far = place.connect();
    place.far(far, |io| {
        io.write(b"early").unwrap();
        io.close();
    });
    let waits = event(ACCEPT, PORT.into(), 0, 0);
    assert_eq!((place.told(8), place.told(8)), (vec![waits], vec![waits]), "as long as somebody waits");
    let near = place.c.accept(PORT, 9).unwrap();
    assert_eq!(place.told(8), [event(READABLE, 0, near, 9)]);
    assert_eq!((place.read(near, 9), place.read(near, 9)), (Ok(b"early".into()), Ok(vec![])));
}
