//! What is done beside requests, a little with each turn of the stack: finding clients that are silent for too long,
//! freeing items that are past their time, calling watchers.

use super::{Kv, State};
use crate::server::watch::topic;
use nom_stack::application::ConnectionId;

/// Time between two looks.
const EVERY_NS: u64 = 10_000_000;
/// Connections of one look.
const CONNECTIONS_A_LOOK: usize = 256;
/// Buckets of the index a millisecond, and of one look at most.
const BUCKETS_A_MS: u64 = 32;
const BUCKETS_A_LOOK: u64 = 2_048;

/// Where the looks are.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    last_ns: u64,
    slot: usize,
    /// How many connections of this look are left.
    left: usize,
}

impl Kv {
    /// A connection that is to be called, or nothing.
    #[inline]
    pub(super) fn attend(&mut self, now_ns: u64) -> Option<ConnectionId> {
        self.now_ns = now_ns;
        if self.shards.is_some()
            && let Some(id) = self.attend_shards(now_ns)
        {
            return Some(id);
        }
        if self.watchers.len() > 0 {
            if self.watchers.watch(topic::EVICTIONS) {
                self.tell_evictions(now_ns);
            }
            if let Some(id) = self.watchers.waiting() {
                return Some(id);
            }
        }
        if self.sweep.left == 0 && now_ns.saturating_sub(self.sweep.last_ns) < EVERY_NS {
            return None;
        }
        self.look(now_ns)
    }

    fn look(&mut self, now_ns: u64) -> Option<ConnectionId> {
        let now_s = self.second(now_ns);
        if self.sweep.left == 0 {
            let passed_ms = now_ns.saturating_sub(self.sweep.last_ns) / 1_000_000;
            self.sweep.last_ns = now_ns;
            self.store.tick(now_s);
            self.store.crawl((passed_ms * BUCKETS_A_MS).min(BUCKETS_A_LOOK) as u32);
            if self.config.sender_limit_s == 0 && self.config.idle_limit_s == 0 {
                return None;
            }
            self.sweep.left = self.connections.len().min(CONNECTIONS_A_LOOK);
        }
        while self.sweep.left > 0 {
            self.sweep.left -= 1;
            self.sweep.slot = (self.sweep.slot + 1) % self.connections.len();
            let slot = self.sweep.slot;
            let connection = &mut self.connections[slot];
            if !connection.open || connection.cut {
                continue;
            }
            let silent_s = now_s.saturating_sub(connection.heard_s);
            let past = |limit_s: u32| limit_s > 0 && silent_s >= limit_s;
            let sends = matches!(
                connection.state,
                State::Value { .. } | State::Swallow { .. } | State::Forward { .. }
            );
            if sends && past(self.config.sender_limit_s) {
                self.tally.slow_senders += 1;
            } else if past(self.config.idle_limit_s) && !matches!(connection.state, State::Watch) {
                self.tally.idle_kicks += 1;
            } else {
                continue;
            }
            connection.cut = true;
            return Some(ConnectionId { slot: slot as u32, generation: connection.generation });
        }
        None
    }
}
