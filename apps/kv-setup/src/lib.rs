//! What kv is told in every home: which keys of the configuration make which cache, and what each core has of it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use nom_kv::Kv;
use nom_kv::shards::{self, Shards, Wake};
use nom_service::configuration::Configuration;

/// What the clock of items begins with: now, and the same in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    /// On the home's clock.
    pub now_ns: u64,
    /// Since 1970.
    pub unix_ns: u64,
}

/// Makes the cache of one core, on that core.
pub type Part = Box<dyn FnOnce() -> Kv + Send>;

/// What each core has of what is configured for all.
pub fn config(configuration: &Configuration, seed: [u8; 16], began: Began) -> nom_kv::Config {
    let (allowed, cores) = (configuration.allowed, configuration.cores);
    nom_kv::Config {
        item_bytes_max: configuration.item_bytes_max,
        inline_value_bytes: configuration.inline_value_bytes,
        memory_bytes_max: allowed.items_bytes_max / cores,
        evicts: allowed.evicts,
        crawls: allowed.crawls,
        sender_limit_s: allowed.sender_limit_s,
        idle_limit_s: allowed.idle_limit_s,
        may_flush: allowed.flush,
        may_watch: allowed.watch,
        may_move_time: allowed.move_time,
        start_unix_ns: began.unix_ns,
        ..nom_kv::Config::new(configuration.items_bytes / cores, seed, began.now_ns)
    }
}

/// Bytes that the cache takes of a heap.
pub fn heap_bytes(configuration: &Configuration) -> usize {
    configuration.items_bytes + shards::heap_bytes(configuration.cores)
}

/// The first core's part of the keys, and the caches of the others. Each core is woken by its waker; the secret decides
/// which core has which key, and each cache has a seed of its own.
pub fn parts<E>(
    configuration: &Configuration,
    secret: [u8; 16],
    wakers: &[Arc<dyn Wake>],
    began: Began,
    mut seed: impl FnMut() -> Result<[u8; 16], E>,
) -> Result<(Option<Shards>, Vec<Part>), E> {
    let mut all = Shards::all(secret, wakers).into_iter();
    let first = all.next();
    let mut parts: Vec<Part> = Vec::new();
    for shards in all {
        let config = config(configuration, seed()?, began);
        parts.push(Box::new(move || {
            let mut kv = Kv::new(config);
            kv.join(shards);
            kv
        }));
    }
    Ok((first, parts))
}
