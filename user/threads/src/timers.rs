//! Deadlines of threads: a binary heap that knows where each thread stands in it, so that one can be taken out.

use crate::{NEVER, NONE};

/// At most one deadline a thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Timers<const N: usize> {
    heap: [u16; N],
    len: usize,
    /// Where each thread stands in the heap.
    places: [u16; N],
    deadlines_ns: [u64; N],
}

impl<const N: usize> Timers<N> {
    pub(crate) const fn new() -> Timers<N> {
        Timers { heap: [NONE; N], len: 0, places: [NONE; N], deadlines_ns: [NEVER; N] }
    }

    /// When the first one is due.
    pub(crate) fn earliest_ns(&self) -> u64 {
        if self.len == 0 { NEVER } else { self.deadlines_ns[usize::from(self.heap[0])] }
    }

    /// Sets a thread's deadline; it must have none.
    pub(crate) fn set(&mut self, thread: u16, at_ns: u64) {
        self.deadlines_ns[usize::from(thread)] = at_ns;
        self.len += 1;
        self.put(self.len - 1, thread);
        self.rise(self.len - 1);
    }

    /// Takes a thread's deadline out, if it has one.
    pub(crate) fn cancel(&mut self, thread: u16) {
        let place = core::mem::replace(&mut self.places[usize::from(thread)], NONE);
        if place == NONE {
            return;
        }
        let place = usize::from(place);
        self.len -= 1;
        let moved = self.heap[self.len];
        if moved != thread {
            self.put(place, moved);
            self.rise(place);
            self.sink(usize::from(self.places[usize::from(moved)]));
        }
    }

    /// Takes the first one whose time has come.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<u16> {
        if self.earliest_ns() > now_ns || self.len == 0 {
            return None;
        }
        let thread = self.heap[0];
        self.cancel(thread);
        Some(thread)
    }

    fn put(&mut self, place: usize, thread: u16) {
        self.heap[place] = thread;
        self.places[usize::from(thread)] = place as u16;
    }

    fn deadline_ns(&self, place: usize) -> u64 {
        self.deadlines_ns[usize::from(self.heap[place])]
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (first, second) = (self.heap[one], self.heap[other]);
        self.put(one, second);
        self.put(other, first);
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.deadline_ns(place) < self.deadline_ns((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = 2 * place + 1..self.len.min(2 * place + 3);
            let Some(least) = children.min_by_key(|&child| self.deadline_ns(child)) else { return };
            if self.deadline_ns(place) <= self.deadline_ns(least) {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::BTreeMap;

    #[test]
    fn deadlines_come_in_order_whatever_is_cancelled() {
        for seed in 1..40_u64 {
            let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut roll = |below: u64| {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                dice % below
            };
            let mut timers = Timers::<32>::new();
            let mut model: BTreeMap<u16, u64> = BTreeMap::new();
            for _ in 0..2000 {
                let thread = roll(32) as u16;
                match roll(3) {
                    0 if !model.contains_key(&thread) => {
                        let at_ns = roll(100);
                        timers.set(thread, at_ns);
                        model.insert(thread, at_ns);
                    }
                    1 => {
                        timers.cancel(thread);
                        model.remove(&thread);
                    }
                    _ => {
                        let now_ns = roll(100);
                        if let Some(due) = timers.take_due(now_ns) {
                            let least = *model.values().min().unwrap();
                            assert_eq!(model.remove(&due), Some(least));
                            assert!(least <= now_ns);
                        } else {
                            assert!(model.values().all(|&at_ns| at_ns > now_ns));
                        }
                    }
                }
                assert_eq!(timers.earliest_ns(), model.values().copied().min().unwrap_or(NEVER));
            }
        }
    }
}
