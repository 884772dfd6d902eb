//! What the cores of an application tell each other of their networks: cards that break, frames that found no room.

use super::*;
use crate::configuration::Configuration;
use crate::fake::FakeHome;
use crate::management::Message;
use crate::worker::{Identity, Worker};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use nom_stack::application::{ConnectionId, Ended, Io};
use nom_stack::port::{Arrival, Frame, Full, Offloads};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
/// Each look at the clock takes so long.
const LOOK_NS: u64 = 1_000;
const BREAKS_NS: u64 = 100 * LOOK_NS;
const ENDS_NS: u64 = 300 * LOOK_NS;

/// A card to which nothing comes.
#[derive(Default)]
struct Card {
    lost: u64,
}

impl Ingress for Card {
    fn look(&mut self, _now_ns: u64) -> usize {
        0
    }
    fn oldest_ns(&self) -> Option<u64> {
        None
    }
    fn capacity(&self) -> usize {
        64
    }
    fn take(&mut self) -> Option<Arrival> {
        None
    }
    fn bytes(&self, _arrival: &Arrival) -> &[u8] {
        &[]
    }
    fn give_back(&mut self, _arrival: Arrival) {}
    fn arm(&mut self) -> bool {
        true
    }
    fn lost(&self) -> u64 {
        self.lost
    }
}

/// What is sent is read at once, by nobody.
#[derive(Default)]
struct Nowhere(u64);

impl Egress for Nowhere {
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
    fn mtu(&self) -> usize {
        1500
    }
    fn room(&self) -> usize {
        64
    }
    fn capacity(&self) -> usize {
        64
    }
    fn queue(&mut self, _frame: Frame<'_>) -> Result<u64, Full> {
        self.0 += 1;
        Ok(self.0)
    }
    fn kick(&mut self) -> bool {
        true
    }
    fn completed(&mut self) -> u64 {
        self.0
    }
}

struct Silent;

impl Application for Silent {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}
    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn writable(&mut self, _io: &mut impl Io) {}
    fn finished(&mut self, _io: &mut impl Io) {}
    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
}

#[derive(Clone, Default)]
struct Rung(Rc<Cell<u32>>);

impl Ring for Rung {
    fn ring(&self) {
        self.0.set(self.0.get() + 1);
    }
}

struct Plain<T>(RefCell<T>);

impl<T> Guarded<T> for Plain<T> {
    fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }
    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.0.borrow_mut())
    }
}

struct Here;

impl Means for Here {
    type Bell = Rung;
    type Guarded<T: Send> = Plain<T>;
}

/// A seat whose card may break, and at whose end the application ends.
struct Place<'a> {
    team: &'a Team<Here>,
    breaks: bool,
    at_ns: Cell<u64>,
    /// Faults that were told.
    told: Cell<u32>,
}

impl Seat<Card, Nowhere> for Place<'_> {
    fn now_ns(&self) -> u64 {
        self.at_ns.set(self.at_ns.get() + LOOK_NS);
        if self.at_ns.get() >= ENDS_NS {
            self.team.end();
        }
        self.at_ns.get()
    }
    fn core_ns(&self) -> u64 {
        0
    }
    fn sleep(&mut self, _until_ns: u64) {}
    fn fault(&self, _ingress: &Card, _egress: &Nowhere) -> Option<String> {
        let is_broken = self.breaks && self.at_ns.get() >= BREAKS_NS;
        self.told.set(self.told.get() + u32::from(is_broken));
        is_broken.then(|| "the card lies".into())
    }
}

fn follower(lost: u64) -> Follower<Card, Nowhere, Silent> {
    let configuration = Configuration::parse("").unwrap();
    Follower::new(&configuration, MAC, Card { lost }, Nowhere::default(), Silent, [7; 32], 0)
}

fn some_team() -> (Team<Here>, Vec<Rung>) {
    let bells: Vec<Rung> = (0..3).map(|_| Rung::default()).collect();
    (Team::new(bells.clone()), bells)
}

/// Serves on a core; how often its card was found out.
fn serve(team: &Team<Here>, core: usize, breaks: bool) -> u32 {
    let mut seat = Place { team, breaks, at_ns: Cell::new(0), told: Cell::new(0) };
    assert_eq!(team.follow(core, &mut follower(0), &mut seat), End::Over);
    seat.told.get()
}

#[test]
fn a_further_cores_card_that_breaks_is_told_to_the_first_once() {
    let (team, bells) = some_team();
    assert_eq!((serve(&team, 2, false), team.trouble()), (0, None));
    assert_eq!(bells[0].0.get(), 0, "nobody had anything to say");
    let (team, bells) = some_team();
    assert_eq!(serve(&team, 2, true), 1, "it is broken for good, and not looked at again");
    assert_eq!((team.trouble().as_deref(), bells[0].0.get()), (Some("core 2: the card lies"), 1));
    team.cannot_go_on(1, "so does mine");
    assert_eq!(team.trouble().as_deref(), Some("core 2: the card lies"), "what came first");
}

#[test]
fn frames_that_found_no_room_are_counted_over_all_cores() {
    let (team, _) = some_team();
    for (core, lost) in [(1, 3), (2, 40)] {
        team.tell(core, follower(lost).share(0));
    }
    let others = team.others().unwrap();
    assert_eq!(others.frames_lost, 43);

    let mut home = FakeHome::new();
    home.others = Some(others);
    home.to_read.extend(b"hello\nreport\n");
    let (configuration, card) = (Configuration::parse("").unwrap(), Card { lost: 500 });
    let identity = Identity { application: "silent".into(), version: "1".into(), home: "test".into() };
    let mut worker =
        Worker::new(identity, configuration, MAC, card, Nowhere::default(), Silent, &mut home).unwrap();
    for _ in 0..20 {
        worker.turn(&mut home);
        home.now_ns += 100_000_000;
    }
    let said = String::from_utf8(home.written).unwrap();
    let stats = said.lines().rev().find_map(|line| match Message::parse(line) {
        Ok(Message::Stats(stats)) => Some(stats),
        _ => None,
    });
    assert_eq!(stats.expect("statistics were asked for").frames_lost, 543);
}
