//! `stats detail`: what is asked for by the part of a key before its first colon.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Prefixes that are counted; further ones are not.
const PREFIXES_MAX: usize = 1_024;

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// The counts, while they are switched on.
#[derive(Debug, Default)]
pub(super) struct Detail {
    pub(super) on: bool,
    prefixes: BTreeMap<Vec<u8>, Counts>,
}

impl Detail {
    fn count(&mut self, key: &[u8], note: impl FnOnce(&mut Counts)) {
        let Some(end) = key.iter().position(|byte| *byte == b':') else { return };
        if let Some(counts) = self.prefixes.get_mut(&key[..end]) {
            note(counts);
        } else if self.prefixes.len() < PREFIXES_MAX {
            note(self.prefixes.entry(key[..end].to_vec()).or_default());
        }
    }

    pub(super) fn got(&mut self, key: &[u8], hit: bool) {
        self.count(key, |counts| {
            counts.gets += 1;
            counts.hits += u64::from(hit);
        });
    }

    pub(super) fn set(&mut self, key: &[u8]) {
        self.count(key, |counts| counts.sets += 1);
    }

    pub(super) fn deleted(&mut self, key: &[u8]) {
        self.count(key, |counts| counts.deletes += 1);
    }

    pub(super) fn clear(&mut self) {
        self.prefixes.clear();
    }

    pub(super) fn report(&self) -> String {
        let mut out = String::new();
        for (prefix, counts) in &self.prefixes {
            let Counts { gets, hits, sets, deletes } = counts;
            let prefix = String::from_utf8_lossy(prefix);
            let _ = write!(out, "PREFIX {prefix} get {gets} hit {hits} set {sets} del {deletes}\r\n");
        }
        out.push_str("END\r\n");
        out
    }
}
