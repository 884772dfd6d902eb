//! Whom to ask, how often, and what to believe.

use super::MS;
use crate::feed::Feed;
use crate::http::Url;
use crate::offer::Trouble;
use crate::quote::Limits;
use alloc::vec::Vec;

/// Most feeds.
pub const FEEDS_MAX: usize = 4;

/// Whom to ask, how often, and what to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// In the order in which they are believed; never empty.
    feeds: Vec<Feed>,
    /// What to believe.
    pub limits: Limits,
    /// Shortest time between two questions.
    pub ask_min_ns: u64,
    /// How long a connection may take until it can be used: names, TCP and TLS together.
    pub connect_max_ns: u64,
    /// How long an answer may take. Longer than the service holds a question.
    pub answer_max_ns: u64,
    /// The same for a question that is not held, when there is somebody else to ask.
    pub answer_quick_ns: u64,
    /// First pause after a failure; doubled after each further one.
    pub pause_min_ns: u64,
    /// Longest pause.
    pub pause_max_ns: u64,
}

impl Settings {
    /// The usual ones for a metadata service: at most 20 questions a second, 10 s for a connection, 45 s for an answer, pauses of 0.1 s to
    /// 30 s.
    pub fn new(url: Url) -> Self {
        Self::with(Vec::from([Feed::metadata(url)]))
    }

    /// The usual ones for one to four feeds, the most believed first.
    pub fn of(feeds: Vec<Feed>) -> Result<Self, Trouble> {
        match feeds.len() {
            1..=FEEDS_MAX => Ok(Self::with(feeds)),
            _ => Err(Trouble::new("there must be one to four price feeds")),
        }
    }

    fn with(feeds: Vec<Feed>) -> Self {
        Self {
            feeds,
            limits: Limits::default(),
            ask_min_ns: 50 * MS,
            connect_max_ns: 10_000 * MS,
            answer_max_ns: 45_000 * MS,
            answer_quick_ns: 10_000 * MS,
            pause_min_ns: 100 * MS,
            pause_max_ns: 30_000 * MS,
        }
    }

    /// The feeds, in the order in which they are believed.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// How long to wait for an answer.
    pub(super) fn patience_ns(&self, held: bool) -> u64 {
        if held || self.feeds.len() == 1 { self.answer_max_ns } else { self.answer_quick_ns }
    }
}
