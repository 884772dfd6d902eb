//! What is counted, and the reports of `stats`.

use super::Kv;
use crate::answer::{self, stat};
use crate::command::Report;
use crate::store::{Changed, Outcome, Verb};
use alloc::string::String;

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
    /// A whole report, within the room that a connection has when nothing is queued.
    pub(super) fn report(&mut self, report: Report, now_ns: u64) -> String {
        let mut out = String::new();
        match report {
            Report::General => self.general(&mut out, now_ns),
            Report::Settings => self.settings(&mut out),
            Report::Items => self.items(&mut out),
            Report::Slabs => self.slabs(&mut out),
            // Counting them would mean to look at every item.
            Report::Sizes => out.push_str("STAT sizes_status disabled\r\n"),
            Report::Reset => {
                self.tally.reset();
                self.store.reset_counts();
                out.push_str("RESET\r\n");
                return out;
            }
        }
        out.push_str("END\r\n");
        out
    }

    fn general(&self, out: &mut String, now_ns: u64) {
        let up_s = now_ns.saturating_sub(self.config.start_ns) / 1_000_000_000;
        let unix_s = self.config.start_unix_ns / 1_000_000_000 + up_s;
        let counts = self.store.counts();
        let tally = &self.tally;
        stat(out, "pid", 1);
        stat(out, "uptime", up_s);
        stat(out, "time", unix_s);
        out.push_str(concat!("STAT version ", answer::version!(), "\r\n"));
        for (name, value) in [
            ("pointer_size", u64::from(usize::BITS)),
            ("curr_connections", tally.connections),
            ("total_connections", tally.connections_total),
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
            ("limit_maxbytes", self.config.memory_bytes as u64),
            ("threads", 1),
            ("bytes", counts.used_bytes),
            ("curr_items", counts.items),
            ("total_items", counts.stored),
            ("evictions", counts.evicted),
            ("unfinished_refused", counts.unpromised),
        ] {
            stat(out, name, value);
        }
    }

    fn settings(&self, out: &mut String) {
        stat(out, "maxbytes", self.config.memory_bytes as u64);
        stat(out, "item_size_max", self.config.item_bytes_max as u64);
        stat(out, "num_threads", 1);
        stat(out, "inline_value_bytes", self.config.inline_value_bytes as u64);
        for (name, value) in
            [("evictions", "on"), ("cas_enabled", "yes"), ("flush_enabled", "yes"), ("dump_enabled", "no")]
        {
            for part in ["STAT ", name, " ", value, "\r\n"] {
                out.push_str(part);
            }
        }
    }

    /// There is one class only: memory is not divided by sizes.
    fn items(&self, out: &mut String) {
        let counts = self.store.counts();
        if counts.items == 0 {
            return;
        }
        stat(out, "items:1:number", counts.items);
        stat(out, "items:1:evicted", counts.evicted);
        stat(out, "items:1:outofmemory", self.tally.no_memory);
    }

    fn slabs(&self, out: &mut String) {
        let counts = self.store.counts();
        stat(out, "1:chunk_size", crate::arena::UNIT as u64);
        stat(out, "1:used_chunks", counts.used_bytes / crate::arena::UNIT as u64);
        stat(out, "1:total_chunks", (self.store.capacity_bytes() / crate::arena::UNIT) as u64);
        stat(out, "active_slabs", 1);
        stat(out, "total_malloced", self.config.memory_bytes as u64);
    }
}
