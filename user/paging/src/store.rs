//! Memory of a fixed size that keeps packed pages: chains of granules, so that nothing is ever moved and no room is lost
//! between pieces.

use alloc::vec;
use alloc::vec::Vec;

use crate::pack::PACKED_MAX;

/// Bytes of a granule.
pub const GRANULE_LEN: usize = 128;
/// Ends a chain.
const END: u32 = u32::MAX;

/// Granules that a page takes at most.
pub const fn granules_max() -> usize {
    PACKED_MAX.div_ceil(GRANULE_LEN)
}

/// There is no room for that page. What was stored of it before is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug, Clone, Copy)]
struct Entry {
    head: u32,
    len: u16,
}

/// Packed pages.
#[derive(Debug)]
pub struct Store {
    bytes: Vec<u8>,
    /// What follows each granule in its chain, or in that of free ones.
    next: Vec<u32>,
    free: u32,
    free_count: usize,
    entries: Vec<Option<Entry>>,
}

impl Store {
    /// A store for so many pages in so many granules.
    pub fn new(pages: usize, granules: usize) -> Store {
        let mut next: Vec<u32> = (1..=granules as u32).collect();
        if let Some(last) = next.last_mut() {
            *last = END;
        }
        let free = if granules == 0 { END } else { 0 };
        let entries = vec![None; pages];
        Store { bytes: vec![0; granules * GRANULE_LEN], next, free, free_count: granules, entries }
    }

    /// Free granules.
    pub fn free(&self) -> usize {
        self.free_count
    }

    /// Whether there is something of that page.
    pub fn holds(&self, page: usize) -> bool {
        self.entries.get(page).is_some_and(Option::is_some)
    }

    /// Keeps a packed page instead of what was kept of it before.
    pub fn put(&mut self, page: usize, packed: &[u8]) -> Result<(), Full> {
        let wanted = packed.len().div_ceil(GRANULE_LEN);
        let had = self.entries.get(page).ok_or(Full)?.map_or(0, |old| granules(old.len));
        if packed.len() > PACKED_MAX || wanted > self.free_count + had {
            return Err(Full);
        }
        self.forget(page);
        let mut head = END;
        // From the end, so that each granule knows the one behind it.
        for piece in packed.chunks(GRANULE_LEN).rev() {
            let here = self.free;
            self.free = self.next[here as usize];
            self.next[here as usize] = head;
            head = here;
            let start = here as usize * GRANULE_LEN;
            self.bytes[start..start + piece.len()].copy_from_slice(piece);
        }
        self.free_count -= wanted;
        self.entries[page] = Some(Entry { head, len: packed.len() as u16 });
        Ok(())
    }

    /// Copies what is kept of a page; answers its length.
    pub fn get(&self, page: usize, into: &mut [u8; PACKED_MAX]) -> Option<usize> {
        let entry = (*self.entries.get(page)?)?;
        let len = usize::from(entry.len);
        let mut here = entry.head as usize;
        for piece in into[..len].chunks_mut(GRANULE_LEN) {
            let start = here * GRANULE_LEN;
            piece.copy_from_slice(&self.bytes[start..start + piece.len()]);
            here = self.next[here] as usize;
        }
        Some(len)
    }

    /// Forgets a page.
    pub fn forget(&mut self, page: usize) {
        let Some(entry) = self.entries.get_mut(page).and_then(Option::take) else { return };
        let mut here = entry.head;
        for _ in 0..granules(entry.len) {
            let after = self.next[here as usize];
            self.next[here as usize] = self.free;
            self.free = here;
            self.free_count += 1;
            here = after;
        }
    }
}

fn granules(len: u16) -> usize {
    usize::from(len).div_ceil(GRANULE_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::BTreeMap;

    #[test]
    fn long_histories_lose_nothing() {
        let mut seed = 99_u64;
        let mut number = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut store = Store::new(20, 100);
        let mut model: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for _ in 0..20_000 {
            let page = number(21) as usize;
            if number(4) == 0 {
                store.forget(page);
                model.remove(&page);
            } else {
                let len = if number(3) == 0 { PACKED_MAX as u64 } else { number(600) };
                let packed: Vec<u8> = (0..len).map(|_| number(256) as u8).collect();
                let others: usize = model
                    .iter()
                    .filter(|(other, _)| **other != page)
                    .map(|(_, kept)| kept.len().div_ceil(GRANULE_LEN))
                    .sum();
                let fits = page < 20 && others + packed.len().div_ceil(GRANULE_LEN) <= 100;
                assert_eq!(store.put(page, &packed), if fits { Ok(()) } else { Err(Full) });
                if fits {
                    model.insert(page, packed);
                }
            }
            let taken: usize = model.values().map(|kept| kept.len().div_ceil(GRANULE_LEN)).sum();
            assert_eq!(store.free() + taken, 100);
            let page = number(20) as usize;
            let mut out = [0; PACKED_MAX];
            let found = store.get(page, &mut out).map(|len| out[..len].to_vec());
            assert_eq!(found.as_ref(), model.get(&page));
            assert_eq!(store.holds(page), model.contains_key(&page));
        }
    }
}
