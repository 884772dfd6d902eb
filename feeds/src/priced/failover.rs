//! Several feeds that come and go, and prices that are known ahead, in virtual time.

#![cfg(test)]

use super::*;
use crate::board::{from_board, typed};
use crate::feed::Feed;
use crate::json::tests::Random;
use crate::metadata::Answer;
use alloc::format;
use alloc::vec;
use nom_money::{PerByte, PerCoreNs};

const S: u64 = 1_000 * MS;
/// Our clock since 1970 at time 0: the midnight at which the day of the fixture begins.
const UNIX: u64 = 1_774_738_800 * S;
const DAY: &str = include_str!("../../fixtures/day-ahead.xml");
const DAY_FEED: &str = "day-ahead http://10.0.0.9/api watts=10 convert=EUR:1 core=0.01$/core/h";

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A metadata service's answer, valid for a minute.
fn answer(now_ns: u64, bandwidth: i128) -> String {
    let prices = Prices { bandwidth: Some(PerByte(bandwidth)), ..Prices::NONE };
    let unix = UNIX + now_ns;
    http(&Answer { generation: now_ns, provider_unix_ns: unix, prices, next: None, valid_s: 60 }.to_json())
}

/// Feeds that answer when they are up, and a home that does what it is told.
struct World {
    priced: Priced,
    now_ns: u64,
    /// Whether each feed can be reached.
    up: Vec<bool>,
    connection: Option<usize>,
    /// What was published: when, prices, until when they are valid.
    published: Vec<(u64, Prices, u64)>,
    reports: Vec<String>,
    /// Questions that each feed was asked.
    asked: Vec<u64>,
    /// Whether the metadata services hold questions, which they then do for ever.
    hold: bool,
}

impl World {
    fn new(feeds: &[&str]) -> Self {
        let all = feeds.iter().map(|feed| Feed::parse(feed).unwrap()).collect();
        Self {
            priced: Priced::new(Settings::of(all).unwrap(), 77, 0),
            now_ns: 0,
            up: vec![true; feeds.len()],
            connection: None,
            published: Vec::new(),
            reports: Vec::new(),
            asked: vec![0; feeds.len()],
            hold: false,
        }
    }

    /// The feeds of these tests stand on ports of their own.
    fn feed_on(&self, port: u16) -> usize {
        self.priced.settings.feeds().iter().position(|feed| feed.url.port == port).unwrap()
    }

    fn run_until(&mut self, end_ns: u64) {
        let mut turns = 0;
        while self.priced.deadline_ns() <= end_ns {
            self.now_ns = self.priced.deadline_ns().max(self.now_ns);
            while let Some(action) = self.priced.poll(self.now_ns) {
                self.act(action);
            }
            turns += 1;
            assert!(turns < 200_000, "it asks in a loop");
        }
        self.now_ns = end_ns;
    }

    fn act(&mut self, action: Action) {
        let now_ns = self.now_ns;
        match action {
            Action::Connect(Url { port, .. }) => {
                assert_eq!(self.connection, None, "one connection at a time");
                let feed = self.feed_on(port);
                if self.up[feed] {
                    self.connection = Some(feed);
                    self.priced.connected(now_ns);
                } else {
                    self.priced.closed(now_ns);
                }
            }
            Action::Send(question) => {
                let feed = self.connection.expect("a question needs a connection");
                self.asked[feed] += 1;
                let held = self.hold && String::from_utf8(question).unwrap().contains("generation=");
                if !self.up[feed] {
                    self.connection = None;
                    self.priced.closed(now_ns);
                } else if !held {
                    let metadata = self.priced.settings.feeds()[feed].holds();
                    let text = if metadata { answer(now_ns, 1 + feed as i128) } else { http(DAY) };
                    self.priced.received(now_ns, UNIX + now_ns, text.as_bytes());
                }
            }
            Action::Disconnect => self.connection = None,
            Action::Publish(prices) => {
                let (prices, until_ns) = from_board(&prices);
                self.published.push((now_ns, prices, until_ns));
            }
            Action::Report(text) => self.reports.push(text),
        }
    }

    fn last(&self) -> (Prices, u64) {
        let (_, prices, until_ns) = self.published.last().unwrap();
        (*prices, *until_ns)
    }
}

const TWO: [&str; 2] = ["http://10.0.0.1:1/prices", "http://10.0.0.2:2/prices"];

#[test]
fn the_second_is_asked_when_the_first_is_not_there_and_gives_way_when_it_is() {
    let mut world = World::new(&TWO);
    world.up[0] = false;
    world.run_until(S);
    assert_eq!((world.priced.source(), world.last().0.bandwidth), (Some(1), Some(PerByte(2))));
    assert!(world.reports[0].starts_with("metadata 10.0.0.1:1: "), "{:?}", world.reports);
    world.run_until(600 * S);
    // The better one was tried again and again, more and more seldom; the other one about once a second.
    assert!(
        world.priced.counts().failed > 15 && world.priced.counts().failed < 60,
        "{:?}",
        world.priced.counts()
    );
    assert!(world.asked[1] > 300 && world.asked[1] < 700, "{:?}", world.asked);
    assert_eq!(world.reports.len(), 2, "{:?}", world.reports);
    world.up[0] = true;
    let before = world.asked[1];
    world.run_until(640 * S);
    assert_eq!((world.priced.source(), world.last().0.bandwidth), (Some(0), Some(PerByte(1))));
    assert!(world.asked[1] - before < 60);
    let before = world.asked[1];
    world.run_until(900 * S);
    assert_eq!(world.asked[1], before, "nobody asks the second while the first is there");
    assert_eq!(world.priced.counts().switched, 2);
}

#[test]
fn good_prices_are_not_given_up_for_a_short_silence() {
    let mut world = World::new(&TWO);
    world.hold = true;
    world.run_until(10 * S);
    assert_eq!(world.asked, [2, 0]);
    let (first_ns, _, until_ns) = world.published[0];
    // The connection breaks and nobody is there: the prices are good for 45 of their 60 seconds.
    world.up[0] = false;
    world.connection = None;
    world.priced.closed(world.now_ns);
    world.run_until(first_ns + 45 * S - 1);
    assert_eq!(world.asked[1], 0);
    world.run_until(until_ns - 1);
    assert_eq!(world.priced.source(), Some(1), "in the last quarter somebody else is asked");
    assert!(world.published[1].0 < until_ns, "before the first ones ran out");
}

#[test]
fn a_change_that_is_known_is_published_in_time_without_asking() {
    let mut world = World::new(&[DAY_FEED]);
    world.run_until(S);
    let first = world.priced.next().unwrap();
    assert_eq!(first.at_ns, 1_800 * S, "92.35 for two quarters, then 88.1");
    assert_eq!(world.last().1, 1_800 * S + CHANGE_GRACE_NS);
    world.up[0] = false;
    world.run_until(23 * 3600 * S - 1);
    let plan = Feed::parse(DAY_FEED).unwrap().read(DAY, UNIX).unwrap();
    assert!(plan.next.len() > 50);
    assert_eq!(world.priced.counts().foreseen, plan.next.len() as u64);
    assert_eq!(world.published.len(), 1 + plan.next.len());
    for ((at_ns, prices, _), change) in world.published[1..].iter().zip(&plan.next) {
        assert_eq!((UNIX + at_ns, *prices), (change.begin_unix_ns, change.prices));
    }
    for pair in world.published.windows(2) {
        assert!(pair[0].2 > pair[1].0, "there is a valid price at every moment");
    }
    assert_eq!(world.last().1, 23 * 3600 * S, "what ends the day ends the last price");
    assert_eq!(world.priced.next(), None);
    // Whoever comes late gets the latest alone.
    let mut late = World::new(&[DAY_FEED]);
    late.run_until(S);
    late.now_ns = 20 * 3600 * S;
    late.up[0] = false;
    while let Some(action) = late.priced.poll(late.now_ns) {
        late.act(action);
    }
    assert_eq!(late.published.len(), 2);
    assert_eq!(late.last().0, world.published.iter().rfind(|(at_ns, ..)| *at_ns <= late.now_ns).unwrap().1);
}

#[test]
fn a_bad_price_of_later_ends_what_is_known_and_is_said_once() {
    let mut world = World::new(&[DAY_FEED]);
    let absurd = DAY.replace("<price.amount>88.1<", "<price.amount>88100000000<");
    for _ in 0..3 {
        let now_ns = world.priced.deadline_ns();
        while let Some(action) = world.priced.poll(now_ns) {
            match action {
                Action::Connect(..) => world.priced.connected(now_ns),
                Action::Send(_) => world.priced.received(now_ns, UNIX + now_ns, http(&absurd).as_bytes()),
                Action::Publish(prices) => {
                    world.published.push((now_ns, from_board(&prices).0, from_board(&prices).1))
                }
                Action::Report(text) => world.reports.push(text),
                Action::Disconnect => panic!(),
            }
        }
    }
    assert_eq!(world.published.len(), 3);
    assert!(world.published.iter().all(|(_, _, until_ns)| *until_ns == 1_800 * S), "{:?}", world.published);
    assert_eq!(world.reports.len(), 1);
    assert!(world.reports[0].contains("known ahead"), "{:?}", world.reports);
    assert_eq!(world.priced.next(), None);
}

#[test]
fn what_a_metadata_service_announces_is_known_but_left_to_it() {
    let mut priced = Priced::new(Settings::new(crate::http::Url::parse(TWO[0]).unwrap()), 1, 0);
    let prices = |atto| Prices { core: Some(PerCoreNs(atto)), ..Prices::NONE };
    let next = Some((UNIX + 20 * S, prices(9)));
    let answer = Answer { generation: 1, provider_unix_ns: UNIX, prices: prices(5), next, valid_s: 60 };
    let mut published = 0;
    while let Some(action) = priced.poll(0) {
        match action {
            Action::Connect(..) => priced.connected(0),
            Action::Send(_) => priced.received(5 * S, UNIX + 5 * S, http(&answer.to_json()).as_bytes()),
            Action::Publish(board) => {
                published += 1;
                let next = board.next.unwrap();
                assert_eq!((next.at_ns, next.provider_unix_ns), (20 * S, UNIX + 20 * S));
                assert_eq!(typed(next.atto_per_unit), prices(9));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(priced.next().map(|next| (next.at_ns, next.prices)), Some((20 * S, prices(9))));
    // It is held; at the time of the change nothing is published here.
    while let Some(action) = priced.poll(20 * S) {
        assert!(matches!(action, Action::Send(_)), "{action:?}");
    }
    assert_eq!((published, priced.counts().foreseen), (1, 0));
}

#[test]
fn feeds_that_flap_never_leave_the_board_without_a_price_that_somebody_had() {
    let mut random = Random(2_027);
    for turn in 0..20 {
        let mut world = World::new(&["http://10.0.0.1:1/prices", "http://10.0.0.2:2/prices", DAY_FEED]);
        world.hold = turn % 2 == 0;
        world.run_until(S);
        for _ in 0..200 {
            let feed = (random.next() % 2) as usize;
            world.up[feed] = !world.up[feed];
            if !world.up[feed] && world.connection == Some(feed) {
                world.connection = None;
                world.priced.closed(world.now_ns);
            }
            world.run_until(world.now_ns + random.next() % (60 * S));
        }
        // The day's feed is always there, so at every moment some price is valid.
        for pair in world.published.windows(2) {
            assert!(pair[1].0 <= pair[0].2, "nothing was valid from {} to {}", pair[0].2, pair[1].0);
        }
        for (_, prices, _) in &world.published {
            assert!(prices.bandwidth.is_some() != prices.core.is_some(), "a mixture of two feeds");
        }
        let asked: u64 = world.asked.iter().sum();
        assert!(asked < world.now_ns / S * 21 && world.priced.counts().switched > 2, "{asked}");
    }
}
