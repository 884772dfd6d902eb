//! What is counted, and the reports of `stats`.

use super::Kv;
use super::dump::stats;
use crate::answer::{self, stat};
use crate::class;
use crate::store::{Changed, Outcome, Verb};
use alloc::string::String;
use core::fmt::Write;

/// Events since the start or the last `stats reset`, and connections now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) connections: u64,
    pub(super) connections_total: u64,
    gets: u64,
    hits: u64,
    touches: u64,
    touch_hits: u64,
    pub(super) sets: u64,
    pub(super) flushes: u64,
    pub(super) metas: u64,
    pub(super) delete_hits: u64,
    pub(super) delete_misses: u64,
    incr_hits: u64,
    incr_misses: u64,
    decr_hits: u64,
    decr_misses: u64,
    cas_hits: u64,
    cas_misses: u64,
    cas_badval: u64,
    pub(super) too_large: u64,
    pub(super) no_memory: u64,
    pub(super) slow_senders: u64,
    pub(super) idle_kicks: u64,
    pub(super) received_bytes: u64,
}

impl Tally {
    /// A key of a line that fetches; a line that also sets times counts as touching, as in memcached.
    #[inline]
    pub(super) fn fetched(&mut self, found: bool, touching: bool) {
        if touching {
            self.touched(found);
        } else {
            self.gets += 1;
            self.hits += u64::from(found);
        }
    }

    pub(super) fn gets(&self) -> u64 {
        self.gets
    }

    pub(super) fn touched(&mut self, found: bool) {
        self.touches += 1;
        self.touch_hits += u64::from(found);
    }

    pub(super) fn added(&mut self, up: bool, changed: Changed) {
        match (changed, up) {
            (Changed::Number(..), true) => self.incr_hits += 1,
            (Changed::Number(..), false) => self.decr_hits += 1,
            (Changed::NotFound, true) => self.incr_misses += 1,
            (Changed::NotFound, false) => self.decr_misses += 1,
            _ => {}
        }
    }

    pub(super) fn stored(&mut self, verb: Verb, outcome: Outcome) {
        match (verb, outcome) {
            (Verb::Cas, Outcome::Stored) => self.cas_hits += 1,
            (Verb::Cas, Outcome::Exists) => self.cas_badval += 1,
            (Verb::Cas, Outcome::NotFound) => self.cas_misses += 1,
            _ => {}
        }
    }

    fn reset(&mut self) {
        *self = Tally { connections: self.connections, ..Tally::default() };
    }
}

impl Kv {
    /// A whole report; `None` for one that is not known.
    pub(super) fn report(&mut self, name: Option<&[u8]>, now_ns: u64) -> Option<String> {
        let mut out = String::new();
        match name {
            None => self.general(&mut out, now_ns),
            Some(b"settings") => self.settings(&mut out),
            Some(b"items") => self.items(&mut out),
            Some(b"slabs") => self.slabs(&mut out),
            Some(b"memory") => self.memory(&mut out),
            // Counting them would mean to look at every item.
            Some(b"sizes") => out.push_str("STAT sizes_status disabled\r\n"),
            Some(b"reset") => {
                self.tally.reset();
                self.store.reset_counts();
                self.detail.clear();
                out.push_str("RESET\r\n");
                return Some(out);
            }
            Some(_) => return None,
        }
        out.push_str("END\r\n");
        Some(out)
    }

    /// What this core counts, for itself.
    pub(crate) fn general_report(&self, now_ns: u64) -> String {
        let mut out = String::new();
        self.general(&mut out, now_ns);
        out
    }

    /// The report of this core with the counts of others added: whole reports, one behind the other.
    pub(super) fn together(&self, now_ns: u64, others: &[u8]) -> String {
        let mut out = String::new();
        let others = String::from_utf8_lossy(others);
        for line in self.general_report(now_ns).lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
            let own = value.parse::<u64>().ok().filter(|_| !OF_ONE.contains(&name));
            match (name, own) {
                ("threads", _) => stat(&mut out, name, 1 + others.matches("STAT threads ").count() as u64),
                (_, Some(own)) => {
                    let theirs = others.lines().filter_map(|line| {
                        line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok()
                    });
                    stat(&mut out, name, own + theirs.sum::<u64>());
                }
                (_, None) => {
                    out.push_str(line);
                    out.push_str("\r\n");
                }
            }
        }
        out.push_str("END\r\n");
        out
    }

    /// The names of memcached 1.6.18, in its order. What has no meaning here is 0.
    fn general(&self, out: &mut String, now_ns: u64) {
        let up_s = now_ns.saturating_sub(self.config.start_ns) / 1_000_000_000 + u64::from(self.moved_s);
        let unix_s = self.config.start_unix_ns / 1_000_000_000 + up_s;
        let counts = self.store.counts();
        let tally = &self.tally;
        stat(out, "pid", 1);
        stat(out, "uptime", up_s);
        stat(out, "time", unix_s);
        out.push_str(concat!("STAT version ", answer::version!(), "\r\n"));
        out.push_str("STAT libevent none\r\n");
        stat(out, "pointer_size", u64::from(usize::BITS));
        out.push_str("STAT rusage_user 0.000000\r\nSTAT rusage_system 0.000000\r\n");
        stats(
            out,
            &[
                ("max_connections", CONNECTIONS_SAID),
                ("curr_connections", tally.connections),
                ("total_connections", tally.connections_total),
                ("rejected_connections", 0),
                ("connection_structures", self.connections.len() as u64),
                ("response_obj_oom", 0),
                ("response_obj_count", 0),
                ("response_obj_bytes", 0),
                ("read_buf_count", 0),
                ("read_buf_bytes", 0),
                ("read_buf_bytes_free", 0),
                ("read_buf_oom", 0),
                ("reserved_fds", 0),
                ("cmd_get", tally.gets),
                ("cmd_set", tally.sets),
                ("cmd_flush", tally.flushes),
                ("cmd_touch", tally.touches),
                ("cmd_meta", tally.metas),
                ("get_hits", tally.hits),
                ("get_misses", tally.gets - tally.hits),
                ("get_expired", counts.expired),
                ("get_flushed", counts.flushed),
                ("delete_misses", tally.delete_misses),
                ("delete_hits", tally.delete_hits),
                ("incr_misses", tally.incr_misses),
                ("incr_hits", tally.incr_hits),
                ("decr_misses", tally.decr_misses),
                ("decr_hits", tally.decr_hits),
                ("cas_misses", tally.cas_misses),
                ("cas_hits", tally.cas_hits),
                ("cas_badval", tally.cas_badval),
                ("touch_hits", tally.touch_hits),
                ("touch_misses", tally.touches - tally.touch_hits),
                ("store_too_large", tally.too_large),
                ("store_no_memory", tally.no_memory),
                ("auth_cmds", 0),
                ("auth_errors", 0),
            ],
        );
        if self.config.idle_limit_s > 0 {
            stat(out, "idle_kicks", tally.idle_kicks);
        }
        let rest = [
            ("bytes_read", tally.received_bytes),
            // What leaves is the stack's to count: the ledger has it, headers too.
            ("bytes_written", 0),
            ("limit_maxbytes", self.memory_bytes as u64),
            ("accepting_conns", 1),
            ("listen_disabled_num", 0),
            ("time_in_listen_disabled_us", 0),
            ("threads", 1),
            ("conn_yields", 0),
            ("hash_power_level", u64::from(self.store.index_power())),
            ("hash_bytes", self.store.index_bytes() as u64),
            ("hash_is_expanding", 0),
            ("slab_reassign_rescues", 0),
            ("slab_reassign_chunk_rescues", 0),
            ("slab_reassign_evictions_nomem", 0),
            ("slab_reassign_inline_reclaim", 0),
            ("slab_reassign_busy_items", 0),
            ("slab_reassign_busy_deletes", 0),
            ("slab_reassign_running", 0),
            ("slabs_moved", 0),
            ("lru_crawler_running", u64::from(self.store.is_crawling())),
            ("lru_crawler_starts", counts.crawls),
            ("lru_maintainer_juggles", 0),
            ("malloc_fails", 0),
            ("log_worker_dropped", 0),
            ("log_worker_written", self.watchers.sent + self.watchers.skipped),
            ("log_watcher_skipped", self.watchers.skipped),
            ("log_watcher_sent", self.watchers.sent),
            ("log_watchers", self.watchers.len() as u64),
            ("unexpected_napi_ids", 0),
            ("round_robin_fallback", 0),
            ("bytes", counts.used_bytes),
            ("curr_items", counts.items),
            ("total_items", counts.stored),
            ("slab_global_page_pool", 0),
            ("expired_unfetched", 0),
            ("evicted_unfetched", counts.evicted_unfetched),
            ("evicted_active", 0),
            ("evictions", counts.evicted),
            ("reclaimed", counts.reclaimed),
            ("crawler_reclaimed", counts.crawled),
            ("crawler_items_checked", counts.crawl_looked),
            ("lrutail_reflocked", 0),
            ("moves_to_cold", 0),
            ("moves_to_warm", counts.promoted),
            ("moves_within_lru", 0),
            ("direct_reclaims", 0),
            ("lru_bumps_dropped", 0),
        ];
        for (name, value) in rest {
            // memcached says these only where its walk over all items is switched on.
            if self.store.crawls || !OF_CRAWLS.contains(&name) {
                stat(out, name, value);
            }
        }
    }

    fn settings(&self, out: &mut String) {
        let yes = |on: bool| if on { "yes" } else { "no" };
        stats(
            out,
            &[
                ("maxbytes", self.memory_bytes as u64),
                ("maxconns", CONNECTIONS_SAID),
                ("tcpport", u64::from(self.port)),
                ("udpport", 0),
                ("item_size_max", self.config.item_bytes_max as u64),
                ("num_threads", 1),
                ("inline_value_bytes", self.config.inline_value_bytes as u64),
                ("maxbytes_max", self.config.memory_bytes_max as u64),
                ("idle_timeout", u64::from(self.config.idle_limit_s)),
                ("sender_timeout", u64::from(self.config.sender_limit_s)),
            ],
        );
        for (name, value) in [
            ("inter", "0.0.0.0"),
            ("domain_socket", "NULL"),
            ("evictions", if self.config.evicts { "on" } else { "off" }),
            ("cas_enabled", "yes"),
            ("flush_enabled", yes(self.config.may_flush)),
            ("dump_enabled", "yes"),
            ("detail_enabled", yes(self.detail.on)),
            ("stat_key_prefix", ":"),
            ("binding_protocol", "ascii"),
            ("auth_enabled_sasl", "no"),
            ("auth_enabled_ascii", "no"),
            ("shutdown_command", "no"),
            ("ssl_enabled", "no"),
            ("lru_crawler", yes(self.store.crawls)),
            ("hash_algorithm", "siphash13"),
        ] {
            for part in ["STAT ", name, " ", value, "\r\n"] {
                out.push_str(part);
            }
        }
    }

    /// By the classes that memcached would have; memory is not divided by them.
    fn items(&self, out: &mut String) {
        for (place, class) in self.store.classes().iter().enumerate() {
            if class.stored == 0 {
                continue;
            }
            for (name, value) in [
                ("number", class.items),
                ("mem_requested", class.bytes),
                ("evicted", class.evicted),
                ("evicted_nonzero", class.evicted_nonzero),
                ("evicted_unfetched", class.evicted_unfetched),
                ("outofmemory", self.tally.no_memory),
                ("reclaimed", class.reclaimed),
                ("crawler_reclaimed", class.crawled),
            ] {
                let _ = write!(out, "STAT items:{}:{name} {value}\r\n", place + 1);
            }
        }
    }

    fn slabs(&self, out: &mut String) {
        let mut active = 0;
        for (place, class) in self.store.classes().iter().enumerate().filter(|(_, class)| class.stored > 0) {
            active += 1;
            for (name, value) in [
                ("chunk_size", u64::from(class::chunk_bytes(place))),
                ("used_chunks", class.items),
                ("mem_requested", class.bytes),
            ] {
                let _ = write!(out, "STAT {}:{name} {value}\r\n", place + 1);
            }
        }
        stat(out, "active_slabs", active);
        stat(out, "total_malloced", (self.store.capacity_bytes() + self.store.index_bytes()) as u64);
    }

    /// Ours: how the memory is used, and what more or less of it would mean.
    fn memory(&self, out: &mut String) {
        let counts = self.store.counts();
        stats(
            out,
            &[
                ("index_bytes", self.store.index_bytes() as u64),
                ("capacity_bytes", self.store.capacity_bytes() as u64),
                ("used_bytes", counts.used_bytes),
                ("promoted", counts.promoted),
                ("returned", counts.returned),
                ("unfinished_refused", counts.unpromised),
                ("slow_senders_cut", self.tally.slow_senders),
                ("pins", counts.pins),
            ],
        );
        if self.shards.is_some() {
            let counters = self.shard_counters();
            stat(out, "shard_sent", counters.sent);
            stat(out, "shard_served", counters.served);
            stat(out, "shard_ring_full", counters.full);
            stat(out, "shard_exchanges_taken", counters.taken);
        }
        // Misses in a million requests, for an eighth to eight times the memory.
        let capacity = self.store.capacity_bytes();
        for (name, bytes) in [
            ("miss_ppm_eighth", capacity / 8),
            ("miss_ppm_quarter", capacity / 4),
            ("miss_ppm_half", capacity / 2),
            ("miss_ppm_now", capacity),
            ("miss_ppm_double", capacity.saturating_mul(2)),
            ("miss_ppm_fourfold", capacity.saturating_mul(4)),
            ("miss_ppm_eightfold", capacity.saturating_mul(8)),
        ] {
            if let Some(ratio) = self.store.miss_ratio(bytes) {
                stat(out, name, (ratio * 1e6) as u64);
            }
        }
    }
}

/// What is the same for all cores, or means nothing when it is added up.
const OF_ONE: [&str; 9] = [
    "pid",
    "uptime",
    "time",
    "pointer_size",
    "max_connections",
    "cmd_flush",
    "accepting_conns",
    "hash_power_level",
    "lru_crawler_running",
];
/// The stack bounds connections; this is what memcached says by default.
const CONNECTIONS_SAID: u64 = 1_024;
/// What memcached says of its helpers.
const OF_CRAWLS: [&str; 9] = [
    "lru_crawler_running",
    "lru_crawler_starts",
    "lru_maintainer_juggles",
    "evicted_active",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "lru_bumps_dropped",
];
