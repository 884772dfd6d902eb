//! IPv6 addresses of those with whom there are connections, each under a name that is as long as an IPv4 address.
//!
//! A connection's record, its place in the table and everything that is computed from them know the other side by 32
//! bits. An IPv6 address does not fit there, so it gets a name among those that no IPv4 host can have (224.0.0.0/4): a
//! keyed hash of both addresses. The name is the same each time, so that SYN cookies need no memory for it. Whoever does
//! not know the key can neither aim at a name nor find two addresses with the same one; when it happens all the same (a
//! chance of one in 2^28 for each pair), the later one is not served until the earlier one is gone, and is counted.
//!
//! Names of connections are kept, at most [`PEERS_MAX`]; openings from further addresses are not answered.

use alloc::boxed::Box;
use alloc::vec;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Pairs of addresses, one of them ours, with connections at the same time.
pub(crate) const PEERS_MAX: usize = 2048;
const PLACES: usize = 2 * PEERS_MAX;
const FIRST: u32 = 0xe000_0000;

/// It names an IPv6 address.
#[inline(always)]
pub(crate) fn is_name(remote: u32) -> bool {
    remote >> 28 == FIRST >> 28
}

/// Both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) ours: Ipv6Addr,
    pub(crate) theirs: Ipv6Addr,
}

#[derive(Clone, Copy)]
struct Peer {
    /// 0 when the place is free.
    name: u32,
    connections: u32,
    ends: Ends,
}

const NOBODY: Ends = Ends { ours: Ipv6Addr::UNSPECIFIED, theirs: Ipv6Addr::UNSPECIFIED };
const FREE: Peer = Peer { name: 0, connections: 0, ends: NOBODY };

/// The names.
pub(crate) struct Peers {
    key: [u64; 2],
    places: Box<[Peer]>,
    used: usize,
    /// Who was met last, whether there is a connection or not.
    last: Peer,
}

impl Peers {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        Self { key, places: vec![FREE; PLACES].into_boxed_slice(), used: 0, last: FREE }
    }

    /// The name of an address, good until the next one is met or, once it is kept, as long as there are connections. Nothing
    /// when the name is somebody else's.
    pub(crate) fn meet(&mut self, hash: impl FnOnce([u64; 2], Ends) -> u32, ends: Ends) -> Option<Ipv4Addr> {
        let name = self.name(hash, ends);
        if let Some(place) = self.place(name)
            && self.places[place].ends != ends
        {
            return None;
        }
        self.last = Peer { name, connections: 0, ends };
        Some(Ipv4Addr::from_bits(name))
    }

    /// The name of an address, without meeting it.
    pub(crate) fn name(&self, hash: impl FnOnce([u64; 2], Ends) -> u32, ends: Ends) -> u32 {
        FIRST | hash(self.key, ends) >> 4
    }

    /// Whose name it is.
    pub(crate) fn ends(&self, name: u32) -> Option<Ends> {
        if self.last.name == name {
            return Some(self.last.ends);
        }
        self.place(name).map(|place| self.places[place].ends)
    }

    fn place(&self, name: u32) -> Option<usize> {
        let mut place = home(name);
        while self.places[place].name != 0 {
            if self.places[place].name == name {
                return Some(place);
            }
            place = (place + 1) % PLACES;
        }
        None
    }

    /// A connection has this name. False when there are too many names.
    pub(crate) fn keep(&mut self, name: u32) -> bool {
        if let Some(place) = self.place(name) {
            self.places[place].connections += 1;
            return true;
        }
        if self.used == PEERS_MAX || self.last.name != name {
            return false;
        }
        let mut place = home(name);
        while self.places[place].name != 0 {
            place = (place + 1) % PLACES;
        }
        self.places[place] = Peer { connections: 1, ..self.last };
        self.used += 1;
        true
    }

    /// A connection with this name is gone.
    pub(crate) fn release(&mut self, name: u32) {
        let Some(mut hole) = self.place(name) else { return };
        self.places[hole].connections -= 1;
        if self.places[hole].connections > 0 {
            return;
        }
        self.used -= 1;
        // Whatever stands behind the hole and may stand in it moves there.
        let mut place = hole;
        loop {
            place = (place + 1) % PLACES;
            let peer = self.places[place];
            if peer.name == 0 {
                break;
            }
            if (place + PLACES - home(peer.name)) % PLACES >= (place + PLACES - hole) % PLACES {
                self.places[hole] = peer;
                hole = place;
            }
        }
        self.places[hole] = FREE;
    }

    /// Nobody is kept: for tests that count what leaked.
    pub(crate) fn is_unused(&self) -> bool {
        self.used == 0
    }
}

fn home(name: u32) -> usize {
    name as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::collections::BTreeMap;

    fn ends(number: u128) -> Ends {
        Ends { ours: Ipv6Addr::LOCALHOST, theirs: Ipv6Addr::from_bits(number) }
    }

    #[test]
    fn names_are_kept_as_long_as_there_are_connections() {
        let mut peers = Peers::new([1, 2]);
        let mut model: BTreeMap<u128, (u32, u32)> = BTreeMap::new();
        let mut random = Random::new(5);
        // A poor hash on purpose: homes collide all the time, names do not.
        let hash = |_: [u64; 2], ends: Ends| ((ends.theirs.to_bits() as u32 % 4000) * 8) << 4;
        for _ in 0..30_000 {
            let number = u128::from(1 + random.below(3_000));
            let name = peers.meet(hash, ends(number)).expect("names differ").to_bits();
            assert!(is_name(name));
            if random.below(2) == 0 {
                let kept = peers.keep(name);
                assert_eq!(kept, model.contains_key(&number) || model.len() < PEERS_MAX);
                if kept {
                    model.entry(number).or_insert((name, 0)).1 += 1;
                }
            } else if let Some((name, count)) = model.get_mut(&number) {
                peers.release(*name);
                *count -= 1;
                if *count == 0 {
                    model.remove(&number);
                }
            }
            assert_eq!(peers.used, model.len());
        }
        for (number, (name, count)) in model {
            assert_eq!(peers.ends(name), Some(ends(number)));
            (0..count).for_each(|_| peers.release(name));
            assert!(peers.last.name == name || peers.ends(name).is_none());
        }
        assert!(peers.is_unused());
    }

    #[test]
    fn somebody_elses_name_is_not_given_twice() {
        let mut peers = Peers::new([1, 2]);
        let name = peers.meet(|_, _| 7 << 4, ends(1)).expect("it is free").to_bits();
        assert!(peers.keep(name));
        assert_eq!(peers.meet(|_, _| 7 << 4, ends(2)), None);
        peers.release(name);
        assert!(peers.meet(|_, _| 7 << 4, ends(2)).is_some());
    }
}
