//! Who left probation lately: two bytes of each one's hash, in small sets where the oldest gives way.

use alloc::vec::Vec;

/// Places of a set.
const WAYS: usize = 4;

#[derive(Debug)]
pub(super) struct Ghosts {
    sets: Vec<[u16; WAYS]>,
}

impl Ghosts {
    /// A table for so many, at least one set.
    pub(super) fn new(count: usize) -> Self {
        let sets = (count / WAYS).max(1).next_power_of_two();
        Self { sets: alloc::vec![[0; WAYS]; sets] }
    }

    pub(super) fn bytes(count: usize) -> usize {
        (count / WAYS).max(1).next_power_of_two() * WAYS * 2
    }

    /// The set, and what is kept there; 0 is an empty place.
    fn place(&self, hash: u64) -> (usize, u16) {
        // Other bits than those of the bucket and of the tag.
        let set = (hash >> 24) as usize & (self.sets.len() - 1);
        (set, ((hash >> 8) as u16) | 1)
    }

    pub(super) fn remember(&mut self, hash: u64) {
        let (set, print) = self.place(hash);
        let set = &mut self.sets[set];
        set.rotate_right(1);
        set[0] = print;
    }

    /// Whether one with this hash left lately; it is forgotten then.
    pub(super) fn returns(&mut self, hash: u64) -> bool {
        let (set, print) = self.place(hash);
        let set = &mut self.sets[set];
        let Some(place) = set.iter().position(|known| *known == print) else { return false };
        set[place..].rotate_left(1);
        set[WAYS - 1] = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let mut ghosts = Ghosts::new(4);
        let hash = |number: u64| number << 9;
        for number in 1..=5 {
            ghosts.remember(hash(number));
        }
        assert!(!ghosts.returns(hash(1)), "it is the oldest of five in a set of four");
        assert!(ghosts.returns(hash(3)));
        assert!(!ghosts.returns(hash(3)), "it was forgotten when it returned");
        assert!([2, 4, 5].into_iter().all(|number| ghosts.returns(hash(number))));
    }
}
