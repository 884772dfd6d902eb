//! A price's way from the board to the knob in a whole service, and what it executes between two prices: which code one
//! executes that the other has not is a question of counting, not of time.
//!
//! A service with its worker is asked by two clients, 500 times a second, and sees a price in turns. What is counted
//! depends on the second word: `price` the round from a price to the knob in force, after which the program ends; `between` a second
//! without a price; `alone` the same where nothing is rehearsed; `rehearsal` as `between`, for whoever collects inside of the
//! rehearsal only.

use crate::client::{Client, PORT, SERVER, SERVER_MAC};
use crate::device::{Received, Sent};
use crate::ours::Replies;
use nom_abi::board::{self, Prices, Rate, Resource};
use nom_service::configuration::Configuration;
use nom_service::home::{Home, NotMine};
use nom_service::worker::{Identity, Round, Worker};
use nom_stack::knobs::Knobs;
use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

const SECOND: u64 = 1_000_000_000;
/// Time between two requests, and between two steps of the clock without one.
const REQUEST_NS: u64 = 2_000_000;
const STEP_NS: u64 = 200_000;
const CLIENTS: usize = 2;
const REQUEST: &[u8] = b"get reaction\r\n";
const ANSWER_LEN: usize = 5;
/// Prices of a core-nanosecond in attodollars: 0.036 $ and 10.8 $ an hour.
const CORE: [i128; 2] = [10_000, 3_000_000];
const POINTS_MAX: usize = 40;

/// Where cores are cheap the first point earns most, where they are dear the last one, whatever the load is.
fn configuration(points: usize, rehearsal: bool) -> String {
    let mut text = format!(
        "address = {SERVER}/8\nlisten = {PORT}\nmemory.items = 8 MiB\nutility = refund\nvalue = 0.2 $/Mop\n\
         refund = 3 $/(Mop s)\nwindow = 1 s\ntuner.rehearsal = {}\npoints = nom-points 1\npoints = application kv\n\
         points = noise 0.02\npoints = capacity_per_s 1000000\n\
         points = class any open utilisation 0.. connections 0..\n",
        if rehearsal { "yes" } else { "no" }
    );
    for place in 0..points {
        let part = place as f64 / (points - 1) as f64;
        let _ = writeln!(
            text,
            "points = point wait=halt batch={} : throughput_per_s=1000000 useful_bytes=0 wire_bytes=600 core_ns={} \
             idle_cores=0 memory_bytes=0 mean_ns={} jitter_ns=10000 p99_ns={} samples=10000 late=1s:0",
            if place == 0 { "0".into() } else { format!("{place}us") },
            (30_000.0 - 20_000.0 * part) as u64,
            (100_000.0 + 1_900_000.0 * part * part) as u64,
            (200_000.0 + 2_800_000.0 * part * part) as u64,
        );
    }
    text
}

/// Frames on their way to the service.
type Inbox = Rc<RefCell<VecDeque<Vec<u8>>>>;

struct Fed {
    received: Received,
    inbox: Inbox,
}

impl Ingress for Fed {
    fn look(&mut self, now_ns: u64) -> usize {
        for frame in self.inbox.borrow_mut().drain(..) {
            self.received.arrive(frame, now_ns);
        }
        self.received.look(now_ns)
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.received.oldest_ns()
    }

    fn capacity(&self) -> usize {
        self.received.capacity()
    }

    fn take(&mut self) -> Option<Arrival> {
        self.received.take()
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        self.received.bytes(arrival)
    }

    fn give_back(&mut self, arrival: Arrival) {
        self.received.give_back(arrival);
    }

    fn arm(&mut self) -> bool {
        self.inbox.borrow().is_empty() && self.received.arm()
    }
}

/// What the service sent: of openings' answers the bytes.
struct Drained {
    sent: Sent,
    answers: Inbox,
}

impl Egress for Drained {
    fn offloads(&self) -> Offloads {
        self.sent.offloads()
    }

    fn mtu(&self) -> usize {
        self.sent.mtu()
    }

    fn room(&self) -> usize {
        self.sent.room()
    }

    fn capacity(&self) -> usize {
        self.sent.capacity()
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let queued = self.sent.queue(frame);
        self.answers.borrow_mut().extend(self.sent.answer());
        queued
    }

    fn kick(&mut self) -> bool {
        self.sent.kick()
    }

    fn completed(&mut self) -> u64 {
        self.sent.completed()
    }
}

struct Place {
    now_ns: u64,
    board: Vec<AtomicU64>,
    /// The next knob in force ends the program.
    armed: bool,
}

impl Home for Place {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn unix_ns(&self) -> u64 {
        1_800_000_000 * SECOND + self.now_ns
    }

    fn wait(&mut self, _until_ns: Option<u64>) {
        unreachable!("rounds do not wait");
    }

    fn board(&self) -> &[AtomicU64] {
        &self.board
    }

    fn publish(&mut self, _prices: &Prices) -> Result<u64, NotMine> {
        Err(NotMine)
    }

    fn management_read(&mut self, _bytes: &mut [u8]) -> usize {
        0
    }

    fn management_write(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn core_time_ns(&self) -> u64 {
        self.now_ns / 4
    }

    fn memory_bytes(&self) -> u64 {
        16 << 20
    }

    fn lead(&mut self, _knobs: &Knobs) {
        if self.armed {
            arrived();
        }
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> bool {
        bytes.fill(0x5a);
        true
    }
}

/// The knob is in force: from here on nothing is collected.
#[inline(never)]
fn arrived() -> ! {
    println!("rehearsals 0\nrequests 1");
    std::process::exit(0)
}

struct Service {
    worker: Worker<Fed, Drained, Replies>,
    place: Place,
    inbox: Inbox,
    client: Client,
    asked_ns: u64,
    which: usize,
}

impl Service {
    fn new(points: usize, rehearsal: bool) -> Self {
        let board: Vec<AtomicU64> = (0..board::WORDS).map(|_| AtomicU64::new(0)).collect();
        board::initialise(&board).expect("a whole page");
        let mut place = Place { now_ns: SECOND, board, armed: false };
        let configuration = Configuration::parse(&configuration(points, rehearsal)).expect("it is one");
        let (inbox, answers) = (Inbox::default(), Inbox::default());
        let fed = Fed { received: Received::new(true), inbox: inbox.clone() };
        let drained = Drained { sent: Sent::new(true), answers: answers.clone() };
        let identity = Identity { application: "kv".into(), version: "0".into(), home: "counted".into() };
        // Not the cache: what a request costs there is counted in this program too, and would be compiled otherwise.
        let replies = Replies::new(ANSWER_LEN);
        let worker = Worker::new(identity, configuration, SERVER_MAC, fed, drained, replies, &mut place);
        let worker = worker.unwrap_or_else(|error| panic!("{error}"));
        let client = Client::default();
        let mut service = Self { worker, place, inbox, client, asked_ns: 0, which: 0 };
        for _ in 0..CLIENTS {
            let opening = service.client.open();
            service.deliver(opening);
            let answer = answers.borrow_mut().pop_back().expect("the opening is answered");
            let last = service.client.complete(&answer);
            service.deliver(last);
        }
        service
    }

    fn deliver(&mut self, frame: Vec<u8>) {
        self.inbox.borrow_mut().push_back(frame);
        rounds(&mut self.worker, &mut self.place);
    }

    fn price(&self, which: usize) {
        let mut prices = Prices { published_ns: self.place.now_ns, ..Prices::NONE };
        let rate = Rate { atto_per_unit: CORE[which], valid_until_ns: 0 };
        prices.rates[Resource::Core as usize] = Some(rate);
        board::publish(&self.place.board, &prices).expect("a board");
    }

    /// Serves for so long; `step` is what does the rounds.
    fn serve(&mut self, for_ns: u64, step: fn(&mut Worker<Fed, Drained, Replies>, &mut Place)) {
        let end_ns = self.place.now_ns + for_ns;
        while self.place.now_ns < end_ns {
            self.place.now_ns += STEP_NS;
            if self.place.now_ns >= self.asked_ns + REQUEST_NS {
                self.asked_ns = self.place.now_ns;
                self.which = (self.which + 1) % CLIENTS;
                let frame = self.client.request(self.which, REQUEST, ANSWER_LEN);
                self.inbox.borrow_mut().push_back(frame);
            }
            step(&mut self.worker, &mut self.place);
        }
    }
}

/// Rounds until there is nothing to do.
#[inline(never)]
fn rounds(worker: &mut Worker<Fed, Drained, Replies>, place: &mut Place) {
    while worker.round(place) == Round::Worked {}
}

/// The same; what happens here is collected.
#[inline(never)]
fn counted(worker: &mut Worker<Fed, Drained, Replies>, place: &mut Place) {
    rounds(worker, place);
}

/// Plays it, and tells how often a price was rehearsed in the time that counts. False when there is no such way, or when
/// there cannot be so many points.
pub fn play(what: &str, points: usize) -> bool {
    let rehearsal = match what {
        "price" | "between" | "rehearsal" => true,
        "alone" => false,
        _ => return false,
    };
    if !(2..=POINTS_MAX).contains(&points) {
        return false;
    }
    let mut service = Service::new(points, rehearsal);
    // Each price is followed twice before anything is collected.
    for which in [0, 1, 0, 1, 0] {
        service.price(which);
        service.serve(3 * SECOND / 2, rounds);
    }
    let before = service.worker.rehearsals();
    if what == "price" {
        service.price(1);
        service.place.armed = true;
        service.place.now_ns += STEP_NS / 2;
        counted(&mut service.worker, &mut service.place);
        panic!("the price did not move the knob");
    }
    service.serve(SECOND, counted);
    // Whoever collects inside of rehearsals collects all of them.
    let since = if what == "rehearsal" { 0 } else { before };
    println!("rehearsals {}", service.worker.rehearsals() - since);
    true
}
