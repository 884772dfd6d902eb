//! The walk over all items: for whoever wants to see them, and to free those that are past their time.
//!
//! It goes by the buckets of the index, a few with each step, so it stalls nobody, whatever the memory's size; items
//! may be evicted, stored and moved between two steps.

use super::{Item, Store};
use crate::arena::NONE;
use crate::class::{self, CLASSES, ClassCounts};
use crate::server::Walk;
use alloc::vec::Vec;

/// Seconds from the beginning of one walk to that of the next.
const EVERY_S: u32 = 10;
/// Evicted items that are remembered for who watches; further ones are not told.
const GONE_MAX: usize = 256;

/// Where the walk is.
#[derive(Debug, Default)]
pub(super) struct Crawler {
    /// The next bucket, while it walks.
    at: Option<u32>,
    next_s: u32,
}

/// An item that was evicted.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) key: Vec<u8>,
    pub(crate) fetched: bool,
    /// -1 for never, as memcached says it.
    pub(crate) ttl_s: i64,
    pub(crate) idle_s: u32,
    pub(crate) class: usize,
    pub(crate) len: usize,
}

impl Store {
    /// The class of a block in memcached, and its bytes there.
    pub(super) fn classified(&self, block: u32) -> (usize, u64) {
        let header = self.arena.header(block);
        let bytes = class::item_bytes(header.key_len(), header.value_len());
        (class::of(bytes), bytes as u64)
    }

    /// The class of an item in memcached, from 0.
    pub fn class(&self, item: Item) -> usize {
        self.classified(item.0).0
    }

    /// What is counted by classes.
    pub(crate) fn classes(&self) -> &[ClassCounts; CLASSES] {
        &self.classes
    }

    /// Past its time or flushed, though not found out yet.
    pub fn is_past_time(&self, item: Item) -> bool {
        self.is_past(item.0)
    }

    /// Removes an item that is past its time because its memory is wanted, or in passing.
    pub(super) fn reclaim(&mut self, block: u32, hash: u64) {
        self.counts.reclaimed += 1;
        let class = self.classified(block).0;
        self.classes[class].reclaimed += 1;
        self.unlink(block, hash);
    }

    /// The item that is so many places within a bucket.
    pub(crate) fn walk(&self, bucket: u32, within: u32) -> Walk {
        let Some(first) = self.buckets.get(bucket as usize) else { return Walk::End };
        let mut block = *first;
        for _ in 0..within {
            if block == NONE {
                break;
            }
            block = self.arena.next(block);
        }
        if block == NONE { Walk::Next } else { Walk::At(Item(block)) }
    }

    /// All items, in the order of the index.
    pub fn iter(&self) -> impl Iterator<Item = Item> {
        self.buckets.iter().flat_map(|first| {
            let next = |block: &u32| Some(self.arena.next(*block)).filter(|next| *next != NONE);
            core::iter::successors(Some(*first).filter(|first| *first != NONE), next).map(Item)
        })
    }

    /// Begins a walk now.
    pub(crate) fn crawl_now(&mut self) {
        self.crawler.at = Some(0);
        self.counts.crawls += 1;
    }

    /// Whether a walk is under way.
    pub(crate) fn is_crawling(&self) -> bool {
        self.crawler.at.is_some()
    }

    /// Frees what is past its time in the next few buckets.
    pub(crate) fn crawl(&mut self, buckets: u32) {
        if self.crawler.at.is_none() {
            if !self.crawls || self.now_s < self.crawler.next_s {
                return;
            }
            self.crawl_now();
        }
        self.crawler.next_s = self.now_s + EVERY_S;
        let from = self.crawler.at.unwrap_or(0);
        let to = from.saturating_add(buckets).min(self.buckets.len() as u32);
        for bucket in from..to {
            let mut block = self.buckets[bucket as usize];
            while block != NONE {
                let next = self.arena.next(block);
                self.counts.crawl_looked += 1;
                if self.is_past(block) {
                    let hash = self.secret.hash(self.arena.key(block));
                    self.counts.crawled += 1;
                    let class = self.classified(block).0;
                    self.classes[class].crawled += 1;
                    self.reclaim(block, hash);
                }
                block = next;
            }
        }
        self.crawler.at = (to < self.buckets.len() as u32).then_some(to);
    }

    /// Begins or ends remembering what is evicted.
    pub(crate) fn note_evictions(&mut self, wanted: bool) {
        self.gone = wanted.then(|| Vec::with_capacity(GONE_MAX));
    }

    pub(super) fn note_gone(&mut self, block: u32) {
        if self.gone.as_ref().is_none_or(|gone| gone.len() == GONE_MAX) {
            return;
        }
        let item = Item(block);
        let expires = self.expires(item);
        let gone = Gone {
            key: self.key(item).to_vec(),
            fetched: self.is_fetched(item),
            ttl_s: if expires == 0 { -1 } else { i64::from(expires) - i64::from(self.now_s) },
            idle_s: self.idle_s(item),
            class: self.class(item),
            len: self.data(item).len() - 2,
        };
        self.gone.get_or_insert_default().push(gone);
    }

    /// What was evicted since the last call.
    pub(crate) fn take_evictions(&mut self) -> Vec<Gone> {
        self.gone.as_mut().map(core::mem::take).unwrap_or_default()
    }
}
