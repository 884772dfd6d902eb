//! priced: asks price feeds, checks what they say, and says what to publish. Whoever runs it does what
//! [`Priced::poll`] asks for, reports what happens on the connection, and comes back at [`Priced::deadline_ns`].
//!
//! ```text
//! idle --(a feed is due)--> connecting --> asking --(answer)--> idle, with the connection open ...
//!   ^                           |            |
//!   +-------- back-off ---------+------------+   refused, closed, silent for too long
//! ```
//!
//! A metadata service holds a question about a generation that it still has (long poll), so a change arrives at once
//! and nothing is asked in a loop; one that does not hold it is asked at most every [`Settings::ask_min_ns`].
//!
//! **Several feeds** stand in the order in which they are believed. Each has a back-off of its own. One of lower rank
//! is asked only when nothing better is known: at the start, and when the prices of the better one are in the last
//! quarter of their validity. The better one is tried again all the while, and takes over with its first good answer.
//! One connection is open at a time. What applications see meanwhile: the last good prices, marked with the time
//! until which they are valid; never a mixture of two feeds.
//!
//! **Prices that are known ahead** are checked like any other and stand in [`Priced::next`]. When their time comes
//! they are published without asking, except those of a feed that holds questions: it tells of the change itself. The
//! board carries the first of them beside the prices in force, for whoever wants to prepare.

use crate::board::to_board;
use crate::feed::Reading;
use crate::http::{self, Response, Url};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use nom_abi::board;
use nom_money::Prices;

#[cfg(test)]
mod failover;
mod judge;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{FEEDS_MAX, Settings};

/// Actions that wait to be polled. When there are more, the oldest report is dropped; what must be done never is.
const ACTIONS_MAX: usize = 8;
const MS: u64 = 1_000_000;
/// Longest time between two questions about short-lived prices, which the service is not asked to hold.
const ASK_AGAIN_MAX_NS: u64 = 1_000 * MS;
/// How long a price stays valid beyond a change that is known, so that the board never says "nothing" in between.
const CHANGE_GRACE_NS: u64 = 1_000 * MS;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a connection to where this is, over TLS if it says so; say [`Priced::connected`], [`Priced::closed`] or
    /// [`Priced::failed`].
    Connect(Url),
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection, if there is one. Nothing is to be said about it any more.
    Disconnect,
    /// Write these prices to the board.
    Publish(Box<board::Prices>),
    /// Tell a person.
    Report(String),
}

/// What priced has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Questions asked.
    pub asked: u64,
    /// Answers published.
    pub published: u64,
    /// Prices published because their time had come, without asking.
    pub foreseen: u64,
    /// Answers refused: unreadable, stale, absurd.
    pub refused: u64,
    /// Connections that failed, and answers that never came.
    pub failed: u64,
    /// Times that another feed took over.
    pub switched: u64,
}

#[derive(Debug)]
enum State {
    /// Until a feed is due; with the feed whose connection is kept.
    Idle { open: Option<usize> },
    /// To this feed, until then.
    Connecting { source: usize, until_ns: u64 },
    /// This feed, until then.
    Asking { source: usize, until_ns: u64, response: Response },
}

/// What is known about a feed.
#[derive(Debug, Clone, Default)]
struct Source {
    /// Failures and refusals in a row.
    failures: u32,
    /// Not asked before.
    not_before_ns: u64,
    asked_ns: u64,
    /// Asked with this generation: also that of an answer that was refused, so that it is not sent again at once.
    known: Option<u64>,
    /// What was reported last, so that the same failure is said once.
    said: String,
}

/// Prices that begin at a known time, by our own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// When.
    pub at_ns: u64,
    /// All prices from then on.
    pub prices: Prices,
    /// The same time since 1970.
    pub provider_unix_ns: u64,
}

/// The last answer that was published.
#[derive(Debug, Clone)]
struct Good {
    source: usize,
    prices: Prices,
    generation: u64,
    provider_unix_ns: u64,
    valid_ns: u64,
    until_ns: u64,
    next: VecDeque<Next>,
}

impl Good {
    /// From then on somebody else may be asked.
    fn stale_ns(&self) -> u64 {
        self.until_ns.saturating_sub(self.valid_ns / 4)
    }
}

/// The machine.
#[derive(Debug)]
pub struct Priced {
    settings: Settings,
    sources: Vec<Source>,
    state: State,
    actions: VecDeque<Action>,
    random: u64,
    good: Option<Good>,
    counts: Counts,
}

impl Priced {
    /// Begins to ask at once. Entropy makes many of them not ask in step.
    pub fn new(settings: Settings, entropy: u64, now_ns: u64) -> Self {
        let source = Source { not_before_ns: now_ns, ..Source::default() };
        Self {
            sources: alloc::vec![source; settings.feeds().len()],
            settings,
            state: State::Idle { open: None },
            actions: VecDeque::with_capacity(ACTIONS_MAX),
            random: entropy | 1,
            good: None,
            counts: Counts::default(),
        }
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The prices that were published last, and the service's generation of them (0 when it counts none).
    pub fn published(&self) -> Option<(Prices, u64)> {
        self.good.as_ref().map(|good| (good.prices, good.generation))
    }

    /// The feed that they came from, by its place in the settings.
    pub fn source(&self) -> Option<usize> {
        self.good.as_ref().map(|good| good.source)
    }

    /// The next change, when one is known.
    pub fn next(&self) -> Option<Next> {
        self.good.as_ref().and_then(|good| good.next.front().copied())
    }

    /// When this feed may be asked.
    fn due_ns(&self, source: usize) -> u64 {
        let not_before_ns = self.sources[source].not_before_ns;
        match &self.good {
            Some(good) if source > good.source => not_before_ns.max(good.stale_ns()),
            _ => not_before_ns,
        }
    }

    /// When a change is to be published without asking.
    fn change_ns(&self) -> Option<u64> {
        let good = self.good.as_ref().filter(|good| !self.settings.feeds()[good.source].holds())?;
        good.next.front().map(|next| next.at_ns)
    }

    /// When to call [`Priced::poll`] again if nothing happens on the connection.
    pub fn deadline_ns(&self) -> u64 {
        let due_ns = match &self.state {
            _ if !self.actions.is_empty() => 0,
            State::Idle { .. } => {
                (0..self.sources.len()).map(|source| self.due_ns(source)).min().unwrap_or(u64::MAX)
            }
            State::Connecting { until_ns, .. } | State::Asking { until_ns, .. } => *until_ns,
        };
        self.change_ns().map_or(due_ns, |change_ns| due_ns.min(change_ns))
    }

    /// The next thing to do. Call it until it says `None`.
    pub fn poll(&mut self, now_ns: u64) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.change_ns().is_some_and(|change_ns| now_ns >= change_ns) {
            self.publish_change(now_ns);
        }
        match self.state {
            State::Idle { open } => {
                // The first in rank of those that are due.
                if let Some(source) = (0..self.sources.len()).find(|source| now_ns >= self.due_ns(*source)) {
                    match open {
                        Some(kept) if kept == source => self.ask(source, now_ns),
                        other => self.connect(source, other.is_some(), now_ns),
                    }
                }
            }
            State::Connecting { source, until_ns } if now_ns >= until_ns => {
                self.fail(source, now_ns, "the connection to the price service takes too long");
            }
            State::Asking { source, until_ns, .. } if now_ns >= until_ns => {
                self.fail(source, now_ns, "the price service does not answer");
            }
            _ => {}
        }
        self.actions.pop_front()
    }

    /// The connection is open.
    pub fn connected(&mut self, now_ns: u64) {
        if let State::Connecting { source, .. } = self.state {
            self.ask(source, now_ns);
        }
    }

    /// The connection could not be opened, or is over.
    pub fn closed(&mut self, now_ns: u64) {
        match &mut self.state {
            // A service may close between two questions.
            State::Idle { open } => *open = None,
            State::Connecting { source, .. } => {
                let source = *source;
                self.fail(source, now_ns, "the price service cannot be reached");
            }
            State::Asking { source, .. } => {
                let source = *source;
                self.fail(source, now_ns, "the price service closed before it had answered");
            }
        }
    }

    /// The connection could not be opened, or is over, for a reason that a person should know.
    pub fn failed(&mut self, now_ns: u64, why: &str) {
        match &mut self.state {
            State::Idle { open } => *open = None,
            State::Connecting { source, .. } => {
                let source = *source;
                self.fail(source, now_ns, &alloc::format!("the price service cannot be reached: {why}"));
            }
            State::Asking { source, .. } => {
                let source = *source;
                self.fail(
                    source,
                    now_ns,
                    &alloc::format!("the connection to the price service failed: {why}"),
                );
            }
        }
    }

    /// Bytes came. `unix_ns` is our clock since 1970, 0 when it is not known.
    pub fn received(&mut self, now_ns: u64, unix_ns: u64, bytes: &[u8]) {
        let (source, response) = match &mut self.state {
            State::Asking { source, response, .. } => (*source, response),
            State::Idle { open: Some(source) } | State::Connecting { source, .. } if !bytes.is_empty() => {
                let source = *source;
                return self.fail(source, now_ns, "the price service speaks without being asked");
            }
            _ => return,
        };
        let (used, done) = match response.push(bytes) {
            Ok(used) => (used, response.is_done()),
            Err(error) => {
                let message = alloc::format!("the price service's answer is refused: {error}");
                return self.fail(source, now_ns, &message);
            }
        };
        if !done {
            return;
        }
        if used < bytes.len() {
            return self.fail(source, now_ns, "the price service says more than it was asked");
        }
        let (keep, status) = (response.keeps(), response.status());
        if status != 200 {
            let why = if (300..400).contains(&status) {
                ": nobody is sent elsewhere; name the place itself"
            } else {
                ""
            };
            let message = alloc::format!("the price service answers with status {status}{why}");
            return self.fail(source, now_ns, &message);
        }
        let feed = &self.settings.feeds()[source];
        let read = core::str::from_utf8(response.body())
            .map_err(|_| String::from("it is no text"))
            .and_then(|text| feed.read(text, unix_ns).map_err(|trouble| trouble.0));
        if !keep {
            self.act(Action::Disconnect);
        }
        let open = keep.then_some(source);
        match read.and_then(|reading| self.judge(source, now_ns, unix_ns, reading)) {
            Ok(trouble) => {
                let again_ns = self.again_ns(source, now_ns);
                let known = &mut self.sources[source];
                known.failures = 0;
                known.not_before_ns = again_ns;
                self.state = State::Idle { open };
                match trouble {
                    Some(trouble) => self.report(source, &trouble),
                    None => self.sources[source].said.clear(),
                }
            }
            Err(why) => {
                self.counts.refused += 1;
                let message = alloc::format!("a price is refused and not published: {why}");
                self.pause(source, now_ns, open, &message);
            }
        }
    }

    fn connect(&mut self, source: usize, hang_up: bool, now_ns: u64) {
        if hang_up {
            self.act(Action::Disconnect);
        }
        let until_ns = now_ns.saturating_add(self.settings.connect_max_ns);
        self.state = State::Connecting { source, until_ns };
        let url = self.settings.feeds()[source].url.clone();
        self.act(Action::Connect(url));
    }

    fn ask(&mut self, source: usize, now_ns: u64) {
        self.counts.asked += 1;
        self.sources[source].asked_ns = now_ns;
        let feed = &self.settings.feeds()[source];
        // A question that is held keeps us from asking anybody better, so only the best is asked to hold it; and what
        // would run out meanwhile is asked for again and again instead.
        let held =
            self.sources[source].known.filter(|_| feed.holds() && source == 0 && !self.is_short_lived());
        let until_ns = now_ns.saturating_add(self.settings.patience_ns(held.is_some()));
        let response = Response::bounded(feed.body_max());
        let question = http::get(&feed.url, held);
        self.state = State::Asking { source, until_ns, response };
        self.act(Action::Send(question));
    }

    fn is_short_lived(&self) -> bool {
        self.good.as_ref().is_some_and(|good| good.valid_ns <= self.settings.answer_max_ns)
    }

    fn again_ns(&self, source: usize, now_ns: u64) -> u64 {
        let feed = &self.settings.feeds()[source];
        let quarter_ns = self.good.as_ref().map_or(u64::MAX, |good| good.valid_ns / 4);
        let rest_ns = match feed.holds() {
            true if source == 0 && !self.is_short_lived() => 0,
            true => quarter_ns.min(ASK_AGAIN_MAX_NS),
            false => quarter_ns.min(feed.ask_every_ns()),
        };
        let asked_ns = self.sources[source].asked_ns;
        asked_ns.saturating_add(rest_ns.max(self.settings.ask_min_ns)).max(now_ns)
    }

    fn fail(&mut self, source: usize, now_ns: u64, message: &str) {
        self.counts.failed += 1;
        self.act(Action::Disconnect);
        self.sources[source].known = None;
        self.pause(source, now_ns, None, message);
    }

    /// Pauses longer and longer, between half and all of the doubled time, and reports once a kind of failure.
    fn pause(&mut self, source: usize, now_ns: u64, open: Option<usize>, message: &str) {
        let failures = self.sources[source].failures;
        let doubled = self.settings.pause_min_ns.saturating_mul(1 << failures.min(20));
        let pause_ns = doubled.min(self.settings.pause_max_ns);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter_ns = self.random % (pause_ns / 2 + 1);
        self.state = State::Idle { open };
        let known = &mut self.sources[source];
        known.failures = failures.saturating_add(1);
        known.not_before_ns = now_ns.saturating_add(pause_ns - jitter_ns);
        self.report(source, message);
    }

    fn report(&mut self, source: usize, message: &str) {
        if self.sources[source].said == message {
            return;
        }
        self.sources[source].said = message.into();
        let feeds = self.settings.feeds();
        self.act(Action::Report(match feeds.len() {
            1 => message.into(),
            _ => alloc::format!("{}: {message}", feeds[source]),
        }));
    }

    fn act(&mut self, action: Action) {
        if self.actions.len() == ACTIONS_MAX {
            // Answers come one after another and each adds four actions at most, so a home that polls never sees
            // this; one that does not loses reports first, then whatever is oldest.
            let report = self.actions.iter().position(|action| matches!(action, Action::Report(_)));
            self.actions.remove(report.unwrap_or(0));
        }
        self.actions.push_back(action);
    }

    /// Keeps what was found good, and publishes it.
    fn publish(&mut self, source: usize, now_ns: u64, reading: &Reading, next: VecDeque<Next>) {
        let until_ns = now_ns.saturating_add(reading.valid_ns);
        let before = self.good.replace(Good {
            source,
            prices: reading.prices,
            generation: reading.generation.unwrap_or(0),
            provider_unix_ns: reading.provider_unix_ns,
            valid_ns: reading.valid_ns,
            until_ns,
            next,
        });
        self.counts.published += 1;
        let (valid_ns, next) = (self.valid_until_ns(until_ns), self.next());
        let board = to_board(&reading.prices, now_ns, reading.provider_unix_ns, valid_ns, next.as_ref());
        self.act(Action::Publish(Box::new(board)));
        let before = before.map_or(0, |before| before.source);
        if before != source {
            // How often it is asked while it is in use does not bind it when it is needed again.
            let other = &mut self.sources[before];
            if other.failures == 0 {
                other.not_before_ns = other.asked_ns.saturating_add(self.settings.ask_min_ns);
            }
            self.counts.switched += 1;
            let message = alloc::format!("prices are those of {} from now on", self.settings.feeds()[source]);
            self.act(Action::Report(message));
        }
    }

    /// A price that is to be replaced at a known time is not valid for longer.
    fn valid_until_ns(&self, until_ns: u64) -> u64 {
        self.change_ns().map_or(until_ns, |change_ns| until_ns.min(change_ns.saturating_add(CHANGE_GRACE_NS)))
    }

    /// Publishes what was known ahead, now that its time has come.
    fn publish_change(&mut self, now_ns: u64) {
        let Some(good) = &mut self.good else { return };
        // Whoever comes late gets the latest.
        while let Some(next) = good.next.front().copied().filter(|next| next.at_ns <= now_ns) {
            good.next.pop_front();
            (good.prices, good.provider_unix_ns) = (next.prices, next.provider_unix_ns);
        }
        let (prices, unix_ns, until_ns) = (good.prices, good.provider_unix_ns, good.until_ns);
        self.counts.foreseen += 1;
        let (until_ns, next) = (self.valid_until_ns(until_ns), self.next());
        self.act(Action::Publish(Box::new(to_board(&prices, now_ns, unix_ns, until_ns, next.as_ref()))));
    }
}
