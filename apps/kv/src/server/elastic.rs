//! Memory for items as something that whoever knows its price may change.
//!
//! Several cores have equal parts of it, and of the keys, by a hash: what one of them sees of its own stands for all.

use super::Kv;
use nom_stack::application::Elastic;

impl Kv {
    /// Gives the items of this core so much memory, index included. False, and no change, beyond the bound or without the
    /// memory.
    pub(crate) fn set_memory(&mut self, bytes: usize) -> bool {
        let changes = bytes <= self.config.memory_bytes_max && self.store.resize(bytes);
        if changes {
            self.memory_bytes = bytes;
        }
        changes
    }

    /// Gives all cores so much together. Each other one takes its part a moment later; one that finds no memory keeps what
    /// it has, as its figures say.
    pub(super) fn resize_all(&mut self, bytes: usize) -> bool {
        let part = bytes / self.cores();
        let changes = self.set_memory(part);
        if let (true, Some(shards)) = (changes, &mut self.shards) {
            shards.tell_memory(part);
        }
        changes
    }

    /// How many cores share the keys.
    fn cores(&self) -> usize {
        self.shards.as_ref().map_or(1, |shards| shards.count())
    }
}

impl Elastic for Kv {
    fn bytes(&self) -> u64 {
        (self.memory_bytes * self.cores()) as u64
    }

    fn miss_ratio(&self, bytes: u64) -> Option<f64> {
        let part = usize::try_from(bytes).ok()? / self.cores();
        self.store.miss_ratio(part.saturating_sub(self.store.index_bytes()))
    }

    fn asked(&self) -> u64 {
        self.tally.gets() * self.cores() as u64
    }

    fn resize(&mut self, bytes: u64) -> bool {
        usize::try_from(bytes).is_ok_and(|bytes| self.resize_all(bytes))
    }
}
