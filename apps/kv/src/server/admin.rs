//! Lines for operators: what is dumped, watched, resized, and what memcached's tools expect to be understood.
//!
//! There are no slabs and no LRU lists to tune here. Where a line of memcached would change one, it is checked and
//! answered as there, and changes nothing.

use super::dump::{Dump, Style};
use super::{Connection, Kv, reply};
use crate::answer;
use crate::class::CLASSES;
use crate::command::{BAD_FORMAT, ERROR};
use crate::text::{Words, number, unsigned};
use alloc::string::String;
use nom_stack::application::Io;
use nom_stack::meter::Answer;

const BAD_DETAIL: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";
const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line\r\n";
const BAD_CLASS: &[u8] = b"BADCLASS invalid class id\r\n";
const BAD_DUMPED_CLASS: &[u8] = b"CLIENT_ERROR Illegal slab id\r\n";
/// As many as memcached could ever have; of those that it has not, nothing is dumped.
const CLASSES_MAX: u64 = 64;
const BAD_PARTS: &[u8] = b"ERROR hot and warm pcts must not exceed 80\r\n";
const BAD_FACTORS: &[u8] = b"ERROR hot/warm age factors must be greater than 0\r\n";
const NO_SPARE: &[u8] = b"NOSPARE source class has no spare pages\r\n";
const SAME_CLASS: &[u8] = b"SAME src and dst class are identical\r\n";
const NO_RESIZE: &[u8] = b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n";
const NOT_FIRST: &[u8] = b"ERROR cannot pipeline other commands before metadump\r\n";
const NOT_FIRST_TO_WATCH: &[u8] = b"ERROR cannot pipeline other commands before watch\r\n";
/// Whoever asks for more mebibytes meant bytes.
const MEBIBYTES_MAX: u64 = 1_000_000_000;
/// Most that a tool may ask to be dumped by `stats cachedump`, as in memcached's two megabytes.
const CACHE_DUMP_MAX: u32 = 20_000;

impl Kv {
    /// Serves a line of [`Command::Admin`](crate::command::Command); there is room for a short reply. `first` when nothing was
    /// answered in this turn yet.
    pub(super) fn admin(&mut self, connection: &mut Connection, io: &mut impl Io, line: &[u8], first: bool) {
        let mut words = Words::new(line);
        let command = words.next();
        let silent = command.is_some_and(|command| obeys_noreply(command, words.clone()));
        let answer = match command {
            Some(b"stats") => return self.stats(connection, io, words),
            Some(b"watch") if self.config.may_watch && !first => NOT_FIRST_TO_WATCH,
            Some(b"watch") if self.config.may_watch => self.watch(connection, io, words),
            Some(b"watch") => b"CLIENT_ERROR watch commands not allowed\r\n",
            Some(b"lru_crawler") => match crawler(words) {
                Crawler::Dump(_) if !first => NOT_FIRST,
                Crawler::Dump(class) => {
                    let dump =
                        Dump::Items { bucket: 0, within: 0, style: Style::Meta, class, left: u32::MAX };
                    return self.begin_dump(connection, io, dump);
                }
                Crawler::Crawl => {
                    self.store.crawl_now();
                    answer::OK
                }
                Crawler::Switch(on) => {
                    self.store.crawls = on;
                    answer::OK
                }
                Crawler::Answer(answer) => answer,
            },
            Some(b"lru") => lru(words),
            Some(b"slabs") => slabs(words),
            Some(b"cache_memlimit") => self.resize(words),
            Some(b"debugtime") if self.config.may_move_time => {
                match words.next().map(|word| (word, number(word))) {
                    Some((b"p", _)) => answer::OK,
                    Some((_, Some(seconds))) => {
                        self.moved_s = self.moved_s.saturating_add(seconds.clamp(0, 1 << 30) as u32);
                        self.store.tick(self.second(io.now_ns()));
                        answer::OK
                    }
                    _ => ERROR,
                }
            }
            _ => ERROR,
        };
        let refused = answer.starts_with(b"ERROR") || answer.starts_with(b"CLIENT_ERROR");
        reply(connection, io, answer, refused.then_some(Answer::Refused), silent);
    }

    fn stats(&mut self, connection: &mut Connection, io: &mut impl Io, mut words: Words<'_>) {
        let text = match words.next() {
            Some(b"detail") => match words.next() {
                Some(b"dump") => self.detail.report(),
                Some(b"on") => {
                    self.detail.on = true;
                    String::from("OK\r\n")
                }
                Some(b"off") => {
                    self.detail.on = false;
                    String::from("OK\r\n")
                }
                _ => return reply(connection, io, BAD_DETAIL, Some(Answer::Refused), false),
            },
            Some(b"cachedump") => {
                let (Some(class), Some(limit)) = (words.next(), words.next()) else {
                    return reply(connection, io, BAD_LINE, Some(Answer::Refused), false);
                };
                let (Some(class), Some(limit)) = (unsigned(class), unsigned(limit)) else {
                    return reply(connection, io, BAD_FORMAT, Some(Answer::Refused), false);
                };
                if class >= CLASSES_MAX {
                    return reply(connection, io, BAD_DUMPED_CLASS, Some(Answer::Refused), false);
                }
                if class == 0 || class > CLASSES as u64 {
                    return reply(connection, io, answer::END, None, false);
                }
                let left = u32::try_from(limit).unwrap_or(0).min(CACHE_DUMP_MAX);
                let left = if left == 0 { CACHE_DUMP_MAX } else { left };
                let class = Some(class as usize - 1);
                let dump = Dump::Items { bucket: 0, within: 0, style: Style::Cache, class, left };
                return self.begin_dump(connection, io, dump);
            }
            Some(b"conns") => {
                let listener = self.listener();
                let written = io.write(listener.as_bytes());
                debug_assert!(written.is_ok(), "room was asked for");
                return self.begin_dump(connection, io, Dump::Connections { slot: 0 });
            }
            None if self.shards.is_some() => {
                let client = io.connection();
                let others = self.shards.as_mut().map(|shards| shards.gathered(client));
                self.together(io.now_ns(), &others.unwrap_or_default())
            }
            word => match self.report(word, io.now_ns()) {
                Some(text) => text,
                None => return reply(connection, io, ERROR, Some(Answer::Refused), false),
            },
        };
        self.begin_dump(connection, io, Dump::Text { text, at: 0 });
    }

    /// `cache_memlimit`, in mebibytes.
    fn resize(&mut self, mut words: Words<'_>) -> &'static [u8] {
        // One more word is allowed, whatever it is.
        let (Some(limit), _, None) = (words.next(), words.next(), words.next()) else { return ERROR };
        let Some(limit) = unsigned(limit).filter(|limit| *limit <= u64::from(u32::MAX)) else { return ERROR };
        if limit < 8 {
            return b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n";
        }
        if limit > MEBIBYTES_MAX {
            return b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n";
        }
        let bytes = limit.checked_mul(1 << 20).and_then(|bytes| usize::try_from(bytes).ok());
        match bytes {
            Some(bytes) if self.resize_all(bytes) => answer::OK,
            _ => NO_RESIZE,
        }
    }
}

/// Whether a line is not answered, as in memcached: some of these commands obey a last word `noreply`, some do not.
fn obeys_noreply(command: &[u8], mut words: Words<'_>) -> bool {
    let obeys = match command {
        b"lru" => words.clone().count() >= 1,
        b"cache_memlimit" => matches!(words.clone().count(), 1 | 2),
        b"slabs" => words.clone().count() >= 2 && words.next() == Some(b"automove"),
        _ => false,
    };
    obeys && words.last() == Some(b"noreply")
}

enum Crawler {
    Dump(Option<usize>),
    Crawl,
    Switch(bool),
    Answer(&'static [u8]),
}

/// Reads `all`, `hash` or a list of classes.
fn classes(word: Option<&[u8]>) -> Result<Option<usize>, &'static [u8]> {
    match word {
        None => Err(ERROR),
        Some(b"all" | b"hash") => Ok(None),
        Some(list) => {
            let first = list.split(|byte| *byte == b',').next().and_then(unsigned);
            match first {
                Some(class) if (1..=CLASSES as u64).contains(&class) => Ok(Some(class as usize - 1)),
                _ => Err(BAD_CLASS),
            }
        }
    }
}

fn crawler(mut words: Words<'_>) -> Crawler {
    let (what, argument, more) = (words.next(), words.next(), words.next());
    match (what, argument, more) {
        (Some(b"metadump"), class, None) => classes(class).map_or_else(Crawler::Answer, Crawler::Dump),
        (Some(b"crawl"), class, None) => classes(class).map_or_else(Crawler::Answer, |_| Crawler::Crawl),
        (Some(b"enable"), None, None) => Crawler::Switch(true),
        (Some(b"disable"), None, None) => Crawler::Switch(false),
        (Some(b"sleep" | b"tocrawl"), Some(value), None) => Crawler::Answer(match unsigned(value) {
            Some(_) => answer::OK,
            None => BAD_FORMAT,
        }),
        _ => Crawler::Answer(ERROR),
    }
}

fn lru(mut words: Words<'_>) -> &'static [u8] {
    match (words.next(), words.next()) {
        (Some(b"mode"), Some(b"flat" | b"segmented")) => answer::OK,
        (Some(b"tune"), Some(first)) => {
            let whole = |word: Option<&[u8]>| u32::try_from(unsigned(word?)?).ok();
            let fraction = |word: Option<&[u8]>| core::str::from_utf8(word?).ok()?.parse::<f64>().ok();
            let (hot, warm) = (whole(Some(first)), whole(words.next()));
            match (hot, warm, fraction(words.next()), fraction(words.next())) {
                (Some(hot), Some(warm), Some(_), Some(_)) if hot.wrapping_add(warm) > 80 => BAD_PARTS,
                (Some(_), Some(_), Some(hot), Some(warm)) if hot <= 0.0 || warm <= 0.0 => BAD_FACTORS,
                (Some(_), Some(_), Some(_), Some(_)) => answer::OK,
                _ => ERROR,
            }
        }
        (Some(b"temp_ttl"), Some(value)) if number(value).is_some() => answer::OK,
        _ => ERROR,
    }
}

fn slabs(mut words: Words<'_>) -> &'static [u8] {
    match (words.next(), words.next(), words.next()) {
        (Some(b"reassign"), Some(from), Some(to)) if words.next().is_none() => {
            match (number(from), number(to)) {
                (Some(from), Some(to)) if from == to => SAME_CLASS,
                (Some(_), Some(_)) => NO_SPARE,
                _ => BAD_FORMAT,
            }
        }
        (Some(b"automove"), Some(b"ratio"), ratio) => match ratio.map(core::str::from_utf8) {
            Some(Ok(ratio)) if ratio.parse::<f64>().is_ok() => answer::OK,
            _ => ERROR,
        },
        (Some(b"automove"), Some(value), _) => match unsigned(value) {
            Some(0..=2) => answer::OK,
            Some(_) => ERROR,
            None => BAD_FORMAT,
        },
        _ => ERROR,
    }
}
