//! Memory for items as something that whoever knows its price may change.

use super::Kv;
use nom_stack::application::Elastic;

impl Kv {
    /// Gives items this much memory, index included. False, and no change, beyond the bound or without the memory.
    pub(super) fn set_memory(&mut self, bytes: usize) -> bool {
        let changes = bytes <= self.config.memory_bytes_max && self.store.resize(bytes);
        if changes {
            self.memory_bytes = bytes;
        }
        changes
    }
}

impl Elastic for Kv {
    fn bytes(&self) -> u64 {
        self.memory_bytes as u64
    }

    fn miss_ratio(&self, bytes: u64) -> Option<f64> {
        let bytes = usize::try_from(bytes).ok()?;
        self.store.miss_ratio(bytes.saturating_sub(self.store.index_bytes()))
    }

    fn asked(&self) -> u64 {
        self.tally.gets()
    }

    fn resize(&mut self, bytes: u64) -> bool {
        usize::try_from(bytes).is_ok_and(|bytes| self.set_memory(bytes))
    }
}
