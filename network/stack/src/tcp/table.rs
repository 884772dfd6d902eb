//! The connection table: records in pages that never move, and an open-addressing index over who speaks with whom.
//!
//! The index has at least twice as many places as there can be records, so a probe ends soon; a place holds the
//! hash beside the slot, so that a probe touches a record only when it is almost surely the right one.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::connection::Connection;
use super::secrets::Secrets;
use crate::application::ConnectionId;

const PAGE: usize = 64;

/// Who speaks with whom; our address is always the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) remote: u32,
    pub(crate) remote_port: u16,
    pub(crate) local_port: u16,
}

impl Key {
    pub(crate) fn word(self) -> u64 {
        u64::from(self.remote) << 32 | u64::from(self.remote_port) << 16 | u64::from(self.local_port)
    }
}

/// The table.
pub(crate) struct Table {
    pages: Vec<Box<[Connection; PAGE]>>,
    free: Vec<u32>,
    places: Box<[u64]>,
    mask: usize,
    bound: u32,
    used: u32,
}

impl Table {
    pub(crate) fn new(bound: u32) -> Self {
        let bound = bound.clamp(1, 1 << 22);
        let places = (bound as usize * 2).next_power_of_two();
        Self {
            pages: Vec::with_capacity((bound as usize).div_ceil(PAGE)),
            free: Vec::with_capacity((bound as usize).next_multiple_of(PAGE)),
            places: vec![0; places].into_boxed_slice(),
            mask: places - 1,
            bound,
            used: 0,
        }
    }

    pub(crate) fn bound(&self) -> u32 {
        self.bound
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Records that exist, used or not.
    pub(crate) fn len(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }

    pub(crate) fn at(&mut self, slot: u32) -> &mut Connection {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    pub(crate) fn get(&self, slot: u32) -> &Connection {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    /// The slot that an application's name means, while the connection lives.
    pub(crate) fn resolve(&self, id: ConnectionId) -> Option<u32> {
        let connection = &self.pages.get(id.slot as usize / PAGE)?[id.slot as usize % PAGE];
        (connection.generation == id.generation && connection.state.is_used()).then_some(id.slot)
    }

    #[inline(always)]
    pub(crate) fn find(&self, secrets: &Secrets, key: Key) -> Option<u32> {
        let hash = secrets.table_hash(key);
        let mut place = hash as usize & self.mask;
        loop {
            let entry = self.places[place];
            if entry == 0 {
                return None;
            }
            if (entry >> 32) as u32 == hash {
                let slot = entry as u32 - 1;
                if self.get(slot).key == key {
                    return Some(slot);
                }
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Takes a free record for a connection that is not in the table. Memory is allocated here and only here.
    pub(crate) fn insert(&mut self, secrets: &Secrets, key: Key) -> Option<u32> {
        if self.used >= self.bound {
            return None;
        }
        if self.free.is_empty() {
            let first = (self.pages.len() * PAGE) as u32;
            let page: Box<[Connection]> = (0..PAGE).map(|_| Connection::default()).collect();
            self.pages.push(page.try_into().ok()?);
            self.free.extend((first..first + PAGE as u32).rev());
        }
        let slot = self.free.pop()?;
        self.used += 1;
        let hash = secrets.table_hash(key);
        let mut place = hash as usize & self.mask;
        while self.places[place] != 0 {
            place = (place + 1) & self.mask;
        }
        self.places[place] = u64::from(hash) << 32 | u64::from(slot + 1);
        let connection = self.at(slot);
        let Connection { generation, due, waiting, .. } = *connection;
        *connection = Connection { key, generation, due, waiting, ..Connection::default() };
        Some(slot)
    }

    /// Gives a record back; its name is stale from now on.
    pub(crate) fn remove(&mut self, secrets: &Secrets, slot: u32) {
        let key = self.get(slot).key;
        let hash = secrets.table_hash(key);
        let wanted = u64::from(hash) << 32 | u64::from(slot + 1);
        let mut hole = hash as usize & self.mask;
        while self.places[hole] != wanted {
            debug_assert!(self.places[hole] != 0, "a used record is in the index");
            hole = (hole + 1) & self.mask;
        }
        // Close the hole: whatever stands behind it and may stand in it moves there.
        let mut place = hole;
        loop {
            place = (place + 1) & self.mask;
            let entry = self.places[place];
            if entry == 0 {
                break;
            }
            let home = (entry >> 32) as usize & self.mask;
            if (place.wrapping_sub(home) & self.mask) >= (place.wrapping_sub(hole) & self.mask) {
                self.places[hole] = entry;
                hole = place;
            }
        }
        self.places[hole] = 0;
        // The lists keep their entries, and so the record its marks: an entry is looked at once, whoever has the
        // record by then, and no list can grow beyond the number of records.
        let connection = self.at(slot);
        let Connection { generation, due, waiting, .. } = *connection;
        *connection =
            Connection { generation: generation.wrapping_add(1), due, waiting, ..Connection::default() };
        self.free.push(slot);
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::collections::BTreeMap;

    #[test]
    fn the_index_finds_what_is_there_and_nothing_else_through_random_changes() {
        let secrets = Secrets::new([9; 32]);
        let mut table = Table::new(100);
        let mut model = BTreeMap::new();
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let key =
                Key { remote: random.below(20) as u32, remote_port: random.below(20) as u16, local_port: 7 };
            match (table.find(&secrets, key), model.get(&key.word())) {
                (None, None) => match table.insert(&secrets, key) {
                    Some(slot) => {
                        table.at(slot).state = super::super::connection::State::Established;
                        assert!(model.insert(key.word(), slot).is_none());
                    }
                    None => assert_eq!(model.len(), 100),
                },
                (Some(slot), Some(&expected)) => {
                    assert_eq!(slot, expected);
                    if random.below(3) == 0 {
                        let id = ConnectionId { slot, generation: table.get(slot).generation };
                        assert_eq!(table.resolve(id), Some(slot));
                        table.remove(&secrets, slot);
                        model.remove(&key.word());
                        assert_eq!(table.resolve(id), None);
                    }
                }
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
            assert_eq!(table.used() as usize, model.len());
        }
    }
}
