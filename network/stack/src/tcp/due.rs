//! Who may have something to send, in the order in which they came to it: a list that is emptied as a whole nearly
//! always, so that neither end has to go round.

use alloc::vec::Vec;

/// The list. Each connection is in it at most once, by its own mark.
pub(crate) struct Due {
    slots: Vec<u32>,
    /// Those before here are done.
    done: usize,
}

impl Due {
    pub(crate) fn with_capacity(bound: usize) -> Self {
        Self { slots: Vec::with_capacity(bound), done: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, slot: u32) {
        if self.slots.len() == self.slots.capacity() {
            self.forget_done();
        }
        self.slots.push(slot);
    }

    #[inline(never)]
    fn forget_done(&mut self) {
        self.slots.drain(..self.done);
        self.done = 0;
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let slot = *self.slots.get(self.done)?;
        self.done += 1;
        if self.done == self.slots.len() {
            self.slots.clear();
            self.done = 0;
        }
        Some(slot)
    }

    /// It was not done after all, and stays the first.
    pub(crate) fn put_back(&mut self, slot: u32) {
        match self.done.checked_sub(1) {
            Some(place) => {
                self.done = place;
                self.slots[place] = slot;
            }
            None => self.slots.insert(0, slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::collections::VecDeque;

    #[test]
    fn it_is_a_queue_that_never_grows() {
        let (mut due, mut model, mut random) = (Due::with_capacity(20), VecDeque::new(), Random::new(4));
        let capacity = due.slots.capacity();
        for number in 0..10_000 {
            match random.below(3) {
                0 | 1 if model.len() < 20 => {
                    due.push(number);
                    model.push_back(number);
                }
                2 => assert_eq!(due.pop(), model.pop_front()),
                _ => {
                    if let Some(first) = due.pop() {
                        due.put_back(first);
                    }
                }
            }
            assert_eq!(due.is_empty(), model.is_empty());
        }
        assert_eq!(due.slots.capacity(), capacity);
    }
}
